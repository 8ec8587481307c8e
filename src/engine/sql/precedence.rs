//! What binds tighter than what: PostgreSQL's order, where the parser has another.
//!
//! sqlparser 0.62 reads everything that follows `IS [NOT] DISTINCT FROM` as its right side
//! (apache/datafusion-sqlparser-rs#2436), comparisons before `IN`, `BETWEEN`, `LIKE` and `~` on their right,
//! `||` before `+`, and `&`, `|`, `<<`, `>>` each on a step of its own. Trees are turned to what PostgreSQL and
//! DuckDB read. Each rule can go when the parser reads its operators so.

use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, Statement, UnaryOperator, VisitMut, VisitorMut,
};

/// How tight what the parser reads too wide binds, from loose to tight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Binding {
    Or,
    And,
    Not,
    Is,
    Comparison,
    /// `||`, and the operators on bits.
    Other,
    /// `+`, `-`, `*`, `/` and `%`: among themselves the parser knows their order.
    Arithmetic,
    /// What needs no turning: columns, literals, calls, what stands in parentheses.
    Whole,
}

/// Turns the expressions of `statement` to PostgreSQL's order.
pub(super) fn correct(statement: &mut Statement) {
    let _ = statement.visit(&mut Order);
}

struct Order;

impl VisitorMut for Order {
    type Break = Infallible;

    /// From the leaves upwards: what an operand turns to can bind looser than what stands around it.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        give_back_left(expr);
        give_back_right(expr);
        ControlFlow::Continue(())
    }
}

fn binding(expr: &Expr) -> Binding {
    match expr {
        Expr::BinaryOp { op, .. } => match op {
            BinaryOperator::Or => Binding::Or,
            BinaryOperator::And => Binding::And,
            BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq => Binding::Comparison,
            BinaryOperator::StringConcat
            | BinaryOperator::BitwiseAnd
            | BinaryOperator::BitwiseOr
            | BinaryOperator::PGBitwiseShiftLeft
            | BinaryOperator::PGBitwiseShiftRight => Binding::Other,
            BinaryOperator::Plus
            | BinaryOperator::Minus
            | BinaryOperator::Multiply
            | BinaryOperator::Divide
            | BinaryOperator::Modulo => Binding::Arithmetic,
            _ => Binding::Whole,
        },
        Expr::UnaryOp { op: UnaryOperator::Not, .. } => Binding::Not,
        Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::IsTrue(_)
        | Expr::IsNotTrue(_)
        | Expr::IsFalse(_)
        | Expr::IsNotFalse(_)
        | Expr::IsUnknown(_)
        | Expr::IsNotUnknown(_)
        | Expr::IsDistinctFrom(..)
        | Expr::IsNotDistinctFrom(..) => Binding::Is,
        _ => Binding::Whole,
    }
}

/// `l = r IN (…)`, read as `(l = r) IN (…)`, to `l = (r IN (…))`; so too `l || r * n`.
fn give_back_left(expr: &mut Expr) {
    let tight = match expr {
        Expr::Between { .. }
        | Expr::InList { .. }
        | Expr::InSubquery { .. }
        | Expr::InUnnest { .. }
        | Expr::Like { .. }
        | Expr::ILike { .. }
        | Expr::SimilarTo { .. }
        | Expr::RLike { .. } => Binding::Other,
        Expr::BinaryOp { op, .. } if is_regular_expression(op) => Binding::Other,
        Expr::BinaryOp { .. } if binding(expr) == Binding::Arithmetic => Binding::Arithmetic,
        _ => return,
    };
    let Some(left) = left_of(expr) else { return };
    let loose = binding(left);
    if loose >= tight || loose < Binding::Comparison {
        return;
    }
    let mut outer = take(left);
    let Expr::BinaryOp { right, .. } = &mut outer else { return };
    *left = take(right);
    **right = take(expr);
    // What came between can have taken too much as well.
    give_back_left(right);
    give_back_right(right);
    *expr = outer;
}

