//! The root directory: its private corner, its lock, and the steps that make a change durable.
//!
//! ```text
//! .airstrip/FORMAT     the layout's version; a newer one is refused
//! .airstrip/LOCK       held exclusively by the one server that writes
//! .airstrip/staging/   uploads on their way, and what was removed on its way out; swept at the start
//! .airstrip/trash/     what was dropped or replaced, for a while
//! .airstrip/spill/     temporary files of queries; swept at the start
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{Mode, OFlags, RenameFlags, fstat, fsync, openat, renameat, renameat_with};
use uuid::Uuid;

use super::area::{Area, io_error, open_file, read_error};
use super::delta::sweep_placed;
use super::disk::served;
use super::listing::read_entries;
use super::table_format::check_root;
use super::trash::{TRASH, Trash};
use super::writeback::sync_file;
use crate::error::{Error, ErrorKind, Result};
use crate::failpoint::Failpoint;
use crate::safeguard::Safeguard;

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

impl Target {
    fn flags(self) -> RenameFlags {
        match self {
            Self::MustBeNew => RenameFlags::NOREPLACE,
            Self::Replace => RenameFlags::empty(),
        }
    }
}

/// A directory held open, and a name in it.
pub(super) type Place<'a> = (Dir, &'a Path);

/// The directory that is served.
#[derive(Debug)]
pub struct Root {
    area: Area,
    read_only: bool,
    /// Set when a directory could not be synced: what is durable is then unknown, and writing on
    /// could lose what was acknowledged.
    failed: AtomicBool,
    /// Held while the directories above a new file are looked up or made.
    making: Mutex<()>,
    pub(super) trash: Trash,
    /// Held for the lock that comes with it.
    _lock: Option<File>,
}

/// Discards what was staged, when it is dropped.
struct Discard<'a> {
    root: &'a Root,
    staged: &'a Path,
}

