//! The object store that the Delta library works on: one directory of the root.
//!
//! A location is the path of a file beneath the table's directory, byte for byte: nothing is encoded or
//! decoded here. That is right because the library does both, once each, on its side:
//!
//! - A writer encodes a partition's value into its folder's name: for `a/b` the folder *is* named
//!   `k=a%2Fb`, and so is the location that is put.
//! - In the log a file's path is a URL: `k=a%252Fb/…` names that folder, since `%` is encoded again.
//! - A reader decodes it once (`LogicalFileView::object_store_path`, or `Path::from_url_path` on the path
//!   joined to the table's URL) and parses the result, which keeps the `%2F` that is left.
//!
//! The kernel does put the names of a listing into URLs as they are, so a `%` in one would be decoded; but
//! it lists only the log, whose names have none. It relies on listings in order, as S3 has them, for every
//! URL whose scheme is not `file`; hence they are sorted here.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use cap_std::fs::{Dir, DirEntry, Metadata};
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyMode, CopyOptions, Error as StoreError, GetOptions, GetResult, GetResultPayload,
    ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, RenameTargetMode, Result as StoreResult, UploadPart,
};
use serde_json::Value;
use tokio::runtime::Handle;

use super::log::DELTA_LOG;
use super::whole::{has_checkpoint, hint_path};
use crate::error::{Error, ErrorKind, Result};
use crate::safeguard::Safeguard;
use crate::storage::area::{if_there, io_error, no_regular_file, open_file, read_error};
use crate::storage::writeback::sync_file;
use crate::storage::{FileStat, HeldFile, Root, Target, blocking};

/// What is read in one go where nobody says how much is wanted.
const CHUNK: usize = 8 << 20;
/// More is no note of a checkpoint.
const MAX_HINT: u64 = 16 << 20;
/// Files that are deleted at the same time.
const DELETES: usize = 8;

/// A directory of the root, held open, as the object store that the Delta library works on.
///
/// It follows its directory: renaming that disturbs nobody, and once it is removed every write fails
/// instead of landing in a namesake. Writes are durable before they are answered, and links lead nowhere
/// outside of the table.
#[derive(Debug, Clone)]
pub(super) struct TableStore {
    root: Arc<Root>,
    dir: Arc<Dir>,
    /// The only files besides the log that listings show, where that is not all.
    shown: Option<Arc<HashSet<String>>>,
    /// What went wrong last, and when: on its way through the library it loses what it was.
    trouble: Arc<Mutex<Option<(Instant, Error)>>>,
}

impl TableStore {
    /// Holds the directory at `path` in `root`.
    pub(super) fn open(root: Arc<Root>, path: &FilePath) -> Result<Self> {
        let dir = root.area().dir().open_dir(path).map_err(|error| io_error("open", path, error))?;
        Ok(Self { root, dir: Arc::new(dir), shown: None, trouble: Arc::default() })
    }

    /// The root that the directory lies in.
    pub(super) fn root(&self) -> &Root {
        &self.root
    }

    /// The same, whose listings show no other files than these and the log.
    pub(super) fn showing_only(&self, files: Arc<HashSet<String>>) -> Self {
        Self { shown: Some(files), ..self.clone() }
    }

    fn shows(&self, location: &Path) -> bool {
        let is_log = || location.prefix_matches(&Path::from(DELTA_LOG));
        self.shown.as_ref().is_none_or(|shown| shown.contains(location.as_ref()) || is_log())
    }

