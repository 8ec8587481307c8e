//! `EXISTS` wherever an expression may stand.
//!
//! DataFusion 55.2 plans it in WHERE and HAVING only. Elsewhere the input of the expression is joined here, with
//! DataFusion's own rule, so that it tells of each row whether there is one. `IN` is made of EXISTS before.
//!
//! This can go when DataFusion does so.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Result, not_impl_err};
use datafusion::logical_expr::expr::Exists;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, LogicalPlanBuilder};
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::any_expression;

/// Joins for EXISTS outside of filters.
#[derive(Debug)]
pub(super) struct ExistsAnywhere;

impl OptimizerRule for ExistsAnywhere {
    fn name(&self) -> &'static str {
        "exists_anywhere"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        plan.transform_up_with_subqueries(|plan| joined(plan, config))
    }
}

fn has_exists(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(matches!(expr, Expr::Exists(_))))
}

fn joined(plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    if matches!(plan, LogicalPlan::Filter(_)) || !any_expression(&plan, has_exists)? {
        return Ok(Transformed::no(plan));
    }
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Sort(_) => Ok(Transformed::yes(with_marks(&plan, config)?)),
        LogicalPlan::Join(_) => not_impl_err!(
            "EXISTS and IN (SELECT …) in the condition of an outer join are not supported; ask for them in a subquery, \
             and join that"
        ),
        other => Ok(Transformed::no(other)),
    }
}

/// The same plan over an input with a column for each EXISTS.
fn with_marks(plan: &LogicalPlan, config: &dyn OptimizerConfig) -> Result<LogicalPlan> {
    let mut input = plan.inputs().into_iter().next().cloned().unwrap_or_default();
    let names = NamePreserver::new(plan);
    let mut expressions = Vec::new();
    for expr in plan.expressions() {
        let name = names.save(&expr);
        let marked = expr.transform_down(|expr| match expr {
            Expr::Exists(exists) => {
                let (marked, mark) = mark(std::mem::take(&mut input), exists, config)?;
                input = marked;
                Ok(Transformed::new(mark, true, TreeNodeRecursion::Jump))
            }
            other => Ok(Transformed::no(other)),
        })?;
        expressions.push(name.restore(marked.data));
    }
    let marked = plan.with_new_exprs(expressions, vec![input])?;
    if marked.schema().fields().len() == plan.schema().fields().len() {
        return Ok(marked);
    }
    let columns = plan.schema().columns().into_iter().map(Expr::Column);
    LogicalPlanBuilder::from(marked).project(columns)?.build()
}

/// `input` joined with the subquery, and the column that tells whether it has rows.
fn mark(input: LogicalPlan, exists: Exists, config: &dyn OptimizerConfig) -> Result<(LogicalPlan, Expr)> {
    let filter = Filter::try_new(Expr::Exists(exists).is_true(), Arc::new(input))?;
    let planned = DecorrelatePredicateSubquery::new().rewrite(LogicalPlan::Filter(filter), config)?.data;
    if let LogicalPlan::Projection(projection) = planned
        && let LogicalPlan::Filter(Filter { predicate: Expr::IsTrue(mark), input, .. }) =
            projection.input.as_ref()
        && !has_exists(mark)?
    {
        return Ok((input.as_ref().clone(), mark.as_ref().clone()));
    }
    not_impl_err!("this correlated EXISTS or IN (SELECT …) is not supported here; join in its place")
}
