//! `SELECT *` of wide tables.
//!
//! DataFusion 55.2 compares the name of each column that is selected with those of all others, and writes all of these
//! names anew each time (`push_projection_dedupl` in datafusion-sql): 4,000 columns take five seconds of planning. A
//! statement that selects all columns of one relation is therefore planned with one literal in their place, which is taken out of
//! the finished plan again. Can go when names are kept in a set.

use std::sync::Arc;

use datafusion::common::Column;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, GroupByExpr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr,
    Statement as SqlStatement, TableFactor, Value, WildcardAdditionalOptions,
};

/// The name of the literal.
const EVERY_COLUMN: &str = " every column";

/// The statement with a literal in the place of its `*`, whose plan is to be [`expanded`].
///
/// None for whatever could mean another thing with the literal: joins, groups, orders by more than columns.
pub(super) fn folded(statement: &Statement) -> Option<Statement> {
    let Statement::Statement(inner) = statement else { return None };
    let SqlStatement::Query(query) = inner.as_ref() else { return None };
    let SetExpr::Select(select) = query.body.as_ref() else { return None };
    let is_plain = query.pipe_operators.is_empty() && query.order_by.as_ref().is_none_or(is_by_columns);
    if !is_plain || !selects_all_of_one(select) {
        return None;
    }
    let expr = SqlExpr::Value(Value::SingleQuotedString(String::new()).into());
    let alias = Ident::with_quote('"', EVERY_COLUMN);
    let mut select = select.clone();
    select.projection = vec![SelectItem::ExprWithAlias { expr, alias }];
    let query = Query { body: Box::new(SetExpr::Select(select)), ..query.as_ref().clone() };
    Some(Statement::Statement(Box::new(SqlStatement::Query(Box::new(query)))))
}

fn is_by_columns(order_by: &OrderBy) -> bool {
    let is_column = |expr: &SqlExpr| matches!(expr, SqlExpr::Identifier(_) | SqlExpr::CompoundIdentifier(_));
    match &order_by.kind {
        OrderByKind::Expressions(keys) => keys.iter().all(|key| is_column(&key.expr)),
        OrderByKind::All(_) => false,
    }
}

/// Whether all that a select says is `SELECT * FROM one WHERE …`.
fn selects_all_of_one(select: &Select) -> bool {
    let Select { projection, from, group_by, distinct, top, into, having, named_window, qualify, .. } =
        select;
    let Select { lateral_views, cluster_by, distribute_by, sort_by, .. } = select;
    let [SelectItem::Wildcard(options)] = projection.as_slice() else { return false };
    let [relation] = from.as_slice() else { return false };
    let is_grouped = match group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(keys, modifiers) => !keys.is_empty() || !modifiers.is_empty(),
    };
    *options == WildcardAdditionalOptions::default()
        && relation.joins.is_empty()
        // Joins with USING stand in parentheses, and give some of their columns.
        && !matches!(relation.relation, TableFactor::NestedJoin { .. })
        && !is_grouped
        && (distinct, top, into, having, qualify) == (&None, &None, &None, &None, &None)
        && named_window.is_empty()
        && lateral_views.is_empty()
        && cluster_by.is_empty()
        && distribute_by.is_empty()
        && sort_by.is_empty()
}

/// The plan of a statement that was folded, with its columns in the place of the literal: those of what the literal was
/// selected from, which needs no projection then.
pub(super) fn expanded(plan: LogicalPlan) -> DfResult<LogicalPlan> {
    match plan {
        LogicalPlan::Projection(projection) if projection.expr.iter().any(is_literal) => {
            Ok(Arc::unwrap_or_clone(projection.input))
        }
        // Without the columns that only the order needed.
        LogicalPlan::Projection(projection) if projection.expr.iter().any(is_reference) => {
            expanded(Arc::unwrap_or_clone(projection.input))
        }
        LogicalPlan::Sort(_) | LogicalPlan::Limit(_) => {
            let inputs = plan.inputs().into_iter().cloned().map(expanded).collect::<DfResult<_>>()?;
            plan.with_new_exprs(plan.expressions(), inputs)
        }
        other => Ok(other),
    }
}

fn is_literal(expr: &Expr) -> bool {
    matches!(expr, Expr::Alias(alias) if alias.name == EVERY_COLUMN)
}

fn is_reference(expr: &Expr) -> bool {
    matches!(expr, Expr::Column(Column { relation: None, name, .. }) if name == EVERY_COLUMN)
}