    /// What has gone wrong last in this directory, if that was not before `start`.
    pub(super) fn trouble_since(&self, start: Instant) -> Option<Error> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble.as_ref().filter(|(at, _)| *at >= start).map(|(_, error)| error.duplicate())
    }

    /// The library's error of one of ours, which is kept.
    fn failed(&self, location: &Path, error: Error) -> StoreError {
        // An absence is an answer.
        if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::AlreadyExists) {
            let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            *trouble = Some((Instant::now(), error.duplicate()));
        }
        store_error(location, error)
    }

    /// Makes the file `staged`, which was synced, visible at `to` in the table, durably.
    pub(super) fn publish_staged(&self, staged: &FilePath, to: &FilePath, target: Target) -> Result<()> {
        self.root.publish_into(&self.dir, staged, to, target)
    }

    /// Runs `work` on the file of `location`, off the runtime's threads.
    async fn run<T: Send + 'static>(
        &self,
        location: &Path,
        work: impl FnOnce(&Self, &FilePath) -> Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (store, path) = (self.clone(), file_path(location).to_owned());
        blocking(move || work(&store, &path)).await.map_err(|error| self.failed(location, error))
    }

    fn hold(&self, path: &FilePath) -> Result<HeldFile> {
        if path == hint_path() && self.last_checkpoint()?.is_none() {
            return Err(Error::not_found("the last checkpoint is not noted"));
        }
        HeldFile::open_in(&self.dir, path, path)
    }

    /// The version of the last checkpoint, as it is noted; `None` where there is no such checkpoint, for what notes it
    /// is only a hint: without it all of the log is looked at.
    pub(super) fn last_checkpoint(&self) -> Result<Option<u64>> {
        let path = hint_path();
        let Some(file) =
            if_there(open_file(&self.dir, &path)).map_err(|error| io_error("open", &path, error))?
        else {
            return Ok(None);
        };
        let mut text = Vec::new();
        file.take(MAX_HINT).read_to_end(&mut text).map_err(|error| read_error(&path, error))?;
        let hint: Option<Value> = serde_json::from_slice(&text).ok();
        let Some(version) = hint.as_ref().and_then(|hint| hint.get("version")?.as_u64()) else {
            return Ok(None);
        };
        let fail = |error| io_error("list", FilePath::new(DELTA_LOG), error);
        let mut names = Vec::new();
        for entry in self.dir.read_dir(DELTA_LOG).map_err(fail)? {
            names.extend(entry.map_err(fail)?.file_name().into_string());
        }
        Ok(has_checkpoint(names, version).then_some(version))
    }

    /// Makes the log durable as it is now.
    pub(super) fn sync_log(&self) -> Result<()> {
        self.root.sync_within(&self.dir, FilePath::new(DELTA_LOG))
    }

    /// Takes away files that no commit has named, as far as that is known for certain.
    pub(super) fn withdraw(&self, files: &[PathBuf]) {
        for path in files {
            if let Err(error) = self.remove(path) {
                tracing::warn!(path = %path.display(), %error, "a file of no version stays in a Delta table's folder");
            }
        }
    }

    fn put_file(&self, path: &FilePath, payload: &PutPayload, target: Target) -> Result<PutResult> {
        let mut draft = Draft::begin(self)?;
        for piece in payload {
            draft.write(piece, draft.written)?;
        }
        draft.publish(path, target)
    }

    fn copy_file(&self, from: &FilePath, to: &FilePath, target: Target) -> Result<()> {
        self.root.check_writable()?;
        let held = self.hold(from)?;
        let mut draft = Draft::begin(self)?;
        for range in chunks(0..held.stat().size()) {
            draft.write(&read(&held, range.clone())?, range.start)?;
        }
        draft.publish(to, target).map(drop)
    }

    fn rename_file(&self, from: &FilePath, to: &FilePath, target: Target) -> Result<()> {
        self.root.check_writable()?;
        // A directory is no object.
        self.hold(from)?;
        self.root.rename_within(&self.dir, from, to, target)
    }

    /// Unlinks a file. Its directory is not synced: what a crash brings back is what nobody refers to, and
    /// is found again by whoever cleaned up.
    fn remove(&self, path: &FilePath) -> Result<()> {
        self.root.check_writable()?;
        self.dir.remove_file(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::IsADirectory => Error::not_found(format!("{} is no file", path.display())),
            _ => io_error("remove", path, error),
        })
    }

    /// The files below `prefix` that come after `offset`, in the order of their locations.
    fn walk(&self, prefix: Path, offset: Option<&Path>) -> Result<Vec<ObjectMeta>> {
        let (mut objects, mut folders) = (Vec::new(), vec![prefix]);
        while let Some(folder) = folders.pop() {
            let found = self.read_folder(&folder, offset)?;
            objects.extend(found.objects);
            folders.extend(found.common_prefixes);
        }
        objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(objects)
    }

    /// What lies in `folder` itself; nothing if there is no such directory. Names that no location can have
    /// are left out, as are links to directories, which could make a circle.
    fn read_folder(&self, folder: &Path, offset: Option<&Path>) -> Result<ListResult> {
        let mut found = ListResult { common_prefixes: Vec::new(), objects: Vec::new() };
        let path = file_path(folder);
        let dir = if folder.is_root() { self.dir.try_clone() } else { self.dir.open_dir(path) };
        let dir = match dir.map_err(|error| io_error("list", path, error)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
            dir => dir?,
        };
        for entry in dir.entries().map_err(|error| io_error("list", path, error))? {
            let entry = entry.map_err(|error| io_error("list", path, error))?;
            let Some(location) = location_of(folder, &entry) else { continue };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.common_prefixes.push(location);
            } else if offset.is_none_or(|offset| location > *offset) && self.shows(&location) {
                let stat = stat_entry(&dir, &entry);
                match stat.map_err(|error| io_error("look at", file_path(&location), error))? {
                    Some(stat) => found.objects.push(object_meta(location, &stat)),
                    None => check_no_entry(folder, &entry, &location)?,
                }
            }
        }
        Ok(found)
    }

    fn list_after(
        &self,
        prefix: Option<&Path>,
        offset: Option<Path>,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let walked = async move {
            let from = prefix.clone();
            store.run(&prefix, move |store, _| store.walk(from, offset.as_ref())).await
        };
        stream::once(walked).map_ok(|objects| stream::iter(objects).map(Ok)).try_flatten().boxed()
    }

    fn unsupported(&self, operation: &str) -> StoreError {
        StoreError::NotImplemented { operation: operation.to_owned(), implementer: self.to_string() }
    }
}

