//! Datasets that are Delta tables: finding their logs, and reading their versions.

mod checks;
mod conform;
mod maintain;
mod nullability;
mod promote;
mod rewrite;
mod spark;
mod stats;
mod turn;
mod upload;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::{DataFusionError, ScalarValue};
use moka::sync::Cache;

pub(super) use conform::Conform;
pub use maintain::{MaintenanceOptions, Vacuumed};
pub use rewrite::{Rewritten, RowChange};
pub use turn::ChangeTurn;
pub(super) use upload::DeltaUpload;
pub use upload::parse_transaction;

use nullability::as_in_files;

use super::dataset::{Dataset, DeltaMark, PartFile, Version};
use super::name::DatasetRef;
use super::snapshot::Snapshot;
use super::store::Catalog;
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{
    CommitSummary, Committed, DataFile, DeltaLog, DeltaRuntime, DeltaVersion, HeldFile, Root,
    descriptor_limit, parallel_map, to_logical,
};

/// Tables whose logs are kept in memory, each with a descriptor of its directory.
const KEPT: u64 = 512;

/// The logs of the tables that were met, by path.
#[derive(Debug)]
pub(super) struct DeltaTables {
    root: Arc<Root>,
    runtime: Arc<DeltaRuntime>,
    logs: Cache<PathBuf, Arc<DeltaLog>>,
}

impl DeltaTables {
    pub(super) fn new(root: Arc<Root>) -> Self {
        // Each holds two.
        let descriptors = descriptor_limit().map_or(KEPT, |limit| limit / 16);
        Self { root, runtime: Arc::default(), logs: Cache::new(KEPT.min(descriptors)) }
    }

    /// The log of the table at `path`. One that is kept holds its directory open, so a directory of the same
    /// identity is the same table.
    pub(super) fn open(&self, path: &Path) -> Result<Arc<DeltaLog>> {
        if let Some(log) = self.logs.get(path) {
            if self.root.area().within(path)?.identity()? == log.area().identity()? {
                return Ok(log);
            }
            self.logs.invalidate(path);
        }
        let log = match self.open_unkept(path) {
            // Those that are kept have descriptors that are needed more here.
            Err(error) if error.kind() == ErrorKind::ResourceExhausted => {
                self.logs.invalidate_all();
                self.logs.run_pending_tasks();
                self.open_unkept(path)?
            }
            opened => opened?,
        };
        let log = Arc::new(log);
        self.logs.insert(path.to_owned(), Arc::clone(&log));
        Ok(log)
    }

    /// Runs blocking work in the background.
    fn spawn(&self, work: impl FnOnce() + Send + 'static) {
        if let Err(error) = self.runtime.spawn(work) {
            tracing::warn!(%error, "cannot look after a Delta table");
        }
    }

    /// The log at `path`, which is not going to stay there.
    fn open_unkept(&self, path: &Path) -> Result<DeltaLog> {
        DeltaLog::open(&self.root, path, Arc::clone(&self.runtime))
    }
}

/// Which version of a Delta table is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtVersion {
    /// The one of this number.
    Number(u64),
    /// The one that was the newest at this time.
    Time(SystemTime),
}

impl AtVersion {
    /// Reads a number, or a time as RFC 3339 has it.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(number) = text.parse() {
            return Some(Self::Number(number));
        }
        let time = ScalarValue::try_from_string(
            text.to_owned(),
            &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        );
        let Ok(ScalarValue::TimestampMicrosecond(Some(micros), _)) = time else { return None };
        Some(Self::Time(UNIX_EPOCH + Duration::from_micros(u64::try_from(micros).ok()?)))
    }
}

/// The version of a dataset that is `version` of its table.
pub(super) fn delta_version(version: &DeltaVersion) -> Version {
    Version::of_delta(&mark(version))
}

/// The version of a dataset that a commit has made.
fn committed_version(committed: Committed) -> Version {
    Version::of_delta(&DeltaMark { table_id: committed.table_id, version: committed.version })
}

fn mark(version: &DeltaVersion) -> DeltaMark {
    DeltaMark { table_id: version.table_id().to_owned(), version: version.number() }
}