impl Drop for Discard<'_> {
    fn drop(&mut self) {
        self.root.discard(self.staged);
    }
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
        check_root(area.dir(), &read_entries(area.dir(), Path::new(""))?, area.path())?;
        let lock = if read_only { None } else { Some(lock(&area)?) };
        let known_format = check_format(&area)?;
        let failed = AtomicBool::new(false);
        let (making, trash) = (Mutex::new(()), Trash::default());
        let root = Self { area, read_only, failed, making, trash, _lock: lock };
        if !read_only {
            served(root.area.path());
            sweep_placed(&root.area, Path::new(STAGING))?;
            root.sweep()?;
            root.make_trash()?;
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
        let path = staged_path().with_extension("parquet");
        let mut options = cap_std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        let file = self.with_room(|| self.area.dir().open_with(&path, &options));
        Ok((path.clone(), file.map_err(|error| io_error("create", &path, error))?.into_std()))
    }

    /// Writes a small file to the staging directory, of which a crash of the machine may leave nothing, and says where.
    pub(super) fn write_note(&self, ending: &str, content: &[u8]) -> Result<PathBuf> {
        self.check_writable()?;
        let path = Path::new(STAGING).join(format!("{}.{ending}", Uuid::new_v4()));
        let written = self.area.dir().write(&path, content);
        written.map_err(|error| {
            self.discard(&path);
            io_error("write", &path, error)
        })?;
        Ok(path)
    }

    /// Creates a file without a name in the staging directory: it is gone when it is closed.
    pub fn create_unnamed(&self) -> Result<File> {
        let (path, file) = self.create_staged()?;
        self.area.dir().remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        Ok(file)
    }

    /// Creates a directory of its own in the staging directory, and says where.
    pub fn create_staged_dir(&self) -> Result<PathBuf> {
        self.check_writable()?;
        let path = staged_path();
        self.area.dir().create_dir(&path).map_err(|error| io_error("create", &path, error))?;
        Ok(path)
    }

    /// Creates a directory in one that is being staged; [`sync_staged_dir`](Self::sync_staged_dir) makes it durable.
    pub fn create_dir_in_staged(&self, path: &Path) -> Result<()> {
        self.area.dir().create_dir(path).map_err(|error| io_error("create", path, error))
    }

    /// Writes a file into a directory that is being staged; [`sync_staged_dir`](Self::sync_staged_dir)
    /// makes its name durable.
    pub fn write_staged(&self, path: &Path, content: &[u8]) -> Result<()> {
        let write = || {
            let mut file = self.area.dir().create(path)?.into_std();
            std::io::Write::write_all(&mut file, content)?;
            sync_file(&file, Safeguard::SyncNotes)
        };
        self.with_room(write).map_err(|error| io_error("write", path, error))
    }

    /// Gives the file at `from` a second name in a directory that is being staged, unless it has that already.
    pub fn link_staged(&self, from: &Path, to: &Path) -> Result<()> {
        let dir = self.area.dir();
        match dir.hard_link(from, dir, to) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let identity = |path: &Path| {
                    let found =
                        dir.symlink_metadata(path).map_err(|error| io_error("look at", path, error))?;
                    Ok::<_, Error>((found.dev(), found.ino()))
                };
                let is_linked = identity(from)? == identity(to)?;
                if is_linked { Ok(()) } else { Err(io_error("link", from, error)) }
            }
            linked => linked.map_err(|error| io_error("link", from, error)),
        }
    }

    /// Makes the names in a staged directory durable.
    pub fn sync_staged_dir(&self, path: &Path) -> Result<()> {
        self.sync_at(path)
    }

    /// Removes what is left of a staged directory.
    pub fn discard_staged_dir(&self, path: &Path) {
        self.discard(path);
    }

    /// Writes a small file durably: staged, synced, renamed to `to`, its directory synced.
    pub fn write_small(&self, to: &Path, content: &[u8], target: Target) -> Result<()> {
        Failpoint::Note.pass()?;
        let staged = self.stage_small(to, content)?;
        self.or_discard(&staged, || self.publish(&staged, to, target))
    }

    /// What `publish` comes to; where it fails, or panics, what was staged is gone.
    pub(super) fn or_discard<T>(&self, staged: &Path, publish: impl FnOnce() -> Result<T>) -> Result<T> {
        let discard = Discard { root: self, staged };
        let done = publish()?;
        std::mem::forget(discard);
        Ok(done)
    }

    /// Writes what is to become the small file `to` into the staging directory, durably, and says where.
    pub(super) fn stage_small(&self, to: &Path, content: &[u8]) -> Result<PathBuf> {
        let (staged, file) = self.create_staged()?;
        let write = || file.write_all_at(content, 0).and_then(|()| sync_file(&file, Safeguard::SyncNotes));
        let written = self.with_room(write).map_err(|error| io_error("write", to, error));
        if written.is_err() {
            self.discard(&staged);
        }
        written.map(|()| staged)
    }

    /// Moves `from` to `to` in one step that survives a crash: the rename is synced before this
    /// returns. What was at `to` and is a directory ends up in staging, and is removed.
    pub fn publish(&self, from: &Path, to: &Path, target: Target) -> Result<()> {
        self.check_writable()?;
        let (from_place, to_place) = (self.parent(from)?, self.parent(to)?);
        // A directory and what takes its place, or whose place it takes, change places.
        let changes_places = match self.area.look_at_name(to)?.filter(|_| target == Target::Replace) {
            Some(old) => old.is_dir() || self.area.look_at_name(from)?.is_some_and(|new| new.is_dir()),
            None => false,
        };
        let flags = if changes_places { RenameFlags::EXCHANGE } else { target.flags() };
        self.move_name(&from_place, &to_place, to, flags)?;
        if !from.starts_with(PRIVATE) {
            self.sync_dir(&from_place.0, from)?;
        }
        if changes_places {
            self.discard(from);
        }
        Ok(())
    }

    /// Moves the file `staged` to `to` beneath `dir` as [`publish`](Self::publish) does, and makes the
    /// directories on the way. It does not take the place of a directory.
    pub(super) fn publish_into(&self, dir: &Dir, staged: &Path, to: &Path, target: Target) -> Result<()> {
        let to_place = self.make_parent(dir, to)?;
        self.move_name(&self.parent(staged)?, &to_place, to, target.flags())
    }

    /// Moves the file `from` to `to`, both beneath `dir`: durable there before it is gone here.
    pub(super) fn rename_within(&self, dir: &Dir, from: &Path, to: &Path, target: Target) -> Result<()> {
        let to_place = self.make_parent(dir, to)?;
        let from_place = parent_in(dir, from)?;
        self.move_name(&from_place, &to_place, to, target.flags())?;
        self.sync_dir(&from_place.0, from)
    }

    /// Makes the names in the directory `path` beneath `dir` durable.
    pub(super) fn sync_within(&self, dir: &Dir, path: &Path) -> Result<()> {
        self.check_writable()?;
        let opened = dir.open_dir(path).map_err(|error| io_error("open", path, error))?;
        self.sync_dir(&syncable(&opened, path)?, path)
    }

    /// Removes the file or directory at `path` in one step that survives a crash.
    pub fn remove(&self, path: &Path) -> Result<()> {
        self.check_writable()?;
        let staged = staged_path();
        self.publish_into_staging(path, &staged)?;
        self.discard(&staged);
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
        remove_staged(self.area.dir(), path);
    }

    /// The same in a thread of its own: much takes long.
    pub(super) fn discard_beside(&self, path: &Path) {
        if self.failed.load(Ordering::Acquire) {
            return;
        }
        let started = self.area.dir().try_clone().and_then(|dir| {
            let path = path.to_owned();
            Builder::new().name("free".to_owned()).spawn(move || remove_staged(&dir, &path))
        });
        if started.is_err() {
            self.discard(path);
        }
    }

    fn publish_into_staging(&self, path: &Path, staged: &Path) -> Result<()> {
        let (from_dir, from_name) = self.parent(path)?;
        let (to_dir, to_name) = self.parent(staged)?;
        renameat(&from_dir, from_name, &to_dir, to_name)
            .map_err(|error| io_error("remove", path, error.into()))?;
        self.sync_dir(&from_dir, path)
    }

    /// Renames, and syncs the directory that has the name then. `to` is for messages.
    pub(super) fn move_name(
        &self,
        from: &Place<'_>,
        place: &Place<'_>,
        to: &Path,
        flags: RenameFlags,
    ) -> Result<()> {
        Failpoint::Publish.pass()?;
        let _replaced = flags.is_empty().then(|| Replaced::hold(place));
        renameat_with(&from.0, from.1, &place.0, place.1, flags)
            .map_err(|error| io_error("publish", to, error.into()))?;
        self.sync_dir(&place.0, to)
    }

    pub(super) fn parent<'a>(&self, path: &'a Path) -> Result<Place<'a>> {
        parent_in(self.area.dir(), path)
    }

    /// The place of `path` beneath `dir`, whose missing directories are made durably.
    fn make_parent<'a>(&self, dir: &Dir, path: &'a Path) -> Result<Place<'a>> {
        // Whoever finds a directory that another is making waits until that one has synced it, or has
        // failed to.
        let _turn = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        self.check_writable()?;
        match parent_in(dir, path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            found => return found,
        }
        let above: Vec<_> = path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()).collect();
        for path in above.into_iter().rev() {
            let (parent, name) = parent_in(dir, path)?;
            match parent.create_dir(name) {
                Ok(()) => self.sync_dir(&parent, path)?,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(io_error("create", path, error)),
            }
        }
        parent_in(dir, path)
    }

    /// Syncs a directory, which is a [`syncable`] one. After a failure nobody knows what is durable, so writing ends.
    pub(super) fn sync_dir(&self, dir: &Dir, path: &Path) -> Result<()> {
        if !Safeguard::SyncNames.stands() {
            return Ok(());
        }
        fsync(dir).map_err(std::io::Error::from).map_err(|error| {
            self.failed.store(true, Ordering::Release);
            tracing::error!(path = %path.display(), %error, "a directory could not be synced: no more writes");
            io_error("sync the directory of", path, error)
        })
    }

    /// Syncs the directory at `path`.
    pub(super) fn sync_at(&self, path: &Path) -> Result<()> {
        let dir = self.area.dir().open_dir(path).map_err(|error| io_error("open", path, error))?;
        self.sync_dir(&syncable(&dir, path)?, path)
    }

    /// Makes the directory of the trash, durably.
    fn make_trash(&self) -> Result<()> {
        let path = Path::new(TRASH);
        match self.area.dir().create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(io_error("create", path, error)),
            Ok(()) => {
                self.sync_at(Path::new(PRIVATE))?;
                self.sync_dir(&syncable(self.area.dir(), path)?, path)
            }
        }
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

