//! The root directory: its private corner, its lock, and the steps that make a change durable.
//!
//! ```text
//! .airstrip/FORMAT     the layout's version; a newer one is refused
//! .airstrip/LOCK       held exclusively by the one server that writes
//! .airstrip/staging/   uploads on their way, and what was removed on its way out; swept at the start
//! .airstrip/spill/     temporary files of queries; swept at the start
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cap_std::fs::Dir;
use rustix::fs::{Mode, OFlags, RenameFlags, fsync, openat, renameat, renameat_with};
use uuid::Uuid;

use super::area::{Area, io_error};
use crate::error::{Error, ErrorKind, Result};

const PRIVATE: &str = ".airstrip";
const STAGING: &str = ".airstrip/staging";
const SPILL: &str = ".airstrip/spill";
/// The newest layout of a root that this build knows.
const FORMAT: u32 = 1;

/// What a publish does where its target exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Take its place.
    Replace,
    /// Leave it and fail with [`AlreadyExists`](ErrorKind::AlreadyExists).
    MustBeNew,
}

/// The directory that is served.
#[derive(Debug)]
pub struct Root {
    area: Area,
    read_only: bool,
    /// Set when a directory could not be synced: what is durable is then unknown, and writing on
    /// could lose what was acknowledged.
    failed: AtomicBool,
    /// Held for the lock that comes with it.
    _lock: Option<File>,
}

impl Root {
    /// Opens the root at `path`. A writing server creates it if it is missing, takes the lock and
    /// sweeps what an earlier one left behind; a read-only one touches nothing.
    pub fn open(path: &Path, read_only: bool) -> Result<Self> {
        if !read_only && !path.exists() {
            std::fs::create_dir_all(path).map_err(|error| io_error("create", path, error))?;
            sync_parents(path);
        }
        let area = Area::open(path).map_err(|error| io_error("open", path, error))?;
        let lock = if read_only { None } else { Some(lock(&area)?) };
        let known_format = check_format(&area)?;
        let root = Self { area, read_only, failed: AtomicBool::new(false), _lock: lock };
        if !read_only {
            root.sweep()?;
            if !known_format {
                root.write_small(
                    &Path::new(PRIVATE).join("FORMAT"),
                    format!("{FORMAT}\n").as_bytes(),
                    Target::Replace,
                )?;
            }
        }
        Ok(root)
    }

    /// The directory, for reading.
    pub fn area(&self) -> &Area {
        &self.area
    }

    /// Where queries may spill, or `None` in a read-only root.
    pub fn spill_dir(&self) -> Option<PathBuf> {
        (!self.read_only).then(|| self.area.path().join(SPILL))
    }

