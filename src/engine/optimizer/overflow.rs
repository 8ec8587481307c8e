//! Makes errors of integers and decimals that do not fit, where DataFusion 55.2 goes on with other numbers.
//!
//! Its operators wrap round (apache/datafusion#3520, #17539) or give decimals with more digits than their type has
//! (apache/datafusion#16406). Where that can happen, the operator becomes a function that fails then; right behind
//! the coercion of types, so that folded constants fail in the same way. Where it cannot, because the operands
//! are literals or were cast from narrower types, the operator stays, and all that the optimizer knows of it.
//! This can go when overflows of operators are errors in DataFusion.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::{Alias, Cast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use super::super::functions::{checked, checked_minus};

type DfResult<T> = Result<T, DataFusionError>;

/// The rule.
#[derive(Debug)]
pub(super) struct Overflow;

impl AnalyzerRule for Overflow {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }

    fn name(&self) -> &'static str {
        "overflow"
    }
}

fn rewrite(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !has_operators(&plan)? {
        return Ok(Transformed::no(plan));
    }
    let schema = super::schema_of_inputs(&plan)?;
    let names = NamePreserver::new(&plan);
    let rewritten = super::map_each(plan, |expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| Ok(rewrite_operator(expr, &schema)))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })?;
    if rewritten.transformed { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
}

/// Whether a plan has an operator at all that could overflow.
fn has_operators(plan: &LogicalPlan) -> DfResult<bool> {
    let mut found = false;
    plan.apply_expressions(|expr| {
        found = found
            || expr.exists(|expr| {
                Ok(match expr {
                    Expr::BinaryExpr(BinaryExpr { op, .. }) => is_arithmetic(*op),
                    Expr::Negative(_) => true,
                    _ => false,
                })
            })?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_arithmetic(operator: Operator) -> bool {
    matches!(operator, Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide)
}

fn rewrite_operator(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if can_overflow(&left, op, &right, schema) => {
            Transformed::yes(checked(*left, op, *right))
        }
        Expr::Negative(value) if is_least(&value, schema) => Transformed::yes(checked_minus(*value)),
        expr => Transformed::no(expr),
    }
}

fn can_overflow(left: &Expr, operator: Operator, right: &Expr, schema: &DFSchema) -> bool {
    if !is_arithmetic(operator) {
        return false;
    }
    let (Ok(left_type), Ok(right_type)) = (left.get_type(schema), right.get_type(schema)) else {
        return false;
    };
    if left_type.is_decimal() && right_type.is_decimal() {
        return digits(&left_type, operator, &right_type)
            .is_none_or(|digits| digits > most_digits(&left_type));
    }
    if !left_type.is_integer() || left_type != right_type || operator == Operator::Divide {
        return false;
    }
    let result = range_of(left, schema).zip(range_of(right, schema));
    let result = result.and_then(|(left, right)| combine(left, operator, right));
    let within = result.zip(range_of_type(&left_type));
    !within.is_some_and(|(result, fits)| fits.0 <= result.0 && result.1 <= fits.1)
}

/// Whether a value can be the least of its type, which has no counterpart.
fn is_least(value: &Expr, schema: &DFSchema) -> bool {
    let Ok(data_type) = value.get_type(schema) else { return false };
    if !data_type.is_signed_integer() {
        return false;
    }
    match (range_of(value, schema), range_of_type(&data_type)) {
        (Some(range), Some(fits)) => range.0 <= fits.0,
        _ => true,
    }
}

/// How many digits a decimal result may have, by the rules that its type follows as far as that has room.
fn digits(left: &DataType, operator: Operator, right: &DataType) -> Option<i32> {
    let ((l_precision, l_scale), (r_precision, r_scale)) = (parts(left)?, parts(right)?);
    Some(match operator {
        Operator::Multiply => l_precision + r_precision + 1,
        Operator::Divide => l_precision + 4 + r_scale,
        _ => l_scale.max(r_scale) + (l_precision - l_scale).max(r_precision - r_scale) + 1,
    })
}

fn parts(data_type: &DataType) -> Option<(i32, i32)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => Some((i32::from(*precision), i32::from(*scale))),
        _ => None,
    }
}

fn most_digits(data_type: &DataType) -> i32 {
    match data_type {
        DataType::Decimal32(..) => 9,
        DataType::Decimal64(..) => 18,
        DataType::Decimal128(..) => 38,
        _ => 76,
    }
}

type Range = (i128, i128);

