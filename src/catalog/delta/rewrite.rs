//! Changes of rows that are there: some go, others take their place.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, BooleanArray, Int64Array, RecordBatch, UInt32Array};
use arrow::compute::filter_record_batch;
use roaring::RoaringTreemap;

use super::super::dataset::Version;
use super::super::raw::{PieceScan, RawScan};
use super::super::snapshot::Snapshot;
use super::super::store::Catalog;
use super::turn::ChangeTurn;
use super::writer::{DataWriter, Placed};
use super::{committed_version, delta_version, own_files};
use crate::error::{Error, Result};
use crate::storage::{Changes, DataFile, DeltaVersion, NewFile, Operation};

/// Bytes of rows that are decoded at once.
const BATCH_BYTES: u64 = 8 << 20;

/// What a change did to the files of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// Files that went.
    pub files_removed: u64,
    /// Files that came.
    pub files_added: u64,
    /// The version afterwards.
    pub version: Version,
}

/// A change of the rows of a Delta table on its way: which rows go, by file and place, and which come.
/// Dropped before it is committed, it changes nothing.
pub struct RowChange {
    catalog: Arc<Catalog>,
    turn: ChangeTurn,
    version: DeltaVersion,
    snapshot: Arc<Snapshot>,
    operation: Operation,
    gone: BTreeMap<usize, RoaringTreemap>,
    writer: DataWriter,
}

impl RowChange {
    /// Begins a change of the dataset whose `turn` it is.
    pub fn begin(catalog: Arc<Catalog>, turn: ChangeTurn, operation: Operation) -> Result<Self> {
        let ChangeTurn { dataset, log, .. } = &turn;
        let version = log.latest()?;
        version.check_changeable()?;
        let compacts = operation == Operation::Compact;
        let has_feed =
            version.properties().get("delta.enableChangeDataFeed").is_some_and(|text| text == "true");
        if has_feed && !compacts {
            return Err(Error::unimplemented(
                "the table keeps a change data feed (delta.enableChangeDataFeed), which changes of rows would \
                 have to write and is not supported; appends are",
            ));
        }
        // However many files there are: to make them fewer is what a compaction is for.
        let files = if compacts { own_files(&version)? } else { catalog.checked_files(dataset, &version)? };
        let snapshot = Arc::new(catalog.snapshot_of_files(dataset, log, &version, files)?);
        let writer = DataWriter::new(Arc::clone(&catalog), version.logical(), version.partition_columns())?;
        let writer = writer.with_checks(&version)?;
        Ok(Self { catalog, turn, version, snapshot, operation, gone: BTreeMap::new(), writer })
    }

    /// The version that the change is of.
    pub(super) fn version(&self) -> &DeltaVersion {
        &self.version
    }

    /// The rows that the change is of.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// Marks rows as gone: the files that they are in, by their place in the snapshot, and their places in the
    /// files. A row that is named twice is an error, since what it is to become would be open.
    pub fn remove(&mut self, files: &UInt32Array, rows: &Int64Array) -> Result<()> {
        for (file, row) in files.iter().zip(rows.iter()) {
            let (Some(file), Some(row)) = (file, row) else { continue };
            let row = u64::try_from(row).map_err(|_| Error::internal("a row before the first"))?;
            if !self.gone.entry(file as usize).or_default().insert(row) {
                return Err(Error::invalid(
                    "a row of the table matches several rows of the source, so what it becomes is open; make the \
                     source's keys unique",
                ));
            }
        }
        Ok(())
    }

