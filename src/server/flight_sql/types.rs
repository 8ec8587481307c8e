//! SQL's names for types, for the clients that show or map them.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use crate::catalog::CATALOG;
use crate::error::{Error, Result};

/// The longest text or bytes that clients are told to expect.
const MAX_LENGTH: i32 = i32::MAX;

/// The name of a type, as GetXdbcTypeInfo has it where SQL has such a type at all.
pub(super) fn type_name(data_type: &DataType) -> String {
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
        DataType::Dictionary(_, value) => return type_name(value),
        DataType::RunEndEncoded(_, values) => return type_name(values.data_type()),
    }
    .to_owned()
}

/// Precision and scale, where the type has them: digits of numbers, characters of texts.
fn precision_and_scale(data_type: &DataType) -> Option<(i32, i32)> {
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
        DataType::Time32(unit) | DataType::Time64(unit) => (9 + digits(*unit), digits(*unit)),
        DataType::Timestamp(unit, _) => (20 + digits(*unit), digits(*unit)),
        _ => return None,
    })
}

/// Digits after the second.
fn digits(unit: arrow::datatypes::TimeUnit) -> i32 {
    use arrow::datatypes::TimeUnit::{Microsecond, Millisecond, Nanosecond, Second};
    match unit {
        Second => 0,
        Millisecond => 3,
        Microsecond => 6,
        Nanosecond => 9,
    }
}

fn type_metadata(data_type: &DataType) -> impl Iterator<Item = (String, String)> {
    let numbers = precision_and_scale(data_type);
    let name = ("TYPE_NAME", type_name(data_type));
    let precision = numbers.map(|(precision, _)| ("PRECISION", precision.to_string()));
    let scale = numbers.map(|(_, scale)| ("SCALE", scale.to_string()));
    let all = std::iter::once(name).chain(precision).chain(scale);
    all.map(|(key, value)| (format!("ARROW:FLIGHT:SQL:{key}"), value))
}

/// The columns of a table with what drivers look for in their metadata (FlightSql.proto, "Column
/// metadata"). A column's own `comment` or `description` becomes its remark.
pub(super) fn described(schema: &str, table: &str, columns: &Schema) -> SchemaRef {
    let describe = |field: &FieldRef| {
        let mut metadata: HashMap<_, _> = type_metadata(field.data_type()).collect();
        let mut add = |key: &str, value: String| {
            metadata.insert(format!("ARROW:FLIGHT:SQL:{key}"), value);
        };
        add("CATALOG_NAME", CATALOG.to_owned());
        add("SCHEMA_NAME", schema.to_owned());
        add("TABLE_NAME", table.to_owned());
        add("IS_AUTO_INCREMENT", "0".to_owned());
        add("IS_CASE_SENSITIVE", i32::from(type_name(field.data_type()) == "VARCHAR").to_string());
        add("IS_READ_ONLY", "0".to_owned());
        add("IS_SEARCHABLE", "1".to_owned());
        let own = field.metadata();
        if let Some(remark) = ["comment", "description", "REMARKS"].iter().find_map(|key| own.get(*key)) {
            add("REMARKS", remark.clone());
        }
        let kept = own.iter().map(|(key, value)| (key.clone(), value.clone()));
        metadata.extend(kept.filter(|(key, _)| !key.starts_with("PARQUET:")));
        Field::clone(field).with_metadata(metadata)
    };
    Schema::new(columns.fields().iter().map(describe).collect::<Vec<_>>()).into()
}

