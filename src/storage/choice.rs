//! Which encoding suits a column.

use std::collections::HashMap;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, PrimitiveArray, UInt64Array, downcast_primitive_array,
};
use arrow::compute::take;
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use parquet::basic::Type as PhysicalType;

/// Values that are looked at to see how many distinct ones there are.
const SAMPLE: usize = 2048;
/// How often a value must come in a row group, on average, for a dictionary to pay: the page of values and
/// the numbers that point into it are then clearly smaller than the values themselves.
const REPEATS: usize = 4;
/// The largest dictionary that is worth its memory; also where the writer gives one up.
pub(super) const MAX_DICTIONARY_BYTES: usize = 1 << 20;
/// Neighbours that are looked at to see how far they are apart: so many times so many.
const STRETCHES: usize = 32;
const STRETCH: usize = 65;
/// Values that change less often than every so many are a dictionary's strength: it counts repetitions.
const STEADY: usize = 8;

/// How to encode a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Numbers of values that are stored once. It takes a look-up for every value.
    Dictionary,
    /// Differences of integers, in as few bits as they take. As small as a dictionary of many values, or
    /// nearly so, in a fraction of the time; compressing it again gains next to nothing.
    Delta,
    /// The values as they are.
    Plain,
}

/// The encoding of a column in a row group of `rows` rows, judging by `values`, a part of them.
pub(super) fn choose(values: &ArrayRef, physical: PhysicalType, rows: usize) -> Choice {
    // Nested columns and rare types are left to the writer, which gives up a dictionary that grows large.
    if !is_flat(values.data_type()) || values.is_empty() {
        return Choice::Dictionary;
    }
    let Ok(estimate) = Estimate::of(values) else { return Choice::Dictionary };
    let distances = match physical {
        PhysicalType::INT32 | PhysicalType::INT64 => Distances::of(values),
        _ => None,
    };
    let pays = estimate.distinct.saturating_mul(REPEATS) <= rows
        && estimate.distinct.saturating_mul(estimate.width) <= MAX_DICTIONARY_BYTES;
    match distances {
        Some(distances) if !pays || distances.rival(&estimate, rows) => Choice::Delta,
        _ if pays => Choice::Dictionary,
        _ => Choice::Plain,
    }
}

fn is_flat(data_type: &DataType) -> bool {
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

impl Estimate {
    /// Estimates from a sample, taken at equal distances so that sorted columns are seen as they are.
    fn of(values: &ArrayRef) -> Result<Self, ArrowError> {
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
        let unseen =
            if count == values.len() { 0 } else { once * once.saturating_sub(1) / (2 * (twice + 1)) };
        Ok(Self { distinct: times.len() + unseen, width: bytes.div_ceil(count) })
    }
}

/// What neighbouring integers are like.
struct Distances {
    /// Bits that a difference takes, on average.
    bits: usize,
    /// Whether most values are equal to the one before.
    steady: bool,
}

impl Distances {
    fn of(values: &ArrayRef) -> Option<Self> {
        fn integers<T: ArrowPrimitiveType>(values: &PrimitiveArray<T>) -> Option<Distances> {
            let values = values.values();
            let step = (values.len() / STRETCHES).max(STRETCH);
            let (mut stretches, mut bits, mut pairs, mut changes) = (0, 0, 0, 0);
            for start in (0..values.len()).step_by(step) {
                let stretch = &values[start..(start + STRETCH).min(values.len())];
                let (mut least, mut most) = (i64::MAX, i64::MIN);
                for pair in stretch.windows(2) {
                    // Wider integers are none that could be stored in this way.
                    let distance = pair[1].to_i64()?.wrapping_sub(pair[0].to_i64()?);
                    (least, most) = (least.min(distance), most.max(distance));
                    pairs += 1;
                    changes += usize::from(pair[1].is_ne(pair[0]));
                }
                if stretch.len() > 1 {
                    stretches += 1;
                    bits += (i64::BITS - most.wrapping_sub(least).leading_zeros()) as usize;
                }
            }
            (stretches > 0).then(|| Distances { bits: bits / stretches, steady: changes * STEADY < pairs })
        }
        downcast_primitive_array!(values => integers(values), _ => None)
    }

    /// Whether differences take about as little room as a dictionary does.
    fn rival(&self, estimate: &Estimate, rows: usize) -> bool {
        let numbers = (usize::BITS - estimate.distinct.leading_zeros()) as usize;
        let values = estimate.distinct * estimate.width * 8 / rows.max(1);
        !self.steady && self.bits <= (numbers + values) * 3 / 2 + 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringViewArray};

    use super::*;

    const ROWS: usize = 131_072;

    fn check(values: impl Iterator<Item = i64>, integers: Choice, strings: Choice) {
        let values: Int64Array = values.take(65_536).collect();
        let decimals: Decimal128Array = values.iter().map(|value| value.map(i128::from)).collect();
        let texts: StringViewArray = values.iter().map(|value| value.map(|v| format!("v {v}"))).collect();
        assert_eq!(choose(&(Arc::new(values) as ArrayRef), PhysicalType::INT64, ROWS), integers);
        assert_eq!(choose(&(Arc::new(decimals) as ArrayRef), PhysicalType::INT64, ROWS), integers);
        assert_eq!(choose(&(Arc::new(texts) as ArrayRef), PhysicalType::BYTE_ARRAY, ROWS), strings);
    }

    /// A shuffle that always comes out the same.
    fn scattered(index: i64) -> i64 {
        index.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()) >> 16
    }

    #[test]
    fn values_that_repeat_get_a_dictionary() {
        check(std::iter::repeat(7), Choice::Dictionary, Choice::Dictionary);
        check((0..).map(|index| index / 3000), Choice::Dictionary, Choice::Dictionary);
        let spread = (0..).map(|index| scattered(index).rem_euclid(50) * 1_000_003);
        check(spread, Choice::Dictionary, Choice::Dictionary);
    }

    #[test]
    fn integers_that_are_near_each_other_are_stored_as_differences() {
        for many in [9, 50, 2500] {
            let near = (0..).map(|index| scattered(index).rem_euclid(many));
            check(near, Choice::Delta, Choice::Dictionary);
        }
    }

    #[test]
    fn keys_and_measures_get_no_dictionary() {
        check(0.., Choice::Delta, Choice::Plain);
        check((0..).map(|index| index / 2), Choice::Delta, Choice::Plain);
        check((0..).map(|index| scattered(index).rem_euclid(200_000)), Choice::Delta, Choice::Plain);
        check((0..).map(scattered), Choice::Delta, Choice::Plain);
        let floats: Float64Array = (0..65_536_i32).map(|index| Some(f64::from(index).sqrt())).collect();
        assert_eq!(choose(&(Arc::new(floats) as ArrayRef), PhysicalType::DOUBLE, ROWS), Choice::Plain);
    }

    #[test]
    fn long_values_get_no_dictionary_that_would_be_given_up() {
        let long = "x".repeat(4096);
        let values: StringViewArray =
            (0..65_536).map(|index| Some(format!("{}{long}", scattered(index).rem_euclid(1000)))).collect();
        let choice = choose(&(Arc::new(values) as ArrayRef), PhysicalType::BYTE_ARRAY, ROWS);
        assert_eq!(choice, Choice::Plain);
    }
}
