//! A directory that may be read from, and nothing outside of it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, Metadata, MetadataExt, OpenOptions, OpenOptionsExt};
use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, statx};
use rustix::io::Errno;

use super::disk::exhausted;
use super::file::{FileStat, HeldFile};
use crate::error::{Error, ErrorKind, Result};

/// A directory opened once; every path given to it is resolved beneath it by the kernel
/// (`openat2` with `RESOLVE_BENEATH` on Linux), links included.
#[derive(Debug, Clone)]
pub struct Area {
    dir: Arc<Dir>,
    path: PathBuf,
}

impl Area {
    /// Opens the directory at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        Ok(Self { dir: Arc::new(Dir::open_ambient_dir(&path, ambient_authority())?), path })
    }

    /// The directory at `path` within this one, as an area of its own.
    pub fn within(&self, path: &Path) -> Result<Self> {
        let dir = self.dir.open_dir(path).map_err(|error| io_error("open", path, error))?;
        Ok(Self { dir: Arc::new(dir), path: self.path.join(path) })
    }

    /// Device and inode of the directory.
    pub fn identity(&self) -> Result<(u64, u64)> {
        let metadata = self.dir.dir_metadata().map_err(|error| io_error("look at", Path::new("."), error))?;
        Ok((metadata.dev(), metadata.ino()))
    }

    /// Where the directory lies, for messages to operators.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory itself.
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// What the file system says of what lies at `path`, links followed; `None` if nothing does. A link that leads out of
    /// the area, nowhere or to itself has nothing at its end.
    ///
    /// All questions whether something is there come by here: a look that fails for another reason, such as a lack of
    /// file descriptors or a disk that cannot be read, says nothing of what is there.
    pub fn look(&self, path: &Path) -> Result<Option<Metadata>> {
        if_there(self.dir.metadata(path)).map_err(|error| io_error("look at", path, error))
    }

    /// Whether a file or directory lies at `path`.
    pub fn exists(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some())
    }

    /// Whether a directory lies at `path`.
    pub fn is_dir(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some_and(|found| found.is_dir()))
    }

    /// Whether a regular file lies at `path`.
    pub fn is_file(&self, path: &Path) -> Result<bool> {
        self.look(path).map(|found| found.is_some_and(|found| found.is_file()))
    }

    /// Whether what lies at `path` is a link.
    pub fn is_link(&self, path: &Path) -> Result<bool> {
        Ok(self.look_at_name(path)?.is_some_and(|found| found.is_symlink()))
    }

    /// Whether anything has the name `path`: a link that leads nowhere, too.
    pub fn has_name(&self, path: &Path) -> Result<bool> {
        Ok(self.look_at_name(path)?.is_some())
    }

    /// What the file system says of the name `path` itself, be it a link; `None` if there is none.
    pub(super) fn look_at_name(&self, path: &Path) -> Result<Option<Metadata>> {
        let found = if_there(self.dir.symlink_metadata(path));
        found.map_err(|error| io_error("look at", path, error))
    }

    /// Opens the regular file at `path` for reading, if it is there.
    pub fn open_if_there(&self, path: &Path) -> Result<Option<File>> {
        if_there(open_file(&self.dir, path)).map_err(|error| io_error("open", path, error))
    }

    /// Opens the regular file at `path` for reading and holds it.
    pub fn hold(&self, path: &Path) -> Result<HeldFile> {
        HeldFile::open_in(&self.dir, path, path)
    }

    /// The same for a reader, who is refused while no more descriptors are left than commits may need.
    pub fn hold_to_read(&self, path: &Path) -> Result<HeldFile> {
        self.hold_part(path, path)
    }

    /// The same for a file that messages are to call `called`.
    pub fn hold_part(&self, path: &Path, called: &Path) -> Result<HeldFile> {
        let held = HeldFile::open_in(&self.dir, path, called)?;
        held.check_reserve()?;
        Ok(held)
    }

    /// What the file system says of the regular file at `path`, without opening it.
    pub fn stat(&self, path: &Path) -> Result<FileStat> {
        // Listings of many datasets look at each.
        if path.components().count() == 1
            && let Some(stat) = stat_below(&self.dir, path)
        {
            return Ok(stat);
        }
        let metadata = self.dir.metadata(path).map_err(|error| io_error("look at", path, error))?;
        if !metadata.is_file() {
            return Err(Error::not_found(format!("{} is not a file", path.display())));
        }
        Ok(FileStat::of_cap(&metadata))
    }
}

/// What the file system says of the plain file at `path`, in one call, where `path` leads through directories that were found
/// beneath `dir`. A link, and what cannot be looked at, is left to the careful way. Where a directory has become a link
/// meanwhile, this tells of another file, which nobody gets to read: files are opened beneath `dir` alone.
pub(super) fn stat_below(dir: &Dir, path: &Path) -> Option<FileStat> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
    let found = statx(dir, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
    (FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile)
        .then(|| FileStat::of_statx(&found))
}

/// Opens the regular file at `path` beneath `dir` for reading. Of a FIFO nobody waits for the other end, and neither it nor
/// a device is a file here.
pub(super) fn open_file(dir: &Dir, path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match dir.open_with(path, &options) {
        // What a socket answers.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
            return Err(io::Error::other(no_regular_file(path)));
        }
        opened => opened?,
    };
    let metadata = file.metadata()?;
    if metadata.is_file() || metadata.is_dir() {
        Ok(file)
    } else {
        Err(io::Error::other(no_regular_file(path)))
    }
}

/// The error for what has the name of a file and is something else.
pub fn no_regular_file(path: &Path) -> Error {
    Error::precondition(format!(
        "{} is no regular file (it is a FIFO, a socket or a device), and is not read; move it away",
        path.display()
    ))
}

/// What was found, or nothing where the error says that there is nothing.
pub(super) fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if means_nothing_there(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn means_nothing_there(error: &io::Error) -> bool {
    // What cap-std answers where a link would lead out of the area is no error of the system's.
    let leads_outside = error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none();
    let is_loop = error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
    let is_nothing = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
    is_nothing || is_loop || leads_outside
}

/// The error of a failed operation on a file of the store. `path` is relative to its area.
pub fn io_error(verb: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    if let Some(ours) = Error::find_in(&error) {
        return ours.duplicate();
    }
    if let Some(exhausted) = exhausted(&format!("{verb} {path}"), &error) {
        return exhausted.with_source(error);
    }
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            return Error::precondition(format!(
                "cannot {verb} {path}: it is a link, or lies behind one, that leads out of the folder it belongs to"
            ))
            .with_source(error);
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::FailedPrecondition,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("cannot {verb} {path}: {error}")).with_source(error)
}

/// The same where a file was read: what a disk cannot give any more is lost with it.
pub(super) fn read_error(path: &Path, error: io::Error) -> Error {
    if error.raw_os_error() != Some(Errno::IO.raw_os_error()) {
        return io_error("read", path, error);
    }
    Error::data_loss(format!("the disk cannot read the file {}: {error}", path.display())).with_source(error)
}
