//! What was dropped or replaced, and the way back.

use std::collections::BTreeSet;
use std::time::SystemTime;

use super::dataset::Version;
use super::layout::{Form, dataset_of, schema_dir, view_of, view_path};
use super::name::{DatasetName, DatasetRef, SchemaName};
use super::store::{Catalog, can_be};
use crate::error::{Error, ErrorKind, Result};
use crate::storage::{Entry, EntryKind, Label, Trashed, Why};

/// Names that an error gives.
const NAMED: usize = 5;

/// What sort of thing is in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DroppedKind {
    /// A dataset, in whatever form.
    Dataset,
    /// A view.
    View,
    /// A schema with all that is in it.
    Schema,
}

impl DroppedKind {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "dataset",
            Self::View => "view",
            Self::Schema => "schema",
        }
    }
}

/// Something in the trash.
#[derive(Debug, Clone)]
pub struct InTrash {
    /// What it is.
    pub kind: DroppedKind,
    /// The schema that it was in.
    pub schema: String,
    /// Its name there; empty for a schema.
    pub name: String,
    /// Why it is there.
    pub why: Why,
    /// Its version, where that could be told.
    pub version: Option<String>,
    /// Bytes on disk.
    pub bytes: u64,
    /// Since when it is there.
    pub since: SystemTime,
    /// Until when it stays at most; `None`: for ever.
    pub until: Option<SystemTime>,
    entry: Trashed,
}

/// What is to come back.
#[derive(Debug, Clone)]
pub struct Undrop {
    /// What it is; `None`: a dataset or a view.
    pub kind: Option<DroppedKind>,
    /// The schema that it was in, or that it is.
    pub schema: SchemaName,
    /// Its name; `None` for a schema.
    pub name: Option<DatasetName>,
    /// The version that is meant; `None`: the newest that is in the trash.
    pub version: Option<String>,
    /// Another name for it.
    pub new_name: Option<String>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The schema that it is in, or that it is.
    pub schema: SchemaName,
    /// Its name; `None` for a schema.
    pub name: Option<DatasetName>,
    /// The version that it has, where it is a dataset that can be read.
    pub version: Option<Version>,
}

impl Catalog {
    /// What is in the trash, the newest first.
    pub fn in_trash(&self) -> Result<Vec<InTrash>> {
        let retention = self.root.trash_retention();
        let mut all = Vec::new();
        for entry in self.root.trashed()?.into_iter().rev() {
            let Some(kind) = kind_of(&entry) else { continue };
            all.push(InTrash {
                kind,
                schema: entry.schema().to_owned(),
                name: entry.name().to_owned(),
                why: entry.why(),
                version: entry.version().map(str::to_owned),
                bytes: entry.bytes(),
                since: entry.when(),
                until: entry.when().checked_add(retention),
                entry,
            });
        }
        Ok(all)
    }

    /// Removes what is in the trash for too long, or beyond its limits.
    pub fn sweep_trash(&self) -> Result<()> {
        self.root.sweep_trash()
    }

    /// Brings something back from the trash, with all that it had.
    pub fn undrop(&self, wanted: &Undrop) -> Result<Restored> {
        self.root.check_writable()?;
        match &wanted.name {
            None => self.undrop_schema(wanted),
            Some(name) => self.undrop_named(wanted, name),
        }
    }

    fn undrop_named(&self, wanted: &Undrop, name: &DatasetName) -> Result<Restored> {
        let all = self.in_trash()?;
        let found = newest(&all, wanted, name.as_str()).ok_or_else(|| not_in_trash(&all, wanted))?;
        let name = match wanted.new_name.as_deref() {
            Some(new) => DatasetName::parse(new)?,
            None => DatasetName::parse(&format!("{}.parquet", found.name))?,
        };
        let to = DatasetRef { schema: wanted.schema.clone(), name };
        self.check_schema(&to.schema)?;
        let _lock = self.lock(&to);
        if self.exists(&to)? || self.root.area().exists(&view_path(&to))? {
            return Err(taken(&to.to_string(), found.kind));
        }
        if found.kind == DroppedKind::View {
            self.root.restore(&found.entry, &view_path(&to))?;
            return Ok(Restored { schema: to.schema, name: Some(to.name), version: None });
        }
        let form = form_of(&found.entry).filter(|form| can_be(&to, *form));
        let form = form.ok_or_else(|| Error::invalid(format!("what was dropped cannot be called {to}")))?;
        self.restore_form(found, &to, form)?;
        let version = self.version(&to).ok();
        Ok(Restored { schema: to.schema, name: Some(to.name), version })
    }

