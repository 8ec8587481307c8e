//! Dates that are compared with numbers: `day > 1995-01-01`.
//!
//! DataFusion 55.2 takes the difference, 1993, for days since 1970, as other databases do not: it is an error here, which
//! says how dates are written.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use super::schema_of_inputs;

/// Refuses comparisons of dates with numbers. Comes before types are coerced.
#[derive(Debug)]
pub(super) struct UnquotedDates;

impl AnalyzerRule for UnquotedDates {
    fn name(&self) -> &'static str {
        "unquoted_dates"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        plan.apply_with_subqueries(|node| check(node).map(|()| TreeNodeRecursion::Continue))?;
        Ok(plan)
    }
}

fn check(plan: &LogicalPlan) -> Result<()> {
    let mut schema = None;
    plan.apply_expressions(|expr| {
        expr.apply(|expr| {
            let operands = compared(expr);
            let Some(number) = operands.iter().find(|operand| is_number(operand)) else {
                return Ok(TreeNodeRecursion::Continue);
            };
            let schema = match &mut schema {
                Some(schema) => schema,
                none => none.insert(schema_of_inputs(plan)?),
            };
            if let Some(date) = operands.iter().find(|operand| is_date(operand, schema)) {
                let quoted = written_out(number).unwrap_or_else(|| "1995-12-31".to_owned());
                return plan_err!(
                    "the date {date} is compared with the number {number}; a date is written in quotes: '{quoted}'"
                );
            }
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(())
}

/// The operands of a comparison.
fn compared(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if is_comparison(*op) => vec![left, right],
        Expr::InList(list) => std::iter::once(list.expr.as_ref()).chain(&list.list).collect(),
        Expr::Between(between) => vec![&between.expr, &between.low, &between.high],
        _ => Vec::new(),
    }
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

/// Whether an expression is a whole number, or computed of such.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => value.data_type().is_integer(),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus | Operator::Plus, right }) => {
            is_number(left) && is_number(right)
        }
        _ => false,
    }
}

fn is_date(expr: &Expr, schema: &DFSchema) -> bool {
    let data_type = expr.get_type(schema);
    matches!(data_type, Ok(DataType::Date32 | DataType::Date64 | DataType::Timestamp(..)))
}

/// `1995-01-01`, where a number was computed so.
fn written_out(expr: &Expr) -> Option<String> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Minus, right }) = expr else { return None };
    let Expr::BinaryExpr(BinaryExpr { left: year, op: Operator::Minus, right: month }) = left.as_ref() else {
        return None;
    };
    let part = |expr: &Expr| match expr {
        Expr::Literal(value, _) => value.to_string().parse::<u32>().ok(),
        _ => None,
    };
    Some(format!("{:04}-{:02}-{:02}", part(year)?, part(month)?, part(right)?))
}
