//! Rewriting the types of a schema at any depth.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::compute::cast;
use arrow::datatypes::{ByteViewType, DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions, write_message};

/// `field` with `rewrite` applied to its type and to all types inside of it, outermost first;
/// `rewrite` gives `None` for a type that stays.
pub fn rewrite_field(field: &FieldRef, rewrite: &impl Fn(&DataType) -> Option<DataType>) -> FieldRef {
    let data_type = rewrite_type(field.data_type(), rewrite);
    if data_type == *field.data_type() {
        return Arc::clone(field);
    }
    Arc::new(Field::clone(field).with_data_type(data_type))
}

fn rewrite_type(data_type: &DataType, rewrite: &impl Fn(&DataType) -> Option<DataType>) -> DataType {
    if let Some(other) = rewrite(data_type) {
        // What came out may have an inside that is to be rewritten too, or be rewritten again.
        return rewrite_type(&other, rewrite);
    }
    let inner = |field: &FieldRef| rewrite_field(field, rewrite);
    match data_type {
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::ListView(item) => DataType::ListView(inner(item)),
        DataType::LargeListView(item) => DataType::LargeListView(inner(item)),
        DataType::FixedSizeList(item, size) => DataType::FixedSizeList(inner(item), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(inner).collect()),
        DataType::Map(entries, sorted) => DataType::Map(inner(entries), *sorted),
        DataType::Dictionary(key, value) => {
            DataType::Dictionary(key.clone(), Box::new(rewrite_type(value, rewrite)))
        }
        DataType::RunEndEncoded(ends, values) => DataType::RunEndEncoded(Arc::clone(ends), inner(values)),
        _ => data_type.clone(),
    }
}

/// `schema` with [`rewrite_field`] applied to its fields.
fn rewrite_schema(schema: &Schema, rewrite: &impl Fn(&DataType) -> Option<DataType>) -> Schema {
    let fields: Vec<_> = schema.fields().iter().map(|field| rewrite_field(field, rewrite)).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

/// `schema` with views replaced by the plain types that hold the same values.
pub fn without_views(schema: &Schema) -> Schema {
    rewrite_schema(schema, &plain)
}

fn plain(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Utf8View => Some(DataType::Utf8),
        DataType::BinaryView => Some(DataType::Binary),
        _ => None,
    }
}

/// `schema` as Parquet can hold it: dictionaries of fixed-size binary become the values, since the
/// writer stores wrong bytes for them and the reader cannot build them. [`cast_batch`] leads both ways.
pub fn storable(schema: &Schema) -> Schema {
    let fields: Vec<_> = schema.fields().iter().map(storable_field).collect();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn storable_field(field: &FieldRef) -> FieldRef {
    let plain = |data_type: &DataType| match data_type {
        DataType::Dictionary(_, value) if matches!(**value, DataType::FixedSizeBinary(_)) => {
            Some(value.as_ref().clone())
        }
        // The writer does not know dictionaries of views at all.
        DataType::Dictionary(key, value) if **value == DataType::Utf8View => {
            Some(DataType::Dictionary(key.clone(), Box::new(DataType::Utf8)))
        }
        DataType::Dictionary(key, value) if **value == DataType::BinaryView => {
            Some(DataType::Dictionary(key.clone(), Box::new(DataType::Binary)))
        }
        _ => None,
    };
    rewrite_field(field, &plain)
}

/// `schema` as Parquet's reader should decode it: what is stored, with views inside of other types as
/// plain strings. Whoever passes rows on compacts views where each batch would carry along the whole pages
/// that its views point into, which is simple only at the top.
pub fn decodable(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8View | DataType::BinaryView => Arc::clone(field),
        _ => rewrite_field(&storable_field(field), &plain),
    });
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())
}

/// `own`, the schema of a file as its columns can be decoded, in the types of the `wanted` columns of the same
/// names where the reader gives these right away: another layout of texts or bytes, values instead of a
/// dictionary, another name of a zone.
pub fn decodable_as(own: &Schema, wanted: &Schema) -> Schema {
    let field = |field: &FieldRef| match wanted.field_with_name(field.name()) {
        Ok(wanted)
            if wanted.data_type() != field.data_type()
                && is_decodable_as(field.data_type(), wanted.data_type()) =>
        {
            Arc::new(Field::clone(field).with_data_type(wanted.data_type().clone()))
        }
        _ => Arc::clone(field),
    };
    Schema::new_with_metadata(own.fields().iter().map(field).collect::<Vec<_>>(), own.metadata().clone())
}

