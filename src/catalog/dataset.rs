//! A dataset as it is at one moment.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::common::ScalarValue;
use sha2::{Digest, Sha256};

use super::name::DatasetRef;
use super::shared_keys::share_keys;
use crate::error::{Error, Result};
use crate::storage::{DeletedRows, FileStat, Footer, HeldFile, ipc_schema};

/// What a dataset is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One Parquet file in the root.
    File,
    /// A directory of Parquet files in the root.
    Directory,
    /// Parquet elsewhere, at this path, that a registration points at.
    Registered(PathBuf),
    /// A Delta Lake table.
    Delta,
}

/// An opaque text that changes whenever the dataset's content does: a digest of the identities of
/// its files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// The version of the content that lies in `files` below `base`.
    pub(super) fn of<'a>(base: &Path, files: impl Iterator<Item = (&'a Path, &'a FileStat)>) -> Self {
        let mut digest = Sha256::new();
        for (path, stat) in files {
            // Without the dataset's own name, so that its rename is no new content; with the folders,
            // since they hold the values of partition columns.
            let name = path.strip_prefix(base).unwrap_or(path).as_os_str().as_encoded_bytes();
            digest.update((name.len() as u64).to_le_bytes());
            digest.update(name);
            digest.update(stat.identity.to_bytes());
        }
        Self(hex(&digest.finalize()[..16]))
    }

    /// The version of a Delta table, whatever it is called.
    pub(super) fn of_delta(delta: &DeltaMark) -> Self {
        let mut digest = Sha256::new();
        digest.update(delta.table_id.as_bytes());
        Self(format!("{}-{}", delta.version, hex(&digest.finalize()[..6])))
    }

    /// The version of a dataset that is one file, whatever it is called.
    pub(super) fn of_file(stat: &FileStat) -> Self {
        Self::of(Path::new(""), std::iter::once((Path::new(""), stat)))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Which table, and which of its versions, a dataset of the kind [`Delta`](Kind::Delta) is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeltaMark {
    /// The table's identity.
    pub table_id: String,
    /// The version's number.
    pub version: u64,
}

/// One Parquet file of a dataset.
#[derive(Debug, Clone)]
pub struct PartFile {
    /// Its path in its area.
    pub path: PathBuf,
    /// Identity and times.
    pub stat: FileStat,
    /// Its footer.
    pub footer: Arc<Footer>,
    /// Its values for the dataset's partition columns.
    pub partition_values: Vec<ScalarValue>,
    /// Rows of it that a Delta table has deleted without taking them out of the file.
    pub deleted: Option<Arc<DeletedRows>>,
}

impl PartFile {
    /// Rows, without those that are deleted.
    pub fn rows(&self) -> u64 {
        let deleted = self.deleted.as_ref().map_or(0, |deleted| deleted.rows.len());
        self.footer.rows().saturating_sub(deleted)
    }
}

/// What a dataset holds, read off its files' footers.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// Its name.
    pub reference: DatasetRef,
    /// What it is made of.
    pub kind: Kind,
    /// All columns. Those of folders come last, but for those that are in the files too; a Delta table has an order of
    /// its own.
    pub schema: SchemaRef,
    /// The columns of the files, then the partition columns: the order in which they are read.
    pub(super) physical: SchemaRef,
    /// The columns that the files hold.
    pub file_schema: SchemaRef,
    /// The columns that come from `key=value` folders.
    pub partition_fields: Vec<FieldRef>,
    /// The files in order.
    pub parts: Vec<PartFile>,
    /// Set where it is a version of a Delta table.
    pub delta: Option<DeltaMark>,
    /// The path that the files lie at or below.
    base: PathBuf,
}

impl Dataset {
    /// Puts a dataset together from its parts, which lie at or below the path `base`.
    pub(super) fn assemble(
        reference: DatasetRef,
        (kind, base): (Kind, &Path),
        declared: Option<SchemaRef>,
        mut partition_fields: Vec<FieldRef>,
        mut parts: Vec<PartFile>,
    ) -> Result<Self> {
        let mut file_schema = match declared {
            Some(declared) => check_declared(&declared, &parts)?,
            None => merge(&reference, &parts)?,
        };
        let shared = share_keys(&reference, base, &file_schema, &partition_fields, &mut parts)?;
        let mut in_order = None;
        if let Some(shared) = shared {
            (file_schema, partition_fields) = (shared.file_schema, shared.partition_fields);
            in_order = Some(shared.schema);
        }
        let fields: Vec<FieldRef> = file_schema.fields().iter().chain(&partition_fields).cloned().collect();
        let physical = if partition_fields.is_empty() {
            Arc::clone(&file_schema)
        } else {
            Arc::new(Schema::new_with_metadata(fields, file_schema.metadata().clone()))
        };
        let in_order = in_order.filter(|schema| schema.fields() != physical.fields());
        let (base, schema) = (base.to_owned(), in_order.unwrap_or_else(|| Arc::clone(&physical)));
        Ok(Self {
            reference,
            kind,
            schema,
            physical,
            file_schema,
            partition_fields,
            parts,
            delta: None,
            base,
        })
    }

    /// A version of a Delta table, whose columns are `schema`.
    pub(super) fn of_delta(
        reference: DatasetRef,
        delta: DeltaMark,
        schema: SchemaRef,
        partition_columns: &[String],
        parts: Vec<PartFile>,
    ) -> Self {
        let is_partition = |field: &FieldRef| partition_columns.contains(field.name());
        let in_files: Vec<FieldRef> =
            schema.fields().iter().filter(|field| !is_partition(field)).cloned().collect();
        let partition_fields: Vec<FieldRef> = partition_columns
            .iter()
            .filter_map(|name| schema.fields().iter().find(|field| field.name() == name).cloned())
            .collect();
        let all: Vec<FieldRef> = in_files.iter().chain(&partition_fields).cloned().collect();
        let of = |fields| Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
        Self {
            reference,
            kind: Kind::Delta,
            physical: of(all),
            file_schema: of(in_files),
            schema,
            partition_fields,
            parts,
            delta: Some(delta),
            base: PathBuf::new(),
        }
    }

