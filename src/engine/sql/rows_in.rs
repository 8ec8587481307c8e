//! `(a, b) IN (SELECT c, d …)`.
//!
//! DataFusion 55.2 takes one value on the left of `IN (SELECT …)`. Here rows of several are asked for with EXISTS: whether
//! one of the subquery's is equal, and whether one may be, for its NULLs.
//!
//! This can go when DataFusion plans rows.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions_mut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::error::{Error, Result};

/// Writes `IN` of rows as EXISTS.
pub(super) fn ask_for_rows(statement: &mut Statement) -> Result<()> {
    let done = visit_expressions_mut(statement, |expr| match asked(expr) {
        Ok(Some(asked)) => {
            *expr = asked;
            ControlFlow::Continue(())
        }
        Ok(None) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    });
    match done {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

fn asked(expr: &Expr) -> Result<Option<Expr>> {
    let Expr::InSubquery { expr, subquery, negated } = expr else { return Ok(None) };
    let Expr::Tuple(values) = expr.as_ref() else { return Ok(None) };
    let names: Vec<String> = (0..values.len()).map(|at| format!("__airstrip_{at}")).collect();
    let equal: Vec<String> =
        names.iter().zip(values).map(|(name, value)| format!("{name} = ({value})")).collect();
    let rows = format!("({subquery}) AS __airstrip_rows ({})", names.join(", "));
    let equal = equal.join(" AND ");
    let text = format!(
        "CASE WHEN EXISTS (SELECT 1 FROM {rows} WHERE {equal}) THEN {} WHEN EXISTS (SELECT 1 FROM {rows} WHERE ({equal}) \
         IS NULL) THEN NULL ELSE {negated} END",
        !negated
    );
    let parsed =
        Parser::new(&GenericDialect {}).try_with_sql(&text).and_then(|mut parser| parser.parse_expr());
    let parsed = parsed.map_err(|error| Error::invalid(format!("the row of values in IN: {error}")))?;
    Ok(Some(parsed))
}
