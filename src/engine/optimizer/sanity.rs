//! The last check of a physical plan, which takes an order that is there for one that is there.
//!
//! DataFusion 55.2 looks for a required order in a plan by the properties of its expressions. Where it cannot tell
//! them, as of `abs(a * 2)`, it finds even the very order that the plan below was made to have missing, and refuses
//! the query (kin of apache/datafusion#16171). This check compares the expressions themselves first. Can go when
//! DataFusion's does.

use std::sync::Arc;

use datafusion::common::config::{ConfigOptions, OptimizerOptions};
use datafusion::common::plan_err;
use datafusion::error::Result as DfResult;
use datafusion::physical_expr::{EquivalenceProperties, LexRequirement, OrderingRequirements};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::sanity_checker::{check_finiteness_requirements, check_plan_sanity};
use datafusion::physical_plan::{ChildSatisfactionOptions, ExecutionPlan, ExecutionPlanProperties};

/// What DataFusion calls its own.
pub(super) const NAME: &str = "SanityCheckPlan";

/// In the place of DataFusion's.
#[derive(Debug)]
pub(super) struct CheckPlan;

impl PhysicalOptimizerRule for CheckPlan {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        check(&plan, &config.optimizer)?;
        Ok(plan)
    }

    fn name(&self) -> &'static str {
        NAME
    }

    fn schema_check(&self) -> bool {
        true
    }
}

fn check(plan: &Arc<dyn ExecutionPlan>, options: &OptimizerOptions) -> DfResult<()> {
    for child in plan.children() {
        check(child, options)?;
    }
    match check_plan_sanity(plan, options) {
        Err(error) if !is_in_order(plan, options)? => Err(error),
        _ => Ok(()),
    }
}

/// Whether all that DataFusion's check asks of `plan` is so, by the letter where it did not see it.
fn is_in_order(plan: &Arc<dyn ExecutionPlan>, options: &OptimizerOptions) -> DfResult<bool> {
    check_finiteness_requirements(plan.as_ref(), options)?;
    let distributions = plan.input_distribution_requirements();
    for ((index, child), order) in plan.children().into_iter().enumerate().zip(plan.required_input_ordering())
    {
        let properties = child.equivalence_properties();
        if let Some(order) = order.map(OrderingRequirements::into_single)
            && !properties.ordering_satisfy_requirement(order.clone())?
            && !has_order(properties, &order)
        {
            return Ok(false);
        }
        let allowed = ChildSatisfactionOptions::new().with_allow_subset(true);
        if !distributions.child_satisfaction(index, child.as_ref(), allowed)?.is_satisfied() {
            return plan_err!("the plan does not distribute its rows as it must");
        }
    }
    Ok(true)
}

/// Whether one of the known orders begins with `required`.
fn has_order(properties: &EquivalenceProperties, required: &LexRequirement) -> bool {
    properties.oeq_class().iter().any(|known| {
        known.len() >= required.len()
            && known.iter().zip(required.iter()).all(|(known, required)| {
                known.expr.eq(&required.expr)
                    && required.options.is_none_or(|options| known.options == options)
            })
    })
}
