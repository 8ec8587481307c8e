//! A cast that optimisers leave where it is.
//!
//! DataFusion 55.2 takes a cast off a column that is compared with a literal and puts it on the literal, in logical
//! and in physical plans, also where several values of the column become the same one: `cast(price as int) = 1` finds
//! 1.00 only, not 1.50 (apache/datafusion#22142). It knows nothing of this function, which does what the cast does,
//! and says by which range of the column a value of the cast comes about, so that files are still pruned.
//!
//! This can go when DataFusion leaves casts that lose something alone.

use std::sync::Arc;

use arrow::compute::CastOptions;
use arrow::datatypes::{DataType, Field, FieldRef, TimeUnit};
use datafusion::common::format::DEFAULT_CAST_OPTIONS;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TryCast, Volatility,
};

/// The most digits of a `Decimal128`.
const DIGITS: u32 = 38;

/// `CAST(… AS …)` or `TRY_CAST(… AS …)` as a function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(in crate::engine) struct KeptCast {
    field: FieldRef,
    /// Whether a value that does not fit is NULL, and no error.
    is_try: bool,
    signature: Signature,
}

impl KeptCast {
    /// `CAST(expr AS field)`.
    pub(in crate::engine) fn of_cast(Cast { expr, field }: Cast) -> Expr {
        Self::call(*expr, field, false)
    }

    /// `TRY_CAST(expr AS field)`.
    pub(in crate::engine) fn of_try_cast(TryCast { expr, field }: TryCast) -> Expr {
        Self::call(*expr, field, true)
    }

    fn call(expr: Expr, field: FieldRef, is_try: bool) -> Expr {
        let function = Self { field, is_try, signature: Signature::any(1, Volatility::Immutable) };
        let function = Arc::new(ScalarUDF::new_from_impl(function));
        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![expr]))
    }
}

impl ScalarUDFImpl for KeptCast {
    fn name(&self) -> &'static str {
        if self.is_try { "try_cast" } else { "cast" }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<_> = args.iter().map(ToString::to_string).collect();
        Ok(format!("{}({} AS {})", self.name().to_uppercase(), args.join(", "), self.field.data_type()))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let args: Vec<_> = args.iter().map(|arg| arg.schema_name().to_string()).collect();
        Ok(format!("{}({} AS {})", self.name().to_uppercase(), args.join(", "), self.field.data_type()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let is_nullable = self.is_try || args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.field.data_type().clone(), is_nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = datafusion::common::utils::take_function_args(self.name(), args.args)?;
        let options = CastOptions { safe: self.is_try, ..DEFAULT_CAST_OPTIONS };
        value.cast_to(self.field.data_type(), Some(&options))
    }

    fn preimage(&self, args: &[Expr], value: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        let ([expr], Expr::Literal(value, _), false) = (args, value, self.is_try) else {
            return Ok(PreimageResult::None);
        };
        let range = match info.get_data_type(expr)? {
            DataType::Decimal128(precision, scale) => {
                let bound = |digits| ScalarValue::Decimal128(Some(digits), precision, scale);
                decimals(value, precision, scale).map(|(from, to)| (bound(from), bound(to)))
            }
            from => times(value, &from),
        };
        let Some((from, to)) = range else { return Ok(PreimageResult::None) };
        let interval = Box::new(Interval::try_new(from, to)?);
        Ok(PreimageResult::Range { expr: expr.clone(), interval })
    }
}

/// The times or dates, from and to but without, that are `value` in a finer unit, one or none, or on a day.
fn times(value: &ScalarValue, from: &DataType) -> Option<(ScalarValue, ScalarValue)> {
    let (count, to) = (value.cast_to(&DataType::Int64).ok()?, value.data_type());
    let ScalarValue::Int64(Some(count)) = count else { return None };
    let (first, end) = match (from, to) {
        (DataType::Timestamp(unit, zone), DataType::Date32) if is_utc(zone.as_ref()) => {
            let day = 86_400 * per_second(*unit);
            (count.checked_mul(day)?, count.checked_add(1)?.checked_mul(day)?)
        }
        (DataType::Timestamp(from, zone), DataType::Timestamp(to, to_zone))
            if zone.is_some() == to_zone.is_some() && per_second(to) >= per_second(*from) =>
        {
            steps(count, per_second(to) / per_second(*from))
        }
        (DataType::Date32, DataType::Timestamp(to, None)) => steps(count, 86_400 * per_second(to)),
        _ => return None,
    };
    let bound = |count: i64| match from {
        DataType::Date32 => Some(ScalarValue::Date32(Some(i32::try_from(count).ok()?))),
        _ => ScalarValue::Int64(Some(count)).cast_to(from).ok(),
    };
    Some((bound(first)?, bound(end)?))
}

/// The steps that end at `count`: one, or none where it lies between two.
fn steps(count: i64, length: i64) -> (i64, i64) {
    let is_between = count.rem_euclid(length) != 0;
    let first = count.div_euclid(length) + i64::from(is_between);
    (first, first + i64::from(!is_between))
}

fn is_utc(zone: Option<&Arc<str>>) -> bool {
    zone.is_none_or(|zone| matches!(zone.as_ref(), "UTC" | "+00:00" | "Z" | "Etc/UTC"))
}

fn per_second(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1,
        TimeUnit::Millisecond => 1_000,
        TimeUnit::Microsecond => 1_000_000,
        TimeUnit::Nanosecond => 1_000_000_000,
    }
}

