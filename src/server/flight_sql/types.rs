//! SQL's names for types, for the clients that show or map them.

use std::collections::HashMap;

use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use arrow_flight::sql::metadata::{XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder};
use arrow_flight::sql::{Nullable, Searchable, XdbcDataType, XdbcDatetimeSubcode};

use crate::engine::{CATALOG, Origin};
use crate::error::{Error, Result};
use crate::storage::{MAX_LENGTH, precision_and_scale, rewrite_field, type_name};

fn type_metadata(data_type: &DataType) -> impl Iterator<Item = (String, String)> {
    let numbers = precision_and_scale(data_type);
    let name = ("TYPE_NAME", type_name(data_type).to_owned());
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

/// The columns of a result with what drivers look for in their metadata, and of which tables they are.
pub(in crate::server) fn described_result(columns: &Schema, origins: &[Option<Origin>]) -> SchemaRef {
    let describe = |(place, field): (usize, &FieldRef)| {
        let mut metadata = field.metadata().clone();
        metadata.extend(type_metadata(field.data_type()));
        let mut add = |key: &str, value: &str| {
            metadata.insert(format!("ARROW:FLIGHT:SQL:{key}"), value.to_owned());
        };
        add("IS_AUTO_INCREMENT", "0");
        add("IS_CASE_SENSITIVE", if type_name(field.data_type()) == "VARCHAR" { "1" } else { "0" });
        add("IS_READ_ONLY", "1");
        add("IS_SEARCHABLE", "1");
        if let Some(Some(origin)) = origins.get(place) {
            add("CATALOG_NAME", CATALOG);
            add("SCHEMA_NAME", &origin.schema);
            add("TABLE_NAME", &origin.table);
        }
        Field::clone(field).with_metadata(metadata)
    };
    let fields = columns.fields().iter().enumerate().map(describe);
    Schema::new_with_metadata(fields.collect::<Vec<_>>(), columns.metadata().clone()).into()
}

/// Parameters as the JDBC driver fills them in: it writes milliseconds into times of any unit
/// (apache/arrow-java#838).
pub(super) fn in_milliseconds(parameters: &Schema) -> Schema {
    let milliseconds = |data_type: &DataType| match data_type {
        // What is in them already is left, or the rewriting of types would have no end.
        DataType::Timestamp(TimeUnit::Millisecond, _) | DataType::Time32(TimeUnit::Millisecond) => None,
        DataType::Timestamp(_, zone) => Some(DataType::Timestamp(TimeUnit::Millisecond, zone.clone())),
        DataType::Time32(_) | DataType::Time64(_) => Some(DataType::Time32(TimeUnit::Millisecond)),
        _ => None,
    };
    let fields = parameters.fields().iter().map(|field| rewrite_field(field, &milliseconds));
    Schema::new(fields.collect::<Vec<_>>())
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
    fn results_say_of_which_tables_their_columns_are() {
        let columns = Schema::new(vec![
            Field::new("p", DataType::Decimal128(12, 2), false),
            Field::new("n", DataType::Int64, false),
        ]);
        let origin = Origin { schema: "s".to_owned(), table: "items".to_owned(), column: "price".to_owned() };
        let described = described_result(&columns, &[Some(origin), None]);
        let of = |place: usize, key: &str| {
            described.field(place).metadata().get(&format!("ARROW:FLIGHT:SQL:{key}")).cloned()
        };
        assert_eq!(of(0, "TABLE_NAME").as_deref(), Some("items"));
        assert_eq!(of(0, "SCALE").as_deref(), Some("2"));
        assert_eq!(of(1, "PRECISION").as_deref(), Some("19"));
        assert_eq!(of(1, "TABLE_NAME"), None);
    }

    #[test]
    fn times_are_milliseconds_to_jdbc() {
        let zoned = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
        let parameters = Schema::new(vec![
            Field::new("$1", zoned, true),
            Field::new("$2", DataType::Time64(TimeUnit::Microsecond), true),
            Field::new("$3", DataType::Int32, true),
        ]);
        let shown = in_milliseconds(&parameters);
        let zoned = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
        assert_eq!(*shown.field(0).data_type(), zoned);
        assert_eq!(*shown.field(1).data_type(), DataType::Time32(TimeUnit::Millisecond));
        assert_eq!(*shown.field(2).data_type(), DataType::Int32);
    }

    #[test]
    fn types_are_filtered_by_number() {
        let types = type_infos().unwrap();
        assert!(types.record_batch(None).unwrap().num_rows() > 15);
        assert_eq!(types.record_batch(Some(XdbcDataType::XdbcVarchar as i32)).unwrap().num_rows(), 1);
        assert_eq!(types.record_batch(Some(XdbcDataType::XdbcBigint as i32)).unwrap().num_rows(), 2);
    }
}
