//! Finding datasets and opening them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::datatypes::{FieldRef, SchemaRef};

use super::dataset::{Dataset, Kind, PartFile, Version};
use super::delta::{DeltaTables, MaintenanceOptions, delta_version};
use super::layout::{Form, dataset_of, schema_dir, schema_of};
use super::name::{DatasetRef, SchemaName};
use super::partitions::{Partitions, partitions_of};
use super::registration::{Allowed, Registration};
use super::replacing::ReplaceOptions;
use super::several::check_one_table;
use super::sink;
use super::snapshot::Snapshot;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;
use crate::storage::{
    Area, ColumnCache, DELTA_LOG, DeltaLog, Entry, EntryKind, Folder, FolderCache, FooterCache, Part, Root,
    Staging, StagingOptions, TrashOptions, check_no_table, exhausted_reading, list_entries, list_parts,
    look_at_folder, no_regular_file, parallel_map,
};

/// How often a directory is read again when its files change while it is being opened.
const ATTEMPTS: usize = 5;
/// A registration is a path and a schema; more is no registration.
const MAX_REGISTRATION_BYTES: u64 = 16 << 20;
/// Writers of one name share a lock; this many locks serve all names.
const LOCKS: usize = 64;
/// So much of the memory for footers is for the names in folders.
const FOLDERS_PART: u64 = 8;

/// The catalog's settings.
#[derive(Debug, Clone)]
pub struct CatalogOptions {
    /// Directories besides the root that registrations may point into.
    pub register_from: Vec<PathBuf>,
    /// Bytes of footers to keep, and of the names in folders.
    pub footer_cache_bytes: u64,
    /// Bytes of decoded columns to keep; 0: none.
    pub column_cache_bytes: u64,
    /// The most files in one dataset.
    pub max_parts: usize,
    /// How uploads are stored.
    pub staging: StagingOptions,
    /// When Delta tables are compacted by themselves.
    pub maintenance: MaintenanceOptions,
    /// What an upload may do to what it replaces.
    pub replace: ReplaceOptions,
    /// How much of what is dropped or replaced is kept, and for how long.
    pub trash: TrashOptions,
}

#[cfg(any(test, fuzzing))]
impl CatalogOptions {
    /// Those of tests, which keep little.
    pub(crate) fn small() -> Self {
        use crate::storage::{BloomFilters, Codec};
        Self {
            register_from: Vec::new(),
            footer_cache_bytes: 1 << 20,
            column_cache_bytes: 0,
            max_parts: 1000,
            staging: StagingOptions {
                codec: Codec::Lz4,
                row_group_rows: 1000,
                row_group_bytes: 1 << 20,
                memory_bytes: 1 << 20,
                bloom_filters: BloomFilters::None,
            },
            maintenance: MaintenanceOptions { compact_files: 0, small_file_bytes: 0 },
            replace: ReplaceOptions::default(),
            trash: TrashOptions::default(),
        }
    }
}

/// All datasets of a root.
#[derive(Debug)]
pub struct Catalog {
    pub(super) root: Arc<Root>,
    pub(super) footers: Arc<FooterCache>,
    folders: FolderCache,
    pub(super) columns: Arc<ColumnCache>,
    pub(super) options: CatalogOptions,
    pub(super) staging: Staging,
    pub(super) allowed: Allowed,
    pub(super) delta: DeltaTables,
    locks: [Mutex<()>; LOCKS],
}

/// A dataset that a listing found, whether or not it can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub reference: DatasetRef,
    form: Form,
}

impl Listed {
    /// The elements of the descriptor's path that names it as it lies in the root: a file with its suffix, a folder as
    /// it is called.
    pub fn to_path(&self) -> Vec<String> {
        let mut path = self.reference.to_path();
        if let (Form::File | Form::SuffixedDirectory, Some(name)) = (self.form, path.last_mut()) {
            *name = self.reference.name.with_suffix();
        }
        path
    }
}

/// Whether `dataset` may take `form`: what a listing would read as something else, a schema's folder
/// say, is not to be reached under a dataset's name either.
pub(super) fn can_be(dataset: &DatasetRef, form: Form) -> bool {
    let path = form.path(dataset);
    let Some(name) = path.file_name().and_then(std::ffi::OsStr::to_str) else { return false };
    let entry = Entry { name: name.to_owned(), kind: form.entry_kind() };
    dataset_of(&entry) == Some((dataset.name.clone(), form))
}

