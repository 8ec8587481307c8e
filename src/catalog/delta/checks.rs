//! What a table demands of its rows: CHECK constraints and invariants.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use crate::error::{Error, Result};
use crate::storage::DeltaVersion;

/// The properties that hold constraints: `delta.constraints.NAME`.
const CONSTRAINT: &str = "delta.constraints.";
/// The field metadata that holds an invariant, as `{"expression": {"expression": "…"}}`.
const INVARIANT: &str = "delta.invariants";
/// Field metadata of columns whose values the writer has to make.
const MADE: [&str; 2] = ["delta.generationExpression", "delta.identity.start"];

/// The checks of a table, ready to be applied to rows in the types that are stored.
#[derive(Debug, Default)]
pub(super) struct Checks {
    checks: Vec<Check>,
}

#[derive(Debug)]
struct Check {
    name: String,
    sql: String,
    condition: Arc<dyn PhysicalExpr>,
}

impl Checks {
    /// The checks of a version of a table. A column whose values would have to be made here is an error.
    pub(super) fn of(version: &DeltaVersion) -> Result<Self> {
        let schema = version.stored();
        let mut found: Vec<(String, String)> = version
            .properties()
            .iter()
            .filter_map(|(key, sql)| Some((key.strip_prefix(CONSTRAINT)?.to_owned(), sql.clone())))
            .collect();
        for field in schema.fields() {
            if MADE.iter().any(|key| field.metadata().contains_key(*key)) {
                return Err(Error::unimplemented(format!(
                    "column {:?} is generated, which is not supported in writes; write with the program that \
                     made the table",
                    field.name()
                )));
            }
            if let Some(text) = field.metadata().get(INVARIANT) {
                found.push((field.name().clone(), invariant(text)?));
            }
        }
        found.sort();
        let checks = found.into_iter().map(|(name, sql)| Check::new(name, sql, schema));
        Ok(Self { checks: checks.collect::<Result<_>>()? })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Fails if a row of `batch` does not pass.
    pub(super) fn check(&self, batch: &RecordBatch) -> Result<()> {
        self.checks.iter().try_for_each(|check| check.apply(batch))
    }
}

impl Check {
    fn new(name: String, sql: String, schema: &SchemaRef) -> Result<Self> {
        let unclear = |error: &dyn std::fmt::Display| {
            Error::unimplemented(format!("the check {name} ({sql}) of the table is not understood: {error}"))
        };
        let columns = DFSchema::try_from(Arc::clone(schema)).map_err(|error| unclear(&error))?;
        let state = SessionStateBuilder::new().with_default_features().build();
        let condition = state.create_logical_expr(&sql, &columns).map_err(|error| unclear(&error))?;
        let condition = create_physical_expr(
            &condition,
            &columns,
            &ExecutionProps::new(),
            &PhysicalPlanningContext::default(),
        );
        let condition = condition.map_err(|error| unclear(&error))?;
        Ok(Self { name, sql, condition })
    }

    fn apply(&self, batch: &RecordBatch) -> Result<()> {
        let Self { name, sql, condition } = self;
        let passed = condition.evaluate(batch).and_then(|value| value.into_array(batch.num_rows()));
        let passed =
            passed.map_err(|error| Error::invalid(format!("the check {name} ({sql}) failed: {error}")))?;
        let is_met = passed.as_boolean_opt().is_some_and(|passed| {
            // Delta's checks must be true; NULL is not.
            (0..passed.len()).all(|row| passed.is_valid(row) && passed.value(row))
        });
        if is_met {
            return Ok(());
        }
        Err(Error::invalid(format!("a row does not pass the table's check {name}: {sql}")))
    }
}

fn invariant(text: &str) -> Result<String> {
    let parsed: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    let sql = parsed.pointer("/expression/expression").and_then(serde_json::Value::as_str);
    sql.map(str::to_owned)
        .ok_or_else(|| Error::unimplemented(format!("the invariant {text} is not understood")))
}
