//! What the footers of other writers tell of values, as far as it is true.
//!
//! Some bounds were written in another order than the type's, and some counts are wrong; queries skip rows and
//! answer aggregates by both. They are taken out where a footer is read, so that nothing sees them.

use parquet::basic::{SortOrder, Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};

/// As whom DuckDB wrote files until 1.0. Until 0.9 its counts of NULLs were those of all row groups so far.
const DUCKDB_WITHOUT_VERSION: &str = "DuckDB";

/// What is not to be relied on in the statistics of a column chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Doubt {
    bounds: bool,
    nulls: bool,
}

impl Doubt {
    /// Of `column`, in a file whose counts of NULLs are wrong where there are any, or not.
    fn of(column: &ColumnChunkMetaData, counts_are_wrong: bool) -> Self {
        let Some(statistics) = column.statistics() else { return Self::default() };
        let has_bounds = statistics.min_bytes_opt().is_some() || statistics.max_bytes_opt().is_some();
        Self {
            bounds: has_bounds && !is_ordered(column, statistics.is_min_max_deprecated()),
            nulls: counts_are_wrong && statistics.null_count_opt().is_some_and(|count| count > 0),
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

/// `metadata` without what is known to be wrong in files of its writer.
pub(super) fn trusted(metadata: ParquetMetaData) -> Result<ParquetMetaData, ParquetError> {
    // Where there is one row group, or none before has NULLs, there is nothing to add up.
    let counts_are_wrong = metadata.file_metadata().created_by() == Some(DUCKDB_WITHOUT_VERSION)
        && metadata.num_row_groups() > 1;
    let doubt = |column: &ColumnChunkMetaData| Doubt::of(column, counts_are_wrong);
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
    column.column_descr().max_def_level() > 0 && !column.statistics().is_none_or(is_told)
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

    use parquet::data_type::{ByteArray, FixedLenByteArray};
    use parquet::file::metadata::FileMetaData;
    use parquet::schema::parser::parse_message_type;
    use parquet::schema::types::SchemaDescriptor;

    use super::*;

    /// A file of a writer, with a column of `field` that has the same statistics in two row groups of ten rows.
    fn file(writer: &str, field: &str, statistics: &Statistics) -> ParquetMetaData {
        let message = parse_message_type(&format!("message m {{ {field}; }}")).unwrap();
        let schema = Arc::new(SchemaDescriptor::new(Arc::new(message)));
        let group = || {
            let column = ColumnChunkMetaData::builder(schema.column(0)).set_statistics(statistics.clone());
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
            ("optional binary c (decimal(9,2))", &bytes, true, false),
            ("optional fixed_len_byte_array(4) c (decimal(9,2))", &fixed, true, false),
        ] {
            for (is_deprecated, kept) in [(false, new), (true, deprecated)] {
                let seen = told(file("parquet-mr version 1.8.1", field, &statistics(is_deprecated)));
                assert_eq!(seen, (kept, Some(3)), "{field}, deprecated: {is_deprecated}");
            }
        }
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
