//! Partition keys that are also columns of the files: polars, ClickHouse, DuckDB (on request), Hudi and Iceberg write
//! them into both.
//!
//! Where the bounds of every file say that all its rows have its folder's value, the folder's is as good, and files are
//! left out by it. Where they say that some row has another, there is no right answer. Where they say nothing, the file
//! is what is read.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::common::ScalarValue;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::basic::Type;
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::file::statistics::Statistics;

use super::dataset::PartFile;
use super::name::DatasetRef;
use super::partitions::{folder_value, parse_value};
use crate::error::{Error, Result, contain};
use crate::storage::Footer;

/// The columns of a dataset whose files and folders share keys.
pub(super) struct Shared {
    /// All columns: those of the files in their order, then the keys that only folders have.
    pub(super) schema: SchemaRef,
    /// The columns that are read from the files.
    pub(super) file_schema: SchemaRef,
    /// The keys that come from the folders.
    pub(super) partition_fields: Vec<FieldRef>,
}

/// Decides for each key that is also in the files where it is read from; the values of the parts are made to fit.
/// `None` where there is no such key.
pub(super) fn share_keys(
    dataset: &DatasetRef,
    base: &Path,
    file_schema: &SchemaRef,
    partition_fields: &[FieldRef],
    parts: &mut [PartFile],
) -> Result<Option<Shared>> {
    if !partition_fields.iter().any(|field| file_schema.index_of(field.name()).is_ok()) {
        return Ok(None);
    }
    let mut columns: Vec<FieldRef> = file_schema.fields().to_vec();
    let mut from_folders: Vec<FieldRef> = Vec::new();
    let mut values: Vec<Vec<ScalarValue>> = vec![Vec::new(); parts.len()];
    for (place, field) in partition_fields.iter().enumerate() {
        let Some((column, in_files)) = file_schema.fields().find(field.name()) else {
            from_folders.push(Arc::clone(field));
            for (values, part) in values.iter_mut().zip(parts.iter()) {
                values.push(part.partition_values[place].clone());
            }
            continue;
        };
        let Some(folders) = folder_values(dataset, base, in_files, parts)? else { continue };
        let has_null = folders.iter().any(ScalarValue::is_null);
        let key = Arc::new(Field::clone(in_files).with_nullable(in_files.is_nullable() || has_null));
        columns[column] = Arc::clone(&key);
        from_folders.push(key);
        for (values, value) in values.iter_mut().zip(folders) {
            values.push(value);
        }
    }
    for (part, values) in parts.iter_mut().zip(values) {
        part.partition_values = values;
    }
    let is_from_folder = |field: &&FieldRef| from_folders.iter().any(|key| key.name() == field.name());
    let is_read = |field: &&FieldRef| !is_from_folder(field);
    let read: Vec<FieldRef> = file_schema.fields().iter().filter(is_read).cloned().collect();
    let only_in_folders = from_folders.iter().filter(|key| file_schema.index_of(key.name()).is_err());
    columns.extend(only_in_folders.cloned());
    let of =
        |fields: Vec<FieldRef>| Arc::new(Schema::new_with_metadata(fields, file_schema.metadata().clone()));
    Ok(Some(Shared { schema: of(columns), file_schema: of(read), partition_fields: from_folders }))
}

/// The folders' values for a column of the files, in its type; `None` where the files' own are to be read.
fn folder_values(
    dataset: &DatasetRef,
    base: &Path,
    column: &FieldRef,
    parts: &[PartFile],
) -> Result<Option<Vec<ScalarValue>>> {
    let mut folders = Vec::with_capacity(parts.len());
    let (mut is_sure, mut is_in_all) = (true, true);
    for part in parts {
        let within = part.path.strip_prefix(base).unwrap_or(&part.path);
        let text = folder_value(within, column.name()).flatten();
        let value = parse_value(text.as_deref(), column.data_type()).ok();
        if part.footer.schema.index_of(column.name()).is_err() {
            is_in_all = false;
        } else {
            match value.as_ref().map_or(Agreement::Unknown, |value| agreement(&part.footer, column, value)) {
                Agreement::Same => {}
                Agreement::Unknown => is_sure = false,
                Agreement::Different => {
                    let (name, text) = (column.name(), text.as_deref().unwrap_or("NULL"));
                    return Err(Error::precondition(format!(
                        "dataset {dataset} contradicts itself: the folder of {} says {name}={text}, and the file has \
                         rows with another {name}; move it to the right folder, or rename the folder",
                        part.path.display()
                    )));
                }
            }
        }
        folders.push(value);
    }
    if !is_sure && is_in_all {
        return Ok(None);
    }
    let all: Option<Vec<ScalarValue>> = folders.into_iter().collect();
    all.map(Some).ok_or_else(|| {
        Error::precondition(format!(
            "dataset {dataset} has column {:?} in some of its files, and in its folders' names in texts that are no {}",
            column.name(),
            column.data_type()
        ))
    })
}