/// The file that another is about to take the place of. Its blocks are freed when nobody holds it any more, which
/// takes long for many: that is left to a thread of its own.
struct Replaced(Option<OwnedFd>);

impl Replaced {
    /// Files that are smaller are freed at once.
    const LARGE: i64 = 8 << 20;

    fn hold((dir, name): &Place<'_>) -> Self {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(dir, *name, flags, Mode::empty()).ok();
        Self(file.filter(|file| fstat(file).is_ok_and(|stat| stat.st_size >= Self::LARGE)))
    }
}

impl Drop for Replaced {
    fn drop(&mut self) {
        if let Some(file) = self.0.take()
            && let Err(error) = Builder::new().name("free".to_owned()).spawn(move || drop(file))
        {
            tracing::debug!(%error, "no thread to free a replaced file's blocks");
        }
    }
}

/// The directory `dir` by a descriptor that can be synced: one that only names it (O_PATH) cannot. It is had before
/// anything changes, since whoever has none left has not failed to sync.
fn syncable(dir: &Dir, path: &Path) -> Result<Dir> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(dir, ".", flags, Mode::empty());
    let opened = opened.map_err(|error| io_error("open the directory of", path, error.into()))?;
    Ok(Dir::from_std_file(opened.into()))
}

/// A name in staging that nothing has.
pub(super) fn staged_path() -> PathBuf {
    Path::new(STAGING).join(Uuid::new_v4().to_string())
}

/// Removes what lies in staging at `path`.
fn remove_staged(dir: &Dir, path: &Path) {
    let removed = match dir.symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => dir.remove_dir_all(path),
        Ok(_) => dir.remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        tracing::warn!(path = %path.display(), %error, "cannot remove a staged file");
    }
}

/// The parent directory of `path` beneath `dir`, open to be synced, and its last component.
fn parent_in<'a>(dir: &Dir, path: &'a Path) -> Result<Place<'a>> {
    let Some(name) = path.file_name() else {
        return Err(Error::internal(format!("{} has no file name", path.display())));
    };
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => dir.open_dir(parent),
        _ => dir.try_clone(),
    };
    let parent = parent.map_err(|error| io_error("open", path, error))?;
    Ok((syncable(&parent, path)?, Path::new(name)))
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
    match open_file(area.dir(), &path) {
        Ok(mut file) => {
            file.read_to_string(&mut text).map_err(|error| read_error(&path, error))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(read_error(&path, error)),
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
