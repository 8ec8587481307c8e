//! What a statement runs in: what its session has set, and the tables that only it sees.

mod environment;
mod options;

pub use environment::{Environment, TemporaryTables};
pub use options::{Endpoints, Scope};
