//! Between the Arrow types that a user gave and those that a Delta table can hold.
//!
//! A column's *logical* type is the user's, its *stored* type the nearest one of Delta that loses no
//! value. Names of lists' and maps' inner fields are those that Delta's readers and Parquet expect, and
//! metadata stays out of what is stored: some of its keys have a meaning in Delta. The logical schema
//! brings all of it back.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, FixedSizeListArray, GenericListArray, GenericListViewArray,
    Int32Array, MapArray, NullArray, OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray,
    UInt64Array, make_array, new_null_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{CastOptions, cast_with_options, take};
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Field, FieldRef, Fields, Float16Type, Float32Type,
    Int32Type, Int64Type, IntervalUnit, Schema, SchemaRef, TimeUnit,
};
use arrow::error::ArrowError;
use arrow::ipc::convert::try_schema_from_ipc_buffer;
use arrow::row::{RowConverter, SortField};
use arrow::util::display::FormatOptions;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use deltalake_core::kernel::StructType;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;

use crate::error::{Error, Result, contain};
use crate::storage::types::ipc_schema;

/// The most digits of a decimal in Delta.
const MAX_PRECISION: u8 = 38;

/// A value that does not fit is an error, not NULL.
const STRICT: CastOptions<'_> = CastOptions { safe: false, format_options: FormatOptions::new() };

/// The schema that a Delta table stores for the user's `schema`, or an error that names the column that
/// Delta cannot hold.
pub fn delta_types(schema: &Schema) -> Result<Schema> {
    let fields = schema.fields().iter().map(|field| {
        stored_field(field, field.name()).map_err(|why| {
            let (name, data_type) = (field.name(), field.data_type());
            Error::invalid(format!(
                "Delta cannot hold column {name:?} of type {data_type}: {why}; cast it first"
            ))
        })
    });
    Ok(Schema::new(fields.collect::<Result<Vec<_>>>()?))
}

/// What is wrong with a type is told as a clause.
type Why = String;

fn stored_field(field: &Field, name: &str) -> Result<Field, Why> {
    let stored = stored_type(field.data_type())?;
    // Of a column of NULLs nobody asks whether it is declared so.
    let nullable = field.is_nullable() || *field.data_type() == DataType::Null;
    Ok(Field::new(name, stored, nullable))
}

fn stored_type(data_type: &DataType) -> Result<DataType, Why> {
    Ok(match data_type {
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 | DataType::Time32(_) | DataType::Interval(IntervalUnit::YearMonth) => {
            DataType::Int32
        }
        // Delta's timestamps count microseconds, so one of nanoseconds is kept as a number.
        DataType::Timestamp(TimeUnit::Nanosecond, _)
        | DataType::UInt32
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Date64 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Timestamp(_, zone) => {
            DataType::Timestamp(TimeUnit::Microsecond, zone.as_ref().map(|_| "UTC".into()))
        }
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => stored_decimal(*precision, *scale)?,
        DataType::Dictionary(_, value) => stored_type(plain(value)?)?,
        DataType::RunEndEncoded(_, values) => stored_type(plain(values.data_type())?)?,
        DataType::Interval(_) => return Err("it has no such interval".to_owned()),
        DataType::Union(..) => return Err("it has no unions".to_owned()),
        _ => return stored_nested(data_type),
    })
}

fn stored_decimal(precision: u8, scale: i8) -> Result<DataType, Why> {
    match u8::try_from(scale) {
        Err(_) => Err("its decimals have no negative scale".to_owned()),
        Ok(digits) if precision > MAX_PRECISION || digits > precision => {
            Err(format!("its decimals have at most {MAX_PRECISION} digits, the scale's among them"))
        }
        Ok(_) => Ok(DataType::Decimal128(precision, scale)),
    }
}

/// The type of encoded values, which are plain ones: encodings of lists or of encodings cannot be made
/// again from what is stored.
fn plain(values: &DataType) -> Result<&DataType, Why> {
    match values {
        DataType::Null | DataType::Dictionary(..) | DataType::RunEndEncoded(..) => {
            Err(format!("encoded values of type {values} cannot be made again"))
        }
        values if values.is_nested() => {
            Err("encoded lists, maps and structs cannot be made again".to_owned())
        }
        values => Ok(values),
    }
}

fn stored_nested(data_type: &DataType) -> Result<DataType, Why> {
    match data_type {
        // Arrow forgets in places how many there are of them.
        DataType::FixedSizeList(_, 0) => Err("a list of no items tells nothing".to_owned()),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Ok(DataType::List(Arc::new(stored_field(item, "element")?))),
        DataType::Struct(fields) if fields.is_empty() => Err("a struct needs a field".to_owned()),
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| stored_field(field, field.name()));
            Ok(DataType::Struct(fields.collect::<Result<Vec<_>, _>>()?.into()))
        }
        DataType::Map(entries, _) => {
            let DataType::Struct(fields) = entries.data_type() else {
                return Err("its entries are no pairs".to_owned());
            };
            let [key, value] = &fields[..] else { return Err("its entries are no pairs".to_owned()) };
            if *key.data_type() == DataType::Null {
                return Err("a key is never NULL".to_owned());
            }
            let key = stored_field(key, "key")?.with_nullable(false);
            let pair = DataType::Struct(vec![key, stored_field(value, "value")?].into());
            Ok(DataType::Map(Arc::new(Field::new("key_value", pair, false)), false))
        }
        other => Err(format!("there is no such type as {other}")),
    }
}

