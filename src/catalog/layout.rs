//! Which names in the root mean what, in both directions.
//!
//! ```text
//! NAME.parquet         a file            (a directory of that name: a directory dataset, as Spark writes)
//! NAME/                a directory       of Parquet files, or a Delta table if it has _delta_log
//! NAME.dataset.json    a registration
//! NAME.view.json       a view: no dataset, but a name in SQL; a dataset of that name hides it
//! SCHEMA.db/           a schema          with the same names inside
//! ```
//!
//! Where one name is there in several forms, the first form of this list is the dataset and the
//! others are hidden by it.

use std::path::PathBuf;

use super::name::{DatasetName, DatasetRef, SchemaName};
use crate::storage::{Entry, EntryKind};

const FILE: &str = ".parquet";
const REGISTRATION: &str = ".dataset.json";
const VIEW: &str = ".view.json";
const SCHEMA: &str = ".db";

/// One form that a dataset can take in the root, in order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Form {
    File,
    /// A directory `NAME.parquet/`.
    SuffixedDirectory,
    /// A directory `NAME/`.
    Directory,
    Registration,
}

impl Form {
    /// The path of `dataset` in this form.
    pub(super) fn path(self, dataset: &DatasetRef) -> PathBuf {
        let name = dataset.name.as_str();
        schema_dir(&dataset.schema).join(match self {
            Self::File | Self::SuffixedDirectory => format!("{name}{FILE}"),
            Self::Directory => name.to_owned(),
            Self::Registration => format!("{name}{REGISTRATION}"),
        })
    }

    /// The kind of entry that this form is on disk.
    pub(super) fn entry_kind(self) -> EntryKind {
        match self {
            Self::File | Self::Registration => EntryKind::File,
            Self::SuffixedDirectory | Self::Directory => EntryKind::Directory,
        }
    }

    pub(super) const ALL: [Self; 4] =
        [Self::File, Self::SuffixedDirectory, Self::Directory, Self::Registration];
}

/// The path of a view.
pub(super) fn view_path(view: &DatasetRef) -> PathBuf {
    schema_dir(&view.schema).join(format!("{}{VIEW}", view.name.as_str()))
}

/// The view that an entry of a schema's directory is, if it is one.
pub(super) fn view_of(entry: &Entry) -> Option<DatasetName> {
    if entry.kind != EntryKind::File {
        return None;
    }
    // As for datasets: the suffix is there for the parse to take.
    DatasetName::parse(&format!("{}{FILE}", entry.name.strip_suffix(VIEW)?)).ok()
}

/// The directory of a schema in the root; empty for the default one.
pub(super) fn schema_dir(schema: &SchemaName) -> PathBuf {
    if schema.is_default() { PathBuf::new() } else { PathBuf::from(format!("{}{SCHEMA}", schema.as_str())) }
}

/// The schema that an entry of the root is, if it is one.
pub(super) fn schema_of(entry: &Entry) -> Option<SchemaName> {
    if entry.kind != EntryKind::Directory {
        return None;
    }
    let name = SchemaName::parse(entry.name.strip_suffix(SCHEMA)?).ok()?;
    (!name.is_default()).then_some(name)
}

/// The dataset that an entry of a schema's directory is, if it is one.
pub(super) fn dataset_of(entry: &Entry) -> Option<(DatasetName, Form)> {
    let (stem, form) = match entry.kind {
        EntryKind::File => match entry.name.strip_suffix(FILE) {
            Some(stem) => (stem, Form::File),
            None => (entry.name.strip_suffix(REGISTRATION)?, Form::Registration),
        },
        // A schema; or Hive's and Spark's own, such as _temporary.
        EntryKind::Directory if entry.name.ends_with(SCHEMA) || entry.name.starts_with('_') => return None,
        EntryKind::Directory => match entry.name.strip_suffix(FILE) {
            Some(stem) => (stem, Form::SuffixedDirectory),
            None => (entry.name.as_str(), Form::Directory),
        },
    };
    // The stem is exactly what the suffix was taken from, so give it back for the parse to take.
    let name = DatasetName::parse(&format!("{stem}{FILE}")).ok()?;
    Some((name, form))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(name: &str, kind: EntryKind) -> Option<(String, Form)> {
        let entry = Entry { name: name.to_owned(), kind };
        dataset_of(&entry).map(|(name, form)| (name.to_string(), form))
    }

    #[test]
    fn entries_are_read_as_the_layout_says() {
        use EntryKind::{Directory, File};
        assert_eq!(dataset("a.parquet", File), Some(("a".into(), Form::File)));
        assert_eq!(dataset("a.parquet.parquet", File), Some(("a.parquet".into(), Form::File)));
        assert_eq!(dataset("a", Directory), Some(("a".into(), Form::Directory)));
        assert_eq!(dataset("a.parquet", Directory), Some(("a".into(), Form::SuffixedDirectory)));
        assert_eq!(dataset("a.dataset.json", File), Some(("a".into(), Form::Registration)));
        for (name, kind) in [("a.csv", File), ("a.db", Directory), ("_temporary", Directory), ("a", File)] {
            assert_eq!(dataset(name, kind), None, "{name}");
        }
    }

    #[test]
    fn a_path_leads_back_to_its_dataset() {
        for text in ["a", "a.parquet.parquet", "b.c"] {
            let reference = DatasetRef::in_default(DatasetName::parse(text).unwrap());
            for form in Form::ALL {
                let path = form.path(&reference);
                let name = path.to_str().unwrap().to_owned();
                let entry = Entry { name, kind: form.entry_kind() };
                let (found, found_form) = dataset_of(&entry).unwrap();
                if form != Form::Directory || !text.contains("parquet") {
                    assert_eq!((&found, found_form), (&reference.name, form), "{entry:?}");
                }
            }
        }
    }

    #[test]
    fn schemas_are_folders_with_the_hive_suffix() {
        let folder = |name: &str| Entry { name: name.to_owned(), kind: EntryKind::Directory };
        assert_eq!(schema_of(&folder("finance.db")).unwrap().as_str(), "finance");
        assert_eq!(schema_of(&folder("public.db")), None);
        assert_eq!(schema_of(&folder("finance")), None);
    }
}
