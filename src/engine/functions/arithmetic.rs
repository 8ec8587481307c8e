//! `+`, `-`, `*`, `/` and the minus sign of integers and decimals, which fail where the result does not fit.
//!
//! In DataFusion 55.2 these operators wrap round (apache/datafusion#3520, #17539), and a decimal's result is not
//! held against the digits of its type (apache/datafusion#16406). Its expressions have a switch for integers,
//! `fail_on_overflow`, that no planner sets and that folding of constants never sees. So they become functions:
//! see the rule [`overflow`](super::super::optimizer). This can go when overflows of operators are errors in
//! DataFusion.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Datum, Decimal128Array};
use arrow::compute::kernels::numeric::{add, div, mul, neg, sub};
use arrow::compute::try_binary;
use arrow::datatypes::{
    DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, Field, FieldRef,
};
use arrow::error::ArrowError;
use datafusion::common::{DataFusionError, ScalarValue, internal_err};
use datafusion::logical_expr::binary::BinaryTypeCoercer;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::{
    ColumnarValue, Expr, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};
use datafusion::physical_expr_common::datum::apply;

use super::overflow::{kernel_error, overflow};

type DfResult<T> = Result<T, DataFusionError>;

/// The first number with more than 38 digits.
const BEYOND: u128 = 10_u128.pow(38);

/// `left operator right` as a call of the function that fails if the result does not fit.
pub(in crate::engine) fn checked(left: Expr, operator: Operator, right: Expr) -> Expr {
    let function = Checked { operator, signature: Signature::any(2, Volatility::Immutable) };
    ScalarUDF::from(function).call(vec![left, right])
}

/// `-value` as a call of the function that fails if the result does not fit.
pub(in crate::engine) fn checked_minus(value: Expr) -> Expr {
    let function = CheckedMinus { signature: Signature::any(1, Volatility::Immutable) };
    ScalarUDF::from(function).call(vec![value])
}

/// One of the operators.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operator: Operator,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &'static str {
        match self.operator {
            Operator::Plus => "checked_add",
            Operator::Minus => "checked_subtract",
            Operator::Multiply => "checked_multiply",
            _ => "checked_divide",
        }
    }

    /// The operator's, so that columns keep their names.
    fn schema_name(&self, arguments: &[Expr]) -> DfResult<String> {
        let [left, right] = arguments else { return internal_err!("{} has two arguments", self.name()) };
        Ok(format!("{} {} {}", left.schema_name(), self.operator, right.schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        let [left, right] = arguments else { return internal_err!("{} has two arguments", self.name()) };
        BinaryTypeCoercer::new(left, &self.operator, right).get_result_type()
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = arguments.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [left, right] = &arguments.args[..] else {
            return internal_err!("{} has two arguments", self.name());
        };
        let data_type = arguments.return_field.data_type();
        let kernel = |left: &dyn Datum, right: &dyn Datum| match self.operator {
            Operator::Plus => add(left, right),
            Operator::Minus => sub(left, right),
            Operator::Multiply => multiply(left, right),
            _ => div(left, right),
        };
        let result = apply(left, right, kernel);
        let result = result.map_err(|error| match error {
            DataFusionError::ArrowError(error, _) => kernel_error(*error, data_type),
            error => error,
        })?;
        // What multiplies decimals of 38 digits has looked already.
        if self.operator != Operator::Multiply || !matches!(data_type, DataType::Decimal128(38, _)) {
            check_digits(&result, data_type)?;
        }
        Ok(result)
    }

    /// Only the type of the bounds is known; functions around this one ask for it.
    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        let types: Vec<_> = inputs.iter().map(|input| input.data_type()).collect();
        Interval::make_unbounded(&self.return_type(&types).unwrap_or(DataType::Null))
    }
}