/// Where a dataset was found.
pub(super) struct Located<'a> {
    pub(super) kind: Kind,
    pub(super) area: &'a Area,
    pub(super) path: PathBuf,
    file_schema: Option<SchemaRef>,
    partition_fields: Option<Vec<FieldRef>>,
}

impl Located<'_> {
    /// Device and inode of the dataset's directory, if it is one.
    fn directory(&self) -> Result<Option<(u64, u64)>> {
        use cap_std::fs::{Metadata, MetadataExt};
        if self.kind == Kind::File {
            return Ok(None);
        }
        let found = self.area.look(&self.path)?.filter(Metadata::is_dir);
        Ok(found.map(|found| (found.dev(), found.ino())))
    }

    /// Fails if the directory is another one than `before`: its parts were listed in one and opened in
    /// the other.
    fn check_same(&self, dataset: &DatasetRef, before: Option<(u64, u64)>) -> Result<()> {
        if before.is_none() {
            return Ok(());
        }
        // One that became a table has files that are not, or not any more, the dataset's.
        let is_table = self.area.is_dir(&self.path.join(DELTA_LOG))?;
        if self.directory()? == before && !is_table {
            return Ok(());
        }
        Err(Error::not_found(format!("dataset {dataset} is being replaced; try again")))
    }
}

impl Catalog {
    /// The catalog of `root`.
    pub fn new(root: Root, options: CatalogOptions) -> Result<Self> {
        let allowed = Allowed::open(&options.register_from)?;
        let for_folders = options.footer_cache_bytes / FOLDERS_PART;
        let footers = Arc::new(FooterCache::new(options.footer_cache_bytes - for_folders));
        let folders = FolderCache::new(for_folders);
        let columns = Arc::new(ColumnCache::new(options.column_cache_bytes)?);
        let locks = std::array::from_fn(|_| Mutex::new(()));
        let root = Arc::new(root.with_trash(options.trash)?);
        let staging = Staging::new(Arc::clone(&root), options.staging);
        let delta = DeltaTables::new(Arc::clone(&root));
        Ok(Self { root, footers, folders, columns, options, staging, allowed, delta, locks })
    }

    /// Gives back the memory of what can be read again.
    pub fn release_memory(&self) {
        self.columns.clear();
    }

    /// The footers of files that were read.
    pub fn footers(&self) -> &Arc<FooterCache> {
        &self.footers
    }

    /// The columns of files that are kept decoded.
    pub fn columns(&self) -> &Arc<ColumnCache> {
        &self.columns
    }

    /// The root that is served.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// A file without a name beside the datasets, for what waits and has no room in memory.
    pub fn unnamed_file(&self) -> Result<File> {
        self.root.create_unnamed()
    }

    /// The schemas: the default one, then the `.db` folders by name.
    pub fn schemas(&self) -> Result<Vec<SchemaName>> {
        let entries = list_entries(self.root.area(), Path::new(""))?;
        Ok(std::iter::once(SchemaName::default()).chain(entries.iter().filter_map(schema_of)).collect())
    }

    /// Whether there is such a schema.
    pub fn has_schema(&self, schema: &SchemaName) -> Result<bool> {
        Ok(schema.is_default() || self.root.area().is_dir(&schema_dir(schema))?)
    }

    /// The datasets of a schema by name, whether or not they can be read; without folders that are tables of other
    /// formats, or hold some.
    pub fn list(&self, schema: &SchemaName) -> Result<Vec<Listed>> {
        self.check_schema(schema)?;
        let mut found = BTreeMap::new();
        for entry in list_entries(self.root.area(), &schema_dir(schema))? {
            if let Some((name, form)) = dataset_of(&entry) {
                let path = || schema_dir(schema).join(&entry.name);
                if entry.kind == EntryKind::Directory && self.folder(&path())? != Folder::Dataset {
                    continue;
                }
                let visible = found.entry(name).or_insert(form);
                *visible = form.min(*visible);
            }
        }
        let listed = |(name, form)| Listed { reference: DatasetRef { schema: schema.clone(), name }, form };
        Ok(found.into_iter().map(listed).collect())
    }

    /// What a listed dataset holds: [`describe`](Self::describe) without looking it up again.
    pub fn describe_listed(&self, listed: &Listed) -> Result<Dataset> {
        retry_changes(|| {
            let located = self.locate_form(&listed.reference, listed.form)?;
            self.describe_located(&listed.reference, &located)
        })
    }

