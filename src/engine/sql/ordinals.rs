//! `ORDER BY 2` where the second column is made of aggregates.
//!
//! DataFusion 55.2 takes the ordinal for a column of that name, which the aggregation below does not have, and refuses
//! the query (kin of apache/datafusion#22169). The column's expression is put in the ordinal's place, which it orders
//! by. Can go when DataFusion orders by the column.

use std::collections::HashSet;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::functions_aggregate::all_default_aggregate_functions;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Function, GroupByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, Value,
    VisitMut, VisitorMut, visit_expressions,
};

/// Functions that give another value each time, so that they cannot be said twice, and those that give rows.
const NOT_TWICE: [&str; 5] = ["random", "uuid", "gen_random_uuid", "unnest", "unnest_outer"];

/// Puts expressions over aggregates in the place of their ordinals in ORDER BY.
pub(super) fn correct(statement: &mut Statement) {
    let _ = statement.visit(&mut Ordinals);
}

struct Ordinals;

impl VisitorMut for Ordinals {
    type Break = Infallible;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
        let SetExpr::Select(select) = query.body.as_ref() else { return ControlFlow::Continue(()) };
        let Some(order_by) = &mut query.order_by else { return ControlFlow::Continue(()) };
        if let OrderByKind::Expressions(keys) = &mut order_by.kind {
            for key in keys {
                if let Some(meant) = ordinal(&key.expr).and_then(|ordinal| column(select, ordinal)) {
                    key.expr = Expr::Nested(Box::new(meant.clone()));
                }
            }
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn ordinal(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else { return None };
    let Value::Number(number, _) = &value.value else { return None };
    number.parse().ok()
}

/// The expression of a column, from 1, if it is to stand for its ordinal.
fn column(select: &Select, ordinal: usize) -> Option<&Expr> {
    if select.distinct.as_ref().is_some_and(|distinct| !matches!(distinct, Distinct::All))
        || !is_aggregated(select)
    {
        return None;
    }
    let items = select.projection.get(..ordinal)?;
    if items.iter().any(|item| !matches!(item, SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }))
    {
        return None;
    }
    let SelectItem::UnnamedExpr(expr) = items.last()? else { return None };
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_) => return None,
        // The aggregation has a column of its name.
        Expr::Function(function) if function.over.is_none() && is_aggregate(function) => return None,
        _ => {}
    }
    // In ORDER BY a column's alias comes before what it hides.
    let aliases: HashSet<String> = select.projection.iter().filter_map(alias).collect();
    let differs = visit_expressions(expr, |inner| match inner {
        Expr::Identifier(name) if aliases.contains(&name.value.to_lowercase()) => ControlFlow::Break(()),
        Expr::Function(function) if NOT_TWICE.contains(&name(function).as_str()) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    differs.is_continue().then_some(expr)
}

fn alias(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.to_lowercase()),
        _ => None,
    }
}

fn is_aggregated(select: &Select) -> bool {
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(expressions, _) => !expressions.is_empty(),
    };
    let aggregates = visit_expressions(&select.projection, |expr| match expr {
        Expr::Function(function) if is_aggregate(function) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    is_grouped || select.having.is_some() || aggregates.is_break()
}

/// Whether a call is of an aggregate, over groups or windows.
pub(super) fn is_aggregate(function: &Function) -> bool {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| {
        let aggregates = all_default_aggregate_functions();
        let names = aggregates.iter().flat_map(|function| {
            std::iter::once(function.name()).chain(function.aliases().iter().map(String::as_str))
        });
        names.map(str::to_lowercase).collect()
    });
    NAMES.contains(&name(function))
}

fn name(function: &Function) -> String {
    function.name.to_string().to_lowercase()
}
