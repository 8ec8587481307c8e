//! `ROLLUP` and `CUBE` over one expression twice.
//!
//! DataFusion 55.2 makes a column of each and refuses two of one name. The grouping sets that they stand for it takes, where
//! each has an expression once. This can go when it plans `GROUP BY CUBE (a, a)`.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Statement, visit_expressions_mut};

/// `CUBE` of more expressions stays as it is: its sets are two to the power of their number.
const MOST_OF_CUBE: usize = 12;

/// Writes them as `GROUPING SETS`.
pub(super) fn spell_out(statement: &mut Statement) {
    let _ = visit_expressions_mut(statement, |expr| {
        if let Some(sets) = sets(expr) {
            *expr = Expr::GroupingSets(sets);
        }
        ControlFlow::<()>::Continue(())
    });
}

/// The sets of an expression that names another one twice.
fn sets(expr: &Expr) -> Option<Vec<Vec<Expr>>> {
    match expr {
        Expr::Rollup(parts) if is_repetitive(parts) => {
            let lengths = (0..=parts.len()).rev();
            Some(lengths.map(|length| once(parts[..length].iter())).collect())
        }
        Expr::Cube(parts) if is_repetitive(parts) && parts.len() <= MOST_OF_CUBE => {
            let choices = (0..1_usize << parts.len()).rev();
            let chosen = |choice: usize| (0..).zip(parts).filter(move |(place, _)| choice >> place & 1 == 1);
            Some(choices.map(|choice| once(chosen(choice).map(|(_, part)| part))).collect())
        }
        _ => None,
    }
}

fn is_repetitive(parts: &[Vec<Expr>]) -> bool {
    once(parts.iter()).len() < parts.iter().map(Vec::len).sum()
}

/// The expressions of some parts, each once.
fn once<'a>(parts: impl Iterator<Item = &'a Vec<Expr>>) -> Vec<Expr> {
    let mut set: Vec<Expr> = Vec::new();
    for expr in parts.flatten() {
        if !set.contains(expr) {
            set.push(expr.clone());
        }
    }
    set
}
