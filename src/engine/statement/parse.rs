//! From a text to one parsed statement, and what sort of statement it is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::{DFParserBuilder, ResetStatement, Statement};
use datafusion::sql::sqlparser::ast::{Expr, Set, Statement as SqlStatement, Value, visit_expressions};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::limits::{SqlLimits, check_expressions, check_relations, tokenize};
use super::parameters::Bound;
use super::tokens::{renamed_view, rewritten};
use super::verbs::near_verb;
use crate::engine::Engine;
use crate::engine::sql::correct;
use crate::engine::write::{Undropped, undrop};
use crate::error::{Error, ErrorKind, Result};

/// What a statement does, as far as its kind tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// It reads, and gives rows.
    Query,
    /// It makes, renames or removes tables, views or schemas, and gives a count.
    Change,
    /// It sets an option of the session.
    Setting,
}

impl Engine {
    /// What sort of statement `sql` is. One that is not supported is an error that says what to use
    /// instead.
    pub async fn kind(&self, sql: &str) -> Result<StatementKind> {
        let (sql, limits) = (sql.to_owned(), self.sql);
        self.workers.run(async move { kind(&parse(&sql, &limits)?) }).await
    }
}

/// Parses `sql`, which must hold one statement. Parameters written `?` become `$1`, `$2`, …
pub(in crate::engine) fn parse(sql: &str, limits: &SqlLimits) -> Result<Statement> {
    let tokens = rewritten(undrop(number_parameters(tokenize(sql, limits)?)?));
    if let Some(renamed) = renamed_view(&tokens).map_err(|error| located(error, sql))? {
        return Ok(renamed);
    }
    let parser =
        DFParserBuilder::new(tokens).with_dialect(&GenericDialect {}).with_recursion_limit(limits.depth);
    let parsed = parser.build().and_then(|mut parser| parser.parse_statements());
    let mut statements = parsed.map_err(|error| with_verb(located(error.into(), sql), sql))?;
    let Some(mut statement) = statements.pop_front() else {
        return Err(Error::invalid("the SQL holds no statement"));
    };
    if !statements.is_empty() {
        return Err(Error::invalid(format!(
            "a request runs one statement, this SQL holds {}; send them one by one",
            statements.len() + 1
        )));
    }
    correct_within(&mut statement, limits)?;
    Ok(statement)
}

/// Checks and corrects the SQL of a statement, also inside of EXPLAIN, but for `CREATE VIEW`.
fn correct_within(statement: &mut Statement, limits: &SqlLimits) -> Result<()> {
    match statement {
        Statement::Statement(statement) => {
            check_relations(statement, limits)?;
            check_expressions(statement, limits)?;
            // A view's text is stored as it was given; what is planned of it is corrected then.
            if matches!(statement.as_ref(), SqlStatement::CreateView(_)) {
                Ok(())
            } else {
                correct(statement)
            }
        }
        Statement::Explain(explain) => correct_within(&mut explain.statement, limits),
        _ => Ok(()),
    }
}

/// DataFusion binds only parameters that have a number or a name.
fn number_parameters(mut tokens: Vec<TokenWithSpan>) -> Result<Vec<TokenWithSpan>> {
    let (mut marks, mut numbered) = (0, false);
    for token in &mut tokens {
        let Token::Placeholder(name) = &mut token.token else { continue };
        if name == "?" {
            marks += 1;
            *name = format!("${marks}");
        } else {
            numbered = true;
        }
    }
    if marks > 0 && numbered {
        return Err(Error::invalid("the SQL mixes parameters written ? and $1; use one of the two"));
    }
    Ok(tokens)
}

