//! Floating-point numbers without the sign of zero, for what takes -0.0 and 0.0 as two numbers.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray};
use arrow::datatypes::{ArrowPrimitiveType, DataType, FieldRef, Float16Type, Float32Type, Float64Type};
use datafusion::common::{DataFusionError, ScalarValue, internal_err};
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

type DfResult<T> = Result<T, DataFusionError>;

/// A number, 0.0 for -0.0, inside of an expression that keeps its name.
pub(in crate::engine) fn unsigned_zero(number: Expr) -> Expr {
    call(number, true)
}

/// The same as an expression that can stand beside the number.
pub(in crate::engine) fn unsigned_zero_beside(number: Expr) -> Expr {
    call(number, false)
}

fn call(number: Expr, is_nameless: bool) -> Expr {
    let function = UnsignedZero { is_nameless, signature: Signature::any(1, Volatility::Immutable) };
    ScalarUDF::from(function).call(vec![number])
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UnsignedZero {
    /// Whether its name is the number's.
    is_nameless: bool,
    signature: Signature,
}

impl ScalarUDFImpl for UnsignedZero {
    fn name(&self) -> &'static str {
        "unsigned_zero"
    }

    fn schema_name(&self, arguments: &[Expr]) -> DfResult<String> {
        let [number] = arguments else { return internal_err!("unsigned_zero has one argument") };
        let name = number.schema_name();
        Ok(if self.is_nameless { name.to_string() } else { format!("unsigned_zero({name})") })
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        let [data_type] = arguments else { return internal_err!("unsigned_zero has one argument") };
        Ok(data_type.clone())
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        let [field] = arguments.arg_fields else { return internal_err!("unsigned_zero has one argument") };
        Ok(Arc::new(field.as_ref().clone().with_name(self.name())))
    }

    fn is_strict(&self) -> bool {
        true
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        match &arguments.args[..] {
            [ColumnarValue::Array(array)] => Ok(ColumnarValue::Array(without_sign(array)?)),
            [ColumnarValue::Scalar(number)] => {
                let result = without_sign(&number.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?))
            }
            _ => internal_err!("unsigned_zero has one argument"),
        }
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        let [input] = inputs else { return internal_err!("unsigned_zero has one argument") };
        Ok((*input).clone())
    }

    /// What is in order stays so.
    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        Ok(inputs.first().map_or(SortProperties::Unordered, |input| input.sort_properties))
    }
}

fn without_sign(array: &ArrayRef) -> DfResult<ArrayRef> {
    fn of<T: ArrowPrimitiveType>(array: &dyn Array) -> ArrayRef {
        // -0.0 + 0.0 is 0.0, and every other number stays what it is.
        Arc::new(array.as_primitive::<T>().unary::<_, T>(|number| number.add_wrapping(T::Native::ZERO)))
    }
    Ok(match array.data_type() {
        DataType::Float16 => of::<Float16Type>(array),
        DataType::Float32 => of::<Float32Type>(array),
        DataType::Float64 => of::<Float64Type>(array),
        other => return internal_err!("unsigned_zero of {other}"),
    })
}
