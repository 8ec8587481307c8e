//! The trash: what was dropped or replaced, kept for a while.
//!
//! ```text
//! .airstrip/trash/ID.json    the record: what it was, when and why it went
//! .airstrip/trash/ID-NAME    the thing itself, under the name that it had
//! ```
//!
//! The record is durable before anything moves, and what is displaced moves in one step: by a rename, or by an exchange
//! with what takes its place, which waits in the trash for that. So a crash leaves the one or the other, and the next
//! start can tell what is half done:
//!
//! | record | thing | so |
//! |---|---|---|
//! | there | not there | nothing was moved, or it is gone already: the record goes |
//! | there | what was to take its place | the exchange did not happen: both go |
//! | there | there | it is in the trash |
//! | not there | there | nobody knows what it is: it stays |
//!
//! Nothing else in that directory is touched, and no link is followed.

mod displace;
mod limits;
mod record;
mod restore;

use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use cap_std::fs::{FileType, Metadata};
use rustix::fs::fstatvfs;

pub use displace::Label;
pub use limits::TrashOptions;
pub(super) use record::TRASH;
pub use record::Why;

use limits::{Entries, excess};
use record::{MAX_RECORD_BYTES, Mark, Record, TrashId};

use super::area::{if_there, io_error, read_error};
use super::others::list_others;
use super::root::{Root, staged_path};
use crate::error::{Error, Result};

/// Without a limit of its own the trash takes a part of the file system.
const PART_OF_FILE_SYSTEM: u64 = 10;

/// What a root remembers of its trash.
#[derive(Debug, Default)]
pub(super) struct Trash {
    options: TrashOptions,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The records that were read or written.
    known: Entries,
    /// Entries that are being made.
    busy: HashSet<TrashId>,
}

impl Trash {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Something in the trash.
#[derive(Debug, Clone)]
pub struct Trashed {
    id: TrashId,
    record: Arc<Record>,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Whether it is a link, to whatever that leads.
    pub is_link: bool,
}

impl Trashed {
    /// The schema that it was in.
    pub fn schema(&self) -> &str {
        &self.record.schema
    }

    /// Its name there; empty for a whole schema.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// What its file or directory is called.
    pub fn file(&self) -> &str {
        &self.record.file
    }

    /// Where it lies now, in the root.
    pub fn path(&self) -> PathBuf {
        self.id.slot(self.file())
    }

    /// When it was displaced.
    pub fn when(&self) -> SystemTime {
        self.record.when
    }

    /// Why it was.
    pub fn why(&self) -> Why {
        self.record.why
    }

    /// The version that it had, where that could be told.
    pub fn version(&self) -> Option<&str> {
        self.record.version.as_deref()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.record.bytes
    }
}

/// What lies in the trash under one id.
#[derive(Default)]
struct Found {
    has_record: bool,
    /// The name of the thing itself, and what it is.
    thing: Option<(String, FileType)>,
}

impl Root {
    /// The root with a trash of these limits; what a crash left half done in it is ended here.
    pub fn with_trash(mut self, options: TrashOptions) -> Result<Self> {
        self.trash = Trash { options, state: Mutex::default() };
        if self.area().is_link(Path::new(TRASH))? {
            return Err(Error::precondition(format!(
                "{TRASH} in the root is a link, which is not followed; make it a directory"
            )));
        }
        if !self.is_read_only() {
            self.end_what_was_begun()?;
        }
        Ok(self)
    }

    /// How long things are kept.
    pub fn trash_retention(&self) -> Duration {
        self.trash.options.retention
    }

