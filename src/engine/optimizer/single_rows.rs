//! Subqueries over an aggregate without GROUP BY: they have one row, also where the aggregate has no input.
//!
//! DataFusion 55.2 joins with the groups that there are, which is one too few (apache/datafusion#24960). Its scalar
//! subqueries know better, so `IN` and `EXISTS` over such an aggregate become one.

use std::sync::Arc;

use datafusion::common::{Result, Spans};
use datafusion::logical_expr::{
    Distinct, Expr, FetchType, Filter, Limit, LogicalPlan, LogicalPlanBuilder, Projection, SkipType,
    SubqueryAlias, lit, when,
};

use super::in_subqueries::subquery_of;
use crate::safeguard::Safeguard;

/// A subquery that has one row, or none where its HAVING says so.
pub(super) struct SingleRow {
    /// The row, with no HAVING.
    row: LogicalPlan,
    /// The conditions of HAVING, over their input.
    having: Option<LogicalPlan>,
}

impl SingleRow {
    /// Reads a correlated subquery; `None` if it may have several rows, or has nothing to do with its outer query.
    pub(super) fn of(plan: &LogicalPlan) -> Result<Option<Self>> {
        if plan.all_out_ref_exprs().is_empty() || !Safeguard::SingleRows.stands() {
            return Ok(None);
        }
        let mut having = None;
        let row = peeled(plan, &mut having)?;
        Ok(row.map(|row| Self { row, having }))
    }

    /// Whether the row is there.
    pub(super) fn is_there(&self) -> Expr {
        match &self.having {
            Some(having) => Expr::ScalarSubquery(subquery_of(having.clone(), Spans::new())).is_true(),
            None => lit(true),
        }
    }

    /// `value IN (the row)`.
    pub(super) fn compared(&self, value: Expr, negated: bool) -> Result<Expr> {
        let row = Expr::ScalarSubquery(subquery_of(self.row.clone(), Spans::new()));
        let compared = if negated { value.not_eq(row) } else { value.eq(row) };
        match &self.having {
            Some(_) => when(self.is_there(), compared).otherwise(lit(negated)),
            None => Ok(compared),
        }
    }
}

/// The plan without what neither adds nor takes rows of one, and without HAVING.
fn peeled(plan: &LogicalPlan, having: &mut Option<LogicalPlan>) -> Result<Option<LogicalPlan>> {
    let mut below = |input: &LogicalPlan| peeled(input, having);
    Ok(match plan {
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => Some(plan.clone()),
        LogicalPlan::Projection(Projection { expr, input, .. }) => match below(input)? {
            Some(input) => Some(LogicalPlan::Projection(Projection::try_new(expr.clone(), Arc::new(input))?)),
            None => None,
        },
        LogicalPlan::SubqueryAlias(SubqueryAlias { alias, input, .. }) => match below(input)? {
            Some(input) => {
                Some(LogicalPlan::SubqueryAlias(SubqueryAlias::try_new(Arc::new(input), alias.clone())?))
            }
            None => None,
        },
        LogicalPlan::Sort(sort) if sort.fetch != Some(0) => below(&sort.input)?,
        LogicalPlan::Limit(limit) if keeps_first(limit)? => below(&limit.input)?,
        LogicalPlan::Distinct(Distinct::All(input)) => below(input)?,
        LogicalPlan::Filter(Filter { predicate, input, .. }) if having.is_none() => {
            let Some(row) = peeled(input, having)? else { return Ok(None) };
            if having.is_some() {
                return Ok(None);
            }
            let condition = predicate.clone().alias("__airstrip_having");
            *having = Some(LogicalPlanBuilder::from(row.clone()).project(vec![condition])?.build()?);
            Some(row)
        }
        _ => None,
    })
}

fn keeps_first(limit: &Limit) -> Result<bool> {
    Ok(matches!(limit.get_skip_type()?, SkipType::Literal(0))
        && matches!(limit.get_fetch_type()?, FetchType::Literal(fetch) if fetch != Some(0)))
}
