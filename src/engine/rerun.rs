//! The left side of a nested loop join, which is read a second time where it does not fit into memory.
//!
//! DataFusion then executes the same plan again, to spill it. But scans share the files that are still to be read among all
//! executions, so that the second one gives only what the first had not begun with: nothing, or a part of the rows. And where
//! rows of the left side come out without a match, each thread would give them by what it alone has seen.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, JoinType, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::{
    ExecutionPlanProperties, replace_children_if_necessary, reset_plan_states,
};
use datafusion::physical_plan::joins::NestedLoopJoinExec;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};

type DfResult<T> = Result<T, DataFusionError>;

/// `plan` with nested loop joins whose left sides can be read again, or say that they do not fit.
pub(super) fn rerunnable(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let with_left = |plan: Arc<dyn ExecutionPlan>| {
        let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else { return Ok(Transformed::no(plan)) };
        let gives_unmatched = matches!(
            join.join_type(),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark | JoinType::Full
        );
        let is_shared = join.right().output_partitioning().partition_count() > 1;
        let left = Left::new(Arc::clone(join.left()), !(gives_unmatched && is_shared));
        let right = Arc::clone(join.right());
        replace_children_if_necessary(plan, vec![Arc::new(left), right]).map(Transformed::yes)
    };
    Ok(plan.transform_up(with_left)?.data)
}

/// A left side.
#[derive(Debug)]
struct Left {
    input: Arc<dyn ExecutionPlan>,
    can_be_read_again: bool,
    was_read: AtomicBool,
}

impl Left {
    fn new(input: Arc<dyn ExecutionPlan>, can_be_read_again: bool) -> Self {
        Self { input, can_be_read_again, was_read: AtomicBool::new(false) }
    }
}

impl DisplayAs for Left {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Left")
    }
}

impl ExecutionPlan for Left {
    fn name(&self) -> &'static str {
        "Left"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next().unwrap_or_else(|| Arc::clone(&self.input));
        Ok(Arc::new(Self::new(input, self.can_be_read_again)))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        if !self.was_read.swap(true, Ordering::AcqRel) {
            return self.input.execute(partition, context);
        }
        if self.can_be_read_again {
            return reset_plan_states(Arc::clone(&self.input))?.execute(partition, context);
        }
        Err(DataFusionError::ResourcesExhausted(
            "the left side of a join that compares all pairs of rows does not fit into memory; \
             let it be the smaller table, or join on equal values"
                .to_owned(),
        ))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(
        &self,
        inputs: &[Arc<Statistics>],
        _: &StatisticsArgs,
    ) -> DfResult<Arc<Statistics>> {
        Ok(Arc::clone(&inputs[0]))
    }
}
