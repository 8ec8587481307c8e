//! Matches of the pattern `.*`, which are NULL where the text is.
//!
//! DataFusion 55.2 makes `IS NOT NULL` of `text ~ '.*'` and of `regexp_like(text, '.*')`, which is false where it
//! ought to be NULL, and true under a NOT (apache/datafusion#24379). Here such a match is written as what it is.
//!
//! This can go when DataFusion does so.

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, ScalarFunction};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::{any_expression, schema_of_inputs};

/// The pattern that matches every text.
const ANY: &str = ".*";

/// Writes matches of every text as NULL where there is no text.
#[derive(Debug)]
pub(super) struct MatchesOfAny;

impl OptimizerRule for MatchesOfAny {
    fn name(&self) -> &'static str {
        "matches_of_any"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !any_expression(&plan, |expr| expr.exists(|expr| Ok(text(expr).is_some())))? {
            return Ok(Transformed::no(plan));
        }
        let schema = schema_of_inputs(&plan)?;
        let names = NamePreserver::new(&plan);
        super::map_each(plan, |expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| known(expr, &schema))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    }
}

/// The text that `expr` matches with a pattern that matches every text.
fn text(expr: &Expr) -> Option<&Expr> {
    let (text, pattern) = match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::RegexMatch | Operator::RegexIMatch, right }) => {
            (left.as_ref(), right.as_ref())
        }
        Expr::ScalarFunction(ScalarFunction { func, args }) if func.name() == "regexp_like" => {
            match &args[..] {
                [text, pattern] | [text, pattern, Expr::Literal(..)] => (text, pattern),
                _ => return None,
            }
        }
        _ => return None,
    };
    let Expr::Literal(pattern, _) = pattern else { return None };
    (pattern.try_as_str().flatten() == Some(ANY)).then_some(text)
}

fn known(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Some(text) = text(&expr) else { return Ok(Transformed::no(expr)) };
    Ok(Transformed::yes(if text.nullable(schema)? {
        text.clone().is_not_null().or(lit(ScalarValue::Boolean(None)))
    } else {
        lit(true)
    }))
}
