//! Rules of ours among DataFusion's: in front of those that answer wrongly, or in their place.

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionConfig;

/// Adds the rules to a state that has DataFusion's own.
pub(super) fn add_rules(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder
}

/// Switches off what DataFusion does wrongly and has a setting for.
pub(super) fn switch_off(_config: &mut SessionConfig) {}
