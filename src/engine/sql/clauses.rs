//! Clauses that the parser takes and nobody after it would look at.
//!
//! What a statement says is done or refused by name, and never left out. The structures of the parser are taken apart
//! here field by field, so that a new clause of a new version is one that does not compile until somebody has thought
//! of it: `_` are fields that are carried out, or that DataFusion refuses by itself.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    AlterTable, AlterTableOperation, ColumnDef, ColumnOption, CreateTable, CreateView, Delete, Expr, Fetch,
    FromTable, Ident, Insert, LimitClause, Merge, ObjectName, ObjectNamePart, Query, SchemaName, Select,
    Statement, TableFactor, Truncate, Update, Value, VisitMut, VisitorMut,
};

use crate::error::{Error, Result};

/// Fails where `statement` has a clause that would be ignored, and writes those of others that mean what one of ours
/// does as ours.
pub(super) fn correct(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Clauses) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Clauses;

impl VisitorMut for Clauses {
    type Break = Error;

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<Error> {
        broken(of_statement(statement))
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        broken(of_query(query))
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        broken(of_select(select))
    }

    fn pre_visit_table_factor(&mut self, table: &mut TableFactor) -> ControlFlow<Error> {
        broken(of_table(table))
    }
}

fn broken(result: Result<()>) -> ControlFlow<Error> {
    result.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

/// Fails with the name of the first clause that is there.
pub(super) fn refuse(clauses: &[(bool, &str)]) -> Result<()> {
    match clauses.iter().find(|(is_there, _)| *is_there) {
        Some((_, name)) => Err(Error::unimplemented(format!("{name} is not supported"))),
        None => Ok(()),
    }
}

fn of_statement(statement: &mut Statement) -> Result<()> {
    match statement {
        Statement::Delete(delete) => of_delete(delete),
        Statement::Update(update) => of_update(update),
        Statement::Insert(insert) => of_insert(insert),
        Statement::Merge(merge) => of_merge(merge),
        Statement::Truncate(truncate) => of_truncate(truncate),
        Statement::AlterTable(alter) => of_alter(alter),
        Statement::CreateTable(create) => of_create_table(create),
        Statement::CreateView(create) => of_create_view(create),
        Statement::CreateSchema {
            schema_name,
            if_not_exists: _,
            with,
            options,
            default_collate_spec,
            clone,
        } => refuse(&[
            (!matches!(schema_name, SchemaName::Simple(_)), "AUTHORIZATION"),
            (with.is_some(), "WITH of CREATE SCHEMA"),
            (options.is_some(), "OPTIONS of CREATE SCHEMA"),
            (default_collate_spec.is_some(), "DEFAULT COLLATE"),
            (clone.is_some(), "CLONE"),
        ]),
        Statement::Drop {
            object_type: _,
            if_exists: _,
            names: _,
            cascade: _,
            restrict: _,
            purge,
            temporary,
            table,
        } => refuse(&[(*purge, "PURGE"), (*temporary, "DROP TEMPORARY"), (table.is_some(), "ON of DROP")]),
        // The parser's for one of MySQL, and ours for ALTER VIEW, which does not come by here.
        Statement::RenameTable(_) => refuse(&[(true, "RENAME TABLE; ALTER TABLE … RENAME TO is, which")]),
        _ => Ok(()),
    }
}

fn of_query(query: &mut Query) -> Result<()> {
    let Query {
        with: _,
        body: _,
        order_by: _,
        limit_clause,
        fetch,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators: _,
    } = query;
    refuse(&[
        (!locks.is_empty(), "FOR UPDATE and FOR SHARE"),
        (for_clause.is_some(), "FOR XML, FOR JSON and FOR BROWSE"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT"),
    ])?;
    limit_to(fetch, limit_clause)
}

/// `FETCH FIRST n ROWS ONLY` as the LIMIT that it is.
fn limit_to(fetch: &mut Option<Fetch>, limit_clause: &mut Option<LimitClause>) -> Result<()> {
    let Some(Fetch { with_ties, percent, quantity }) = fetch.take() else { return Ok(()) };
    refuse(&[(with_ties, "WITH TIES"), (percent, "PERCENT of FETCH")])?;
    let rows = quantity.unwrap_or_else(|| Expr::value(Value::Number("1".to_owned(), false)));
    let offset = match limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset { limit: None, offset, limit_by }) if limit_by.is_empty() => offset,
        Some(_) => return Err(Error::invalid("a query has LIMIT or FETCH, not both")),
    };
    *limit_clause = Some(LimitClause::LimitOffset { limit: Some(rows), offset, limit_by: Vec::new() });
    Ok(())
}

