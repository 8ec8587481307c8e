//! Which encoding suits a column, and whether a Bloom filter does.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowNativeTypeOp, AsArray, PrimitiveArray, UInt64Array, downcast_primitive_array,
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

/// The widest values that are taken for keys, as rows for comparison have them: 64 bytes. Longer ones are texts.
const KEY_WIDTH: usize = 80;
/// Values in a sample that may have come before in it, so that they are taken for unique.
const KEY_REPEATS: usize = 1;
/// One in so many neighbours of a sample may be out of order in a column that is sorted, or nearly.
const DISORDER: usize = 8;

/// How to write a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) encoding: Encoding,
    /// Whether a row group should have a Bloom filter of the column. It pays where people look for single values
    /// of which few row groups have any, and bounds do not tell which: keys in no order.
    pub(super) is_key: bool,
}

/// How to encode a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Numbers of values that are stored once. It takes a look-up for every value.
    Dictionary,
    /// Differences of integers, in as few bits as they take. As small as a dictionary of many values, or
    /// nearly so, in a fraction of the time; compressing it again gains next to nothing.
    Delta,
    /// The values as they are.
    Plain,
}

/// How to write a column in a row group of `rows` rows, judging by `values`, a part of them.
pub(super) fn choose(values: &ArrayRef, physical: PhysicalType, rows: usize) -> Choice {
    // Nested columns and rare types are left to the writer, which gives up a dictionary that grows large.
    let estimate = (is_flat(values.data_type()) && !values.is_empty()).then(|| Estimate::of(values));
    let Some(Ok(estimate)) = estimate else {
        return Choice { encoding: Encoding::Dictionary, is_key: false };
    };
    let is_key = can_be_key(values.data_type()) && estimate.is_key;
    Choice { encoding: encoding(values, physical, rows, &estimate), is_key }
}

fn encoding(values: &ArrayRef, physical: PhysicalType, rows: usize, estimate: &Estimate) -> Encoding {
    let distances = match physical {
        PhysicalType::INT32 | PhysicalType::INT64 => Distances::of(values),
        _ => None,
    };
    let pays = estimate.distinct.saturating_mul(REPEATS) <= rows
        && estimate.distinct.saturating_mul(estimate.width) <= MAX_DICTIONARY_BYTES;
    match distances {
        Some(distances) if !pays || distances.rival(estimate, rows) => Encoding::Delta,
        _ if pays => Encoding::Dictionary,
        _ => Encoding::Plain,
    }
}

fn is_flat(data_type: &DataType) -> bool {
    data_type.is_primitive() || is_bytes(data_type)
}

