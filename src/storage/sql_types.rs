//! SQL's names for the types of columns.

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::logical::{JSON, UUID};

/// The longest text or bytes that clients are told to expect.
pub const MAX_LENGTH: i32 = i32::MAX;

/// The name of a type without its parameters.
#[must_use]
pub fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Null => "NULL",
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INTEGER",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INTEGER UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float16 | DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Decimal32(..)
        | DataType::Decimal64(..)
        | DataType::Decimal128(..)
        | DataType::Decimal256(..) => "DECIMAL",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "VARCHAR",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "VARBINARY"
        }
        DataType::Date32 | DataType::Date64 => "DATE",
        DataType::Time32(_) | DataType::Time64(_) => "TIME",
        DataType::Timestamp(_, None) => "TIMESTAMP",
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP WITH TIME ZONE",
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL",
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::ListView(_)
        | DataType::LargeListView(_) => "ARRAY",
        DataType::Struct(_) => "STRUCT",
        DataType::Map(..) => "MAP",
        DataType::Union(..) => "UNION",
        DataType::Dictionary(_, value) => type_name(value),
        DataType::RunEndEncoded(_, values) => type_name(values.data_type()),
    }
}

/// The type of a column as `information_schema` and DESCRIBE have it: what is inside of lists, structs and maps
/// included, digits and lengths not.
#[must_use]
pub fn sql_type(field: &Field) -> String {
    match field.extension_type_name() {
        Some(UUID) => return "UUID".to_owned(),
        Some(JSON) => return "JSON".to_owned(),
        _ => {}
    }
    match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => format!("{}[]", inner_type(item)),
        DataType::FixedSizeList(item, size) => format!("{}[{size}]", inner_type(item)),
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|field| format!("{} {}", field.name(), inner_type(field))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                format!("MAP<{}, {}>", inner_type(&pair[0]), inner_type(&pair[1]))
            }
            _ => "MAP".to_owned(),
        },
        other => type_name(other).to_owned(),
    }
}

/// The type inside of another, where nothing else tells its digits.
fn inner_type(field: &Field) -> String {
    match field.data_type() {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => format!("DECIMAL({precision},{scale})"),
        _ => sql_type(field),
    }
}

/// Precision and scale, where the type has them: digits of numbers, characters of texts.
#[must_use]
pub fn precision_and_scale(data_type: &DataType) -> Option<(i32, i32)> {
    Some(match data_type {
        DataType::Boolean => (1, 0),
        DataType::Int8 | DataType::UInt8 => (3, 0),
        DataType::Int16 | DataType::UInt16 => (5, 0),
        DataType::Int32 | DataType::UInt32 | DataType::Date32 | DataType::Date64 => (10, 0),
        DataType::Int64 => (19, 0),
        DataType::UInt64 => (20, 0),
        DataType::Float16 | DataType::Float32 => (7, 0),
        DataType::Float64 => (15, 0),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => (i32::from(*precision), i32::from(*scale)),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => (MAX_LENGTH, 0),
        DataType::FixedSizeBinary(size) => (*size, 0),
        DataType::Time32(unit) | DataType::Time64(unit) => (9 + fraction(*unit), fraction(*unit)),
        DataType::Timestamp(unit, _) => (20 + fraction(*unit), fraction(*unit)),
        _ => return None,
    })
}

/// Digits after the second.
#[must_use]
pub fn fraction(unit: TimeUnit) -> i32 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 3,
        TimeUnit::Microsecond => 6,
        TimeUnit::Nanosecond => 9,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::with_extension;

    #[test]
    fn types_are_written_as_they_are_read() {
        let of = |data_type| sql_type(&Field::new("c", data_type, true));
        assert_eq!(of(DataType::Timestamp(TimeUnit::Second, None)), "TIMESTAMP");
        assert_eq!(of(DataType::new_list(DataType::Decimal128(9, 2), true)), "DECIMAL(9,2)[]");
        let inner = Field::new("a", DataType::Int32, true);
        assert_eq!(of(DataType::Struct(vec![Arc::new(inner)].into())), "STRUCT<a INTEGER>");
        let uuid = Field::new("u", DataType::FixedSizeBinary(16), true);
        assert_eq!(sql_type(&with_extension(uuid, UUID, None)), "UUID");
    }
}
