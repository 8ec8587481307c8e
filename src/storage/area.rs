//! A directory that may be read from, and nothing outside of it.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{AtFlags, FileType, StatxFlags, statx};

use super::file::{FileStat, HeldFile};
use crate::error::{Error, ErrorKind, Result};

/// A directory opened once; every path given to it is resolved beneath it by the kernel
/// (`openat2` with `RESOLVE_BENEATH` on Linux), links included.
#[derive(Debug)]
pub struct Area {
    dir: Dir,
    path: PathBuf,
}

impl Area {
    /// Opens the directory at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = path.canonicalize()?;
        Ok(Self { dir: Dir::open_ambient_dir(&path, ambient_authority())?, path })
    }

    /// The directory at `path` within this one, as an area of its own.
    pub fn within(&self, path: &Path) -> Result<Self> {
        let dir = self.dir.open_dir(path).map_err(|error| io_error("open", path, error))?;
        Ok(Self { dir, path: self.path.join(path) })
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

    /// Opens the regular file at `path` for reading and holds it.
    pub fn hold(&self, path: &Path) -> Result<HeldFile> {
        HeldFile::open_in(&self.dir, path)
    }

    /// What the file system says of the regular file at `path`, without opening it.
    pub fn stat(&self, path: &Path) -> Result<FileStat> {
        if let Some(stat) = self.stat_name(path) {
            return Ok(stat);
        }
        let metadata = self.dir.metadata(path).map_err(|error| io_error("look at", path, error))?;
        if !metadata.is_file() {
            return Err(Error::not_found(format!("{} is not a file", path.display())));
        }
        Ok(FileStat::of_cap(&metadata))
    }
}

impl Area {
    /// The same in one system call, for a plain file that lies in the area itself: listings of many
    /// datasets look at each. A name alone cannot lead outside, and a link is left to the careful way.
    fn stat_name(&self, path: &Path) -> Option<FileStat> {
        if path.components().count() != 1 {
            return None;
        }
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME;
        let found = statx(&self.dir, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
        (FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile)
            .then(|| FileStat::of_statx(&found))
    }
}

/// The error of a failed operation on a file of the store. `path` is relative to its area.
pub(super) fn io_error(verb: &str, path: &Path, error: io::Error) -> Error {
    let path = path.display();
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => ErrorKind::AlreadyExists,
        // What cap-std answers where a path or link would lead out of the area.
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => ErrorKind::FailedPrecondition,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ErrorKind::ResourceExhausted
        }
        _ if error.raw_os_error() == Some(rustix::io::Errno::MFILE.raw_os_error()) => {
            return Error::exhausted(format!(
                "cannot {verb} {path}: the server has no file descriptors left; raise its limit (ulimit -n)"
            ))
            .with_source(error);
        }
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("cannot {verb} {path}: {error}")).with_source(error)
}
