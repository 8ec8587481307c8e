//! The left side of a nested loop join, which is read a second time where it does not fit into memory.
//!
//! DataFusion then executes the same plan again, to spill it. But scans share the files that are still to be read among all
//! executions, so that the second one gives only what the first had not begun with: nothing, or a part of the rows. And where
//! rows of the left side come out without a match, each thread would give them by what it alone has seen.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DataFusionError, JoinType};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::{
    ExecutionPlanProperties, replace_children_if_necessary, reset_plan_states,
};
use datafusion::physical_plan::joins::NestedLoopJoinExec;

use super::pass_through::{PassThrough, Passing};

type DfResult<T> = Result<T, DataFusionError>;

/// `plan` with nested loop joins whose left sides can be read again, or say that they do not fit.
pub(in crate::engine) fn rerunnable(plan: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    let with_left = |plan: Arc<dyn ExecutionPlan>| {
        let Some(join) = plan.downcast_ref::<NestedLoopJoinExec>() else { return Ok(Transformed::no(plan)) };
        let gives_unmatched = matches!(
            join.join_type(),
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark | JoinType::Full
        );
        let is_shared = join.right().output_partitioning().partition_count() > 1;
        let left = Left::new(!(gives_unmatched && is_shared));
        let left = PassThrough::over(Arc::clone(join.left()), left);
        let right = Arc::clone(join.right());
        replace_children_if_necessary(plan, vec![left, right]).map(Transformed::yes)
    };
    Ok(plan.transform_up(with_left)?.data)
}

/// A left side.
#[derive(Debug)]
struct Left {
    can_be_read_again: bool,
    was_read: AtomicBool,
}

impl Left {
    fn new(can_be_read_again: bool) -> Self {
        Self { can_be_read_again, was_read: AtomicBool::new(false) }
    }
}

impl Passing for Left {
    const NAME: &'static str = "Left";

    fn unread(&self) -> Self {
        Self::new(self.can_be_read_again)
    }

    fn execute(
        &self,
        input: &Arc<dyn ExecutionPlan>,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> DfResult<SendableRecordBatchStream> {
        if !self.was_read.swap(true, Ordering::AcqRel) {
            return input.execute(partition, context);
        }
        if self.can_be_read_again {
            return reset_plan_states(Arc::clone(input))?.execute(partition, context);
        }
        Err(DataFusionError::ResourcesExhausted(
            "the left side of a join that compares all pairs of rows does not fit into memory; \
             let it be the smaller table, or join on equal values"
                .to_owned(),
        ))
    }
}
