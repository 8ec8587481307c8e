//! `round`, `ceil` and `floor` of decimals, and `round` of floating-point numbers to [far places](super::far_places).
//!
//! DataFusion 55.2 gives `round(decimal, places)` the type that fits the places if they are a literal; but it casts
//! that literal before it compares types, and folds the cast afterwards, so that the planner reckons with one
//! type and the result has another: an error, or rows that an IN list misses (apache/datafusion#19926). Here a
//! literal stays one, and any other expression gives the one type always, folded or not. `ceil` and `floor` have
//! room for the digit that `ceil(9.99)` has more. This can go when the types that the planner sees are those of
//! the results.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::types::{NativeType, logical_float32, logical_float64, logical_int64};
use datafusion::common::{DataFusionError, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    Coercion, ColumnarValue, Documentation, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, TypeSignature, TypeSignatureClass, Volatility,
};

use super::arithmetic::check_digits;
use super::far_places::mend;

type DfResult<T> = Result<T, DataFusionError>;

/// `round`, `ceil` and `floor`.
pub(super) fn functions() -> [ScalarUDF; 3] {
    use datafusion::functions::math::{ceil, floor, round};
    let round = Round { inner: round(), signature: signature(), is_by_row: false };
    [
        ScalarUDF::from(round),
        ScalarUDF::from(Next { inner: ceil() }),
        ScalarUDF::from(Next { inner: floor() }),
    ]
}

/// The call of `round` by places that are no literal, as one whose type does not change when they become one.
pub(in crate::engine) fn round_by_row(call: &ScalarFunction) -> Option<ScalarFunction> {
    let round = call.func.inner().downcast_ref::<Round>()?;
    let [_, places] = &call.args[..] else { return None };
    if round.is_by_row || matches!(places, Expr::Literal(..)) {
        return None;
    }
    let by_row =
        Round { inner: Arc::clone(&round.inner), signature: round.signature.clone(), is_by_row: true };
    Some(ScalarFunction::new_udf(Arc::new(ScalarUDF::from(by_row)), call.args.clone()))
}

/// DataFusion's, with places of the type that literals have.
fn signature() -> Signature {
    let places = Coercion::new_implicit(
        TypeSignatureClass::Native(logical_int64()),
        vec![TypeSignatureClass::Integer],
        NativeType::Int64,
    );
    let numbers = [
        Coercion::new_exact(TypeSignatureClass::Decimal),
        Coercion::new_exact(TypeSignatureClass::Integer),
        Coercion::new_exact(TypeSignatureClass::Native(logical_float32())),
        Coercion::new_implicit(
            TypeSignatureClass::Native(logical_float64()),
            vec![TypeSignatureClass::Numeric],
            NativeType::Float64,
        ),
    ];
    let signatures = numbers.into_iter().flat_map(|number| {
        let with_places = TypeSignature::Coercible(vec![number.clone(), places.clone()]);
        [with_places, TypeSignature::Coercible(vec![number])]
    });
    Signature::one_of(signatures.collect(), Volatility::Immutable)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Round {
    inner: Arc<ScalarUDF>,
    signature: Signature,
    /// Whether the places are another number for each row, as far as the type is concerned.
    is_by_row: bool,
}

impl ScalarUDFImpl for Round {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        let ReturnFieldArgs { arg_fields, scalar_arguments } = arguments;
        let number = scalar_arguments.first().copied().flatten();
        let by_row = [number, None];
        let scalar_arguments = if self.is_by_row { &by_row[..] } else { scalar_arguments };
        self.inner.return_field_from_args(ReturnFieldArgs { arg_fields, scalar_arguments })
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        if let Some(places) = arguments.args.get_mut(1) {
            *places = places.cast_to(&DataType::Int32, None)?;
        }
        if let Some(field) = arguments.arg_fields.get_mut(1).filter(|field| !field.data_type().is_null()) {
            *field = Arc::new(field.as_ref().clone().with_data_type(DataType::Int32));
        }
        let data_type = arguments.return_field.data_type().clone();
        let given = arguments.args.clone();
        let result = self.inner.invoke_with_args(arguments)?;
        check_digits(&result, &data_type)?;
        mend(result, &given, f64::round)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// `ceil` and `floor`: the next whole number in a direction.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Next {
    inner: Arc<ScalarUDF>,
}

/// The type of the next whole number: with one digit more for a decimal that has decimal places.
fn next_type(data_type: &DataType) -> DataType {
    match *data_type {
        DataType::Decimal32(precision, scale) if scale > 0 => {
            DataType::Decimal32((precision + 1).min(9), scale)
        }
        DataType::Decimal64(precision, scale) if scale > 0 => {
            DataType::Decimal64((precision + 1).min(18), scale)
        }
        DataType::Decimal128(precision, scale) if scale > 0 => {
            DataType::Decimal128((precision + 1).min(38), scale)
        }
        DataType::Decimal256(precision, scale) if scale > 0 => {
            DataType::Decimal256((precision + 1).min(76), scale)
        }
        _ => data_type.clone(),
    }
}

impl ScalarUDFImpl for Next {
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
        let arguments: Vec<_> = arguments.iter().map(next_type).collect();
        self.inner.return_type(&arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        let types: Vec<_> = arguments.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let field = self.inner.return_field_from_args(arguments)?;
        Ok(Arc::new(field.as_ref().clone().with_data_type(self.return_type(&types)?)))
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let [number] = &mut arguments.args[..] else {
            return internal_err!("{} has one argument", self.name());
        };
        let data_type = next_type(&number.data_type());
        if data_type != number.data_type() {
            *number = number.cast_to(&data_type, None)?;
            arguments.arg_fields = vec![Arc::new(Field::new(self.name(), data_type, true))];
        }
        self.inner.invoke_with_args(arguments)
    }

    fn preimage(
        &self,
        arguments: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> DfResult<PreimageResult> {
        // The bounds would have the type of the result, not that of the argument.
        if literal.get_type(info.schema().as_ref())?.is_decimal() {
            return Ok(PreimageResult::None);
        }
        self.inner.preimage(arguments, literal, info)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        match inputs {
            [input] if input.data_type().is_decimal() => {
                Interval::make_unbounded(&next_type(&input.data_type()))
            }
            _ => self.inner.evaluate_bounds(inputs),
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
