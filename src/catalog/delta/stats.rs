//! What the log tells of a data file's values, so that readers skip files without opening them.

use arrow::datatypes::{DataType, Schema};
use arrow::temporal_conversions::{date32_to_datetime, timestamp_us_to_datetime};
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use serde_json::{Map, Value, json};

/// Delta's default of `delta.dataSkippingNumIndexedCols`: later columns have no statistics.
const INDEXED_COLUMNS: usize = 32;

/// The most characters of a bound, as other writers have it.
const MAX_CHARS: usize = 32;

/// Days since 1970 of the years 1 to 9999: not all readers can read others.
const DAYS: std::ops::RangeInclusive<i32> = -719_162..=2_932_896;

/// Decimals of fewer digits pass through a reader's floats unharmed.
const FLOAT_DIGITS: u32 = 15;

/// The statistics of a data file of `rows` rows as the text of its add action's `stats`: `statistics` are
/// those of the file's footer, in the order of the columns of `schema`, which is the stored one.
///
/// A bound that cannot be told in a way that all readers take for a valid one is left out. Where a column of
/// floats may have NaN, which a footer's bounds leave out and readers take for the largest, the caller leaves
/// its bounds out.
///
/// A file has the bounds of all its columns that have any in this log, or none: delta-rs 1.6 hands PyArrow a file
/// of which one bound is missing as one without such values, and rows are lost to its readers.
pub(super) fn file_stats(statistics: &Statistics, rows: u64, schema: &Schema) -> String {
    let (mut min, mut max, mut nulls) = (Map::new(), Map::new(), Map::new());
    let mut is_complete = true;
    let columns = schema.fields().iter().zip(&statistics.column_statistics).take(INDEXED_COLUMNS);
    for (field, column) in columns.filter(|(field, _)| !field.data_type().is_nested()) {
        let name = || field.name().clone();
        if let Precision::Exact(count) = column.null_count {
            nulls.insert(name(), json!(count));
        }
        // A reader that finds one of the bounds may rely on the other.
        if let Some((lower, upper)) = bounds(column, field.data_type()) {
            min.insert(name(), lower);
            max.insert(name(), upper);
        } else if can_be_bounded(field.data_type()) && !is_null(column, rows) {
            is_complete = false;
        }
    }
    if !is_complete || min.is_empty() {
        return json!({ "numRecords": rows, "nullCount": nulls }).to_string();
    }
    json!({ "numRecords": rows, "minValues": min, "maxValues": max, "nullCount": nulls }).to_string()
}

/// Whether [`bounds`] tells of some columns of this type.
fn can_be_bounded(data_type: &DataType) -> bool {
    data_type.is_integer()
        || data_type.is_floating()
        || data_type.is_decimal()
        || matches!(
            data_type,
            DataType::Boolean | DataType::Utf8 | DataType::Date32 | DataType::Timestamp(..)
        )
}

/// Whether all rows of a file are NULL in a column.
fn is_null(column: &ColumnStatistics, rows: u64) -> bool {
    matches!(column.null_count, Precision::Exact(count) if u64::try_from(count) == Ok(rows))
}

fn bounds(column: &ColumnStatistics, data_type: &DataType) -> Option<(Value, Value)> {
    let known = |bound: &Precision<ScalarValue>| match bound {
        Precision::Exact(value) => Some(value.clone()),
        // A footer's bounds of long strings are shortened, but are bounds.
        Precision::Inexact(value) if *data_type == DataType::Utf8 => Some(value.clone()),
        _ => None,
    };
    let (min, max) = (known(&column.min_value)?, known(&column.max_value)?);
    match (min.try_as_str().flatten(), max.try_as_str().flatten()) {
        (Some(min), Some(max)) => Some((prefix(min).into(), upper_bound(max)?.into())),
        _ => Some((value(&min)?, value(&max)?)),
    }
}

fn prefix(text: &str) -> &str {
    text.char_indices().nth(MAX_CHARS).map_or(text, |(end, _)| &text[..end])
}