impl Catalog {
    /// `dataset` as it was at an earlier version, with its files open.
    pub fn snapshot_at(&self, dataset: &DatasetRef, at: AtVersion) -> Result<Snapshot> {
        let log = self.log_of(dataset)?;
        let version = match at {
            AtVersion::Number(number) => log.at(number),
            AtVersion::Time(time) => log.at_time(time),
        };
        let version = version.map_err(|error| about(dataset, &error))?;
        self.delta_snapshot(dataset, &log, &version).map_err(|error| match error.kind() {
            ErrorKind::DataLoss if error.message().contains("has lost a file") => {
                Error::precondition(format!(
                    "version {} of dataset {dataset} has lost files: they were removed by a vacuum",
                    version.number()
                ))
                .with_source(error)
            }
            _ => error,
        })
    }

    /// `dataset` at the version of this text: the one that it has, or an earlier one of a Delta table.
    pub fn snapshot_of_version(&self, dataset: &DatasetRef, version: &str) -> Result<Snapshot> {
        let now = self.snapshot(dataset)?;
        if now.dataset.version().as_str() == version {
            return Ok(now);
        }
        if let Some(delta) = &now.dataset.delta
            && let Some(number) = version.split('-').next().and_then(|text| text.parse().ok())
            && Version::of_delta(&DeltaMark { version: number, ..delta.clone() }).as_str() == version
        {
            return self.snapshot_at(dataset, AtVersion::Number(number));
        }
        Err(Error::precondition(format!(
            "the ticket is of version {version} of dataset {dataset}, which has version {} by now; ask for new \
             tickets (GetFlightInfo)",
            now.dataset.version()
        )))
    }

    /// The last commits of `dataset`, the newest first; none where it is no Delta table.
    pub fn history(&self, dataset: &DatasetRef, limit: usize) -> Result<Vec<CommitSummary>> {
        match self.delta_log(dataset)? {
            Some(log) => log.history(limit).map_err(|error| about(dataset, &error)),
            None => Ok(Vec::new()),
        }
    }

    /// The log of `dataset`, which must be a Delta table.
    pub(super) fn log_of(&self, dataset: &DatasetRef) -> Result<Arc<DeltaLog>> {
        if let Some(log) = self.delta_log(dataset)? {
            return Ok(log);
        }
        self.check_format(dataset)?;
        Err(Error::precondition(format!(
            "dataset {dataset} has no versions: it is plain Parquet, and becomes a Delta table with its first append or \
             change of rows"
        )))
    }

    /// A version of a table with its files open.
    pub(super) fn delta_snapshot(
        &self,
        dataset: &DatasetRef,
        log: &DeltaLog,
        version: &DeltaVersion,
    ) -> Result<Snapshot> {
        let files = self.checked_files(dataset, version)?;
        self.snapshot_of_files(dataset, log, version, files)
    }

    fn snapshot_of_files(
        &self,
        dataset: &DatasetRef,
        log: &DeltaLog,
        version: &DeltaVersion,
        parts: Vec<DataFile>,
    ) -> Result<Snapshot> {
        let opened = parallel_map(&parts, |part| {
            let file = log.area().hold_to_read(&part.path)?.with_names(version.names().cloned());
            let footer = self.footers.of(&file)?;
            Ok::<_, Error>((file, footer))
        });
        let mut files: Vec<HeldFile> = Vec::with_capacity(parts.len());
        let mut described = Vec::with_capacity(parts.len());
        for (part, opened) in parts.into_iter().zip(opened) {
            let (file, footer) = opened.map_err(|error| self.lost(dataset, log, error))?;
            let partition_values = partition_values(&part, version)?;
            let deleted = log.deleted_rows(&part)?;
            described.push(PartFile {
                path: part.path,
                stat: *file.stat(),
                footer,
                partition_values,
                deleted,
            });
            files.push(file);
        }
        Ok(Snapshot::held(assemble(dataset, version, described), files))
    }

    /// What a version of a table holds.
    pub(super) fn describe_delta(
        &self,
        dataset: &DatasetRef,
        log: &DeltaLog,
        version: &DeltaVersion,
    ) -> Result<Dataset> {
        let parts = self.checked_files(dataset, version)?;
        let footers = parallel_map(&parts, |part| {
            let stat = log.area().stat(&part.path)?;
            self.footers.at(log.area(), &part.path, stat, version.names())
        });
        let described = parts.into_iter().zip(footers).map(|(part, read)| {
            let (stat, footer) = read.map_err(|error| self.lost(dataset, log, error))?;
            let partition_values = partition_values(&part, version)?;
            let deleted = log.deleted_rows(&part)?;
            Ok(PartFile { path: part.path, stat, footer, partition_values, deleted })
        });
        Ok(assemble(dataset, version, described.collect::<Result<_>>()?))
    }

