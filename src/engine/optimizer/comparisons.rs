//! What is compared with what in an expression.

use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::{Between, Case, Expr, Operator};

/// To which side the bound of a comparison may move, to a value that its other operand can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounding {
    /// Not at all.
    None,
    /// To a larger value.
    Up,
    /// To a smaller value.
    Down,
}

impl Rounding {
    /// Where the operand right of a comparison may move; `None` for other operators.
    fn of(op: Operator) -> Option<Self> {
        match op {
            Operator::Eq | Operator::NotEq | Operator::IsDistinctFrom | Operator::IsNotDistinctFrom => {
                Some(Self::None)
            }
            Operator::Lt | Operator::GtEq => Some(Self::Up),
            Operator::Gt | Operator::LtEq => Some(Self::Down),
            _ => None,
        }
    }
}

/// The operands that `expr` compares with one another, if it does.
pub(super) fn operands(expr: &mut Expr) -> Option<Vec<(&mut Expr, Rounding)>> {
    Some(match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (rounding, swapped) = (Rounding::of(*op)?, op.swap().and_then(Rounding::of)?);
            vec![(left.as_mut(), swapped), (right.as_mut(), rounding)]
        }
        Expr::Between(Between { expr, low, high, .. }) => {
            vec![
                (expr.as_mut(), Rounding::None),
                (low.as_mut(), Rounding::Up),
                (high.as_mut(), Rounding::Down),
            ]
        }
        Expr::InList(InList { expr, list, .. }) => {
            std::iter::once(expr.as_mut()).chain(list).map(|operand| (operand, Rounding::None)).collect()
        }
        Expr::Case(Case { expr: Some(expr), when_then_expr, .. }) => {
            let values = when_then_expr.iter_mut().map(|(value, _)| value.as_mut());
            std::iter::once(expr.as_mut()).chain(values).map(|operand| (operand, Rounding::None)).collect()
        }
        _ => return None,
    })
}
