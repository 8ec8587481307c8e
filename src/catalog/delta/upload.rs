//! Uploads into Delta tables: rows are added to what is there, or take its place as a new version.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::super::dataset::{Dataset, DeltaMark, Kind, Version};
use super::super::name::DatasetRef;
use super::super::store::Catalog;
use super::super::write::{IfMissing, PutMode, PutOptions, Receipt};
use super::conform::{Conform, merged};
use super::writer::{DataWriter, Finished, Placed};
use super::{committed_version, delta_version, mark};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Changes, Committed, DeltaLog, DeltaVersion, NewFile, Operation, Transaction};

/// How often a dataset is looked for that seems to be there and is not found.
const LOOKS: usize = 5;

/// An upload into a Delta table, or one that makes its dataset one.
pub(in super::super) struct DeltaUpload {
    catalog: Arc<Catalog>,
    dataset: DatasetRef,
    options: PutOptions,
    /// The version that the rows were fitted to, if the table was there.
    base: Option<DeltaVersion>,
    /// The dataset's columns when the upload began, if it was there.
    before: Option<Columns>,
    /// The table's columns after the upload.
    logical: SchemaRef,
    /// Whether the columns are others than before.
    changes_columns: bool,
    conform: Conform,
    writer: DataWriter,
}

impl DeltaUpload {
    /// Begins to store batches of `schema`.
    pub(in super::super) fn begin(
        catalog: Arc<Catalog>,
        dataset: DatasetRef,
        schema: &SchemaRef,
        options: PutOptions,
    ) -> Result<Self> {
        let base = catalog.delta_log_if_any(&dataset)?.map(|log| log.latest()).transpose()?;
        if let Some(version) = &base {
            version.check_changeable()?;
        }
        let now = match &base {
            Some(version) => Some(Columns::of_delta(version)),
            None if catalog.exists(&dataset)? => Some(Columns::of_plain(&catalog.describe(&dataset)?)),
            None if options.if_missing == IfMissing::Fail => return Err(catalog.no_such_dataset(&dataset)),
            None => None,
        };
        if let Some(now) = &now {
            now.check_partitioned_by(&options.partition_by)?;
        }
        let after = match (&now, options.mode) {
            (Some(now), PutMode::Append) if options.merge_schema => now.with(merged(schema, &now.schema)),
            (Some(now), PutMode::Append) => now.clone(),
            (Some(now), _) => now.replaced_by(schema)?,
            (None, _) => Columns { schema: Arc::clone(schema), partitions: options.partition_by.clone() },
        };
        for (place, column) in after.partitions.iter().enumerate() {
            if after.partitions[..place].contains(column) {
                return Err(Error::invalid(format!("column {column:?} is named twice to partition by")));
            }
            if after.schema.index_of(column).is_err() {
                return Err(Error::invalid(format!("there is no column {column:?} to partition by")));
            }
        }
        catalog.check_columns(&dataset, schema, &options)?;
        let conform = Conform::new(&dataset, schema, &after.schema)?;
        let mut writer = DataWriter::new(Arc::clone(&catalog), &after.schema, &after.partitions)?;
        if let Some(version) = &base {
            writer = writer.with_checks(version)?;
        }
        let changes_columns = now.as_ref().is_some_and(|now| now.schema != after.schema);
        let logical = after.schema;
        Ok(Self { catalog, dataset, options, base, before: now, logical, changes_columns, conform, writer })
    }

    pub(in super::super) fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        self.writer.write(&self.conform.apply(batch)?)
    }

    pub(in super::super) fn rows(&self) -> u64 {
        self.writer.rows()
    }

    /// Makes the rows part of the dataset, durably and in one step.
    pub(in super::super) fn commit(self, look: &dyn Fn() -> Result<()>) -> Result<Receipt> {
        let Self { catalog, dataset, options, base, before, logical, changes_columns, writer, .. } = self;
        let rows = writer.rows();
        let partitions = writer.partition_columns().to_vec();
        let files = writer.finish()?;
        let bytes = files.iter().map(Finished::bytes).sum::<Result<u64>>()?;
        look()?;
        let lock = catalog.lock(&dataset);
        let log = catalog.delta_log_if_any(&dataset)?;
        // Before all other conditions: a client that asks again is to get the answer that it lost.
        if let (Some(log), Some(transaction)) = (&log, &options.transaction)
            && let Some((number, files)) = log.committed_transaction(transaction)?
        {
            // Whoever committed it may not have come to that.
            log.sync()?;
            return Ok(receipt_again(&log.latest()?, number, &files));
        }
        catalog.check_put(&dataset, &options)?;
        catalog.check_replaced(&dataset, &logical, rows, &options)?;
        let log = match log {
            Some(log) => log,
            None if catalog.exists(&dataset)? => catalog.promote(&dataset)?,
            None if options.transaction.is_none() => {
                let log = catalog.create_delta(&dataset, &logical, &partitions, files, None)?;
                return Ok(receipt(&log.latest()?, rows, bytes));
            }
            // The transaction goes into a commit of its own: the first entry makes the table.
            None => catalog.create_delta(&dataset, &logical, &partitions, Vec::new(), None)?,
        };
        let latest = log.latest()?;
        let read = match base {
            Some(base) if base.table_id() == latest.table_id() => base,
            // The table came to be since, or is another one of that name.
            _ => {
                let own = Columns { schema: Arc::clone(&logical), partitions: partitions.clone() };
                fitting(&dataset, latest, &before.unwrap_or(own))?
            }
        };
        let version =
            publish(&log, &read, files, &partitions, &options, changes_columns.then_some(&*logical))?;
        drop(lock);
        catalog.maintain(&dataset, &log);
        Ok(Receipt { rows, bytes, version: committed_version(version), trashed: None })
    }
}