    /// The error for a file of a table that could not be opened: where the table is still there, a file that is
    /// not is a loss, and no dataset that somebody drops.
    fn lost(&self, dataset: &DatasetRef, log: &DeltaLog, error: Error) -> Error {
        let is_there = || {
            let now = self.delta_log_if_any(dataset).ok().flatten()?;
            (now.area().identity().ok()? == log.area().identity().ok()?).then_some(())
        };
        if error.kind() == ErrorKind::NotFound && is_there().is_some() {
            return Error::data_loss(format!("dataset {dataset} has lost a file: {}", error.message()));
        }
        error
    }

    fn checked_files(&self, dataset: &DatasetRef, version: &DeltaVersion) -> Result<Vec<DataFile>> {
        let limit = self.options.max_parts;
        if version.file_count() > limit {
            return Err(Error::exhausted(format!(
                "dataset {dataset} has more than {limit} Parquet files (the setting max-parts); compact it \
                 with the action optimize_dataset"
            )));
        }
        own_files(version)
    }
}

/// The files of a version, which must lie in the table's directory.
fn own_files(version: &DeltaVersion) -> Result<Vec<DataFile>> {
    let files = version.files();
    match files.iter().find_map(DataFile::elsewhere) {
        None => Ok(files),
        Some(path) => Err(Error::unimplemented(format!(
            "the Delta table is a shallow clone, or was given files by their full paths: its log names {path}, which \
             does not lie in its folder and is not read; write it anew with the program that made it (CREATE TABLE … \
             AS SELECT)"
        ))),
    }
}

fn assemble(dataset: &DatasetRef, version: &DeltaVersion, parts: Vec<PartFile>) -> Dataset {
    let columns = version.partition_columns();
    let schema = as_in_files(version.logical(), &parts);
    Dataset::of_delta(dataset.clone(), mark(version), schema, columns, parts)
}

/// A file's values for the partition columns, in their order.
fn partition_values(file: &DataFile, version: &DeltaVersion) -> Result<Vec<ScalarValue>> {
    let value = |name: &String| {
        let find = |schema: &SchemaRef| schema.fields().iter().find(|field| field.name() == name).cloned();
        let (stored, logical) = find(version.stored())
            .zip(find(version.logical()))
            .ok_or_else(|| Error::data_loss(format!("partition column {name:?} is none of the table's")))?;
        partition_value(file.partition.get(name).and_then(Option::as_deref), &stored, &logical)
    };
    version.partition_columns().iter().map(value).collect()
}

/// A partition value as the protocol writes it: text of the stored type, and the empty one is NULL.
/// <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#partition-value-serialization>
fn partition_value(text: Option<&str>, stored: &FieldRef, logical: &FieldRef) -> Result<ScalarValue> {
    let text = text.filter(|text| !text.is_empty());
    let Some(text) = text else {
        let null = ScalarValue::try_from(logical.data_type());
        return null.map_err(|error| Error::internal(format!("a NULL of {}: {error}", logical.data_type())));
    };
    let refused = |error: DataFusionError| {
        let (name, data_type) = (stored.name(), stored.data_type());
        Error::data_loss(format!("the log gives {name}={text}, which is no {data_type}")).with_source(error)
    };
    let value = ScalarValue::try_from_string(text.to_owned(), stored.data_type()).map_err(refused)?;
    if stored.data_type() == logical.data_type() {
        return Ok(value);
    }
    let nullable = |field: &FieldRef| Arc::new(Schema::new(vec![Field::clone(field).with_nullable(true)]));
    let column = value.to_array_of_size(1).map_err(refused)?;
    let batch = RecordBatch::try_new(nullable(stored), vec![column])
        .map_err(|error| Error::internal(format!("a partition value: {error}")))?;
    let given = to_logical(&batch, &nullable(logical))?;
    ScalarValue::try_from_array(given.column(0), 0).map_err(refused)
}

/// The same error, saying which dataset it is about.
fn about(dataset: &DatasetRef, error: &Error) -> Error {
    Error::new(error.kind(), format!("dataset {dataset}: {}", error.message()))
}