/// The decimals, from and to but without, that become `value` when they are cast to its type: whole numbers are cut
/// off, decimals rounded half away from zero.
fn decimals(value: &ScalarValue, precision: u8, scale: i8) -> Option<(i128, i128)> {
    let power = |places: i8| 10_i128.checked_pow(u32::try_from(places).ok()?);
    let (digits, step, below, above) = match value {
        ScalarValue::Decimal128(Some(digits), _, kept) => {
            let step = power(scale.checked_sub(*kept)?)?;
            (*digits, step, step / 2, step / 2)
        }
        whole if whole.data_type().is_integer() => {
            let Ok(ScalarValue::Int64(Some(whole))) = whole.cast_to(&DataType::Int64) else { return None };
            let step = power(scale)?;
            (i128::from(whole), step, 0, step)
        }
        _ => return None,
    };
    let middle = digits.checked_mul(step)?;
    let (from, to) = match digits.signum() {
        1 => (middle.checked_sub(below)?, middle.checked_add(above)?),
        0 => (1 - above, above),
        _ => (middle.checked_sub(above)?.checked_add(1)?, middle.checked_add(below)?.checked_add(1)?),
    };
    let limit = 10_i128.checked_pow(u32::from(precision).min(DIGITS))?;
    (from.abs() < limit && to.abs() < limit && step > 1).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_decimals_that_become_a_value_are_in_its_range_and_no_others() {
        for kept in [DataType::Int32, DataType::Decimal128(8, 1), DataType::Decimal128(8, 0)] {
            let cast_of = |digits: i128| {
                let value = ScalarValue::Decimal128(Some(digits), 8, 2);
                value.cast_to(&kept).unwrap()
            };
            for digits in -350..=350 {
                let (from, to) = decimals(&cast_of(digits), 8, 2).unwrap();
                assert!((from..to).contains(&digits), "{digits} is not in {from}..{to}");
                assert_eq!(cast_of(from), cast_of(to - 1), "{kept}");
                assert_ne!(cast_of(from), cast_of(from - 1), "{kept}");
                assert_ne!(cast_of(from), cast_of(to), "{kept}");
            }
        }
    }

    #[test]
    fn a_time_of_a_finer_unit_is_one_of_the_coarser_or_lies_between_two() {
        let days = |nanos: i64| {
            times(&ScalarValue::TimestampNanosecond(Some(nanos), None), &DataType::Date32).unwrap()
        };
        let day = |day: i32| ScalarValue::Date32(Some(day));
        let length = 86_400_000_000_000;
        assert_eq!(days(length), (day(1), day(2)));
        assert_eq!(days(length + 1), (day(2), day(2)));
        assert_eq!(days(-1), (day(0), day(0)));
        assert_eq!(days(-length), (day(-1), day(0)));
        let seconds = DataType::Timestamp(TimeUnit::Second, None);
        let second = |second: i64| ScalarValue::TimestampSecond(Some(second), None);
        assert_eq!(times(&day(-1), &seconds), Some((second(-86_400), second(0))));
        let zoned = DataType::Timestamp(TimeUnit::Second, Some("UTC".into()));
        assert_eq!(times(&ScalarValue::TimestampNanosecond(Some(0), None), &zoned), None);
    }

    #[test]
    fn a_range_that_the_column_cannot_tell_is_none() {
        assert_eq!(decimals(&ScalarValue::Int32(Some(10)), 3, 2), None);
        assert_eq!(decimals(&ScalarValue::Int32(Some(1)), 10, 0), None);
        assert_eq!(decimals(&ScalarValue::Int32(None), 10, 2), None);
    }
}
