//! What SQL sees as tables: datasets and their versions, views, what a client streams in, and the server itself.

mod information_schema;
mod input;
mod listing;
mod query_catalog;
mod scan;
mod system;
mod time_travel;
mod trash;
mod view_planner;

pub use input::InputTable;
pub use listing::Table;
pub use query_catalog::{CATALOG, INFORMATION_SCHEMA, SYSTEM_SCHEMA};
pub(in crate::engine) use query_catalog::{Namespace, QueryCatalog};
pub(in crate::engine) use scan::{
    FILE_COLUMN, ROW_COLUMN, SnapshotTable, partition_rows, snapshot_behind, store_url,
};
pub use system::{Rows, time_field, times};
pub(in crate::engine) use system::{SystemSchema, queries, queries_schema};
pub(in crate::engine) use time_travel::add_versions;
pub(in crate::engine) use trash::{in_trash, trash_schema};
pub(in crate::engine) use view_planner::ViewPlanner;
