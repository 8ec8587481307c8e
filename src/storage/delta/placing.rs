//! Files on their way into a table, noted in staging: a server that is killed before its commit leaves them in the table's
//! folder, where later nobody can tell whose they are.

use std::io::Read;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::log::{DELTA_LOG, DeltaLog};
use super::whole::entry_number;
use crate::error::Result;
use crate::storage::Area;
use crate::storage::area::{io_error, open_file, read_error};
use crate::storage::listing::{open_dir, read_entries};
use crate::storage::root::Root;

/// What the names of notes end in.
const ENDING: &str = "placing";

#[derive(Serialize, Deserialize)]
struct Note {
    /// The table's folder in the root.
    folder: PathBuf,
    /// The last version that has none of the files.
    since: u64,
    /// The files in the table's folder.
    files: Vec<PathBuf>,
}

/// A note of files on their way. Dropped, it is taken away.
pub struct Placing<'a> {
    root: &'a Root,
    path: PathBuf,
}

impl Drop for Placing<'_> {
    fn drop(&mut self) {
        self.root.discard(&self.path);
    }
}

impl DeltaLog {
    /// Notes that `files` are to be moved into the table, for a commit that comes after the version `since`. A crash of the
    /// machine may lose the note: then nothing is lost but room.
    pub fn note(&self, files: Vec<PathBuf>, since: u64) -> Result<Placing<'_>> {
        let note = Note { folder: self.folder().to_owned(), since, files };
        let text = serde_json::to_vec(&note).unwrap_or_default();
        let root = self.files.root();
        Ok(Placing { root, path: root.write_note(ENDING, &text)? })
    }
}

/// Takes away the files that a killed server has left in tables' folders, by its notes in the directory `staging`.
pub(in crate::storage) fn sweep_placed(area: &Area, staging: &Path) -> Result<()> {
    if !area.is_dir(staging)? {
        return Ok(());
    }
    let dir = open_dir(area, staging)?;
    for entry in read_entries(&dir, staging)? {
        let path = Path::new(&entry.name);
        if path.extension().is_none_or(|ending| ending != ENDING) {
            continue;
        }
        let mut text = Vec::new();
        let read = open_file(&dir, path).and_then(|mut file| file.read_to_end(&mut text));
        read.map_err(|error| read_error(path, error))?;
        // One that was not written to its end is of files that were not moved yet.
        let Ok(note) = serde_json::from_slice::<Note>(&text) else { continue };
        if let Err(error) = sweep(area, &note) {
            let folder = note.folder.display();
            tracing::warn!(%folder, %error, "files of a commit that did not come about stay in a table's folder");
        }
    }
    Ok(())
}

fn sweep(area: &Area, note: &Note) -> Result<()> {
    let log = note.folder.join(DELTA_LOG);
    if !area.is_dir(&log)? {
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in read_entries(&open_dir(area, &log)?, &log)? {
        if entry_number(&entry.name).is_some_and(|number| number > note.since) {
            let path = log.join(&entry.name);
            let Some(mut file) = area.open_if_there(&path)? else { continue };
            let mut text = String::new();
            file.read_to_string(&mut text).map_err(|error| read_error(&path, error))?;
            entries.push(text);
        }
    }
    for file in &note.files {
        // Names of files are made here, and are like no other.
        let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let path = note.folder.join(file);
        if !name.is_empty() && !entries.iter().any(|text| text.contains(name)) && area.is_file(&path)? {
            area.dir().remove_file(&path).map_err(|error| io_error("remove", &path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_no_later_entry_names_are_taken_away() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for name in ["before", "named", "left"] {
            write(&format!("t/k=1/part-{name}.parquet"), "x");
        }
        write("t/_delta_log/00000000000000000000.json", "k=1/part-before.parquet");
        write("t/_delta_log/00000000000000000001.json", "k=1/part-named.parquet");
        let note = |folder: &str, since: u64| {
            let files =
                ["part-named", "part-left", "part-gone"].map(|name| format!("k=1/{name}.parquet").into());
            serde_json::to_string(&Note { folder: folder.into(), since, files: files.into() }).unwrap()
        };
        write("staging/a.placing", &note("t", 0));
        write("staging/b.placing", &note("gone", 0));
        write("staging/c.placing", "{\"folder\":");
        write("staging/d.parquet", "x");
        let area = Area::open(root.path()).unwrap();
        sweep_placed(&area, Path::new("staging")).unwrap();
        let is_there = |name: &str| root.path().join(format!("t/k=1/part-{name}.parquet")).exists();
        assert!(is_there("before") && is_there("named") && !is_there("left"));
        sweep_placed(&area, Path::new("none")).unwrap();
    }
}
