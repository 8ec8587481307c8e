//! Keeping Delta tables quick: checkpoints, compaction, vacuum, and the way back to an earlier version.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::Array;
use arrow::datatypes::{FieldRef, Schema};

use super::super::name::DatasetRef;
use super::super::raw::RawScan;
use super::super::store::Catalog;
use super::rewrite::{Rewritten, RowChange};
use super::turn::ChangeTurn;
use super::{AtVersion, about, delta_version};
use crate::catalog::Version;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Changes, DataFile, DeltaLog, DeltaVersion, Operation};

/// Bytes of rows that are decoded at once.
const BATCH_BYTES: u64 = 8 << 20;

/// When tables are compacted by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaintenanceOptions {
    /// So many small files of one partition are made one. Zero: never.
    pub compact_files: usize,
    /// Files of fewer bytes than these are small.
    pub small_file_bytes: u64,
}

/// What a vacuum did, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vacuumed {
    /// The files, by their path in the table's directory.
    pub files: Vec<String>,
}

impl Catalog {
    /// Looks after a table once it was changed, in the background: what fails here fails nobody's request.
    pub(in super::super) fn maintain(self: &Arc<Self>, dataset: &DatasetRef, log: &Arc<DeltaLog>) {
        let Some(turn) = log.maintenance() else { return };
        let (catalog, dataset, log) = (Arc::downgrade(self), dataset.clone(), Arc::clone(log));
        self.delta.spawn(move || {
            let Some(catalog) = catalog.upgrade() else { return };
            // Commits that come while this runs ask for another turn.
            while turn.is_wanted() {
                if let Err(error) = catalog.look_after(&dataset, &log) {
                    tracing::warn!(%dataset, %error, "cannot look after a Delta table");
                }
            }
        });
    }

    fn look_after(self: &Arc<Self>, dataset: &DatasetRef, log: &Arc<DeltaLog>) -> Result<()> {
        let options = self.options.maintenance;
        if options.compact_files > 0 {
            let groups = small_files(&log.latest()?, options.small_file_bytes);
            if groups.values().any(|group| group.len() >= options.compact_files) {
                // Where a statement has the turn, it asks for another look when it is done.
                if let Some(turn) = ChangeTurn::take_if_free(dataset, log)
                    && let Err(error) = self.compact(turn, options.compact_files)
                {
                    tracing::warn!(%dataset, %error, "cannot compact a Delta table");
                }
            }
        }
        log.checkpoint(&log.latest()?).map(|_| ())
    }

    /// Makes the small files of each partition one, where there are at least `least` of them.
    fn compact(self: &Arc<Self>, turn: ChangeTurn, least: usize) -> Result<Rewritten> {
        let change = RowChange::begin(Arc::clone(self), turn, Operation::Compact)?;
        let groups = small_files(change.version(), self.options.maintenance.small_file_bytes);
        let files: Vec<usize> = groups.into_values().filter(|group| group.len() >= least).flatten().collect();
        change.compact(&files)
    }

    /// Makes the small files of each partition of a dataset one.
    pub fn compact_dataset(self: &Arc<Self>, turn: ChangeTurn) -> Result<Rewritten> {
        self.compact(turn, 2)
    }

    /// The log of `dataset`, which must be a Delta table, for work on the whole of it.
    pub fn delta_table(&self, dataset: &DatasetRef) -> Result<Arc<DeltaLog>> {
        self.root.check_writable()?;
        self.log_of(dataset)
    }

    /// Makes `dataset` a Delta table, if it is none yet, for its rows to be changed.
    pub fn changeable(self: &Arc<Self>, dataset: &DatasetRef) -> Result<Arc<DeltaLog>> {
        self.root.check_writable()?;
        let _lock = self.lock(dataset);
        self.promote(dataset)
    }

