//! What lies in a directory: the entries of a schema's folder, and the parts of a dataset's.
//!
//! Whether a folder is a table of another format, or holds one, is seen in passing: no directory is read for it that
//! would not be read anyway.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::vec::IntoIter;

use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use rustix::fs::{FileType, OFlags, RawDir};

use super::area::{Area, if_there, io_error, no_regular_file, stat_below};
use super::file::FileStat;
use super::folder_cache::{FolderCache, Folders};
use super::parallel_map;
use super::table_format::{ICEBERG_METADATA, TableFormat};
use crate::error::{Error, ErrorKind, Result};

/// How deep a dataset's directory may nest: far above any partitioning in use, and a bound for the
/// walk.
const MAX_DEPTH: usize = 32;
/// So many folders side by side are read by as many threads as there are cores.
const FOLDERS_AT_ONCE: usize = 128;
/// Bytes of a directory that are read in one call.
const READ_AT_ONCE: usize = 16 << 10;

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The file name.
    pub name: String,
    /// File or directory, links followed as long as they stay inside.
    pub kind: EntryKind,
}

/// What an [`Entry`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
}

/// The files and directories in `path`, sorted by name. Names that are not UTF-8, that begin with a
/// dot, and what a link points to outside of the area are left out.
pub fn list_entries(area: &Area, path: &Path) -> Result<Vec<Entry>> {
    let mut entries = Names::read(&Readable::in_area(area, path)?, path, Some(area))?.entries;
    entries.retain(|entry| !entry.name.starts_with('.'));
    Ok(entries)
}

/// A Parquet file of a directory dataset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its path in the area.
    pub path: PathBuf,
    /// The names of the directories between the dataset's and the file.
    pub folders: Vec<String>,
    /// What the file system said of it when the directory was read.
    pub stat: FileStat,
}

/// What a directory dataset is made of.
#[derive(Debug, Default)]
pub struct Parts {
    /// Its Parquet files, sorted.
    pub parts: Vec<Part>,
    /// Whether it is the output of a streaming query, whose log says which of the files count.
    pub is_sink: bool,
}

/// The Parquet files below `path`, at most `limit` of them; folders that `cache` knows are not read again. Names that begin
/// with `_` or `.` are left out, as Hive and Spark do. Fails for a folder that is a table of another format, or holds one: its
/// files are no rows by themselves.
pub fn list_parts(area: &Area, path: &Path, limit: usize, cache: &FolderCache) -> Result<Parts> {
    let top = Readable::in_area(area, path)?.0;
    Walk { cache: cache.below(&top), ..Walk::new(area, &top, path, limit) }.descend(Path::new(""), &[])
}

/// What a directory is at first sight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Folder {
    /// There is no Parquet below it.
    Other,
    /// There is some.
    Dataset,
    /// It is a table of another format, or holds one.
    Table,
}

/// What the directory at `path` is, as far as its first Parquet file tells.
///
/// Fails where it cannot be looked at: that says nothing of what it is.
pub fn look_at_folder(area: &Area, path: &Path) -> Result<Folder> {
    let walked = Readable::in_area(area, path).and_then(|Readable(top)| {
        let walk = Walk { only_first: true, ..Walk::new(area, &top, path, usize::MAX) };
        walk.descend(Path::new(""), &[])?;
        Ok(walk.count.into_inner())
    });
    match walked.map_err(|error| (error.kind(), error)) {
        // Or it went away meanwhile.
        Ok(0) | Err((ErrorKind::NotFound, _)) => Ok(Folder::Other),
        // It is too deep, which is to be said to who reads it.
        Ok(_) | Err((ErrorKind::InvalidArgument, _)) => Ok(Folder::Dataset),
        Err((ErrorKind::Unimplemented | ErrorKind::FailedPrecondition, _)) => Ok(Folder::Table),
        Err((_, error)) => Err(error),
    }
}

/// Fails where the directory `path` is a table of another format, or holds one.
pub fn check_no_table(area: &Area, path: &Path) -> Result<()> {
    let top = Readable::in_area(area, path)?.0;
    Walk::new(area, &top, path, usize::MAX).descend(Path::new(""), &[]).map(|_| ())
}

struct Walk<'a> {
    area: &'a Area,
    /// The directory that is walked through, and its path in the area.
    top: &'a Dir,
    root: &'a Path,
    limit: usize,
    /// Whether the walk ends at the first file, and only counts it.
    only_first: bool,
    /// The Parquet files that were found.
    count: AtomicUsize,
    cache: Option<Folders<'a>>,
}

impl<'a> Walk<'a> {
    fn new(area: &'a Area, top: &'a Dir, root: &'a Path, limit: usize) -> Self {
        Self { area, top, root, limit, only_first: false, count: AtomicUsize::new(0), cache: None }
    }

