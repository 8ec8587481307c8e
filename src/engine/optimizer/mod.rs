//! Rules of ours among DataFusion's: in front of those that answer wrongly, or in their place.

mod key_markers;
mod overflow;
mod rounding;
mod set_operations;
mod similar_to;
mod uuids;
mod zeros;

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::common::{DFSchema, DataFusionError, TableReference};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{DmlStatement, LogicalPlan, WriteOp};
use datafusion::optimizer::{Analyzer, AnalyzerRule};
use datafusion::prelude::SessionConfig;

pub(super) use key_markers::DropKeyMarkers;
pub(super) use uuids::parse_uuid;

/// Adds the rules to a state that has DataFusion's own.
pub(super) fn add_rules(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
        .with_analyzer_rules(analyzer_rules())
        .with_analyzer_rule(Arc::new(rounding::Rounding))
        .with_analyzer_rule(Arc::new(zeros::Zeros))
        .with_analyzer_rule(Arc::new(overflow::Overflow))
}

/// The rules that make a plan mean what its statement does. DataFusion's come last: its coercion of types is to
/// see what ours put in.
fn analyzer_rules() -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(DropKeyMarkers),
        Arc::new(set_operations::CountEqualRows),
        Arc::new(similar_to::TranslateSimilarTo),
        Arc::new(uuids::Uuids),
    ];
    rules.extend(Analyzer::new().rules);
    rules
}

/// Switches off what DataFusion does wrongly and has a setting for.
pub(super) fn switch_off(_config: &mut SessionConfig) {}

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
