//! Airstrip: a directory of Parquet files, served over Arrow Flight and queried with SQL.
//!
//! # The map
//!
//! | module | what lives there | may use |
//! |---|---|---|
//! | [`cli`] | the command line: `serve`, `demo` | all below |
//! | [`config`] | settings: flags, environment, file | the option structs of those below |
//! | [`server`] | gRPC, the only place that knows tonic | all below |
//! | [`engine`] | SQL: gates, planning, running, output types | all below |
//! | [`catalog`] | names, datasets, snapshots, their lifecycle; plans nothing | storage |
//! | [`storage`] | files: the root, footers, reading, staging, publishing; the logs of Delta tables | |
//! | [`error`] | the error type | |
//! | `safeguard` | what tests can take out | |
//! | `failpoint` | where tests can have it fail | |
//! | `fuzz` | what fuzzers call, in their builds alone | all above |
//! | [`proto`] | the messages of `proto/`, generated | |
//!
//! How a query, a download, an upload and a change go through them, the threads, the memory and the words are in
//! `ARCHITECTURE.md`.

pub mod catalog;
pub mod cli;
pub mod config;
pub mod engine;
pub mod error;
mod failpoint;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod safeguard;
pub mod server;
pub mod storage;

/// The messages of `proto/airstrip/v1`, with protobuf's JSON mapping.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::unwrap_used)]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/airstrip.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/airstrip.v1.serde.rs"));

    /// Messages of Flight and Flight SQL that the arrow-flight crate lacks.
    pub mod flight {
        include!(concat!(env!("OUT_DIR"), "/arrow.flight.protocol.rs"));
        include!(concat!(env!("OUT_DIR"), "/arrow.flight.protocol.sql.rs"));
    }
}