    /// What is in the trash, the oldest first.
    pub fn trashed(&self) -> Result<Vec<Trashed>> {
        let before: Vec<TrashId> = self.trash.state().known.keys().copied().collect();
        let found = self.scan_trash()?;
        let mut all = Vec::with_capacity(found.len());
        for (id, found) in &found {
            let Found { has_record: true, thing: Some((file, kind)) } = found else { continue };
            if self.trash.state().busy.contains(id) {
                continue;
            }
            match self.record_of(*id) {
                Ok(Some(record)) if self.is_waiting(*id, &record)? => {}
                Ok(Some(record)) if record.file == *file => {
                    let (is_dir, is_link) = (kind.is_dir(), kind.is_symlink());
                    all.push(Trashed { id: *id, record, is_dir, is_link });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "a record in the trash cannot be read"),
            }
        }
        // Somebody may have cleaned up by hand.
        let mut state = self.trash.state();
        for gone in before.iter().filter(|id| !found.contains_key(id)) {
            state.known.remove(gone);
        }
        Ok(all)
    }

    /// Removes what is over its time or beyond the limits.
    pub fn sweep_trash(&self) -> Result<()> {
        self.check_writable()?;
        // Records that nobody has read yet count too.
        self.trashed()?;
        self.keep_limits();
        Ok(())
    }

    /// Removes the oldest of what is in the trash, for want of space. False if there is nothing.
    pub(super) fn give_room(&self) -> bool {
        loop {
            let oldest = self.trash.state().known.pop_first();
            let Some((id, record)) = oldest else { return false };
            match self.expel(id, &record) {
                Ok(Some(staged)) => {
                    tracing::warn!(
                        name = record.name,
                        bytes = record.bytes,
                        "removed from the trash for good: the disk is full"
                    );
                    self.discard(&staged);
                    return true;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "cannot remove something from the trash"),
            }
        }
    }

    /// Does `work`, and once more for everything in the trash that may go, as long as there is no space for it.
    pub(super) fn with_room<T>(&self, mut work: impl FnMut() -> std::io::Result<T>) -> std::io::Result<T> {
        loop {
            match work() {
                Err(error) if is_full(&error) && self.give_room() => {}
                done => return done,
            }
        }
    }

    /// The most bytes that the trash may hold.
    fn trash_limit(&self) -> Result<u64> {
        if let Some(limit) = self.trash.options.limit {
            return Ok(limit);
        }
        let found = fstatvfs(self.area().dir())
            .map_err(|error| io_error("look at the file system of", Path::new("."), error.into()))?;
        Ok(found.f_blocks.saturating_mul(found.f_frsize) / PART_OF_FILE_SYSTEM)
    }

    /// Removes what the limits do not allow, beside the caller.
    fn keep_limits(&self) {
        let limit = match self.trash_limit() {
            Ok(limit) => limit,
            Err(error) => {
                tracing::warn!(%error, "the trash is not kept within its limit");
                return;
            }
        };
        let gone: Vec<_> = {
            let mut state = self.trash.state();
            let gone = excess(&state.known, &self.trash.options, limit, SystemTime::now());
            gone.into_iter().filter_map(|id| Some((id, state.known.remove(&id)?))).collect()
        };
        for (id, record) in gone {
            match self.expel(id, &record) {
                Ok(Some(staged)) => self.discard_beside(&staged),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "cannot remove something from the trash"),
            }
        }
    }

    /// Takes an entry out of the trash, and says where it is to be removed.
    fn expel(&self, id: TrashId, record: &Record) -> Result<Option<PathBuf>> {
        let staged = staged_path();
        let slot = id.slot(&record.file);
        let moved = self.area().dir().rename(&slot, self.area().dir(), &staged);
        let there = if_there(moved).map_err(|error| io_error("remove", &slot, error))?.is_some();
        if there {
            // Before anything of it is gone: half a table is not to come back after a crash.
            self.sync_at(Path::new(TRASH))?;
        }
        self.forget(id);
        Ok(there.then_some(staged))
    }

    /// Removes a record. One that a crash brings back has no thing, and goes again.
    fn forget(&self, id: TrashId) {
        self.trash.state().known.remove(&id);
        if let Err(error) = if_there(self.area().dir().remove_file(id.record())) {
            tracing::warn!(%error, "cannot remove a record of the trash");
        }
    }

