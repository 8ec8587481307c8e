//! Into the trash: by a rename, or by an exchange with what takes the place.

use std::error::Error as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use cap_std::fs::{Dir, MetadataExt};
use rustix::fs::{RenameFlags, renameat, renameat_with};
use rustix::io::Errno;

use super::super::area::{if_there, io_error};
use super::super::others::list_others;
use super::super::root::{Place, Root, Target};
use super::super::writeback::sync_file;
use super::is_full;
use super::record::{Mark, Record, TRASH, TrashId, Why};
use crate::error::{Error, Result};
use crate::failpoint::Failpoint;
use crate::safeguard::Safeguard;

/// How often something is looked for that comes and goes.
const LOOKS: usize = 5;
/// How deep a directory is measured.
const MAX_DEPTH: usize = 64;

/// What the record of something says.
#[derive(Debug, Clone)]
pub struct Label<'a> {
    /// The schema that it is in.
    pub schema: &'a str,
    /// Its name there; empty for a whole schema.
    pub name: &'a str,
    /// Why it goes.
    pub why: Why,
    /// Its version, where that can be told.
    pub version: Option<String>,
    /// Whether what takes its place has the files that are not its own: these are no part of what goes.
    pub keeps_others: bool,
}

/// An entry that is being made. Dropped before it is kept, it leaves nothing behind that is not needed.
struct Slot<'a> {
    root: &'a Root,
    id: TrashId,
    record: Record,
    path: PathBuf,
}

impl Root {
    /// Moves what lies at `path` to the trash, in one step that survives a crash. Says whether it is there: what the
    /// trash may not hold is removed.
    pub fn trash(&self, path: &Path, label: &Label<'_>) -> Result<bool> {
        Failpoint::Trash.pass()?;
        self.check_writable()?;
        let Some(bytes) = self.taken_by_trash(path, label)? else {
            return self.remove(path).map(|()| false);
        };
        let slot = match self.begin_entry(path, label, bytes, None) {
            // Who drops something because the disk is full is not to be told that it is.
            Err(error) if is_for_want_of_space(&error) => {
                tracing::warn!(path = %path.display(), %error, "removed for good: no space for its record in the trash");
                return self.remove(path).map(|()| false);
            }
            begun => begun?,
        };
        let (from, to) = (self.parent(path)?, self.parent(&slot.path)?);
        rename(&from, &to).map_err(|error| io_error("remove", path, error.into()))?;
        // Durable there before it is gone here.
        self.sync_dir(&to.0, &slot.path)?;
        self.sync_dir(&from.0, path)?;
        slot.keep();
        Ok(true)
    }

    /// Moves `from`, which lies in staging, to `to`, as [`publish`](Self::publish) does, and what was there to the trash
    /// in the same step. Says whether it is there; `None` if there was nothing.
    pub fn publish_over(&self, from: &Path, to: &Path, label: &Label<'_>) -> Result<Option<bool>> {
        self.check_writable()?;
        for _ in 0..LOOKS {
            if self.look_at_name(to)?.is_none() {
                self.publish(from, to, Target::Replace)?;
                return Ok(None);
            }
            let Some(bytes) = self.taken_by_trash(to, label)? else {
                self.publish_for_good(from, to, label)?;
                return Ok(Some(false));
            };
            let new = self.look_at_name(from)?;
            let new = new.ok_or_else(|| Error::internal(format!("{} is not there", from.display())))?;
            let slot = self.begin_entry(to, label, bytes, Some(Mark::of(&new)))?;
            if !self.swap(from, &slot.path, to)? {
                continue;
            }
            let path = slot.keep();
            if label.keeps_others
                && let Err(error) = self.part_others(&path, to)
            {
                tracing::warn!(%error, "files of a folder are in the trash too until the next start");
            }
            return Ok(Some(true));
        }
        Err(Error::precondition(format!("{} comes and goes; try again", to.display())))
    }