/// A text no longer than the bounds of other writers that is not less than `text`, byte by byte.
fn upper_bound(text: &str) -> Option<String> {
    let short = prefix(text);
    let rest = text[short.len()..].chars().next();
    match rest {
        None => Some(short.to_owned()),
        // Nothing comes after this character, so what it begins has no simple bound.
        Some(char::MAX) => None,
        Some(_) => Some(format!("{short}{}", char::MAX)),
    }
}

/// A value that is told exactly, if that is possible.
fn value(scalar: &ScalarValue) -> Option<Value> {
    match scalar {
        ScalarValue::Int8(value) => value.map(Value::from),
        ScalarValue::Int16(value) => value.map(Value::from),
        ScalarValue::Int32(value) => value.map(Value::from),
        ScalarValue::Int64(value) => value.map(Value::from),
        ScalarValue::Boolean(value) => value.map(Value::from),
        // JSON has no others than finite ones.
        ScalarValue::Float32(value) => value.filter(|value| value.is_finite()).map(Value::from),
        ScalarValue::Float64(value) => value.filter(|value| value.is_finite()).map(Value::from),
        ScalarValue::Decimal128(value, _, scale) => decimal((*value)?, u32::try_from(*scale).ok()?),
        ScalarValue::Date32(days) => date((*days)?),
        ScalarValue::TimestampMicrosecond(micros, zone) => timestamp((*micros)?, zone.is_some()),
        _ => None,
    }
}

fn decimal(unscaled: i128, scale: u32) -> Option<Value> {
    if scale == 0 {
        // Numbers without a fraction stay whole, which the readers of 64 bits take as they are.
        return i64::try_from(unscaled)
            .map(Value::from)
            .or_else(|_| u64::try_from(unscaled).map(Value::from))
            .ok();
    }
    if unscaled.unsigned_abs() >= 10_u128.pow(FLOAT_DIGITS) {
        return None;
    }
    // Rounded once, from the digits, and so printed with just these digits again.
    let number = Value::from(format!("{unscaled}e-{scale}").parse::<f64>().ok()?);
    // The library's reader takes no exponents.
    (!number.to_string().contains('e')).then_some(number)
}

fn date(days: i32) -> Option<Value> {
    let date = DAYS.contains(&days).then(|| date32_to_datetime(days))??;
    Some(date.format("%Y-%m-%d").to_string().into())
}