    fn scan_trash(&self) -> Result<BTreeMap<TrashId, Found>> {
        let fail = |error| io_error("list", Path::new(TRASH), error);
        let mut all: BTreeMap<TrashId, Found> = BTreeMap::new();
        let Some(entries) = if_there(self.area().dir().read_dir(TRASH)).map_err(fail)? else {
            return Ok(all);
        };
        for entry in entries {
            let entry = entry.map_err(fail)?;
            let Ok(file) = entry.file_name().into_string() else { continue };
            let Some((id, thing)) = TrashId::parse(&file) else { continue };
            let Some(kind) = if_there(entry.file_type()).map_err(fail)? else { continue };
            let found = all.entry(id).or_default();
            match thing {
                Some(name) => found.thing = Some((name.to_owned(), kind)),
                None => found.has_record = kind.is_file(),
            }
        }
        Ok(all)
    }

    /// The record of an entry; `None` where it went away.
    fn record_of(&self, id: TrashId) -> Result<Option<Arc<Record>>> {
        if let Some(record) = self.trash.state().known.get(&id) {
            return Ok(Some(Arc::clone(record)));
        }
        let path = id.record();
        let Some(file) = self.area().open_if_there(&path)? else { return Ok(None) };
        let mut text = String::new();
        file.take(MAX_RECORD_BYTES).read_to_string(&mut text).map_err(|error| read_error(&path, error))?;
        let record: Record = serde_json::from_str(&text)
            .map_err(|error| Error::data_loss(format!("{} is damaged: {error}", path.display())))?;
        let record = Arc::new(record);
        if !self.is_waiting(id, &record)? {
            self.trash.state().known.insert(id, Arc::clone(&record));
        }
        Ok(Some(record))
    }

    /// Whether what lies in the trash is not the thing, but what is to take its place.
    fn is_waiting(&self, id: TrashId, record: &Record) -> Result<bool> {
        let Some(mark) = record.replaced_by else { return Ok(false) };
        let found = self.look_at_name(&id.slot(&record.file))?;
        Ok(found.is_some_and(|found| Mark::of(&found) == mark))
    }

    /// What lies at `path`, a link itself and not what it leads to.
    fn look_at_name(&self, path: &Path) -> Result<Option<Metadata>> {
        if_there(self.area().dir().symlink_metadata(path)).map_err(|error| io_error("look at", path, error))
    }

    /// Ends what a crash left half done.
    fn end_what_was_begun(&self) -> Result<()> {
        for (id, found) in self.scan_trash()? {
            let ended = match (found.has_record, found.thing) {
                (true, None) => {
                    self.forget(id);
                    Ok(())
                }
                (true, Some((_, kind))) => self.end_entry(id, kind.is_dir()),
                (false, _) => Err(Error::precondition(format!(
                    "{} has no record: it is left as it is",
                    id.slot("…").display()
                ))),
            };
            if let Err(error) = ended {
                tracing::warn!(%error, "an entry of the trash is not as it should be");
            }
        }
        Ok(())
    }

    fn end_entry(&self, id: TrashId, is_dir: bool) -> Result<()> {
        let Some(record) = self.record_of(id)? else { return Ok(()) };
        let slot = id.slot(&record.file);
        let is_waiting = self.is_waiting(id, &record)?;
        if is_dir && (is_waiting || record.keeps_others) {
            self.part_others(&slot, &record.from)?;
        }
        if is_waiting && !(is_dir && self.has_others(&slot)?) {
            tracing::info!(name = record.name, "a change that a crash cut off is taken back");
            if let Some(staged) = self.expel(id, &record)? {
                self.discard(&staged);
            }
        }
        Ok(())
    }

    fn has_others(&self, folder: &Path) -> Result<bool> {
        list_others(self.area(), folder).map(|others| !others.is_empty())
    }
}

