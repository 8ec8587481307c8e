//! The one gate: a ticket runs one read-only query over datasets, and nothing else.

use datafusion::common::tree_node::{TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement;

use super::limits::{MAX_PLAN_NODES, SqlLimits};
use super::parse::{StatementKind, kind};
use crate::error::{Error, Result};
use crate::safeguard::Safeguard;

/// Fails unless `statement` only reads.
pub(in crate::engine) fn check_query(statement: &Statement) -> Result<()> {
    let why = match kind(statement) {
        Ok(StatementKind::Query) => return Ok(()),
        Ok(_) if !Safeguard::Gate.stands() => return Ok(()),
        Ok(StatementKind::Change | StatementKind::Setting) => {
            "statements that change something go through Flight SQL".to_owned()
        }
        Err(error) => error.message().to_owned(),
    };
    Err(Error::unimplemented(format!("a ticket runs one read-only query; {why}")))
}

/// Refuses tables that are spelled as files or URLs, and says what to do.
pub(in crate::engine) fn check_tables(references: &[TableReference]) -> Result<()> {
    let file = references.iter().find(|reference| reference.table().contains(['/', '\\']));
    file.map_or(Ok(()), |file| {
        Err(Error::invalid(format!(
            "{:?} is not a dataset: files and URLs cannot be queried; make it one with the action \
             register_dataset",
            file.table()
        )))
    })
}

/// Fails unless `plan` only reads, and stays within the limits when it is written out as a tree.
pub(in crate::engine) fn check_plan(plan: &LogicalPlan, limits: &SqlLimits) -> Result<()> {
    let mut visitor = Gate { nodes: 0, depth: 0, limits };
    plan.visit_with_subqueries(&mut visitor)?;
    Ok(())
}

struct Gate<'a> {
    nodes: usize,
    depth: usize,
    limits: &'a SqlLimits,
}

impl<'n> TreeNodeVisitor<'n> for Gate<'_> {
    type Node = LogicalPlan;

    fn f_down(&mut self, plan: &'n LogicalPlan) -> Result<TreeNodeRecursion, DataFusionError> {
        self.nodes += 1;
        self.depth += 1;
        // An analysed plan adds nodes of its own around those of the statement.
        let error = if self.nodes > MAX_PLAN_NODES {
            Error::invalid(format!(
                "the query expands to more than {MAX_PLAN_NODES} plan nodes; store steps that are used \
                 often as datasets"
            ))
        } else if self.depth > 4 * self.limits.depth {
            Error::invalid("the query's plan nests too deep (the setting max-sql-depth)")
        } else if !reads(plan) && Safeguard::Gate.stands() {
            Error::unimplemented(format!("a ticket runs one read-only query, not {}", plan.display()))
        } else {
            return Ok(TreeNodeRecursion::Continue);
        };
        Err(error.into())
    }

    fn f_up(&mut self, _: &'n LogicalPlan) -> Result<TreeNodeRecursion, DataFusionError> {
        self.depth -= 1;
        Ok(TreeNodeRecursion::Continue)
    }
}

/// The nodes that only read. A list of what is allowed: a node that DataFusion adds is refused until
/// somebody has looked at it.
fn reads(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Repartition(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::TableScan(_)
        | LogicalPlan::EmptyRelation(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Values(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::DescribeTable(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::RecursiveQuery(_) => true,
        LogicalPlan::Statement(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::Extension(_) => false,
    }
}
