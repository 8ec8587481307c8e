//! Numbers of more digits than a double has, in comparisons.
//!
//! DataFusion 55.2 reads `0.12345678901234567890` as a double, and `12345678901234567890123` too, whatever it is compared
//! with. Here such a number becomes the decimal that it says, and a double again where it is compared with one: see
//! `engine::optimizer::exact_literals`.
//!
//! This can go with that rule.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CastKind, DataType, ExactNumberInfo, Expr, Statement, UnaryOperator, Value,
    visit_expressions_mut,
};

/// The digits that every double keeps.
const DIGITS_OF_DOUBLE: usize = 15;
/// The most digits of a decimal.
const DIGITS: usize = 38;

/// Writes long numbers that are compared as decimals.
pub(super) fn spell_out(statement: &mut Statement) {
    let done: ControlFlow<()> = visit_expressions_mut(statement, |expr| {
        match expr {
            Expr::BinaryOp { left, op, right } if is_comparison(op) => {
                spell_one_out(left);
                spell_one_out(right);
            }
            Expr::IsDistinctFrom(left, right)
            | Expr::IsNotDistinctFrom(left, right)
            | Expr::Between { low: left, high: right, .. } => {
                spell_one_out(left);
                spell_one_out(right);
            }
            Expr::InList { list, .. } => list.iter_mut().for_each(spell_one_out),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    debug_assert!(done.is_continue(), "nothing stops it");
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

fn spell_one_out(expr: &mut Expr) {
    let (number, sign) = match &*expr {
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => (expr.as_ref(), "-"),
        number => (number, ""),
    };
    let Expr::Value(number) = number else { return };
    let Value::Number(text, _) = &number.value else { return };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = whole.trim_start_matches('0');
    let is_plain = [whole, fraction].iter().all(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()));
    let digits = whole.len() + fraction.len();
    let is_integer = fraction.is_empty() && text.parse::<u64>().is_ok();
    if !is_plain || is_integer || !(DIGITS_OF_DOUBLE + 1..=DIGITS).contains(&digits) {
        return;
    }
    let (Ok(precision), Ok(scale)) = (u64::try_from(digits), i64::try_from(fraction.len())) else { return };
    let text = Value::SingleQuotedString(format!("{sign}{text}"));
    *expr = Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(Expr::Value(text.with_span(number.span))),
        data_type: DataType::Decimal(ExactNumberInfo::PrecisionAndScale(precision, scale)),
        array: false,
        format: None,
    };
}

#[cfg(test)]
mod tests {
    use crate::engine::statement::SqlLimits;
    use crate::engine::statement::parse;

    #[test]
    fn long_numbers_of_comparisons_are_decimals() {
        let limits = SqlLimits { bytes: 1 << 20, depth: 200, tables: 500, expressions: 10_000 };
        let parsed = |condition: &str| {
            let statement = parse(&format!("select 1 from t where {condition}"), &limits).unwrap();
            statement.to_string().replace("SELECT 1 FROM t WHERE ", "")
        };
        assert_eq!(
            parsed("a = 0.12345678901234567890"),
            "a = CAST('0.12345678901234567890' AS DECIMAL(20,20))"
        );
        assert_eq!(
            parsed("a > -12345678901234567890123"),
            "a > CAST('-12345678901234567890123' AS DECIMAL(23,0))"
        );
        for same in [
            "a = 0.123456789012345",
            "a < 12345678901234567890",
            "a > 1e300",
            "a + 0.12345678901234567890 > 1",
        ] {
            assert_eq!(parsed(same), same);
        }
    }
}
