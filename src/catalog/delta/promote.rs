//! How a dataset becomes a Delta table: from the start, or from plain Parquet with its first change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use arrow::datatypes::{DataType, Schema, TimeUnit};
use datafusion::common::ScalarValue;

use super::super::dataset::{Dataset, Kind, PartFile};
use super::super::layout::Form;
use super::super::name::DatasetRef;
use super::super::raw::RawScan;
use super::super::shared_keys::is_plain_key;
use super::super::store::{Catalog, can_be};
use super::super::trash::label;
use super::writer::{DataWriter, Finished, data_file_name, stats_of};
use crate::error::{Error, Result};
use crate::storage::{
    DELTA_LOG, DeltaLog, EntryKind, Label, NewFile, SINK_LOG, Target, Why, bare_type, delta_types,
    first_entry, first_entry_path, rewrite_field,
};

/// Bytes of rows that are decoded at once while a dataset is written anew.
const BATCH_BYTES: u64 = 8 << 20;

/// A directory in staging that is to become a table's; dropped before that, it is removed.
struct StagedTable<'a> {
    catalog: &'a Catalog,
    path: PathBuf,
}

impl<'a> StagedTable<'a> {
    fn new(catalog: &'a Catalog) -> Result<Self> {
        Ok(Self { catalog, path: catalog.root.create_staged_dir()? })
    }

    /// Writes the first entry of the log, and makes all names in the directory durable.
    fn complete(&self, logical: &Schema, partitions: &[String], files: Vec<NewFile>) -> Result<()> {
        let root = &self.catalog.root;
        let log = self.path.join(DELTA_LOG);
        root.create_dir_in_staged(&log)?;
        root.write_staged(&self.path.join(first_entry_path()), &first_entry(logical, partitions, files)?)?;
        root.sync_staged_dir(&log)?;
        root.sync_staged_dir(&self.path)
    }
}

impl Drop for StagedTable<'_> {
    fn drop(&mut self) {
        self.catalog.root.discard_staged_dir(&self.path);
    }
}

impl Catalog {
    /// Makes a table of the columns `logical` with the rows of `files`, which are moved into it.
    /// [`AlreadyExists`](crate::error::ErrorKind::AlreadyExists) if there is a dataset of that name, unless it
    /// is to be replaced. The caller holds the dataset's lock.
    pub(in super::super) fn create_delta(
        &self,
        dataset: &DatasetRef,
        logical: &Schema,
        partitions: &[String],
        files: Vec<Finished>,
        replaces: Option<Form>,
    ) -> Result<Arc<DeltaLog>> {
        let staged = StagedTable::new(self)?;
        let mut described = Vec::with_capacity(files.len());
        if !files.is_empty() {
            // Files are moved by the table's own store, which syncs the folders that it makes.
            let log = self.delta.open_unkept(&staged.path)?;
            for file in files {
                let new = file.describe(partitions)?;
                file.place(&log, &new.path)?;
                described.push(new);
            }
        }
        staged.complete(logical, partitions, described)?;
        if let Some(form) = replaces {
            let mut label = label(dataset, Why::Rewritten);
            label.version = self.version(dataset).ok().map(|version| version.to_string());
            if form.entry_kind() == EntryKind::Directory {
                let base = form.path(dataset);
                let others = self.others(&base)?;
                self.link_others(&base, &others, &staged.path)?;
                label.keeps_others = !others.is_empty();
            }
            return self.take_place(dataset, form, &staged.path, Some(&label));
        }
        let path = new_directory(dataset)?;
        self.root.publish(&staged.path, &path, Target::MustBeNew)?;
        self.delta.open(&path)
    }

