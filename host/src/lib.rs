//! The router as a library: what the binary is made of, so that a measuring instrument can serve with other channels.

mod admin;
mod api;
pub mod app;
mod approvals;
pub mod cli;
pub mod config;
pub mod corridors;
mod declines;
pub mod plugins;
pub mod routes;
pub mod server;
mod simulate;
mod steps;
pub mod telemetry;
mod webhooks;
mod wire;