fn of_select(select: &Select) -> Result<()> {
    let Select {
        select_token: AttachedToken(_),
        // A hint is about how, not what.
        optimizer_hints: _,
        distinct: _,
        select_modifiers,
        top: _,
        top_before_distinct: _,
        projection: _,
        exclude,
        into: _,
        from: _,
        lateral_views: _,
        prewhere,
        selection: _,
        connect_by,
        group_by: _,
        cluster_by: _,
        distribute_by: _,
        sort_by: _,
        having: _,
        named_window: _,
        qualify: _,
        window_before_qualify: _,
        value_table_mode,
        flavor: _,
    } = select;
    refuse(&[
        (select_modifiers.is_some(), "a modifier of SELECT such as SQL_CALC_FOUND_ROWS"),
        (exclude.is_some(), "EXCLUDE at the end of a SELECT list"),
        (prewhere.is_some(), "PREWHERE"),
        (!connect_by.is_empty(), "CONNECT BY and START WITH"),
        (value_table_mode.is_some(), "AS STRUCT and AS VALUE"),
    ])
}

fn of_table(table: &TableFactor) -> Result<()> {
    const SAMPLE: &str = "TABLESAMPLE";
    const ORDINALITY: &str = "WITH ORDINALITY";
    match table {
        TableFactor::Table {
            name: _,
            alias: _,
            args: _,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            sample,
            index_hints,
        } => refuse(&[
            (!with_hints.is_empty(), "WITH (…) after a table"),
            (version.is_some(), "FOR SYSTEM_TIME AS OF; at('table', version) is, which"),
            (*with_ordinality, ORDINALITY),
            (!partitions.is_empty(), "PARTITION (…) after a table"),
            (json_path.is_some(), "a JSON path after a table"),
            (sample.is_some(), SAMPLE),
            (!index_hints.is_empty(), "an index hint"),
        ]),
        TableFactor::Derived { lateral: _, subquery: _, alias: _, sample } => {
            refuse(&[(sample.is_some(), SAMPLE)])
        }
        TableFactor::Function { lateral: _, name: _, args: _, with_ordinality, alias: _ } => {
            refuse(&[(*with_ordinality, ORDINALITY)])
        }
        TableFactor::UNNEST {
            alias: _,
            array_exprs: _,
            with_offset,
            with_offset_alias: _,
            with_ordinality,
        } => refuse(&[(*with_offset, "WITH OFFSET"), (*with_ordinality, ORDINALITY)]),
        // DataFusion refuses all of these that it cannot plan.
        _ => Ok(()),
    }
}

fn of_delete(delete: &mut Delete) -> Result<()> {
    let Delete {
        delete_token: AttachedToken(_),
        optimizer_hints: _,
        tables: _,
        from: FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from),
        using: _,
        selection,
        returning: _,
        output,
        order_by: _,
        limit: _,
    } = delete;
    refuse(&[(output.is_some(), "OUTPUT")])?;
    if let [only] = from.as_mut_slice()
        && let TableFactor::Table { name, alias, .. } = &mut only.relation
        && let Some(alias) = alias.take()
    {
        let mut renamed = Renamed { alias: alias.name, name: name.clone() };
        let _ = selection.visit(&mut renamed);
    }
    Ok(())
}

/// Puts a table's name in the place of its alias, which DataFusion does not know in DELETE.
struct Renamed {
    alias: Ident,
    name: ObjectName,
}

impl VisitorMut for Renamed {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::CompoundIdentifier(parts) = expr
            && parts.first().is_some_and(|first| is_same(first, &self.alias))
        {
            let table = self.name.0.iter().filter_map(ObjectNamePart::as_ident).cloned();
            parts.splice(..1, table);
        }
        ControlFlow::Continue(())
    }
}

fn is_same(one: &Ident, other: &Ident) -> bool {
    if one.quote_style.is_some() || other.quote_style.is_some() {
        return one.value == other.value;
    }
    one.value.eq_ignore_ascii_case(&other.value)
}

fn of_update(update: &Update) -> Result<()> {
    let Update {
        update_token: AttachedToken(_),
        optimizer_hints: _,
        table: _,
        assignments: _,
        from: _,
        selection: _,
        returning: _,
        output,
        or,
        order_by: _,
        limit: _,
    } = update;
    refuse(&[(output.is_some(), "OUTPUT"), (or.is_some(), "OR of UPDATE")])
}