/// Whether Parquet's reader can give a column that is `stored` as `wanted` right away.
pub fn is_decodable_as(stored: &DataType, wanted: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Dictionary, FixedSizeList, LargeBinary, LargeList, LargeUtf8, List, Map, Struct,
        Timestamp, Utf8, Utf8View,
    };
    let is_same = |stored: &FieldRef, wanted: &FieldRef| {
        stored.name() == wanted.name()
            && stored.is_nullable() == wanted.is_nullable()
            && stored.metadata() == wanted.metadata()
            && is_decodable_as(stored.data_type(), wanted.data_type())
    };
    match (stored, wanted) {
        _ if stored == wanted => true,
        (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View)
        | (Binary | LargeBinary | BinaryView, Binary | LargeBinary | BinaryView) => true,
        (Dictionary(_, value), Utf8 | LargeUtf8 | Utf8View) => {
            matches!(**value, Utf8 | LargeUtf8 | Utf8View)
        }
        (Dictionary(_, value), Binary | LargeBinary | BinaryView) => {
            matches!(**value, Binary | LargeBinary | BinaryView)
        }
        (Timestamp(unit, Some(_)), Timestamp(other, Some(_))) => unit == other,
        (List(stored), List(wanted)) | (LargeList(stored), LargeList(wanted)) => is_same(stored, wanted),
        (FixedSizeList(stored, size), FixedSizeList(wanted, other)) => {
            size == other && is_same(stored, wanted)
        }
        (Map(stored, order), Map(wanted, other)) => order == other && is_same(stored, wanted),
        (Struct(stored), Struct(wanted)) => {
            stored.len() == wanted.len()
                && stored.iter().zip(wanted).all(|(stored, wanted)| is_same(stored, wanted))
        }
        _ => false,
    }
}

/// `stored` with maps whose keys are sorted where those of the `wanted` columns of the same names are. Delta's types
/// do not tell that, so its files do not either, and there is no cast from the one to the other.
pub fn with_order_of(stored: &Schema, wanted: &Schema) -> Schema {
    Schema::new_with_metadata(ordered_fields(stored.fields(), wanted.fields()), stored.metadata().clone())
}

fn ordered_fields(stored: &Fields, wanted: &Fields) -> Fields {
    let field = |field: &FieldRef| {
        let wanted = field.data_type().is_nested().then(|| wanted.find(field.name())).flatten();
        wanted.map_or_else(|| Arc::clone(field), |(_, wanted)| ordered(field, wanted))
    };
    stored.iter().map(field).collect()
}

fn ordered(stored: &FieldRef, wanted: &FieldRef) -> FieldRef {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView, Map, Struct};
    let data_type = match (stored.data_type(), wanted.data_type()) {
        (Map(stored, _), Map(wanted, is_sorted)) => Map(ordered_pairs(stored, wanted), *is_sorted),
        (Struct(stored), Struct(wanted)) => Struct(ordered_fields(stored, wanted)),
        (
            List(stored),
            List(wanted)
            | LargeList(wanted)
            | ListView(wanted)
            | LargeListView(wanted)
            | FixedSizeList(wanted, _),
        ) => List(ordered(stored, wanted)),
        _ => return Arc::clone(stored),
    };
    Arc::new(Field::clone(stored).with_data_type(data_type))
}

/// The entries of a map: what keys and values are called is a matter of taste.
fn ordered_pairs(stored: &FieldRef, wanted: &FieldRef) -> FieldRef {
    let (DataType::Struct(own), DataType::Struct(pair)) = (stored.data_type(), wanted.data_type()) else {
        return Arc::clone(stored);
    };
    let fields = own.iter().zip(pair).map(|(own, wanted)| ordered(own, wanted)).collect();
    Arc::new(Field::clone(stored).with_data_type(DataType::Struct(fields)))
}

/// `schema` as an encapsulated IPC message, which is what FlightInfo.schema holds.
pub fn ipc_schema(schema: &Schema) -> Vec<u8> {
    let options = IpcWriteOptions::default();
    let mut tracker = DictionaryTracker::new(false);
    let encoded =
        IpcDataGenerator::default().schema_to_bytes_with_dictionary_tracker(schema, &mut tracker, &options);
    let mut bytes = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write_message(&mut bytes, encoded, &options);
    bytes
}

/// The same rows in `schema`: each column cast to its type there, where it has another one.
pub fn cast_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        if column.data_type() == field.data_type() {
            Ok(Arc::clone(column))
        } else {
            cast(column, field.data_type())
        }
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

/// Bytes that the rows of a batch take in a message: not those of other rows that its arrays hold too, but for a little
/// of views.
pub fn batch_bytes(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(array_bytes).sum()
}

/// The same of one array.
pub fn array_bytes(column: &ArrayRef) -> usize {
    let strings = match column.data_type() {
        DataType::Utf8View => string_bytes(column.as_string_view()),
        DataType::BinaryView => string_bytes(column.as_binary_view()),
        _ => 0,
    };
    let rest = column.to_data().get_slice_memory_size();
    strings + rest.unwrap_or_else(|_| column.get_array_memory_size())
}

/// Bytes of the strings that are not in the views themselves. Few enough are not worth a look at each view.
fn string_bytes<T: ByteViewType>(views: &GenericByteViewArray<T>) -> usize {
    const FEW: usize = 16 << 10;
    let held: usize = views.data_buffers().iter().map(Buffer::len).sum();
    if held <= FEW { held } else { views.total_buffer_bytes_used() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_replaced_at_any_depth() {
        let view = |name: &str| Field::new(name, DataType::Utf8View, true);
        let inner = DataType::Struct(vec![view("a")].into());
        let list = Field::new("l", DataType::List(Arc::new(Field::new("item", inner, true))), true);
        let plain = without_views(&Schema::new(vec![view("v"), list]));
        assert!(!format!("{plain:?}").contains("View"), "{plain:?}");
    }
}