    /// Adds columns to a dataset, which is NULL in the rows that are there.
    pub fn add_columns(self: &Arc<Self>, dataset: &DatasetRef, columns: Vec<FieldRef>) -> Result<()> {
        self.root.check_writable()?;
        let _lock = self.lock(dataset);
        let log = self.promote(dataset)?;
        let version = log.latest()?;
        for column in &columns {
            if version.logical().fields().iter().any(|field| field.name() == column.name()) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("dataset {dataset} has a column {:?} already", column.name()),
                ));
            }
            if !column.is_nullable() && version.file_count() > 0 {
                return Err(Error::invalid(format!(
                    "column {:?} cannot be NOT NULL: the rows that are there have no value for it",
                    column.name()
                )));
            }
        }
        let fields = version.logical().fields().iter().cloned().chain(columns);
        let schema =
            Schema::new_with_metadata(fields.collect::<Vec<_>>(), version.logical().metadata().clone());
        let changes = Changes {
            operation: Operation::AddColumns,
            schema: Some(schema),
            ..Changes::append(Vec::new(), None)
        };
        log.commit(&version, &changes).map(|_| ())
    }

    /// Lets a column of a dataset hold NULL, or forbids it where no row has one.
    pub fn set_nullable(self: &Arc<Self>, dataset: &DatasetRef, column: &str, nullable: bool) -> Result<()> {
        self.root.check_writable()?;
        let _lock = self.lock(dataset);
        let log = self.promote(dataset)?;
        let version = log.latest()?;
        version.check_changeable()?;
        let logical = version.logical();
        let place = place_of(logical, column)
            .ok_or_else(|| Error::invalid(format!("dataset {dataset} has no column {column:?}")))?;
        if logical.field(place).is_nullable() == nullable {
            return Ok(());
        }
        if !nullable {
            self.check_no_nulls(dataset, &log, &version, place)?;
        }
        let mut fields = logical.fields().to_vec();
        fields[place] = Arc::new(logical.field(place).clone().with_nullable(nullable));
        let schema = Schema::new_with_metadata(fields, logical.metadata().clone());
        let name = logical.field(place).name().clone();
        let operation = if nullable { Operation::DropNotNull(name) } else { Operation::SetNotNull(name) };
        let changes = Changes {
            operation,
            schema: Some(schema),
            exact: !nullable,
            ..Changes::append(Vec::new(), None)
        };
        log.commit(&version, &changes).map(|_| ())
    }

    fn check_no_nulls(
        &self,
        dataset: &DatasetRef,
        log: &DeltaLog,
        version: &DeltaVersion,
        place: usize,
    ) -> Result<()> {
        let snapshot = Arc::new(self.delta_snapshot(dataset, log, version)?);
        let field = Arc::clone(&snapshot.dataset.schema.fields()[place]);
        let schema = Arc::new(Schema::new(vec![Arc::clone(&field)]));
        let scan = Arc::new(RawScan::of_columns(snapshot, vec![place], None, schema));
        for piece in scan.pieces(BATCH_BYTES) {
            let mut rows = scan.open(&piece, BATCH_BYTES)?;
            while let Some(batch) = rows.next_batch()? {
                if batch.column(0).logical_null_count() > 0 {
                    return Err(Error::precondition(format!(
                        "column {:?} of dataset {dataset} cannot be NOT NULL: a row has NULL",
                        field.name()
                    )));
                }
            }
        }
        Ok(())
    }

    /// Removes files that no version of the last `retention` needs, or only lists them (`dry_run`). Readers of
    /// older versions that have them open read on.
    pub fn vacuum_dataset(
        &self,
        dataset: &DatasetRef,
        retention: Option<Duration>,
        dry_run: bool,
    ) -> Result<Vacuumed> {
        self.root.check_writable()?;
        let log = self.log_of(dataset)?;
        // Files lie in the table's directory for a moment before a commit names them: not while this looks.
        let _lock = self.lock(dataset);
        let files = log.vacuum(retention, dry_run).map_err(|error| about(dataset, &error))?;
        Ok(Vacuumed { files })
    }

    /// Makes an earlier version the newest one again, as a new version.
    pub fn restore_dataset(
        &self,
        ChangeTurn { dataset, log, .. }: &ChangeTurn,
        at: AtVersion,
    ) -> Result<Version> {
        let _lock = self.lock(dataset);
        let to = match at {
            AtVersion::Number(number) => log.at(number),
            AtVersion::Time(time) => log.at_time(time),
        };
        let to = to.map_err(|error| about(dataset, &error))?;
        for file in to.files() {
            if !log.area().is_file(&file.path)? {
                return Err(Error::precondition(format!(
                    "version {} of dataset {dataset} has lost the file {}: it was removed by a vacuum",
                    to.number(),
                    file.path.display()
                )));
            }
        }
        Ok(delta_version(&log.restore(&to).map_err(|error| about(dataset, &error))?))
    }
}

/// The place of the column of a name, or of the only one that differs in case.
fn place_of(schema: &Schema, name: &str) -> Option<usize> {
    schema.index_of(name).ok().or_else(|| {
        let fields = schema.fields().iter().enumerate();
        let mut same = fields.filter(|(_, field)| field.name().to_lowercase() == name.to_lowercase());
        same.next().filter(|_| same.next().is_none()).map(|(place, _)| place)
    })
}

/// The files below a size, by partition: their places among all files.
fn small_files(
    version: &DeltaVersion,
    small_bytes: u64,
) -> BTreeMap<Vec<(String, Option<String>)>, Vec<usize>> {
    let mut groups: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (place, file) in version.files().into_iter().enumerate() {
        if file.bytes < small_bytes {
            groups.entry(partition_of(file)).or_default().push(place);
        }
    }
    groups.retain(|_, files| files.len() > 1);
    groups
}

fn partition_of(file: DataFile) -> Vec<(String, Option<String>)> {
    let mut values: Vec<_> = file.partition.into_iter().collect();
    values.sort();
    values
}
