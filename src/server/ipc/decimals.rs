//! Decimals from clients: arrow takes their digits as they come, also more than their type has.

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, MapArray, PrimitiveArray, RecordBatch, UInt64Array,
};
use arrow::compute::take;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType, Field, i256,
};
use arrow::error::ArrowError;

use crate::error::{Error, Result};

/// Whether there are decimals in a type.
pub(in crate::server) fn has_decimals(data_type: &DataType) -> bool {
    let within = |field: &Field| has_decimals(field.data_type());
    match data_type {
        decimal if decimal.is_decimal() => true,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _)
        | DataType::RunEndEncoded(_, field) => within(field),
        DataType::Struct(fields) => fields.iter().any(|field| within(field)),
        DataType::Union(fields, _) => fields.iter().any(|(_, field)| within(field)),
        DataType::Dictionary(_, values) => has_decimals(values),
        _ => false,
    }
}

/// Fails where a value of `batch` has more digits than the precision of its type.
pub(in crate::server) fn check_decimals(batch: &RecordBatch) -> Result<()> {
    for (column, field) in batch.columns().iter().zip(batch.schema_ref().fields()) {
        if !has_decimals(field.data_type()) || all_fit(column.as_ref()) {
            continue;
        }
        check_values(column).map_err(|error| {
            let why = match error {
                ArrowError::InvalidArgumentError(why) => why,
                other => other.to_string(),
            };
            Error::invalid(format!(
                "column {} has a value that does not fit into its type: {why}",
                field.name()
            ))
        })?;
    }
    Ok(())
}

/// Whether all that lies in an array fits, in slots of NULL too. True for nearly all arrays, and quickly found out.
fn all_fit(array: &dyn Array) -> bool {
    match array.data_type() {
        DataType::Decimal32(precision, _) => {
            within::<Decimal32Type>(array, 10_i32.checked_pow(u32::from(*precision)))
        }
        DataType::Decimal64(precision, _) => {
            within::<Decimal64Type>(array, 10_i64.checked_pow(u32::from(*precision)))
        }
        DataType::Decimal128(precision, _) => {
            within::<Decimal128Type>(array, 10_i128.checked_pow(u32::from(*precision)))
        }
        DataType::Decimal256(precision, _) => {
            within::<Decimal256Type>(array, i256::from_i128(10).checked_pow(u32::from(*precision)))
        }
        _ => {
            array.to_data().child_data().iter().all(|child| all_fit(&arrow::array::make_array(child.clone())))
        }
    }
}

/// Whether all values are nearer to zero than `bound`.
fn within<T>(array: &dyn Array, bound: Option<T::Native>) -> bool
where
    T: ArrowPrimitiveType,
    T::Native: std::ops::Neg<Output = T::Native>,
{
    let Some(bound) = bound else { return true };
    let least = -bound;
    let is_wide = |value: &T::Native| u8::from(*value >= bound) | u8::from(*value <= least);
    // Without a branch, so that the compiler can look at several at once.
    array.as_primitive::<T>().values().iter().fold(0, |wide, value| wide | is_wide(value)) == 0
}

