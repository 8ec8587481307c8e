//! Statements that change something: rows, tables, views, schemas, and whole Delta tables at once.

mod bound_rows;
mod change;
mod ddl;
mod keys;
mod maintenance;
mod modify;
mod names;
mod sink;
mod undrop;

pub use bound_rows::BoundRows;
pub(in crate::engine) use change::changes_rows;
pub(in crate::engine) use ddl::{fold, reference};
pub use sink::TableSink;
pub(in crate::engine) use undrop::{Undropped, undrop};