    /// Writes a small file durably as [`write_small`](Self::write_small) does, and moves what was there to the trash in
    /// the same step.
    pub fn write_small_over(&self, to: &Path, content: &[u8], label: &Label<'_>) -> Result<Option<bool>> {
        let staged = self.stage_small(to, content)?;
        self.or_discard(&staged, || self.publish_over(&staged, to, label))
    }

    /// The bytes at `path`, if the trash may hold them.
    fn taken_by_trash(&self, path: &Path, label: &Label<'_>) -> Result<Option<u64>> {
        let keeps_none = self.trash.options.retention.is_zero() || self.trash.options.entries == 0;
        if keeps_none || !Safeguard::Trash.stands() {
            return Ok(None);
        }
        let (bytes, limit) = (bytes_at(self.area().dir(), path, 0)?, self.trash_limit()?);
        if bytes > limit {
            tracing::warn!(
                path = %path.display(), why = label.why.name(), bytes, limit,
                "removed for good: it is larger than the trash may be (trash-limit)"
            );
            return Ok(None);
        }
        Ok(Some(bytes))
    }

    /// What [`publish`](Self::publish) does, with nothing lost of what is kept.
    fn publish_for_good(&self, from: &Path, to: &Path, label: &Label<'_>) -> Result<()> {
        if !label.keeps_others {
            return self.publish(from, to, Target::Replace);
        }
        self.move_name(&self.parent(from)?, &self.parent(to)?, to, RenameFlags::EXCHANGE)?;
        self.part_others(from, to)?;
        self.discard_beside(from);
        Ok(())
    }

    /// Makes the record of what is at `path`, durably.
    fn begin_entry(
        &self,
        path: &Path,
        label: &Label<'_>,
        bytes: u64,
        replaced_by: Option<Mark>,
    ) -> Result<Slot<'_>> {
        let file = path.file_name().and_then(std::ffi::OsStr::to_str);
        let file = file.ok_or_else(|| Error::internal(format!("{} has no name", path.display())))?;
        let record = Record {
            schema: label.schema.to_owned(),
            name: label.name.to_owned(),
            from: path.to_owned(),
            file: file.to_owned(),
            when: SystemTime::now(),
            why: label.why,
            version: label.version.clone(),
            bytes,
            replaced_by,
            keeps_others: label.keeps_others,
        };
        let id = TrashId::new();
        self.trash.state().busy.insert(id);
        let slot = Slot { root: self, id, path: id.slot(&record.file), record };
        self.write_record(id, &slot.record)?;
        Ok(slot)
    }

    /// Writes a record durably.
    pub(super) fn write_record(&self, id: TrashId, record: &Record) -> Result<()> {
        let path = id.record();
        let text = serde_json::to_vec(record)
            .map_err(|error| Error::internal(format!("writing a record of the trash: {error}")))?;
        let written = self.with_room(|| {
            let mut file: File = self.area().dir().create(&path)?.into_std();
            file.write_all(&text).and_then(|()| sync_file(&file, Safeguard::SyncRecords))
        });
        written.map_err(|error| io_error("write", &path, error))?;
        self.sync_at(Path::new(TRASH))
    }

    /// Puts `from` at `to`, and what is there at `slot`, so that it lies at one of the two at every moment. False if
    /// nothing is there any more; then `from` is where it was.
    fn swap(&self, from: &Path, slot: &Path, to: &Path) -> Result<bool> {
        let (from_place, slot_place, to_place) = (self.parent(from)?, self.parent(slot)?, self.parent(to)?);
        let failed = |error: Errno| io_error("publish", to, error.into());
        rename(&from_place, &slot_place).map_err(failed)?;
        let exchanged =
            renameat_with(&slot_place.0, slot_place.1, &to_place.0, to_place.1, RenameFlags::EXCHANGE);
        if let Err(error) = exchanged {
            rename(&slot_place, &from_place).map_err(failed)?;
            return match error {
                Errno::NOENT => Ok(false),
                Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP => {
                    self.link_and_replace(&from_place, &slot_place, (&to_place, to))
                }
                other => Err(failed(other)),
            };
        }
        self.sync_dir(&slot_place.0, slot)?;
        self.sync_dir(&to_place.0, to)?;
        Ok(true)
    }

    /// The same for a file on a file system that cannot exchange: it gets its second name first.
    fn link_and_replace(
        &self,
        from: &Place<'_>,
        slot: &Place<'_>,
        (place, to): (&Place<'_>, &Path),
    ) -> Result<bool> {
        let linked = place.0.hard_link(place.1, &slot.0, slot.1);
        if if_there(linked).map_err(|error| io_error("link", to, error))?.is_none() {
            return Ok(false);
        }
        self.sync_dir(&slot.0, to)?;
        self.move_name(from, place, to, RenameFlags::empty())?;
        Ok(true)
    }

    /// Takes the files out of `slot` that are not the dataset's own: second names of those in `folder`, which stay
    /// there. One that is newer, since somebody wrote it while the two changed places, goes there; an older one stays.
    pub(super) fn part_others(&self, slot: &Path, folder: &Path) -> Result<()> {
        let dir = self.area().dir();
        for other in list_others(self.area(), slot)? {
            let Ok(inner) = other.strip_prefix(slot) else { continue };
            let kept = folder.join(inner);
            let (Some(here), there) = (self.look_at_name(&other)?, self.look_at_name(&kept)?) else {
                continue;
            };
            match there {
                Some(there) if there.ino() == here.ino() => {
                    dir.remove_file(&other).map_err(|error| io_error("remove", &other, error))?;
                }
                Some(there) if written(&there) >= written(&here) => continue,
                _ => self.rename_within(dir, &other, &kept, Target::Replace)?,
            }
            // Folders that held nothing else.
            for above in other.ancestors().skip(1).take_while(|above| *above != slot) {
                if dir.remove_dir(above).is_err() {
                    break;
                }
            }
        }
        Ok(())
    }
}

