//! Correlated subqueries that cannot be joined in place of.
//!
//! DataFusion 55.2 takes the conditions that mention the outer query out of a subquery, also from below what they ought
//! to be asked before: the rows of a window function, of LIMIT and OFFSET, the side of an outer join that may be
//! missing, and the total of ROLLUP, CUBE and GROUPING SETS, which is there without any rows
//! (apache/datafusion#25519). Its answers are wrong then, so such subqueries are refused.
//!
//! This can go when DataFusion refuses them, or can.

use datafusion::common::{JoinType, Result, not_impl_err};
use datafusion::logical_expr::{Distinct, Expr, FetchType, GroupingSet, LogicalPlan, SkipType};

use crate::safeguard::Safeguard;

/// Fails if `expr` is a subquery whose conditions cannot be asked outside of it.
pub(super) fn check(expr: &Expr) -> Result<()> {
    match expr {
        Expr::Exists(exists) => check_plan(&exists.subquery.subquery, true),
        Expr::InSubquery(list) => check_plan(&list.subquery.subquery, false),
        Expr::ScalarSubquery(subquery) => check_plan(&subquery.subquery, false),
        _ => Ok(()),
    }
}

/// `only_rows`: whether nothing matters of the plan's rows but that there are some.
fn check_plan(plan: &LogicalPlan, only_rows: bool) -> Result<()> {
    let is_correlated = |plan: &LogicalPlan| !plan.all_out_ref_exprs().is_empty();
    if !is_correlated(plan) {
        return Ok(());
    }
    let below = match plan {
        LogicalPlan::Window(_) => Some("a window function"),
        LogicalPlan::Aggregate(aggregate) => {
            let has_total = !aggregate.group_expr.is_empty() && aggregate.group_expr.iter().all(has_total);
            (has_total && Safeguard::CorrelatedTotals.stands())
                .then_some("ROLLUP, CUBE or GROUPING SETS with a total")
        }
        LogicalPlan::Limit(limit) => {
            let is_first = matches!(limit.get_skip_type()?, SkipType::Literal(0))
                && !matches!(limit.get_fetch_type()?, FetchType::UnsupportedExpr);
            (!only_rows || !is_first).then_some("LIMIT or OFFSET")
        }
        LogicalPlan::Join(join) => {
            let (left, right) = (is_correlated(&join.left), is_correlated(&join.right));
            let is_missing = match join.join_type {
                JoinType::Left => right,
                JoinType::Right => left,
                JoinType::Full => left || right,
                _ => false,
            };
            is_missing.then_some("an outer join")
        }
        _ => None,
    };
    if let Some(below) = below
        && Safeguard::Correlation.stands()
    {
        return not_impl_err!(
            "a subquery that mentions its outer query below {below} is not supported; join with it, or use a window \
             function over the join"
        );
    }
    let is_through = matches!(
        plan,
        LogicalPlan::Projection(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Distinct(Distinct::All(_))
    );
    plan.inputs().into_iter().try_for_each(|input| check_plan(input, only_rows && is_through))
}

/// Whether a grouping has the group of all rows, which is there also where there are none.
fn has_total(grouping: &Expr) -> bool {
    match grouping {
        Expr::GroupingSet(GroupingSet::Rollup(_) | GroupingSet::Cube(_)) => true,
        Expr::GroupingSet(GroupingSet::GroupingSets(sets)) => sets.iter().any(Vec::is_empty),
        _ => false,
    }
}