/// The rows of `batch`, which has the logical types, in the schema that is `stored`. A value that the
/// stored type cannot hold is an error that names the column.
pub fn to_stored(batch: &RecordBatch, stored: &SchemaRef) -> Result<RecordBatch> {
    convert_batch(batch, stored)
        .map_err(|(column, why)| Error::invalid(format!("cannot store a value of {column}: {why}")))
}

/// The rows of `batch`, which has the stored types, in the `logical` schema. Other writers of the table may
/// have put in values that the logical type cannot hold: an error that names the column.
pub fn to_logical(batch: &RecordBatch, logical: &SchemaRef) -> Result<RecordBatch> {
    convert_batch(batch, logical).map_err(|(column, why)| {
        Error::precondition(format!("{column} holds a value that its declared type cannot: {why}"))
    })
}

/// The error is the column, or what stands for it, and the reason.
fn convert_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, (String, String)> {
    let all = |why: String| ("the columns".to_owned(), why);
    if batch.num_columns() != schema.fields().len() {
        return Err(all(format!("there are {}, not {}", batch.num_columns(), schema.fields().len())));
    }
    let columns = batch.columns().iter().zip(schema.fields()).map(|(column, field)| {
        let converted = contain(|| convert(column, field.data_type()));
        converted
            .and_then(|converted| converted.map_err(|error| error.to_string()))
            .map_err(|why| (format!("column {:?}", field.name()), why))
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
        .map_err(|error| all(error.to_string()))
}

/// `array` as `to`. Arrow's own cast does the leaves that it knows; of nested types it would convert values
/// that no slot holds, refuse other names of inner fields in places, and shift timestamps that get a zone.
fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let from = array.data_type();
    match (from, to) {
        _ if from == to => Ok(Arc::clone(array)),
        (DataType::Null, _) => Ok(new_null_array(to, array.len())),
        (_, DataType::Null) => nothing(array),
        (DataType::Dictionary(..), _) => {
            let encoded = array.as_any_dictionary();
            convert(&take(encoded.values(), encoded.keys(), None)?, to)
        }
        (DataType::RunEndEncoded(_, values), _) => {
            convert(&cast_with_options(array, values.data_type(), &STRICT)?, to)
        }
        (_, DataType::Dictionary(_, values)) => dictionary(&convert(array, values)?, to),
        (_, DataType::RunEndEncoded(_, values)) => {
            let runs = cast_with_options(&convert(array, values.data_type())?, to, &STRICT)?;
            relabel(&runs, to)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => structs(array.as_struct(), fields),
        _ if counts_alike(from, to) => retimed(array, to),
        (from, DataType::Float32 | DataType::Float64) if from.is_integer() => floats(array, to),
        (DataType::Float32, DataType::Float16) => halves(array),
        _ if backing(from).is_some() && backing(from) == backing(to) => relabel(array, to),
        _ => match Lists::of(array) {
            Some(lists) => lists?.build(to),
            None => cast_with_options(array, to, &STRICT),
        },
    }
}

fn nothing(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if array.logical_null_count() < array.len() {
        return Err(ArrowError::CastError("there are values where only NULL can be".to_owned()));
    }
    Ok(Arc::new(NullArray::new(array.len())))
}

/// The plain type whose bytes a type has, if they mean the same number.
fn backing(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Int32 | DataType::Time32(_) | DataType::Interval(IntervalUnit::YearMonth) => {
            Some(DataType::Int32)
        }
        DataType::Int64
        | DataType::Time64(_)
        | DataType::Duration(_)
        | DataType::Date64
        | DataType::Timestamp(TimeUnit::Nanosecond, _) => Some(DataType::Int64),
        _ => None,
    }
}

/// The same buffers under another type of the same layout.
fn relabel(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(make_array(array.to_data().into_builder().data_type(to.clone()).build()?))
}

/// How many nanoseconds one is of what a type of moments, times or durations counts.
fn nanos(data_type: &DataType) -> Option<i64> {
    let of = |unit: TimeUnit| match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1000,
        TimeUnit::Nanosecond => 1,
    };
    match data_type {
        DataType::Timestamp(unit, _)
        | DataType::Time32(unit)
        | DataType::Time64(unit)
        | DataType::Duration(unit) => Some(of(*unit)),
        DataType::Date64 => Some(of(TimeUnit::Millisecond)),
        DataType::Date32 => Some(86_400 * of(TimeUnit::Second)),
        _ => None,
    }
}

/// Whether what two such types count differs in units only.
fn counts_alike(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Date64, Duration, Time32, Time64, Timestamp};
    matches!(
        (from, to),
        (Timestamp(..), Timestamp(..))
            | (Date32 | Date64, Timestamp(_, None))
            | (Timestamp(_, None), Date32 | Date64)
            | (Date32, Date64)
            | (Date64, Date32)
            | (Time32(_) | Time64(_), Time32(_) | Time64(_))
            | (Duration(_), Duration(_))
    )
}

/// What counts time in the unit of `to`.
fn retimed(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let (Some(from), Some(unit)) = (nanos(array.data_type()), nanos(to)) else {
        return Err(ArrowError::CastError(format!("{to} counts no time")));
    };
    let widened = |array: &ArrayRef| match array.data_type() {
        DataType::Date32 | DataType::Time32(_) => {
            cast_with_options(&relabel(array, &DataType::Int32)?, &DataType::Int64, &STRICT)
        }
        _ => relabel(array, &DataType::Int64),
    };
    let ticks = rescale(&widened(array)?, from, unit)?;
    match to {
        DataType::Date32 | DataType::Time32(_) => {
            relabel(&cast_with_options(&ticks, &DataType::Int32, &STRICT)?, to)
        }
        _ => relabel(&ticks, to),
    }
}

