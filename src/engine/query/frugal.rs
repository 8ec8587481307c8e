//! Queries that did not get the memory that they wanted, planned again so that they need less of it at once.
//!
//! The usual plan is the fast one: hash joins, the best rows of a limit held in memory, as many partitions as there are
//! threads. None of these spill. Where one fails for want of memory before any row was given, the query is run once more
//! with what can spill, and after the others that failed like it: they would only take each other's memory again.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::execution::memory_pool::{MemoryLimit, MemoryPool};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::sorts::sort::SortExec;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use super::plan_cache::Optimized;
use super::planning::Planning;
use super::{Planner, Query};
use crate::engine::Engine;
use crate::engine::memory::Bounds;
use crate::error::Result;

type DfResult<T> = Result<T, DataFusionError>;

/// How often a query is run again.
const RUNS: usize = 2;
/// So long a query waits for one that failed before it, and for those that run. Their clients may read slowly.
const WAIT: Duration = Duration::from_secs(120);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The best rows of larger limits are found by a sort that spills.
const HELD_AT_MOST: usize = 10_000;
/// Of the memory of all queries this part is left to those that are in the middle of their rows.
const OTHERS_PART: usize = 4;
const LEAST_FOR_MERGE: usize = 1 << 20;

/// What it takes to plan a query once more.
pub(in crate::engine) struct Again {
    pub(in crate::engine) planner: Planner,
    pub(in crate::engine) optimized: Vec<Optimized>,
}

impl Again {
    /// The query for less memory.
    async fn plan(self) -> Result<Query> {
        let Self { mut planner, optimized } = self;
        let plans: Vec<_> = optimized.iter().map(|optimized| optimized.plan.clone()).collect();
        planner.bounds = Some(save_memory(&mut planner.state, &plans));
        planner.repeatable(optimized).await
    }
}

/// How a query is run again.
pub(in crate::engine) struct Retry {
    again: Box<Again>,
    planning: Arc<Planning>,
    turns: Arc<Semaphore>,
    deadline: Instant,
    left: usize,
}

/// A query that was planned again.
pub(in crate::engine) struct Replanned {
    pub(in crate::engine) query: Query,
    /// Held while it runs.
    pub(in crate::engine) turn: Option<OwnedSemaphorePermit>,
}

/// A query that is being planned again, and how it is run once more if that fails too.
pub(in crate::engine) type Replanning = BoxFuture<'static, Result<(Replanned, Option<Retry>)>>;

impl Retry {
    pub(in crate::engine) fn new(engine: &Engine, again: Box<Again>, deadline: Instant) -> Self {
        let (planning, turns) = (Arc::clone(&engine.planning), Arc::clone(&engine.frugal));
        Self { again, planning, turns, deadline, left: RUNS }
    }

    /// Waits for those that failed before, and for those who have the memory, unless they take long; then plans.
    pub(in crate::engine) fn replan(self) -> Replanning {
        self.replanned().boxed()
    }

    async fn replanned(self) -> Result<(Replanned, Option<Self>)> {
        let Self { again, planning, turns, deadline, left } = self;
        let turn = timeout(WAIT, Arc::clone(&turns).acquire_owned()).await.ok().and_then(Result::ok);
        let pool = Arc::clone(&again.planner.state.runtime_env().memory_pool);
        // Where it does not come to that, there may be enough nevertheless.
        let _ = timeout(WAIT, room(pool.as_ref())).await;
        let mut query = planning.run(deadline, again.plan().boxed()).await?;
        let left = left - 1;
        let again = query.again.take().filter(|_| left > 0);
        let retry = again.map(|again| Self { again, planning, turns, deadline, left });
        Ok((Replanned { query, turn }, retry))
    }
}

/// Comes true when queries have left what one that is planned again may have.
async fn room(pool: &dyn MemoryPool) {
    while pool.reserved() > limit(pool) / OTHERS_PART {
        sleep(LOOK_AGAIN).await;
    }
}

fn limit(pool: &dyn MemoryPool) -> usize {
    match pool.memory_limit() {
        MemoryLimit::Finite(limit) => limit,
        _ => usize::MAX,
    }
}

/// Makes plans of `state` need less memory at once, and says how much they are to get. `optimized` is what is planned.
fn save_memory(state: &mut SessionState, optimized: &[LogicalPlan]) -> Bounds {
    let joins = optimized.iter().map(equi_joins).max().unwrap_or_default();
    // Joins of one partition are hash joins, whatever is preferred.
    let partitions = if joins > 0 { 2 } else { 1 };
    // A sort-merge join sorts both of its sides.
    let sorts = partitions * (1 + 2 * joins);
    let all = limit(state.runtime_env().memory_pool.as_ref());
    let bounds = Bounds { all: all - all / OTHERS_PART, sorts };
    let options = state.config_mut().options_mut();
    options.optimizer.prefer_hash_join = false;
    let execution = &mut options.execution;
    execution.target_partitions = execution.target_partitions.min(partitions);
    // What a sort has gathered is in memory twice while it is merged, and its keys once more.
    execution.sort_spill_reservation_bytes = (bounds.all / 2 / sorts).max(LEAST_FOR_MERGE);
    bounds
}

fn equi_joins(plan: &LogicalPlan) -> usize {
    let mut joins = 0;
    let counted = plan.apply_with_subqueries(|plan| {
        joins += usize::from(matches!(plan, LogicalPlan::Join(join) if !join.on.is_empty()));
        Ok(TreeNodeRecursion::Continue)
    });
    counted.map_or(0, |_| joins)
}

/// `plan` without operators that hold many rows of a limit.
pub(in crate::engine) fn without_large_heaps(
    plan: Arc<dyn ExecutionPlan>,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let spilling = |plan: Arc<dyn ExecutionPlan>| {
        let Some(sort) = plan.downcast_ref::<SortExec>() else { return Ok(Transformed::no(plan)) };
        let Some(fetch) = sort.fetch().filter(|fetch| *fetch > HELD_AT_MOST) else {
            return Ok(Transformed::no(plan));
        };
        let whole: Arc<dyn ExecutionPlan> = Arc::new(sort.with_fetch(None));
        let limited: Arc<dyn ExecutionPlan> = if sort.preserve_partitioning() {
            Arc::new(LocalLimitExec::new(whole, fetch))
        } else {
            Arc::new(GlobalLimitExec::new(whole, 0, Some(fetch)))
        };
        // What is below was looked at before.
        Ok(Transformed::new(limited, true, TreeNodeRecursion::Continue))
    };
    plan.transform_up(spilling).data()
}
