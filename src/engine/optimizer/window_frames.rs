//! Frames of windows that are in the order of values that nothing can be added to.
//!
//! The frame of `OVER (ORDER BY …)` without one is a range from the first row to the last that equals the current one.
//! DataFusion 55.2 looks for the type of a distance in it, which there is none of for durations, binary values, structs
//! and maps, though none is written: an internal error (apache/datafusion#24915). Over groups of equal rows such a frame
//! is the same rows.
//!
//! This can go when DataFusion asks for a type only where a distance is written.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Expr, ExprSchemable, LogicalPlan, WindowFrame, WindowFrameBound, WindowFrameUnits,
};
use datafusion::optimizer::AnalyzerRule;

use super::schema_of_inputs;

/// Makes groups of ranges without a distance. Comes before types are coerced.
#[derive(Debug)]
pub(super) struct WindowFrames;

impl AnalyzerRule for WindowFrames {
    fn name(&self) -> &'static str {
        "window_frames"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let changed = plan.transform_up_with_subqueries(|plan| {
            if !matches!(plan, LogicalPlan::Window(_)) {
                return Ok(Transformed::no(plan));
            }
            let schema = schema_of_inputs(&plan)?;
            let names = NamePreserver::new(&plan);
            super::map_each(plan, |expr| {
                let name = names.save(&expr);
                let changed = expr.transform_up(|expr| over_groups(expr, &schema))?;
                Ok(changed.update_data(|expr| name.restore(expr)))
            })
        });
        Ok(changed?.data)
    }
}

fn over_groups(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let Expr::WindowFunction(function) = &mut expr else { return Ok(Transformed::no(expr)) };
    let WindowFunctionParams { order_by, window_frame, .. } = &mut function.params;
    let Some(first) = order_by.first().filter(|_| window_frame.units == WindowFrameUnits::Range) else {
        return Ok(Transformed::no(expr));
    };
    let data_type = first.expr.get_type(schema)?;
    if has_distance(&data_type) {
        return Ok(Transformed::no(expr));
    }
    let is_free =
        |bound: &WindowFrameBound| bound.is_unbounded() || matches!(bound, WindowFrameBound::CurrentRow);
    if !is_free(&window_frame.start_bound) || !is_free(&window_frame.end_bound) {
        return plan_err!(
            "RANGE with a distance needs an order of numbers or times, not of {data_type}; use ROWS or GROUPS"
        );
    }
    *window_frame = WindowFrame::new_bounds(
        WindowFrameUnits::Groups,
        window_frame.start_bound.clone(),
        window_frame.end_bound.clone(),
    );
    Ok(Transformed::yes(expr))
}

/// Whether DataFusion knows what type the distance of two values has, or leaves that open.
fn has_distance(data_type: &DataType) -> bool {
    data_type.is_numeric()
        || data_type.is_string()
        || data_type.is_null()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Timestamp(..)
                | DataType::List(_)
                | DataType::LargeList(_)
                | DataType::FixedSizeList(..)
        )
        || matches!(data_type, DataType::Dictionary(_, values) if has_distance(values))
}
