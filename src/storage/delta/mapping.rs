//! Column mapping: a table whose columns are called otherwise in its files, so that they can be renamed and
//! dropped without a file being written.
//! <https://github.com/delta-io/delta/blob/master/PROTOCOL.md#column-mapping>
//!
//! In the mode `name` the files' columns are found by their physical names. In the mode `id` they are found by
//! the ids of their Parquet fields: files that another program wrote before the table became a Delta table may
//! have names of their own. A file without ids is read by the physical names there too.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use delta_kernel::table_features::TableFeature;
use deltalake_core::table::state::DeltaTableState;

use crate::storage::names::{ColumnNames, FieldName, InnerNames};

/// The property that says whether there is a mapping, and what the columns are found by.
const MODE: &str = "delta.columnMapping.mode";
const BY_ID: &str = "id";
/// What a field's metadata calls it in the files.
const PHYSICAL_NAME: &str = "delta.columnMapping.physicalName";
/// What a field's metadata numbers it with in the files.
const ID: &str = "delta.columnMapping.id";
/// What a field's metadata tells only to those who read the files.
const OF_FILES: [&str; 2] = ["delta.columnMapping.", "PARQUET:field_id"];

/// What the columns of a table, whose fields `schema` has with their metadata, are called in its files; `None`
/// where they are called the same. The property counts only where the protocol knows it.
pub(super) fn column_names(state: &DeltaTableState, schema: &Schema) -> Option<ColumnNames> {
    let protocol = state.protocol();
    let is_known = match protocol.min_reader_version() {
        2 => true,
        3 => {
            protocol.reader_features().is_some_and(|features| features.contains(&TableFeature::ColumnMapping))
        }
        _ => false,
    };
    let mode = state.metadata().configuration().get(MODE).filter(|mode| is_known && *mode != "none")?;
    Some(ColumnNames::new(field_names(schema.fields(), mode == BY_ID)))
}

fn field_names(fields: &Fields, by_id: bool) -> Vec<FieldName> {
    let name = |field: &FieldRef| FieldName {
        stored: field.metadata().get(PHYSICAL_NAME).unwrap_or(field.name()).clone(),
        id: field.metadata().get(ID).filter(|_| by_id).and_then(|id| id.parse().ok()),
        name: field.name().clone(),
        inner: inner_names(field.data_type(), by_id),
    };
    fields.iter().map(name).collect()
}

fn inner_names(data_type: &DataType, by_id: bool) -> InnerNames {
    let of = |field: &FieldRef| Box::new(inner_names(field.data_type(), by_id));
    match data_type {
        DataType::Struct(fields) => InnerNames::Struct(field_names(fields, by_id)),
        DataType::List(item) => InnerNames::List(of(item)),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => InnerNames::Map(of(&pair[0]), of(&pair[1])),
            _ => InnerNames::Plain,
        },
        _ => InnerNames::Plain,
    }
}

/// `schema` without what its fields' metadata tells of the files.
pub(super) fn without_mapping(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(plain);
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

fn plain(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(plain).collect()),
        DataType::List(item) => DataType::List(plain(item)),
        DataType::Map(entries, sorted) => DataType::Map(plain(entries), *sorted),
        other => other.clone(),
    };
    let mut metadata = field.metadata().clone();
    metadata.retain(|key, _| !OF_FILES.iter().any(|prefix| key.starts_with(prefix)));
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()).with_metadata(metadata))
}