/// `ticks` of `from` nanoseconds as such of `to` nanoseconds, none of them wrapped or rounded.
fn rescale(ticks: &ArrayRef, from: i64, to: i64) -> Result<ArrayRef, ArrowError> {
    if from == to {
        return Ok(Arc::clone(ticks));
    }
    let exact = |tick: i64| {
        let nanos = i128::from(tick) * i128::from(from);
        let other = nanos / i128::from(to);
        let is_whole = nanos % i128::from(to) == 0;
        i64::try_from(other).ok().filter(|_| is_whole).ok_or_else(|| {
            ArrowError::CastError(format!("the time {tick} (of {from} ns) is no whole number of {to} ns"))
        })
    };
    Ok(Arc::new(ticks.as_primitive::<Int64Type>().try_unary::<_, Int64Type, _>(exact)?))
}

/// Integers as floats, where Arrow's cast would round.
fn floats(array: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let floats = cast_with_options(array, to, &STRICT)?;
    // What was rounded up beyond the largest integer has no way back at all.
    match cast_with_options(&floats, array.data_type(), &STRICT) {
        Ok(back) if back.to_data() == array.to_data() => Ok(floats),
        _ => Err(ArrowError::CastError(format!("an integer has more digits than {to} keeps"))),
    }
}

/// Floats as halves, where Arrow's cast would round and overflow to infinity.
fn halves(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let exact = |value: f32| {
        let half = <Float16Type as ArrowPrimitiveType>::Native::from_f32(value);
        let same = half.to_f32().total_cmp(&value).is_eq() || value.is_nan();
        same.then_some(half).ok_or_else(|| ArrowError::CastError(format!("{value} is no 16-bit float")))
    };
    Ok(Arc::new(array.as_primitive::<Float32Type>().try_unary::<_, Float16Type, _>(exact)?))
}

/// Structs, field by field. A file can have other fields than the table has by now: those that it lacks are NULL.
fn structs(array: &StructArray, fields: &Fields) -> Result<ArrayRef, ArrowError> {
    let is_same = array.fields().iter().map(|field| field.name()).eq(fields.iter().map(|field| field.name()));
    let columns = fields.iter().enumerate().map(|(place, field)| {
        let column = if is_same { Some(array.column(place)) } else { array.column_by_name(field.name()) };
        let Some(column) = column else { return Ok(new_null_array(field.data_type(), array.len())) };
        struct_column(array, column, field)
    });
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let nulls = array.nulls().cloned();
    Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, array.len())?))
}

/// The keys and values of a map: what they are called is a matter of taste.
fn pairs(array: &StructArray, fields: &Fields) -> Result<StructArray, ArrowError> {
    let columns =
        array.columns().iter().zip(fields).map(|(column, field)| struct_column(array, column, field));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    StructArray::try_new_with_length(fields.clone(), columns, array.nulls().cloned(), array.len())
}

fn struct_column(array: &StructArray, column: &ArrayRef, field: &Field) -> Result<ArrayRef, ArrowError> {
    if column.data_type() == field.data_type() {
        return Ok(Arc::clone(column));
    }
    convert(&masked(column, array.nulls())?, field.data_type())
}

/// `column` with NULL where the struct that it is in is NULL: what it has there is nobody's and may not fit.
fn masked(column: &ArrayRef, outer: Option<&NullBuffer>) -> Result<ArrayRef, ArrowError> {
    let bare = matches!(column.data_type(), DataType::Null | DataType::RunEndEncoded(..));
    if bare || outer.is_none_or(|nulls| nulls.null_count() == 0) {
        return Ok(Arc::clone(column));
    }
    let nulls = NullBuffer::union(outer, column.nulls());
    Ok(make_array(column.to_data().into_builder().nulls(nulls).build()?))
}

/// `values` encoded as the dictionary type `to`. Arrow's cast does not know all types of values.
fn dictionary(values: &ArrayRef, to: &DataType) -> Result<ArrayRef, ArrowError> {
    let data_type = values.data_type();
    if data_type.is_integer() || data_type.is_string() || data_type.is_binary() {
        return cast_with_options(values, to, &STRICT);
    }
    let rows = RowConverter::new(vec![SortField::new(data_type.clone())])?;
    let rows = rows.convert_columns(&[Arc::clone(values)])?;
    let (mut known, mut firsts, mut keys) = (HashMap::new(), Vec::new(), Vec::with_capacity(values.len()));
    for (index, row) in rows.iter().enumerate() {
        let key = values.is_valid(index).then(|| {
            *known.entry(row).or_insert_with(|| {
                firsts.push(index as u64);
                firsts.len() - 1
            })
        });
        let key = key.map(i32::try_from).transpose();
        keys.push(key.map_err(|_| ArrowError::DictionaryKeyOverflowError)?);
    }
    let distinct = take(values, &UInt64Array::from(firsts), None)?;
    let encoded = DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), distinct)?;
    cast_with_options(&encoded, to, &STRICT)
}

/// Lists of any kind, or maps, as one array of their values, one after the other and without any that no
/// slot holds.
struct Lists {
    values: ArrayRef,
    /// Of each slot; 0 where it is NULL.
    lengths: Vec<usize>,
    nulls: Option<NullBuffer>,
}

