//! The types of other systems that DataFusion's planner does not know.
//!
//! A type gets the Arrow type that holds all of its values, or is refused: the most digits after the second that it may
//! have choose the unit of a time, and the binary digits of a FLOAT choose its width. The most characters or bytes of a
//! text are not enforced.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::{DataFusionError, Result, plan_err};
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{
    BinaryLength, DataType as SqlType, ExactNumberInfo, ObjectName, TimezoneInfo,
};

use crate::storage::{JSON, UUID, with_extension};

/// The most binary digits of a FLOAT that is a single one.
const DIGITS_OF_REAL: u64 = 24;
/// The most of any FLOAT.
const DIGITS_OF_DOUBLE: u64 = 53;

/// Plans types for a session.
#[derive(Debug)]
pub(in crate::engine) struct Types {
    /// What `WITH TIME ZONE` means.
    pub(in crate::engine) zone: Option<Arc<str>>,
}

impl TypePlanner for Types {
    fn plan_type_field(&self, sql_type: &SqlType) -> Result<Option<FieldRef>> {
        if let Some(field) = extension(sql_type) {
            return Ok(Some(Arc::new(field)));
        }
        let planned = match sql_type {
            SqlType::Timestamp(digits, zone) => self.timestamp(*digits, *zone, sql_type)?,
            SqlType::Time(Some(digits), TimezoneInfo::None | TimezoneInfo::WithoutTimeZone) => {
                Some(time(*digits, sql_type)?)
            }
            SqlType::Float(ExactNumberInfo::Precision(digits)) => Some(float(*digits)?),
            SqlType::Binary(Some(length)) => Some(fixed(*length)?),
            SqlType::Bit(None | Some(1)) => Some(DataType::Boolean),
            SqlType::Custom(name, arguments) => custom(name, arguments)?,
            other => plain(other),
        };
        Ok(planned.map(|data_type| Arc::new(unnamed(data_type))))
    }
}

impl Types {
    /// A timestamp of digits that DataFusion has no unit for; it does the others.
    fn timestamp(
        &self,
        digits: Option<u64>,
        zone: TimezoneInfo,
        sql_type: &SqlType,
    ) -> Result<Option<DataType>> {
        let Some(digits) = digits else { return Ok(None) };
        let zone = match zone {
            TimezoneInfo::None | TimezoneInfo::WithoutTimeZone => None,
            TimezoneInfo::Tz | TimezoneInfo::WithTimeZone => self.zone.clone(),
        };
        Ok(Some(DataType::Timestamp(unit(digits, sql_type)?, zone)))
    }
}

fn unnamed(data_type: DataType) -> Field {
    Field::new("", data_type, true)
}

/// The types that Arrow has an extension type for.
fn extension(sql_type: &SqlType) -> Option<Field> {
    match sql_type {
        SqlType::Uuid => Some(with_extension(unnamed(DataType::FixedSizeBinary(16)), UUID, None)),
        SqlType::Custom(name, arguments) if arguments.is_empty() && is(name, "uniqueidentifier") => {
            extension(&SqlType::Uuid)
        }
        SqlType::JSON | SqlType::JSONB => {
            Some(with_extension(unnamed(DataType::Utf8), JSON, Some(String::new())))
        }
        _ => None,
    }
}