/// The types that GetXdbcTypeInfo tells of.
pub(super) fn type_infos() -> Result<XdbcTypeInfoData> {
    use XdbcDataType as Xdbc;
    let mut types = XdbcTypeInfoDataBuilder::new();
    let integers = [
        ("TINYINT", Xdbc::XdbcTinyint, 3),
        ("SMALLINT", Xdbc::XdbcSmallint, 5),
        ("INTEGER", Xdbc::XdbcInteger, 10),
        ("BIGINT", Xdbc::XdbcBigint, 19),
    ];
    for (name, data_type, digits) in integers {
        types.append(number(name, data_type, digits, false));
        let unsigned = format!("{name} UNSIGNED");
        types.append(XdbcTypeInfo {
            unsigned_attribute: Some(true),
            ..number(&unsigned, data_type, digits, false)
        });
    }
    types.append(number("REAL", Xdbc::XdbcReal, 7, false));
    types.append(number("DOUBLE", Xdbc::XdbcDouble, 15, false));
    types.append(XdbcTypeInfo {
        create_params: Some(vec!["precision".to_owned(), "scale".to_owned()]),
        minimum_scale: Some(0),
        maximum_scale: Some(38),
        ..number("DECIMAL", Xdbc::XdbcDecimal, 38, true)
    });
    types.append(plain("BOOLEAN", Xdbc::XdbcBit, Some(1)));
    let quoted = |info: XdbcTypeInfo, prefix: &str| XdbcTypeInfo {
        literal_prefix: Some(prefix.to_owned()),
        literal_suffix: Some("'".to_owned()),
        ..info
    };
    types.append(XdbcTypeInfo {
        case_sensitive: true,
        searchable: Searchable::Full,
        create_params: Some(vec!["length".to_owned()]),
        ..quoted(plain("VARCHAR", Xdbc::XdbcVarchar, Some(MAX_LENGTH)), "'")
    });
    types.append(quoted(plain("VARBINARY", Xdbc::XdbcVarbinary, Some(MAX_LENGTH)), "X'"));
    let time = |name: &str, data_type, size, subcode| XdbcTypeInfo {
        datetime_subcode: Some(subcode),
        sql_data_type: Xdbc::XdbcDatetime,
        minimum_scale: Some(0),
        maximum_scale: Some(9),
        ..quoted(plain(name, data_type, Some(size)), &format!("{name} '"))
    };
    types.append(time("DATE", Xdbc::XdbcDate, 10, XdbcDatetimeSubcode::XdbcSubcodeYear));
    types.append(time("TIME", Xdbc::XdbcTime, 18, XdbcDatetimeSubcode::XdbcSubcodeTime));
    types.append(time("TIMESTAMP", Xdbc::XdbcTimestamp, 29, XdbcDatetimeSubcode::XdbcSubcodeTimestamp));
    types.append(time(
        "TIMESTAMP WITH TIME ZONE",
        Xdbc::XdbcTimestamp,
        35,
        XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone,
    ));
    types.build().map_err(|error| Error::internal(format!("listing types: {error}")))
}

fn plain(name: &str, data_type: XdbcDataType, size: Option<i32>) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type,
        column_size: size,
        literal_prefix: None,
        literal_suffix: None,
        create_params: None,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: false,
        searchable: Searchable::Basic,
        unsigned_attribute: None,
        fixed_prec_scale: false,
        auto_increment: None,
        local_type_name: Some(name.to_owned()),
        minimum_scale: None,
        maximum_scale: None,
        sql_data_type: data_type,
        datetime_subcode: None,
        num_prec_radix: None,
        interval_precision: None,
    }
}

fn number(name: &str, data_type: XdbcDataType, digits: i32, fixed: bool) -> XdbcTypeInfo {
    XdbcTypeInfo {
        unsigned_attribute: Some(false),
        fixed_prec_scale: fixed,
        auto_increment: Some(false),
        num_prec_radix: Some(10),
        minimum_scale: Some(0),
        maximum_scale: Some(0),
        ..plain(name, data_type, Some(digits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_say_what_drivers_look_for() {
        let remark = [("comment".to_owned(), "in euros".to_owned())].into();
        let columns = Schema::new(vec![
            Field::new("price", DataType::Decimal128(12, 2), false).with_metadata(remark),
            Field::new("tags", DataType::new_list(DataType::Utf8, true), true),
        ]);
        let described = described("public", "items", &columns);
        let price = described.field(0).metadata();
        for (key, value) in [
            ("CATALOG_NAME", "airstrip"),
            ("SCHEMA_NAME", "public"),
            ("TABLE_NAME", "items"),
            ("TYPE_NAME", "DECIMAL"),
            ("PRECISION", "12"),
            ("SCALE", "2"),
            ("REMARKS", "in euros"),
        ] {
            assert_eq!(price.get(&format!("ARROW:FLIGHT:SQL:{key}")).unwrap(), value);
        }
        assert!(!described.field(1).metadata().contains_key("ARROW:FLIGHT:SQL:PRECISION"));
        assert!(!described.field(0).is_nullable());
    }

    #[test]
    fn types_are_filtered_by_number() {
        let types = type_infos().unwrap();
        assert!(types.record_batch(None).unwrap().num_rows() > 15);
        assert_eq!(types.record_batch(Some(XdbcDataType::XdbcVarchar as i32)).unwrap().num_rows(), 1);
        assert_eq!(types.record_batch(Some(XdbcDataType::XdbcBigint as i32)).unwrap().num_rows(), 2);
    }
}