impl Lists {
    /// `None` if `array` is none of them.
    fn of(array: &ArrayRef) -> Option<Result<Self, ArrowError>> {
        let (values, spans) = match array.data_type() {
            DataType::List(_) => listed(array.as_list::<i32>()),
            DataType::LargeList(_) => listed(array.as_list::<i64>()),
            DataType::ListView(_) => viewed(array.as_list_view::<i32>()),
            DataType::LargeListView(_) => viewed(array.as_list_view::<i64>()),
            DataType::FixedSizeList(..) => {
                let lists = array.as_fixed_size_list();
                let width = lists.value_length().as_usize();
                let spans = (0..lists.len()).map(|slot| (lists.value_offset(slot).as_usize(), width));
                (Arc::clone(lists.values()), spans.collect())
            }
            DataType::Map(..) => {
                let maps = array.as_map();
                (Arc::new(maps.entries().clone()) as ArrayRef, between(maps.offsets()))
            }
            _ => return None,
        };
        Some(Self::gather(&values, spans, array.nulls().cloned()))
    }

    /// Lists whose slots are `spans` (start and length) of `values`.
    fn gather(
        values: &ArrayRef,
        mut spans: Vec<(usize, usize)>,
        nulls: Option<NullBuffer>,
    ) -> Result<Self, ArrowError> {
        for (slot, span) in spans.iter_mut().enumerate() {
            if nulls.as_ref().is_some_and(|nulls| nulls.is_null(slot)) {
                span.1 = 0;
            }
        }
        let filled = || spans.iter().filter(|(_, length)| *length > 0);
        let lengths: Vec<usize> = spans.iter().map(|(_, length)| *length).collect();
        let total = lengths.iter().sum();
        let first = filled().next().map_or(0, |(start, _)| *start);
        let in_order =
            filled().try_fold(first, |next, (start, length)| (*start == next).then(|| next + length));
        let values = if in_order.is_some() {
            values.slice(first, total)
        } else {
            let held = filled().flat_map(|(start, length)| *start as u64..(start + length) as u64);
            take(values, &UInt64Array::from_iter_values(held), None)?
        };
        Ok(Self { values, lengths, nulls })
    }

    /// These lists as the type `to`.
    fn build(self, to: &DataType) -> Result<ArrayRef, ArrowError> {
        Ok(match to {
            DataType::List(item) => self.list::<i32>(item)?,
            DataType::LargeList(item) => self.list::<i64>(item)?,
            DataType::ListView(item) => self.view::<i32>(item)?,
            DataType::LargeListView(item) => self.view::<i64>(item)?,
            DataType::FixedSizeList(item, width) => self.fixed(item, *width)?,
            DataType::Map(entries, sorted) => {
                let DataType::Struct(fields) = entries.data_type() else {
                    return Err(ArrowError::CastError("a map's entries are pairs".to_owned()));
                };
                let values = self.values.as_struct_opt();
                let values = values.ok_or_else(|| ArrowError::CastError(format!("a list is no {to}")))?;
                let pairs = pairs(values, fields)?;
                let offsets = offsets(&self.lengths)?;
                Arc::new(MapArray::try_new(Arc::clone(entries), offsets, pairs, self.nulls, *sorted)?)
            }
            other => return Err(ArrowError::CastError(format!("a list is no {other}"))),
        })
    }

    fn list<O: OffsetSizeTrait>(self, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
        let values = convert(&self.values, item.data_type())?;
        let offsets = offsets::<O>(&self.lengths)?;
        Ok(Arc::new(GenericListArray::try_new(Arc::clone(item), offsets, values, self.nulls)?))
    }

    fn view<O: OffsetSizeTrait>(self, item: &FieldRef) -> Result<ArrayRef, ArrowError> {
        let values = convert(&self.values, item.data_type())?;
        let offsets = offsets::<O>(&self.lengths)?;
        let sizes: ScalarBuffer<O> = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let starts = offsets.slice(0, self.lengths.len()).into_inner().slice(0, self.lengths.len());
        Ok(Arc::new(GenericListViewArray::try_new(Arc::clone(item), starts, sizes, values, self.nulls)?))
    }

    fn fixed(self, item: &FieldRef, width: i32) -> Result<ArrayRef, ArrowError> {
        let (slots, each) = (self.lengths.len(), width.as_usize());
        let is_null = |slot| self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(slot));
        if let Some(slot) = (0..slots).find(|slot| self.lengths[*slot] != each && !is_null(*slot)) {
            let length = self.lengths[slot];
            return Err(ArrowError::CastError(format!("a list has {length} items, not {width}")));
        }
        let mut values = Arc::clone(&self.values);
        if values.len() < slots * each {
            // NULL takes up as many items as any other list. Plain values are the ones that can be padded.
            let mut held = 0..;
            let padded = (0..slots).flat_map(|slot| std::iter::repeat_n(is_null(slot), each));
            let padded: UInt64Array = padded.map(|null| if null { None } else { held.next() }).collect();
            values = take(&values, &padded, None)?;
        }
        let values = convert(&values, item.data_type())?;
        let (item, nulls) = (Arc::clone(item), self.nulls.clone());
        Ok(Arc::new(FixedSizeListArray::try_new_with_length(item, width, values, nulls, slots)?))
    }
}

fn listed<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> (ArrayRef, Vec<(usize, usize)>) {
    (Arc::clone(lists.values()), between(lists.offsets()))
}

