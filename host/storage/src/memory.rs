//! The store in memory: the second implementation, for tests of the engine. It keeps the same promises but the one
//! about the disk.
