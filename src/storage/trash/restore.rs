//! Out of the trash.

use std::path::Path;

use rustix::fs::RenameFlags;

use super::super::root::{Root, Target};
use super::Trashed;
use super::record::{Mark, Record, TRASH};
use crate::error::{Error, ErrorKind, Result};

impl Root {
    /// Moves `entry` out of the trash to `to`, where nothing may be, in one step that survives a crash.
    pub fn restore(&self, entry: &Trashed, to: &Path) -> Result<()> {
        self.publish(&entry.path(), to, Target::MustBeNew).map_err(|error| gone(entry, error))?;
        self.sync_at(Path::new(TRASH))?;
        self.forget(entry.id);
        Ok(())
    }

    /// Gives the directory `entry` the place of `folder`, in one step that survives a crash. It has second names of all
    /// files there already.
    pub fn restore_into(&self, entry: &Trashed, folder: &Path) -> Result<()> {
        let slot = entry.path();
        let there = self.look_at_name(folder)?;
        let there = there.ok_or_else(|| Error::not_found(format!("{} is gone", folder.display())))?;
        // What the next start finds then is known to be no more than the folder.
        let record = Record {
            from: folder.to_owned(),
            replaced_by: Some(Mark::of(&there)),
            keeps_others: true,
            ..entry.record.as_ref().clone()
        };
        self.trash.state().busy.insert(entry.id);
        let restored = self.write_record(entry.id, &record).and_then(|()| {
            let (from, to) = (self.parent(&slot)?, self.parent(folder)?);
            self.move_name(&from, &to, folder, RenameFlags::EXCHANGE)?;
            self.sync_at(Path::new(TRASH))
        });
        {
            let mut state = self.trash.state();
            state.busy.remove(&entry.id);
            state.known.remove(&entry.id);
        }
        restored.map_err(|error| gone(entry, error))?;
        self.part_others(&slot, folder)?;
        if !self.has_others(&slot)?
            && let Some(staged) = self.expel(entry.id, &record)?
        {
            self.discard_beside(&staged);
        }
        Ok(())
    }
}

fn gone(entry: &Trashed, error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => {
            Error::not_found(format!("{} is not in the trash any more", entry.name())).with_source(error)
        }
        _ => error,
    }
}
