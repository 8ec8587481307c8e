//! What a statement runs in: what its session has set, and the tables that only it sees.

mod environment;
mod options;

pub use environment::{Environment, TemporaryTables};
pub(in crate::engine) use options::DEFAULT_TIME_ZONE;
pub use options::{Endpoints, Scope};
