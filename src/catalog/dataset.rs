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
use crate::storage::{DeletedRows, FileStat, Footer, bare_type, ipc_schema, unite};

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
    pub physical: SchemaRef,
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
    pub fn place(&self, column: usize) -> usize {
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

/// The union of the parts' columns by name, in order of appearance. A column that some parts lack is
/// nullable; one of several types gets one that holds what all of them do.
fn merge(reference: &DatasetRef, parts: &[PartFile]) -> Result<SchemaRef> {
    let Some((first, rest)) = parts.split_first() else {
        return Err(Error::not_found(format!("dataset {reference} has no Parquet files")));
    };
    let schema = &first.footer.schema;
    if rest.iter().all(|part| part.footer.schema.fields() == schema.fields()) {
        return Ok(Arc::clone(schema));
    }
    let distinct = distinct(parts);
    let names = |part: &PartFile| {
        let fields = part.footer.schema.fields().iter();
        fields.map(|field| field.name().clone()).collect::<Vec<_>>()
    };
    let in_order = names(first);
    let fields = if distinct.iter().all(|part| names(part) == in_order) {
        // Also where there are two of one name.
        let column = |place: usize| {
            let own = |part: &&'_ PartFile| part.footer.schema.fields().get(place).cloned();
            let fields: Vec<FieldRef> = distinct.iter().filter_map(own).collect();
            unite_column(reference, &fields, &distinct)
        };
        (0..in_order.len()).map(column).collect::<Result<Vec<_>>>()?
    } else {
        merge_by_name(reference, &distinct)?
    };
    Ok(Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone())))
}

/// The first part of each schema that there is: writers are few, also where their files are many.
fn distinct(parts: &[PartFile]) -> Vec<&PartFile> {
    let mut known: HashMap<u64, Vec<&PartFile>> = HashMap::new();
    let mut distinct = Vec::new();
    for part in parts {
        let alike = known.entry(part.footer.schema_hash()).or_default();
        if !alike.iter().any(|other| other.footer.schema.fields() == part.footer.schema.fields()) {
            alike.push(part);
            distinct.push(part);
        }
    }
    distinct
}

fn merge_by_name(reference: &DatasetRef, parts: &[&PartFile]) -> Result<Vec<FieldRef>> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_name: HashMap<&str, (Vec<FieldRef>, Vec<&PartFile>)> = HashMap::new();
    for part in parts {
        for field in part.footer.schema.fields() {
            let (fields, having) = by_name.entry(field.name()).or_default();
            if fields.is_empty() {
                order.push(field.name());
            }
            if having.last().is_some_and(|last| std::ptr::eq(*last, *part)) {
                return Err(Error::precondition(format!(
                    "the files of dataset {reference} have other columns than each other, and {} has two that are \
                     called {:?}: which is which cannot be told",
                    part.path.display(),
                    field.name()
                )));
            }
            fields.push(Arc::clone(field));
            having.push(part);
        }
    }
    let column = |name: &str| {
        let (fields, having) = by_name.get(name).cloned().unwrap_or_default();
        let united = unite_column(reference, &fields, &having)?;
        let is_everywhere = having.len() == parts.len();
        let nullable = || Arc::new(Field::clone(&united).with_nullable(true));
        Ok(if is_everywhere { united } else { nullable() })
    };
    order.into_iter().map(column).collect()
}

/// The column that holds what `fields` do, each of which is that of the part in the same place.
fn unite_column(reference: &DatasetRef, fields: &[FieldRef], parts: &[&PartFile]) -> Result<FieldRef> {
    let fields: Vec<&FieldRef> = fields.iter().collect();
    unite(&fields).map_err(|clash| {
        let inner = if clash.path.is_empty() { String::new() } else { format!(" (in {})", clash.path.join(".")) };
        let path = |place: usize| parts.get(place).map_or("", |part| part.path.to_str().unwrap_or_default());
        let name = fields.first().map_or("", |field| field.name());
        Error::precondition(format!(
            "the files of dataset {reference} disagree on column {name:?}{inner}: {} has {}, {} has {}, and no type \
             holds the values of both; write one of them anew with a cast, or move it elsewhere",
            path(clash.other),
            clash.other_type,
            path(clash.first),
            clash.first_type
        ))
    })
}

/// `declared` if the parts still fit it: a column may be missing, or have a type whose values the declared one
/// holds.
fn check_declared(declared: &SchemaRef, parts: &[PartFile]) -> Result<SchemaRef> {
    let is_same = |part: &PartFile| part.footer.schema.fields() == declared.fields();
    if parts.iter().all(is_same) {
        return Ok(Arc::clone(declared));
    }
    for part in distinct(parts) {
        for field in declared.fields() {
            match part.footer.schema.fields().find(field.name()) {
                Some((_, stored)) if holds(field, stored) => {}
                None if field.is_nullable() => {}
                other => {
                    let now =
                        other.map_or("no such column".to_owned(), |(_, field)| field.data_type().to_string());
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

/// Whether `field` holds the values of `stored`. What it says of NULL is not looked at.
fn holds(field: &FieldRef, stored: &FieldRef) -> bool {
    field.data_type() == stored.data_type()
        || unite(&[field, stored])
            .is_ok_and(|united| bare_type(united.data_type()) == bare_type(field.data_type()))
}
