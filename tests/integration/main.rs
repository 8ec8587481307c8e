//! Tests over the real binary: each starts a server of its own on an ephemeral port and a fresh root.

mod actions;
mod command_line;
mod concurrency;
mod crash;
mod endings;
mod errors;
mod harness;
mod interop;
mod limits;
mod rpcs;
mod snapshots;
mod sqllogic;
mod streaming;
mod tickets;
mod tidy;