/// Fails where a value that is not NULL does not fit.
fn check_values(array: &ArrayRef) -> Result<(), ArrowError> {
    let array = without_nulls(array)?;
    match array.data_type() {
        DataType::Decimal32(..) => check_precision::<Decimal32Type>(&array),
        DataType::Decimal64(..) => check_precision::<Decimal64Type>(&array),
        DataType::Decimal128(..) => check_precision::<Decimal128Type>(&array),
        DataType::Decimal256(..) => check_precision::<Decimal256Type>(&array),
        DataType::Dictionary(..) => {
            let dictionary = array.as_any_dictionary();
            check_values(&take(dictionary.values(), dictionary.keys(), None)?)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().try_for_each(check_values),
        DataType::List(_) => check_values(array.as_list::<i32>().values()),
        DataType::LargeList(_) => check_values(array.as_list::<i64>().values()),
        DataType::FixedSizeList(..) => check_values(array.as_fixed_size_list().values()),
        DataType::Map(..) => check_entries(array.as_map()),
        _ => array
            .to_data()
            .child_data()
            .iter()
            .try_for_each(|child| check_values(&arrow::array::make_array(child.clone()))),
    }
}

fn check_entries(map: &MapArray) -> Result<(), ArrowError> {
    map.entries().columns().iter().try_for_each(check_values)
}

fn check_precision<T: DecimalType>(array: &ArrayRef) -> Result<(), ArrowError> {
    let values: &PrimitiveArray<T> = array.as_primitive::<T>();
    let (DataType::Decimal32(precision, _)
    | DataType::Decimal64(precision, _)
    | DataType::Decimal128(precision, _)
    | DataType::Decimal256(precision, _)) = array.data_type()
    else {
        return Ok(());
    };
    values.validate_decimal_precision(*precision)
}

/// The values of an array, without its NULLs and what lies below them.
fn without_nulls(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) else { return Ok(array.clone()) };
    let valid = UInt64Array::from_iter_values(nulls.valid_indices().map(|index| index as u64));
    take(array, &valid, None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Decimal32Array, Decimal64Array, Decimal128Array, Decimal256Array, DictionaryArray,
        FixedSizeListArray, Int32Array, ListArray, StructArray,
    };
    use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};

    use super::*;

    fn check(column: ArrayRef) -> Result<()> {
        check_decimals(&RecordBatch::try_from_iter([("c", column)]).unwrap())
    }

    fn decimals(values: Vec<i128>, nulls: Option<Vec<bool>>) -> ArrayRef {
        let nulls = nulls.map(NullBuffer::from);
        let array = Decimal128Array::new(ScalarBuffer::from(values), nulls);
        Arc::new(array.with_precision_and_scale(3, 1).unwrap())
    }

    /// An array of decimals in arrays of other types.
    fn nested(values: &ArrayRef) -> Vec<ArrayRef> {
        let field = Arc::new(Field::new("x", values.data_type().clone(), true));
        let rows = i32::try_from(values.len()).unwrap();
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, rows]));
        let keys = Int32Array::from_iter_values(0..rows);
        vec![
            values.clone(),
            Arc::new(ListArray::new(field.clone(), offsets, values.clone(), None)),
            Arc::new(FixedSizeListArray::new(field.clone(), 1, values.clone(), None)),
            Arc::new(StructArray::from(vec![(field, values.clone())])),
            Arc::new(DictionaryArray::new(keys, values.clone())),
        ]
    }

    #[test]
    fn more_digits_than_the_precision_are_refused_wherever_they_are() {
        for wide in [1000, -1000, i128::MAX, i128::MIN] {
            for array in nested(&decimals(vec![999, wide, -999], None)) {
                let error = check(array.clone()).unwrap_err();
                assert!(error.message().contains("column c"), "{:?}: {error}", array.data_type());
            }
        }
        for array in nested(&decimals(vec![999, 0, -999], None)) {
            check(array).unwrap();
        }
    }

    #[test]
    fn what_lies_below_a_null_does_not_matter() {
        for array in nested(&decimals(vec![1, 1000, 2], Some(vec![true, false, true]))) {
            check(array).unwrap();
        }
        let wide = decimals(vec![1000, 1], None);
        let field = Arc::new(Field::new("x", wide.data_type().clone(), true));
        let nulls = NullBuffer::from(vec![false, true]);
        let offsets = OffsetBuffer::new(ScalarBuffer::from(vec![0, 1, 2]));
        check(Arc::new(ListArray::new(field.clone(), offsets, wide.clone(), Some(nulls.clone())))).unwrap();
        check(Arc::new(FixedSizeListArray::new(field.clone(), 1, wide.clone(), Some(nulls.clone()))))
            .unwrap();
        check(Arc::new(StructArray::new(vec![field].into(), vec![wide], Some(nulls)))).unwrap();
    }

    #[test]
    fn all_widths_are_checked() {
        let precise = |bits: u32| -> (ArrayRef, ArrayRef) {
            match bits {
                32 => {
                    let of =
                        |value| Decimal32Array::from(vec![value]).with_precision_and_scale(9, 2).unwrap();
                    (Arc::new(of(999_999_999)), Arc::new(of(1_000_000_000)))
                }
                64 => {
                    let of =
                        |value| Decimal64Array::from(vec![value]).with_precision_and_scale(18, 2).unwrap();
                    (Arc::new(of(10_i64.pow(18) - 1)), Arc::new(of(10_i64.pow(18))))
                }
                128 => {
                    let of =
                        |value| Decimal128Array::from(vec![value]).with_precision_and_scale(38, 2).unwrap();
                    (Arc::new(of(10_i128.pow(38) - 1)), Arc::new(of(10_i128.pow(38))))
                }
                _ => {
                    let most = i256::from_i128(10).checked_pow(76).unwrap();
                    let of =
                        |value| Decimal256Array::from(vec![value]).with_precision_and_scale(76, 2).unwrap();
                    (Arc::new(of(most - i256::ONE)), Arc::new(of(most)))
                }
            }
        };
        for bits in [32, 64, 128, 256] {
            let (most, more) = precise(bits);
            check(most).unwrap();
            assert!(check(more).is_err(), "{bits}");
        }
    }
}
