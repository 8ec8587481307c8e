//! The one type for columns that several writers stored in nearly the same one.
//!
//! What comes out holds every value of all of them exactly, or a value that it does not hold is an error when
//! it is read (an integer beyond 2⁵³ beside floats, a year that nanoseconds do not reach): nothing is rounded.
//! The result depends on which types there are, not on their order: it is made of all of them at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::datatypes::{
    DECIMAL32_MAX_PRECISION, DECIMAL64_MAX_PRECISION, DECIMAL128_MAX_PRECISION, DECIMAL256_MAX_PRECISION,
    DataType, Field, FieldRef, Fields, TimeUnit,
};

use super::logical::{EXTENSION_METADATA, EXTENSION_NAME};

/// Two types that no type holds the values of, or none that anyone would expect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The place of the first among the fields that were to be united.
    pub first: usize,
    /// The place of the other one.
    pub other: usize,
    /// What clashes, from the column down: empty for the column itself.
    pub path: Vec<String>,
    /// The type of the first there.
    pub first_type: DataType,
    /// The type of the other one there.
    pub other_type: DataType,
}

/// Types by the places of the fields that they come from.
type Types<'a> = [(usize, &'a DataType)];

/// The field that holds the values of all `fields`, which go by one name. It may be NULL where one of them may,
/// and has of their metadata what they have in common.
pub fn unite(fields: &[&FieldRef]) -> Result<FieldRef, Clash> {
    let placed: Vec<_> = fields.iter().copied().enumerate().collect();
    unite_placed(&placed)
}

fn unite_placed(fields: &[(usize, &FieldRef)]) -> Result<FieldRef, Clash> {
    if let Some(((_, first), rest)) = fields.split_first()
        && rest.iter().all(|(_, field)| field == first)
    {
        return Ok(Arc::clone(first));
    }
    let types: Vec<_> = fields.iter().map(|(place, field)| (*place, field.data_type())).collect();
    let data_type = unite_types(&types)?;
    // A column of NULLs says nothing of what others are.
    let telling = || fields.iter().map(|(_, field)| *field).filter(|field| !is_null(field.data_type()));
    let name =
        telling().chain(fields.iter().map(|(_, field)| *field)).next().map_or("", |field| field.name());
    let is_nullable = fields.iter().any(|(_, field)| field.is_nullable() || is_null(field.data_type()));
    let mut metadata: HashMap<_, _> =
        telling().next().map(|field| field.metadata().clone()).unwrap_or_default();
    let is_common = |key: &str| {
        let mut values = telling().map(|field| field.metadata().get(key));
        values.next().is_none_or(|first| values.all(|other| other == first))
    };
    // The one makes no sense without the other.
    let is_extension = |key: &str| key == EXTENSION_NAME || key == EXTENSION_METADATA;
    let has_extension = is_common(EXTENSION_NAME) && is_common(EXTENSION_METADATA);
    metadata.retain(|key, _| if is_extension(key) { has_extension } else { is_common(key) });
    Ok(Arc::new(Field::new(name, data_type, is_nullable).with_metadata(metadata)))
}

fn is_null(data_type: &DataType) -> bool {
    *data_type == DataType::Null
}

/// What is of one kind can be united.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
    Bytes,
    /// A date, or a time of a day without a zone.
    Moment,
    /// A moment with a zone.
    Instant,
    TimeOfDay,
    Duration,
    List,
    Struct,
    Map,
    /// United with its like alone.
    Other,
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        use DataType as T;
        match data_type {
            _ if Number::of(data_type).is_some() => Self::Number,
            T::Utf8 | T::LargeUtf8 | T::Utf8View => Self::Text,
            T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => Self::Bytes,
            T::Date32 | T::Date64 | T::Timestamp(_, None) => Self::Moment,
            T::Timestamp(_, Some(_)) => Self::Instant,
            T::Time32(_) | T::Time64(_) => Self::TimeOfDay,
            T::Duration(_) => Self::Duration,
            T::List(_) | T::LargeList(_) | T::ListView(_) | T::LargeListView(_) | T::FixedSizeList(..) => {
                Self::List
            }
            T::Struct(_) => Self::Struct,
            T::Map(..) => Self::Map,
            _ => Self::Other,
        }
    }
}

