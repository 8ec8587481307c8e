//! What a query is given as: SQL, or a Substrait plan.

use std::fmt;
use std::panic::AssertUnwindSafe;

use bytes::Bytes;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion_substrait::logical_plan::consumer::from_substrait_plan;
use datafusion_substrait::substrait::proto::Plan;
use futures::FutureExt;
use prost::Message;

use super::limits::SqlLimits;
use crate::error::{Error, ErrorKind, Result};

/// What a query is given as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// SQL text.
    Sql(String),
    /// An encoded `substrait.Plan`.
    Substrait(Bytes),
}

impl Source {
    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Sql(sql) => sql.len(),
            Self::Substrait(plan) => plan.len(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sql(sql) => f.write_str(sql),
            Self::Substrait(plan) => write!(f, "a Substrait plan of {} bytes", plan.len()),
        }
    }
}

impl From<String> for Source {
    fn from(sql: String) -> Self {
        Self::Sql(sql)
    }
}

/// The plan that `encoded` is. Its tables are looked up in the state's catalog like those of SQL; what
/// it does has to pass the same gate.
pub(super) async fn substrait(
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
    let consumed = AssertUnwindSafe(from_substrait_plan(state, &plan)).catch_unwind().await;
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