/// `l IS DISTINCT FROM r AND x`, read as `l IS DISTINCT FROM (r AND x)`, to `(l IS DISTINCT FROM r) AND x`; so
/// too `NOT`, whose operand then binds looser than it.
fn give_back_right(expr: &mut Expr) {
    let own = match expr {
        Expr::Like { .. } | Expr::ILike { .. } | Expr::SimilarTo { .. } | Expr::RLike { .. } => {
            Binding::Comparison
        }
        _ => binding(expr),
    };
    if own == Binding::Whole {
        return;
    }
    let Some(right) = right_of(expr) else { return };
    // Arithmetic among itself is in order.
    let is_loose = |expr: &Expr| {
        let found = binding(expr);
        let is_in_order = own == Binding::Arithmetic && found == own;
        found <= own && !is_in_order && !matches!(expr, Expr::UnaryOp { .. })
    };
    if !is_loose(right) {
        return;
    }
    let mut outer = take(right);
    let mut place = &mut outer;
    while is_loose(place) {
        match left_of(place) {
            Some(left) => place = left,
            None => return,
        }
    }
    if let Some(right) = right_of(expr) {
        *right = take(place);
    }
    *place = match take(expr) {
        // Wherever its text is parsed next, it means the same.
        distinct @ (Expr::IsDistinctFrom(..) | Expr::IsNotDistinctFrom(..)) => {
            Expr::Nested(Box::new(distinct))
        }
        other => other,
    };
    *expr = outer;
}

fn is_regular_expression(op: &BinaryOperator) -> bool {
    matches!(
        op,
        BinaryOperator::PGRegexMatch
            | BinaryOperator::PGRegexIMatch
            | BinaryOperator::PGRegexNotMatch
            | BinaryOperator::PGRegexNotIMatch
            | BinaryOperator::PGLikeMatch
            | BinaryOperator::PGILikeMatch
            | BinaryOperator::PGNotLikeMatch
            | BinaryOperator::PGNotILikeMatch
    )
}

fn left_of(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { left, .. } => Some(left),
        Expr::Between { expr, .. }
        | Expr::InList { expr, .. }
        | Expr::InSubquery { expr, .. }
        | Expr::InUnnest { expr, .. }
        | Expr::Like { expr, .. }
        | Expr::ILike { expr, .. }
        | Expr::SimilarTo { expr, .. }
        | Expr::RLike { expr, .. }
        | Expr::IsNull(expr)
        | Expr::IsNotNull(expr)
        | Expr::IsTrue(expr)
        | Expr::IsNotTrue(expr)
        | Expr::IsFalse(expr)
        | Expr::IsNotFalse(expr)
        | Expr::IsUnknown(expr)
        | Expr::IsNotUnknown(expr)
        | Expr::IsDistinctFrom(expr, _)
        | Expr::IsNotDistinctFrom(expr, _) => Some(expr),
        _ => None,
    }
}

fn right_of(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::BinaryOp { right, .. } | Expr::IsDistinctFrom(_, right) | Expr::IsNotDistinctFrom(_, right) => {
            Some(right)
        }
        Expr::UnaryOp { op: UnaryOperator::Not, expr } => Some(expr),
        Expr::Like { pattern, .. }
        | Expr::ILike { pattern, .. }
        | Expr::SimilarTo { pattern, .. }
        | Expr::RLike { pattern, .. } => Some(pattern),
        _ => None,
    }
}

