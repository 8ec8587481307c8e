//! `IN`, `NOT IN` and `EXISTS` with all their NULLs.
//!
//! DataFusion 55.2 joins for them, and loses NULLs where the left side of `NOT IN` is no column, where the subquery
//! is correlated, and wherever `IN` stands below OR or IS NULL (apache/datafusion#25340, #25347, #25336, #25473,
//! #25474, #8241, #23410); it takes an equality within the subquery for the one of `IN` itself (#25480); an aggregate
//! without GROUP BY has no row for it where its correlated input has none (#24960).
//!
//! Here `x NOT IN (s)` is no row of `s` that equals `x`, none that is NULL, and no row at all where `x` is NULL:
//! subqueries that join without NULLs. An `IN` whose value is asked for is a CASE over the same three. What cannot
//! be NULL is left out, so that of `x NOT IN (s)` over NOT NULL columns a single anti join is left.
//!
//! This can go when DataFusion's mark joins and anti joins know three values. A release that mends each of the
//! issues is known by `tests/sqllogic/sql/in_subqueries.slt` passing without this rule.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, Result, ScalarValue, Spans, not_impl_err};
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::expr::{BinaryExpr, Exists, InSubquery};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::logical_plan::Subquery;
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Operator, lit, not, when,
};
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::single_rows::SingleRow;
use super::{any_expression, correlation, schema_of_inputs};

/// Writes `IN (SELECT …)` and `EXISTS (SELECT …)` so that they can be joined.
#[derive(Debug)]
pub(super) struct InSubqueries;

impl OptimizerRule for InSubqueries {
    fn name(&self) -> &'static str {
        "in_subqueries"
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let mut changed = false;
        plan.transform_up_with_subqueries(|plan| {
            let mut plan = rewritten(plan, config)?;
            changed |= plan.transformed;
            // DataFusion takes an IN for NOT NULL where its value is; it is not, nor is what is made of it.
            if changed {
                plan.data = plan.data.recompute_schema()?;
            }
            Ok(plan)
        })
    }
}

fn rewritten(plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
    plan.apply_expressions(|expr| {
        expr.apply(|expr| correlation::check(expr).map(|()| TreeNodeRecursion::Continue))
    })?;
    if !any_expression(&plan, |expr| expr.exists(|expr| Ok(is_subquery(expr))))? {
        return Ok(Transformed::no(plan));
    }
    let is_join = matches!(plan, LogicalPlan::Join(_));
    let plan = filtered(plan)?;
    let schema = schema_of_inputs(&plan)?;
    let context = Context { schema: &schema, config };
    if let LogicalPlan::Filter(Filter { predicate, input, .. }) = plan {
        let predicate = context.predicate(predicate)?;
        let changed = is_join || predicate.transformed;
        let filter = LogicalPlan::Filter(Filter::try_new(predicate.data, input)?);
        return Ok(Transformed::new_transformed(filter, changed));
    }
    let names = NamePreserver::new(&plan);
    super::map_each(plan, |expr| {
        let name = names.save(&expr);
        Ok(context.value(expr)?.update_data(|expr| name.restore(expr)))
    })
}

/// An inner join with its condition above it, where conditions are joined for.
fn filtered(plan: LogicalPlan) -> Result<LogicalPlan> {
    match plan {
        LogicalPlan::Join(mut join) if join.join_type == JoinType::Inner => match join.filter.take() {
            Some(filter) => {
                let join = Arc::new(LogicalPlan::Join(join));
                Ok(LogicalPlan::Filter(Filter::try_new(filter, join)?))
            }
            None => Ok(LogicalPlan::Join(join)),
        },
        other => Ok(other),
    }
}

fn is_subquery(expr: &Expr) -> bool {
    matches!(expr, Expr::InSubquery(_) | Expr::Exists(_))
}

/// Where an expression stands.
struct Context<'a> {
    /// The columns that it sees.
    schema: &'a DFSchema,
    config: &'a dyn OptimizerConfig,
}

