//! SQL: from a text to a lazy stream of batches. Knows nothing of gRPC.
//!
//! ```text
//! text ── limits ── parse ── gate ── plan on snapshots ── gate ── physical plan ── output types ── stream
//! ```
//!
//! Every statement passes both gates, whatever entry it came by. A stream that is dropped stops its
//! query; one that fails says so, and never ends early as if it were whole.

mod admission;
mod bound_rows;
mod change;
mod columns;
mod control;
mod environment;
mod error;
mod frugal;
mod functions;
mod gate;
mod gather;
mod growth;
mod interrupt;
mod keys;
mod limits;
mod maintenance;
mod memory;
mod modify;
mod optimizer;
mod origins;
mod output;
mod parameters;
mod pass_through;
mod plan_cache;
mod planning;
mod query;
mod rerun;
mod running;
mod scope;
mod session;
mod setting;
mod sort_key;
mod source;
mod sql;
mod statement;
#[cfg(feature = "substrait")]
mod substrait;
mod tables;
mod tokens;
mod trash;
mod undrop;
mod verbs;
mod workers;

pub use admission::{AdmissionOptions, Permit};
pub use bound_rows::BoundRows;
pub use change::TableSink;
pub use control::Control;
pub use environment::{Environment, TemporaryTables};
pub use gather::Gathering;
pub use growth::{Sizes, dense};
pub use limits::SqlLimits;
pub use memory::{MemoryBudget, Relief, usable_memory};
pub use origins::Origin;
pub use output::TypeProfile;
pub use parameters::Bound;
pub use query::{Prepared, Query, QueryStream, deadline_exceeded};
pub use running::{Activity, cancelled};
pub use scope::{Endpoints, Scope};
pub use session::{Engine, EngineOptions};
pub use setting::Setting;
pub use source::Source;
pub use statement::StatementKind;
pub use tables::{CATALOG, INFORMATION_SCHEMA, InputTable, Rows, SYSTEM_SCHEMA, Table, time_field, times};
pub use verbs::near_verb;
