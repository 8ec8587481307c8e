//! `INTERSECT ALL` and `EXCEPT ALL` count rows that are the same.
//!
//! DataFusion 55.2 plans them as semi and anti joins on all columns, which keep all or none of equal rows
//! (apache/datafusion#12955, apache/datafusion#12956). Equal rows are numbered on either side here, and the number
//! joins the keys: the n-th meets the n-th. Without ALL the left side is DISTINCT, and one row of each is right. Can
//! go when DataFusion counts.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{Column, NullEquality, TableReference};
use datafusion::error::Result as DfResult;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::{
    Distinct, Expr, ExprFunctionExt, Join, JoinType, LogicalPlan, LogicalPlanBuilder,
};

use crate::safeguard::Safeguard;

/// What qualifies the numbers of either side: no table is called so.
const LEFT: &str = " left";
const RIGHT: &str = " right";

/// Numbers equal rows on both sides of each `INTERSECT ALL` and `EXCEPT ALL` of a plan that was just made of SQL.
pub(super) fn count_equal_rows(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    let counted = plan.transform_up_with_subqueries(|plan| match plan {
        LogicalPlan::Join(join) if keeps_all(&join) => Ok(Transformed::yes(counting(join)?)),
        other => Ok(Transformed::no(other)),
    });
    Ok(counted?.data)
}

/// Numbers equal rows of `inputs` plans that were joined, one after the other, to what a set operation of Substrait with ALL
/// keeps. Below them are joins in which NULL equals NULL for other reasons, so that only these are looked at.
#[cfg(feature = "substrait")]
pub(in crate::engine) fn count_rows_of_sets(plan: LogicalPlan, inputs: usize) -> DfResult<LogicalPlan> {
    match plan {
        LogicalPlan::Join(mut join) if inputs > 1 && keeps_all(&join) => {
            join.left = Arc::new(count_rows_of_sets(Arc::unwrap_or_clone(join.left), inputs - 1)?);
            counting(join)
        }
        other => Ok(other),
    }
}

/// Whether a join is a set operation with ALL. Nothing else in SQL is planned as a join in which NULL equals NULL; plans of
/// Substrait have such joins of their own, so this is no rule for all plans.
fn keeps_all(join: &Join) -> bool {
    Safeguard::CountedRows.stands()
        && matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti)
        && join.null_equality == NullEquality::NullEqualsNull
        && join.filter.is_none()
        && !matches!(join.left.as_ref(), LogicalPlan::Distinct(Distinct::All(_)))
        // A view in the plan was done when it was planned.
        && !join.right.schema().has_column(&number_on(RIGHT))
}

fn number_on(side: &'static str) -> Column {
    Column::new(Some(TableReference::bare(side)), "number")
}

fn counting(join: Join) -> DfResult<LogicalPlan> {
    let columns: Vec<Expr> = join.left.schema().iter().map(Expr::from).collect();
    let (mut left_keys, mut right_keys): (Vec<_>, Vec<_>) = join.on.into_iter().unzip();
    let left = numbered(join.left, LEFT, &mut left_keys)?;
    let right = numbered(join.right, RIGHT, &mut right_keys)?;
    let on = left_keys.into_iter().zip(right_keys).collect();
    let join = Join::try_new(
        Arc::new(left),
        Arc::new(right),
        on,
        None,
        join.join_type,
        join.join_constraint,
        join.null_equality,
        join.null_aware,
    )?;
    LogicalPlanBuilder::from(LogicalPlan::Join(join)).project(columns)?.build()
}

/// `plan` with the number of each row among those that are equal to it, which is added to `keys`.
fn numbered(plan: Arc<LogicalPlan>, side: &'static str, keys: &mut Vec<Expr>) -> DfResult<LogicalPlan> {
    let mut outputs: Vec<Expr> = plan.schema().iter().map(Expr::from).collect();
    let window = row_number().partition_by(keys.clone()).build()?;
    let computed = Expr::Column(Column::from_name(window.schema_name().to_string()));
    let number = number_on(side);
    outputs.push(computed.alias_qualified(number.relation.clone(), &number.name));
    keys.push(Expr::Column(number));
    LogicalPlanBuilder::from(plan).window([window])?.project(outputs)?.build()
}