    /// What `dataset` holds. Reads footers that the cache lacks and holds nothing open.
    pub fn describe(&self, dataset: &DatasetRef) -> Result<Dataset> {
        retry_changes(|| self.describe_located(dataset, &self.locate(dataset)?))
    }

    /// `dataset` with its files open: what the caller reads from it stays the same, whatever happens
    /// to the names meanwhile.
    pub fn snapshot(&self, dataset: &DatasetRef) -> Result<Snapshot> {
        retry_changes(|| {
            let snapshot = self.snapshot_once(dataset)?;
            snapshot.hold_all()?;
            Ok(snapshot)
        })
    }

    /// The same for a query, which may read only some of the folders: where there are partition columns, files are held
    /// once it is known which of them are read.
    pub fn snapshot_to_query(&self, dataset: &DatasetRef) -> Result<Snapshot> {
        retry_changes(|| {
            let snapshot = self.snapshot_once(dataset)?;
            if snapshot.dataset.partition_fields.is_empty() {
                snapshot.hold_all()?;
            }
            Ok(snapshot)
        })
    }

    fn snapshot_once(&self, dataset: &DatasetRef) -> Result<Snapshot> {
        Failpoint::Snapshot.pass()?;
        let located = self.locate(dataset)?;
        if located.kind == Kind::Delta {
            let log = self.delta.open(&located.path)?;
            return self.delta_snapshot(dataset, &log, &log.latest()?);
        }
        let home = located.directory()?.map(|_| located.area.within(&located.path)).transpose()?;
        let described = self.describe_located(dataset, &located)?;
        let home = home.map(|home| (home, located.path.clone()));
        Ok(Snapshot::not_held(described, located.area.clone(), home))
    }

    /// The version of `dataset`, also where it cannot be read: the look is at its files' identity only.
    pub(super) fn version(&self, dataset: &DatasetRef) -> Result<Version> {
        let located = self.locate(dataset)?;
        if located.kind == Kind::Delta {
            return Ok(delta_version(&self.delta.open(&located.path)?.latest()?));
        }
        let (parts, _) = self.files(&located)?;
        Ok(match (&located.kind, parts.as_slice()) {
            (Kind::File, [part]) => Version::of_file(&part.stat),
            _ => Version::of(&located.path, parts.iter().map(|part| (part.path.as_path(), &part.stat))),
        })
    }

    /// The kind of `dataset`, also where it cannot be read.
    pub fn kind(&self, dataset: &DatasetRef) -> Result<Kind> {
        Ok(self.locate(dataset)?.kind)
    }

