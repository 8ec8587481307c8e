//! Functions and aggregates of ours in the place of DataFusion's that answer wrongly.

mod extremes;

use std::sync::Arc;

use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;

use self::extremes::NestedExtremes;
use crate::error::Result;

/// Registers the functions in the place of DataFusion's.
pub(super) fn replace_functions(state: &mut SessionState) -> Result<()> {
    state.register_function_rewrite(Arc::new(NestedExtremes::new()))?;
    Ok(())
}
