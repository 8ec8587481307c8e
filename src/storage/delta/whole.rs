//! Whether a log is whole: what the library reads over, or does not name.
//!
//! To the library an empty entry is a version in which nothing happened, and an error in a file of the log has no file. The
//! rows that a torn entry was to add or take away would be missing without a word.

use std::path::{Path, PathBuf};

use parquet::file::metadata::PageIndexPolicy;
use serde::de::IgnoredAny;
use serde_json::Deserializer;

use super::log::{DELTA_LOG, DeltaLog, commit_path};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::Footer;
use crate::storage::area::{io_error, no_regular_file};
use crate::storage::listing::open_dir;

impl DeltaLog {
    /// Fails where an entry is none that came after the version `known`, or after the last checkpoint: one that is empty, or
    /// whose name leads nowhere, and the `last` one also if it is cut off.
    pub(super) fn check_new_entries(&self, known: Option<u64>, last: u64) -> Result<()> {
        if let Some(known) = known {
            return (known + 1..=last).try_for_each(|number| self.check_entry(number));
        }
        let names = self.log_names()?;
        let first = newest_checkpoint(&names).unwrap_or(0);
        for number in names.iter().filter_map(|name| entry_number(name)).filter(|number| *number > first) {
            // One that is later has just come, unless it is no file.
            if number == last { self.check_entry(number)? } else { self.check_entry_is_there(number)? }
        }
        Ok(())
    }

    /// The error that says what is wrong in the log, if anything can be found, once the library could not read it.
    pub(super) fn find_damage(&self) -> Option<Error> {
        self.check_all().err()
    }

    fn check_all(&self) -> Result<()> {
        let names = self.log_names()?;
        for name in names.iter().filter(|name| is_checkpoint(name)) {
            let path = Path::new(DELTA_LOG).join(name);
            if path.extension().is_some_and(|ending| ending == "parquet") {
                let held = self.area().hold(&path).map_err(|error| self.about(&error))?;
                Footer::read(&held, PageIndexPolicy::Skip).map_err(|error| self.about(&error))?;
            }
        }
        let mut numbers: Vec<_> = names.iter().filter_map(|name| entry_number(name)).collect();
        numbers.sort_unstable();
        let checkpoint = newest_checkpoint(&names);
        let needed = numbers.iter().copied().filter(|number| checkpoint.is_none_or(|last| *number > last));
        let first = checkpoint.map_or(0, |last| last + 1);
        if let Some((missing, _)) = (first..).zip(needed).find(|(wanted, number)| wanted != number) {
            return Err(self.damaged(&commit_path(missing), "is missing"));
        }
        numbers.into_iter().rev().try_for_each(|number| self.check_entry(number))
    }

    /// The names in the log's directory.
    fn log_names(&self) -> Result<Vec<String>> {
        let log = Path::new(DELTA_LOG);
        let fail = |error| io_error("list", log, error);
        let mut names = Vec::new();
        for entry in open_dir(self.area(), log)?.entries().map_err(fail)? {
            names.extend(entry.map_err(fail)?.file_name().into_string());
        }
        Ok(names)
    }

    fn check_entry_is_there(&self, number: u64) -> Result<()> {
        let path = commit_path(number);
        let Some(found) = self.area().look(&path)? else {
            if self.area().has_name(&path)? {
                return Err(self.damaged(&path, "is a link that leads nowhere, or out of the table's folder"));
            }
            // Cleaned up meanwhile.
            return Ok(());
        };
        if !found.is_file() {
            return Err(self.about(&no_regular_file(&path)));
        }
        if found.len() == 0 { Err(self.damaged(&path, "is empty")) } else { Ok(()) }
    }

    fn check_entry(&self, number: u64) -> Result<()> {
        self.check_entry_is_there(number)?;
        let path = commit_path(number);
        let held = match self.area().hold(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            held => held?,
        };
        let length = usize::try_from(held.stat().size()).unwrap_or(usize::MAX);
        let bytes = held.read(0, length).map_err(|error| self.about(&held.read_error(error)))?;
        match Deserializer::from_slice(&bytes).into_iter::<IgnoredAny>().find_map(Result::err) {
            None => Ok(()),
            Some(error) => Err(self.not_json(&path, &error)),
        }
    }

    /// The error for an entry of the log that is no JSON.
    pub(super) fn not_json(&self, path: &Path, error: &serde_json::Error) -> Error {
        let (line, column) = (error.line(), error.column());
        if error.is_eof() {
            return self.damaged(path, &format!("is cut off in line {line}"));
        }
        self.damaged(path, &format!("is not as an entry has to be (line {line}, column {column})"))
    }

    fn damaged(&self, path: &Path, what: &str) -> Error {
        Error::data_loss(format!(
            "the log of the Delta table {} is damaged: {} {what}; put back a copy of it, or let the program that writes \
             the table mend it",
            self.folder().display(),
            path.display()
        ))
    }

    /// The same error, which names a file in the table's folder, saying which table that is.
    fn about(&self, error: &Error) -> Error {
        Error::new(error.kind(), format!("the Delta table {}: {}", self.folder().display(), error.message()))
    }

    /// The error for a log that the library cannot read, whatever is wrong in it.
    pub(super) fn unreadable(&self) -> Error {
        Error::data_loss(format!(
            "the log of the Delta table {} is damaged: what its files in {DELTA_LOG} say does not make a table; the \
             server's log says more",
            self.folder().display()
        ))
    }
}

/// The version whose entry has this name.
pub(super) fn entry_number(name: &str) -> Option<u64> {
    name.strip_suffix(".json").filter(|digits| digits.len() == 20)?.parse().ok()
}

fn is_checkpoint(name: &str) -> bool {
    checkpoint_number(name).is_some()
}

/// The version that the checkpoint of this name is of.
fn checkpoint_number(name: &str) -> Option<u64> {
    name.split_once(".checkpoint").filter(|(digits, _)| digits.len() == 20)?.0.parse().ok()
}

fn newest_checkpoint(names: &[String]) -> Option<u64> {
    names.iter().filter_map(|name| checkpoint_number(name)).max()
}

/// The file that says which checkpoint is the last one.
pub(super) fn hint_path() -> PathBuf {
    Path::new(DELTA_LOG).join("_last_checkpoint")
}

/// Whether one of the names in a log is that of a checkpoint of `version`.
pub(super) fn has_checkpoint(names: impl IntoIterator<Item = String>, version: u64) -> bool {
    names.into_iter().any(|name| checkpoint_number(&name) == Some(version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_a_log_are_told_apart() {
        let classic = format!("{:020}.checkpoint.parquet", 7);
        let names = [classic, format!("{:020}.checkpoint.0000000001.0000000002.parquet", 9)];
        assert_eq!(newest_checkpoint(&names), Some(9));
        assert!(has_checkpoint(names.clone(), 7) && !has_checkpoint(names, 8));
        assert_eq!(entry_number(&format!("{:020}.json", 12)), Some(12));
        for other in ["12.json", "_last_checkpoint", "00000000000000000012.json.crc"] {
            assert!(entry_number(other).is_none() && !is_checkpoint(other), "{other}");
        }
    }
}