fn unite_types(all: &Types<'_>) -> Result<DataType, Clash> {
    let known: Vec<_> = all.iter().copied().filter(|(_, data_type)| !is_null(data_type)).collect();
    let Some(((place, first), rest)) = known.split_first() else { return Ok(DataType::Null) };
    if rest.iter().all(|(_, data_type)| data_type == first) {
        return Ok(DataType::clone(first));
    }
    let plain: Vec<_> = known.iter().map(|(place, data_type)| (*place, unencoded(data_type))).collect();
    let kind = Kind::of(plain[0].1);
    let clash = |(other, other_type): (usize, &DataType)| Clash {
        first: *place,
        other,
        path: Vec::new(),
        first_type: DataType::clone(first),
        other_type: other_type.clone(),
    };
    let differs = plain.iter().position(|(_, data_type)| Kind::of(data_type) != kind);
    if let Some(at) = differs {
        return Err(clash(known[at]));
    }
    let types = || plain.iter().map(|(_, data_type)| *data_type);
    let united = match kind {
        Kind::Number => unite_numbers(types()),
        Kind::Text => Some(unite_texts(types())),
        Kind::Bytes => Some(unite_bytes(types())),
        Kind::Moment => Some(unite_moments(types())),
        Kind::Instant => Some(unite_instants(types())),
        Kind::TimeOfDay => finest(types()).map(|unit| match unit {
            TimeUnit::Second | TimeUnit::Millisecond => DataType::Time32(unit),
            TimeUnit::Microsecond | TimeUnit::Nanosecond => DataType::Time64(unit),
        }),
        Kind::Duration => finest(types()).map(DataType::Duration),
        Kind::List => return unite_lists(&plain),
        Kind::Struct => return unite_structs(&plain, clash),
        Kind::Map => return unite_maps(&plain, clash),
        Kind::Other => types().all(|data_type| data_type == plain[0].1).then(|| plain[0].1.clone()),
    };
    // Where all kinds fit and there is no type, it is by what the others have: the first that differs is named.
    let other = || rest.iter().find(|(_, data_type)| data_type != first).copied();
    united.ok_or_else(|| clash(other().unwrap_or(known[0])))
}

/// What is encoded: how is the writer's matter.
fn unencoded(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, value) => unencoded(value),
        DataType::RunEndEncoded(_, values) => unencoded(values.data_type()),
        plain => plain,
    }
}

/// What a type of numbers can hold.
enum Number {
    Signed(i32),
    Unsigned(i32),
    /// Digits before the point, digits behind it, and bits.
    Decimal(i32, i32, i32),
    Float(i32),
}

impl Number {
    fn of(data_type: &DataType) -> Option<Self> {
        let decimal = |precision: u8, scale: i8, bits| {
            let scale = i32::from(scale);
            Some(Self::Decimal(i32::from(precision) - scale, scale, bits))
        };
        match data_type {
            DataType::Int8 => Some(Self::Signed(8)),
            DataType::Int16 => Some(Self::Signed(16)),
            DataType::Int32 => Some(Self::Signed(32)),
            DataType::Int64 => Some(Self::Signed(64)),
            DataType::UInt8 => Some(Self::Unsigned(8)),
            DataType::UInt16 => Some(Self::Unsigned(16)),
            DataType::UInt32 => Some(Self::Unsigned(32)),
            DataType::UInt64 => Some(Self::Unsigned(64)),
            DataType::Float16 => Some(Self::Float(16)),
            DataType::Float32 => Some(Self::Float(32)),
            DataType::Float64 => Some(Self::Float(64)),
            DataType::Decimal32(precision, scale) => decimal(*precision, *scale, 32),
            DataType::Decimal64(precision, scale) => decimal(*precision, *scale, 64),
            DataType::Decimal128(precision, scale) => decimal(*precision, *scale, 128),
            DataType::Decimal256(precision, scale) => decimal(*precision, *scale, 256),
            _ => None,
        }
    }