impl Context<'_> {
    /// A condition, of which it only matters whether it is true.
    fn predicate(&self, expr: Expr) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
                let (left, right) = (self.predicate(*left)?, self.predicate(*right)?);
                let changed = left.transformed || right.transformed;
                Ok(Transformed::new_transformed(left.data.and(right.data), changed))
            }
            Expr::Not(inner) if is_subquery(&inner) => self.predicate(negation(*inner)),
            Expr::InSubquery(subquery) if !mentions_subquery(&subquery.expr)? => self.is_in(subquery),
            other => self.value(other),
        }
    }

    /// An expression, with what it is where that is NULL.
    fn value(&self, expr: Expr) -> Result<Transformed<Expr>> {
        expr.transform_up(|expr| match expr {
            Expr::InSubquery(subquery) => Ok(Transformed::yes(self.three_valued(subquery)?)),
            Expr::Exists(exists) => known_exists(exists),
            other => Ok(Transformed::no(other)),
        })
    }

    /// `IN` as a condition.
    fn is_in(&self, InSubquery { expr, subquery, negated }: InSubquery) -> Result<Transformed<Expr>> {
        if let Some(row) = SingleRow::of(&subquery.subquery)? {
            return Ok(Transformed::yes(row.compared(*expr, negated)?));
        }
        if !negated && !is_named_as_its_column(&subquery) {
            return Ok(Transformed::no(Expr::InSubquery(InSubquery { expr, subquery, negated })));
        }
        let list = self.list(*expr, &subquery)?;
        if !negated {
            return Ok(Transformed::yes(list.has_equal()?));
        }
        let mut condition = not(list.has_equal()?);
        if let Some(unknown) = list.is_unknown()? {
            condition = condition.and(not(unknown));
        }
        Ok(Transformed::yes(condition))
    }

    /// `IN` as a value: true, false or NULL.
    fn three_valued(&self, InSubquery { expr, subquery, negated }: InSubquery) -> Result<Expr> {
        if let Some(row) = SingleRow::of(&subquery.subquery)? {
            return row.compared(*expr, negated);
        }
        let list = self.list(*expr, &subquery)?;
        let has_equal = list.has_equal()?;
        match list.is_unknown()? {
            None if negated => Ok(not(has_equal)),
            None => Ok(has_equal),
            Some(unknown) => when(has_equal, lit(!negated))
                .when(unknown, lit(ScalarValue::Boolean(None)))
                .otherwise(lit(negated)),
        }
    }

    fn list(&self, value: Expr, subquery: &Subquery) -> Result<List> {
        if mentions_outer(&value)? || mentions_subquery(&value)? {
            return not_impl_err!(
                "IN (SELECT …) of a value that comes from outside of two subqueries; join in their place"
            );
        }
        let name = self.config.alias_generator().next("__airstrip_in");
        let plan = match subquery.subquery.as_ref() {
            // Named where it is made: see [`is_named_as_its_column`].
            LogicalPlan::Projection(made) if made.expr.len() == 1 => {
                let member = made.expr[0].clone().unalias().alias(&name);
                LogicalPlanBuilder::from(made.input.as_ref().clone()).project(vec![member])?.build()?
            }
            other => {
                let plan = LogicalPlanBuilder::from(other.clone());
                let first = Column::from(plan.schema().qualified_field(0));
                plan.project(vec![Expr::Column(first).alias(&name)])?.build()?
            }
        };
        Ok(List {
            value_is_nullable: value.nullable(self.schema)?,
            member_is_nullable: plan.schema().field(0).is_nullable(),
            is_correlated: !subquery.outer_ref_columns.is_empty(),
            outer: outer(value.clone(), self.schema)?,
            value,
            member: Expr::Column(Column::new_unqualified(name)),
            plan,
            spans: subquery.spans.clone(),
        })
    }
}

/// `EXISTS`, which a subquery that always has a row needs no join for.
fn known_exists(exists: Exists) -> Result<Transformed<Expr>> {
    let Some(row) = SingleRow::of(&exists.subquery.subquery)? else {
        return Ok(Transformed::no(Expr::Exists(exists)));
    };
    let is_there = row.is_there();
    Ok(Transformed::yes(if exists.negated { not(is_there) } else { is_there }))
}