impl Slot<'_> {
    /// What was displaced lies in its place in the trash: it counts from here on.
    fn keep(self) -> PathBuf {
        let (root, id, path) = (self.root, self.id, self.path.clone());
        root.trash.state().known.insert(id, Arc::new(self.record.clone()));
        drop(self);
        root.keep_limits();
        path
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        // Where something lies there, the record says what it is.
        if self.root.look_at_name(&self.path).is_ok_and(|found| found.is_none()) {
            self.root.forget(self.id);
        }
        self.root.trash.state().busy.remove(&self.id);
    }
}

/// Whether the disk is full, and not something else exhausted.
fn is_for_want_of_space(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<std::io::Error>());
    cause.is_some_and(is_full)
}

fn written(found: &cap_std::fs::Metadata) -> (i64, i64) {
    (found.mtime(), found.mtime_nsec())
}

/// A rename to a name that nothing has.
fn rename(from: &Place<'_>, to: &Place<'_>) -> Result<(), Errno> {
    renameat(&from.0, from.1, &to.0, to.1)
}

/// The bytes of a file, or of all files in a directory. Links are not followed.
fn bytes_at(dir: &Dir, path: &Path, depth: usize) -> Result<u64> {
    let fail = |error| io_error("look at", path, error);
    let Some(found) = if_there(dir.symlink_metadata(path)).map_err(fail)? else { return Ok(0) };
    if !found.is_dir() {
        return Ok(found.len());
    }
    if depth > MAX_DEPTH {
        return Err(Error::invalid(format!("{} nests deeper than {MAX_DEPTH} directories", path.display())));
    }
    let inner = dir.open_dir(path).map_err(fail)?;
    let mut bytes = 0;
    for entry in inner.entries().map_err(fail)? {
        let name = PathBuf::from(entry.map_err(fail)?.file_name());
        bytes += bytes_at(&inner, &name, depth + 1)?;
    }
    Ok(bytes)
}
