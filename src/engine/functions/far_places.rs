//! `round` and `trunc` of doubles and floats to places that powers of ten do not reach.
//!
//! DataFusion 55.2 multiplies by a power of ten and divides by it again: where the power or the product overflows, the
//! result is NaN or infinite (as in trinodb/trino#29808), and `trunc` cuts its places to 32 bits. Here such results are
//! computed anew; the others are DataFusion's. This can go when it leaves numbers alone that have no digits there.

use std::sync::Arc;

use arrow::array::{Array, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Float32Type, Float64Type, Int32Type, Int64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::safeguard::Safeguard;

type DfResult<T> = Result<T, DataFusionError>;

/// Places further than these are as far: no double has digits there.
const FURTHEST: i64 = 1_000;

/// The places of a power of ten that a double surely holds.
const NEAR: i32 = 300;

/// From here on every double is a whole number.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// `trunc`.
pub(super) fn trunc() -> ScalarUDF {
    ScalarUDF::from(Trunc { inner: datafusion::functions::math::trunc() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Trunc {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Trunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let Some(places) = arguments.args.get_mut(1) {
            *places = within_reach(places);
        }
        let given = arguments.args.clone();
        let results = self.inner.invoke_with_args(arguments)?;
        mend(results, &given, f64::trunc)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The same places, as many of them as 32 bits hold.
fn within_reach(places: &ColumnarValue) -> ColumnarValue {
    let nearer = |places: i64| places.clamp(-FURTHEST, FURTHEST);
    match places {
        ColumnarValue::Scalar(ScalarValue::Int64(Some(places))) => {
            ColumnarValue::Scalar(ScalarValue::Int64(Some(nearer(*places))))
        }
        ColumnarValue::Array(places) if *places.data_type() == DataType::Int64 => {
            let places = places.as_primitive::<Int64Type>().unary::<_, Int64Type>(nearer);
            ColumnarValue::Array(Arc::new(places))
        }
        other => other.clone(),
    }
}

/// What a function gives for a number and places, with those results computed anew that overflowed on the way. `whole`
/// is what the function does to a number that is to have no places.
pub(super) fn mend(
    results: ColumnarValue,
    arguments: &[ColumnarValue],
    whole: fn(f64) -> f64,
) -> DfResult<ColumnarValue> {
    let [numbers, places] = arguments else { return Ok(results) };
    let rows = match &results {
        ColumnarValue::Array(results) => results.len(),
        ColumnarValue::Scalar(_) => 1,
    };
    let array = results.to_array(rows)?;
    if are_finite(&array) || !Safeguard::FarPlaces.stands() {
        return Ok(results);
    }
    let numbers = cast(&numbers.to_array(rows)?, &DataType::Float64)?;
    let places = cast(&places.to_array(rows)?, &DataType::Int32)?;
    let wide = cast(&array, &DataType::Float64)?;
    let (numbers, wide) = (numbers.as_primitive::<Float64Type>(), wide.as_primitive::<Float64Type>());
    let places = places.as_primitive::<Int32Type>();
    let mended = (0..rows).map(|row| {
        let mended = || to_places(numbers.value(row), places.value(row), wide.value(row), whole);
        wide.is_valid(row).then(mended)
    });
    let mended = cast(&mended.collect::<Float64Array>(), array.data_type())?;
    Ok(match results {
        ColumnarValue::Array(_) => ColumnarValue::Array(mended),
        ColumnarValue::Scalar(_) => ColumnarValue::Scalar(ScalarValue::try_from_array(&mended, 0)?),
    })
}

/// Whether nothing overflowed; numbers of other types are not multiplied.
fn are_finite(results: &dyn Array) -> bool {
    match results.data_type() {
        DataType::Float32 => results.as_primitive::<Float32Type>().values().iter().all(|it| it.is_finite()),
        DataType::Float64 => results.as_primitive::<Float64Type>().values().iter().all(|it| it.is_finite()),
        _ => true,
    }
}

/// `number` with that many places, of which DataFusion made `result`.
fn to_places(number: f64, places: i32, result: f64, whole: fn(f64) -> f64) -> f64 {
    if result.is_finite() {
        return result;
    }
    if !number.is_finite() {
        return number;
    }
    if places < 0 {
        // A power that overflows is more than twice any number. What is infinite was rounded up beyond the type.
        return if result.is_nan() { 0.0_f64.copysign(number) } else { result };
    }
    let near = places.min(NEAR);
    let (near, far) = (10_f64.powi(near), 10_f64.powi(places - near));
    let scaled = number * near * far;
    if scaled.abs() < WHOLE { whole(scaled) / far / near } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_without_digits_at_the_places_stay_or_vanish() {
        for (number, places, result, expected) in [
            (1.5, 400, f64::NAN, 1.5),
            (-1.5, 400, f64::NAN, -1.5),
            (0.0, 700, f64::NAN, 0.0),
            (1e300, 15, f64::INFINITY, 1e300),
            (1.999, 310, f64::NAN, 1.999),
            (1.5, -400, f64::NAN, 0.0),
            (-1.5, -400, f64::NAN, -0.0),
            (f64::MAX, -309, f64::NAN, 0.0),
            (f64::INFINITY, -400, f64::NAN, f64::INFINITY),
            (f64::NEG_INFINITY, 2, f64::NEG_INFINITY, f64::NEG_INFINITY),
            (2.345, 2, 2.35, 2.35),
        ] {
            let mended = to_places(number, places, result, f64::round);
            assert!(mended.total_cmp(&expected).is_eq(), "{number} to {places}: {mended}");
        }
    }

    #[test]
    fn the_least_numbers_have_digits_at_places_whose_power_is_no_double() {
        let to = |number: f64, places: i32, whole: fn(f64) -> f64| to_places(number, places, f64::NAN, whole);
        assert!((to(9.4e-310, 309, f64::round) - 1e-309).abs() <= f64::from_bits(1));
        assert!(to(9.4e-310, 309, f64::trunc).total_cmp(&0.0).is_eq());
    }
}
