//! The one gate: a ticket runs one read-only query over datasets, and nothing else.

use datafusion::common::tree_node::{TreeNodeRecursion, TreeNodeVisitor};
use datafusion::common::{DataFusionError, TableReference};
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{DFParserBuilder, Statement};
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;
use datafusion::sql::sqlparser::dialect::GenericDialect;

use super::limits::{MAX_PLAN_NODES, SqlLimits, check_limits, check_relations};
use crate::error::{Error, ErrorKind, Result};

/// Parses `sql` into its one read-only statement.
pub(super) fn parse(sql: &str, limits: &SqlLimits) -> Result<Statement> {
    check_limits(sql, limits)?;
    let parser =
        DFParserBuilder::new(sql).with_dialect(&GenericDialect {}).with_recursion_limit(limits.depth);
    let parsed = parser.build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| located(error.into(), sql))?;
    let Some(statement) = statements.pop_front() else {
        return Err(Error::invalid("the SQL holds no statement"));
    };
    if !statements.is_empty() {
        return Err(Error::invalid(format!(
            "a request runs one statement, this SQL holds {}; send them one by one",
            statements.len() + 1
        )));
    }
    check_statement(&statement)?;
    Ok(statement)
}

/// The parser does not say where a text ended too early; its end is where.
fn located(error: Error, sql: &str) -> Error {
    if error.kind() != ErrorKind::InvalidArgument || error.message().contains("Line:") {
        return error;
    }
    let line = sql.lines().count().max(1);
    let column = sql.lines().last().map_or(0, |last| last.chars().count()) + 1;
    Error::invalid(format!("{} at Line: {line}, Column: {column}", error.message())).with_source(error)
}

fn check_statement(statement: &Statement) -> Result<()> {
    let refused = match statement {
        Statement::Explain(explain) => return check_statement(&explain.statement),
        Statement::Statement(statement) => match statement.as_ref() {
            SqlStatement::Query(_) | SqlStatement::Explain { .. } => return check_relations(statement),
            SqlStatement::ShowTables { .. }
            | SqlStatement::ShowColumns { .. }
            | SqlStatement::ShowVariable { .. }
            | SqlStatement::ShowFunctions { .. }
            | SqlStatement::ExplainTable { .. } => return Ok(()),
            SqlStatement::Insert(_)
            | SqlStatement::Update(_)
            | SqlStatement::Delete(_)
            | SqlStatement::Merge(_)
            | SqlStatement::Truncate(_) => "statements that change rows; upload the dataset anew (DoPut)",
            SqlStatement::CreateTable(_) | SqlStatement::CreateView(_) => {
                "CREATE; upload the dataset (DoPut), or use the action register_dataset"
            }
            SqlStatement::Drop { .. } => "DROP; use the action drop_dataset",
            SqlStatement::AlterTable(_) => "ALTER; use the action rename_dataset, or upload anew (DoPut)",
            SqlStatement::Set(_) => "SET; settings belong to the server, see its --help",
            _ => "this kind of statement; only queries run here",
        },
        Statement::CreateExternalTable(_) => "CREATE EXTERNAL TABLE; use the action register_dataset",
        Statement::CopyTo(_) => "COPY; download the query's result (DoGet) and upload it (DoPut)",
        Statement::Reset(_) => "RESET; settings belong to the server, see its --help",
    };
    Err(Error::unimplemented(format!("a ticket runs one read-only query, not {refused}")))
}

/// Refuses tables that are spelled as files or URLs, and says what to do.
pub(super) fn check_tables(references: &[TableReference]) -> Result<()> {
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
pub(super) fn check_plan(plan: &LogicalPlan, limits: &SqlLimits) -> Result<()> {
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
        } else if !reads(plan) {
            Error::unimplemented(format!("a ticket runs one read-only query, not {}", plan.display()))
        } else {
            return Ok(TreeNodeRecursion::Continue);
        };
        Err(DataFusionError::External(Box::new(error)))
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

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SqlLimits = SqlLimits { bytes: 1 << 20, depth: 200 };

    #[test]
    fn queries_pass() {
        for sql in [
            "select 1",
            "with t as (select 1 as a) select * from t",
            "explain select 1",
            "explain analyze select 1",
            "show tables",
            "describe t",
            "values (1), (2)",
            "select 1;",
        ] {
            parse(sql, &LIMITS).unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
    }

    #[test]
    fn everything_else_is_refused_with_what_to_use_instead() {
        for sql in [
            "insert into t values (1)",
            "update t set a = 1",
            "delete from t",
            "create table t as select 1",
            "create external table t stored as parquet location '/etc'",
            "create view v as select 1",
            "drop table t",
            "alter table t rename to u",
            "copy t to '/tmp/x.parquet'",
            "set a = 1",
            "reset a",
            "truncate table t",
            "explain copy t to '/tmp/x.parquet'",
            "begin",
            "prepare p as select 1",
        ] {
            let error = parse(sql, &LIMITS).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unimplemented, "{sql}: {error}");
        }
    }

    #[test]
    fn one_statement_and_not_more() {
        assert_eq!(parse("select 1; select 2", &LIMITS).unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(parse("", &LIMITS).unwrap_err().kind(), ErrorKind::InvalidArgument);
        let error = parse("select 1\nfrom", &LIMITS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("Line: 2, Column: 5"), "{error}");
    }
}
