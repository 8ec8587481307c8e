//! Takes out the nodes that mark columns as one key while a statement is planned: see `engine::sql::joined_keys`.

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::AnalyzerRule;
use std::sync::Arc;

use crate::engine::sql::is_key_marker;

/// Replaces each marker by what is on its left.
#[derive(Debug)]
pub(in crate::engine) struct DropKeyMarkers;

impl AnalyzerRule for DropKeyMarkers {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        let dropped = plan.transform_up_with_subqueries(|plan| match plan {
            LogicalPlan::Join(join) if is_key_marker(&join) => {
                Ok(Transformed::yes(Arc::unwrap_or_clone(join.left)))
            }
            other => Ok(Transformed::no(other)),
        });
        Ok(dropped?.data)
    }

    fn name(&self) -> &'static str {
        "drop_key_markers"
    }
}