/// Whether what a related subquery gives is a cast, whose name is that of the column: where the column is also what it is
/// related by, DataFusion would put both beside each other.
fn is_named_as_its_column(subquery: &Subquery) -> bool {
    !subquery.outer_ref_columns.is_empty()
        && matches!(subquery.subquery.as_ref(), LogicalPlan::Projection(made) if matches!(made.expr[..], [Expr::Cast(_)]))
}

/// The two sides of `value IN (SELECT member …)`.
struct List {
    value: Expr,
    /// The value as the subquery sees it.
    outer: Expr,
    value_is_nullable: bool,
    plan: LogicalPlan,
    member: Expr,
    member_is_nullable: bool,
    is_correlated: bool,
    spans: Spans,
}

impl List {
    /// Whether a member equals the value.
    fn has_equal(&self) -> Result<Expr> {
        let is_equal = Some(self.outer.clone().eq(self.member.clone()));
        if self.value.any_column_refs() { self.exists(is_equal) } else { self.has_any(is_equal) }
    }

    /// Whether there is a member of which it cannot be said; `None` if there never is.
    fn is_unknown(&self) -> Result<Option<Expr>> {
        let is_null = self.member.clone().is_null();
        let has_null = self.member_is_nullable.then(|| self.has_any(Some(is_null))).transpose()?;
        let is_null = if self.value_is_nullable {
            Some(self.value.clone().is_null().and(self.has_any(None)?))
        } else {
            None
        };
        Ok(has_null.into_iter().chain(is_null).reduce(Expr::or))
    }

    /// Whether there is a member at all, or one for which `condition` holds, which the value has no part in.
    fn has_any(&self, condition: Option<Expr>) -> Result<Expr> {
        if self.is_correlated {
            return self.exists(condition);
        }
        // The same for all rows, so it is asked once and not joined.
        let rows = self.filtered(condition)?.limit(0, Some(1))?;
        let plan = rows.aggregate(Vec::<Expr>::new(), vec![count(lit(1_i64))])?.build()?;
        Ok(Expr::ScalarSubquery(self.subquery(plan)).not_eq(lit(0_i64)))
    }

    fn exists(&self, condition: Option<Expr>) -> Result<Expr> {
        let subquery = self.subquery(self.filtered(condition)?.build()?);
        Ok(Expr::Exists(Exists { subquery, negated: false }))
    }

    fn filtered(&self, condition: Option<Expr>) -> Result<LogicalPlanBuilder> {
        let plan = LogicalPlanBuilder::from(self.plan.clone());
        match condition {
            Some(condition) => plan.filter(condition),
            None => Ok(plan),
        }
    }

    fn subquery(&self, plan: LogicalPlan) -> Subquery {
        subquery_of(plan, self.spans.clone())
    }
}

/// A plan as a subquery.
pub(super) fn subquery_of(plan: LogicalPlan, spans: Spans) -> Subquery {
    Subquery { outer_ref_columns: plan.all_out_ref_exprs(), subquery: Arc::new(plan), spans }
}

fn negation(expr: Expr) -> Expr {
    match expr {
        Expr::InSubquery(InSubquery { expr, subquery, negated }) => {
            Expr::InSubquery(InSubquery { expr, subquery, negated: !negated })
        }
        Expr::Exists(Exists { subquery, negated }) => Expr::Exists(Exists { subquery, negated: !negated }),
        other => not(other),
    }
}

fn mentions_subquery(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| Ok(is_subquery(expr)))
}

fn mentions_outer(expr: &Expr) -> Result<bool> {
    expr.exists(|expr| {
        Ok(match expr {
            Expr::OuterReferenceColumn(..) => true,
            Expr::ScalarSubquery(subquery) => !subquery.outer_ref_columns.is_empty(),
            _ => false,
        })
    })
}

/// An expression over the columns of a query, for use in a subquery of it.
fn outer(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let outer = expr.transform_up(|expr| match expr {
        Expr::Column(column) => {
            let (_, field) = schema.qualified_field_from_column(&column)?;
            Ok(Transformed::yes(Expr::OuterReferenceColumn(Arc::clone(field), column)))
        }
        other => Ok(Transformed::no(other)),
    })?;
    Ok(outer.data)
}