impl fmt::Display for TableStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TableStore")
    }
}

#[async_trait]
impl ObjectStore for TableStore {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> StoreResult<PutResult> {
        if !options.attributes.is_empty() {
            return Err(self.unsupported("a put with attributes"));
        }
        let target = match options.mode {
            PutMode::Overwrite => Target::Replace,
            PutMode::Create => Target::MustBeNew,
            PutMode::Update(_) => return Err(self.unsupported("a put that updates a version")),
        };
        self.run(location, move |store, path| store.put_file(path, &payload, target)).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> StoreResult<Box<dyn MultipartUpload>> {
        if !options.attributes.is_empty() {
            return Err(self.unsupported("an upload with attributes"));
        }
        let draft = self.run(location, |store, _| Draft::begin(store)).await?;
        Ok(Box::new(Upload {
            location: location.clone(),
            draft: Arc::new(Mutex::new(Some(draft))),
            length: 0,
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> StoreResult<GetResult> {
        let held = self.run(location, Self::hold).await?;
        let meta = object_meta(location.clone(), held.stat());
        options.check_preconditions(&meta)?;
        let range = match &options.range {
            Some(wanted) => wanted.as_range(meta.size).map_err(|error| {
                self.failed(location, Error::data_loss(format!("cannot read {location}: {error}")))
            })?,
            None => 0..meta.size,
        };
        let payload =
            GetResultPayload::Stream(read_stream(self.clone(), held, location.clone(), range.clone()));
        Ok(GetResult { payload, meta, range, attributes: Attributes::default() })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> StoreResult<Vec<Bytes>> {
        let ranges = ranges.to_vec();
        let read_all = move |store: &Self, path: &FilePath| {
            let held = store.hold(path)?;
            ranges.into_iter().map(|range| read(&held, range)).collect()
        };
        self.run(location, read_all).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, StoreResult<Path>>,
    ) -> BoxStream<'static, StoreResult<Path>> {
        let store = self.clone();
        let deleted = locations.map(move |location| {
            let store = store.clone();
            async move {
                let location = location?;
                store.run(&location, Self::remove).await?;
                Ok(location)
            }
        });
        deleted.buffered(DELETES).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.list_after(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.list_after(prefix, Some(offset.clone()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> StoreResult<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        let location = folder.clone();
        let mut found = self.run(&location, move |store, _| store.read_folder(&folder, None)).await?;
        found.common_prefixes.sort_unstable();
        found.objects.sort_unstable_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> StoreResult<()> {
        let target = match options.mode {
            CopyMode::Overwrite => Target::Replace,
            CopyMode::Create => Target::MustBeNew,
        };
        let source = file_path(from).to_owned();
        self.run(to, move |store, to| store.copy_file(&source, to, target)).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> StoreResult<()> {
        let target = match options.target_mode {
            RenameTargetMode::Overwrite => Target::Replace,
            RenameTargetMode::Create => Target::MustBeNew,
        };
        let source = file_path(from).to_owned();
        self.run(to, move |store, to| store.rename_file(&source, to, target)).await
    }
}

/// An object on its way: a file in staging, which is removed with this unless it was published.
#[derive(Debug)]
struct Draft {
    store: TableStore,
    staged: PathBuf,
    file: File,
    /// Bytes written so far.
    written: u64,
    published: bool,
}

impl Draft {
    fn begin(store: &TableStore) -> Result<Self> {
        let (staged, file) = store.root.create_staged()?;
        Ok(Self { store: store.clone(), staged, file, written: 0, published: false })
    }

    fn write(&mut self, piece: &[u8], offset: u64) -> Result<()> {
        let written = self.store.root.with_room(|| self.file.write_all_at(piece, offset));
        written.map_err(|error| io_error("write", &self.staged, error))?;
        self.written += piece.len() as u64;
        Ok(())
    }

    fn publish(mut self, to: &FilePath, target: Target) -> Result<PutResult> {
        let failed = |error| io_error("sync", to, error);
        // An mtime of our own, as a staged Parquet file has: the kernel's does not tell two versions of one
        // tick apart.
        self.file.set_modified(SystemTime::now()).map_err(failed)?;
        sync_file(&self.file, Safeguard::SyncLogs).map_err(failed)?;
        let stat = FileStat::of(&self.file.metadata().map_err(failed)?);
        self.store.publish_staged(&self.staged, to, target)?;
        self.published = true;
        Ok(PutResult { e_tag: Some(stat.identity.e_tag()), version: None })
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            self.store.root.discard(&self.staged);
        }
    }
}

/// A [`Draft`] that is written part by part.
#[derive(Debug)]
struct Upload {
    location: Path,
    /// `None` once the upload is completed or given up.
    draft: Arc<Mutex<Option<Draft>>>,
    /// Bytes of all parts so far, written or not.
    length: u64,
}

impl Upload {
    /// Runs `work` on the draft, off the runtime's threads.
    fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(MutexGuard<'_, Option<Draft>>) -> Result<T> + Send + 'static,
    ) -> impl Future<Output = StoreResult<T>> + Send + 'static {
        let (draft, location) = (Arc::clone(&self.draft), self.location.clone());
        let work = blocking(move || work(lock(&draft)));
        async move { work.await.map_err(|error| store_error(&location, error)) }
    }
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let mut offset = self.length;
        self.length += data.content_length() as u64;
        let write = move |mut draft: MutexGuard<'_, Option<Draft>>| {
            let draft = draft.as_mut().ok_or_else(over)?;
            for piece in &data {
                draft.write(piece, offset)?;
                offset += piece.len() as u64;
            }
            Ok(())
        };
        self.run(write).boxed()
    }

    async fn complete(&mut self) -> StoreResult<PutResult> {
        let (length, location) = (self.length, self.location.clone());
        let publish = move |mut draft: MutexGuard<'_, Option<Draft>>| {
            let draft = draft.take().ok_or_else(over)?;
            if draft.written != length {
                return Err(Error::internal("an upload was completed before all of its parts were written"));
            }
            draft.publish(file_path(&location), Target::Replace)
        };
        self.run(publish).await
    }

    async fn abort(&mut self) -> StoreResult<()> {
        let give_up = |mut draft: MutexGuard<'_, Option<Draft>>| {
            drop(draft.take());
            Ok(())
        };
        self.run(give_up).await
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let draft = Arc::clone(&self.draft);
        let give_up = move || drop(lock(&draft).take());
        match Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(give_up)),
            Err(_) => give_up(),
        }
    }
}

fn lock(draft: &Mutex<Option<Draft>>) -> MutexGuard<'_, Option<Draft>> {
    draft.lock().unwrap_or_else(PoisonError::into_inner)
}

fn over() -> Error {
    Error::internal("an upload was used after its end")
}

fn file_path(location: &Path) -> &FilePath {
    FilePath::new(location.as_ref())
}

/// Where the entry of `folder` lies, if a location can have its name.
fn location_of(folder: &Path, entry: &DirEntry) -> Option<Path> {
    let name = entry.file_name();
    let name = name.to_str()?;
    let path = if folder.is_root() { name.to_owned() } else { format!("{folder}/{name}") };
    Path::parse(path).ok()
}

/// What the file system says of the file `entry`, unless it is gone or none. A link stands for a file in the
/// same directory or below it.
fn stat_entry(dir: &Dir, entry: &DirEntry) -> std::io::Result<Option<FileStat>> {
    let linked = entry.file_type()?.is_symlink();
    let metadata = if linked { dir.metadata(entry.file_name()) } else { entry.metadata() };
    Ok(if_there(metadata)?.filter(Metadata::is_file).map(|metadata| FileStat::of_cap(&metadata)))
}

/// Fails where an entry of the log is no file: to leave it out would be to read an older version.
fn check_no_entry(folder: &Path, entry: &DirEntry, location: &Path) -> Result<()> {
    let path = file_path(location);
    let is_entry = path.extension().is_some_and(|ending| ending == "json" || ending == "parquet");
    if *folder != Path::from(DELTA_LOG) || !is_entry {
        return Ok(());
    }
    match if_there(entry.file_type()).map_err(|error| io_error("look at", path, error))? {
        // It was cleaned up meanwhile.
        None => Ok(()),
        Some(kind) if kind.is_symlink() => Err(Error::precondition(format!(
            "the log of the Delta table has {location}, which is a link that leads nowhere, or out of the table's folder; \
             put the file itself there"
        ))),
        Some(kind) if kind.is_file() => Ok(()),
        Some(_) => Err(no_regular_file(path)),
    }
}

fn object_meta(location: Path, stat: &FileStat) -> ObjectMeta {
    ObjectMeta {
        location,
        last_modified: stat.modified().into(),
        size: stat.size(),
        e_tag: Some(stat.identity.e_tag()),
        version: None,
    }
}

fn chunks(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(CHUNK).map(move |start| start..end.min(start + CHUNK as u64))
}

fn read(held: &HeldFile, range: Range<u64>) -> Result<Bytes> {
    // What is too long for memory or ends before it begins lies outside of every file.
    let length = range.end.checked_sub(range.start).and_then(|length| usize::try_from(length).ok());
    held.read(range.start, length.unwrap_or(usize::MAX)).map_err(|error| {
        let ours = Error::find_in(&error).map(Error::duplicate);
        ours.unwrap_or_else(|| read_error(held.path(), error))
    })
}

fn read_stream(
    store: TableStore,
    held: HeldFile,
    location: Path,
    range: Range<u64>,
) -> BoxStream<'static, StoreResult<Bytes>> {
    let pieces = stream::iter(chunks(range)).then(move |range| {
        let held = held.clone();
        blocking(move || read(&held, range))
    });
    pieces.map_err(move |error| store.failed(&location, error)).boxed()
}