    /// Bits of a whole number without its sign.
    fn whole_bits(&self) -> i32 {
        match self {
            Self::Signed(bits) => bits - 1,
            Self::Unsigned(bits) => *bits,
            Self::Decimal(..) | Self::Float(_) => 0,
        }
    }

    /// Digits of a whole number, or those before the point.
    fn whole_digits(&self) -> i32 {
        match self {
            Self::Signed(8) | Self::Unsigned(8) => 3,
            Self::Signed(16) | Self::Unsigned(16) => 5,
            Self::Signed(32) | Self::Unsigned(32) => 10,
            Self::Signed(_) => 19,
            Self::Unsigned(_) => 20,
            Self::Decimal(digits, ..) => *digits,
            Self::Float(_) => 0,
        }
    }
}

/// `None` for decimals beside floats, and where there are too many digits.
fn unite_numbers<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<DataType> {
    let numbers: Vec<Number> = types.map(Number::of).collect::<Option<_>>()?;
    let most = |of: &dyn Fn(&Number) -> Option<i32>| numbers.iter().filter_map(of).max();
    let decimal = most(&|number| if let Number::Decimal(_, _, bits) = number { Some(*bits) } else { None });
    let float = most(&|number| if let Number::Float(bits) = number { Some(*bits) } else { None });
    let bits = numbers.iter().map(Number::whole_bits).max().unwrap_or(0);
    match (decimal, float) {
        (Some(_), Some(_)) => None,
        (None, Some(float)) => Some(match (float, bits) {
            (16, ..=11) => DataType::Float16,
            (..=32, ..=24) => DataType::Float32,
            // Of more than 53 bits values are looked at when they are read.
            _ => DataType::Float64,
        }),
        (Some(width), None) => {
            let scale =
                most(&|number| Some(if let Number::Decimal(_, scale, _) = number { *scale } else { 0 }))?;
            let digits = numbers.iter().map(Number::whole_digits).max()?;
            decimal_of(digits + scale, scale, width)
        }
        (None, None) if !numbers.iter().any(|number| matches!(number, Number::Signed(_))) => {
            Some(unsigned(bits))
        }
        (None, None) => match bits {
            ..=7 => Some(DataType::Int8),
            8..=15 => Some(DataType::Int16),
            16..=31 => Some(DataType::Int32),
            32..=63 => Some(DataType::Int64),
            _ => Some(DataType::Decimal128(20, 0)),
        },
    }
}

fn unsigned(bits: i32) -> DataType {
    match bits {
        ..=8 => DataType::UInt8,
        9..=16 => DataType::UInt16,
        17..=32 => DataType::UInt32,
        _ => DataType::UInt64,
    }
}

/// A decimal of `width` bits, or of as many as it needs.
fn decimal_of(precision: i32, scale: i32, width: i32) -> Option<DataType> {
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    Some(match precision {
        ..=DECIMAL32_MAX_PRECISION if width <= 32 => DataType::Decimal32(precision, scale),
        ..=DECIMAL64_MAX_PRECISION if width <= 64 => DataType::Decimal64(precision, scale),
        ..=DECIMAL128_MAX_PRECISION if width <= 128 => DataType::Decimal128(precision, scale),
        ..=DECIMAL256_MAX_PRECISION => DataType::Decimal256(precision, scale),
        _ => return None,
    })
}

fn unite_texts<'a>(mut types: impl Iterator<Item = &'a DataType>) -> DataType {
    // Views beside views alone are one type.
    if types.any(|data_type| *data_type == DataType::LargeUtf8) {
        DataType::LargeUtf8
    } else {
        DataType::Utf8
    }
}

fn unite_bytes<'a>(mut types: impl Iterator<Item = &'a DataType>) -> DataType {
    if types.any(|data_type| *data_type == DataType::LargeBinary) {
        DataType::LargeBinary
    } else {
        DataType::Binary
    }
}