/// What a file's bounds say of its rows and its folder's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agreement {
    Same,
    Different,
    Unknown,
}

fn agreement(footer: &Footer, column: &FieldRef, value: &ScalarValue) -> Agreement {
    // A writer's damaged bounds are no reason to refuse a dataset.
    contain(|| bounds(footer, column).map(|bounds| bounds.agreement(value)))
        .ok()
        .flatten()
        .unwrap_or(Agreement::Unknown)
}

/// What the row groups of a file say of a column.
struct Bounds {
    min: ArrayRef,
    max: ArrayRef,
    nulls: UInt64Array,
    rows: Vec<u64>,
    are_exact: bool,
    are_in_order: bool,
}

fn bounds(footer: &Footer, column: &FieldRef) -> Option<Bounds> {
    let metadata = &footer.metadata;
    let stored = footer.schema.field_with_name(column.name()).ok()?;
    // Bounds of floats leave NaN out, and those of columns of another type are not to be compared.
    if stored.data_type() != column.data_type() || stored.data_type().is_floating() {
        return None;
    }
    let parquet = metadata.file_metadata().schema_descr();
    let converter = StatisticsConverter::try_new(column.name(), &footer.schema, parquet).ok()?;
    let converter = converter.with_missing_null_counts_as_zero(false);
    let groups = metadata.row_groups();
    let place = converter.parquet_column_index()?;
    let chunks = || groups.iter().map(|group| group.column(place));
    let is_text = |chunk: &ColumnChunkMetaData| {
        matches!(chunk.column_type(), Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY)
    };
    let is_exact = |chunk: &ColumnChunkMetaData| {
        let is_marked = |found: &Statistics| found.min_is_exact() && found.max_is_exact();
        !is_text(chunk) || chunk.statistics().is_some_and(is_marked)
    };
    // Old writers compared bytes as signed numbers.
    let is_in_order =
        |chunk: &ColumnChunkMetaData| chunk.statistics().is_some_and(|found| !found.is_min_max_deprecated());
    Some(Bounds {
        min: converter.row_group_mins(groups).ok()?,
        max: converter.row_group_maxes(groups).ok()?,
        nulls: converter.row_group_null_counts(groups).ok()?,
        rows: groups.iter().map(|group| u64::try_from(group.num_rows()).unwrap_or(0)).collect(),
        are_exact: chunks().all(is_exact),
        are_in_order: chunks().all(is_in_order),
    })
}

impl Bounds {
    fn agreement(&self, value: &ScalarValue) -> Agreement {
        let groups = (0..self.rows.len()).filter(|group| self.rows[*group] > 0);
        groups.map(|group| self.of_group(group, value)).fold(Agreement::Same, |all, group| {
            match (all, group) {
                (Agreement::Different, _) | (_, Agreement::Different) => Agreement::Different,
                (Agreement::Same, Agreement::Same) => Agreement::Same,
                _ => Agreement::Unknown,
            }
        })
    }

    fn of_group(&self, group: usize, value: &ScalarValue) -> Agreement {
        let nulls = self.nulls.is_valid(group).then(|| self.nulls.value(group));
        let has_values = self.min.is_valid(group);
        if value.is_null() {
            return match nulls {
                _ if has_values => Agreement::Different,
                Some(nulls) if nulls == self.rows[group] => Agreement::Same,
                _ => Agreement::Unknown,
            };
        }
        if nulls.is_some_and(|nulls| nulls > 0) {
            return Agreement::Different;
        }
        let bound = |bounds: &ArrayRef| {
            ScalarValue::try_from_array(bounds, group).ok().filter(|bound| !bound.is_null())
        };
        let (Some(min), Some(max)) = (bound(&self.min), bound(&self.max)) else { return Agreement::Unknown };
        let (min, max, value) = (plain(min), plain(max), plain(value.clone()));
        // Bounds that are cut short are never equal: the upper one is made larger.
        if min == max {
            return match nulls {
                _ if value != min => Agreement::Different,
                Some(_) => Agreement::Same,
                None => Agreement::Unknown,
            };
        }
        let is_outside = value < min || value > max;
        if self.are_in_order && (is_outside || self.are_exact) {
            Agreement::Different
        } else {
            Agreement::Unknown
        }
    }
}

/// A value as those of its kind are compared: text is text in whatever layout.
fn plain(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Dictionary(_, value) => plain(*value),
        ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => ScalarValue::Utf8(text),
        ScalarValue::LargeBinary(bytes) | ScalarValue::BinaryView(bytes) => ScalarValue::Binary(bytes),
        other => other,
    }
}

/// Whether a Delta log can have a key of this type as it is written here.
pub(super) fn is_plain_key(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_string()
        || matches!(data_type, DataType::Date32 | DataType::Boolean)
}
