//! Corrections of parsed statements: what the parser or DataFusion's planner of SQL reads otherwise than SQL
//! means it is rewritten here, before anything is planned.

mod cast_names;
mod clauses;
mod joined_keys;
mod long_numbers;
mod ordinals;
mod precedence;
mod rows_in;
mod set_operations;

use std::sync::Arc;

use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::sql::sqlparser::ast::Statement;

use crate::error::Result;

pub(super) use joined_keys::is_key_marker;
pub(super) use set_operations::count_equal_rows;

/// Rewrites `statement` in place to what its text means. Fails where there is no way to say it.
///
/// Every statement comes by here once, a view's text too: see [`parse`](super::statement::parse).
pub(super) fn correct(statement: &mut Statement) -> Result<()> {
    clauses::correct(statement)?;
    precedence::correct(statement);
    long_numbers::spell_out(statement);
    rows_in::ask_for_rows(statement)?;
    ordinals::correct(statement);
    cast_names::correct(statement);
    joined_keys::correct(statement)
}

/// Adds what plans the rewritten statements.
pub(super) fn add_planners(builder: SessionStateBuilder) -> SessionStateBuilder {
    builder.with_relation_planners(vec![Arc::new(joined_keys::JoinedKeys)])
}
