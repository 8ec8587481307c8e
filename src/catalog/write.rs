//! How datasets come, change and go.

use std::path::PathBuf;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::dataset::{Dataset, Kind, PartFile, Version};
use super::delta::{AtVersion, Conform, DeltaUpload};
use super::layout::{Form, schema_dir};
use super::name::{DatasetRef, SchemaName};
use super::raw::RawScan;
use super::replacing::Guards;
use super::snapshot::Snapshot;
use super::store::{Catalog, can_be};
use super::trash::label;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;
use crate::proto;
use crate::storage::{
    BatchSink, EntryKind, Label, StagedFile, Target, Transaction, Why, cast_batch, check_storable, ipc_schema,
};

/// What an upload may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PutMode {
    /// Take the place of what is there.
    #[default]
    Replace,
    /// Fail with [`AlreadyExists`](ErrorKind::AlreadyExists) if the dataset is there.
    Create,
    /// Add to what is there; make the dataset if it is not.
    Append,
}

/// What an upload does where there is no dataset of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IfMissing {
    /// It makes one.
    #[default]
    Make,
    /// It fails with [`NotFound`](ErrorKind::NotFound).
    Fail,
}

/// What an upload demands.
#[derive(Debug, Clone, Default)]
pub struct PutOptions {
    /// Replace or create.
    pub mode: PutMode,
    /// What happens where the dataset is not there, or not any more.
    pub if_missing: IfMissing,
    /// Publish only if the dataset has this version.
    pub if_version: Option<String>,
    /// Publish only if so many rows arrived.
    pub expected_rows: Option<u64>,
    /// Whether columns that the dataset lacks are added to it by an append.
    pub merge_schema: bool,
    /// The client's own number for the upload: the same one is stored once.
    pub transaction: Option<Transaction>,
    /// The columns that a new dataset is partitioned by.
    pub partition_by: Vec<String>,
    /// Whether a new dataset is a Delta table from the start.
    pub as_delta: bool,
    /// What is looked at before a dataset is replaced.
    pub guards: Guards,
    /// Whether files that are not its own stay in the folder of a dataset that is replaced; where they would, a replace
    /// without it is refused.
    pub keep_other_files: bool,
}

/// What a drop demands.
#[derive(Debug, Clone, Default)]
pub struct DropOptions {
    /// Drop only this version.
    pub if_version: Option<String>,
    /// Whether files that are not its own stay in its folder; where they would, a drop without it is refused.
    pub keep_other_files: bool,
}

/// What became durable.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// Rows stored.
    pub rows: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The version that they are.
    pub version: Version,
    /// Whether what was replaced is in the trash; `None`: nothing was displaced.
    pub trashed: Option<bool>,
}

/// What a drop did.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// The version that the dataset had, where that could be told.
    pub version: Option<Version>,
    /// Files in its folders that were not its own, and are still there.
    pub kept: Vec<PathBuf>,
    /// Whether it is in the trash, and not gone for good.
    pub trashed: bool,
}

/// An upload on its way. Dropped before [`commit`](Self::commit), it leaves nothing behind.
pub struct Upload {
    way: Way,
    expected_rows: Option<u64>,
}

/// What an upload becomes: a plain file, or a version of a Delta table.
enum Way {
    File(Box<FileUpload>),
    Delta(Box<DeltaUpload>),
}

impl Upload {
    /// Begins to store batches of `schema` as `dataset`. What can be refused is refused here, before
    /// the client sends its data; the same conditions are checked again at the commit.
    pub fn begin(
        catalog: Arc<Catalog>,
        dataset: DatasetRef,
        schema: SchemaRef,
        options: PutOptions,
    ) -> Result<Self> {
        catalog.root.check_writable()?;
        catalog.check_schema(&dataset.schema)?;
        check_storable(&schema)?;
        let expected_rows = options.expected_rows;
        let way = if catalog.goes_to_delta(&dataset, &options) {
            Way::Delta(Box::new(DeltaUpload::begin(catalog, dataset, &schema, options)?))
        } else {
            Way::File(Box::new(FileUpload::begin(catalog, dataset, schema, options)?))
        };
        Ok(Self { way, expected_rows })
    }

    /// Makes the upload the dataset, or a part of it, durably and in one step. To be called only at the true
    /// end of the client's stream, and where the caller cannot be cancelled half-way.
    pub fn commit(self) -> Result<Receipt> {
        self.commit_after(&|| Ok(()))
    }

