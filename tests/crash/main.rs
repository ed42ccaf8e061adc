//! Crashes: the host is killed at named steps and at random moments; then three records are compared: what the client
//! was told, what the books say, what the acquirer did.

mod steps;
