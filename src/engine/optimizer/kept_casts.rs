//! Casts that lose something stay where they are.
//!
//! See [`KeptCast`] for what DataFusion 55.2 does with them otherwise. The rule comes before expressions are
//! simplified, in each round, since other rules bring casts and literals together.
//!
//! It can go with [`KeptCast`].

use arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, TryCast};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::schema_of_inputs;
use crate::engine::functions::KeptCast;

/// Puts a function in the place of casts that lose something.
#[derive(Debug)]
pub(super) struct KeepCasts;

impl OptimizerRule for KeepCasts {
    fn name(&self) -> &'static str {
        "keep_casts"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let has_casts =
            |expr: &Expr| expr.exists(|expr| Ok(matches!(expr, Expr::Cast(_) | Expr::TryCast(_))));
        if !super::any_expression(&plan, has_casts)? {
            return Ok(Transformed::no(plan));
        }
        let schema = schema_of_inputs(&plan)?;
        let names = NamePreserver::new(&plan);
        super::map_each(plan, |expr| {
            let name = names.save(&expr);
            let changed = expr.transform_up(|expr| Ok(kept(expr, &schema)))?;
            Ok(changed.update_data(|expr| name.restore(expr)))
        })
    }
}

fn kept(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let is_kept = |cast: &Expr, to: &DataType, is_try| {
        !matches!(cast, Expr::Literal(..))
            && cast.get_type(schema).is_ok_and(|from| loses(&from, to) || is_try && is_partial(&from, to))
    };
    match expr {
        Expr::Cast(Cast { expr, field }) if is_kept(&expr, field.data_type(), false) => {
            Transformed::yes(KeptCast::of_cast(Cast { expr, field }))
        }
        Expr::TryCast(TryCast { expr, field }) if is_kept(&expr, field.data_type(), true) => {
            Transformed::yes(KeptCast::of_try_cast(TryCast { expr, field }))
        }
        other => Transformed::no(other),
    }
}

/// Whether a cast makes one value of several, puts them in another order, or fails for some that literals are
/// compared with in their own type.
fn loses(from: &DataType, to: &DataType) -> bool {
    use DataType::{Date32, Timestamp};
    let is_elsewhere = |zone: &str| !matches!(zone, "UTC" | "+00:00" | "Z" | "Etc/UTC" | "GMT");
    match (from, to) {
        // The time of a clock: one that is set back shows a time twice.
        (Timestamp(_, Some(zone)), Timestamp(_, None)) | (Timestamp(_, None), Timestamp(_, Some(zone)))
            if is_elsewhere(zone) =>
        {
            true
        }
        // To finer units, in which a literal may lie between two values of the column.
        (Timestamp(from, _), Timestamp(to, _)) => rank(*to) > rank(*from),
        // Bounds of times are no bounds of their days: estimates end outside of 0 to 1 (apache/datafusion#23352).
        (Date32, Timestamp(..)) | (Timestamp(..), Date32) => true,
        (from, to) if from.is_floating() => to.is_integer() || to.is_decimal(),
        _ => scale(from).zip(scale(to)).is_some_and(|(from, to)| to < from),
    }
}

fn rank(unit: TimeUnit) -> u8 {
    match unit {
        TimeUnit::Second => 0,
        TimeUnit::Millisecond => 1,
        TimeUnit::Microsecond => 2,
        TimeUnit::Nanosecond => 3,
    }
}

/// Whether there may be values that `TRY_CAST` makes NULL. DataFusion takes it off numbers and times only.
fn is_partial(from: &DataType, to: &DataType) -> bool {
    from != to && !matches!(from, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Digits after the point of exact numbers.
fn scale(data_type: &DataType) -> Option<i8> {
    match data_type {
        DataType::Decimal32(_, scale)
        | DataType::Decimal64(_, scale)
        | DataType::Decimal128(_, scale)
        | DataType::Decimal256(_, scale) => Some(*scale),
        integer => integer.is_integer().then_some(0),
    }
}
