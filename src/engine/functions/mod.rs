//! Functions and aggregates of ours in the place of DataFusion's that answer wrongly.

mod arithmetic;
mod corr;
mod extremes;
mod lead_lag;
mod overflow;
mod round;
mod sum;
mod unsigned_zero;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::AggregateUDF;

pub(super) use arithmetic::{checked, checked_minus};
pub(super) use round::round_by_row;
pub(super) use unsigned_zero::{unsigned_zero, unsigned_zero_beside};

use self::extremes::NestedExtremes;
use crate::error::Result;

/// Registers the functions in the place of DataFusion's.
pub(super) fn replace_functions(state: &mut SessionState) -> Result<()> {
    state.register_function_rewrite(Arc::new(NestedExtremes::new()))?;
    for function in round::functions() {
        state.register_udf(Arc::new(function))?;
    }
    for function in [AggregateUDF::from(sum::Sum::default()), corr::function()] {
        state.register_udaf(Arc::new(function))?;
    }
    for function in lead_lag::functions() {
        state.register_udwf(Arc::new(function))?;
    }
    Ok(())
}
