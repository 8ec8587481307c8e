//! How large the values of row groups are when they are decoded, as far as footers tell.

use arrow::datatypes::Schema;
use parquet::arrow::ProjectionMask;
use parquet::basic::Type;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};

/// What a text or list takes besides its values.
const PLACE: u64 = 16;

/// Bounds of a column that are as long as this may have been cut.
const CUT: usize = 64;
/// Where bounds are not, how many times as long as they the values may be on average.
const LONGER: u64 = 16;

/// Whether a dictionary hides how long the strings of a column are together.
pub(super) fn hides_lengths(group: &RowGroupMetaData, mask: &ProjectionMask) -> bool {
    let columns = group.columns().iter().enumerate();
    columns.into_iter().any(|(leaf, column)| mask.leaf_included(leaf) && is_hidden(column))
}

fn is_hidden(column: &ColumnChunkMetaData) -> bool {
    column.column_type() == Type::BYTE_ARRAY
        && column.dictionary_page_offset().is_some()
        && column.unencoded_byte_array_data_bytes().is_none()
}

/// Bytes of a row group when it is decoded, as far as the footer tells: a dictionary can hide what its
/// values take, but not from the size statistics that newer writers add.
pub(super) fn decoded_bytes(group: &RowGroupMetaData, schema: &Schema, mask: &ProjectionMask) -> u64 {
    (0..group.num_columns())
        .filter(|index| mask.leaf_included(*index))
        .map(|leaf| leaf_bytes(group, schema, leaf))
        .fold(0, u64::saturating_add)
}

fn leaf_bytes(group: &RowGroupMetaData, schema: &Schema, leaf: usize) -> u64 {
    let column = group.column(leaf);
    let values = unsigned(column.num_values());
    if column.column_type() == Type::BYTE_ARRAY {
        let bytes = column.uncompressed_size().max(column.unencoded_byte_array_data_bytes().unwrap_or(0));
        let bytes = unsigned(bytes);
        let bytes = if is_hidden(column) { bytes.max(values.saturating_mul(average(column))) } else { bytes };
        return (values * PLACE).saturating_add(bytes);
    }
    if column.column_type() == Type::FIXED_LEN_BYTE_ARRAY {
        let length = u64::try_from(column.column_descr().type_length()).unwrap_or(0);
        return values.saturating_mul(length.max(PLACE));
    }
    let root = schema.fields().get(group.schema_descr().get_column_root_idx(leaf));
    values * root.and_then(|field| field.data_type().primitive_width()).unwrap_or(16) as u64
}

/// About how long a value is on average that a dictionary has. Its other pages have numbers, of as many bits as it takes to
/// tell its values apart; fewer where these repeat in a row, which makes the values seem longer than they are.
fn average(column: &ColumnChunkMetaData) -> u64 {
    let Some(start) = column.dictionary_page_offset() else { return 0 };
    let (all, compressed) = (unsigned(column.uncompressed_size()), unsigned(column.compressed_size()).max(1));
    let stored = unsigned(column.data_page_offset() - start).min(compressed);
    let dictionary =
        u64::try_from(u128::from(stored) * u128::from(all) / u128::from(compressed)).unwrap_or(all);
    let bits = (all - dictionary.min(all)) * 8 / unsigned(column.num_values()).max(1);
    let average = dictionary / (1 << bits.min(20));
    let bounds = column.statistics().map(|statistics| {
        let length = |bound: Option<&[u8]>| bound.map(<[u8]>::len);
        length(statistics.min_bytes_opt()).max(length(statistics.max_bytes_opt()))
    });
    match bounds.flatten() {
        Some(longest) if longest < CUT => average.min(LONGER * (longest as u64).max(1)),
        longest => average.max(longest.unwrap_or(0) as u64),
    }
}

/// About how many bytes each top-level column has in a row, in the row group where that is most.
pub(super) fn widths(metadata: &ParquetMetaData, schema: &Schema) -> Vec<u64> {
    let mut widths = vec![0; schema.fields().len()];
    for group in metadata.row_groups() {
        let rows = unsigned(group.num_rows()).max(1);
        let mut roots = vec![0_u64; widths.len()];
        for leaf in 0..group.num_columns() {
            let root = group.schema_descr().get_column_root_idx(leaf);
            if let Some(bytes) = roots.get_mut(root) {
                *bytes = bytes.saturating_add(leaf_bytes(group, schema, leaf));
            }
        }
        widths.iter_mut().zip(roots).for_each(|(width, bytes)| *width = (*width).max(bytes.div_ceil(rows)));
    }
    widths
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;
    use bytes::Bytes;
    use parquet::arrow::ArrowWriter;
    use parquet::file::metadata::ParquetMetaDataReader;
    use parquet::file::properties::{EnabledStatistics, WriterProperties};

    use super::*;

    fn widths_of(statistics: EnabledStatistics, text: impl Fn(i64) -> String) -> Vec<u64> {
        let rows = 0..20_000_i64;
        let texts = StringArray::from_iter_values(rows.clone().map(text));
        let lists = rows.clone().map(|_| Some(vec![Some(1_i64); 10]));
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(lists);
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from_iter_values(rows)) as _),
            ("s", Arc::new(texts) as _),
            ("l", Arc::new(lists) as _),
        ]);
        let batch = batch.unwrap();
        let properties = WriterProperties::builder().set_statistics_enabled(statistics).build();
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&Bytes::from(file)).unwrap();
        widths(&metadata, &batch.schema())
    }

    #[test]
    fn the_width_of_values_is_seen_through_a_dictionary() {
        for statistics in [EnabledStatistics::Page, EnabledStatistics::None] {
            let long = widths_of(statistics, |row| format!("{}{}", "x".repeat(20_000), row % 16));
            assert_eq!(long[0], 8);
            assert!((20_000..100_000).contains(&long[1]), "{statistics:?} {long:?}");
            assert!((80..200).contains(&long[2]), "{long:?}");
            let short = widths_of(statistics, |row| format!("text {}", row % 16));
            assert!(short[1] < 200, "{statistics:?} {short:?}");
        }
    }
}