    /// What lies in the directory at `below`, which is the last of `folders`, and below it.
    fn descend(&self, below: &Path, folders: &[String]) -> Result<Parts> {
        if folders.len() > MAX_DEPTH {
            let root = self.root.display();
            return Err(Error::invalid(format!("{root} nests deeper than {MAX_DEPTH} directories")));
        }
        let path = self.root.join(below);
        let contents = self.contents(below, &path)?;
        if !self.only_first {
            contents.names.others.iter().try_for_each(|other| other.check_no_part(&path))?;
        }
        let mut found = Parts::default();
        match contents.format {
            None => {}
            Some(TableFormat::SparkSink) if folders.is_empty() => found.is_sink = true,
            // It became one since somebody looked.
            Some(TableFormat::Delta) if folders.is_empty() => {}
            Some(format) => return Err(format.refuse(self.root, &path)),
        }
        let entries: Vec<_> =
            contents.names.entries.iter().filter(|entry| !entry.name.starts_with(['_', '.'])).collect();
        let folder =
            |name: &&str| self.descend(&below.join(name), &[folders, &[(*name).to_owned()]].concat());
        let mut many = self.at_once(&entries, folder);
        for entry in entries {
            if self.only_first && self.count.load(Ordering::Relaxed) > 0 {
                break;
            }
            match entry.kind {
                EntryKind::Directory => {
                    let walked = many.next().unwrap_or_else(|| folder(&entry.name.as_str()));
                    found.parts.extend(walked?.parts);
                }
                EntryKind::File if entry.name.ends_with(".parquet") => {
                    found.parts.extend(self.file(&below.join(&entry.name), folders)?);
                }
                EntryKind::File => {}
            }
        }
        Ok(found)
    }

    /// What is in the directory at `below`, whose path in the area is `path`.
    fn contents(&self, below: &Path, path: &Path) -> Result<Arc<Contents>> {
        if let Some(known) = self.cache.as_ref().and_then(|cache| cache.find(below)) {
            return Ok(known);
        }
        let place = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        let dir = Readable::open(self.top, place).map_err(|error| io_error("open", path, error))?;
        let before = self.cache.as_ref().and_then(|cache| cache.before(&dir.0));
        let contents = Arc::new(Contents::read(&dir, path, self.area)?);
        if let (Some(cache), Some(before)) = (&self.cache, before.filter(|_| contents.stays())) {
            cache.keep(&before, &contents);
        }
        Ok(contents)
    }

    /// What `folder` makes of the folders among `entries`, in their order, where there are so many that threads are worth
    /// while; nothing otherwise.
    fn at_once(
        &self,
        entries: &[&Entry],
        folder: impl Fn(&&str) -> Result<Parts> + Sync,
    ) -> IntoIter<Result<Parts>> {
        let folders = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
        let names: Vec<&str> = folders.map(|entry| entry.name.as_str()).collect();
        let is_worth_while = !self.only_first && names.len() >= FOLDERS_AT_ONCE;
        let found = if is_worth_while { parallel_map(&names, folder) } else { Vec::new() };
        found.into_iter()
    }

    /// The Parquet file at `below`.
    fn file(&self, below: &Path, folders: &[String]) -> Result<Option<Part>> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.limit {
            let (root, limit) = (self.root.display(), self.limit);
            return Err(Error::exhausted(format!(
                "{root} has more than {limit} Parquet files (the setting max-parts)"
            )));
        }
        if self.only_first {
            return Ok(None);
        }
        let path = self.root.join(below);
        let stat = match stat_below(self.top, below) {
            Some(stat) => stat,
            None => self.area.stat(&path)?,
        };
        Ok(Some(Part { path, folders: folders.to_vec(), stat }))
    }
}

/// What is in a directory.
#[derive(Debug)]
pub(super) struct Contents {
    names: Names,
    format: Option<TableFormat>,
}

impl Contents {
    fn read(dir: &Readable, path: &Path, area: &Area) -> Result<Self> {
        let names = Names::read(dir, path, Some(area))?;
        let format = TableFormat::of(&dir.0, &names.entries, path)?;
        Ok(Self { names, format })
    }

    /// Whether it is all the same as long as no name comes or goes: where links lead, and what a table of another format has
    /// in its folders, can change meanwhile.
    fn stays(&self) -> bool {
        let Names { entries, others, has_links } = &self.names;
        let is_plain = others.is_empty() && !has_links && self.format.is_none();
        is_plain && entries.iter().all(|entry| entry.name != ICEBERG_METADATA)
    }

    /// Bytes that it takes, about.
    pub(super) fn memory_size(&self) -> usize {
        let entries = &self.names.entries;
        let names: usize = entries.iter().map(|entry| entry.name.capacity()).sum();
        size_of::<Self>() + entries.capacity() * size_of::<Entry>() + names
    }
}

