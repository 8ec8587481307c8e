//! Functions and aggregates of ours: those in the place of DataFusion's that answer wrongly, and the key of Z-order.

mod arithmetic;
mod array_has;
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
mod replacement;
mod round;
mod session_values;
mod sum;
mod to_timestamp;
mod unsigned_zero;
mod uuid_casts;
mod z_order_key;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::AggregateUDF;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;

pub(super) use self::arithmetic::{checked, checked_minus};
use self::extremes::NestedExtremes;
pub(super) use self::kept_cast::KeptCast;
pub(super) use self::round::round_by_row;
pub(super) use self::session_values::{SESSION_VALUES, SessionUser};
pub(super) use self::unsigned_zero::{unsigned_zero, unsigned_zero_beside};
pub(super) use self::uuid_casts::UuidCasts;
pub(super) use self::z_order_key::z_order_key;
use crate::error::Result;
use crate::safeguard::{Safeguard, standing};

/// Registers the functions in the place of DataFusion's.
pub(super) fn replace_functions(state: &mut SessionState) -> Result<()> {
    let rewrites: [(Safeguard, Arc<dyn FunctionRewrite + Send + Sync>); 4] = [
        (Safeguard::NestedExtremes, Arc::new(NestedExtremes::new())),
        (Safeguard::DatePart, Arc::new(date_part::extract())),
        (Safeguard::ListsOfNulls, Arc::new(make_array::lists_of_nulls())),
        (Safeguard::UnknownElements, Arc::new(array_has::unknown_elements())),
    ];
    for rewrite in standing(rewrites) {
        state.register_function_rewrite(rewrite)?;
    }
    let aggregates = [
        (Safeguard::Sum, AggregateUDF::from(sum::Sum::default())),
        (Safeguard::Corr, corr::function()),
        (Safeguard::PercentileCont, percentile_cont::function()),
    ];
    for function in standing(aggregates) {
        state.register_udaf(Arc::new(function))?;
    }
    let [lead, lag] = lead_lag::functions();
    for function in standing([(Safeguard::LeadLag, lead), (Safeguard::LeadLag, lag)]) {
        state.register_udwf(Arc::new(function))?;
    }
    replace_scalars(state)
}

fn replace_scalars(state: &mut SessionState) -> Result<()> {
    let [round, ceil, floor] = round::functions().map(Arc::new);
    let scalars = [
        (Safeguard::DatePart, Arc::new(date_part::date_part())),
        (Safeguard::Rounding, round),
        (Safeguard::Rounding, ceil),
        (Safeguard::Rounding, floor),
        (Safeguard::FarPlaces, Arc::new(far_places::trunc())),
        (Safeguard::MapExtract, Arc::new(map_extract::function())),
    ];
    for function in standing(scalars) {
        state.register_udf(function)?;
    }
    if Safeguard::FarMoments.stands() {
        far_moments::register(state)?;
    }
    if Safeguard::RegexpFlags.stands() {
        regexp_flags::register(state)?;
    }
    if Safeguard::ToTimestamp.stands() {
        to_timestamp::replace(state)?;
    }
    session_values::register(state)?;
    Ok(())
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