/// The library's error of one of ours, which stays findable as its source.
fn store_error(location: &Path, error: Error) -> StoreError {
    let path = location.to_string();
    let kind = error.kind();
    let source = Box::new(error);
    match kind {
        ErrorKind::NotFound => StoreError::NotFound { path, source },
        ErrorKind::AlreadyExists => StoreError::AlreadyExists { path, source },
        ErrorKind::FailedPrecondition => StoreError::PermissionDenied { path, source },
        _ => StoreError::Generic { store: "TableStore", source },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use object_store::{GetRange, ObjectStoreExt};
    use tempfile::TempDir;

    use super::*;

    struct Table {
        dir: TempDir,
        store: TableStore,
    }

    impl Table {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let root = Root::open(dir.path(), false).unwrap();
            root.create_dir(FilePath::new("t")).unwrap();
            let store = TableStore::open(Arc::new(root), FilePath::new("t")).unwrap();
            Self { dir, store }
        }

        fn path(&self, below: &str) -> PathBuf {
            self.dir.path().join("t").join(below)
        }

        fn staged(&self) -> usize {
            std::fs::read_dir(self.dir.path().join(".airstrip/staging")).unwrap().count()
        }

        async fn put(&self, location: &str, text: &'static str) {
            self.store.put(&at(location), text.into()).await.unwrap();
        }

        async fn get(&self, location: &str) -> StoreResult<Bytes> {
            self.store.get(&at(location)).await?.bytes().await
        }

        async fn list(&self, prefix: Option<&str>) -> Vec<String> {
            let listed = self.store.list(prefix.map(at).as_ref());
            names(listed.try_collect().await.unwrap())
        }
    }

    fn at(location: &str) -> Path {
        Path::parse(location).unwrap()
    }

    fn names(objects: Vec<ObjectMeta>) -> Vec<String> {
        objects.into_iter().map(|object| object.location.to_string()).collect()
    }

    fn kind_in(error: &StoreError) -> Option<ErrorKind> {
        Error::find_in(error).map(Error::kind)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn of_many_that_create_a_file_one_wins() {
        let table = Table::new();
        let puts = (0..8).map(|writer| {
            let store = table.store.clone();
            let put = async move {
                let payload = PutPayload::from(format!("by {writer}").into_bytes());
                store.put_opts(&at("_delta_log/0.json"), payload, PutMode::Create.into()).await
            };
            tokio::spawn(put)
        });
        let mut won = Vec::new();
        for (writer, put) in futures::future::join_all(puts).await.into_iter().enumerate() {
            match put.unwrap() {
                Ok(_) => won.push(format!("by {writer}")),
                Err(error) => assert!(matches!(error, StoreError::AlreadyExists { .. }), "{error}"),
            }
        }
        assert_eq!(won, [String::from_utf8(table.get("_delta_log/0.json").await.unwrap().into()).unwrap()]);
        assert_eq!(table.staged(), 0);
    }

    #[tokio::test]
    async fn an_overwrite_changes_content_and_tag() {
        let table = Table::new();
        let first = table.store.put(&at("a/b"), "one".into()).await.unwrap();
        let second = table.store.put(&at("a/b"), "two".into()).await.unwrap();
        assert_ne!(first.e_tag, second.e_tag);
        assert_eq!(table.get("a/b").await.unwrap(), "two");
        let head = table.store.head(&at("a/b")).await.unwrap();
        assert_eq!((head.size, &head.e_tag), (3, &second.e_tag));
        let stale = GetOptions { if_match: first.e_tag, ..GetOptions::default() };
        let error = table.store.get_opts(&at("a/b"), stale).await.unwrap_err();
        assert!(matches!(error, StoreError::Precondition { .. }), "{error}");
        // A directory stays: it may hold what others need.
        table.store.put(&at("a"), "x".into()).await.unwrap_err();
        assert_eq!(table.get("a/b").await.unwrap(), "two");
        assert_eq!(table.staged(), 0);
    }

    #[tokio::test]
    async fn ranges_are_cut_at_the_end_and_refused_beyond_it() {
        let table = Table::new();
        table.put("f", "0123456789").await;
        for (range, expected) in [
            (GetRange::Bounded(2..5), "234"),
            (GetRange::Bounded(8..20), "89"),
            (GetRange::Offset(7), "789"),
            (GetRange::Suffix(3), "789"),
        ] {
            let options = GetOptions { range: Some(range), ..GetOptions::default() };
            let got = table.store.get_opts(&at("f"), options).await.unwrap();
            assert_eq!(got.bytes().await.unwrap(), expected);
        }
        let pieces = table.store.get_ranges(&at("f"), &[0..1, 5..10]).await.unwrap();
        assert_eq!(pieces, ["0", "56789"]);
        let error = table.store.get_range(&at("f"), 10..11).await.unwrap_err();
        assert_eq!(kind_in(&error), Some(ErrorKind::DataLoss));
        let backwards = Range { start: 5, end: 1 };
        let error = table.store.get_ranges(&at("f"), &[backwards]).await.unwrap_err();
        assert_eq!(kind_in(&error), Some(ErrorKind::DataLoss));
        table.put("empty", "").await;
        assert_eq!(table.get("empty").await.unwrap(), "");
    }

    #[tokio::test]
    async fn listings_are_sorted_and_follow_the_folders() {
        let table = Table::new();
        for location in ["_delta_log/1.json", "_delta_log/0.json", "k=a/x", "k=a.b/y", "z"] {
            table.put(location, "").await;
        }
        let all = ["_delta_log/0.json", "_delta_log/1.json", "k=a.b/y", "k=a/x", "z"];
        assert_eq!(table.list(None).await, all);
        assert_eq!(table.list(Some("k=a")).await, ["k=a/x"]);
        assert!(table.list(Some("none")).await.is_empty());
        assert!(table.list(Some("z")).await.is_empty());

        let (log, offset) = (at("_delta_log"), at("_delta_log/0.json"));
        let after = table.store.list_with_offset(Some(&log), &offset).try_collect().await.unwrap();
        assert_eq!(names(after), ["_delta_log/1.json"]);
        let top = table.store.list_with_delimiter(None).await.unwrap();
        assert_eq!(top.common_prefixes, [at("_delta_log"), at("k=a"), at("k=a.b")]);
        assert_eq!(names(top.objects), ["z"]);
    }

    #[tokio::test]
    async fn an_upload_is_seen_whole_or_not_at_all() {
        let table = Table::new();
        let location = at("k=1/part");
        let mut upload = table.store.put_multipart(&location).await.unwrap();
        let (first, second) = (upload.put_part("abc".into()), upload.put_part("def".into()));
        second.await.unwrap();
        first.await.unwrap();
        assert!(table.list(None).await.is_empty());
        upload.complete().await.unwrap();
        assert_eq!(table.get("k=1/part").await.unwrap(), "abcdef");

        let mut aborted = table.store.put_multipart(&location).await.unwrap();
        aborted.put_part("x".into()).await.unwrap();
        aborted.abort().await.unwrap();
        aborted.put_part("y".into()).await.unwrap_err();
        aborted.complete().await.unwrap_err();
        assert_eq!(table.staged(), 0);

        let mut unfinished = table.store.put_multipart(&location).await.unwrap();
        drop(unfinished.put_part("x".into()));
        unfinished.complete().await.unwrap_err();
        assert_eq!(table.staged(), 0);

        drop(table.store.put_multipart(&location).await.unwrap());
        while table.staged() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(table.get("k=1/part").await.unwrap(), "abcdef");
    }

    #[tokio::test]
    async fn links_lead_nowhere_outside() {
        let table = Table::new();
        std::fs::write(table.dir.path().join("secret"), "x").unwrap();
        table.put("inside", "ours").await;
        for (target, link) in [("../secret", "file"), ("..", "up"), ("inside", "alias"), (".", "circle")] {
            std::os::unix::fs::symlink(target, table.path(link)).unwrap();
        }
        for location in ["file", "up/secret"] {
            let error = table.get(location).await.unwrap_err();
            assert!(matches!(error, StoreError::PermissionDenied { .. }), "{error}");
        }
        table.store.put(&at("up/new"), "x".into()).await.unwrap_err();
        assert!(!table.dir.path().join("new").exists());
        assert_eq!(table.get("alias").await.unwrap(), "ours");
        assert_eq!(table.list(None).await, ["alias", "inside"]);
        // The link goes, not what it points to.
        table.store.delete(&at("file")).await.unwrap();
        assert!(table.dir.path().join("secret").exists());
        assert_eq!(table.staged(), 0);
    }

    #[tokio::test]
    async fn what_is_missing_is_not_found() {
        let table = Table::new();
        table.put("folder/file", "").await;
        for location in ["none", "none/below", "folder"] {
            let error = table.store.delete(&at(location)).await.unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
            let error = table.get(location).await.unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
            assert_eq!(kind_in(&error), Some(ErrorKind::NotFound));
        }
        table.store.delete(&at("folder/file")).await.unwrap();
        assert!(table.list(None).await.is_empty());
    }

    #[tokio::test]
    async fn a_store_follows_its_directory_and_ends_with_it() {
        let table = Table::new();
        table.put("a/x", "1").await;
        table.store.root.publish(FilePath::new("t"), FilePath::new("moved"), Target::MustBeNew).unwrap();
        table.store.root.create_dir(FilePath::new("t")).unwrap();
        table.put("a/y", "2").await;
        assert_eq!(table.list(None).await, ["a/x", "a/y"]);
        assert!(table.dir.path().join("moved/a/y").exists());

        table.store.root.remove(FilePath::new("moved")).unwrap();
        for location in ["top", "a/z", "new/z"] {
            let error = table.store.put(&at(location), "3".into()).await.unwrap_err();
            assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
        }
        assert_eq!(std::fs::read_dir(table.path("")).unwrap().count(), 0);
        assert_eq!(table.staged(), 0);
    }

    #[tokio::test]
    async fn locations_are_names_of_files_as_they_are() {
        let table = Table::new();
        let odd = "k=a%2Fb/ö ü#?\\*%25.parquet";
        table.put(odd, "x").await;
        assert!(table.path(odd).exists());
        assert_eq!(table.get(odd).await.unwrap(), "x");
        assert_eq!(table.list(None).await, [odd]);
        assert_eq!(table.list(Some("k=a%2Fb")).await, [odd]);
        // From the log: encoded once more, and decoded once.
        assert_eq!(
            Path::from_url_path("k=a%252Fb/%C3%B6%20%C3%BC%23%3F%5C%2A%2525.parquet").unwrap(),
            at(odd)
        );
        // What no location can name is left out.
        std::fs::write(table.path("with\nline"), "").unwrap();
        assert_eq!(table.list(None).await, [odd]);
    }

    #[tokio::test]
    async fn copies_and_renames_replace_only_where_they_may() {
        let table = Table::new();
        table.put("a", "1").await;
        table.put("b", "2").await;
        let (a, b, c) = (at("a"), at("b"), at("new/c"));
        for refused in [
            table.store.copy_if_not_exists(&a, &b).await.unwrap_err(),
            table.store.rename_if_not_exists(&a, &b).await.unwrap_err(),
        ] {
            assert!(matches!(refused, StoreError::AlreadyExists { .. }), "{refused}");
        }
        table.store.copy(&a, &b).await.unwrap();
        table.store.copy(&a, &a).await.unwrap();
        assert_eq!(table.get("b").await.unwrap(), "1");
        table.store.rename_if_not_exists(&a, &c).await.unwrap();
        assert_eq!(table.list(None).await, ["b", "new/c"]);
        assert!(matches!(table.store.rename(&a, &b).await, Err(StoreError::NotFound { .. })));
        assert!(matches!(table.store.rename(&at("new"), &b).await, Err(StoreError::NotFound { .. })));
        assert_eq!(table.staged(), 0);
    }

    #[tokio::test]
    async fn a_read_only_root_refuses_every_write() {
        let table = Table::new();
        table.put("a", "1").await;
        let root = Arc::new(Root::open(table.dir.path(), true).unwrap());
        let store = TableStore::open(root, FilePath::new("t")).unwrap();
        let (a, b) = (at("a"), at("folder/b"));
        for refused in [
            store.put_opts(&a, "2".into(), PutOptions::default()).await.unwrap_err(),
            store.put_multipart(&b).await.map(drop).unwrap_err(),
            store.delete(&a).await.unwrap_err(),
            store.copy(&a, &b).await.unwrap_err(),
            store.rename(&a, &b).await.unwrap_err(),
        ] {
            assert!(matches!(refused, StoreError::PermissionDenied { .. }), "{refused}");
            assert_eq!(kind_in(&refused), Some(ErrorKind::FailedPrecondition));
        }
        assert_eq!(store.get(&a).await.unwrap().bytes().await.unwrap(), "1");
        assert_eq!(table.list(None).await, ["a"]);
    }

    #[tokio::test]
    async fn a_staged_file_becomes_part_of_the_table() {
        let table = Table::new();
        let (staged, file) = table.store.root.create_staged().unwrap();
        file.sync_all().unwrap();
        let to = FilePath::new("k=1/part");
        table.store.publish_staged(&staged, to, Target::MustBeNew).unwrap();
        assert!(table.store.dir.exists(to));
        assert_eq!(table.staged(), 0);
    }
}
