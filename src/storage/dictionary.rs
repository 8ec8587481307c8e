//! Whether a column is worth a dictionary.

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, UInt64Array};
use arrow::compute::take;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};

/// Values that are looked at.
const SAMPLE: usize = 2048;
/// How often a value must come in a row group, on average, for a dictionary to pay: the page of values and
/// the numbers that point into it are then clearly smaller than the values themselves.
const REPEATS: usize = 4;
/// The largest dictionary that is worth its memory; also where the writer gives one up.
pub(super) const MAX_DICTIONARY_BYTES: usize = 1 << 20;

/// Whether to store a column with a dictionary in a row group of `rows` rows, judging by `values`, a part
/// of them. Building one for values that hardly repeat costs more time than all other encoding.
pub(super) fn pays(values: &ArrayRef, rows: usize) -> bool {
    // Nested columns and rare types are left to the writer, which gives up a dictionary that grows large.
    if !is_plain(values.data_type()) || values.is_empty() {
        return true;
    }
    let Ok(estimate) = estimate(values) else { return true };
    estimate.distinct.saturating_mul(REPEATS) <= rows
        && estimate.distinct.saturating_mul(estimate.width) <= MAX_DICTIONARY_BYTES
}

fn is_plain(data_type: &DataType) -> bool {
    data_type.is_primitive()
        || matches!(
            data_type,
            DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Utf8View
                | DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        )
}

struct Estimate {
    /// Distinct values in the whole column.
    distinct: usize,
    /// Bytes of a value, rounded up generously.
    width: usize,
}

/// Estimates from a sample, taken at equal distances so that sorted columns are seen as they are.
fn estimate(values: &ArrayRef) -> Result<Estimate, ArrowError> {
    let count = values.len().min(SAMPLE);
    let step = values.len() / count;
    let places = UInt64Array::from_iter_values((0..count).map(|index| (index * step) as u64));
    let sample = take(values, &places, None)?;
    let converter = RowConverter::new(vec![SortField::new(sample.data_type().clone())])?;
    let rows = converter.convert_columns(&[sample])?;
    let mut times: HashMap<&[u8], u32> = HashMap::with_capacity(count);
    let mut bytes = 0;
    for row in &rows {
        *times.entry(row.data()).or_default() += 1;
        bytes += row.data().len();
    }
    let seen_times = |wanted| times.values().filter(|times| **times == wanted).count();
    let (once, twice) = (seen_times(1), seen_times(2));
    // Chao's estimator: values that were seen once tell how many were not seen at all.
    let unseen = if count == values.len() { 0 } else { once * once.saturating_sub(1) / (2 * (twice + 1)) };
    Ok(Estimate { distinct: times.len() + unseen, width: bytes.div_ceil(count) })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringViewArray};

    use super::*;

    const ROWS: usize = 131_072;

    fn check(values: impl Iterator<Item = i64>, expected: bool) {
        let values: Int64Array = values.take(65_536).collect();
        let strings: StringViewArray = values.iter().map(|value| value.map(|v| format!("v {v}"))).collect();
        assert_eq!(pays(&(Arc::new(values) as ArrayRef), ROWS), expected);
        assert_eq!(pays(&(Arc::new(strings) as ArrayRef), ROWS), expected);
    }

    /// A shuffle that always comes out the same.
    fn scattered(index: i64) -> i64 {
        index.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()) >> 16
    }

    #[test]
    fn values_that_repeat_get_a_dictionary() {
        check(std::iter::repeat(7), true);
        check((0..).map(|index| scattered(index).rem_euclid(50)), true);
        check((0..).map(|index| scattered(index).rem_euclid(2500)), true);
        check((0..).map(|index| index / 3000), true);
    }

    #[test]
    fn keys_and_measures_get_none() {
        check(0.., false);
        check((0..).map(scattered), false);
        check((0..).map(|index| scattered(index).rem_euclid(200_000)), false);
        check((0..).map(|index| index / 2), false);
    }

    #[test]
    fn long_values_get_none_that_would_be_given_up() {
        let long = "x".repeat(4096);
        let values: StringViewArray =
            (0..65_536).map(|index| Some(format!("{}{long}", scattered(index).rem_euclid(1000)))).collect();
        assert!(!pays(&(Arc::new(values) as ArrayRef), ROWS));
    }
}