    /// Makes the plain dataset a Delta table, without copying its data where its types allow that: at every
    /// moment it is served as either the one or the other. The caller holds the dataset's lock.
    pub(in super::super) fn promote(self: &Arc<Self>, dataset: &DatasetRef) -> Result<Arc<DeltaLog>> {
        let [form] = self.forms(dataset)?[..] else {
            return Err(Error::precondition(format!(
                "dataset {dataset} lies in the root in several forms; remove all but one first"
            )));
        };
        let described = self.describe(dataset)?;
        match described.kind {
            Kind::Delta => return self.log_of(dataset),
            Kind::Registered(_) => {
                return Err(Error::precondition(format!(
                    "dataset {dataset} is registered: its files belong to others, and are not changed; copy it \
                     with CREATE TABLE … AS SELECT"
                )));
            }
            Kind::File | Kind::Directory => {}
        }
        if self.root.area().is_dir(&form.path(dataset).join(SINK_LOG))? {
            return Err(Error::precondition(format!(
                "dataset {dataset} is the output of a streaming query of Spark's, and is only read; copy it with CREATE \
                 TABLE … AS SELECT"
            )));
        }
        // Before anything is touched: what Delta cannot hold stays as it is.
        let schema = described.lasting_schema();
        delta_types(&schema)?;
        let has_links = described.parts.iter().any(|part| self.passes_link(&part.path));
        let has_odd_keys = described.partition_fields.iter().any(|key| !is_plain_key(key.data_type()));
        if needs_rewrite(&described.schema) || has_other_types(&described) || has_links || has_odd_keys {
            return self.promote_rewritten(dataset, form);
        }
        let files = new_files(&described)?;
        let names = partition_names(&described);
        if form == Form::File {
            self.promote_file(dataset, &described, &schema, files)
        } else {
            self.promote_directory(&described, (form, &schema), &names, files)
        }
    }

    fn promote_file(
        &self,
        dataset: &DatasetRef,
        described: &Dataset,
        schema: &Schema,
        mut files: Vec<NewFile>,
    ) -> Result<Arc<DeltaLog>> {
        let staged = StagedTable::new(self)?;
        let (Some(file), Some(part)) = (files.first_mut(), described.parts.first()) else {
            return Err(Error::internal("a file dataset without a file"));
        };
        file.path = PathBuf::from(data_file_name());
        self.root.link_staged(&part.path, &staged.path.join(&file.path))?;
        staged.complete(schema, &[], files)?;
        // The table has the very file.
        self.take_place(dataset, Form::File, &staged.path, None)
    }

    /// Puts the log into the directory that is there.
    fn promote_directory(
        &self,
        described: &Dataset,
        (form, schema): (Form, &Schema),
        partitions: &[String],
        mut files: Vec<NewFile>,
    ) -> Result<Arc<DeltaLog>> {
        let base = form.path(&described.reference);
        for file in &mut files {
            let within = file.path.strip_prefix(&base);
            file.path =
                within.map(Path::to_owned).map_err(|_| Error::internal("a part outside of its dataset"))?;
        }
        let staged = StagedTable::new(self)?;
        staged.complete(schema, partitions, files)?;
        self.root.publish(&staged.path.join(DELTA_LOG), &base.join(DELTA_LOG), Target::MustBeNew)?;
        self.delta.open(&base)
    }

    /// The same for a dataset whose types other readers of Delta tables would not understand in its files: the
    /// rows are written anew.
    fn promote_rewritten(self: &Arc<Self>, dataset: &DatasetRef, form: Form) -> Result<Arc<DeltaLog>> {
        let snapshot = Arc::new(self.snapshot(dataset)?);
        let described = &snapshot.dataset;
        let (logical, partitions) = (described.lasting_schema(), partition_names(described));
        let mut writer = DataWriter::new(Arc::clone(self), &logical, &partitions)?;
        let scan = Arc::new(RawScan::new(Arc::clone(&snapshot)));
        for piece in scan.pieces(BATCH_BYTES) {
            let mut rows = scan.open(&piece, BATCH_BYTES)?;
            while let Some(batch) = rows.next_batch()? {
                writer.write(&batch)?;
            }
        }
        self.create_delta(dataset, &logical, &partitions, writer.finish()?, Some(form))
    }

    /// Whether a link lies on the way to a file: what it leads to may be out of a table's reach.
    fn passes_link(&self, path: &Path) -> bool {
        let is_link = |path: &Path| {
            let found = self.root.area().dir().symlink_metadata(path);
            found.is_ok_and(|found| found.file_type().is_symlink())
        };
        path.ancestors().filter(|above| !above.as_os_str().is_empty()).any(is_link)
    }

