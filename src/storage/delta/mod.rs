//! Delta Lake tables: their log, by the delta-rs library, over files of the root.
//!
//! The library decides what a table's log means and how one is written; the data files are read and
//! written like all others. What it works on is a directory that is held open, through a store that
//! syncs what it writes.

mod columns;
mod commit;
mod entry;
mod error;
mod log;
mod mapping;
mod placing;
mod protocol;
mod restore;
mod runtime;
mod store;
mod types;
mod vacuum;
mod whole;

pub use commit::{Changes, Committed, NewFile, Operation, Transaction, first_entry, first_entry_path};
pub use log::{CommitSummary, DELTA_LOG, DataFile, DeletedRows, DeltaLog, DeltaVersion};
pub use placing::Placing;
pub(super) use placing::sweep_placed;
pub use runtime::DeltaRuntime;
pub use types::{delta_types, to_logical, to_stored};
