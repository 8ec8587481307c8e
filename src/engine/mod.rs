//! SQL: from a text to a lazy stream of batches. Knows nothing of gRPC.
//!
//! ```text
//! text ── limits ── parse ── gate ── plan on snapshots ── gate ── physical plan ── output types ── stream
//! ```
//!
//! Every statement passes both gates, whatever entry it came by. A stream that is dropped stops its
//! query; one that fails says so, and never ends early as if it were whole.

#[allow(clippy::module_inception, reason = "the file is called as its type")]
mod engine;
mod error;
mod functions;
mod growth;
mod memory;
mod operators;
mod optimizer;
mod query;
mod run;
mod session;
mod sql;
mod statement;
mod tables;
mod write;

use engine::BATCH_ROWS;
pub use engine::{Engine, EngineOptions};
pub use growth::{Sizes, dense};
pub use memory::{MemoryBudget, Relief, usable_memory};
pub use query::{Gathering, Origin, Prepared, Query, QueryStream, TypeProfile, deadline_exceeded};
pub use run::{Activity, AdmissionOptions, Control, Permit, cancelled};
pub use session::{Endpoints, Environment, Scope, TemporaryTables};
pub use statement::{Bound, Setting, Source, SqlLimits, StatementKind, near_verb};
pub use tables::{CATALOG, INFORMATION_SCHEMA, InputTable, Rows, SYSTEM_SCHEMA, Table, time_field, times};
pub use write::{BoundRows, TableSink};
