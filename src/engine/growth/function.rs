//! Functions that look at what they make before it is all there.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::concat;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, StructFieldMapping,
};

use super::Sizes;
use super::cost::{Cost, replaced};
use super::expressions::is_of_any_size;
use crate::error::{Error, Result};

type DfResult<T> = std::result::Result<T, DataFusionError>;

/// The rows that are evaluated first where nobody can tell what they come to.
const FIRST_ROWS: usize = 16;

/// Functions that others know by what they are, and that make nothing of their own.
const KNOWN_BY_TYPE: [&str; 8] = [
    "get_field",
    "struct",
    "named_struct",
    "power",
    "log",
    "input_file_name",
    "file_row_index",
    "arrow_typeof",
];

/// Sections of the documentation whose functions give numbers and the like.
const OF_NUMBERS: [&str; 2] = ["Math Functions", "Conditional Functions"];

/// Puts bounded functions in the place of those that could make more than there is memory for.
pub(in crate::engine) fn bound_functions(state: &mut SessionState, sizes: Sizes) -> Result<()> {
    let mut functions: Vec<_> = state.scalar_functions().values().map(Arc::clone).collect();
    functions.sort_unstable_by(|one, other| one.name().cmp(other.name()));
    functions.dedup_by(|one, other| one.name() == other.name());
    for inner in functions {
        let section = inner.documentation().map(|text| text.doc_section.label);
        let is_of_numbers = section.is_some_and(|label| OF_NUMBERS.contains(&label));
        if is_of_numbers || KNOWN_BY_TYPE.contains(&inner.name()) || inner.as_async().is_some() {
            continue;
        }
        state.register_udf(Arc::new(ScalarUDF::from(Bounded { inner, sizes })))?;
    }
    Ok(())
}

/// The error of a call that makes too much of a batch, and might not of fewer rows.
#[derive(Debug)]
pub(super) struct TooLarge(Error);

impl TooLarge {
    /// The error of a batch whose rows come to too much together.
    pub(super) fn rows(rows: usize, bytes: usize) -> DataFusionError {
        let text = format!(
            "{rows} rows come to more than {bytes} bytes at once (a part of the setting memory-limit)"
        );
        DataFusionError::External(Box::new(Self(Error::exhausted(text))))
    }

    /// Whether `error` says so.
    pub(super) fn is(error: &DataFusionError) -> bool {
        match error.find_root() {
            DataFusionError::External(error) => error.is::<Self>(),
            _ => false,
        }
    }
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for TooLarge {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// A function that fails before it makes too much.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    sizes: Sizes,
}

impl Bounded {
    /// Fails if `bytes` are too many for `rows` rows.
    fn check(&self, bytes: u64, rows: usize) -> DfResult<()> {
        let (name, Sizes { call, value, .. }) = (self.inner.name(), self.sizes);
        if rows <= 1 {
            if bytes <= value as u64 {
                return Ok(());
            }
            return Err(Error::exhausted(format!(
                "{name}() asks for a value of {bytes} bytes, {value} are allowed (the setting max-value-size)"
            ))
            .into());
        }
        if bytes <= call as u64 {
            return Ok(());
        }
        Err(DataFusionError::External(Box::new(TooLarge(Error::exhausted(format!(
            "{name}() asks for {bytes} bytes for {rows} rows at once, {call} are allowed (a part of the setting \
             memory-limit); make its values shorter, or of fewer rows in a subquery"
        ))))))
    }

    fn invoke(&self, call: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let cost = Cost::of(self.inner.name(), call.args.len());
        if cost == Cost::OfItsInput || !is_of_any_size(call.return_field.data_type()) {
            return self.inner.invoke_with_args(call);
        }
        if call.args.iter().all(|argument| matches!(argument, ColumnarValue::Scalar(_))) {
            return self.invoke_once(cost, call);
        }
        let (mut costs, mut is_exact) = (cost.rows(&call), cost.is_exact());
        if cost == Cost::Replaced
            && total(&costs) > self.sizes.call as u64
            && let Some(exact) = replaced(&call)
        {
            (costs, is_exact) = (exact, true);
        }
        if is_exact || cost == Cost::Multiplied {
            self.check(costs.iter().copied().max().unwrap_or(0), 1)?;
        }
        if is_exact {
            self.check(total(&costs), call.number_rows)?;
        }
        if is_exact || total(&costs) <= self.sizes.call as u64 {
            return self.inner.invoke_with_args(call);
        }
        self.invoke_in_steps(&costs, &call)
    }

    /// One call for all rows.
    fn invoke_once(&self, cost: Cost, call: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let one = ScalarFunctionArgs { number_rows: 1, ..call.clone() };
        let costs = match cost {
            Cost::Unknown => Vec::new(),
            Cost::Replaced => replaced(&one).unwrap_or_default(),
            _ => cost.rows(&one),
        };
        self.check(costs.first().copied().unwrap_or(0), 1)?;
        self.inner.invoke_with_args(call)
    }

