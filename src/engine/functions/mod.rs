//! Functions and aggregates of ours in the place of DataFusion's that answer wrongly.

mod arithmetic;
mod corr;
mod date_part;
mod extremes;
mod far_moments;
mod far_places;
mod kept_cast;
mod lead_lag;
mod make_array;
mod map_extract;
mod overflow;
mod percentile_cont;
mod regexp_flags;
mod round;
mod sum;
mod to_timestamp;
mod unsigned_zero;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::AggregateUDF;

pub(super) use self::arithmetic::{checked, checked_minus};
use self::extremes::NestedExtremes;
pub(super) use self::kept_cast::KeptCast;
pub(super) use self::round::round_by_row;
pub(super) use self::unsigned_zero::{unsigned_zero, unsigned_zero_beside};
use crate::error::Result;

/// Registers the functions in the place of DataFusion's.
pub(super) fn replace_functions(state: &mut SessionState) -> Result<()> {
    state.register_function_rewrite(Arc::new(NestedExtremes::new()))?;
    state.register_function_rewrite(Arc::new(date_part::Extract))?;
    state.register_function_rewrite(Arc::new(make_array::ListsOfNulls::new()))?;
    state.register_udf(date_part::date_part())?;
    for function in round::functions().into_iter().chain([far_places::trunc(), map_extract::function()]) {
        state.register_udf(Arc::new(function))?;
    }
    let sum = AggregateUDF::from(sum::Sum::default());
    for function in [sum, corr::function(), percentile_cont::function()] {
        state.register_udaf(Arc::new(function))?;
    }
    for function in lead_lag::functions() {
        state.register_udwf(Arc::new(function))?;
    }
    far_moments::register(state)?;
    regexp_flags::register(state)?;
    to_timestamp::replace(state)
}

/// Gives functions that depend on the session's options what they are by now.
pub(super) fn update_functions(state: &mut SessionState) -> Result<()> {
    let options = state.config().options();
    let functions = state.scalar_functions().values();
    let updated: Vec<_> =
        functions.filter_map(|function| function.inner().with_updated_config(options)).collect();
    for function in updated {
        state.register_udf(Arc::new(function))?;
    }
    Ok(())
}