/// An error of the parser's with the word that the first one was meant to be.
fn with_verb(error: Error, sql: &str) -> Error {
    match near_verb(sql).filter(|_| error.message().contains("an SQL statement")) {
        Some(verb) => Error::invalid(format!("{}; did you mean {verb}?", error.message())).with_source(error),
        None => error,
    }
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

/// Fails if `statement` has parameters, or is given values for any.
pub(in crate::engine) fn check_no_parameters(statement: &Statement, bound: Option<&Bound>) -> Result<()> {
    if parameters(statement).is_empty() && bound.is_none() {
        return Ok(());
    }
    Err(Error::unimplemented(
        "of statements that change something only INSERT, UPDATE, DELETE and MERGE take parameters; write the \
         values into the SQL",
    ))
}

/// The parameters of a statement, as they are written in it.
pub(in crate::engine) fn parameters(statement: &Statement) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let Statement::Statement(statement) = statement else { return found };
    let _ = visit_expressions(statement, |expression| {
        if let Expr::Value(value) = expression
            && let Value::Placeholder(name) = &value.value
        {
            found.insert(name.clone());
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// The kind of a statement. A list of what is allowed: what the parser learns anew is refused.
pub(in crate::engine) fn kind(statement: &Statement) -> Result<StatementKind> {
    let refused = match statement {
        Statement::Explain(explain) => match kind(&explain.statement)? {
            StatementKind::Query => return Ok(StatementKind::Query),
            _ => "EXPLAIN of anything but a query",
        },
        Statement::Statement(statement) => return sql_kind(statement),
        Statement::CreateExternalTable(_) => return Ok(StatementKind::Change),
        Statement::Reset(ResetStatement::Variable(_)) => return Ok(StatementKind::Setting),
        Statement::CopyTo(_) => "COPY; download the query's result (DoGet) and upload it (DoPut)",
    };
    Err(unsupported(refused))
}

fn sql_kind(statement: &SqlStatement) -> Result<StatementKind> {
    let refused = match statement {
        SqlStatement::Query(_)
        | SqlStatement::Explain { .. }
        | SqlStatement::ShowTables { .. }
        | SqlStatement::ShowColumns { .. }
        | SqlStatement::ShowVariable { .. }
        | SqlStatement::ShowFunctions { .. }
        | SqlStatement::ShowViews { .. }
        | SqlStatement::ShowSchemas { .. }
        | SqlStatement::ShowDatabases { .. }
        | SqlStatement::ShowCatalogs { .. }
        | SqlStatement::ExplainTable { .. } => return Ok(StatementKind::Query),
        SqlStatement::Call(call) if Undropped::of(call).is_some() => return Ok(StatementKind::Change),
        SqlStatement::CreateTable(_)
        | SqlStatement::CreateView(_)
        | SqlStatement::CreateSchema { .. }
        | SqlStatement::Drop { .. }
        | SqlStatement::AlterTable(_)
        // Ours for ALTER VIEW … RENAME: see `tokens::renamed_view`.
        | SqlStatement::RenameTable(_)
        | SqlStatement::Truncate(_)
        | SqlStatement::Insert(_)
        | SqlStatement::Update(_)
        | SqlStatement::Delete(_)
        | SqlStatement::Merge(_) => return Ok(StatementKind::Change),
        SqlStatement::Set(Set::SingleAssignment { .. } | Set::SetTimeZone { .. }) | SqlStatement::Use(_) => {
            return Ok(StatementKind::Setting);
        }
        SqlStatement::StartTransaction { .. }
        | SqlStatement::Commit { .. }
        | SqlStatement::Rollback { .. }
        | SqlStatement::Savepoint { .. } => "transactions; each statement takes effect by itself",
        SqlStatement::Prepare { .. } | SqlStatement::Execute { .. } | SqlStatement::Deallocate { .. } => {
            "PREPARE in SQL; use the prepared statements of Flight SQL"
        }
        _ => "this kind of statement",
    };
    Err(unsupported(refused))
}

fn unsupported(what: &str) -> Error {
    Error::unimplemented(format!("Airstrip does not run {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SqlLimits = SqlLimits { bytes: 1 << 20, depth: 200, tables: 500, expressions: 10_000 };

    fn kind_of(sql: &str) -> Result<StatementKind> {
        kind(&parse(sql, &LIMITS)?)
    }

    #[test]
    fn statements_have_kinds() {
        for sql in [
            "select 1",
            "with t as (select 1 as a) select * from t",
            "explain select 1",
            "explain analyze select 1",
            "show tables",
            "show time zone",
            "show schemas",
            "show tables in s like 'a%'",
            "describe table t",
            "describe t",
            "values (1), (2)",
            "select 1;",
        ] {
            assert_eq!(kind_of(sql).unwrap(), StatementKind::Query, "{sql}");
        }
        for sql in [
            "create table t as select 1",
            "create or replace table t (a int)",
            "create temporary table t as select 1",
            "create external table t stored as parquet location 'x'",
            "create view v as select 1",
            "create schema s",
            "drop table if exists t",
            "drop view v",
            "alter view v rename to w",
            "create view if not exists v as select 1",
            "drop schema s cascade",
            "undrop table s.t",
            "UNDROP VIEW v;",
            "undrop schema s",
            "alter table t rename to u",
            "truncate table t",
            "insert into t values (1)",
            "insert overwrite t values (1)",
            "update t set a = 1",
            "delete from t",
            "merge into t using s on t.a = s.a when matched then delete",
            "alter table t add column b int",
            "create table t (a int) partitioned by (b date)",
            "create table t (a int, b date) partitioned by (b)",
        ] {
            assert_eq!(kind_of(sql).unwrap(), StatementKind::Change, "{sql}");
        }
        for sql in [
            "set a = 1",
            "set datafusion.execution.batch_size = 1",
            "set time zone 'UTC'",
            "reset a",
            "use s",
        ] {
            assert_eq!(kind_of(sql).unwrap(), StatementKind::Setting, "{sql}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for sql in [
            "copy t to '/tmp/x.parquet'",
            "explain copy t to '/tmp/x.parquet'",
            "explain create table t as select 1",
            "begin",
            "rename table t to u",
            "commit",
            "prepare p as select 1",
            "grant select on t to u",
            "call undrop_table(t)",
        ] {
            let error = kind_of(sql).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unimplemented, "{sql}: {error}");
        }
    }

    #[test]
    fn one_statement_and_not_more() {
        assert_eq!(kind_of("select 1; select 2").unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert_eq!(kind_of("").unwrap_err().kind(), ErrorKind::InvalidArgument);
        let error = kind_of("select 1\nfrom").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains("Line: 2, Column: 5"), "{error}");
    }

    #[test]
    fn question_marks_are_numbered() {
        let statement = parse("select ?, '?', ? -- ?", &LIMITS).unwrap();
        assert_eq!(statement.to_string(), "SELECT $1, '?', $2");
        assert!(parse("select ?, $1", &LIMITS).is_err());
    }
}