/// Products of decimals of 38 digits in one step each; arrow's of all other values.
fn multiply(left: &dyn Datum, right: &dyn Datum) -> Result<ArrayRef, ArrowError> {
    let ((l, l_scalar), (r, r_scalar)) = (left.get(), right.get());
    let (DataType::Decimal128(l_precision, l_scale), DataType::Decimal128(r_precision, r_scale)) =
        (l.data_type(), r.data_type())
    else {
        return mul(left, right);
    };
    let scale = l_scale.saturating_add(*r_scale);
    if scale > 38 || l_precision + r_precision < 37 {
        return mul(left, right);
    }
    let (l, r) = (l.as_primitive::<Decimal128Type>(), r.as_primitive::<Decimal128Type>());
    let product: Decimal128Array = match (l_scalar, r_scalar) {
        (true, false) if l.is_null(0) => Decimal128Array::new_null(r.len()),
        (false, true) if r.is_null(0) => Decimal128Array::new_null(l.len()),
        (true, false) => {
            let l = l.value(0);
            r.try_unary(|r| product(l, r))?
        }
        (false, true) => {
            let r = r.value(0);
            l.try_unary(|l| product(l, r))?
        }
        _ => try_binary(l, r, product)?,
    };
    Ok(Arc::new(product.with_precision_and_scale(38, scale)?))
}

fn product(left: i128, right: i128) -> Result<i128, ArrowError> {
    // Nearly all decimals are as small as this, and two of them never give more than 38 digits.
    if let (Ok(left), Ok(right)) = (i64::try_from(left), i64::try_from(right)) {
        return Ok(i128::from(left) * i128::from(right));
    }
    let product = left.checked_mul(right).filter(|product| product.unsigned_abs() < BEYOND);
    product.ok_or_else(|| ArrowError::ArithmeticOverflow(format!("{left} * {right}")))
}

/// Fails if a decimal has more digits than its type.
pub(super) fn check_digits(value: &ColumnarValue, data_type: &DataType) -> DfResult<()> {
    let (DataType::Decimal32(precision, _)
    | DataType::Decimal64(precision, _)
    | DataType::Decimal128(precision, _)
    | DataType::Decimal256(precision, _)) = *data_type
    else {
        return Ok(());
    };
    let array = value.to_array(1)?;
    let checked = match array.data_type() {
        DataType::Decimal32(..) => {
            array.as_primitive::<Decimal32Type>().validate_decimal_precision(precision)
        }
        DataType::Decimal64(..) => {
            array.as_primitive::<Decimal64Type>().validate_decimal_precision(precision)
        }
        DataType::Decimal128(..) => {
            let values = array.as_primitive::<Decimal128Type>();
            let most = 10_u128.checked_pow(u32::from(precision)).unwrap_or(BEYOND);
            if values.values().iter().all(|value| value.unsigned_abs() < most) {
                return Ok(());
            }
            values.validate_decimal_precision(precision)
        }
        _ => array.as_primitive::<Decimal256Type>().validate_decimal_precision(precision),
    };
    checked.map_err(|_| overflow("a result", data_type))
}

/// The minus sign.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedMinus {
    signature: Signature,
}

impl ScalarUDFImpl for CheckedMinus {
    fn name(&self) -> &'static str {
        "checked_minus"
    }

    fn schema_name(&self, arguments: &[Expr]) -> DfResult<String> {
        let [value] = arguments else { return internal_err!("checked_minus has one argument") };
        Ok(format!("(- {})", value.schema_name()))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        let [data_type] = arguments else { return internal_err!("checked_minus has one argument") };
        Ok(data_type.clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [field] = arguments.arg_fields else { return internal_err!("checked_minus has one argument") };
        Ok(Arc::new(field.as_ref().clone().with_name(self.name())))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let data_type = arguments.return_field.data_type();
        let minus = |array: &dyn Array| neg(array).map_err(|error| kernel_error(error, data_type));
        match &arguments.args[..] {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(minus(array.as_ref())?)),
            [ColumnarValue::Scalar(scalar)] => {
                let result = minus(scalar.to_array()?.as_ref())?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
            _ => internal_err!("checked_minus has one argument"),
        }
    }

    /// Only the type of the bounds is known; functions around this one ask for it.
    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        let data_type = inputs.first().map_or(DataType::Null, |input| input.data_type());
        Interval::make_unbounded(&data_type)
    }
}