    /// Adds rows, which have the columns of the dataset's schema.
    pub fn insert(&mut self, batch: &RecordBatch) -> Result<()> {
        for (column, field) in batch.columns().iter().zip(self.snapshot.dataset.schema.fields()) {
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(Error::invalid(format!("column {:?} is NOT NULL, a row has NULL", field.name())));
            }
        }
        self.write(batch)
    }

    /// What the change is called in the table's history.
    pub fn describe(&mut self, operation: Operation) {
        self.operation = operation;
    }

    /// Rows that were marked as gone.
    pub fn removed(&self) -> u64 {
        self.gone.values().map(RoaringTreemap::len).sum()
    }

    /// Publishes the change. Blocks.
    pub fn commit(mut self) -> Result<Rewritten> {
        if self.gone.is_empty() && self.writer.rows() == 0 {
            return Ok(self.nothing());
        }
        let files = self.version.files();
        let gone = std::mem::take(&mut self.gone);
        let mut removed: Vec<DataFile> = Vec::with_capacity(gone.len());
        for (file, rows) in gone {
            self.keep_others(file, &rows)?;
            removed.extend(files.get(file).cloned());
        }
        self.publish(removed)
    }

    /// Publishes the rows that were added in the place of all that were there: they are the same ones, in an order
    /// that reads better. Blocks.
    pub fn commit_reordered(self) -> Result<Rewritten> {
        let (before, after) = (self.snapshot.dataset.rows(), self.writer.rows());
        if before != after {
            return Err(Error::internal(format!("of {before} rows that are put in order {after} are left")));
        }
        if before == 0 {
            return Ok(self.nothing());
        }
        let removed = self.version.files();
        self.publish(removed)
    }

    /// What is so where nothing was to be done.
    fn nothing(&self) -> Rewritten {
        Rewritten { files_removed: 0, files_added: 0, version: delta_version(&self.version) }
    }

    /// Replaces whole files by others.
    fn publish(self, remove: Vec<DataFile>) -> Result<Rewritten> {
        let Self { catalog, turn, version, operation, writer, .. } = self;
        let ChangeTurn { dataset, log, .. } = &turn;
        let partitions = writer.partition_columns().to_vec();
        let finished = writer.finish()?;
        let lock = catalog.lock(dataset);
        let placed = Placed::new(finished, &partitions, log, &version)?;
        let mut add = placed.files();
        if operation == Operation::Compact {
            keep_times(&mut add, &remove);
        }
        let changes = Changes { operation, remove, ..Changes::append(add, None) };
        let committed = placed.commit(&version, &changes)?;
        drop(lock);
        catalog.maintain(dataset, log);
        Ok(Rewritten {
            files_removed: changes.remove.len() as u64,
            files_added: changes.add.len() as u64,
            version: committed_version(committed),
        })
    }

    /// Writes the rows of a file that stay.
    fn keep_others(&mut self, file: usize, gone: &RoaringTreemap) -> Result<()> {
        let part = self.snapshot.dataset.parts.get(file);
        let part = part.ok_or_else(|| Error::internal("a row of a file that the table has not"))?;
        if gone.len() == part.rows() {
            return Ok(());
        }
        self.copy(file, |rows, batch| {
            let stays: BooleanArray = rows.iter().map(|row| Some(!gone.contains(*row))).collect();
            filter_record_batch(batch, &stays)
                .map_err(|error| Error::internal(format!("keeping the rows that stay: {error}")))
        })
    }

    fn copy(
        &mut self,
        file: usize,
        mut pick: impl FnMut(&[u64], &RecordBatch) -> Result<RecordBatch>,
    ) -> Result<()> {
        let scan = Arc::new(RawScan::new(Arc::clone(&self.snapshot)));
        for piece in scan.pieces(BATCH_BYTES).iter().filter(|piece| piece.part() == file) {
            let (places, mut first) = (scan.places_of_rows(piece), 0);
            let mut rows: PieceScan = scan.open(piece, BATCH_BYTES)?;
            while let Some(batch) = rows.next_batch()? {
                let rows = places.get(first..first + batch.num_rows());
                let rows = rows.ok_or_else(|| Error::internal("more rows than a piece has"))?;
                let picked = pick(rows, &batch)?;
                first += batch.num_rows();
                self.write(&picked)?;
            }
        }
        Ok(())
    }

    /// Rewrites whole files, in their order, as others with the same rows.
    pub(super) fn compact(mut self, files: &[usize]) -> Result<Rewritten> {
        if files.is_empty() {
            return Ok(self.nothing());
        }
        for file in files {
            self.copy(*file, |_, batch| Ok(batch.clone()))?;
        }
        let all = self.version.files();
        let removed = files.iter().filter_map(|file| all.get(*file).cloned()).collect();
        self.publish(removed)
    }

    /// Writes rows that have the columns of the dataset's schema, where partition columns come last, in the
    /// order of the table's.
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let own = &self.snapshot.dataset.schema;
        let wanted = self.version.logical();
        let places: Result<Vec<usize>, _> =
            wanted.fields().iter().map(|field| own.index_of(field.name())).collect();
        let places = places.map_err(|error| Error::internal(format!("a column of the table: {error}")))?;
        let batch = batch
            .project(&places)
            .map_err(|error| Error::internal(format!("the columns of the table: {error}")))?;
        self.writer.write(&batch)
    }
}

/// Gives files that hold the rows of others the times of those: rows that were appended meanwhile stay behind
/// them.
fn keep_times(add: &mut [NewFile], removed: &[DataFile]) {
    for new in add {
        let same = removed.iter().filter(|old| old.partition == new.partition);
        new.modified = same.map(|old| old.modified).max().unwrap_or(new.modified);
    }
}
