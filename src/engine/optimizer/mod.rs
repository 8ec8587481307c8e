//! Rules of ours among DataFusion's: in front of those that answer wrongly, or in their place.

mod uuids;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::optimizer::Analyzer;
use datafusion::prelude::SessionConfig;

/// Adds the rules to a state that has DataFusion's own.
pub(super) fn add_rules(mut builder: SessionStateBuilder) -> SessionStateBuilder {
    let rules = &mut builder.analyzer().get_or_insert_with(Analyzer::new).rules;
    let coerced = rules.iter().position(|rule| rule.name() == "type_coercion").unwrap_or(0);
    rules.insert(coerced, Arc::new(uuids::Uuids));
    builder
}

/// Switches off what DataFusion does wrongly and has a setting for.
pub(super) fn switch_off(_config: &mut SessionConfig) {}