    /// Brings a dataset back in its form. A folder of its name that holds no dataset keeps its files.
    fn restore_form(&self, found: &InTrash, to: &DatasetRef, form: Form) -> Result<()> {
        let path = form.path(to);
        let area = self.root.area();
        let is_folder = area.is_dir(&path)? && !area.is_link(&path)?;
        let restored = if is_folder && found.entry.is_dir && form.entry_kind() == EntryKind::Directory {
            self.link_others(&path, &self.others(&path)?, &found.entry.path())
                .and_then(|()| self.root.restore_into(&found.entry, &path))
        } else {
            self.root.restore(&found.entry, &path)
        };
        restored.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => taken(&path.display().to_string(), found.kind).with_source(error),
            _ => error,
        })
    }

    fn undrop_schema(&self, wanted: &Undrop) -> Result<Restored> {
        let all = self.in_trash()?;
        let found = newest(&all, wanted, "").ok_or_else(|| not_in_trash(&all, wanted))?;
        let schema = match wanted.new_name.as_deref() {
            Some(new) => SchemaName::parse(new)?,
            None => wanted.schema.clone(),
        };
        if self.has_schema(&schema)? {
            return Err(taken(schema.as_str(), found.kind));
        }
        self.root.restore(&found.entry, &schema_dir(&schema))?;
        Ok(Restored { schema, name: None, version: None })
    }
}

/// What the record of a dataset that goes says of it.
pub(super) fn label(dataset: &DatasetRef, why: Why) -> Label<'_> {
    let (schema, name) = (dataset.schema.as_str(), dataset.name.as_str());
    Label { schema, name, why, version: None, keeps_others: false }
}

fn entry_of(entry: &Trashed) -> Entry {
    let kind = if entry.is_dir { EntryKind::Directory } else { EntryKind::File };
    Entry { name: entry.file().to_owned(), kind }
}

/// The form in which a dataset was there. A link is what it led to.
fn form_of(entry: &Trashed) -> Option<Form> {
    let found = entry_of(entry);
    let as_folder = || dataset_of(&Entry { kind: EntryKind::Directory, ..entry_of(entry) });
    let form = dataset_of(&found).or_else(|| if entry.is_link { as_folder() } else { None });
    form.map(|(_, form)| form)
}

fn kind_of(entry: &Trashed) -> Option<DroppedKind> {
    if entry.name().is_empty() {
        return Some(DroppedKind::Schema);
    }
    if view_of(&entry_of(entry)).is_some() {
        return Some(DroppedKind::View);
    }
    form_of(entry).map(|_| DroppedKind::Dataset)
}

/// The newest of what is wanted: of the very name, or of the only one that differs in case.
fn newest<'a>(all: &'a [InTrash], wanted: &Undrop, name: &str) -> Option<&'a InTrash> {
    let fits = |found: &&InTrash| {
        let is_kind = match (wanted.kind, &wanted.name) {
            (Some(kind), _) => found.kind == kind,
            (None, Some(_)) => found.kind != DroppedKind::Schema,
            (None, None) => found.kind == DroppedKind::Schema,
        };
        is_kind
            && found.schema == wanted.schema.as_str()
            && wanted.version.as_ref().is_none_or(|version| found.version.as_ref() == Some(version))
    };
    if let Some(found) = all.iter().filter(fits).find(|found| found.name == name) {
        return Some(found);
    }
    let lower = name.to_lowercase();
    let alike: Vec<&InTrash> =
        all.iter().filter(fits).filter(|found| found.name.to_lowercase() == lower).collect();
    let names: BTreeSet<&str> = alike.iter().map(|found| found.name.as_str()).collect();
    alike.first().copied().filter(|_| names.len() == 1)
}

fn not_in_trash(all: &[InTrash], wanted: &Undrop) -> Error {
    let schema = wanted.schema.as_str();
    let Some(name) = &wanted.name else {
        return Error::not_found(format!("the trash has no schema {schema}"));
    };
    let asked = DatasetRef { schema: wanted.schema.clone(), name: name.clone() };
    let in_schema = || all.iter().filter(|found| found.schema == schema);
    if let (Some(version), Some(_)) =
        (&wanted.version, in_schema().find(|found| found.name == asked.name.as_str()))
    {
        return Error::not_found(format!("the trash has no version {version} of {asked}, but others of it"));
    }
    if in_schema().any(|found| found.kind == DroppedKind::Schema) {
        return Error::not_found(format!(
            "the trash has no {asked} by itself, but the whole schema {schema}: bring that back first (UNDROP SCHEMA \
             {schema}, or undrop_dataset with the schema alone)"
        ));
    }
    let names: BTreeSet<&str> = in_schema().map(|found| found.name.as_str()).collect();
    let names: Vec<_> = names.into_iter().take(NAMED).collect();
    let hint = if names.is_empty() { String::new() } else { format!("; it has {}", names.join(", ")) };
    Error::not_found(format!("the trash has no {asked}{hint}"))
}

fn taken(name: &str, kind: DroppedKind) -> Error {
    let kind = kind.name();
    Error::new(
        ErrorKind::AlreadyExists,
        format!(
            "{name} is there; rename or drop it first, or bring the {kind} back under another name (newName of the \
             action undrop_dataset)"
        ),
    )
}
