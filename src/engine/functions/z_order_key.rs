//! The key that puts rows in Z-order.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, Rows, SortField};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// Bytes of a value that count: all of a number's, and the beginning of a text.
const VALUE_BYTES: usize = 16;

/// The bits of the values of `columns`, in turn from each, from the highest on: rows in the order of this key lie near
/// those that are near them in all of the columns (G. M. Morton, 1966).
pub(in crate::engine) fn z_order_key(columns: Vec<Expr>) -> Expr {
    ScalarUDF::from(ZOrderKey { signature: Signature::variadic_any(Volatility::Immutable) }).call(columns)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ZOrderKey {
    signature: Signature,
}

impl ScalarUDFImpl for ZOrderKey {
    fn name(&self) -> &'static str {
        "z_order_key"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Binary)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let columns = ColumnarValue::values_to_arrays(&arguments.args)?;
        Ok(ColumnarValue::Array(Arc::new(keys(&columns)?)))
    }
}

fn keys(columns: &[ArrayRef]) -> DfResult<BinaryArray> {
    let comparable = |column: &ArrayRef| -> DfResult<Rows> {
        let converter = RowConverter::new(vec![SortField::new(column.data_type().clone())])?;
        Ok(converter.convert_columns(&[Arc::clone(column)])?)
    };
    let columns: Vec<Rows> = columns.iter().map(comparable).collect::<DfResult<_>>()?;
    let rows = columns.first().map_or(0, Rows::num_rows);
    let mut key = vec![0; columns.len() * VALUE_BYTES];
    let mut keys = BinaryBuilder::with_capacity(rows, rows * key.len());
    for row in 0..rows {
        key.fill(0);
        for (place, column) in columns.iter().enumerate() {
            spread(column.row(row).as_ref(), place, columns.len(), &mut key);
        }
        keys.append_value(&key);
    }
    Ok(keys.finish())
}

/// Puts the bits of a value into a key: each at the place among its like from `count` values.
fn spread(value: &[u8], place: usize, count: usize, key: &mut [u8]) {
    for (byte, value) in value.iter().take(VALUE_BYTES).enumerate().filter(|(_, value)| **value != 0) {
        for bit in (0..8).filter(|bit| value & (0x80 >> bit) != 0) {
            let at = (byte * 8 + bit) * count + place;
            key[at / 8] |= 0x80 >> (at % 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, Int64Array, StringArray, UInt8Array};

    use super::*;

    #[test]
    fn bits_are_taken_from_each_column_in_turn() {
        let mut key = [0; 4];
        spread(&[0b1010_0000, 0b1000_0001], 0, 2, &mut key);
        spread(&[0b1100_0000, 0b0000_0001], 1, 2, &mut key);
        assert_eq!(key, [0b1101_1000, 0, 0b1000_0000, 0b0000_0011]);
    }

    #[test]
    fn a_key_of_one_column_is_in_its_order() {
        let numbers =
            Int64Array::from(vec![None, Some(i64::MIN), Some(-1), Some(0), Some(7), Some(i64::MAX)]);
        let texts = StringArray::from(vec![None, Some(""), Some("a"), Some("aa"), Some("b"), Some("ba")]);
        for column in [Arc::new(numbers) as ArrayRef, Arc::new(texts)] {
            let keys = keys(&[Arc::clone(&column)]).unwrap();
            let keys: Vec<_> = keys.iter().flatten().collect();
            assert!(keys.is_sorted_by(|a, b| a < b), "{:?}", column.data_type());
        }
    }

    /// Of a square of 16 by 16 points in order, each quarter is one of the square.
    #[test]
    fn what_is_near_in_both_columns_lies_near() {
        let points: Vec<(u8, u8)> = (0..16).flat_map(|x| (0..16).map(move |y| (x, y))).collect();
        let column =
            |of: fn(&(u8, u8)) -> u8| Arc::new(points.iter().map(of).collect::<UInt8Array>()) as ArrayRef;
        let keys = keys(&[column(|point| point.0), column(|point| point.1)]).unwrap();
        let mut order: Vec<usize> = (0..keys.len()).collect();
        order.sort_by_key(|row| keys.value(*row));
        for (quarter, rows) in order.chunks(64).enumerate() {
            let of = |row: &usize| (points[*row].0 >= 8, points[*row].1 >= 8);
            assert!(rows.iter().all(|row| of(row) == (quarter >= 2, quarter % 2 == 1)), "{quarter}");
        }
    }
}