fn viewed<O: OffsetSizeTrait>(lists: &GenericListViewArray<O>) -> (ArrayRef, Vec<(usize, usize)>) {
    let spans = lists.offsets().iter().zip(lists.sizes());
    (Arc::clone(lists.values()), spans.map(|(start, size)| (start.as_usize(), size.as_usize())).collect())
}

fn between<O: OffsetSizeTrait>(offsets: &OffsetBuffer<O>) -> Vec<(usize, usize)> {
    offsets.windows(2).map(|pair| (pair[0].as_usize(), (pair[1] - pair[0]).as_usize())).collect()
}

/// Offsets of lists of these lengths, or an error if they are too many for the offsets' type.
fn offsets<O: OffsetSizeTrait>(lengths: &[usize]) -> Result<OffsetBuffer<O>, ArrowError> {
    let mut next = 0;
    let ends = lengths.iter().map(|length| {
        next += length;
        O::from_usize(next).ok_or(ArrowError::OffsetOverflowError(next))
    });
    let offsets = std::iter::once(Ok(O::zero())).chain(ends).collect::<Result<Vec<_>, _>>()?;
    Ok(OffsetBuffer::new(offsets.into()))
}

/// The schema of the Delta table whose Arrow schema is `stored`.
pub(super) fn struct_type(stored: &Schema) -> Result<StructType> {
    stored.try_into_kernel().map_err(|error: ArrowError| {
        Error::invalid(format!("Delta cannot hold these columns: {error}")).with_source(error)
    })
}

/// Whether the table needs the feature `timestampNtz`. The library finds out by itself when it creates a
/// table, except for timestamps inside of maps; the property `delta.feature.timestampNtz` tells it.
pub(super) fn needs_timestamp_ntz(stored: &Schema) -> bool {
    let ntz = DataType::Timestamp(TimeUnit::Microsecond, None);
    stored.flattened_fields().iter().any(|field| *field.data_type() == ntz)
}

/// `schema` as a text that a table property can hold: nothing of it is lost, metadata included.
pub(super) fn logical_text(schema: &Schema) -> String {
    STANDARD.encode(ipc_schema(schema))
}

/// The schema of a [`logical_text`].
pub(super) fn parse_logical(text: &str) -> Result<Schema> {
    let damaged = |why: String| Error::data_loss(format!("the table's Arrow schema is damaged: {why}"));
    let bytes = STANDARD.decode(text).map_err(|error| damaged(error.to_string()))?;
    contain(|| try_schema_from_ipc_buffer(&bytes))
        .map_err(&damaged)?
        .map_err(|error| damaged(error.to_string()).with_source(error))
}

#[cfg(test)]
mod tests {
    use arrow::array::{BinaryArray, BooleanArray, Int64Array, StringArray};
    use arrow::datatypes::{
        Float64Type, Int8Type, Int16Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type, UnionFields,
        UnionMode,
    };
    use bytes::Bytes;
    use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow as _;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    /// Numbers that look random, from a seed that proptest chooses.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }

        fn below(&mut self, end: usize) -> usize {
            usize::try_from(self.next() % end as u64).unwrap()
        }

        /// Any integer of 64 bits, often an extreme one.
        fn integer(&mut self) -> i64 {
            match self.next() % 8 {
                0 => i64::MIN,
                1 => i64::MAX,
                2 => 0,
                3 => -1,
                _ => self.next().cast_signed() >> (self.next() % 64),
            }
        }