    /// Whether this server never writes.
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Fails unless this server may write.
    pub fn check_writable(&self) -> Result<()> {
        if self.read_only {
            return Err(Error::precondition(
                "this server is read-only (--read-only); write through the one that is not",
            ));
        }
        if self.failed.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the store takes no writes since its disk failed to sync a directory; \
                 check the disk, then restart the server",
            ));
        }
        Ok(())
    }

    /// Creates a file of its own in the staging directory, and says where.
    pub(super) fn create_staged(&self) -> Result<(PathBuf, File)> {
        self.check_writable()?;
        let path = Path::new(STAGING).join(format!("{}.parquet", Uuid::new_v4()));
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = self.area.dir().open_with(&path, &options);
        Ok((path.clone(), file.map_err(|error| io_error("create", &path, error))?.into_std()))
    }

    /// Writes a small file durably: staged, synced, renamed to `to`, its directory synced.
    pub fn write_small(&self, to: &Path, content: &[u8], target: Target) -> Result<()> {
        let (staged, mut file) = self.create_staged()?;
        let written = std::io::Write::write_all(&mut file, content).and_then(|()| file.sync_all());
        let done = written
            .map_err(|error| io_error("write", to, error))
            .and_then(|()| self.publish(&staged, to, target));
        if done.is_err() {
            self.discard(&staged);
        }
        done
    }

    /// Moves `from` to `to` in one step that survives a crash: the rename is synced before this
    /// returns. What was at `to` and is a directory ends up in staging, and is removed.
    pub fn publish(&self, from: &Path, to: &Path, target: Target) -> Result<()> {
        self.check_writable()?;
        let (from_dir, from_name) = self.parent(from)?;
        let (to_dir, to_name) = self.parent(to)?;
        let replaces_directory =
            target == Target::Replace && self.area.dir().symlink_metadata(to).is_ok_and(|old| old.is_dir());
        let flags = match target {
            Target::MustBeNew => RenameFlags::NOREPLACE,
            Target::Replace if replaces_directory => RenameFlags::EXCHANGE,
            Target::Replace => RenameFlags::empty(),
        };
        renameat_with(&from_dir, from_name, &to_dir, to_name, flags)
            .map_err(|error| io_error("publish", to, error.into()))?;
        self.sync_dir(&to_dir, to)?;
        if !from.starts_with(PRIVATE) {
            self.sync_dir(&from_dir, from)?;
        }
        if replaces_directory {
            self.discard(from);
        }
        Ok(())
    }

    /// Removes the file or directory at `path` in one step that survives a crash.
    pub fn remove(&self, path: &Path) -> Result<()> {
        self.check_writable()?;
        let trash = Path::new(STAGING).join(Uuid::new_v4().to_string());
        self.publish_into_staging(path, &trash)?;
        self.discard(&trash);
        Ok(())
    }

    /// Makes the directory `path`, durably; [`AlreadyExists`](ErrorKind::AlreadyExists) if it is there.
    pub fn create_dir(&self, path: &Path) -> Result<()> {
        self.check_writable()?;
        let (parent, _) = self.parent(path)?;
        self.area.dir().create_dir(path).map_err(|error| io_error("create", path, error))?;
        self.sync_dir(&parent, path)
    }

    /// Removes the directory `path`, durably;
    /// [`FailedPrecondition`](ErrorKind::FailedPrecondition) if there is anything in it.
    pub fn remove_empty_dir(&self, path: &Path) -> Result<()> {
        self.check_writable()?;
        let (parent, _) = self.parent(path)?;
        self.area.dir().remove_dir(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::DirectoryNotEmpty => {
                Error::precondition(format!("{} is not empty", path.display()))
            }
            _ => io_error("remove", path, error),
        })?;
        self.sync_dir(&parent, path)
    }

    /// Removes what lies in staging at `path`. What cannot be removed now is swept at the next start.
    pub(super) fn discard(&self, path: &Path) {
        // After a failed sync nobody knows which version is durable: all of them stay.
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        let dir = self.area.dir();
        let removed = match dir.symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => dir.remove_dir_all(path),
            Ok(_) => dir.remove_file(path),
            Err(_) => return,
        };
        if let Err(error) = removed {
            tracing::warn!(path = %path.display(), %error, "cannot remove a staged file");
        }
    }

    fn publish_into_staging(&self, path: &Path, trash: &Path) -> Result<()> {
        let (from_dir, from_name) = self.parent(path)?;
        let (to_dir, to_name) = self.parent(trash)?;
        renameat(&from_dir, from_name, &to_dir, to_name)
            .map_err(|error| io_error("remove", path, error.into()))?;
        self.sync_dir(&from_dir, path)
    }

    /// The open parent directory of `path`, and its last component.
    fn parent<'a>(&self, path: &'a Path) -> Result<(Dir, &'a Path)> {
        let Some(name) = path.file_name() else {
            return Err(Error::internal(format!("{} has no file name", path.display())));
        };
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.area.dir().open_dir(parent),
            _ => self.area.dir().try_clone(),
        };
        Ok((dir.map_err(|error| io_error("open", path, error))?, Path::new(name)))
    }

    /// Syncs a directory. After a failure nobody knows what is durable, so writing ends.
    fn sync_dir(&self, dir: &Dir, path: &Path) -> Result<()> {
        // The directory as it is open only names it (O_PATH): syncing needs a descriptor that reads.
        let reopened = openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let synced = reopened.and_then(|dir| fsync(&dir)).map_err(std::io::Error::from);
        synced.map_err(|error| {
            self.failed.store(true, Ordering::Release);
            tracing::error!(path = %path.display(), %error, "a directory could not be synced: no more writes");
            io_error("sync the directory of", path, error)
        })
    }

    fn sweep(&self) -> Result<()> {
        let dir = self.area.dir();
        for path in [STAGING, SPILL] {
            let swept = match dir.remove_dir_all(path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => dir.create_dir_all(path),
            };
            swept.map_err(|error| io_error("sweep", Path::new(path), error))?;
        }
        Ok(())
    }
}

