//! Datasets: their names, where they lie, what they hold, and how they come and go.
//!
//! The directory is the catalog: nothing is remembered that the files do not say, so a file that
//! another program drops in is visible to the next request. The methods here block on files; callers
//! on a runtime go through [`storage::blocking`](crate::storage::blocking).

mod dataset;
mod delta;
mod describe;
mod keys;
mod layout;
mod name;
mod partitions;
mod raw;
mod registration;
mod removal;
mod replacing;
mod several;
mod shared_keys;
mod sink;
mod snapshot;
mod store;
mod trash;
mod view;
mod write;

pub use dataset::{Dataset, DeltaMark, Kind, PartFile, Version};
pub use delta::{
    AtVersion, ChangeTurn, MaintenanceOptions, Rewritten, RowChange, Vacuumed, parse_transaction,
};
pub use describe::ColumnStats;
pub use keys::{ForeignKey, KeyRule, Keys, PrimaryKey};
pub use name::{DEFAULT_SCHEMA, DatasetName, DatasetRef, SchemaName};
pub use raw::{Piece, PieceScan, RawScan};
pub use replacing::{Guards, ReplaceOptions};
pub use snapshot::Snapshot;
pub use store::{Catalog, CatalogOptions, Listed};
pub use trash::{DroppedKind, InTrash, Restored, Undrop};
pub use view::View;
pub use write::{DropOptions, Dropped, IfMissing, PutMode, PutOptions, Receipt, TemporaryUpload, Upload};
