//! Physical plans that do not fail, or go wrong, for what statistics say.
//!
//! When DataFusion 55.2 plans a filter, it estimates from the bounds of the columns how many rows pass. Where
//! the estimate cannot be made, the query fails as an internal error (kin of apache/datafusion#23352:
//! `cast(ts as date) <= due`); such a query is planned again without bounds. Where casts lose something, the
//! estimate is wrong in a way that matters: see [`opaque`](super::opaque).
//!
//! It can go when an estimate that fails is no error.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::DataFusionError;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};

use super::opaque::hide_lossy;
use crate::safeguard::Safeguard;

/// Makes physical plans as DataFusion does.
#[derive(Debug)]
pub(super) struct CarefulPlanner;

#[async_trait]
impl QueryPlanner for CarefulPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        session: &dyn Session,
    ) -> Result<Arc<dyn ExecutionPlan>, DataFusionError> {
        let plan = plan.clone();
        let plan = if Safeguard::LossyCasts.stands() { hide_lossy(plan)? } else { plan };
        let planner = DefaultPhysicalPlanner::default();
        let error = match planner.create_physical_plan(&plan, session).await {
            Err(error) if may_be_without_bounds(&error) => error,
            made => return made,
        };
        let Some(state) = session.as_any().downcast_ref::<SessionState>() else { return Err(error) };
        let mut state = state.clone();
        // Tables then tell how many rows they have, and nothing of the values.
        state.config_mut().options_mut().execution.collect_statistics = false;
        let again = planner.create_physical_plan(&plan, &state).await;
        again.map_err(|_| error).inspect(|_| tracing::debug!("planned without the bounds of columns"))
    }
}

/// Whether a plan that could not be made with bounds may be one without.
fn may_be_without_bounds(error: &DataFusionError) -> bool {
    Safeguard::FailedEstimates.stands() && !matches!(error.find_root(), DataFusionError::External(_))
}
