//! Rules of ours among DataFusion's: in front of those that answer wrongly, or in their place.

mod aggregate_statistics;
mod cancel_points;
mod comparisons;
mod correlation;
mod distinct_limit;
mod exact_literals;
mod exists;
mod first_partitions;
mod grouping_sets;
mod in_lists;
mod in_subqueries;
mod kept_casts;
mod key_markers;
mod leaf_pushdown;
mod moments;
mod opaque;
mod overflow;
mod patterns;
mod planner;
mod pushdown;
mod rounding;
mod sanity;
mod single_rows;
mod topk_aggregation;
mod translated_patterns;
mod unquoted_dates;
mod uuids;
mod volatile_ranges;
mod window_frames;
mod zeros;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, TableReference};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{DmlStatement, Expr, LogicalPlan, WriteOp};
use datafusion::optimizer::{Analyzer, AnalyzerRule, Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;

use self::aggregate_statistics::FaithfulStatistics;
use self::cancel_points::stoppable;
use self::distinct_limit::DistinctLimit;
use self::key_markers::DropKeyMarkers;
use self::leaf_pushdown::SafeLeafPushdown;
use self::planner::CarefulPlanner;
use self::pushdown::FilterPushdownByPlace;
use self::topk_aggregation::FirstGroups;
pub(super) use self::uuids::parse_uuid;
use crate::safeguard::{Safeguard, standing};

type TypingRule = Arc<dyn AnalyzerRule + Send + Sync>;
type LogicalRule = Arc<dyn OptimizerRule + Send + Sync>;
type PhysicalRule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// Adds the rules to a state that has DataFusion's own.
pub(super) fn add_rules(builder: SessionStateBuilder) -> SessionStateBuilder {
    let builder = builder.with_analyzer_rules(analyzer_rules());
    let builder = builder.with_optimizer_rules(optimizer_rules());
    add_physical_rules(builder).with_query_planner(Arc::new(CarefulPlanner))
}

/// The rules that make a plan mean what its statement does: those that DataFusion's coercion of types is to see the work of,
/// DataFusion's, and those that want to see the types.
fn analyzer_rules() -> Vec<TypingRule> {
    let mut rules: Vec<TypingRule> = vec![
        Arc::new(DropKeyMarkers),
        Arc::new(translated_patterns::TranslatePatterns),
        Arc::new(unquoted_dates::UnquotedDates),
    ];
    rules.extend(standing([(Safeguard::Uuids, Arc::new(uuids::Uuids) as TypingRule)]));
    rules.push(Arc::new(super::functions::UuidCasts));
    rules.extend(Analyzer::new().rules);
    let coerced = rules.iter().position(|rule| rule.name() == "type_coercion").unwrap_or(rules.len());
    let before: [(Safeguard, TypingRule); 3] = [
        (Safeguard::ExactLiterals, Arc::new(exact_literals::ExactLiterals)),
        (Safeguard::Moments, Arc::new(moments::Moments)),
        (Safeguard::WindowFrames, Arc::new(window_frames::WindowFrames)),
    ];
    drop(rules.splice(coerced..coerced, standing(before)));
    let last: [(Safeguard, TypingRule); 4] = [
        (Safeguard::VolatileRanges, Arc::new(volatile_ranges::VolatileRanges)),
        (Safeguard::Rounding, Arc::new(rounding::Rounding)),
        (Safeguard::Zeros, Arc::new(zeros::Zeros)),
        (Safeguard::Overflow, Arc::new(overflow::Overflow)),
    ];
    rules.extend(standing(last));
    stoppable(rules).map(|rule| Arc::new(rule) as _).collect()
}

/// DataFusion's rules, with those of ours in front of the first one that simplifies, and one that wants to see filters and
/// limits where they belong.
fn optimizer_rules() -> Vec<LogicalRule> {
    let mut rules = Optimizer::new().rules;
    for rule in &mut rules {
        if let Some(safe) = SafeLeafPushdown::instead_of(rule)
            && Safeguard::LeafPushdown.stands()
        {
            *rule = Arc::new(safe);
        }
    }
    let simplified = rules.iter().position(|rule| rule.name() == "simplify_expressions").unwrap_or(0);
    let first: [(Safeguard, LogicalRule); 5] = [
        (Safeguard::InSubqueries, Arc::new(in_subqueries::InSubqueries)),
        (Safeguard::ExistsAnywhere, Arc::new(exists::ExistsAnywhere)),
        (Safeguard::MatchesOfAny, Arc::new(patterns::MatchesOfAny)),
        (Safeguard::InLists, Arc::new(in_lists::MergeInLists)),
        (Safeguard::KeptCasts, Arc::new(kept_casts::KeepCasts)),
    ];
    drop(rules.splice(simplified..simplified, standing(first)));
    rules.push(Arc::new(first_partitions::FirstPartitions));
    stoppable(rules).map(|rule| Arc::new(rule) as _).collect()
}

/// The rules for physical plans: of ours one that sees a plan as it was made, and those in the place of DataFusion's.
fn add_physical_rules(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let rules = builder.physical_optimizers().take().unwrap_or_default().rules;
    let mut rules: Vec<PhysicalRule> = rules.into_iter().map(in_its_place).collect();
    let first: [(Safeguard, PhysicalRule); 1] =
        [(Safeguard::GroupingSets, Arc::new(grouping_sets::HideGroupingColumns))];
    drop(rules.splice(0..0, standing(first)));
    builder.with_physical_optimizer_rules(stoppable(rules).map(|rule| Arc::new(rule) as _).collect())
}

/// The rule of ours that stands in the place of one of DataFusion's, or that one.
fn in_its_place(rule: PhysicalRule) -> PhysicalRule {
    if let Some(pushdown) = FilterPushdownByPlace::instead_of(rule.name())
        && Safeguard::FiltersByPlace.stands()
    {
        return Arc::new(pushdown);
    }
    match rule.name() {
        FaithfulStatistics::NAME if Safeguard::CastBounds.stands() => Arc::new(FaithfulStatistics::new(rule)),
        DistinctLimit::NAME if Safeguard::DistinctLimit.stands() => Arc::new(DistinctLimit::new(rule)),
        FirstGroups::NAME if Safeguard::FirstGroups.stands() => Arc::new(FirstGroups),
        sanity::NAME if Safeguard::SanityCheck.stands() => Arc::new(sanity::CheckPlan),
        _ => rule,
    }
}

/// The columns that the expressions of a plan can name.
fn schema_of_inputs(plan: &LogicalPlan) -> Result<DFSchema, DataFusionError> {
    let mut schema = merge_schema(&plan.inputs());
    let mut add = |table: &TableReference, columns: SchemaRef| {
        schema.merge(&DFSchema::try_from_qualified_schema(table.clone(), &columns)?);
        Ok::<_, DataFusionError>(())
    };
    match plan {
        LogicalPlan::TableScan(scan) => add(&scan.table_name, scan.source.schema())?,
        LogicalPlan::Dml(DmlStatement { op: WriteOp::MergeInto(_), table_name, target, .. }) => {
            add(table_name, target.schema())?;
        }
        _ => {}
    }
    Ok(schema)
}

/// Rewrites the expressions of a node, those of grouping sets one by one: a set has no name that could be kept.
fn map_each(
    plan: LogicalPlan,
    mut rewrite: impl FnMut(Expr) -> Result<Transformed<Expr>, DataFusionError>,
) -> Result<Transformed<LogicalPlan>, DataFusionError> {
    plan.map_expressions(|expr| match expr {
        Expr::GroupingSet(_) => expr.map_children(&mut rewrite),
        expr => rewrite(expr),
    })
}

/// Whether one of the expressions of a node passes `test`.
fn any_expression(
    plan: &LogicalPlan,
    test: impl Fn(&Expr) -> Result<bool, DataFusionError>,
) -> Result<bool, DataFusionError> {
    let mut passes = false;
    plan.apply_expressions(|expr| {
        passes = test(expr)?;
        Ok(if passes { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(passes)
}