    /// A few rows first, and more at once while they stay small.
    fn invoke_in_steps(&self, costs: &[u64], call: &ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let rows = call.number_rows;
        let (mut made, mut bytes, mut at): (Vec<ArrayRef>, u64, usize) = (Vec::new(), 0, 0);
        while at < rows {
            let most = if at == 0 {
                FIRST_ROWS
            } else {
                // As many as would take a quarter, were they like those before, but for the surprise of longer ones.
                let each = (bytes / at as u64).max(1);
                usize::try_from(self.sizes.call as u64 / 4 / each).unwrap_or(rows).clamp(1, 4 * at)
            };
            let mut length = most.min(rows - at);
            while length > 1 && total(&costs[at..at + length]) > 8 * self.sizes.call as u64 {
                length /= 2;
            }
            let result = self.inner.invoke_with_args(part(call, at, length))?.into_array(length)?;
            bytes += result.to_data().get_slice_memory_size().map_or(0, |bytes| bytes as u64);
            self.check(bytes, at + length)?;
            made.push(result);
            at += length;
        }
        let made: Vec<&dyn Array> = made.iter().map(AsRef::as_ref).collect();
        Ok(ColumnarValue::Array(concat(&made)?))
    }
}

fn total(costs: &[u64]) -> u64 {
    costs.iter().copied().fold(0, u64::saturating_add)
}

/// A call for some of the rows.
fn part(call: &ScalarFunctionArgs, at: usize, length: usize) -> ScalarFunctionArgs {
    let sliced = |argument: &ColumnarValue| match argument {
        ColumnarValue::Array(array) => ColumnarValue::Array(array.slice(at, length)),
        ColumnarValue::Scalar(value) => ColumnarValue::Scalar(value.clone()),
    };
    ScalarFunctionArgs { args: call.args.iter().map(sliced).collect(), number_rows: length, ..call.clone() }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(config)?);
        Some(ScalarUDF::from(Self { inner, sizes: self.sizes }))
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn is_strict(&self) -> bool {
        self.inner.is_strict()
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.invoke(arguments)
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn preimage(&self, args: &[Expr], literal: &Expr, info: &SimplifyContext) -> DfResult<PreimageResult> {
        self.inner.preimage(args, literal, info)
    }

    fn short_circuits(&self) -> bool {
        self.inner.short_circuits()
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.inner.conditional_arguments(args)
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        self.inner.evaluate_bounds(inputs)
    }

    fn propagate_constraints(
        &self,
        interval: &Interval,
        inputs: &[&Interval],
    ) -> DfResult<Option<Vec<Interval>>> {
        self.inner.propagate_constraints(interval, inputs)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> DfResult<bool> {
        self.inner.preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> DfResult<bool> {
        self.inner.strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(arguments)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.inner.struct_field_mapping(literals)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(args)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Field;
    use datafusion::functions::string::{repeat, replace};

    use super::*;
    use crate::error::ErrorKind;

    const SIZES: Sizes = Sizes { batch: 1 << 10, call: 1 << 12, value: 1 << 13 };

    fn call(inner: Arc<ScalarUDF>, args: Vec<ColumnarValue>, number_rows: usize) -> DfResult<ColumnarValue> {
        let return_field = Arc::new(Field::new("r", DataType::Utf8, true));
        let field = |argument: &ColumnarValue| Arc::new(Field::new("a", argument.data_type(), true));
        let arg_fields = args.iter().map(field).collect();
        let call = ScalarFunctionArgs {
            args,
            arg_fields,
            number_rows,
            return_field,
            config_options: Arc::default(),
        };
        Bounded { inner, sizes: SIZES }.invoke(call)
    }

    fn texts(length: usize, rows: usize) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(vec!["x".repeat(length); rows])))
    }

    fn text(text: &str) -> ColumnarValue {
        ColumnarValue::Scalar(ScalarValue::from(text))
    }

    #[test]
    fn a_batch_that_is_too_large_can_be_tried_with_fewer_rows() {
        let count = || ColumnarValue::Scalar(ScalarValue::Int64(Some(100)));
        let all = call(repeat(), vec![texts(10, 5), count()], 5).unwrap_err();
        assert!(TooLarge::is(&all), "{all}");
        assert_eq!(Error::from(all).kind(), ErrorKind::ResourceExhausted);
        call(repeat(), vec![texts(10, 1), count()], 1).unwrap();
        let one = call(repeat(), vec![texts(100, 1), count()], 1).unwrap_err();
        assert!(!TooLarge::is(&one), "{one}");
        assert!(Error::from(one).message().contains("max-value-size"));
    }

    #[test]
    fn what_nobody_foresees_is_measured_on_the_way() {
        let small = call(replace(), vec![texts(20, 100), text("abc"), text(&"y".repeat(100))], 100).unwrap();
        assert_eq!(small.into_array(100).unwrap().len(), 100);
        let large =
            call(replace(), vec![texts(20, 100), text("x"), text(&"y".repeat(100))], 100).unwrap_err();
        assert!(TooLarge::is(&large), "{large}");
    }
}