/// A table's columns, and which of them it is partitioned by.
#[derive(Clone)]
struct Columns {
    schema: SchemaRef,
    partitions: Vec<String>,
}

impl Columns {
    fn of_delta(version: &DeltaVersion) -> Self {
        Self { schema: Arc::clone(version.logical()), partitions: version.partition_columns().to_vec() }
    }

    fn of_plain(dataset: &Dataset) -> Self {
        let partitions = dataset.partition_fields.iter().map(|field| field.name().clone()).collect();
        Self { schema: dataset.lasting_schema(), partitions }
    }

    /// Fails where an upload asks for other partitions: those of a dataset stay.
    fn check_partitioned_by(&self, wanted: &[String]) -> Result<()> {
        if wanted.is_empty() || self.partitions == wanted {
            return Ok(());
        }
        let now = if self.partitions.is_empty() { "nothing".to_owned() } else { self.partitions.join(", ") };
        Err(Error::precondition(format!(
            "the dataset is partitioned by {now}, which stays, and not by {}; drop the dataset first",
            wanted.join(", ")
        )))
    }

    fn with(&self, schema: Schema) -> Self {
        Self { schema: Arc::new(schema), partitions: self.partitions.clone() }
    }

    /// The columns of an upload that takes the place of these. How a table is partitioned stays.
    fn replaced_by(&self, schema: &SchemaRef) -> Result<Self> {
        let missing = self.partitions.iter().find(|column| schema.index_of(column).is_err());
        match missing {
            None => Ok(Self { schema: Arc::clone(schema), partitions: self.partitions.clone() }),
            Some(column) => Err(Error::precondition(format!(
                "the dataset is partitioned by column {column:?}, which the upload lacks; drop the dataset first"
            ))),
        }
    }
}

fn publish(
    log: &DeltaLog,
    read: &DeltaVersion,
    files: Vec<Finished>,
    partitions: &[String],
    options: &PutOptions,
    schema: Option<&Schema>,
) -> Result<Committed> {
    let placed = Placed::new(files, partitions, log, read)?;
    let mut changes = Changes::append(placed.files(), options.transaction.clone());
    changes.schema = schema.cloned();
    let mut read = read.clone();
    if options.if_version.is_some() || options.mode != PutMode::Append {
        // What is there when it is published, not only what was there when the upload began.
        let latest = log.latest()?;
        if !latest.has_shape_of(&read) {
            return Err(Error::precondition(
                "the columns or properties of the table have changed during the upload; nothing was stored, try again",
            ));
        }
        read = latest;
        changes.exact = options.if_version.is_some();
    }
    if options.mode != PutMode::Append {
        changes.operation = Operation::Overwrite;
        changes.remove = read.files();
    }
    placed.commit(&read, &changes)
}

/// `version` if it has the columns that the rows were fitted to: someone else made the table since.
fn fitting(dataset: &DatasetRef, version: DeltaVersion, columns: &Columns) -> Result<DeltaVersion> {
    let names_and_types = |schema: &Schema| {
        let fields = schema.fields().iter();
        fields.map(|field| (field.name().clone(), field.data_type().clone())).collect::<Vec<_>>()
    };
    if names_and_types(version.logical()) == names_and_types(&columns.schema)
        && version.partition_columns() == columns.partitions
    {
        return Ok(version);
    }
    Err(Error::precondition(format!(
        "the columns of dataset {dataset} have changed during the upload; nothing was stored, try again"
    )))
}

fn receipt(version: &DeltaVersion, rows: u64, bytes: u64) -> Receipt {
    Receipt { rows, bytes, version: delta_version(version), trashed: None }
}

/// The receipt of a commit that is in the table already.
fn receipt_again(latest: &DeltaVersion, number: u64, files: &[NewFile]) -> Receipt {
    let version = Version::of_delta(&DeltaMark { version: number, ..mark(latest) });
    let rows = |file: &NewFile| {
        let stats: serde_json::Value = serde_json::from_str(&file.stats).unwrap_or_default();
        stats.get("numRecords").and_then(serde_json::Value::as_u64).unwrap_or(0)
    };
    let bytes = files.iter().map(|file| file.bytes).sum();
    Receipt { rows: files.iter().map(rows).sum(), bytes, version, trashed: None }
}

impl Catalog {
    /// The log of `dataset`, if there is such a dataset and it is a Delta table.
    pub(in super::super) fn delta_log_if_any(&self, dataset: &DatasetRef) -> Result<Option<Arc<DeltaLog>>> {
        // One that comes to be or goes just now may be missed by either look.
        for _ in 0..LOOKS {
            match self.delta_log(dataset) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if !self.exists(dataset)? {
                        return Ok(None);
                    }
                }
                found => return found,
            }
        }
        self.delta_log(dataset)
    }

    /// Whether an upload with these options goes into a Delta table.
    pub(in super::super) fn goes_to_delta(&self, dataset: &DatasetRef, options: &PutOptions) -> bool {
        // One that is gone by now is none, and one that is damaged may be replaced.
        let is_delta = self.kind(dataset).is_ok_and(|kind| kind == Kind::Delta);
        is_delta
            || options.mode == PutMode::Append
            || options.as_delta
            || options.transaction.is_some()
            || !options.partition_by.is_empty()
    }
}

/// The number that an application gives a change: `app,version`.
pub fn parse_transaction(text: &str) -> Result<Transaction> {
    let parsed = text.rsplit_once(',').and_then(|(app, version)| {
        let version = version.trim().parse().ok()?;
        let app = app.trim();
        (!app.is_empty()).then(|| Transaction { app: app.to_owned(), version })
    });
    parsed.ok_or_else(|| {
        Error::invalid(format!("a transaction is an application's name, a comma and a number, not {text:?}"))
    })
}