fn is_bytes(data_type: &DataType) -> bool {
    matches!(
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

/// Whether keys have this type, and queries look into filters of it. Floats never: equal ones may have
/// different bits, which are what a filter knows.
fn can_be_key(data_type: &DataType) -> bool {
    is_bytes(data_type)
        || matches!(data_type, DataType::Int32 | DataType::Int64 | DataType::UInt32 | DataType::UInt64)
}

struct Estimate {
    /// Distinct values in the whole column.
    distinct: usize,
    /// Bytes of a value, rounded up generously.
    width: usize,
    /// Whether values hardly ever repeat, are in no order, and are short and of one word.
    is_key: bool,
}

impl Estimate {
    /// Estimates from a sample, taken at equal distances so that sorted columns are seen as they are.
    fn of(values: &ArrayRef) -> Result<Self, ArrowError> {
        let count = values.len().min(SAMPLE);
        let step = values.len() / count;
        let places = UInt64Array::from_iter_values((0..count).map(|index| (index * step) as u64));
        let sample = take(values, &places, None)?;
        let converter = RowConverter::new(vec![SortField::new(sample.data_type().clone())])?;
        let rows = converter.convert_columns(&[Arc::clone(&sample)])?;
        let mut times: HashMap<&[u8], u32> = HashMap::with_capacity(count);
        let mut bytes = 0;
        let (mut before, mut ascents) = (None, 0);
        for row in &rows {
            *times.entry(row.data()).or_default() += 1;
            bytes += row.data().len();
            ascents += usize::from(before.is_some_and(|before| before < row));
            before = Some(row);
        }
        let seen_times = |wanted| times.values().filter(|times| **times == wanted).count();
        let (once, twice) = (seen_times(1), seen_times(2));
        // Chao's estimator: values that were seen once tell how many were not seen at all.
        let unseen =
            if count == values.len() { 0 } else { once * once.saturating_sub(1) / (2 * (twice + 1)) };
        let width = bytes.div_ceil(count);
        let repeats = count - sample.null_count() - (times.len() - usize::from(sample.null_count() > 0));
        let is_ordered = ascents.min(count - 1 - ascents) < count / DISORDER;
        // What a small sample says of repeats is nothing.
        let is_key = count == SAMPLE
            && repeats <= KEY_REPEATS
            && !is_ordered
            && width <= KEY_WIDTH
            && !is_prose(&sample);
        Ok(Self { distinct: times.len() + unseen, width, is_key })
    }
}

/// Whether most values are several words: texts to read, of which nobody looks for one by all it says.
fn is_prose(values: &ArrayRef) -> bool {
    fn blanks<'a>(values: impl Iterator<Item = Option<&'a str>>) -> usize {
        values.flatten().filter(|text| text.contains(' ')).count()
    }
    let blanks = match values.data_type() {
        DataType::Utf8 => blanks(values.as_string::<i32>().iter()),
        DataType::LargeUtf8 => blanks(values.as_string::<i64>().iter()),
        DataType::Utf8View => blanks(values.as_string_view().iter()),
        _ => 0,
    };
    blanks > (values.len() - values.null_count()) / 2
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
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, StringViewArray};

    use super::*;

    const ROWS: usize = 131_072;

    fn encoding_of(values: impl Array + 'static, physical: PhysicalType) -> Encoding {
        choose(&(Arc::new(values) as ArrayRef), physical, ROWS).encoding
    }

    fn check(values: impl Iterator<Item = i64>, integers: Encoding, strings: Encoding) {
        let values: Int64Array = values.take(65_536).collect();
        let decimals: Decimal128Array = values.iter().map(|value| value.map(i128::from)).collect();
        let texts: StringViewArray = values.iter().map(|value| value.map(|v| format!("v {v}"))).collect();
        assert_eq!(encoding_of(values, PhysicalType::INT64), integers);
        assert_eq!(encoding_of(decimals, PhysicalType::INT64), integers);
        assert_eq!(encoding_of(texts, PhysicalType::BYTE_ARRAY), strings);
    }

    /// A shuffle that always comes out the same.
    fn scattered(index: i64) -> i64 {
        index.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed()) >> 16
    }

    #[test]
    fn values_that_repeat_get_a_dictionary() {
        check(std::iter::repeat(7), Encoding::Dictionary, Encoding::Dictionary);
        check((0..).map(|index| index / 3000), Encoding::Dictionary, Encoding::Dictionary);
        let spread = (0..).map(|index| scattered(index).rem_euclid(50) * 1_000_003);
        check(spread, Encoding::Dictionary, Encoding::Dictionary);
    }

    #[test]
    fn integers_that_are_near_each_other_are_stored_as_differences() {
        for many in [9, 50, 2500] {
            let near = (0..).map(|index| scattered(index).rem_euclid(many));
            check(near, Encoding::Delta, Encoding::Dictionary);
        }
    }

    #[test]
    fn keys_and_measures_get_no_dictionary() {
        check(0.., Encoding::Delta, Encoding::Plain);
        check((0..).map(|index| index / 2), Encoding::Delta, Encoding::Plain);
        check((0..).map(|index| scattered(index).rem_euclid(200_000)), Encoding::Delta, Encoding::Plain);
        check((0..).map(scattered), Encoding::Delta, Encoding::Plain);
        let floats: Float64Array = (0..65_536_i32).map(|index| Some(f64::from(index).sqrt())).collect();
        assert_eq!(encoding_of(floats, PhysicalType::DOUBLE), Encoding::Plain);
    }

    #[test]
    fn long_values_get_no_dictionary_that_would_be_given_up() {
        let long = "x".repeat(4096);
        let values: StringViewArray =
            (0..65_536).map(|index| Some(format!("{}{long}", scattered(index).rem_euclid(1000)))).collect();
        assert_eq!(encoding_of(values, PhysicalType::BYTE_ARRAY), Encoding::Plain);
    }

    #[test]
    fn only_keys_in_no_order_get_a_filter() {
        let is_key = |values: ArrayRef, physical| choose(&values, physical, ROWS).is_key;
        let check = |values: &Int64Array, expected: bool| {
            let texts: StringViewArray = values.iter().map(|v| v.map(|v| format!("{v:x}"))).collect();
            assert_eq!(is_key(Arc::new(values.clone()), PhysicalType::INT64), expected);
            assert_eq!(is_key(Arc::new(texts), PhysicalType::BYTE_ARRAY), expected);
        };
        let keys = || (0..65_536).map(scattered);
        check(&keys().collect(), true);
        check(&keys().enumerate().map(|(row, key)| (row % 5 > 0).then_some(key)).collect(), true);
        // Sorted, repeated, too few to tell.
        check(&((1 << 40)..(1 << 40) + 65_536).collect(), false);
        check(&((1 << 40) - 65_536..1 << 40).rev().collect(), false);
        check(&keys().map(|key| key % 10_000).collect(), false);
        check(&keys().take(1000).collect(), false);
        // Texts, and types that nobody looks for single values of.
        let long: StringViewArray = keys().map(|key| Some(format!("{key}{}", "x".repeat(100)))).collect();
        assert!(!is_key(Arc::new(long), PhysicalType::BYTE_ARRAY));
        let prose: StringViewArray = keys().map(|key| Some(format!("{key} says"))).collect();
        assert!(!is_key(Arc::new(prose), PhysicalType::BYTE_ARRAY));
        let floats: Float64Array = keys().map(|key| Some(f64::from_bits(key.cast_unsigned() >> 2))).collect();
        assert!(!is_key(Arc::new(floats), PhysicalType::DOUBLE));
    }
}