        fn nulls(&mut self, len: usize, nullable: bool) -> Option<NullBuffer> {
            nullable.then(|| (0..len).map(|_| !self.next().is_multiple_of(4)).collect())
        }
    }

    fn primitive<T: ArrowPrimitiveType>(
        numbers: &mut Numbers,
        len: usize,
        nullable: bool,
        native: impl Fn(i64) -> T::Native,
    ) -> ArrayRef {
        let values: Vec<T::Native> = (0..len).map(|_| native(numbers.integer())).collect();
        let nulls = numbers.nulls(len, nullable);
        Arc::new(arrow::array::PrimitiveArray::<T>::new(values.into(), nulls))
    }

    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        clippy::too_many_lines
    )]
    fn leaf(data_type: &DataType, len: usize, nullable: bool, n: &mut Numbers) -> ArrayRef {
        let text = |n: &mut Numbers| -> StringArray {
            let texts =
                (0..len).map(|_| (!nullable || !n.next().is_multiple_of(4)).then(|| "äb".repeat(n.below(9))));
            texts.collect()
        };
        match data_type {
            DataType::Boolean => {
                let values = (0..len).map(|_| n.next().is_multiple_of(2)).collect();
                Arc::new(BooleanArray::new(values, n.nulls(len, nullable)))
            }
            DataType::Int8 => primitive::<Int8Type>(n, len, nullable, |v| v as i8),
            DataType::Int16 => primitive::<Int16Type>(n, len, nullable, |v| v as i16),
            DataType::Int32 => primitive::<Int32Type>(n, len, nullable, |v| v as i32),
            DataType::Int64 => primitive::<Int64Type>(n, len, nullable, |v| v),
            DataType::UInt8 => primitive::<UInt8Type>(n, len, nullable, |v| v as u8),
            DataType::UInt16 => primitive::<UInt16Type>(n, len, nullable, |v| v as u16),
            DataType::UInt32 => primitive::<UInt32Type>(n, len, nullable, |v| v as u32),
            DataType::UInt64 => primitive::<UInt64Type>(n, len, nullable, |v| v as u64),
            DataType::Float16 => primitive::<Float16Type>(n, len, nullable, |v| {
                let half = <Float16Type as ArrowPrimitiveType>::Native::from_bits(v as u16);
                if half.is_nan() { <Float16Type as ArrowPrimitiveType>::Native::NEG_INFINITY } else { half }
            }),
            DataType::Float32 => primitive::<Float32Type>(n, len, nullable, |v| f32::from_bits(v as u32)),
            DataType::Float64 => primitive::<Float64Type>(n, len, nullable, |v| f64::from_bits(v as u64)),
            DataType::Date32 => {
                relabel(&primitive::<Int32Type>(n, len, nullable, |v| v as i32), data_type).unwrap()
            }
            DataType::Timestamp(unit, _) => {
                let micros = nanos(data_type).unwrap() / 1000;
                let most = if *unit == TimeUnit::Nanosecond { i64::MAX } else { i64::MAX / micros };
                relabel(&primitive::<Int64Type>(n, len, nullable, |v| v.clamp(-most, most)), data_type)
                    .unwrap()
            }
            DataType::Decimal32(precision, _)
            | DataType::Decimal64(precision, _)
            | DataType::Decimal128(precision, _)
            | DataType::Decimal256(precision, _) => {
                let (precision, largest) = (*precision, 10_i128.pow(u32::from(*precision)) - 1);
                let values = (0..len).map(|_| match n.next() % 4 {
                    0 => largest,
                    1 => -largest,
                    _ => i128::from(n.integer()) * i128::from(n.integer()) % largest,
                });
                let values: Vec<_> = values.collect();
                let whole = arrow::array::Decimal128Array::new(values.into(), n.nulls(len, nullable));
                let scale = match data_type {
                    DataType::Decimal32(_, s)
                    | DataType::Decimal64(_, s)
                    | DataType::Decimal128(_, s)
                    | DataType::Decimal256(_, s) => *s,
                    _ => unreachable!(),
                };
                let scaled: ArrayRef = Arc::new(whole.with_precision_and_scale(precision, scale).unwrap());
                cast_with_options(&scaled, data_type, &STRICT).unwrap()
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => {
                cast_with_options(&text(n), data_type, &STRICT).unwrap()
            }
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                cast_with_options(&BinaryArray::from(text(n)), data_type, &STRICT).unwrap()
            }
            DataType::FixedSizeBinary(width) => {
                let bytes: Vec<u8> = (0..len * width.as_usize()).map(|_| n.next() as u8).collect();
                let nulls = n.nulls(len, nullable);
                Arc::new(arrow::array::FixedSizeBinaryArray::new(*width, bytes.into(), nulls))
            }
            other => {
                let plain = leaf(&backing(other).unwrap(), len, nullable, n);
                relabel(&plain, other).unwrap()
            }
        }
    }

    /// Values of any type that can be stored, with NULLs where `nullable`.
    fn random(data_type: &DataType, len: usize, nullable: bool, n: &mut Numbers) -> ArrayRef {
        match data_type {
            DataType::Null => Arc::new(NullArray::new(len)),
            DataType::Dictionary(_, values) => {
                dictionary(&leaf(values, len, nullable, n), data_type).unwrap()
            }
            DataType::RunEndEncoded(_, values) => {
                let plain = leaf(values.data_type(), len, nullable, n);
                let twice = UInt64Array::from_iter_values((0..len as u64).map(|slot| slot / 2));
                let plain = take(&plain, &twice, None).unwrap();
                relabel(&cast_with_options(&plain, data_type, &STRICT).unwrap(), data_type).unwrap()
            }
            DataType::Struct(fields) => {
                let columns =
                    fields.iter().map(|field| random(field.data_type(), len, field.is_nullable(), n));
                let columns = columns.collect();
                let nulls = n.nulls(len, nullable);
                Arc::new(StructArray::try_new_with_length(fields.clone(), columns, nulls, len).unwrap())
            }
            DataType::FixedSizeList(item, width) => {
                let values = random(item.data_type(), len * width.as_usize(), item.is_nullable(), n);
                let nulls = n.nulls(len, nullable);
                let lists =
                    FixedSizeListArray::try_new_with_length(Arc::clone(item), *width, values, nulls, len);
                Arc::new(lists.unwrap())
            }
            DataType::ListView(item) | DataType::LargeListView(item) => {
                // Slots out of order, that share values.
                let values = random(item.data_type(), 6, item.is_nullable(), n);
                let starts: Vec<i32> = (0..len).map(|_| i32::try_from(n.below(4)).unwrap()).collect();
                let sizes: Vec<i32> = (0..len).map(|_| i32::try_from(n.below(3)).unwrap()).collect();
                let nulls = n.nulls(len, nullable);
                let views = arrow::array::ListViewArray::new(
                    Arc::clone(item),
                    starts.into(),
                    sizes.into(),
                    values,
                    nulls,
                );
                let views: ArrayRef = Arc::new(views);
                cast_with_options(&views, data_type, &STRICT).unwrap()
            }
            DataType::List(item) | DataType::LargeList(item) | DataType::Map(item, _) => {
                let lengths: Vec<usize> = (0..len).map(|_| n.below(4)).collect();
                let values = random(item.data_type(), lengths.iter().sum(), item.is_nullable(), n);
                let nulls = n.nulls(len, nullable);
                let item = Arc::clone(item);
                match data_type {
                    DataType::List(_) => {
                        let offsets = offsets::<i32>(&lengths).unwrap();
                        Arc::new(GenericListArray::<i32>::new(item, offsets, values, nulls))
                    }
                    DataType::LargeList(_) => {
                        let offsets = offsets::<i64>(&lengths).unwrap();
                        Arc::new(GenericListArray::<i64>::new(item, offsets, values, nulls))
                    }
                    DataType::Map(_, sorted) => {
                        let pairs = values.as_struct().clone();
                        let offsets = offsets(&lengths).unwrap();
                        Arc::new(MapArray::new(item, offsets, pairs, nulls, *sorted))
                    }
                    _ => unreachable!(),
                }
            }
            other => leaf(other, len, nullable, n),
        }
    }

    fn leaves() -> Vec<DataType> {
        use DataType::*;
        let mut all = vec![
            Boolean,
            Int8,
            Int16,
            Int32,
            Int64,
            UInt8,
            UInt16,
            UInt32,
            UInt64,
            Float16,
            Float32,
            Float64,
            Utf8,
            LargeUtf8,
            Utf8View,
            Binary,
            LargeBinary,
            BinaryView,
            FixedSizeBinary(5),
            Date32,
            Date64,
            Time32(TimeUnit::Second),
            Time32(TimeUnit::Millisecond),
            Time64(TimeUnit::Microsecond),
            Time64(TimeUnit::Nanosecond),
            Interval(IntervalUnit::YearMonth),
            Decimal32(7, 3),
            Decimal64(18, 0),
            Decimal128(38, 10),
            Decimal128(5, 5),
            Decimal256(38, 38),
            Decimal256(20, 2),
        ];
        for unit in [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond] {
            all.push(Duration(unit));
            for zone in [None, Some("UTC"), Some("Europe/Berlin"), Some("+05:30")] {
                all.push(Timestamp(unit, zone.map(Into::into)));
            }
        }
        all
    }

    fn encoded() -> Vec<DataType> {
        let mut all = vec![DataType::Null];
        for value in leaves() {
            let keys = [DataType::Int8, DataType::UInt16, DataType::Int64];
            all.extend(keys.map(|key| DataType::Dictionary(Box::new(key), Box::new(value.clone()))));
            for ends in [DataType::Int16, DataType::Int64] {
                let ends = Arc::new(Field::new("run_ends", ends, false));
                all.push(DataType::RunEndEncoded(ends, Arc::new(Field::new("own", value.clone(), true))));
            }
        }
        all
    }

    fn any_type() -> impl Strategy<Value = DataType> {
        let plain = proptest::sample::select(leaves());
        let flat = prop_oneof![2 => plain.clone(), 1 => proptest::sample::select(encoded())];
        flat.prop_recursive(2, 8, 3, move |inner| {
            let key = plain.clone();
            let field = |name: &'static str| {
                inner.clone().prop_flat_map(move |data_type| {
                    any::<bool>().prop_map(move |nullable| {
                        // Encoded values have NULLs of their own.
                        let encoded = matches!(data_type, DataType::RunEndEncoded(..) | DataType::Null);
                        let note = HashMap::from([("note".to_owned(), name.to_owned())]);
                        Field::new(name, data_type.clone(), nullable || encoded).with_metadata(note)
                    })
                })
            };
            let item = || field("item").prop_map(Arc::new);
            prop_oneof![
                item().prop_map(DataType::List),
                item().prop_map(DataType::LargeList),
                item().prop_map(DataType::ListView),
                item().prop_map(DataType::LargeListView),
                (item(), 1..4_i32).prop_map(|(item, width)| DataType::FixedSizeList(item, width)),
                (field("a"), field("b")).prop_map(|(a, b)| DataType::Struct(vec![a, b].into())),
                (key, field("v"), any::<bool>()).prop_map(|(key, value, sorted)| {
                    let pair = DataType::Struct(vec![Field::new("k", key, false), value].into());
                    DataType::Map(Arc::new(Field::new("entries", pair, false)), sorted)
                }),
            ]
        })
    }

    /// A batch with a column of each type, and the same without its first and last rows.
    fn batches(types: &[DataType], rows: usize, seed: u64) -> [RecordBatch; 2] {
        let mut numbers = Numbers(seed);
        let fields = types
            .iter()
            .enumerate()
            .map(|(index, data_type)| Field::new(format!("c{index}"), data_type.clone(), true));
        let schema = Schema::new(fields.collect::<Vec<_>>());
        let columns = types.iter().map(|data_type| random(data_type, rows, true, &mut numbers)).collect();
        let batch = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let slice = batch.slice(1.min(rows), rows.saturating_sub(2));
        [batch, slice]
    }

    fn in_parquet(batch: &RecordBatch) -> RecordBatch {
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
        writer.write(batch).unwrap();
        writer.close().unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(bytes)).unwrap();
        let read: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
        arrow::compute::concat_batches(&batch.schema(), &read).unwrap()
    }

    fn returns(batch: &RecordBatch) {
        let stored = Arc::new(delta_types(&batch.schema()).unwrap());
        let table = struct_type(&stored).unwrap();
        let read: Schema = (&table).try_into_arrow().unwrap();
        assert_eq!(read, *stored, "Delta has these types by other names");
        let kept = to_stored(batch, &stored).unwrap();
        assert_eq!(to_logical(&kept, &batch.schema()).unwrap(), *batch);
        let read = in_parquet(&kept);
        assert_eq!(to_logical(&read, &batch.schema()).unwrap(), *batch);
        assert_eq!(parse_logical(&logical_text(&batch.schema())).unwrap(), *batch.schema());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(192))]
        #[test]
        fn what_is_stored_comes_back(
            types in proptest::collection::vec(any_type(), 1..4),
            rows in 0..20_usize,
            seed: u64,
        ) {
            batches(&types, rows, seed).iter().for_each(returns);
        }
    }

    #[test]
    fn every_type_comes_back() {
        let types: Vec<_> = leaves().into_iter().chain(encoded()).collect();
        batches(&types, 40, 1).iter().for_each(returns);
    }

    fn refusal(data_type: DataType) -> String {
        let error = delta_types(&Schema::new(vec![Field::new("odd", data_type, true)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("\"odd\"") && error.message().ends_with("cast it first"), "{error}");
        error.message().to_owned()
    }

    #[test]
    fn what_delta_cannot_hold_is_named() {
        let list = DataType::new_list(DataType::Int32, true);
        for data_type in [
            DataType::Interval(IntervalUnit::MonthDayNano),
            DataType::Union(UnionFields::empty(), UnionMode::Sparse),
            DataType::Decimal128(5, -2),
            DataType::Decimal256(39, 0),
            DataType::Struct(Fields::empty()),
            DataType::Dictionary(Box::new(DataType::Int8), Box::new(list)),
            DataType::new_list(DataType::Interval(IntervalUnit::DayTime), true),
            DataType::new_fixed_size_list(DataType::Int8, 0, true),
        ] {
            refusal(data_type);
        }
    }

    fn single(data_type: &DataType, column: ArrayRef) -> RecordBatch {
        let schema = Schema::new(vec![Field::new("c", data_type.clone(), true)]);
        RecordBatch::try_new(Arc::new(schema), vec![column]).unwrap()
    }

    #[test]
    fn a_timestamp_too_far_off_is_an_error() {
        for unit in [TimeUnit::Second, TimeUnit::Millisecond] {
            let logical = DataType::Timestamp(unit, None);
            let far: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(i64::MAX)]));
            let batch = single(&logical, relabel(&far, &logical).unwrap());
            let stored = Arc::new(delta_types(&batch.schema()).unwrap());
            let error = to_stored(&batch, &stored).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains("\"c\""), "{error}");
        }
    }

    #[test]
    fn what_others_wrote_is_not_cut() {
        let width = DataType::new_fixed_size_list(DataType::Int8, 2, true);
        let lists = GenericListArray::<i32>::from_iter_primitive::<Int8Type, _, _>([Some([Some(1)])]);
        let micros = Int64Array::from(vec![1]);
        for (logical, column) in [
            (DataType::UInt8, Arc::new(arrow::array::Int16Array::from(vec![256])) as ArrayRef),
            (DataType::Float16, Arc::new(arrow::array::Float32Array::from(vec![1e6]))),
            (DataType::Null, Arc::new(StringArray::from(vec!["x"]))),
            (DataType::FixedSizeBinary(2), Arc::new(BinaryArray::from_vec(vec![b"x"]))),
            (DataType::Timestamp(TimeUnit::Second, None), {
                Arc::new(micros.reinterpret_cast::<arrow::datatypes::TimestampMicrosecondType>())
            }),
            (width, Arc::new(lists)),
        ] {
            let schema = Arc::new(Schema::new(vec![Field::new("c", logical, true)]));
            let batch = single(&column.data_type().clone(), column);
            let error = to_logical(&batch, &schema).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::FailedPrecondition);
            assert!(error.message().contains("\"c\""), "{error}");
        }
    }

    #[test]
    fn values_behind_null_do_not_matter() {
        // The NULL list holds a NULL where its items may not be any.
        let item = Arc::new(Field::new("item", DataType::UInt8, false));
        let values: ArrayRef = Arc::new(arrow::array::UInt8Array::from(vec![Some(1), Some(2), None, None]));
        let nulls = NullBuffer::from(vec![true, false]);
        let lists = FixedSizeListArray::new(item, 2, values, Some(nulls));
        returns(&single(&lists.data_type().clone(), Arc::new(lists)));
    }

    #[test]
    fn the_logical_schema_keeps_its_metadata() {
        let note = |text: &str| HashMap::from([("note".to_owned(), text.to_owned())]);
        let field = Field::new("a", DataType::Int32, false).with_metadata(note("field"));
        let schema = Schema::new_with_metadata(vec![field], note("schema"));
        let text = logical_text(&schema);
        assert_eq!(parse_logical(&text).unwrap(), schema);
        for damaged in ["", "!", &text[..8], &text[..text.len() / 8 * 4], &text.replace('A', "/")] {
            assert_eq!(parse_logical(damaged).unwrap_err().kind(), ErrorKind::DataLoss, "{damaged}");
        }
    }

    #[test]
    fn timestamps_without_a_zone_are_found_inside_of_maps() {
        let value = Field::new("value", DataType::Timestamp(TimeUnit::Microsecond, None), true);
        let pair = DataType::Struct(vec![Field::new("key", DataType::Utf8, false), value].into());
        let map = DataType::Map(Arc::new(Field::new("key_value", pair, false)), false);
        assert!(needs_timestamp_ntz(&Schema::new(vec![Field::new("m", map, true)])));
        assert!(!needs_timestamp_ntz(&Schema::new(vec![Field::new("m", DataType::Int64, true)])));
    }
}