/// Moves an expression out of its place, which is filled at once.
fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Identifier(Ident::new("")))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// The expression with all operators in parentheses.
    fn read(sql: &str) -> String {
        let mut statements = Parser::parse_sql(&GenericDialect {}, &format!("SELECT {sql}")).unwrap();
        correct(&mut statements[0]);
        let text = statements[0].to_string();
        let mut again = Parser::parse_sql(&GenericDialect {}, &text).unwrap();
        correct(&mut again[0]);
        assert_eq!(again[0].to_string(), text, "{sql}");
        let _ = statements[0].visit(&mut Parentheses);
        statements[0].to_string()["SELECT ".len()..].to_lowercase()
    }

    struct Parentheses;

    impl VisitorMut for Parentheses {
        type Break = Infallible;

        fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
            match take(expr) {
                Expr::Nested(inner) => *expr = *inner,
                leaf @ (Expr::Identifier(_) | Expr::Value(_)) => *expr = leaf,
                other => *expr = Expr::Nested(Box::new(other)),
            }
            ControlFlow::Continue(())
        }
    }

    #[test]
    fn distinct_takes_no_more_than_its_operand() {
        for (sql, meant) in [
            ("a is distinct from b and c", "((a is distinct from b) and c)"),
            ("a is distinct from b or c and d", "((a is distinct from b) or (c and d))"),
            ("a is distinct from b and c or d", "(((a is distinct from b) and c) or d)"),
            ("not a is distinct from b and c", "((not (a is distinct from b)) and c)"),
            ("not a is distinct from b", "(not (a is distinct from b))"),
            ("x and a is not distinct from b or c", "((x and (a is not distinct from b)) or c)"),
            ("x or a is distinct from b and c", "(x or ((a is distinct from b) and c))"),
            (
                "a is distinct from b and c is distinct from d and e",
                "(((a is distinct from b) and (c is distinct from d)) and e)",
            ),
            ("a is distinct from b = c", "(a is distinct from (b = c))"),
            ("a is distinct from (b and c)", "(a is distinct from (b and c))"),
            ("a is distinct from 1 + b and c", "((a is distinct from (1 + b)) and c)"),
            ("a is distinct from not b and c", "((a is distinct from (not b)) and c)"),
            ("a is distinct from b is null", "((a is distinct from b) is null)"),
            ("a = x is distinct from b and c", "(((a = x) is distinct from b) and c)"),
        ] {
            assert_eq!(read(sql), meant, "{sql}");
        }
    }

    #[test]
    fn comparisons_bind_looser_than_in_between_and_like() {
        for (sql, meant) in [
            ("a = b between 1 and 2", "(a = (b between 1 and 2))"),
            ("a between 1 and 2 = b", "((a between 1 and 2) = b)"),
            ("a <> b in (1, 2)", "(a <> (b in (1, 2)))"),
            ("a = b like c", "(a = (b like c))"),
            ("a like b = c", "((a like b) = c)"),
            ("a like b || 'x' = c", "((a like (b || 'x')) = c)"),
            ("a = b ~ c", "(a = (b ~ c))"),
            ("a = b like c = d", "((a = (b like c)) = d)"),
            ("a = b is null", "((a = b) is null)"),
            ("a in (1) and b", "((a in (1)) and b)"),
        ] {
            assert_eq!(read(sql), meant, "{sql}");
        }
    }

    #[test]
    fn arithmetic_binds_tighter_than_texts_and_bits() {
        for (sql, meant) in [
            ("1 + 2 || 'a'", "((1 + 2) || 'a')"),
            ("'a' || 1 + 2 * 3", "('a' || (1 + (2 * 3)))"),
            ("'a' || 2 * 3 || 'b'", "(('a' || (2 * 3)) || 'b')"),
            ("1 - a || b || c + 2 - 3", "(((1 - a) || b) || ((c + 2) - 3))"),
            ("'a' || 1 + 2 || 'b'", "(('a' || (1 + 2)) || 'b')"),
            ("1 - 2 - 3", "((1 - 2) - 3)"),
            ("1 - 2 * 3 + 4", "((1 - (2 * 3)) + 4)"),
            ("a | b & c", "((a | b) & c)"),
            ("a & b | c", "((a & b) | c)"),
            ("a | b << 1 + 1", "((a | b) << (1 + 1))"),
            ("a || b = c || d", "((a || b) = (c || d))"),
        ] {
            assert_eq!(read(sql), meant, "{sql}");
        }
    }
}
