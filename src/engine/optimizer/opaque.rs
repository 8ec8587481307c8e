//! Casts that lose something, hidden from the estimates that filters are planned by.
//!
//! DataFusion 55.2 concludes from the interval of a cast to that of the column under it as if the cast had an
//! inverse: of `cast(ts as date) = '2025-01-01'` it keeps in mind that `ts` is midnight of that day in every
//! row, and so leaves out sorts by `ts`, numbers rows of a window wrongly, and takes groups for sorted. The
//! same holds for integer division: of `i / 2 = 8` that `i` is 16. Other casts do not keep the order at all,
//! and planning fails. So such expressions are put into a function that does nothing but that nobody looks
//! into, just before a plan becomes a physical one; scans, which skip files by these filters, see them bare.
//!
//! It can go when `CastExpr::propagate_constraints` and interval division know of it.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, internal_datafusion_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    BinaryExpr, Cast, ColumnarValue, Expr, ExprSchemable, Filter, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

type DfResult<T> = Result<T, DataFusionError>;

static OPAQUE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| Arc::new(ScalarUDF::from(Opaque::default())));

/// The plan whose filters hide what loses something.
pub(super) fn hide_lossy(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let hide = |plan: LogicalPlan| {
        let LogicalPlan::Filter(filter) = plan else { return Ok(Transformed::no(plan)) };
        let schema = Arc::clone(filter.input.schema());
        let hidden = filter.predicate.transform_up(|expr| hide_one(expr, &schema))?;
        let changed = hidden.transformed;
        let plan = LogicalPlan::Filter(Filter::try_new(hidden.data, filter.input)?);
        Ok(if changed { Transformed::yes(plan) } else { Transformed::no(plan) })
    };
    plan.transform_down_with_subqueries(hide).data()
}

fn hide_one(expr: Expr, schema: &DFSchema) -> DfResult<Transformed<Expr>> {
    let is_lossy = match &expr {
        Expr::Cast(Cast { expr, field }) => !is_faithful(&expr.get_type(schema)?, field.data_type()),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Divide, .. }) => {
            left.get_type(schema)?.is_integer()
        }
        _ => false,
    };
    if !is_lossy {
        return Ok(Transformed::no(expr));
    }
    let hidden = ScalarFunction::new_udf(Arc::clone(&OPAQUE), vec![expr]);
    Ok(Transformed::yes(Expr::ScalarFunction(hidden)))
}

/// Whether each value of a cast comes from one value, in the same order.
pub(super) fn is_faithful(from: &DataType, to: &DataType) -> bool {
    use DataType::{
        Date32, Date64, Dictionary, Float32, Float64, Int8, Int16, Int32, LargeUtf8, Timestamp, UInt8,
        UInt16, UInt32, Utf8, Utf8View,
    };
    match (from, to) {
        // What does not fit fails.
        (from, to) if from == to || (from.is_integer() && to.is_integer()) => true,
        (Int8 | Int16 | UInt8 | UInt16, Float32 | Float64)
        | (Int32 | UInt32 | Float32, Float64)
        | (Date32, Date64 | Timestamp(_, None))
        | (Utf8 | LargeUtf8 | Utf8View, Utf8 | LargeUtf8 | Utf8View) => true,
        (Timestamp(from, zone), Timestamp(to, other)) => from <= to && zone.is_some() == other.is_some(),
        (Dictionary(_, from), to) => is_faithful(from, to),
        (from, Dictionary(_, to)) => is_faithful(from, to),
        _ => false,
    }
}

/// `filter` as it was before parts of it were hidden.
pub(super) fn reveal(filter: &Arc<dyn PhysicalExpr>) -> DfResult<Arc<dyn PhysicalExpr>> {
    let bare = |expr: Arc<dyn PhysicalExpr>| {
        let hidden = expr.downcast_ref::<ScalarFunctionExpr>();
        match hidden.filter(|call| call.fun().inner().is::<Opaque>()).map(ScalarFunctionExpr::args) {
            Some([inner]) => Ok(Transformed::yes(Arc::clone(inner))),
            _ => Ok(Transformed::no(expr)),
        }
    };
    Arc::clone(filter).transform_up(bare).data()
}

/// The function that gives back what it is given.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Opaque {
    signature: Signature,
}

impl Default for Opaque {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

fn no_argument() -> DataFusionError {
    internal_datafusion_err!("opaque() without an argument")
}

impl ScalarUDFImpl for Opaque {
    fn name(&self) -> &'static str {
        "opaque"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        arguments.first().cloned().ok_or_else(no_argument)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        arguments.arg_fields.first().cloned().ok_or_else(no_argument)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        arguments.args.into_iter().next().ok_or_else(no_argument)
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn casts_that_merge_or_reorder_values_lose_something() {
        let second = DataType::Timestamp(TimeUnit::Second, None);
        let nano = DataType::Timestamp(TimeUnit::Nanosecond, None);
        let zoned = DataType::Timestamp(TimeUnit::Nanosecond, Some("Europe/Berlin".into()));
        for (from, to, faithful) in [
            (&DataType::Int64, &DataType::Int32, true),
            (&DataType::Int64, &DataType::Utf8, false),
            (&DataType::Int64, &DataType::Float64, false),
            (&DataType::Int32, &DataType::Float64, true),
            (&DataType::Float64, &DataType::Int64, false),
            (&DataType::Utf8, &DataType::Int64, false),
            (&DataType::Utf8, &DataType::Utf8View, true),
            (&DataType::Date32, &nano, true),
            (&nano, &DataType::Date32, false),
            (&second, &nano, true),
            (&nano, &second, false),
            (&nano, &zoned, false),
            (&DataType::Decimal128(10, 2), &DataType::Int32, false),
        ] {
            assert_eq!(is_faithful(from, to), faithful, "{from} as {to}");
        }
    }
}