    /// The same, if `look` allows it when all is stored and nothing is visible yet.
    pub fn commit_after(self, look: &dyn Fn() -> Result<()>) -> Result<Receipt> {
        let rows = match &self.way {
            Way::File(upload) => upload.staged.rows(),
            Way::Delta(upload) => upload.rows(),
        };
        if let Some(expected) = self.expected_rows
            && expected != rows
        {
            return Err(Error::invalid(format!(
                "{rows} rows arrived, x-airstrip-expected-rows says {expected}; nothing was stored"
            )));
        }
        match self.way {
            Way::File(upload) => upload.commit(look),
            Way::Delta(upload) => upload.commit(look),
        }
    }
}

impl BatchSink for Upload {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &mut self.way {
            Way::File(upload) => upload.staged.write(batch),
            Way::Delta(upload) => upload.write(batch),
        }
    }
}

/// An upload that becomes a plain file.
struct FileUpload {
    catalog: Arc<Catalog>,
    dataset: DatasetRef,
    options: PutOptions,
    schema: SchemaRef,
    staged: StagedFile,
}

impl FileUpload {
    fn begin(
        catalog: Arc<Catalog>,
        dataset: DatasetRef,
        schema: SchemaRef,
        options: PutOptions,
    ) -> Result<Self> {
        let forms = catalog.check_put(&dataset, &options)?;
        catalog.replaceable(&dataset, &forms, options.keep_other_files)?;
        catalog.check_columns(&dataset, &schema, &options)?;
        let staged = catalog.staging.create(Arc::clone(&schema))?;
        Ok(Self { catalog, dataset, options, schema, staged })
    }

    fn commit(mut self, look: &dyn Fn() -> Result<()>) -> Result<Receipt> {
        let rows = self.staged.rows();
        self.staged.finish()?;
        look()?;

        let catalog = &self.catalog;
        let _lock = catalog.lock(&self.dataset);
        let forms = catalog.check_put(&self.dataset, &self.options)?;
        catalog.check_replaced(&self.dataset, &self.schema, rows, &self.options)?;
        let hidden = catalog.replaceable(&self.dataset, &forms, self.options.keep_other_files)?;
        for form in &hidden {
            if catalog.is_delta(&form.path(&self.dataset))? {
                return Err(Error::precondition(format!(
                    "dataset {} became a Delta table during the upload; nothing was stored, try again",
                    self.dataset
                )));
            }
        }
        let path = Form::File.path(&self.dataset);
        let version = if forms.is_empty() { None } else { catalog.version(&self.dataset).ok() };
        let version = version.map(|version| version.to_string());
        let displaced = Label { version, ..label(&self.dataset, Why::Replaced) };
        let stat = self.staged.stat()?;
        let mut trashed = match self.options.mode {
            PutMode::Create => self.staged.publish(&path, Target::MustBeNew).map(|()| None)?,
            PutMode::Replace | PutMode::Append => self.staged.publish_over(&path, &displaced)?,
        };
        // The file hides the other forms from here on; what is left of them is only litter.
        for form in hidden.into_iter().filter(|form| matches!(form, Form::Directory | Form::Registration)) {
            let others = match form {
                Form::Directory => catalog.others(&form.path(&self.dataset))?,
                _ => Vec::new(),
            };
            let removed = catalog.remove_form(&self.dataset, form, &others, &displaced)?;
            trashed = Some(removed && trashed.unwrap_or(true));
        }
        Failpoint::Receipt.pass()?;
        // It is durable: what is remembered of it only spares a look.
        if let Err(error) = StagedFile::remember(&catalog.root, &path, &catalog.footers) {
            tracing::warn!(%error, "the footer of an upload is not remembered");
        }
        Ok(Receipt { rows, bytes: stat.size(), version: Version::of_file(&stat), trashed })
    }
}

/// Bytes of rows that are decoded at once while a table is copied.
const COPY_BYTES: u64 = 8 << 20;

/// The rows of a table that only one session sees.
pub struct TemporaryUpload {
    catalog: Arc<Catalog>,
    name: DatasetRef,
    staged: StagedFile,
    /// How rows are fitted to the columns of a table that is added to.
    conform: Option<Conform>,
}

impl TemporaryUpload {
    /// Begins to store batches of `schema` for a table called `name`.
    pub fn begin(catalog: Arc<Catalog>, name: DatasetRef, schema: SchemaRef) -> Result<Self> {
        check_storable(&schema)?;
        let staged = catalog.staging.create(schema)?;
        Ok(Self { catalog, name, staged, conform: None })
    }