fn of_insert(insert: &Insert) -> Result<()> {
    let Insert {
        insert_token: AttachedToken(_),
        optimizer_hints: _,
        or: _,
        ignore: _,
        into: _,
        table: _,
        table_alias: _,
        columns: _,
        overwrite: _,
        source: _,
        assignments: _,
        partitioned: _,
        after_columns: _,
        has_table_keyword: _,
        on: _,
        returning: _,
        output,
        replace_into: _,
        priority: _,
        insert_alias: _,
        settings,
        format_clause,
        multi_table_insert_type,
        multi_table_into_clauses,
        multi_table_when_clauses,
        multi_table_else_clause,
    } = insert;
    let has_tables = multi_table_insert_type.is_some()
        || !multi_table_into_clauses.is_empty()
        || !multi_table_when_clauses.is_empty()
        || multi_table_else_clause.is_some();
    refuse(&[
        (output.is_some(), "OUTPUT"),
        (settings.is_some(), "SETTINGS"),
        (format_clause.is_some(), "FORMAT"),
        (has_tables, "INSERT into several tables"),
    ])
}

fn of_merge(merge: &Merge) -> Result<()> {
    let Merge {
        merge_token: AttachedToken(_),
        optimizer_hints: _,
        into: _,
        table: _,
        source: _,
        on: _,
        clauses: _,
        output,
    } = merge;
    refuse(&[(output.is_some(), "OUTPUT")])
}

fn of_truncate(truncate: &Truncate) -> Result<()> {
    let Truncate {
        table_names: _,
        partitions,
        table: _,
        if_exists: _,
        // No column counts by itself, and no table refers to another.
        identity: _,
        cascade: _,
        on_cluster,
    } = truncate;
    refuse(&[
        (partitions.is_some(), "PARTITION of TRUNCATE; DELETE … WHERE is, which"),
        (on_cluster.is_some(), "ON CLUSTER"),
    ])
}

fn of_alter(alter: &AlterTable) -> Result<()> {
    let AlterTable {
        name: _,
        if_exists: _,
        only: _,
        operations,
        location,
        on_cluster,
        table_type,
        end_token: AttachedToken(_),
    } = alter;
    refuse(&[
        (location.is_some(), "SET LOCATION"),
        (on_cluster.is_some(), "ON CLUSTER"),
        (table_type.is_some(), "ALTER of other things than tables"),
    ])?;
    for operation in operations {
        if let AlterTableOperation::AddColumn { column_def, .. } = operation {
            of_column(column_def)?;
        }
    }
    Ok(())
}

fn of_create_table(create: &CreateTable) -> Result<()> {
    // The fields of the table itself DataFusion takes apart as this module does.
    create.columns.iter().try_for_each(of_column)
}

fn of_column(column: &ColumnDef) -> Result<()> {
    let ColumnDef { name: _, data_type: _, options } = column;
    for option in options {
        let unknown = match &option.option {
            ColumnOption::Null
            | ColumnOption::NotNull
            | ColumnOption::Default(_)
            | ColumnOption::PrimaryKey(_)
            | ColumnOption::Unique(_)
            | ColumnOption::ForeignKey(_)
            | ColumnOption::Check(_) => continue,
            ColumnOption::Materialized(_) => "MATERIALIZED",
            ColumnOption::Ephemeral(_) => "EPHEMERAL",
            ColumnOption::Alias(_) => "ALIAS",
            ColumnOption::DialectSpecific(_) => "AUTO_INCREMENT and what else other systems say of columns",
            ColumnOption::CharacterSet(_) => "CHARACTER SET",
            ColumnOption::Collation(_) => "COLLATE of a column",
            ColumnOption::Comment(_) => "COMMENT of a column",
            ColumnOption::OnUpdate(_) => "ON UPDATE",
            ColumnOption::Generated { .. } => "a generated column",
            ColumnOption::Options(_) => "OPTIONS of a column",
            ColumnOption::Identity(_) => "IDENTITY",
            ColumnOption::OnConflict(_) => "ON CONFLICT",
            ColumnOption::Policy(_) => "a policy of a column",
            ColumnOption::Tags(_) => "TAG",
            ColumnOption::Srid(_) => "SRID",
            ColumnOption::Invisible => "INVISIBLE",
        };
        return Err(Error::unimplemented(format!("{unknown} is not supported (column {})", column.name)));
    }
    Ok(())
}

fn of_create_view(create: &CreateView) -> Result<()> {
    let CreateView {
        or_alter,
        or_replace: _,
        materialized,
        secure,
        name: _,
        name_before_not_exists: _,
        columns: _,
        query: _,
        options: _,
        cluster_by: _,
        comment: _,
        with_no_schema_binding: _,
        if_not_exists: _,
        temporary: _,
        copy_grants,
        to: _,
        params,
    } = create;
    refuse(&[
        (*or_alter, "OR ALTER"),
        (*materialized, "MATERIALIZED"),
        (*secure, "SECURE"),
        (*copy_grants, "COPY GRANTS"),
        (params.is_some(), "ALGORITHM, DEFINER and SQL SECURITY"),
    ])
}
