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
//! | [`catalog`] | names, datasets, snapshots, their lifecycle | storage |
//! | [`storage`] | files: the root, footers, reading, staging, publishing; the logs of Delta tables | |
//! | [`error`] | the error type | |
//! | `safeguard` | what tests can take out | |
//! | `failpoint` | where tests can have it fail | |
//! | `fuzz` | what fuzzers call, in their builds alone | all above |
//! | [`proto`] | the messages of `proto/`, generated | |
//!
//! # The life of a download
//!
//! ```text
//! client            server                      catalog                storage
//!   │ DoGet(ticket)   │                            │                      │
//!   │────────────────▶│ read once into a Target    │                      │
//!   │                 │───────── snapshot ────────▶│ open every file once │
//!   │                 │                            │─────────────────────▶│ openat2 beneath the root
//!   │                 │◀──── files held, footers ──│◀──── footer cache ───│
//!   │                 │ task: decode, encode ──────────────────────────▶ │ pread through the descriptor
//!   │◀── messages ────│ a channel of two chunks    │                      │
//!   │◀── OK, or an error: never an early end ──────│                      │
//! ```
//!
//! # The life of an upload
//!
//! ```text
//! DoPut ─▶ body guard ─▶ receive ─▶ encode, columns at once ─▶ staged file
//!       ─▶ true end? ─▶ fsync ─▶ read back ─▶ lock name
//!       ─▶ version still right? ─▶ rename ─▶ fsync directory ─▶ OK
//! ```
//!
//! # The life of a change
//!
//! ```text
//! UPDATE ─▶ the table's turn ─▶ a version, its files held ─▶ query: which rows (file, place), what they become
//!        ─▶ staged files: new rows, and those of touched files that stay ─▶ fsync
//!        ─▶ lock name ─▶ into the table's folder, fsync ─▶ no conflict since? ─▶ one entry in the log, fsync ─▶ OK
//! ```
//!
//! An append is the same without a query and without a turn. What lies in the folder and is in no entry is litter.
//!
//! # What must not happen
//!
//! - A reader sees two versions of one dataset, or a part of one.
//! - An upload that was acknowledged is not there after a crash; one that was cut is.
//! - A name, link, ticket or SQL text reaches a file outside of the root and the allowed directories.
//! - Input makes the process end, or grow without a limit that is a setting.

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