    /// Begins with the rows of `table`, to which batches of `schema` are added.
    pub fn append(
        catalog: Arc<Catalog>,
        name: DatasetRef,
        table: Arc<Snapshot>,
        schema: &SchemaRef,
    ) -> Result<Self> {
        let columns = Arc::clone(&table.dataset.schema);
        let conform = Some(Conform::new(&name, schema, &columns)?);
        let mut staged = catalog.staging.create(columns)?;
        let scan = Arc::new(RawScan::new(table));
        for piece in scan.pieces(COPY_BYTES) {
            let mut rows = scan.open(&piece, COPY_BYTES)?;
            while let Some(batch) = rows.next_batch()? {
                staged.write(
                    &cast_batch(&batch, scan.schema())
                        .map_err(|error| Error::internal(format!("copying a temporary table: {error}")))?,
                )?;
            }
        }
        Ok(Self { catalog, name, staged, conform })
    }

    /// The table, and its rows' number.
    pub fn finish(mut self) -> Result<(Snapshot, u64)> {
        let rows = self.staged.rows();
        self.staged.finish()?;
        let held = self.staged.hold()?;
        let footer = self.catalog.footers.of(&held)?;
        let path = held.path().to_owned();
        let part = PartFile {
            path: path.clone(),
            stat: *held.stat(),
            footer,
            partition_values: Vec::new(),
            deleted: None,
        };
        let dataset = Dataset::assemble(self.name, (Kind::File, &path), None, Vec::new(), vec![part])?;
        Ok((Snapshot::held(dataset, vec![held]), rows))
    }
}

impl BatchSink for TemporaryUpload {
    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match &self.conform {
            Some(conform) => self.staged.write(&conform.apply(batch)?),
            None => self.staged.write(batch),
        }
    }
}

impl Catalog {
    /// Fails where an upload may not go through; gives the forms that the dataset has.
    pub(super) fn check_put(&self, dataset: &DatasetRef, options: &PutOptions) -> Result<Vec<Form>> {
        let forms = self.forms(dataset)?;
        if !forms.is_empty() && options.mode == PutMode::Create {
            return Err(already_exists(dataset));
        }
        self.check_no_view(dataset)?;
        if forms.is_empty() {
            if options.if_missing == IfMissing::Fail {
                return Err(self.no_such_dataset(dataset));
            }
            if self.is_version(dataset)? {
                return Err(Error::invalid(format!(
                    "{dataset} is how an earlier version of a dataset is named; it would be hidden"
                )));
            }
        }
        let path = Form::File.path(dataset);
        if self.root.area().is_dir(&path)? && !forms.contains(&Form::SuffixedDirectory) {
            let path = path.display();
            return Err(Error::precondition(format!(
                "{path} is a directory without Parquet files, which an upload does not replace"
            )));
        }
        if let Some(wanted) = &options.if_version {
            self.check_version(dataset, wanted)?;
        }
        Ok(forms)
    }

    /// Whether a name like `events@3` means a version of a dataset that is there.
    fn is_version(&self, dataset: &DatasetRef) -> Result<bool> {
        let Some((name, at)) = dataset.name.as_str().rsplit_once('@') else { return Ok(false) };
        match (DatasetRef::parse(dataset.schema.as_str(), name), AtVersion::parse(at)) {
            (Ok(base), Some(_)) => self.exists(&base),
            _ => Ok(false),
        }
    }