    /// Fails where `dataset` is a folder that is a table of another format, or holds one.
    pub fn check_format(&self, dataset: &DatasetRef) -> Result<()> {
        let located = match self.locate(dataset) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            located => located?,
        };
        let is_plain = located.kind != Kind::Delta && located.area.is_dir(&located.path)?;
        if is_plain { check_no_table(located.area, &located.path) } else { Ok(()) }
    }

    /// Whether a dataset of this name is there, readable or not.
    pub fn exists(&self, dataset: &DatasetRef) -> Result<bool> {
        Ok(!self.forms(dataset)?.is_empty())
    }

    /// The dataset whose name is `dataset`'s without regard to case, if there is exactly one.
    pub fn find_ignoring_case(&self, dataset: &DatasetRef) -> Result<Option<DatasetRef>> {
        let wanted = dataset.name.as_str().to_lowercase();
        let listed = self.list(&dataset.schema)?.into_iter().map(|listed| listed.reference);
        let mut same = listed.filter(|other| other.name.as_str().to_lowercase() == wanted);
        let first = same.next();
        Ok(first.filter(|_| same.next().is_none()))
    }

    /// [`NotFound`](ErrorKind::NotFound) for `dataset`, with the names that are near.
    pub fn no_such_dataset(&self, dataset: &DatasetRef) -> Error {
        if let Err(no_schema) = self.check_schema(&dataset.schema) {
            return Error::not_found(format!("there is no dataset {dataset}: {no_schema}"));
        }
        let wanted = dataset.name.as_str();
        let mut near: Vec<_> = self
            .list(&dataset.schema)
            .unwrap_or_default()
            .into_iter()
            .map(|listed| listed.reference)
            .map(|other| (strsim::jaro_winkler(wanted, other.name.as_str()), other))
            .filter(|(similarity, _)| *similarity > 0.8)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        let names: Vec<_> = near.iter().take(3).map(|(_, other)| other.to_string()).collect();
        let hint =
            if names.is_empty() { String::new() } else { format!("; did you mean {}?", names.join(", ")) };
        Error::not_found(format!("there is no dataset {dataset}{hint}"))
    }

    /// The forms in which `dataset` lies in the root, the visible one first.
    pub(super) fn forms(&self, dataset: &DatasetRef) -> Result<Vec<Form>> {
        let is_there = |form: &Form| {
            let path = form.path(dataset);
            let Some(found) = self.root.area().look(&path)? else { return Ok(false) };
            if !found.is_file() && !found.is_dir() {
                return Err(no_regular_file(&path));
            }
            Ok::<_, Error>(match form.entry_kind() {
                EntryKind::File => found.is_file(),
                EntryKind::Directory => found.is_dir() && self.folder(&path)? != Folder::Other,
            })
        };
        let mut forms = Vec::new();
        for form in Form::ALL {
            if can_be(dataset, form) && is_there(&form)? {
                forms.push(form);
            }
        }
        Ok(forms)
    }

    /// Whether the directory at `path` is a Delta table.
    pub(super) fn is_delta(&self, path: &Path) -> Result<bool> {
        self.root.area().is_dir(&path.join(DELTA_LOG))
    }

    /// What a directory is: a dataset, if it has Parquet, or is a Delta table. One of another format has its name, but
    /// is not served. Any other is none of our business, and must not be replaced or dropped.
    fn folder(&self, path: &Path) -> Result<Folder> {
        if self.is_delta(path)? { Ok(Folder::Dataset) } else { look_at_folder(self.root.area(), path) }
    }

    /// The lock that writers of `dataset` hold while they publish.
    pub(super) fn lock(&self, dataset: &DatasetRef) -> MutexGuard<'_, ()> {
        self.locks[lock_index(dataset)].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The locks of two datasets, taken in one order by everyone.
    pub(super) fn lock_both(&self, one: &DatasetRef, other: &DatasetRef) -> Vec<MutexGuard<'_, ()>> {
        let mut indexes = [lock_index(one), lock_index(other)];
        indexes.sort_unstable();
        let distinct = if indexes[0] == indexes[1] { &indexes[..1] } else { &indexes[..] };
        let lock = |index: &usize| self.locks[*index].lock().unwrap_or_else(PoisonError::into_inner);
        distinct.iter().map(lock).collect()
    }

    /// Fails where there is no such schema.
    pub fn check_schema(&self, schema: &SchemaName) -> Result<()> {
        if self.has_schema(schema)? {
            return Ok(());
        }
        let name = schema.as_str();
        Err(Error::not_found(format!("there is no schema {name}; a folder {name}.db in the root makes one")))
    }

    fn locate(&self, dataset: &DatasetRef) -> Result<Located<'_>> {
        if !self.has_schema(&dataset.schema)? {
            return Err(self.no_such_dataset(dataset));
        }
        let Some(form) = self.forms(dataset)?.first().copied() else {
            return Err(self.no_such_dataset(dataset));
        };
        self.locate_form(dataset, form)
    }

    pub(super) fn locate_form(&self, dataset: &DatasetRef, form: Form) -> Result<Located<'_>> {
        let area = self.root.area();
        let path = form.path(dataset);
        let plain = |kind, path| Located { kind, area, path, file_schema: None, partition_fields: None };
        match form {
            Form::File => Ok(plain(Kind::File, path)),
            Form::Directory | Form::SuffixedDirectory if self.is_delta(&path)? => {
                Ok(plain(Kind::Delta, path))
            }
            Form::Directory | Form::SuffixedDirectory => Ok(plain(Kind::Directory, path)),
            Form::Registration => self.locate_registered(&path),
        }
    }

    fn locate_registered(&self, path: &Path) -> Result<Located<'_>> {
        let mut text = String::new();
        let damaged = || Error::data_loss(format!("cannot read the registration {}", path.display()));
        let file = self.root.area().open_if_there(path)?.ok_or_else(damaged)?;
        file.take(MAX_REGISTRATION_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| exhausted_reading(path, &error).unwrap_or_else(damaged).with_source(error))?;
        let registration = Registration::parse(&text)
            .map_err(|error| Error::new(error.kind(), format!("{}: {}", path.display(), error.message())))?;
        let (area, inner) = self.allowed.resolve(self.root.area(), &registration.path)?;
        if area.is_dir(&inner.join(DELTA_LOG))? {
            return Err(Error::unimplemented(format!("{} is a Delta table", inner.display())));
        }
        if !area.exists(&inner)? {
            return Err(Error::not_found(format!(
                "{} is a registration of {}, which is not there any more; drop the dataset, or put it back",
                path.display(),
                registration.path
            )));
        }
        Ok(Located {
            kind: Kind::Registered(PathBuf::from(&registration.path)),
            area,
            path: inner,
            file_schema: registration.file_schema,
            partition_fields: registration.partition_fields,
        })
    }

    /// What a registration of `path` would point at.
    pub(super) fn locate_unregistered(&self, path: &str) -> Result<Located<'_>> {
        let (area, inner) = self.allowed.resolve(self.root.area(), path)?;
        if !area.exists(&inner)? {
            return Err(Error::not_found(format!("there is no file or directory {path}")));
        }
        if area.is_dir(&inner.join(DELTA_LOG))? {
            return Err(Error::unimplemented(format!(
                "{path} is a Delta table; only Parquet can be registered"
            )));
        }
        let kind = Kind::Registered(PathBuf::from(path));
        Ok(Located { kind, area, path: inner, file_schema: None, partition_fields: None })
    }

    /// The files that make up `located`, which is no Delta table, and the fields of its partition columns.
    pub(super) fn described_parts(
        &self,
        dataset: &DatasetRef,
        located: &Located<'_>,
    ) -> Result<(Vec<PartFile>, Vec<FieldRef>)> {
        let before = located.directory()?;
        let (parts, partitions) = self.files(located)?;
        let footers = parallel_map(&parts, |part| self.footers.at(located.area, &part.path, part.stat, None));
        let parts = parts.into_iter().zip(footers).zip(partitions.values).map(|((part, read), values)| {
            let (stat, footer) = read?;
            Ok(PartFile { path: part.path, stat, footer, partition_values: values, deleted: None })
        });
        let parts = parts.collect::<Result<_>>()?;
        located.check_same(dataset, before)?;
        Ok((parts, partitions.fields))
    }

    /// The dataset that `located` is, under the name `dataset`.
    pub(super) fn describe_located(&self, dataset: &DatasetRef, located: &Located<'_>) -> Result<Dataset> {
        if located.kind == Kind::Delta {
            let log = self.delta.open(&located.path)?;
            return self.describe_delta(dataset, &log, &log.latest()?);
        }
        let (parts, partition_fields) = self.described_parts(dataset, located)?;
        assemble(dataset, located, partition_fields, parts)
    }

    /// The log of `dataset`, if it is a Delta table.
    pub(super) fn delta_log(&self, dataset: &DatasetRef) -> Result<Option<Arc<DeltaLog>>> {
        let located = self.locate(dataset)?;
        (located.kind == Kind::Delta).then(|| self.delta.open(&located.path)).transpose()
    }

    fn files(&self, located: &Located<'_>) -> Result<(Vec<Part>, Partitions)> {
        let is_directory = match located.kind {
            Kind::File => false,
            Kind::Directory | Kind::Delta => true,
            Kind::Registered(_) => located.area.is_dir(&located.path)?,
        };
        let parts = if is_directory {
            let found = list_parts(located.area, &located.path, self.options.max_parts, &self.folders)?;
            if found.is_sink {
                sink::committed(located.area, &located.path, found.parts)?
            } else {
                found.parts
            }
        } else {
            let stat = located.area.stat(&located.path)?;
            vec![Part { path: located.path.clone(), folders: Vec::new(), stat }]
        };
        let in_files = located.file_schema.as_deref();
        let partitions = partitions_of(&parts, located.partition_fields.as_deref(), in_files)?;
        Ok((parts, partitions))
    }
}

fn assemble(
    dataset: &DatasetRef,
    located: &Located<'_>,
    partition_fields: Vec<FieldRef>,
    parts: Vec<PartFile>,
) -> Result<Dataset> {
    let declared = located.file_schema.clone();
    let place = (located.kind.clone(), located.path.as_path());
    if declared.is_none() {
        check_one_table(dataset, place.1, partition_fields.len(), &parts)?;
    }
    Dataset::assemble(dataset.clone(), place, declared, partition_fields, parts)
}

/// Runs `read` again while files vanish under it: another program was replacing parts.
fn retry_changes<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    let mut attempt = 1;
    loop {
        match read() {
            Err(error) if is_change(&error) && attempt < ATTEMPTS => attempt += 1,
            done => return done,
        }
    }
}

fn is_change(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Aborted)
}

fn lock_index(dataset: &DatasetRef) -> usize {
    use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
    let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(dataset);
    usize::try_from(hash % LOCKS as u64).unwrap_or(0)
}
