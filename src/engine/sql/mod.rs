//! Corrections of parsed statements: what the parser or DataFusion's planner of SQL reads otherwise than SQL
//! means it is rewritten here, before anything is planned.

mod cast_names;
mod clauses;
mod every_column;
mod joined_keys;
mod listings;
mod long_numbers;
mod merge;
mod ordinals;
mod precedence;
mod repair;
mod repeated_groups;
mod rows_in;
mod set_operations;
mod times_of_day;
mod types;
mod uuid_values;

use std::sync::Arc;

use datafusion::error::Result as DfResult;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as ParsedStatement;
use datafusion::sql::sqlparser::ast::Statement;

use self::set_operations::count_equal_rows;
use crate::error::{Error, Result};
use crate::safeguard::Safeguard;

pub(super) use joined_keys::is_key_marker;
pub(super) use listings::{Listing, listing, with_sql_types};
#[cfg(feature = "substrait")]
pub(super) use set_operations::count_rows_of_sets;
pub(super) use times_of_day::in_one_unit;
pub(super) use types::Types;

/// Rewrites `statement` in place to what its text means. Fails where there is no way to say it.
///
/// Every statement comes by here once, a view's text too: see [`parse`](super::statement::parse).
pub(super) fn correct(statement: &mut Statement) -> Result<()> {
    clauses::correct(statement)?;
    merge::correct(statement);
    repair::correct(statement);
    if Safeguard::Precedence.stands() {
        precedence::correct(statement);
    }
    if Safeguard::LongNumbers.stands() {
        long_numbers::spell_out(statement);
    }
    if Safeguard::RowsIn.stands() {
        rows_in::ask_for_rows(statement)?;
    }
    if Safeguard::RepeatedGroups.stands() {
        repeated_groups::spell_out(statement);
    }
    if Safeguard::Ordinals.stands() {
        ordinals::correct(statement);
    }
    if Safeguard::CastNames.stands() {
        cast_names::correct(statement);
    }
    if Safeguard::JoinedKeys.stands() {
        joined_keys::correct(statement)?;
    }
    Ok(())
}

/// The plan of a statement that was corrected, before it is optimised.
pub(super) async fn plan(state: &SessionState, statement: ParsedStatement) -> DfResult<LogicalPlan> {
    if let Some(folded) = every_column::folded(&statement) {
        match state.statement_to_plan(folded).await.and_then(repair::with_keys) {
            Ok(plan) => return every_column::expanded(count_equal_rows(plan)?),
            Err(error) if Error::find_in(&error).is_some() => return Err(error),
            // The error would name the column that is not the statement's.
            Err(_) => {}
        }
    }
    count_equal_rows(repair::plan(state, statement).await?)
}

/// Adds what plans the rewritten statements.
pub(super) fn add_planners(builder: SessionStateBuilder) -> SessionStateBuilder {
    let mut builder = builder;
    builder.expr_planners().get_or_insert_default().push(Arc::new(times_of_day::TimesOfDay));
    if !Safeguard::JoinedKeys.stands() {
        return builder;
    }
    builder.with_relation_planners(vec![Arc::new(joined_keys::JoinedKeys)])
}
