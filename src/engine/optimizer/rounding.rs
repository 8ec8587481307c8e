//! Fixes the type of `round(decimal, places)` before constants are folded: see the function.

use datafusion::common::DataFusionError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::AnalyzerRule;

use super::super::functions::round_by_row;

/// The rule.
#[derive(Debug)]
pub(super) struct Rounding;

impl AnalyzerRule for Rounding {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan, DataFusionError> {
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }

    fn name(&self) -> &'static str {
        "rounding"
    }
}

fn rewrite(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    let names = NamePreserver::new(&plan);
    super::map_each(plan, |expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| match &expr {
            Expr::ScalarFunction(call) => Ok(match round_by_row(call) {
                Some(by_row) => Transformed::yes(Expr::ScalarFunction(by_row)),
                None => Transformed::no(expr),
            }),
            _ => Ok(Transformed::no(expr)),
        })?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })
}
