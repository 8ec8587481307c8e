//! Reading the files of a snapshot as DataFusion's table: which of them, which of their rows, through which cache.

mod cached_source;
mod damage;
mod expr_adapter;
mod partition_pruning;
mod selectivity;
mod snapshot_table;

pub(in crate::engine) use snapshot_table::{
    FILE_COLUMN, ROW_COLUMN, SnapshotTable, partition_rows, snapshot_behind, store_url,
};
