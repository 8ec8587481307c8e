//! What the footers of other writers tell of values, as far as it is true.
//!
//! Some bounds were written in another order than the type's, and some counts are wrong; queries skip rows and
//! answer aggregates by both. They are taken out where a footer is read, so that nothing sees them:
//!
//! - By the column's type, where its values have no order, or were compared as signed bytes before the format said how
//!   (the fields that were deprecated). Decimals that are byte arrays of any length were compared as if they had no sign,
//!   or as if all were of one length: apache/arrow-rs#10860, apache/arrow-rs#11073.
//! - Where the least value is larger than the largest, whoever wrote it: decimals and unsigned numbers that were compared
//!   as something else (ClickHouse/ClickHouse#83754, parquet-go/parquet-go#592, pola-rs/polars#16683).
//! - By the writer, where what is wrong may look right: pola-rs/polars#29347, hyparam/hyparquet-writer#38,
//!   r-lib/nanoparquet#169, ClickHouse/ClickHouse#103039, and DuckDB's counts of NULLs.

use parquet::basic::{ConvertedType, LogicalType, SortOrder, Type};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};

use crate::safeguard::Safeguard;

/// As whom DuckDB wrote files until 1.0. Until 0.9 its counts of NULLs were those of all row groups so far.
const DUCKDB_WITHOUT_VERSION: &str = "DuckDB";
/// As whom Polars writes files, whatever its version. The bounds of pages became those of a row group as if byte arrays
/// of a fixed length, its decimals and Int128, had no sign.
const POLARS: &str = "Polars";
/// As whom hyparquet-writer writes files. The bounds of decimals of 32 bits were written as floats.
const HYPARQUET: &str = "hyparquet";
/// What nanoparquet's name ends with. The bounds of timestamps that have a dictionary were written in seconds.
const NANOPARQUET: &str = "/nanoparquet";
/// What ClickHouse's name begins with. In an index of pages, a text that was too long for a bound is the empty text.
const CLICKHOUSE: &str = "ClickHouse";

/// What is not to be relied on of what is told of a column chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Doubt {
    bounds: bool,
    /// The bounds of its pages.
    pages: bool,
    nulls: bool,
}

impl Doubt {
    /// Of `column`, in a file of `writer` whose counts of NULLs are wrong where there are any, or not.
    fn of(column: &ColumnChunkMetaData, writer: &str, counts_are_wrong: bool) -> Self {
        let statistics = column.statistics();
        let has_any =
            |bounds: &&Statistics| bounds.min_bytes_opt().is_some() || bounds.max_bytes_opt().is_some();
        let bounds = statistics.filter(has_any);
        let is_wrong = !is_ordered(column, bounds.is_some_and(Statistics::is_min_max_deprecated))
            || is_mistaken(column, writer)
            || bounds.is_some_and(|bounds| is_reversed(column, bounds));
        let are_pages_cut = writer.starts_with(CLICKHOUSE) && column.column_type() == Type::BYTE_ARRAY;
        let nulls = statistics.and_then(Statistics::null_count_opt);
        Self {
            bounds: is_wrong && bounds.is_some(),
            pages: (is_wrong || are_pages_cut) && column.column_index_offset().is_some(),
            nulls: counts_are_wrong && nulls.is_some_and(|count| count > 0),
        }
    }

    fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// Whether bounds are those of the order of the column's type. The fields that were deprecated for it were
/// written by comparing bytes as signed ones, whatever the type.
/// <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>
fn is_ordered(column: &ColumnChunkMetaData, is_deprecated: bool) -> bool {
    let order = column.column_descr().sort_order();
    match column.column_type() {
        Type::INT96 => false,
        // Of two values, the order is plain.
        Type::BOOLEAN => true,
        Type::BYTE_ARRAY | Type::FIXED_LEN_BYTE_ARRAY if is_deprecated => false,
        _ if is_deprecated => order == SortOrder::SIGNED,
        _ => order != SortOrder::UNDEFINED,
    }
}

/// Whether writers are known to get the bounds of such a column wrong, all of them or this one.
fn is_mistaken(column: &ColumnChunkMetaData, writer: &str) -> bool {
    match column.column_type() {
        Type::BYTE_ARRAY => is_decimal(column),
        Type::FIXED_LEN_BYTE_ARRAY => writer == POLARS,
        Type::INT32 => writer == HYPARQUET && is_decimal(column),
        Type::INT64 => writer.ends_with(NANOPARQUET) && is_timestamp(column),
        _ => false,
    }
}

fn is_decimal(column: &ColumnChunkMetaData) -> bool {
    let descriptor = column.column_descr();
    matches!(descriptor.logical_type_ref(), Some(LogicalType::Decimal(_)))
        || descriptor.converted_type() == ConvertedType::DECIMAL
}

fn is_timestamp(column: &ColumnChunkMetaData) -> bool {
    let descriptor = column.column_descr();
    let converted = descriptor.converted_type();
    matches!(descriptor.logical_type_ref(), Some(LogicalType::Timestamp(_)))
        || matches!(converted, ConvertedType::TIMESTAMP_MILLIS | ConvertedType::TIMESTAMP_MICROS)
}

/// Whether the least value is larger than the largest, so that they are bounds in no order that is the type's.
fn is_reversed(column: &ColumnChunkMetaData, bounds: &Statistics) -> bool {
    let descriptor = column.column_descr();
    let is_signed = descriptor.sort_order() == SortOrder::SIGNED;
    let is_half = descriptor.logical_type_ref() == Some(&LogicalType::Float16);
    match bounds {
        Statistics::Boolean(values) => exceeds(values, |value| *value),
        Statistics::Int32(values) if is_signed => exceeds(values, |value| *value),
        Statistics::Int32(values) => exceeds(values, |value| value.cast_unsigned()),
        Statistics::Int64(values) if is_signed => exceeds(values, |value| *value),
        Statistics::Int64(values) => exceeds(values, |value| value.cast_unsigned()),
        Statistics::Int96(_) => false,
        Statistics::Float(values) => exceeds(values, |value| *value),
        Statistics::Double(values) => exceeds(values, |value| *value),
        Statistics::ByteArray(values) => exceeds(values, ByteArray::data),
        // Their bytes are in another order; nobody relies on bounds of floats.
        Statistics::FixedLenByteArray(_) if is_half => false,
        // The sign of a decimal is in the first byte, and all are of one length.
        Statistics::FixedLenByteArray(values) if is_signed => exceeds(values, |value| {
            value.data().split_first().map(|(first, rest)| (first.cast_signed(), rest))
        }),
        Statistics::FixedLenByteArray(values) => exceeds(values, |value| value.data()),
    }
}

/// Whether the least value has a larger key than the largest.
fn exceeds<'a, T, K: PartialOrd>(values: &'a ValueStatistics<T>, key: impl Fn(&'a T) -> K) -> bool {
    values.min_opt().zip(values.max_opt()).is_some_and(|(min, max)| key(min) > key(max))
}

/// `metadata` without what is known to be wrong in files of its writer.
pub(super) fn trusted(metadata: ParquetMetaData) -> Result<ParquetMetaData, ParquetError> {
    let writer = metadata.file_metadata().created_by().unwrap_or_default();
    // Where there is one row group, or none before has NULLs, there is nothing to add up.
    let counts_are_wrong = writer == DUCKDB_WITHOUT_VERSION && metadata.num_row_groups() > 1;
    let doubt = |column: &ColumnChunkMetaData| Doubt::of(column, writer, counts_are_wrong);
    let has_doubt = |group: &RowGroupMetaData| group.columns().iter().any(|column| !doubt(column).is_none());
    if !metadata.row_groups().iter().any(has_doubt) {
        return Ok(metadata);
    }
    let doubts: Vec<Vec<Doubt>> =
        metadata.row_groups().iter().map(|group| group.columns().iter().map(doubt).collect()).collect();
    let groups = metadata.row_groups().iter().zip(&doubts);
    let groups = groups.map(|(group, doubts)| {
        let columns = group.columns().iter().zip(doubts);
        let columns = columns.map(|(column, doubt)| without(column, *doubt)).collect::<Result<_, _>>()?;
        group.clone().into_builder().set_column_metadata(columns).build()
    });
    let groups = groups.collect::<Result<_, ParquetError>>()?;
    let mut index = metadata.column_index().cloned();
    for (columns, doubts) in index.iter_mut().flatten().zip(&doubts) {
        for (column, _) in columns.iter_mut().zip(doubts).filter(|(_, doubt)| !doubt.is_none()) {
            *column = ColumnIndexMetaData::NONE;
        }
    }
    Ok(metadata.into_builder().set_row_groups(groups).set_column_index(index).build())
}

fn without(column: &ColumnChunkMetaData, doubt: Doubt) -> Result<ColumnChunkMetaData, ParquetError> {
    let builder = column.clone().into_builder();
    if doubt.is_none() {
        return builder.build();
    }
    let builder = match column.statistics() {
        Some(statistics) => builder.set_statistics(believed(statistics, doubt)),
        None => builder,
    };
    // Who has no index of the pages yet is not to load it either.
    builder.set_column_index_offset(None).set_column_index_length(None).build()
}

/// The statistics without what is in doubt.
fn believed(statistics: &Statistics, doubt: Doubt) -> Statistics {
    rewritten(statistics, !doubt.bounds, statistics.null_count_opt().filter(|_| !doubt.nulls))
}

/// The statistics with that count of NULLs, and their bounds or not.
fn rewritten(statistics: &Statistics, has_bounds: bool, nulls: Option<u64>) -> Statistics {
    let is_deprecated = statistics.is_min_max_deprecated();
    macro_rules! rewritten {
        ($kind:ident, $values:expr) => {{
            let min = $values.min_opt().filter(|_| has_bounds).cloned();
            let max = $values.max_opt().filter(|_| has_bounds).cloned();
            let values = ValueStatistics::new(min, max, $values.distinct_count(), nulls, is_deprecated)
                .with_min_is_exact($values.min_is_exact())
                .with_max_is_exact($values.max_is_exact());
            Statistics::$kind(values)
        }};
    }
    match statistics {
        Statistics::Boolean(values) => rewritten!(Boolean, values),
        Statistics::Int32(values) => rewritten!(Int32, values),
        Statistics::Int64(values) => rewritten!(Int64, values),
        Statistics::Int96(values) => rewritten!(Int96, values),
        Statistics::Float(values) => rewritten!(Float, values),
        Statistics::Double(values) => rewritten!(Double, values),
        Statistics::ByteArray(values) => rewritten!(ByteArray, values),
        Statistics::FixedLenByteArray(values) => rewritten!(FixedLenByteArray, values),
    }
}

/// Whether it is not told how many NULLs a column chunk has, which may have some.
pub(super) fn hides_nulls(column: &ColumnChunkMetaData) -> bool {
    let is_told = |statistics: &Statistics| statistics.null_count_opt().is_some();
    column.column_descr().max_def_level() > 0
        && !column.statistics().is_none_or(is_told)
        && Safeguard::NullCounts.stands()
}

/// A column chunk that [`hides_nulls`] as it has to be for who takes a missing count for none: with some NULLs, not
/// with NULLs alone. `rows` are those of its row group.
pub(super) fn with_some_nulls(
    column: &ColumnChunkMetaData,
    rows: i64,
) -> Result<ColumnChunkMetaData, ParquetError> {
    let builder = column.clone().into_builder();
    let builder = match column.statistics() {
        Some(statistics) if rows > 1 => builder.set_statistics(rewritten(statistics, true, Some(1))),
        _ => builder.clear_statistics(),
    };
    builder.build()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parquet::data_type::FixedLenByteArray;
    use parquet::file::metadata::FileMetaData;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// A file of a writer, with a column of `field` that has the same statistics in two row groups of ten rows, and an
    /// index of its pages.
    fn file(writer: &str, field: &str, statistics: &Statistics) -> ParquetMetaData {
        let message = parse_message_type(&format!("message m {{ {field}; }}")).unwrap();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(message)));
        let group = || {
            let column = ColumnChunkMetaData::builder(schema.column(0)).set_statistics(statistics.clone());
            let column = column.set_column_index_offset(Some(4)).set_column_index_length(Some(4));
            let columns = vec![column.build().unwrap()];
            let builder = RowGroupMetaData::builder(Arc::clone(&schema)).set_num_rows(10);
            builder.set_column_metadata(columns).build().unwrap()
        };
        let of_file = FileMetaData::new(1, 20, Some(writer.to_owned()), None, Arc::clone(&schema), None);
        ParquetMetaData::new(of_file, vec![group(), group()])
    }

    fn told(metadata: ParquetMetaData) -> (bool, Option<u64>) {
        let trusted = trusted(metadata).unwrap();
        let statistics = trusted.row_group(1).column(0).statistics().unwrap();
        (statistics.min_bytes_opt().is_some(), statistics.null_count_opt())
    }

    /// Whether the bounds of row groups are kept, and those of pages.
    fn kept(writer: &str, field: &str, statistics: &Statistics) -> (bool, bool) {
        let trusted = trusted(file(writer, field, statistics)).unwrap();
        let column = trusted.row_group(1).column(0);
        let has_bounds = column.statistics().unwrap().min_bytes_opt().is_some();
        (has_bounds, column.column_index_offset().is_some())
    }

    fn fixed(min: [u8; 4], max: [u8; 4]) -> Statistics {
        let value = |bytes: [u8; 4]| Some(FixedLenByteArray::from(bytes.to_vec()));
        Statistics::fixed_len_byte_array(value(min), value(max), None, Some(0), false)
    }

    #[test]
    fn bounds_in_another_order_are_left_out() {
        let int = |deprecated| Statistics::int32(Some(1), Some(2), None, Some(3), deprecated);
        let bytes = |deprecated| {
            let value = |text: &str| Some(ByteArray::from(text));
            Statistics::byte_array(value("a"), value("b"), None, Some(3), deprecated)
        };
        let fixed = |deprecated| {
            let value = |text: &str| Some(FixedLenByteArray::from(ByteArray::from(text)));
            Statistics::fixed_len_byte_array(value("abcd"), value("bcde"), None, Some(3), deprecated)
        };
        for (field, statistics, new, deprecated) in [
            ("optional int32 c", &int as &dyn Fn(bool) -> Statistics, true, true),
            ("optional int32 c (date)", &int, true, true),
            ("optional int32 c (integer(32,false))", &int, true, false),
            ("optional int32 c (uint_8)", &int, true, false),
            ("optional binary c (utf8)", &bytes, true, false),
            ("optional binary c", &bytes, true, false),
            ("optional binary c (decimal(9,2))", &bytes, false, false),
            ("optional fixed_len_byte_array(4) c (decimal(9,2))", &fixed, true, false),
        ] {
            for (is_deprecated, kept) in [(false, new), (true, deprecated)] {
                let seen = told(file("parquet-mr version 1.8.1", field, &statistics(is_deprecated)));
                assert_eq!(seen, (kept, Some(3)), "{field}, deprecated: {is_deprecated}");
            }
        }
    }

    #[test]
    fn bounds_that_are_the_wrong_way_round_are_left_out() {
        let int = |min, max| Statistics::int32(Some(min), Some(max), None, Some(0), false);
        let double = |min, max| Statistics::double(Some(min), Some(max), None, Some(0), false);
        let bytes = |min: &str, max: &str| {
            Statistics::byte_array(Some(min.into()), Some(max.into()), None, Some(0), false)
        };
        let (minus_one, one) = ([0xff; 4], [0, 0, 0, 1]);
        for (field, statistics, expected) in [
            ("optional int32 c", int(-1, 1), true),
            ("optional int32 c", int(1, -1), false),
            ("optional int32 c (integer(32,false))", int(1, -1), true),
            ("optional int32 c (integer(32,false))", int(-1, 1), false),
            ("optional double c", double(-0.5, 0.5), true),
            ("optional double c", double(0.5, -0.5), false),
            ("optional binary c (utf8)", bytes("a", "a\u{e4}"), true),
            ("optional binary c (utf8)", bytes("b", "ab"), false),
            ("optional fixed_len_byte_array(4) c (decimal(9,2))", fixed(minus_one, one), true),
            ("optional fixed_len_byte_array(4) c (decimal(9,2))", fixed(one, minus_one), false),
            ("optional fixed_len_byte_array(4) c (decimal(9,2))", fixed([0xff, 0, 0, 0], minus_one), true),
            ("optional fixed_len_byte_array(4) c", fixed(one, minus_one), true),
            ("optional fixed_len_byte_array(4) c", fixed(minus_one, one), false),
        ] {
            assert_eq!(kept("some", field, &statistics), (expected, expected), "{field}: {statistics:?}");
        }
    }

    #[test]
    fn bounds_that_a_writer_gets_wrong_are_left_out() {
        let int = Statistics::int32(Some(1), Some(2), None, Some(0), false);
        let long = Statistics::int64(Some(1), Some(2), None, Some(0), false);
        let text = Statistics::byte_array(Some("a".into()), Some("b".into()), None, Some(0), false);
        let fixed = fixed([0, 0, 0, 1], [0, 0, 0, 2]);
        let (polars, hyparquet, clickhouse) = ("Polars", "hyparquet", "ClickHouse v26.3.3.20-lts");
        let nanoparquet = "https://github.com/gaborcsardi/nanoparquet";
        for (writer, field, statistics, expected) in [
            (polars, "optional fixed_len_byte_array(4) c (decimal(9,2))", &fixed, (false, false)),
            (polars, "optional fixed_len_byte_array(4) c", &fixed, (false, false)),
            (polars, "optional int32 c (decimal(9,2))", &int, (true, true)),
            ("parquet-rs", "optional fixed_len_byte_array(4) c (decimal(9,2))", &fixed, (true, true)),
            (hyparquet, "optional int32 c (decimal(9,2))", &int, (false, false)),
            (hyparquet, "optional int32 c", &int, (true, true)),
            (nanoparquet, "optional int64 c (TIMESTAMP(MICROS,true))", &long, (false, false)),
            (nanoparquet, "optional int64 c", &long, (true, true)),
            (clickhouse, "optional binary c (utf8)", &text, (true, false)),
            (clickhouse, "optional int64 c", &long, (true, true)),
        ] {
            assert_eq!(kept(writer, field, statistics), expected, "{writer}: {field}");
        }
    }

    #[test]
    fn an_index_of_pages_stays_where_a_row_group_has_no_bounds() {
        let counts = Statistics::byte_array(None, None, None, Some(3), true);
        assert_eq!(kept("some", "optional binary c (utf8)", &counts), (false, true));
    }

    #[test]
    fn counts_that_were_added_up_are_left_out() {
        let statistics = |nulls| Statistics::int32(Some(1), Some(2), None, Some(nulls), false);
        let field = "optional int32 c";
        assert_eq!(told(file("DuckDB", field, &statistics(3))), (true, None));
        assert_eq!(told(file("DuckDB", field, &statistics(0))), (true, Some(0)));
        assert_eq!(told(file("DuckDB version v1.1.3", field, &statistics(3))), (true, Some(3)));
    }

    #[test]
    fn nulls_that_nobody_counted_are_some() {
        let unknown = Statistics::int32(Some(1), Some(2), None, None, false);
        let optional = file("some", "optional int32 c", &unknown);
        let column = optional.row_group(0).column(0);
        assert!(hides_nulls(column));
        let some = with_some_nulls(column, 10).unwrap();
        assert_eq!(some.statistics().unwrap().null_count_opt(), Some(1));
        assert!(some.statistics().unwrap().min_bytes_opt().is_some());
        assert!(with_some_nulls(column, 1).unwrap().statistics().is_none());
        assert!(!hides_nulls(file("some", "required int32 c", &unknown).row_group(0).column(0)));
    }
}
