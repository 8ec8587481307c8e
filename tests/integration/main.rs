//! Tests over the real binary: each starts a server of its own on an ephemeral port and a fresh root.

// A test that panics has failed, which is what it is for.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Other programs rename without syncing.
#![allow(clippy::disallowed_methods)]

mod actions;
mod columns;
mod command_line;
mod concurrency;
mod crash;
mod damage;
mod delta;
mod delta_crash;
mod descriptors;
mod downloads;
mod drain;
mod endings;
mod errors;
mod exhaustion;
mod filters;
mod flight_sql;
mod folders;
mod foreign;
mod harness;
mod hostile;
mod interop;
mod limits;
mod memory;
mod partitions;
mod plans;
mod rpcs;
mod safeguards;
mod sessions;
mod snapshots;
mod sqllogic;
mod statistics;
mod streaming;
mod tables_of_others;
mod tickets;
mod tidy;
mod tools;
mod trash;
mod whole;