    /// The place in [`physical`](Self::physical) of a column of the schema.
    pub(super) fn place(&self, column: usize) -> usize {
        if Arc::ptr_eq(&self.schema, &self.physical) {
            return column;
        }
        let name = self.schema.fields().get(column).map(|field| field.name());
        name.and_then(|name| self.physical.index_of(name).ok()).unwrap_or(column)
    }

    /// Changes with the content. Made when it is asked for: listings of many datasets have no use for it.
    pub fn version(&self) -> Version {
        if let Some(delta) = &self.delta {
            return Version::of_delta(delta);
        }
        match (&self.kind, self.parts.as_slice()) {
            (Kind::File, [part]) => Version::of_file(&part.stat),
            (_, parts) => Version::of(&self.base, parts.iter().map(|part| (part.path.as_path(), &part.stat))),
        }
    }

    /// The schema as an encapsulated IPC message.
    pub fn ipc_schema(&self) -> Bytes {
        match self.parts.as_slice() {
            [part] if Arc::ptr_eq(&self.schema, &part.footer.schema) => part.footer.ipc_schema(),
            _ => ipc_schema(&self.schema).into(),
        }
    }

    /// The row groups, counted over all parts, in up to `count` runs of about the same size.
    pub fn shares(&self, count: usize) -> Vec<Range<u64>> {
        let groups = self.parts.iter().flat_map(|part| part.footer.metadata.row_groups());
        let bytes: Vec<u64> =
            groups.map(|group| u64::try_from(group.total_byte_size()).unwrap_or(0).max(1)).collect();
        let share = bytes.iter().sum::<u64>().div_ceil(count.max(1) as u64);
        let (mut shares, mut start, mut filled) = (Vec::new(), 0, 0);
        for (group, bytes) in (0_u64..).zip(bytes) {
            if filled > 0 && filled + bytes / 2 > share && shares.len() + 1 < count {
                shares.push(start..group);
                (start, filled) = (group, 0);
            }
            filled += bytes;
        }
        if filled > 0 {
            let end = self.parts.iter().map(|part| part.footer.metadata.num_row_groups() as u64).sum();
            shares.push(start..end);
        }
        shares
    }

    /// Rows, exactly.
    pub fn rows(&self) -> u64 {
        self.parts.iter().map(PartFile::rows).sum()
    }

    /// Whether rows of some files are deleted.
    pub fn has_deletions(&self) -> bool {
        self.parts.iter().any(|part| part.deleted.is_some())
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.stat.size()).sum()
    }
}

/// A dataset as one reader sees it: the files that make it up, held open until the reader is done.
#[derive(Debug)]
pub struct Snapshot {
    /// What it holds.
    pub dataset: Dataset,
    /// The open files, one for each of `dataset.parts`.
    pub files: Vec<HeldFile>,
}

/// The union of the parts' columns by name, in order of appearance. A column that some parts lack is
/// nullable; one that has two types is an error.
fn merge(reference: &DatasetRef, parts: &[PartFile]) -> Result<SchemaRef> {
    let Some((first, rest)) = parts.split_first() else {
        return Err(Error::not_found(format!("dataset {reference} has no Parquet files")));
    };
    let schema = &first.footer.schema;
    if rest.iter().all(|part| part.footer.schema.fields() == schema.fields()) {
        return Ok(Arc::clone(schema));
    }
    let mut fields: Vec<Field> = Vec::new();
    let mut index: HashMap<&str, (usize, usize)> = HashMap::new();
    for part in parts {
        for field in part.footer.schema.fields() {
            let next = fields.len();
            let (at, seen) = index.entry(field.name()).or_insert((next, 0));
            *seen += 1;
            if *at == next {
                fields.push(field.as_ref().clone());
            } else if fields[*at].data_type() == field.data_type() {
                let nullable = fields[*at].is_nullable() || field.is_nullable();
                fields[*at].set_nullable(nullable);
            } else {
                return Err(disagree(reference, &fields[*at], field, part));
            }
        }
    }
    for (at, seen) in index.values() {
        if *seen < parts.len() {
            fields[*at].set_nullable(true);
        }
    }
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

fn disagree(reference: &DatasetRef, have: &Field, other: &Field, part: &PartFile) -> Error {
    Error::precondition(format!(
        "the files of dataset {reference} disagree on column {:?}: {} has {}, earlier ones {}",
        have.name(),
        part.path.display(),
        other.data_type(),
        have.data_type()
    ))
}

/// `declared` if the parts still fit it: a column may be missing, but not have another type.
fn check_declared(declared: &SchemaRef, parts: &[PartFile]) -> Result<SchemaRef> {
    for part in parts {
        for field in declared.fields() {
            match part.footer.schema.field_with_name(field.name()) {
                Ok(stored) if stored.data_type() == field.data_type() => {}
                Err(_) if field.is_nullable() => {}
                other => {
                    let now =
                        other.map_or("no such column".to_owned(), |field| field.data_type().to_string());
                    return Err(Error::precondition(format!(
                        "column {:?} was registered as {}, {} has {now}; register the dataset again",
                        field.name(),
                        field.data_type(),
                        part.path.display()
                    )));
                }
            }
        }
    }
    Ok(Arc::clone(declared))
}