/// The finest unit of types that count time.
fn finest<'a>(types: impl Iterator<Item = &'a DataType>) -> Option<TimeUnit> {
    types
        .filter_map(|data_type| match data_type {
            DataType::Timestamp(unit, _)
            | DataType::Time32(unit)
            | DataType::Time64(unit)
            | DataType::Duration(unit) => Some(*unit),
            DataType::Date64 => Some(TimeUnit::Millisecond),
            _ => None,
        })
        .max()
}

fn unite_moments<'a>(types: impl Iterator<Item = &'a DataType> + Clone) -> DataType {
    let has_time = types.clone().any(|data_type| matches!(data_type, DataType::Timestamp(..)));
    match finest(types) {
        Some(unit) if has_time => DataType::Timestamp(unit, None),
        Some(_) => DataType::Date64,
        None => DataType::Date32,
    }
}

/// Moments of several zones are shown in the one that all can be told in.
fn unite_instants<'a>(types: impl Iterator<Item = &'a DataType> + Clone) -> DataType {
    let unit = finest(types.clone()).unwrap_or(TimeUnit::Nanosecond);
    let mut zones = types.filter_map(|data_type| match data_type {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    });
    let first = zones.next();
    let is_one = zones.all(|zone| Some(&zone) == first.as_ref());
    DataType::Timestamp(unit, first.filter(|_| is_one).or_else(|| Some("UTC".into())))
}

/// The inner fields united, under `name` where they have several.
fn unite_inner(fields: &[(usize, &FieldRef)], name: &str) -> Result<FieldRef, Clash> {
    let united = unite_placed(fields).map_err(|clash| within(clash, name))?;
    let is_one = fields.iter().all(|(_, field)| field.name() == united.name());
    Ok(if is_one { united } else { Arc::new(Field::clone(&united).with_name(name)) })
}

fn within(mut clash: Clash, name: &str) -> Clash {
    clash.path.insert(0, name.to_owned());
    clash
}

fn item_of(data_type: &DataType) -> Option<&FieldRef> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item),
        _ => None,
    }
}

fn unite_lists(types: &Types<'_>) -> Result<DataType, Clash> {
    use DataType::{FixedSizeList, LargeList, LargeListView, List, ListView};
    let items = types.iter().filter_map(|(place, data_type)| Some((*place, item_of(data_type)?)));
    let items: Vec<_> = items.collect();
    let item = unite_inner(&items, "item")?;
    let all = |is: &dyn Fn(&DataType) -> bool| types.iter().all(|(_, data_type)| is(data_type));
    Ok(match types[0].1 {
        FixedSizeList(_, size) if all(&|other| matches!(other, FixedSizeList(_, own) if own == size)) => {
            FixedSizeList(item, *size)
        }
        ListView(_) if all(&|other| matches!(other, ListView(_))) => ListView(item),
        LargeListView(_) if all(&|other| matches!(other, LargeListView(_))) => LargeListView(item),
        _ if all(&|other| !matches!(other, LargeList(_) | LargeListView(_))) => List(item),
        _ => LargeList(item),
    })
}

/// Structs united field by field: one that lacks a field has NULL there.
fn unite_structs(types: &Types<'_>, clash: impl Fn((usize, &DataType)) -> Clash) -> Result<DataType, Clash> {
    let mut order: Vec<&str> = Vec::new();
    let mut by_name: HashMap<&str, Vec<(usize, &FieldRef)>> = HashMap::new();
    for (place, data_type) in types {
        let DataType::Struct(fields) = data_type else { continue };
        let names: HashSet<&String> = fields.iter().map(|field| field.name()).collect();
        if names.len() < fields.len() {
            // Which of two fields of one name is which other's, nobody can tell.
            return Err(clash((*place, data_type)));
        }
        for field in fields {
            let own = by_name.entry(field.name()).or_default();
            if own.is_empty() {
                order.push(field.name());
            }
            own.push((*place, field));
        }
    }
    let field = |name: &str| {
        let own = by_name.get(name).map_or(&[][..], Vec::as_slice);
        let united = unite_placed(own).map_err(|clash| within(clash, name))?;
        let is_everywhere = own.len() == types.len();
        Ok(if is_everywhere || united.is_nullable() {
            united
        } else {
            Arc::new(Field::clone(&united).with_nullable(true))
        })
    };
    Ok(DataType::Struct(order.into_iter().map(field).collect::<Result<Fields, Clash>>()?))
}