/// Microseconds are told where there are any: a bound cut to milliseconds, as older writers have it, is none
/// to readers that take it at its word.
fn timestamp(micros: i64, utc: bool) -> Option<Value> {
    let day = micros.div_euclid(86_400_000_000);
    let day_told = i32::try_from(day).is_ok_and(|day| DAYS.contains(&day));
    let time = day_told.then(|| timestamp_us_to_datetime(micros))??;
    let format = if micros % 1000 == 0 { "%Y-%m-%dT%H:%M:%S%.3f" } else { "%Y-%m-%dT%H:%M:%S%.6f" };
    let zone = if utc { "Z" } else { "" };
    Some(format!("{}{zone}", time.format(format)).into())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array,
        Float64Array, Int8Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    };
    use arrow::compute::cast;
    use arrow::datatypes::{Field, Schema, SchemaRef};
    use bytes::Bytes;
    use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
    use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel as _;
    use deltalake_core::kernel::{Action, Add, StructType};
    use deltalake_core::operations::create::CreateBuilder;
    use parquet::arrow::ArrowWriter;
    use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};

    use super::*;

    /// The text for a file of these columns, by way of a footer.
    fn written(columns: Vec<(&str, ArrayRef)>) -> (String, SchemaRef) {
        let fields = columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let columns = columns.into_iter().map(|(_, column)| column).collect();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).unwrap();
        let mut bytes = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let footer = ArrowReaderMetadata::load(&Bytes::from(bytes), ArrowReaderOptions::default()).unwrap();
        let statistics = DFParquetMetadata::statistics_from_parquet_metadata(footer.metadata(), &schema);
        (file_stats(&statistics.unwrap(), batch.num_rows() as u64, &schema), schema)
    }

    fn parsed(columns: Vec<(&str, ArrayRef)>) -> Value {
        serde_json::from_str(&written(columns).0).unwrap()
    }

    fn samples() -> Vec<(&'static str, ArrayRef)> {
        let micros = TimestampMicrosecondArray::from(vec![Some(-1), None, Some(1_700_000_000_123_456)]);
        let wide = Decimal128Array::from(vec![Some(1), None, Some(i128::from(u64::MAX))]);
        let small = Decimal128Array::from(vec![Some(-12_345), None, Some(1)]);
        let long = Decimal128Array::from(vec![Some(-123_456_789_012_345), None, Some(999_999_999_999_999)]);
        vec![
            ("i8", Arc::new(Int8Array::from(vec![Some(i8::MIN), None, Some(i8::MAX)])) as ArrayRef),
            ("i64", Arc::new(Int64Array::from(vec![Some(i64::MIN), None, Some(i64::MAX)]))),
            ("f32", Arc::new(Float32Array::from(vec![Some(-0.1), None, Some(f32::MAX)]))),
            ("flag", Arc::new(BooleanArray::from(vec![Some(false), None, Some(true)]))),
            ("text", Arc::new(StringArray::from(vec![Some("a \"b\""), None, Some("ü")]))),
            ("day", Arc::new(Date32Array::from(vec![Some(-719_162), None, Some(2_932_896)]))),
            ("utc", Arc::new(micros.clone().with_timezone("UTC"))),
            ("ntz", Arc::new(micros)),
            ("wide", Arc::new(wide.with_precision_and_scale(20, 0).unwrap())),
            ("small", Arc::new(small.with_precision_and_scale(9, 2).unwrap())),
            ("long", Arc::new(long.with_precision_and_scale(38, 12).unwrap())),
        ]
    }

    #[test]
    fn values_are_written_as_other_writers_do() {
        let stats = parsed(samples());
        assert_eq!(stats["numRecords"], 3);
        let (min, max) = (&stats["minValues"], &stats["maxValues"]);
        assert_eq!((&min["i8"], &max["i64"]), (&json!(-128), &json!(i64::MAX)));
        assert_eq!((&min["day"], &max["day"]), (&json!("0001-01-01"), &json!("9999-12-31")));
        assert_eq!(min["utc"], "1969-12-31T23:59:59.999999Z");
        assert_eq!(max["ntz"], "2023-11-14T22:13:20.123456");
        assert_eq!((&min["small"], &max["wide"]), (&json!(-123.45), &json!(u64::MAX)));
        assert!(stats["nullCount"].as_object().unwrap().values().all(|count| *count == 1));
    }

    #[tokio::test]
    async fn the_library_reads_the_bounds_as_they_were() {
        let directory = tempfile::tempdir().unwrap();
        let (stats, schema) = written(samples());
        let add = Add {
            path: "a.parquet".to_owned(),
            size: 1,
            data_change: true,
            stats: Some(stats),
            ..Add::default()
        };
        let columns: StructType = schema.as_ref().try_into_kernel().unwrap();
        let table = CreateBuilder::new()
            .with_location(directory.path().to_str().unwrap())
            .with_columns(columns.fields().cloned())
            .with_actions([Action::Add(add)])
            .await
            .unwrap();
        let actions = table.snapshot().unwrap().add_actions_table(true).unwrap();
        for (name, column) in samples() {
            for (bound, row) in [("min", 0), ("max", 2)] {
                let told = actions.column_by_name(&format!("{bound}.{name}")).unwrap();
                let told = cast(told, column.data_type()).unwrap();
                assert_eq!(told.to_data(), column.slice(row, 1).to_data(), "{bound} of {name}");
            }
            let nulls = actions.column_by_name(&format!("null_count.{name}")).unwrap();
            assert_eq!(nulls.as_primitive::<arrow::datatypes::Int64Type>().value(0), 1, "{name}");
        }
    }

    #[test]
    fn bounds_of_long_texts_are_short_and_hold() {
        for (low, high) in [("ä".repeat(40), "ö".repeat(40)), ("a".repeat(500), "z".repeat(500))] {
            let stats = parsed(vec![("t", Arc::new(StringArray::from(vec![low.as_str(), high.as_str()])))]);
            let (min, max) =
                (stats["minValues"]["t"].as_str().unwrap(), stats["maxValues"]["t"].as_str().unwrap());
            assert!(min <= low.as_str() && max >= high.as_str(), "{min} {max}");
            assert!(min.chars().count() == 32 && max.chars().count() <= 33, "{min} {max}");
        }
        assert_eq!(upper_bound(&char::MAX.to_string().repeat(33)), None);
        assert_eq!(upper_bound(&"a".repeat(32)).unwrap(), "a".repeat(32));
    }

    #[test]
    fn what_is_no_bound_to_all_readers_is_left_out() {
        let far = Decimal128Array::from(vec![10_i128.pow(30)]).with_precision_and_scale(38, 2).unwrap();
        let tiny = Decimal128Array::from(vec![-1]).with_precision_and_scale(38, 20).unwrap();
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("inf", Arc::new(Float64Array::from(vec![f64::INFINITY]))),
            ("nan", Arc::new(Float64Array::from(vec![f64::NAN]))),
            ("null", Arc::new(Int64Array::from(vec![None]))),
            ("bytes", Arc::new(BinaryArray::from_vec(vec![b"x"]))),
            ("far", Arc::new(far)),
            ("tiny", Arc::new(tiny)),
            ("late", Arc::new(Date32Array::from(vec![i32::MAX]))),
            ("old", Arc::new(TimestampMicrosecondArray::from(vec![i64::MIN]))),
        ];
        let stats = parsed(columns);
        assert_eq!((&stats["minValues"], &stats["maxValues"]), (&Value::Null, &Value::Null));
        assert_eq!((&stats["nullCount"]["null"], &stats["nullCount"]["bytes"]), (&json!(1), &json!(0)));
    }

    #[test]
    fn only_the_first_columns_are_told_of() {
        let names: Vec<String> = (0..40).map(|index| format!("c{index}")).collect();
        let column = || Arc::new(Int64Array::from(vec![1])) as ArrayRef;
        let stats = parsed(names.iter().map(|name| (name.as_str(), column())).collect());
        assert_eq!(stats["minValues"].as_object().unwrap().len(), 32);
    }

    #[test]
    fn what_is_not_exact_is_not_told() {
        let schema = Schema::new(vec![Field::new("a", DataType::Int64, true)]);
        let column = ColumnStatistics {
            null_count: Precision::Inexact(1),
            min_value: Precision::Inexact(ScalarValue::Int64(Some(1))),
            max_value: Precision::Exact(ScalarValue::Int64(Some(2))),
            ..ColumnStatistics::default()
        };
        let statistics = Statistics { column_statistics: vec![column], ..Statistics::default() };
        let stats: Value = serde_json::from_str(&file_stats(&statistics, 5, &schema)).unwrap();
        assert_eq!(stats, json!({"numRecords": 5, "nullCount": {}}));
    }

    #[test]
    fn a_file_has_the_bounds_of_all_its_columns_or_of_none() {
        let one = |values: Vec<Option<f64>>| {
            let count = i64::try_from(values.len()).unwrap();
            let ids = Int64Array::from((0..count).collect::<Vec<_>>());
            parsed(vec![("id", Arc::new(ids)), ("x", Arc::new(Float64Array::from(values)))])
        };
        let stats = one(vec![Some(1.5), None]);
        assert_eq!((&stats["minValues"]["id"], &stats["maxValues"]["x"]), (&json!(0), &json!(1.5)));
        let stats = one(vec![None, None]);
        assert_eq!(stats["minValues"], json!({"id": 0}));
        let stats = one(vec![Some(f64::INFINITY), None]);
        assert_eq!((stats.get("minValues"), stats.get("maxValues")), (None, None));
        assert_eq!(stats["nullCount"], json!({"id": 0, "x": 1}));
    }
}