/// Between what an integer lies, as far as its expression tells.
fn range_of(expr: &Expr, schema: &DFSchema) -> Option<Range> {
    let known = match expr {
        Expr::Literal(value, _) => literal(value).map(|value| (value, value)),
        // A cast that does not fit is an error.
        Expr::Alias(Alias { expr, .. }) | Expr::Cast(Cast { expr, .. }) => range_of(expr, schema),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            range_of(left, schema).zip(range_of(right, schema)).and_then(|(l, r)| combine(l, *op, r))
        }
        _ => None,
    };
    let data_type = expr.get_type(schema).ok()?;
    let possible = range_of_type(&data_type)?;
    let known = known.unwrap_or(possible);
    Some((known.0.max(possible.0), known.1.min(possible.1)))
}

fn range_of_type(data_type: &DataType) -> Option<Range> {
    let signed = |bits: u32| (-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1);
    let unsigned = |bits: u32| (0, (1_i128 << bits) - 1);
    Some(match data_type {
        DataType::Int8 => signed(8),
        DataType::Int16 => signed(16),
        DataType::Int32 => signed(32),
        DataType::Int64 => signed(64),
        DataType::UInt8 => unsigned(8),
        DataType::UInt16 => unsigned(16),
        DataType::UInt32 => unsigned(32),
        DataType::UInt64 => unsigned(64),
        _ => return None,
    })
}

fn literal(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(Some(value)) => i128::from(*value),
        ScalarValue::Int16(Some(value)) => i128::from(*value),
        ScalarValue::Int32(Some(value)) => i128::from(*value),
        ScalarValue::Int64(Some(value)) => i128::from(*value),
        ScalarValue::UInt8(Some(value)) => i128::from(*value),
        ScalarValue::UInt16(Some(value)) => i128::from(*value),
        ScalarValue::UInt32(Some(value)) => i128::from(*value),
        ScalarValue::UInt64(Some(value)) => i128::from(*value),
        _ => return None,
    })
}

fn combine(left: Range, operator: Operator, right: Range) -> Option<Range> {
    match operator {
        Operator::Plus => Some((left.0.checked_add(right.0)?, left.1.checked_add(right.1)?)),
        Operator::Minus => Some((left.0.checked_sub(right.1)?, left.1.checked_sub(right.0)?)),
        Operator::Multiply => {
            let corner = |left: i128, right: i128| left.checked_mul(right);
            let corners = [
                corner(left.0, right.0)?,
                corner(left.0, right.1)?,
                corner(left.1, right.0)?,
                corner(left.1, right.1)?,
            ];
            Some((corners.into_iter().min()?, corners.into_iter().max()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Schema};
    use datafusion::prelude::{cast, col, lit};

    use super::*;

    fn schema() -> DFSchema {
        let field = |name: &str, data_type| Field::new(name, data_type, true);
        let fields = vec![
            field("small", DataType::Int32),
            field("big", DataType::Int64),
            field("unsigned", DataType::UInt64),
            field("price", DataType::Decimal128(15, 2)),
            field("wide", DataType::Decimal128(38, 2)),
        ];
        DFSchema::try_from(Schema::new(fields)).unwrap()
    }

    fn becomes_a_function(expr: Expr) -> bool {
        rewrite_operator(expr, &schema()).transformed
    }

    #[test]
    fn what_cannot_overflow_stays_an_operator() {
        let widened = || cast(col("small"), DataType::Int64);
        assert!(!becomes_a_function(widened() + lit(1_i64)));
        assert!(!becomes_a_function(widened() * widened()));
        assert!(!becomes_a_function((widened() * lit(1000_i64)) - widened()));
        assert!(!becomes_a_function(-widened()));
        assert!(!becomes_a_function(lit(9_223_372_036_854_775_806_i64) + lit(1_i64)));
        assert!(!becomes_a_function(col("price") + col("price")));
        assert!(!becomes_a_function(col("price") * col("price")));
        assert!(!becomes_a_function(lit(1.5) * lit(2.5)));
        assert!(!becomes_a_function(col("big") / lit(2_i64)));
    }

    #[test]
    fn what_can_overflow_becomes_a_function() {
        let widened = || cast(col("small"), DataType::Int64);
        assert!(becomes_a_function(col("small") + lit(1_i32)));
        assert!(becomes_a_function(col("big") * lit(2_i64)));
        assert!(becomes_a_function(-col("big")));
        assert!(becomes_a_function(col("unsigned") - lit(1_u64)));
        assert!(becomes_a_function(widened() * widened() * widened()));
        assert!(becomes_a_function(lit(9_223_372_036_854_775_807_i64) + lit(1_i64)));
        assert!(becomes_a_function(col("wide") + col("price")));
        assert!(becomes_a_function(col("wide") * col("price")));
        assert!(becomes_a_function(col("wide") / col("price")));
    }
}
