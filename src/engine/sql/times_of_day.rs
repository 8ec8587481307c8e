//! Times of day in different units, compared with one another.
//!
//! DataFusion 55.2 has no type that two of them share: a column of microseconds, which most writers write, could not be
//! compared with `time '12:00:00'`, which is of nanoseconds. Here the coarser one is read in the unit of the finer one, which
//! holds all of its values. Can go when DataFusion coerces times of day as it does timestamps.

use arrow::datatypes::DataType::{Time32, Time64};
use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable, cast};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans comparisons of times of day, whose types are looked at as soon as they are planned.
#[derive(Debug)]
pub(super) struct TimesOfDay;

impl ExprPlanner for TimesOfDay {
    fn plan_binary_op(
        &self,
        mut expr: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if is_comparison(&expr.op) {
            in_one_unit(vec![&mut expr.left, &mut expr.right], schema);
        }
        Ok(PlannerResult::Original(expr))
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq, Spaceship};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | Spaceship)
}

/// Gives operands that are all times of day, and are compared with one another, the unit of the finest of them. Says whether
/// that changed any.
pub(in crate::engine) fn in_one_unit(operands: Vec<&mut Expr>, schema: &DFSchema) -> bool {
    // Most comparisons are of something else, which their first operand tells.
    let time = |operand: &&mut Expr| {
        operand
            .get_type(schema)
            .ok()
            .filter(|data_type| matches!(data_type, Time32(_) | Time64(_) | DataType::Null))
    };
    let Some(types) = operands.iter().map(time).collect::<Option<Vec<_>>>() else { return false };
    let mut times = types.iter().filter(|data_type| **data_type != DataType::Null);
    let Some(first) = times.next() else { return false };
    let finest = times.fold(first, |finest, other| if unit(other) > unit(finest) { other } else { finest });
    let mut changed = false;
    for (operand, data_type) in operands.into_iter().zip(&types) {
        if data_type != finest && *data_type != DataType::Null {
            *operand = cast(std::mem::take(operand), finest.clone());
            changed = true;
        }
    }
    changed
}

/// The unit of a time of day: units are ordered from the coarsest to the finest.
fn unit(data_type: &DataType) -> Option<&TimeUnit> {
    match data_type {
        Time32(unit) | Time64(unit) => Some(unit),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::lit;

    use super::*;

    #[test]
    fn the_finest_unit_is_taken_and_nothing_else_is_touched() {
        let seconds = || lit(ScalarValue::Time32Second(Some(1)));
        let (micros, null) = (lit(ScalarValue::Time64Microsecond(Some(1))), lit(ScalarValue::Null));
        let schema = DFSchema::empty();
        let (mut one, mut two, mut none) = (seconds(), micros.clone(), null.clone());
        assert!(in_one_unit(vec![&mut one, &mut none, &mut two], &schema));
        assert_eq!((one, two, none), (cast(seconds(), Time64(TimeUnit::Microsecond)), micros, null.clone()));

        for other in [lit("12:00:00"), seconds(), null] {
            let (mut one, mut two) = (seconds(), other.clone());
            assert!(!in_one_unit(vec![&mut one, &mut two], &schema), "{other}");
            assert_eq!((one, two), (seconds(), other));
        }
    }
}