/// A directory that is opened to be read, which is done once.
#[derive(Debug)]
struct Readable(Dir);

impl Readable {
    fn in_area(area: &Area, path: &Path) -> Result<Self> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Self::open(area.dir(), path).map_err(|error| io_error("open", path, error))
    }

    /// In one call, where what `Dir::entries` reads is opened a second time.
    fn open(dir: &Dir, path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed());
        Ok(Self(Dir::from_std_file(dir.open_with(path, &options)?.into_std())))
    }

    /// The names in it that are UTF-8, and what they are, links not followed.
    fn names(&self) -> io::Result<Vec<(String, FileType)>> {
        let mut buffer = Vec::with_capacity(READ_AT_ONCE);
        let mut entries = RawDir::new(&self.0, buffer.spare_capacity_mut());
        let mut names = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name != "." && name != ".." {
                names.push((name.to_owned(), entry.file_type()));
            }
        }
        Ok(names)
    }
}

pub(super) fn open_dir(area: &Area, path: &Path) -> Result<Dir> {
    if path.as_os_str().is_empty() {
        return area.dir().try_clone().map_err(|error| io_error("open", path, error));
    }
    area.dir().open_dir(path).map_err(|error| io_error("open", path, error))
}

pub(super) fn read_entries(dir: &Dir, path: &Path) -> Result<Vec<Entry>> {
    let dir = Readable::open(dir, Path::new(".")).map_err(|error| io_error("open", path, error))?;
    Ok(Names::read(&dir, path, None)?.entries)
}

/// A name in a directory that is neither a file nor a directory.
#[derive(Debug)]
struct Other {
    name: String,
    why: Why,
}

#[derive(Debug)]
enum Why {
    /// It is a FIFO, a socket or a device.
    NoFile,
    /// It is a link that leads nowhere, or out of the area.
    Nowhere,
    /// It is a link to a directory that is not below this one.
    Elsewhere,
}

impl Other {
    /// Fails if a part of a dataset may be meant: without it there would be fewer rows.
    fn check_no_part(&self, path: &Path) -> Result<()> {
        if self.name.starts_with(['_', '.']) {
            return Ok(());
        }
        let (path, is_part) = (path.join(&self.name), self.name.ends_with(".parquet"));
        match self.why {
            Why::NoFile if is_part => Err(no_regular_file(&path)),
            Why::Nowhere if is_part => Err(Error::precondition(format!(
                "{} is a link that leads nowhere, or out of the root; put the file itself there, or take the link away",
                path.display()
            ))),
            Why::Elsewhere => Err(Error::precondition(format!(
                "{} is a link to a folder that is not below this one, and is not followed; take the link away",
                path.display()
            ))),
            Why::NoFile | Why::Nowhere => Ok(()),
        }
    }
}

/// The names in a directory.
#[derive(Debug)]
struct Names {
    /// The files and directories, sorted.
    entries: Vec<Entry>,
    /// What is neither.
    others: Vec<Other>,
    /// Whether a link was followed, or may have been.
    has_links: bool,
}

impl Names {
    /// Those in `dir`. A link may lead to a file anywhere in `area`.
    fn read(dir: &Readable, path: &Path, area: Option<&Area>) -> Result<Self> {
        let (mut entries, mut others, mut has_links) = (Vec::new(), Vec::new(), false);
        for (name, file_type) in dir.names().map_err(|error| io_error("list", path, error))? {
            // A file may vanish between the listing and this look: then it is not there.
            let look = |error| io_error("look at", &path.join(&name), error);
            let mut is_elsewhere = false;
            let kind = match file_type {
                FileType::RegularFile => Some(EntryKind::File),
                FileType::Directory => Some(EntryKind::Directory),
                // There are file systems that do not tell.
                FileType::Symlink | FileType::Unknown => {
                    has_links = true;
                    let is_there = if_there(dir.0.symlink_metadata(&name)).map_err(look)?.is_some();
                    if !is_there {
                        continue;
                    }
                    let mut found = if_there(dir.0.metadata(&name)).map_err(look)?;
                    if let (None, Some(area)) = (&found, area) {
                        found = area.look(&path.join(&name))?;
                        is_elsewhere = true;
                    }
                    let Some(found) = found else {
                        others.push(Other { name, why: Why::Nowhere });
                        continue;
                    };
                    let is_file = found.is_file().then_some(EntryKind::File);
                    is_file.or(found.is_dir().then_some(EntryKind::Directory))
                }
                _ => None,
            };
            match kind {
                Some(EntryKind::Directory) if is_elsewhere => {
                    others.push(Other { name, why: Why::Elsewhere });
                }
                Some(kind) => entries.push(Entry { name, kind }),
                None => others.push(Other { name, why: Why::NoFile }),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { entries, others, has_links })
    }
}