    fn check_version(&self, dataset: &DatasetRef, wanted: &str) -> Result<()> {
        let current = match self.version(dataset) {
            Ok(version) => version,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Error::precondition(format!(
                    "dataset {dataset} is gone, version {wanted} with it"
                )));
            }
            Err(error) => return Err(error),
        };
        if current.as_str() == wanted {
            return Ok(());
        }
        Err(Error::precondition(format!("dataset {dataset} has version {current} by now, not {wanted}")))
    }

    /// Moves `dataset` to the trash, and nothing that lies in its folder and is not its own. Readers that have it open
    /// read on.
    pub fn drop_dataset(&self, dataset: &DatasetRef, options: &DropOptions) -> Result<Dropped> {
        self.root.check_writable()?;
        self.check_schema(&dataset.schema)?;
        let _lock = self.lock(dataset);
        let forms = self.own_forms(dataset, &self.forms(dataset)?)?;
        if forms.is_empty() {
            return Err(self.no_such_dataset(dataset));
        }
        if let Some(wanted) = &options.if_version {
            self.check_version(dataset, wanted)?;
        }
        self.check_one_dataset(dataset, &forms)?;
        if !options.keep_other_files {
            self.check_only_own(dataset, &forms)?;
        }
        let version = self.version(dataset).ok();
        let others = |form: &Form| match form.entry_kind() {
            EntryKind::Directory => self.others(&form.path(dataset)),
            EntryKind::File => Ok(Vec::new()),
        };
        let others = forms.iter().map(others).collect::<Result<Vec<_>>>()?;
        // Hidden forms first: the visible one goes last, in one step, and nothing shows up under it.
        let mut trashed = true;
        for (place, (form, others)) in forms.iter().zip(&others).enumerate().rev() {
            let version = version.as_ref().filter(|_| place == 0).map(ToString::to_string);
            let label = Label { version, ..label(dataset, Why::Dropped) };
            trashed &= self.remove_form(dataset, *form, others, &label)?;
        }
        Failpoint::Dropped.pass()?;
        Ok(Dropped { version, kept: others.into_iter().flatten().collect(), trashed })
    }

    /// Gives `dataset` the name `to`, in one step.
    pub fn rename_dataset(&self, dataset: &DatasetRef, to: &DatasetRef) -> Result<Option<Version>> {
        self.root.check_writable()?;
        self.check_schema(&dataset.schema)?;
        self.check_schema(&to.schema)?;
        let _locks = self.lock_both(dataset, to);
        let form = match self.forms(dataset)?.as_slice() {
            [] => return Err(self.no_such_dataset(dataset)),
            [form] => *form,
            forms => {
                let paths: Vec<_> =
                    forms.iter().map(|form| form.path(dataset).display().to_string()).collect();
                return Err(Error::precondition(format!(
                    "dataset {dataset} is there several times ({}): remove all but one first",
                    paths.join(", ")
                )));
            }
        };
        self.check_form(dataset, form)?;
        if self.exists(to)? {
            return Err(already_exists(to));
        }
        self.check_no_view(to)?;
        if !can_be(to, form) {
            return Err(Error::invalid(format!("a dataset that is a directory cannot be called {to}")));
        }
        self.root.publish(&form.path(dataset), &form.path(to), Target::MustBeNew)?;
        Ok(self.version(to).ok())
    }

    /// Makes the Parquet at `path` the dataset `dataset` without copying it. Schema and partition
    /// columns are stored as they are now.
    pub fn register_dataset(&self, dataset: &DatasetRef, path: &str, replace: bool) -> Result<Dataset> {
        self.root.check_writable()?;
        self.check_schema(&dataset.schema)?;
        let located = self.locate_unregistered(path)?;
        let described = self.describe_located(dataset, &located)?;
        let message = proto::Registration {
            path: path.to_owned(),
            arrow_schema: ipc_schema(&described.schema).into(),
            partition_columns: described.partition_fields.iter().map(|field| field.name().clone()).collect(),
        };
        let text = serde_json::to_vec_pretty(&message)
            .map_err(|error| Error::internal(format!("writing a registration: {error}")))?;

        let _lock = self.lock(dataset);
        let forms = self.forms(dataset)?;
        let may_replace = replace && forms == [Form::Registration];
        if !forms.is_empty() && !may_replace {
            return Err(already_exists(dataset));
        }
        self.check_no_view(dataset)?;
        let path = Form::Registration.path(dataset);
        if may_replace {
            self.root.write_small_over(&path, &text, &label(dataset, Why::Replaced))?;
        } else {
            self.root.write_small(&path, &text, Target::MustBeNew)?;
        }
        Ok(described)
    }
}

impl Catalog {
    /// Makes a schema: a folder `NAME.db`.
    pub fn create_schema(&self, schema: &SchemaName) -> Result<()> {
        self.root.check_writable()?;
        let exists = || Error::new(ErrorKind::AlreadyExists, format!("schema {} exists", schema.as_str()));
        if schema.is_default() {
            return Err(exists());
        }
        self.root.create_dir(&schema_dir(schema)).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => exists(),
            _ => error,
        })
    }

    /// Removes a schema: with everything in it (`cascade`), or only if its folder is empty.
    pub fn drop_schema(&self, schema: &SchemaName, cascade: bool) -> Result<()> {
        self.root.check_writable()?;
        self.check_schema(schema)?;
        let name = schema.as_str();
        if schema.is_default() {
            return Err(Error::precondition(format!(
                "schema {name} is the root itself and cannot be dropped"
            )));
        }
        if cascade {
            self.check_only_datasets(schema)?;
            let label =
                Label { schema: name, name: "", why: Why::Dropped, version: None, keeps_others: false };
            return self.root.trash(&schema_dir(schema), &label).map(drop);
        }
        self.root.remove_empty_dir(&schema_dir(schema)).map_err(|error| match error.kind() {
            ErrorKind::FailedPrecondition => Error::precondition(format!(
                "schema {name} is not empty; drop what is in it, or use DROP SCHEMA {name} CASCADE"
            )),
            _ => error,
        })
    }
}

fn already_exists(dataset: &DatasetRef) -> Error {
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "dataset {dataset} exists; drop it first, or replace it (CREATE OR REPLACE TABLE, or an upload with x-airstrip-mode: replace)"
        ),
    )
}
