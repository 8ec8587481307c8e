//! The output of a Spark streaming query: a directory whose log says which of its files are committed.
//!
//! Each batch of the query is a file in `_spark_metadata`, called by the batch's number: `v1`, then one line of JSON for
//! each file that it added or deleted. Every few batches one is `N.compact`, which has all lines so far. Files that no
//! batch names are left from tries that failed, and their rows are there once more in other files.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use serde::Deserialize;

use crate::error::{Error, Result};
use crate::storage::{Area, Part, SINK_LOG, exhausted_reading, io_error};

/// More in one file of the log is no log.
const MAX_ENTRY_BYTES: u64 = 1 << 30;
const COMPACTED: &str = ".compact";

/// One line of a batch's file.
#[derive(Deserialize)]
struct Line {
    path: String,
    action: String,
}

/// Those of `parts` that the log of the directory `base` has committed.
pub(super) fn committed(area: &Area, base: &Path, parts: Vec<Part>) -> Result<Vec<Part>> {
    let mut named = named_files(area, &base.join(SINK_LOG))?;
    let mut committed = parts;
    committed.retain(|part| part.path.strip_prefix(base).is_ok_and(|path| named.remove(path)));
    match named.into_iter().min() {
        None => Ok(committed),
        Some(lost) => Err(Error::data_loss(format!(
            "{} has lost the file {}, which its log {SINK_LOG} names",
            base.display(),
            lost.display()
        ))),
    }
}

/// The files that the log at `log` names, by their paths in the sink's directory.
fn named_files(area: &Area, log: &Path) -> Result<HashSet<PathBuf>> {
    let damaged = |why: &str| Error::data_loss(format!("{} is damaged: {why}", log.display()));
    let dir = area.within(log)?;
    let entries = dir.dir().entries().map_err(|error| io_error("list", log, error))?;
    let mut batches: Vec<(u64, bool)> = entries
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            let number = name.strip_suffix(COMPACTED);
            Some((number.unwrap_or(&name).parse().ok()?, number.is_some()))
        })
        .collect();
    // A compacted file comes after the one of the same number, in whose place it is read.
    batches.sort_unstable();
    let start = batches.iter().rposition(|(_, is_compacted)| *is_compacted);
    let read = &batches[start.unwrap_or(0)..];
    let first = if start.is_some() { read.first().map_or(0, |(number, _)| *number) } else { 0 };
    if let Some((expected, _)) = (first..).zip(read).find(|(expected, (number, _))| expected != number) {
        return Err(damaged(&format!("batch {expected} is missing")));
    }
    let (mut added, mut deleted) = (HashSet::new(), HashSet::new());
    for (number, is_compacted) in read {
        let name = format!("{number}{}", if *is_compacted { COMPACTED } else { "" });
        let mut text = String::new();
        let file = dir.open_if_there(Path::new(&name))?.ok_or_else(|| damaged(&format!("{name} is gone")))?;
        let length = file.take(MAX_ENTRY_BYTES).read_to_string(&mut text);
        length.map_err(|error| {
            let exhausted = exhausted_reading(&log.join(&name), &error);
            exhausted.unwrap_or_else(|| damaged(&format!("{name}: {error}")))
        })?;
        for (path, is_deleted) in lines(&text).map_err(|why| damaged(&format!("{name}: {why}")))? {
            if is_deleted { &mut deleted } else { &mut added }.insert(path);
        }
    }
    added.retain(|path| !deleted.contains(path));
    Ok(added)
}

/// The files that a batch's file names, and whether they are deleted.
fn lines(text: &str) -> Result<Vec<(PathBuf, bool)>, String> {
    let mut lines = text.lines();
    match lines.next() {
        Some("v1") => {}
        other => return Err(format!("its version is {:?}, not v1", other.unwrap_or_default())),
    }
    let line = |line: &str| {
        let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        let is_deleted = match line.action.as_str() {
            "add" => false,
            "delete" => true,
            action => return Err(format!("there is no action {action:?}")),
        };
        Ok((relative(&line.path)?, is_deleted))
    };
    lines.filter(|text| !text.is_empty()).map(line).collect()
}

/// The path of a file in the sink's directory, which may lie elsewhere by now than its URI in the log says: the folders
/// above a file that are the sink's are those of its partitions.
fn relative(uri: &str) -> Result<PathBuf, String> {
    let path = percent_decode_str(uri).decode_utf8().map_err(|error| error.to_string())?;
    let mut names: Vec<&str> = Vec::new();
    for name in path.rsplit('/') {
        if !names.is_empty() && !name.contains('=') {
            break;
        }
        names.push(name);
    }
    Ok(names.into_iter().rev().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::FileStat;

    fn sink(batches: &[(&str, &[(&str, &str)])], files: &[&str]) -> Result<Vec<PathBuf>> {
        let root = tempfile::tempdir().unwrap();
        let log = root.path().join("s").join(SINK_LOG);
        std::fs::create_dir_all(&log).unwrap();
        for (name, lines) in batches {
            let line = |(path, action): &(&str, &str)| {
                format!(r#"{{"path":"file:///tmp/s/{path}","size":1,"isDir":false,"action":"{action}"}}"#)
            };
            let lines: Vec<_> = std::iter::once("v1".to_owned()).chain(lines.iter().map(line)).collect();
            std::fs::write(log.join(name), lines.join("\n")).unwrap();
        }
        let area = Area::open(root.path()).unwrap();
        let part = |file: &&str| Part {
            path: Path::new("s").join(file),
            folders: Vec::new(),
            stat: FileStat::default(),
        };
        let parts = committed(&area, Path::new("s"), files.iter().map(part).collect())?;
        Ok(parts.into_iter().map(|part| part.path.strip_prefix("s").unwrap().to_owned()).collect())
    }

    #[test]
    fn only_what_is_committed_counts() {
        let log: [(&str, &[(&str, &str)]); 2] =
            [("0", &[("a.parquet", "add")]), ("1", &[("k=x%2520y/b.parquet", "add")])];
        let found = sink(&log, &["a.parquet", "k=x%20y/b.parquet", "failed.parquet"]).unwrap();
        assert_eq!(found, [Path::new("a.parquet"), Path::new("k=x%20y/b.parquet")]);
    }

    #[test]
    fn the_newest_compacted_batch_stands_for_all_before_it() {
        let log: [(&str, &[(&str, &str)]); 4] = [
            ("1", &[("old.parquet", "add")]),
            ("2", &[("old.parquet", "add")]),
            ("2.compact", &[("a.parquet", "add"), ("gone.parquet", "add")]),
            ("3", &[("b.parquet", "add"), ("gone.parquet", "delete")]),
        ];
        let found = sink(&log, &["a.parquet", "b.parquet", "gone.parquet", "old.parquet"]).unwrap();
        assert_eq!(found, [Path::new("a.parquet"), Path::new("b.parquet")]);
    }

    #[test]
    fn a_log_with_gaps_or_lost_files_is_damaged() {
        let log: [(&str, &[(&str, &str)]); 2] =
            [("0", &[("a.parquet", "add")]), ("2", &[("b.parquet", "add")])];
        assert!(
            sink(&log, &["a.parquet", "b.parquet"]).unwrap_err().message().contains("batch 1 is missing")
        );
        assert!(sink(&log[..1], &[]).unwrap_err().message().contains("has lost the file a.parquet"));
        assert!(sink(&[("0", &[("a.parquet", "rename")])], &["a.parquet"]).is_err());
    }
}