fn plain(sql_type: &SqlType) -> Option<DataType> {
    use SqlType as Sql;
    Some(match sql_type {
        Sql::Nvarchar(_)
        | Sql::Character(_)
        | Sql::CharacterVarying(_)
        | Sql::CharVarying(_)
        | Sql::CharacterLargeObject(_)
        | Sql::CharLargeObject(_)
        | Sql::Clob(_)
        | Sql::TinyText
        | Sql::MediumText
        | Sql::LongText => DataType::Utf8,
        Sql::Binary(None)
        | Sql::Varbinary(None | Some(BinaryLength::Max | BinaryLength::IntegerLength { .. }))
        | Sql::Blob(_)
        | Sql::TinyBlob
        | Sql::MediumBlob
        | Sql::LongBlob
        | Sql::Bytes(_) => DataType::Binary,
        // Without digits: what Delta stores, which reaches further than nanoseconds.
        Sql::Datetime(None) | Sql::TimestampNtz(None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        Sql::Datetime(Some(digits)) | Sql::TimestampNtz(Some(digits)) => {
            DataType::Timestamp(unit(*digits, sql_type).ok()?, None)
        }
        Sql::MediumInt(_) | Sql::Int32 => DataType::Int32,
        Sql::MediumIntUnsigned(_) | Sql::UInt32 => DataType::UInt32,
        Sql::Int16 => DataType::Int16,
        Sql::Int64 => DataType::Int64,
        Sql::UInt8 | Sql::UTinyInt => DataType::UInt8,
        Sql::UInt16 | Sql::USmallInt => DataType::UInt16,
        Sql::UInt64 | Sql::UBigInt => DataType::UInt64,
        Sql::Float32 => DataType::Float32,
        Sql::Float64 => DataType::Float64,
        Sql::Date32 => DataType::Date32,
        _ => return None,
    })
}

/// The types whose names the parser does not know.
fn custom(name: &ObjectName, arguments: &[String]) -> Result<Option<DataType>> {
    let Some(name) = name.0.last().and_then(|part| part.as_ident()) else { return Ok(None) };
    let name = name.value.to_lowercase();
    Ok(match (name.as_str(), arguments) {
        ("byte", []) => Some(DataType::Int8),
        ("short", []) => Some(DataType::Int16),
        ("long", []) => Some(DataType::Int64),
        ("nchar" | "nvarchar2" | "varchar2", _) | ("nclob" | "ntext", []) => Some(DataType::Utf8),
        ("image", []) => Some(DataType::Binary),
        ("datetime2" | "timestamp_ntz", []) => Some(DataType::Timestamp(TimeUnit::Microsecond, None)),
        ("datetime2", [digits]) => match digits.parse() {
            Ok(digits) => Some(DataType::Timestamp(unit(digits, &name)?, None)),
            Err(_) => return plan_err!("the digits of {name} are a number, not {digits}"),
        },
        _ => None,
    })
}

fn is(name: &ObjectName, wanted: &str) -> bool {
    name.0.last().and_then(|part| part.as_ident()).is_some_and(|name| name.value.eq_ignore_ascii_case(wanted))
}

/// The coarsest unit that has so many digits after the second.
fn unit(digits: u64, sql_type: &impl std::fmt::Display) -> Result<TimeUnit> {
    match digits {
        0 => Ok(TimeUnit::Second),
        1..=3 => Ok(TimeUnit::Millisecond),
        4..=6 => Ok(TimeUnit::Microsecond),
        7..=9 => Ok(TimeUnit::Nanosecond),
        _ => plan_err!("a time has at most 9 digits after the second, not {digits} ({sql_type})"),
    }
}

fn time(digits: u64, sql_type: &SqlType) -> Result<DataType> {
    Ok(match unit(digits, sql_type)? {
        short @ (TimeUnit::Second | TimeUnit::Millisecond) => DataType::Time32(short),
        long => DataType::Time64(long),
    })
}

fn float(digits: u64) -> Result<DataType> {
    match digits {
        1..=DIGITS_OF_REAL => Ok(DataType::Float32),
        ..=DIGITS_OF_DOUBLE if digits > 0 => Ok(DataType::Float64),
        _ => plan_err!("FLOAT has 1 to {DIGITS_OF_DOUBLE} binary digits, not {digits}"),
    }
}

fn fixed(length: u64) -> Result<DataType> {
    match i32::try_from(length) {
        Ok(length) if length > 0 => Ok(DataType::FixedSizeBinary(length)),
        _ => Err(DataFusionError::Plan(format!("BINARY has 1 to {} bytes, not {length}", i32::MAX))),
    }
}
