//! Functions whose result can be larger than memory while their arguments are small.
//!
//! `repeat('a', 1000000000000)` allocates what it is asked for at once, outside of the memory pool, and
//! an allocation that fails ends the process. So these functions are wrapped: an argument that counts
//! may not ask for more than a batch may hold.

use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::{Error, Result};

/// The most bytes, or values, that one call may ask for, over all rows of a batch.
const MOST: u64 = 256 << 20;

/// How a function's cost follows from its arguments, for one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cost {
    /// The text's bytes times the count: `repeat(text, count)`.
    Repeated,
    /// The larger of the count and the text's bytes: `lpad(text, count, …)`.
    Padded,
    /// The count: `array_repeat(value, count)`, `array_resize(array, count, …)`.
    Counted,
    /// The distance of the first two arguments: `range(start, stop, step)`, for integers.
    Ranged,
}

const BOUNDED: [(&str, Cost); 7] = [
    ("repeat", Cost::Repeated),
    ("lpad", Cost::Padded),
    ("rpad", Cost::Padded),
    ("array_repeat", Cost::Counted),
    ("array_resize", Cost::Counted),
    ("range", Cost::Ranged),
    ("generate_series", Cost::Ranged),
];

/// Puts bounded functions in the place of those that could end the process.
pub(super) fn bound_functions(state: &mut SessionState) -> Result<()> {
    use datafusion::execution::FunctionRegistry;
    for (name, cost) in BOUNDED {
        // A build without the function needs no bound for it.
        let Ok(inner) = state.udf(name) else { continue };
        state.register_udf(Arc::new(ScalarUDF::from(Bounded { inner, cost })))?;
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    cost: Cost,
}

impl Bounded {
    fn check(&self, arguments: &ScalarFunctionArgs) -> Result<(), DataFusionError> {
        let integers = |index: usize| integers(arguments.args.get(index), arguments.number_rows);
        let texts = || lengths(arguments.args.first(), arguments.number_rows);
        let costs: Vec<u64> = match self.cost {
            Cost::Counted => integers(1).into_iter().map(positive).collect(),
            Cost::Repeated => {
                zip(&texts(), &integers(1), |bytes, count| bytes.saturating_mul(positive(count)))
            }
            Cost::Padded => zip(&texts(), &integers(1), |bytes, count| bytes.max(positive(count))),
            // With one argument the range begins at 0.
            Cost::Ranged if arguments.args.len() < 2 => {
                integers(0).into_iter().map(i64::unsigned_abs).collect()
            }
            Cost::Ranged => {
                integers(0).into_iter().zip(integers(1)).map(|(start, stop)| start.abs_diff(stop)).collect()
            }
        };
        let total = costs.into_iter().fold(0_u64, u64::saturating_add);
        if total <= MOST {
            return Ok(());
        }
        Err(DataFusionError::External(Box::new(Error::exhausted(format!(
            "{}() asks for {total} bytes or values at once, {MOST} are allowed",
            self.inner.name()
        )))))
    }
}

fn positive(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn zip(bytes: &[u64], counts: &[i64], cost: impl Fn(u64, i64) -> u64) -> Vec<u64> {
    bytes.iter().zip(counts).map(|(bytes, count)| cost(*bytes, *count)).collect()
}

/// An argument's integers, one a row; 0 for NULL, and for arguments of other types.
fn integers(argument: Option<&ColumnarValue>, rows: usize) -> Vec<i64> {
    let Some(array) = argument.and_then(|argument| argument.to_array(rows).ok()) else { return Vec::new() };
    if !array.data_type().is_integer() {
        return vec![0; rows];
    }
    let Ok(array) = cast(&array, &DataType::Int64) else { return vec![0; rows] };
    array.as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default).collect()
}

/// The bytes of an argument's texts, one a row.
fn lengths(argument: Option<&ColumnarValue>, rows: usize) -> Vec<u64> {
    match argument {
        Some(ColumnarValue::Scalar(
            ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text),
        )) => {
            vec![text.as_ref().map_or(0, |text| text.len() as u64); rows]
        }
        Some(ColumnarValue::Array(array)) => {
            let Ok(texts) = cast(array, &DataType::LargeUtf8) else { return vec![0; rows] };
            let texts = texts.as_string::<i64>();
            texts.iter().map(|text| text.map_or(0, |text| text.len() as u64)).collect()
        }
        _ => vec![0; rows],
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType, DataFusionError> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> Result<FieldRef, DataFusionError> {
        self.inner.return_field_from_args(arguments)
    }

    fn coerce_types(&self, arguments: &[DataType]) -> Result<Vec<DataType>, DataFusionError> {
        self.inner.coerce_types(arguments)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue, DataFusionError> {
        self.check(&arguments)?;
        self.inner.invoke_with_args(arguments)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