fn lock(area: &Area) -> Result<File> {
    let path = area.path().join(PRIVATE);
    std::fs::create_dir_all(&path).map_err(|error| io_error("create", &path, error))?;
    let path = path.join("LOCK");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| io_error("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::precondition(format!(
            "another server writes to {}; stop it, or serve with --read-only",
            area.path().display()
        ))),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path, error)),
    }
}

/// Whether the root says which format it has, which must not be newer than this build.
fn check_format(area: &Area) -> Result<bool> {
    let path = Path::new(PRIVATE).join("FORMAT");
    let mut text = String::new();
    match area.dir().open(&path) {
        Ok(mut file) => {
            file.read_to_string(&mut text).map_err(|error| io_error("read", &path, error))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(io_error("read", &path, error)),
    }
    match text.trim() {
        // A crash came between the file's creation and its first byte.
        "" => Ok(false),
        text if text.parse::<u32>().is_ok_and(|format| format <= FORMAT) => Ok(true),
        text => Err(Error::precondition(format!(
            "{} has format {text:?}, this build knows formats up to {FORMAT}; use a newer Airstrip",
            area.path().display()
        ))),
    }
}

/// Makes the directories above a new root durable, as far as we may.
fn sync_parents(path: &Path) {
    for parent in path.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        if let Err(error) = File::open(parent).and_then(|dir| dir.sync_all()) {
            tracing::debug!(path = %parent.display(), %error, "cannot sync a directory above the root");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Root, name: &str, text: &str) {
        root.area.dir().write(name, text).unwrap();
    }

    #[test]
    fn a_second_writer_is_refused_and_a_reader_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let first = Root::open(dir.path(), false).unwrap();
        assert_eq!(Root::open(dir.path(), false).unwrap_err().kind(), ErrorKind::FailedPrecondition);
        let reader = Root::open(dir.path(), true).unwrap();
        assert_eq!(reader.check_writable().unwrap_err().kind(), ErrorKind::FailedPrecondition);
        drop(first);
        Root::open(dir.path(), false).unwrap();
    }

    #[test]
    fn a_newer_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(Root::open(dir.path(), false).unwrap());
        std::fs::write(dir.path().join(".airstrip/FORMAT"), "2\n").unwrap();
        assert_eq!(Root::open(dir.path(), false).unwrap_err().kind(), ErrorKind::FailedPrecondition);
    }

    #[test]
    fn publishing_replaces_files_and_directories_and_can_insist_on_a_new_name() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path(), false).unwrap();
        root.write_small(Path::new("a"), b"1", Target::MustBeNew).unwrap();
        let refused = root.write_small(Path::new("a"), b"2", Target::MustBeNew).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::AlreadyExists);
        root.write_small(Path::new("a"), b"3", Target::Replace).unwrap();
        assert_eq!(std::fs::read(dir.path().join("a")).unwrap(), b"3");

        std::fs::create_dir(dir.path().join("d")).unwrap();
        write(&root, "d/part", "x");
        root.write_small(Path::new("d"), b"4", Target::Replace).unwrap();
        assert_eq!(std::fs::read(dir.path().join("d")).unwrap(), b"4");
        assert_eq!(std::fs::read_dir(dir.path().join(STAGING)).unwrap().count(), 0);
    }

    #[test]
    fn the_start_sweeps_what_a_crash_left() {
        let dir = tempfile::tempdir().unwrap();
        drop(Root::open(dir.path(), false).unwrap());
        std::fs::write(dir.path().join(STAGING).join("left"), "x").unwrap();
        let _root = Root::open(dir.path(), false).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join(STAGING)).unwrap().count(), 0);
    }

    #[test]
    fn a_link_out_of_the_root_is_not_followed() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path(), false).unwrap();
        std::os::unix::fs::symlink(outside.path().join("secret"), dir.path().join("link")).unwrap();
        assert!(root.area().hold(Path::new("link")).is_err());
        assert!(root.area().stat(Path::new("link")).is_err());
    }
}
