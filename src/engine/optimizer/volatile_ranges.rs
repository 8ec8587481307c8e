//! `BETWEEN` of what is another value each time.
//!
//! DataFusion 55.2 makes two comparisons of it, each of which computes its own: of `random() BETWEEN 0.4 AND 0.6` more
//! than a third of all rows are left (apache/datafusion#25457). Here a function computes the value once.
//!
//! This can go when DataFusion does so.

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::compute::and_kleene;
use arrow::datatypes::DataType;
use datafusion::common::cast::as_boolean_array;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Result, plan_datafusion_err};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Between, ColumnarValue, Expr, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility, not,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply_cmp;

use super::{any_expression, map_each};

/// Computes volatile operands of BETWEEN once. Comes after types are coerced.
#[derive(Debug)]
pub(super) struct VolatileRanges;

impl AnalyzerRule for VolatileRanges {
    fn name(&self) -> &'static str {
        "volatile_ranges"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| {
            if !any_expression(&plan, |expr| expr.exists(|expr| Ok(is_volatile_range(expr))))? {
                return Ok(Transformed::no(plan));
            }
            let names = NamePreserver::new(&plan);
            map_each(plan, |expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|expr| Ok(computed_once(expr)))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })
        });
        Ok(changed?.data)
    }
}

fn is_volatile_range(expr: &Expr) -> bool {
    matches!(expr, Expr::Between(Between { expr, .. }) if expr.is_volatile())
}

fn computed_once(expr: Expr) -> Transformed<Expr> {
    match expr {
        Expr::Between(Between { expr, negated, low, high }) if expr.is_volatile() => {
            let is_within = ScalarUDF::from(IsWithin::default()).call(vec![*expr, *low, *high]);
            Transformed::yes(if negated { not(is_within) } else { is_within })
        }
        other => Transformed::no(other),
    }
}

/// Whether its first argument is between the others, which have its type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct IsWithin {
    signature: Signature,
}

impl Default for IsWithin {
    fn default() -> Self {
        Self { signature: Signature::any(3, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for IsWithin {
    fn name(&self) -> &'static str {
        "is_within"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value, low, high] = args.args.as_slice() else {
            return Err(plan_datafusion_err!("is_within() takes three arguments"));
        };
        let rows = args.number_rows;
        let from = apply_cmp(Operator::GtEq, value, low)?.into_array(rows)?;
        let to = apply_cmp(Operator::LtEq, value, high)?.into_array(rows)?;
        let within = and_kleene(as_boolean_array(&from)?, as_boolean_array(&to)?)?;
        Ok(ColumnarValue::Array(Arc::new(within) as ArrayRef))
    }
}
