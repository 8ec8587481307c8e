//! What lies in a dataset's directory and is not the dataset's own: whoever removes the dataset leaves it there.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use cap_std::fs::{Dir, DirEntry};

use super::area::{Area, io_error};
use super::delta::DELTA_LOG;
use super::listing::{open_dir, read_entries};
use super::table_format::{SINK_LOG, TableFormat};
use crate::error::{Error, Result};

/// How deep the walk goes: far above any layout in use.
const MAX_DEPTH: usize = 64;

/// The files below the dataset's directory at `path` that are not its own, by their paths in the area, sorted. Its own
/// are Parquet files, what their writers put beside them (`_SUCCESS`, checksums), and of a Delta table or a streaming
/// query's output the log. All that lies in the folder of another table is that one's. Fails where the directory is a
/// table of another format.
pub fn list_others(area: &Area, path: &Path) -> Result<Vec<PathBuf>> {
    let dir = open_dir(area, path)?;
    let format = TableFormat::of(&dir, &read_entries(&dir, path)?, path)?;
    match format {
        None | Some(TableFormat::Delta | TableFormat::SparkSink) => {}
        Some(format) => return Err(format.refuse(path, path)),
    }
    let mut walk = Others { is_delta: format == Some(TableFormat::Delta), others: Vec::new() };
    walk.descend(&dir, path, 0, true)?;
    walk.others.sort_unstable();
    Ok(walk.others)
}

struct Others {
    is_delta: bool,
    others: Vec<PathBuf>,
}

impl Others {
    /// Looks at what lies in `dir`; `is_own`: as the dataset's, not as somebody else's.
    fn descend(&mut self, dir: &Dir, path: &Path, depth: usize, is_own: bool) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(Error::invalid(format!(
                "{} nests deeper than {MAX_DEPTH} directories",
                path.display()
            )));
        }
        let fail = |error| io_error("list", path, error);
        for entry in dir.entries().map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let below = path.join(&name);
            let kind = entry.file_type().map_err(|error| io_error("look at", &below, error))?;
            if !kind.is_dir() {
                if !is_own || !self.is_own_file(dir, &entry) {
                    self.others.push(below);
                }
                continue;
            }
            if is_own && depth == 0 && self.is_own_log(&name) {
                continue;
            }
            let inner = entry.open_dir().map_err(|error| io_error("open", &below, error))?;
            let is_own = is_own
                && self.is_own_folder(&name)
                && TableFormat::of(&inner, &read_entries(&inner, &below)?, &below)?.is_none();
            self.descend(&inner, &below, depth + 1, is_own)?;
        }
        Ok(())
    }

    /// A directory of the table itself, with all that is in it.
    fn is_own_log(&self, name: &OsStr) -> bool {
        match name.to_str() {
            Some(DELTA_LOG | "_change_data" | "_delta_index") => self.is_delta,
            Some(SINK_LOG | "_temporary") => true,
            _ => false,
        }
    }

    /// A directory that may hold files of the dataset.
    fn is_own_folder(&self, name: &OsStr) -> bool {
        let Some(name) = name.to_str() else { return false };
        // A table's partition column may have any name.
        !name.starts_with(['_', '.']) || (self.is_delta && name.contains('='))
    }

    fn is_own_file(&self, dir: &Dir, entry: &DirEntry) -> bool {
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return false };
        // Of a link to a directory of parts, only the link goes.
        let leads_to_parts = || {
            entry.file_type().is_ok_and(|kind| kind.is_symlink())
                && !name.starts_with(['_', '.'])
                && dir.metadata(name).is_ok_and(|found| found.is_dir())
        };
        let ends_in = |ending: &str| Path::new(name).extension().is_some_and(|own| own == ending);
        let is_part = name.ends_with(".parquet") && !name.starts_with(['_', '.']);
        let is_note = matches!(name, "_SUCCESS" | "_metadata" | "_common_metadata")
            || name.starts_with("_committed_")
            || name.starts_with("_started_")
            || (name.starts_with('.') && ends_in("crc"));
        let is_vector = self.is_delta && name.starts_with("deletion_vector_") && ends_in("bin");
        is_part || is_note || is_vector || leads_to_parts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(files: &[&str]) -> Result<Vec<String>> {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join("d").join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let area = Area::open(root.path()).unwrap();
        let text = |path: &PathBuf| path.strip_prefix("d").unwrap().to_str().unwrap().to_owned();
        Ok(list_others(&area, Path::new("d"))?.iter().map(text).collect())
    }

    #[test]
    fn parquet_and_what_its_writers_leave_is_the_datasets_own() {
        let own =
            ["a.parquet", "k=1/b.parquet", "_SUCCESS", "._SUCCESS.crc", "k=1/.b.parquet.crc", "_metadata"];
        assert!(others(&own).unwrap().is_empty());
        let with_notes = ["a.parquet", "README.md", "notes/x.csv", ".git/HEAD", "_private/b.parquet"];
        assert_eq!(
            others(&with_notes).unwrap(),
            [".git/HEAD", "README.md", "_private/b.parquet", "notes/x.csv"]
        );
    }

    #[test]
    fn a_log_is_its_tables_own_and_nobody_elses() {
        let table = [
            "_delta_log/0.json",
            "a.parquet",
            "_change_data/b.parquet",
            "deletion_vector_1.bin",
            "_k=1/c.parquet",
        ];
        assert!(others(&table).unwrap().is_empty());
        let nested =
            ["_delta_log/0.json", "a.parquet", "in/_delta_log/0.json", "in/b.parquet", "in/k=1/c.parquet"];
        assert_eq!(others(&nested).unwrap(), ["in/_delta_log/0.json", "in/b.parquet", "in/k=1/c.parquet"]);
        let iceberg = ["a.parquet", "t/data/b.parquet", "t/metadata/1.metadata.json"];
        assert_eq!(others(&iceberg).unwrap(), ["t/data/b.parquet", "t/metadata/1.metadata.json"]);
    }

    #[test]
    fn a_table_of_another_format_is_no_datasets() {
        let error = others(&["data/b.parquet", "metadata/1.metadata.json"]).unwrap_err();
        assert!(error.message().contains("Iceberg"), "{error}");
    }
}
