//! What lies in a directory: the entries of a schema's folder, and the parts of a dataset's.
//!
//! Whether a folder is a table of another format, or holds one, is seen in passing: no directory is read for it that
//! would not be read anyway.

use std::path::{Path, PathBuf};

use cap_std::fs::Dir;

use super::area::{Area, if_there, io_error, no_regular_file};
use super::table_format::TableFormat;
use crate::error::{Error, ErrorKind, Result};

/// How deep a dataset's directory may nest: far above any partitioning in use, and a bound for the
/// walk.
const MAX_DEPTH: usize = 32;

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
    let dir = open_dir(area, path)?;
    let (mut entries, _) = read_all(&dir, path, Some(area))?;
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
}

/// What a directory dataset is made of.
#[derive(Debug, Default)]
pub struct Parts {
    /// Its Parquet files, sorted.
    pub parts: Vec<Part>,
    /// Whether it is the output of a streaming query, whose log says which of the files count.
    pub is_sink: bool,
}

/// The Parquet files below `path`, at most `limit` of them. Names that begin with `_` or `.` are left out, as Hive
/// and Spark do. Fails for a folder that is a table of another format, or holds one: its files are no rows by
/// themselves.
pub fn list_parts(area: &Area, path: &Path, limit: usize) -> Result<Parts> {
    let mut walk = Walk { area, limit, only_first: false, root: path, found: Parts::default() };
    walk.descend(&open_dir(area, path)?, path, &mut Vec::new())?;
    Ok(walk.found)
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
    let mut walk = Walk { area, limit: usize::MAX, only_first: true, root: path, found: Parts::default() };
    let walked = open_dir(area, path).and_then(|dir| walk.descend(&dir, path, &mut Vec::new()));
    match walked.map_err(|error| (error.kind(), error)) {
        Ok(()) if walk.found.parts.is_empty() => Ok(Folder::Other),
        // It is too deep, which is to be said to who reads it.
        Ok(()) | Err((ErrorKind::InvalidArgument, _)) => Ok(Folder::Dataset),
        Err((ErrorKind::Unimplemented | ErrorKind::FailedPrecondition, _)) => Ok(Folder::Table),
        // It went away meanwhile.
        Err((ErrorKind::NotFound, _)) => Ok(Folder::Other),
        Err((_, error)) => Err(error),
    }
}

/// Fails where the directory `path` is a table of another format, or holds one.
pub fn check_no_table(area: &Area, path: &Path) -> Result<()> {
    list_parts(area, path, usize::MAX).map(|_| ())
}

struct Walk<'a> {
    area: &'a Area,
    limit: usize,
    /// Whether the walk ends at the first file.
    only_first: bool,
    root: &'a Path,
    found: Parts,
}

impl Walk<'_> {
    fn descend(&mut self, dir: &Dir, path: &Path, folders: &mut Vec<String>) -> Result<()> {
        if folders.len() > MAX_DEPTH {
            let root = self.root.display();
            return Err(Error::invalid(format!("{root} nests deeper than {MAX_DEPTH} directories")));
        }
        let (entries, others) = read_all(dir, path, Some(self.area))?;
        if !self.only_first {
            others.iter().try_for_each(|other| other.check_no_part(path))?;
        }
        match TableFormat::of(dir, &entries, path)? {
            None => {}
            Some(TableFormat::SparkSink) if folders.is_empty() => self.found.is_sink = true,
            // It became one since somebody looked.
            Some(TableFormat::Delta) if folders.is_empty() => {}
            Some(format) => return Err(format.refuse(self.root, path)),
        }
        for entry in entries {
            if self.only_first && !self.found.parts.is_empty() {
                break;
            }
            if entry.name.starts_with(['_', '.']) {
                continue;
            }
            let below = path.join(&entry.name);
            match entry.kind {
                EntryKind::Directory => {
                    let dir = dir.open_dir(&entry.name).map_err(|error| io_error("open", &below, error))?;
                    folders.push(entry.name);
                    self.descend(&dir, &below, folders)?;
                    folders.pop();
                }
                EntryKind::File if entry.name.ends_with(".parquet") => {
                    if self.found.parts.len() >= self.limit {
                        let (root, limit) = (self.root.display(), self.limit);
                        return Err(Error::exhausted(format!(
                            "{root} has more than {limit} Parquet files (the setting max-parts)"
                        )));
                    }
                    self.found.parts.push(Part { path: below, folders: folders.clone() });
                }
                EntryKind::File => {}
            }
        }
        Ok(())
    }
}

pub(super) fn open_dir(area: &Area, path: &Path) -> Result<Dir> {
    if path.as_os_str().is_empty() {
        return area.dir().try_clone().map_err(|error| io_error("open", path, error));
    }
    area.dir().open_dir(path).map_err(|error| io_error("open", path, error))
}

pub(super) fn read_entries(dir: &Dir, path: &Path) -> Result<Vec<Entry>> {
    Ok(read_all(dir, path, None)?.0)
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

/// The same, and what is neither a file nor a directory. A link may lead to a file anywhere in `area`.
fn read_all(dir: &Dir, path: &Path, area: Option<&Area>) -> Result<(Vec<Entry>, Vec<Other>)> {
    let fail = |error| io_error("list", path, error);
    let (mut entries, mut others) = (Vec::new(), Vec::new());
    for entry in dir.entries().map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // A file may vanish between the listing and this look: then it is not there.
        let look = |error| io_error("look at", &path.join(&name), error);
        let Some(mut kind) = if_there(entry.file_type()).map_err(look)? else { continue };
        let mut is_elsewhere = false;
        if kind.is_symlink() {
            let mut found = if_there(dir.metadata(&name)).map_err(look)?;
            if let (None, Some(area)) = (&found, area) {
                found = area.look(&path.join(&name))?;
                is_elsewhere = true;
            }
            let Some(found) = found else {
                others.push(Other { name, why: Why::Nowhere });
                continue;
            };
            kind = found.file_type();
        }
        match kind {
            kind if kind.is_file() => entries.push(Entry { name, kind: EntryKind::File }),
            kind if kind.is_dir() && is_elsewhere => others.push(Other { name, why: Why::Elsewhere }),
            kind if kind.is_dir() => entries.push(Entry { name, kind: EntryKind::Directory }),
            _ => others.push(Other { name, why: Why::NoFile }),
        }
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((entries, others))
}
