//! Substrait plans (<https://substrait.io>).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::catalog::TableProvider;
use datafusion::common::{DFSchema, TableReference, not_impl_err};
use datafusion::error::Result as DfResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion_substrait::extensions::Extensions;
use datafusion_substrait::logical_plan::consumer::{
    DefaultSubstraitConsumer, SubstraitConsumer, from_set_rel, from_substrait_plan_with_consumer,
};
use datafusion_substrait::substrait::proto::set_rel::SetOp;
use datafusion_substrait::substrait::proto::{Plan, SetRel, Type};
use futures::FutureExt;
use prost::Message;

use crate::engine::sql::count_rows_of_sets;
use crate::engine::statement::SqlLimits;
use crate::error::{Error, ErrorKind, Result};

/// The plan that `encoded` is. Its tables are looked up in the state's catalog like those of SQL; what
/// it does has to pass the same gate.
pub(in crate::engine) async fn substrait(
    encoded: &Bytes,
    state: &SessionState,
    limits: &SqlLimits,
) -> Result<LogicalPlan> {
    if encoded.len() > limits.bytes {
        let most = limits.bytes;
        return Err(Error::invalid(format!(
            "the plan is longer than {most} bytes (the setting max-sql-bytes)"
        )));
    }
    let plan = Plan::decode(encoded.clone())
        .map_err(|error| Error::invalid(format!("the bytes are no Substrait plan: {error}")))?;
    // The consumer takes a plan at its word in places, and panics where that is wrong.
    let consumed = AssertUnwindSafe(consume(&plan, state)).catch_unwind().await;
    let plan = consumed.map_err(|_| Error::invalid("the Substrait plan is malformed"))?;
    plan.map_err(|error| {
        let error = Error::from(error);
        match error.kind() {
            // What the consumer calls internal is a plan that does not fit together.
            ErrorKind::Internal => Error::invalid(format!("the Substrait plan: {}", error.message())),
            _ => error,
        }
    })
}

async fn consume(plan: &Plan, state: &SessionState) -> DfResult<LogicalPlan> {
    let extensions = Extensions::try_from(&plan.extensions)?;
    if !extensions.type_variations.is_empty() {
        return not_impl_err!("type variations of Substrait");
    }
    let consumer = Consumer(DefaultSubstraitConsumer::new(&extensions, state));
    from_substrait_plan_with_consumer(&consumer, plan).await
}

/// DataFusion's consumer, with set operations that count equal rows: see `sql/set_operations`.
struct Consumer<'a>(DefaultSubstraitConsumer<'a>);

#[async_trait]
impl SubstraitConsumer for Consumer<'_> {
    async fn consume_set(&self, rel: &SetRel) -> DfResult<LogicalPlan> {
        let plan = from_set_rel(self, rel).await?;
        match rel.op() {
            SetOp::IntersectionMultisetAll | SetOp::MinusPrimaryAll => {
                count_rows_of_sets(plan, rel.inputs.len())
            }
            _ => Ok(plan),
        }
    }

    async fn resolve_table_ref(&self, table: &TableReference) -> DfResult<Option<Arc<dyn TableProvider>>> {
        self.0.resolve_table_ref(table).await
    }

    fn get_extensions(&self) -> &Extensions {
        self.0.get_extensions()
    }

    fn get_function_registry(&self) -> &impl FunctionRegistry {
        self.0.get_function_registry()
    }

    fn push_outer_schema(&self, schema: Arc<DFSchema>) {
        self.0.push_outer_schema(schema);
    }

    fn pop_outer_schema(&self) {
        self.0.pop_outer_schema();
    }

    fn get_outer_schema(&self, steps_out: usize) -> Option<Arc<DFSchema>> {
        self.0.get_outer_schema(steps_out)
    }

    fn push_lambda_parameters(&self, parameters: &[Type], input: &DFSchema) -> DfResult<Vec<String>> {
        self.0.push_lambda_parameters(parameters, input)
    }

    fn pop_lambda_parameters(&self) {
        self.0.pop_lambda_parameters();
    }

    fn lambda_variable(&self, steps_out: usize, place: usize) -> DfResult<Expr> {
        self.0.lambda_variable(steps_out, place)
    }
}
