//! Corrections of parsed statements: what the parser or DataFusion's planner of SQL reads otherwise than SQL
//! means it is rewritten here, before anything is planned.

use datafusion::sql::sqlparser::ast::Statement;

use crate::error::Result;

/// Rewrites `statement` in place to what its text means. Fails where there is no way to say it.
///
/// Every statement comes by here once, a view's text too: see [`parse`](super::statement::parse).
pub(super) fn correct(_statement: &mut Statement) -> Result<()> {
    Ok(())
}
