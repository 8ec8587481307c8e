//! Fields of structs that are read where the structs are: DataFusion's rules, where they are safe.
//!
//! DataFusion 55.2 moves `s['x']` towards the files through projections that it takes for renamings. One that computes
//! a column and calls it as its input is called loses what it computes: `select a, s['b'] from (select -a as a, s from
//! t)` gives `a` (apache/datafusion#25414). One with a volatile expression is computed twice (apache/datafusion#24678).
//! Plans with such projections keep the fields where they are written; the whole struct is read then.
//!
//! This can go when both are mended there.

use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;

/// One of the rules that move fields of structs, which leaves plans alone that it would change the meaning of.
#[derive(Debug)]
pub(super) struct SafeLeafPushdown(LogicalRule);

impl SafeLeafPushdown {
    /// The rule that stands in the place of `rule`, if that moves fields of structs.
    pub(super) fn instead_of(rule: &LogicalRule) -> Option<Self> {
        matches!(rule.name(), "extract_leaf_expressions" | "push_down_leaf_projections")
            .then(|| Self(LogicalRule::clone(rule)))
    }
}

impl OptimizerRule for SafeLeafPushdown {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.0.apply_order()
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        // The rule that is asked at each node moves projections only.
        let is_asked = self.apply_order().is_none() || matches!(plan, LogicalPlan::Projection(_));
        if !is_asked || !is_safe(&plan)? {
            return Ok(Transformed::no(plan));
        }
        self.0.rewrite(plan, config)
    }
}

fn is_safe(plan: &LogicalPlan) -> Result<bool> {
    let mut is_safe = true;
    plan.apply_with_subqueries(|plan| {
        if let LogicalPlan::Projection(projection) = plan {
            is_safe = only_renames(projection);
        }
        Ok(if is_safe { TreeNodeRecursion::Continue } else { TreeNodeRecursion::Stop })
    })?;
    Ok(is_safe)
}

/// Whether each column is called otherwise than all of the input, or is the one that is called so; and the same
/// however often it is computed.
fn only_renames(projection: &Projection) -> bool {
    let inputs = projection.input.schema();
    let mut columns = projection.expr.iter().zip(projection.schema.fields());
    columns.all(|(expr, field)| {
        let is_itself = matches!(bare(expr), Expr::Column(column) if column.name == *field.name());
        let is_new = || !inputs.has_column_with_unqualified_name(field.name());
        !expr.is_volatile() && (is_itself || is_new())
    })
}

fn bare(expr: &Expr) -> &Expr {
    match expr {
        Expr::Alias(alias) => bare(&alias.expr),
        other => other,
    }
}