/// Whether there is no space left.
fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(name: &str) -> Label<'_> {
        Label { schema: "public", name, why: Why::Dropped, version: None, keeps_others: false }
    }

    fn open(dir: &Path, options: TrashOptions) -> Root {
        Root::open(dir, false).unwrap().with_trash(options).unwrap()
    }

    fn in_trash(root: &Root) -> Vec<(String, u64)> {
        let all = root.trashed().unwrap();
        all.iter().map(|entry| (entry.name().to_owned(), entry.bytes())).collect()
    }

    #[test]
    fn what_is_displaced_is_there_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let root = open(dir.path(), TrashOptions::default());
        let (file, folder) = (Path::new("a.parquet"), Path::new("d"));
        std::fs::write(dir.path().join(file), "old").unwrap();
        std::fs::create_dir_all(dir.path().join("d/k=1")).unwrap();
        std::fs::write(dir.path().join("d/k=1/x"), "12345").unwrap();
        assert_eq!(root.write_small_over(file, b"new!", &label("a")).unwrap(), Some(true));
        assert_eq!(root.write_small_over(Path::new("b.parquet"), b"b", &label("b")).unwrap(), None);
        assert!(root.trash(folder, &label("d")).unwrap());
        assert_eq!(in_trash(&root), [("a".to_owned(), 3), ("d".to_owned(), 5)]);
        // Another start knows the same.
        drop(root);
        let root = open(dir.path(), TrashOptions::default());
        let all = root.trashed().unwrap();
        assert_eq!(all.iter().map(Trashed::file).collect::<Vec<_>>(), ["a.parquet", "d"]);
        assert_eq!(root.restore(&all[0], file).unwrap_err().kind(), crate::error::ErrorKind::AlreadyExists);
        root.restore(&all[0], Path::new("c.parquet")).unwrap();
        root.restore(&all[1], folder).unwrap();
        assert_eq!(
            root.restore(&all[1], Path::new("e")).unwrap_err().kind(),
            crate::error::ErrorKind::NotFound
        );
        let text = |path: &str| std::fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(
            (text("a.parquet"), text("c.parquet"), text("d/k=1/x")),
            ("new!".into(), "old".into(), "12345".into())
        );
        assert_eq!(std::fs::read_dir(dir.path().join(TRASH)).unwrap().count(), 0);
    }

    #[test]
    fn a_full_disk_takes_the_oldest_out_of_the_trash_until_there_is_room() {
        let dir = tempfile::tempdir().unwrap();
        let root = open(dir.path(), TrashOptions::default());
        for name in ["a", "b", "c"] {
            std::fs::write(dir.path().join(name), name).unwrap();
            assert!(root.trash(Path::new(name), &label(name)).unwrap());
        }
        let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
        let mut tries = 0;
        let done = root.with_room(|| {
            tries += 1;
            if tries < 3 { Err(full()) } else { Ok(tries) }
        });
        assert_eq!(done.unwrap(), 3);
        assert_eq!(in_trash(&root), [("c".to_owned(), 1)]);
        // Where the trash is empty too, the disk is full.
        assert!(root.with_room(|| Err::<(), _>(full())).is_err());
        assert!(in_trash(&root).is_empty());
        // Another error takes nothing.
        std::fs::write(dir.path().join("d"), "d").unwrap();
        root.trash(Path::new("d"), &label("d")).unwrap();
        let denied = || Err::<(), _>(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert!(root.with_room(denied).is_err());
        assert_eq!(in_trash(&root).len(), 1);
    }

    #[test]
    fn a_link_in_the_place_of_the_trash_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        drop(Root::open(dir.path(), false).unwrap());
        std::fs::remove_dir(dir.path().join(TRASH)).unwrap();
        std::fs::create_dir(dir.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("../elsewhere", dir.path().join(TRASH)).unwrap();
        let opened = Root::open(dir.path(), false).and_then(|root| root.with_trash(TrashOptions::default()));
        assert!(opened.unwrap_err().message().contains("is a link"));
    }
}
