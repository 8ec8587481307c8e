//! SQL: from a text to a lazy stream of batches. Knows nothing of gRPC.
//!
//! ```text
//! text ── limits ── parse ── gate ── plan on snapshots ── gate ── physical plan ── output types ── stream
//! ```
//!
//! Every statement passes both gates, whatever entry it came by. A stream that is dropped stops its
//! query; one that fails says so, and never ends early as if it were whole.

mod admission;
mod bounded;
mod error;
mod gate;
mod input;
mod interrupt;
mod limits;
mod output;
mod query;
mod session;
mod workers;

pub use admission::{AdmissionOptions, Permit};
pub use input::InputTable;
pub use limits::SqlLimits;
pub use output::TypeProfile;
pub use query::{Query, QueryStream, deadline_exceeded};
pub use session::{Engine, EngineOptions};
