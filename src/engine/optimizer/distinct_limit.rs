//! Distinct rows of which only some are wanted.
//!
//! DataFusion 55.2 tells the aggregation to stop early; over what comes in an order, such as a window
//! function's rows, it fails as an internal error (apache/datafusion#25350). This rule takes the limit back
//! there.
//!
//! It can go when such a query is answered without.

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::joins::SortMergeJoinExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::windows::{BoundedWindowAggExec, WindowAggExec};

use super::PhysicalRule;

/// DataFusion's rule of this name, where it is right.
#[derive(Debug)]
pub(super) struct DistinctLimit {
    inner: PhysicalRule,
}

impl DistinctLimit {
    /// The name of the rule that is guarded.
    pub(super) const NAME: &'static str = "LimitedDistinctAggregation";

    /// Guards `inner`.
    pub(super) fn new(inner: PhysicalRule) -> Self {
        Self { inner }
    }
}

impl PhysicalOptimizerRule for DistinctLimit {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let take_back = |plan: Arc<dyn ExecutionPlan>| {
            let aggregate = plan.downcast_ref::<AggregateExec>();
            match aggregate.filter(|aggregate| aggregate.limit_options().is_some()) {
                Some(aggregate) if is_ordered(&plan)? => Ok(Transformed::yes(Arc::new(
                    aggregate.with_new_limit_options(None),
                )
                    as Arc<dyn ExecutionPlan>)),
                _ => Ok(Transformed::no(plan)),
            }
        };
        self.inner.optimize(plan, config)?.transform_down(take_back).data()
    }

    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn schema_check(&self) -> bool {
        self.inner.schema_check()
    }
}

/// Whether rows come in an order somewhere below, or will when the plan is complete.
fn is_ordered(plan: &Arc<dyn ExecutionPlan>) -> Result<bool, DataFusionError> {
    plan.exists(|below| {
        Ok(below.is::<WindowAggExec>()
            || below.is::<BoundedWindowAggExec>()
            || below.is::<SortExec>()
            || below.is::<SortMergeJoinExec>())
    })
}