    /// Puts the staged directory where the dataset is now, in one step. With a label, that goes to the trash.
    fn take_place(
        &self,
        dataset: &DatasetRef,
        form: Form,
        staged: &Path,
        label: Option<&Label<'_>>,
    ) -> Result<Arc<DeltaLog>> {
        let path = form.path(dataset);
        let suffixed = Form::SuffixedDirectory.path(dataset);
        if path == suffixed && !can_be(dataset, Form::SuffixedDirectory) {
            return Err(Error::precondition(format!(
                "dataset {dataset} cannot be a directory by that name, which a table that changes is; rename it"
            )));
        }
        match label {
            Some(label) => self.root.publish_over(staged, &path, label).map(drop)?,
            None => self.root.publish(staged, &path, Target::Replace)?,
        }
        // A directory that looks like a file would puzzle people: it gets the plain name, if that is free.
        let plain = Form::Directory.path(dataset);
        if path == suffixed && can_be(dataset, Form::Directory) {
            let renamed = self.root.publish(&path, &plain, Target::MustBeNew);
            // Whatever keeps the name from it, but that it may not be durable.
            self.root.check_writable()?;
            if renamed.is_ok() {
                return self.delta.open(&plain);
            }
        }
        self.delta.open(&path)
    }
}

/// Where a new table's directory goes.
fn new_directory(dataset: &DatasetRef) -> Result<PathBuf> {
    let form = [Form::Directory, Form::SuffixedDirectory].into_iter().find(|form| can_be(dataset, *form));
    form.map(|form| form.path(dataset))
        .ok_or_else(|| Error::invalid(format!("a dataset that is a directory cannot be called {dataset}")))
}

fn partition_names(dataset: &Dataset) -> Vec<String> {
    dataset.partition_fields.iter().map(|field| field.name().clone()).collect()
}

/// The files of a plain dataset as a commit describes them.
fn new_files(dataset: &Dataset) -> Result<Vec<NewFile>> {
    let in_files = Arc::new(delta_types(&dataset.file_schema)?);
    let file = |part: &PartFile| {
        let modified = part.stat.modified().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let names = dataset.partition_fields.iter().map(|field| field.name().clone());
        let texts: Vec<Option<String>> = part.partition_values.iter().map(text_of).collect();
        if texts.iter().flatten().any(String::is_empty) {
            return Err(Error::precondition(format!(
                "the folder of {} holds an empty text, which Delta takes for NULL; rename the folder first",
                part.path.display()
            )));
        }
        Ok(NewFile {
            path: part.path.clone(),
            bytes: part.stat.size(),
            modified: i64::try_from(modified).unwrap_or(i64::MAX),
            partition: names.zip(texts).collect(),
            stats: stats_of(&part.footer, &in_files, |_| true)?,
        })
    };
    dataset.parts.iter().map(file).collect()
}

fn text_of(value: &ScalarValue) -> Option<String> {
    (!value.is_null()).then(|| value.to_string())
}

/// Whether some file has a column in a type that a table's other readers would not take for the table's. Those
/// that Delta stores alike, they do.
fn has_other_types(dataset: &Dataset) -> bool {
    let stored = |schema: &Schema| delta_types(schema).ok();
    let Some(table) = stored(&dataset.file_schema) else { return true };
    let is_other = |part: &PartFile| {
        if part.footer.schema.fields() == dataset.file_schema.fields() {
            return false;
        }
        let Some(own) = stored(&part.footer.schema) else { return true };
        own.fields().iter().any(|field| {
            let wanted = table.fields().find(field.name());
            wanted.is_none_or(|(_, wanted)| bare_type(wanted.data_type()) != bare_type(field.data_type()))
        })
    };
    dataset.parts.iter().any(is_other)
}

/// Whether a column is stored in the files in a way that other readers of Delta tables do not know.
fn needs_rewrite(schema: &Schema) -> bool {
    let unknown = |data_type: &DataType| {
        matches!(
            data_type,
            DataType::Time32(_)
                | DataType::Time64(_)
                | DataType::Timestamp(TimeUnit::Nanosecond, _)
                | DataType::Float16
                | DataType::Null
                | DataType::Date64
                | DataType::Duration(_)
                | DataType::Interval(_)
                | DataType::UInt64
        )
    };
    let found = std::cell::Cell::new(false);
    for field in schema.fields() {
        rewrite_field(field, &|data_type| {
            found.set(found.get() || unknown(data_type));
            None
        });
    }
    found.get()
}