fn unite_maps(types: &Types<'_>, clash: impl Fn((usize, &DataType)) -> Clash) -> Result<DataType, Clash> {
    let (mut entries, mut keys, mut values, mut is_sorted) = (Vec::new(), Vec::new(), Vec::new(), true);
    for (place, data_type) in types {
        let DataType::Map(pairs, sorted) = data_type else { continue };
        let DataType::Struct(pair) = pairs.data_type() else { return Err(clash((*place, data_type))) };
        let [key, value] = &pair[..] else { return Err(clash((*place, data_type))) };
        entries.push(pairs);
        keys.push((*place, key));
        values.push((*place, value));
        is_sorted &= sorted;
    }
    let key = unite_inner(&keys, "key")?;
    let value = unite_inner(&values, "value")?;
    let is_one = entries.iter().all(|pairs| pairs.name() == entries[0].name());
    let name = if is_one { entries[0].name() } else { "entries" };
    let pair = DataType::Struct(vec![Arc::new(Field::clone(&key).with_nullable(false)), value].into());
    Ok(DataType::Map(Arc::new(Field::new(name, pair, false)), is_sorted))
}

/// A type without what is the writer's matter: how values are laid out and encoded, what inner fields are called,
/// and whether they may be NULL. Types that are the same without it have the same values.
pub fn bare_type(data_type: &DataType) -> DataType {
    let field = |name: &str, data_type: &DataType| Arc::new(Field::new(name, bare_type(data_type), true));
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::Dictionary(..) | DataType::RunEndEncoded(..) => bare_type(unencoded(data_type)),
        DataType::Timestamp(unit, zone) => DataType::Timestamp(*unit, zone.as_ref().map(|_| "UTC".into())),
        DataType::FixedSizeList(item, size) => {
            DataType::FixedSizeList(field("item", item.data_type()), *size)
        }
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(|own| field(own.name(), own.data_type())).collect())
        }
        DataType::Map(entries, _) => {
            let pair = match entries.data_type() {
                DataType::Struct(pair) => {
                    let names = ["key", "value"].into_iter().zip(pair);
                    DataType::Struct(names.map(|(name, own)| field(name, own.data_type())).collect())
                }
                other => other.clone(),
            };
            DataType::Map(Arc::new(Field::new("entries", pair, false)), false)
        }
        _ => match item_of(data_type) {
            Some(item) => DataType::List(field("item", item.data_type())),
            None => data_type.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        Array, ArrayRef, FixedSizeListArray, Int64Array, ListArray, MapArray, RecordBatch, StructArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::compute::cast;
    use proptest::prelude::*;

    use super::*;
    use crate::storage::to_logical;

    fn field(data_type: &DataType) -> FieldRef {
        Arc::new(Field::new("c", data_type.clone(), true))
    }

    fn united(types: &[DataType]) -> Result<DataType, Clash> {
        let fields: Vec<_> = types.iter().map(field).collect();
        unite(&fields.iter().collect::<Vec<_>>()).map(|field| field.data_type().clone())
    }

    fn check(types: &[DataType], expected: &DataType) {
        let mut reversed = types.to_vec();
        reversed.reverse();
        for types in [types, &reversed] {
            assert_eq!(united(types).as_ref(), Ok(expected), "{types:?}");
        }
    }

    #[test]
    fn numbers_become_as_wide_as_all_of_them_need() {
        use DataType::*;
        check(&[Int32, Int64], &Int64);
        check(&[UInt8, UInt16], &UInt16);
        check(&[UInt8, Int8], &Int16);
        check(&[UInt32, Int8], &Int64);
        check(&[UInt64, Int8], &Decimal128(20, 0));
        check(&[Float16, Float32, Float64], &Float64);
        check(&[Int16, Float32], &Float32);
        check(&[Int32, Float32], &Float64);
        check(&[Int64, Float64], &Float64);
        check(&[Decimal128(5, 2), Decimal128(10, 0)], &Decimal128(12, 2));
        check(&[Decimal32(5, 2), Decimal32(9, 0)], &Decimal64(11, 2));
        check(&[Decimal128(38, 2), Decimal128(38, 10)], &Decimal256(46, 10));
        check(&[Int64, Decimal128(5, 2)], &Decimal128(21, 2));
        check(&[Null, Int8], &Int8);
        check(&[Dictionary(Box::new(Int8), Box::new(Int64)), Int32], &Int64);
    }

    #[test]
    fn layouts_and_units_are_no_differences() {
        use DataType::*;
        use TimeUnit::*;
        check(&[Utf8, Utf8View], &Utf8);
        check(&[Utf8, Utf8View, LargeUtf8], &LargeUtf8);
        check(&[Dictionary(Box::new(Int32), Box::new(Utf8)), LargeUtf8], &LargeUtf8);
        check(&[FixedSizeBinary(2), FixedSizeBinary(3)], &Binary);
        let zoned = |unit, zone: &str| Timestamp(unit, Some(zone.into()));
        check(&[zoned(Microsecond, "UTC"), zoned(Nanosecond, "+00:00")], &zoned(Nanosecond, "UTC"));
        check(&[zoned(Second, "Europe/Zurich"), zoned(Second, "UTC")], &zoned(Second, "UTC"));
        check(&[Timestamp(Second, None), Timestamp(Millisecond, None)], &Timestamp(Millisecond, None));
        check(&[Date32, Timestamp(Microsecond, None)], &Timestamp(Microsecond, None));
        check(&[Date32, Date64], &Date64);
        check(&[Time32(Second), Time64(Microsecond)], &Time64(Microsecond));
        check(&[Duration(Second), Duration(Nanosecond)], &Duration(Nanosecond));
    }

    #[test]
    fn inner_fields_are_united_under_one_name() {
        use DataType::*;
        let item = |name: &str, data_type, nullable| Arc::new(Field::new(name, data_type, nullable));
        check(
            &[List(item("element", Int32, false)), LargeList(item("item", Int64, true))],
            &LargeList(item("item", Int64, true)),
        );
        check(
            &[FixedSizeList(item("l", Int8, true), 2), FixedSizeList(item("element", Int8, true), 2)],
            &FixedSizeList(item("item", Int8, true), 2),
        );
        let structs = |fields: &[(&str, DataType)]| {
            Struct(
                fields.iter().map(|(name, data_type)| Field::new(*name, data_type.clone(), false)).collect(),
            )
        };
        let both = Struct(vec![Field::new("a", Int64, false), Field::new("b", Utf8, true)].into());
        assert_eq!(united(&[structs(&[("a", Int64)]), structs(&[("a", Int32), ("b", Utf8)])]), Ok(both));
        let map = |entries: &str, key: &str, value: DataType| {
            let pair = Struct(vec![Field::new(key, Utf8, false), Field::new("value", value, true)].into());
            Map(Arc::new(Field::new(entries, pair, false)), false)
        };
        check(
            &[map("key_value", "key", Int32), map("entries", "keys", Int64)],
            &map("entries", "key", Int64),
        );
    }

    #[test]
    fn metadata_is_what_all_have_in_common() {
        let with = |pairs: &[(&str, &str)]| {
            let metadata =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            Arc::new(Field::new("c", DataType::Utf8, true).with_metadata(metadata))
        };
        let one = with(&[("PARQUET:field_id", "1"), ("note", "x"), (EXTENSION_NAME, "arrow.json")]);
        let other = with(&[("PARQUET:field_id", "2"), ("note", "x"), (EXTENSION_NAME, "arrow.json")]);
        let plain = with(&[("note", "x")]);
        let both = unite(&[&one, &other]).unwrap();
        assert_eq!(both.extension_type_name(), Some("arrow.json"));
        assert_eq!(both.metadata().len(), 2);
        assert_eq!(unite(&[&one, &plain]).unwrap(), plain);
    }

    #[test]
    fn what_clashes_is_named() {
        use DataType::*;
        for (one, other) in [
            (Int64, Utf8),
            (Boolean, Int8),
            (Float64, Decimal128(5, 2)),
            (Utf8, Binary),
            (Timestamp(TimeUnit::Microsecond, None), Timestamp(TimeUnit::Microsecond, Some("UTC".into()))),
            (Decimal256(76, 0), Decimal256(76, 76)),
            (DataType::new_list(Int8, true), Int8),
        ] {
            let clash = united(&[Null, one.clone(), one.clone(), other.clone()]).unwrap_err();
            assert_eq!((clash.first, clash.other), (1, 3));
            assert_eq!((clash.first_type, clash.other_type), (one, other));
        }
        let of = |data_type| DataType::new_list(Struct(vec![Field::new("a", data_type, true)].into()), true);
        let clash = united(&[of(Int8), of(Utf8)]).unwrap_err();
        assert_eq!(clash.path, ["item", "a"]);
        assert_eq!((clash.first_type, clash.other_type), (Int8, Utf8));
    }

    /// Types that can be united with each other.
    fn families() -> Vec<Vec<DataType>> {
        use DataType::*;
        let units = [TimeUnit::Second, TimeUnit::Millisecond, TimeUnit::Microsecond, TimeUnit::Nanosecond];
        let encoded = |value: DataType| Dictionary(Box::new(Int16), Box::new(value));
        let zones = ["UTC", "+00:00", "Europe/Zurich"];
        vec![
            vec![Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Null, encoded(Int32)],
            vec![
                Int8,
                Int32,
                UInt64,
                Decimal128(5, 2),
                Decimal128(20, 4),
                Decimal64(8, 0),
                Decimal256(40, 3),
            ],
            vec![Int8, UInt16, Int32, Float32, Float64],
            vec![Utf8, LargeUtf8, Utf8View, encoded(Utf8), Null],
            vec![Binary, LargeBinary, BinaryView],
            [Date32, Date64].into_iter().chain(units.map(|unit| Timestamp(unit, None))).collect(),
            units.iter().flat_map(|unit| zones.map(|zone| Timestamp(*unit, Some(zone.into())))).collect(),
            vec![Time32(units[0]), Time32(units[1]), Time64(units[2]), Time64(units[3])],
            units.map(Duration).into(),
        ]
    }

    /// `data_type`, as the inside of other types: each bit of `shape` chooses one.
    fn nested(data_type: DataType, depth: usize, shape: u64) -> DataType {
        use DataType::*;
        if depth == 0 {
            return data_type;
        }
        let inner = nested(data_type, depth - 1, shape / 8);
        let name = if shape.is_multiple_of(2) { "item" } else { "element" };
        let item = Arc::new(Field::new(name, inner.clone(), true));
        match (depth % 3, shape % 8 / 2) {
            (0, 0) => List(item),
            (0, 1) => LargeList(item),
            (0, _) => FixedSizeList(item, 1),
            (1, choice) => {
                let other = |name: &str| Field::new(name, Int8, true);
                let mut fields = vec![Field::new("a", inner, true)];
                fields.extend((choice % 2 == 1).then(|| other("b")));
                fields.extend((choice / 2 == 1).then(|| other("c")));
                Struct(fields.into())
            }
            _ => {
                let value = Field::new(if shape.is_multiple_of(2) { "value" } else { "values" }, inner, true);
                let pair = Struct(vec![Field::new("key", Utf8, false), value].into());
                Map(Arc::new(Field::new("entries", pair, false)), false)
            }
        }
    }

    /// Four values of a type.
    fn values(data_type: &DataType) -> ArrayRef {
        use DataType::*;
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), None, Some(7), Some(100)]));
        let each = OffsetBuffer::from_lengths([1, 1, 1, 1]);
        match data_type {
            List(item) => Arc::new(ListArray::new(Arc::clone(item), each, values(item.data_type()), None)),
            LargeList(item) => cast(&values(&List(Arc::clone(item))), data_type).unwrap(),
            FixedSizeList(item, size) => {
                Arc::new(FixedSizeListArray::new(Arc::clone(item), *size, values(item.data_type()), None))
            }
            Struct(fields) => {
                let columns = fields.iter().map(|field| values(field.data_type())).collect();
                Arc::new(StructArray::new(fields.clone(), columns, None))
            }
            Map(entries, _) => {
                let Struct(pair) = entries.data_type() else { unreachable!() };
                let keys = cast(&(Arc::new(Int64Array::from(vec![1, 2, 3, 4])) as ArrayRef), &Utf8).unwrap();
                let pairs = StructArray::new(pair.clone(), vec![keys, values(pair[1].data_type())], None);
                Arc::new(MapArray::new(Arc::clone(entries), each, pairs, None, false))
            }
            Null => arrow::array::new_null_array(data_type, 4),
            Date32 | Time32(_) => cast(&cast(&numbers, &Int32).unwrap(), data_type).unwrap(),
            Utf8View | LargeUtf8 | Binary | LargeBinary | BinaryView => {
                cast(&cast(&numbers, &Utf8).unwrap(), data_type).unwrap()
            }
            Dictionary(_, value) => cast(&values(value), data_type).unwrap(),
            Timestamp(unit, Some(_)) => {
                let plain = cast(&numbers, &Timestamp(*unit, None)).unwrap();
                arrow::array::make_array(
                    plain.to_data().into_builder().data_type(data_type.clone()).build().unwrap(),
                )
            }
            _ => cast(&numbers, data_type).unwrap(),
        }
    }

    fn converted(array: &ArrayRef, to: &DataType) -> crate::error::Result<ArrayRef> {
        let schema = |data_type: &DataType| {
            Arc::new(arrow::datatypes::Schema::new(vec![Field::new("c", data_type.clone(), true)]))
        };
        let batch = RecordBatch::try_new(schema(array.data_type()), vec![Arc::clone(array)]).unwrap();
        Ok(Arc::clone(to_logical(&batch, &schema(to))?.column(0)))
    }

    /// The fields of structs in the order of their names.
    fn in_order(data_type: &DataType) -> DataType {
        crate::storage::rewrite_field(&field(data_type), &|inner| {
            let DataType::Struct(fields) = inner else { return None };
            let mut sorted = fields.to_vec();
            sorted.sort_by_key(|field| field.name().clone());
            (sorted[..] != fields[..]).then(|| DataType::Struct(sorted.into()))
        })
        .data_type()
        .clone()
    }

    proptest! {
        #[test]
        fn the_order_of_types_does_not_matter_and_no_value_is_lost(
            family in 0..9_usize,
            chosen in proptest::collection::vec((0..12_usize, any::<u64>()), 1..5),
            depth in 0..4_usize,
        ) {
            let family = &families()[family];
            let types: Vec<_> = chosen
                .iter()
                .map(|(place, shape)| nested(family[place % family.len()].clone(), depth, *shape))
                .collect();
            let all = united(&types).unwrap();
            let mut turned = types.clone();
            turned.rotate_left(1);
            turned.reverse();
            prop_assert_eq!(in_order(&united(&turned).unwrap()), in_order(&all));
            // United with what came out, nothing changes any more.
            let again = united(&[&types[..], std::slice::from_ref(&all)].concat()).unwrap();
            prop_assert_eq!(bare_type(&again), bare_type(&all));
            for data_type in &types {
                let array = values(data_type);
                let wide = converted(&array, &all).unwrap();
                prop_assert_eq!(wide.len(), array.len());
                let back = converted(&wide, data_type).unwrap();
                prop_assert_eq!(back.to_data(), array.to_data(), "{} by way of {}", data_type, all);
            }
        }
    }
}
