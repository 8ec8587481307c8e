//! What statements say that DataFusion does not plan, and the changes of names, columns and schemas that it has no operators for.

use std::sync::Arc;

use arrow::datatypes::FieldRef;
use datafusion::common::{SchemaReference, TableReference};
use datafusion::logical_expr::{CreateExternalTable, CreateView, DdlStatement, DropTable};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    AlterColumnOperation, AlterTableOperation, ColumnDef, ColumnOption, CreateTable, Expr as SqlExpr,
    HiveDistributionStyle, Ident, ObjectName, RenameTable, RenameTableNameKind, Statement as SqlStatement,
};

use super::keys::{Declared, KeyChange};
use super::names::Names;
use super::undrop::Undropped;
use crate::catalog::{
    Catalog, Dataset, DatasetRef, DropOptions, DroppedKind, IfMissing, PutOptions, SchemaName, Undrop,
    Upload, View,
};
use crate::engine::sql::correct;
use crate::engine::tables::CATALOG;
use crate::error::{Error, ErrorKind, Result};

/// What DataFusion does not plan, and what is to be planned.
pub(super) enum Own {
    Rename { from: TableReference, to: DatasetRef },
    RenameView { from: TableReference, to: DatasetRef },
    Keys { table: TableReference, change: KeyChange },
    Truncate { table: TableReference },
    Undrop(Undropped),
    AddColumns { table: TableReference, columns: Vec<ColumnDef>, known: Known },
    SetNullable { table: TableReference, column: String, nullable: bool },
    Planned { statement: Statement, aside: Aside },
}

/// What happens to columns that are to be added and are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Fail,
    Keep,
}

/// What a statement says that its plan does not.
pub(super) enum Aside {
    Nothing,
    Table(TableAside),
    /// The text of a view's query, and whether a view of its name may be there.
    View {
        sql: String,
        if_not_exists: bool,
    },
}

/// What `CREATE TABLE` says that its plan does not.
pub(super) struct TableAside {
    pub(super) temporary: bool,
    /// Whether there are columns, and no query for rows.
    pub(super) columns_only: bool,
    /// The columns that it is partitioned by.
    pub(super) partition_by: Vec<String>,
    /// The columns that are declared NOT NULL.
    pub(super) not_null: Vec<String>,
    pub(super) keys: Declared,
}

/// The table that a statement changes if it is there.
pub(super) fn optional_table(statement: &Statement) -> Result<Option<TableReference>> {
    let Statement::Statement(statement) = statement else { return Ok(None) };
    match statement.as_ref() {
        SqlStatement::AlterTable(alter) if alter.if_exists => reference(&alter.name).map(Some),
        SqlStatement::Truncate(truncate) if truncate.if_exists => {
            truncate.table_names.first().map(|table| reference(&table.name)).transpose()
        }
        _ => Ok(None),
    }
}

pub(super) fn take_own(statement: Statement, names: &Names) -> Result<Own> {
    let Statement::Statement(mut inner) = statement else {
        return Ok(Own::Planned { statement, aside: Aside::Nothing });
    };
    let mut aside = Aside::Nothing;
    match inner.as_mut() {
        SqlStatement::AlterTable(alter) => {
            let from = reference(&alter.name)?;
            if let Some((columns, known)) = added_columns(&alter.operations) {
                return Ok(Own::AddColumns { table: from, columns, known });
            }
            if let Some((column, nullable)) = nullability(&alter.operations) {
                return Ok(Own::SetNullable { table: from, column, nullable });
            }
            if let Some(change) = KeyChange::of(&alter.operations)? {
                return Ok(Own::Keys { table: from, change });
            }
            let [AlterTableOperation::RenameTable { table_name }] = alter.operations.as_slice() else {
                return Err(Error::unimplemented(
                    "of ALTER TABLE only RENAME TO, ADD COLUMN, ALTER COLUMN … DROP NOT NULL and SET NOT NULL, ADD \
                     CONSTRAINT … NOT ENFORCED and DROP CONSTRAINT are supported; store other columns anew with CREATE OR REPLACE TABLE … AS SELECT",
                ));
            };
            let (RenameTableNameKind::To(to) | RenameTableNameKind::As(to)) = table_name;
            let to = names.renamed(&from, to)?;
            Ok(Own::Rename { from, to })
        }
        SqlStatement::RenameTable(renamed) => renamed_view(renamed, names),
        SqlStatement::Truncate(truncate) => match truncate.table_names.as_slice() {
            [table] => Ok(Own::Truncate { table: reference(&table.name)? }),
            _ => Err(Error::unimplemented("TRUNCATE takes one table")),
        },
        SqlStatement::Call(call) => match Undropped::of(call) {
            Some(dropped) => Ok(Own::Undrop(dropped)),
            None => Err(Error::internal("a CALL that is none of ours")),
        },
        SqlStatement::CreateTable(create) => {
            let partition_by = take_partitioning(create)?;
            let temporary = std::mem::take(&mut create.temporary);
            let columns_only = create.query.is_none();
            if temporary && !partition_by.is_empty() {
                return Err(Error::unimplemented("a temporary table cannot be partitioned"));
            }
            let not_null = not_null(create);
            let keys = Declared::take_from(create)?;
            if temporary && !keys.is_empty() {
                return Err(Error::unimplemented("a temporary table has no keys"));
            }
            aside = Aside::Table(TableAside { temporary, columns_only, partition_by, not_null, keys });
            Ok(Own::Planned { statement: Statement::Statement(inner), aside })
        }
        SqlStatement::CreateView(create) if create.temporary => {
            Err(Error::unimplemented("temporary views are not supported; temporary tables are"))
        }
        SqlStatement::CreateView(create) => {
            let names: Vec<_> = create.columns.iter().map(|column| column.name.to_string()).collect();
            let sql = match names.as_slice() {
                [] => create.query.to_string(),
                names => format!("SELECT * FROM ({}) AS v ({})", create.query, names.join(", ")),
            };
            aside = Aside::View { sql, if_not_exists: std::mem::take(&mut create.if_not_exists) };
            correct(&mut inner)?;
            Ok(Own::Planned { statement: Statement::Statement(inner), aside })
        }
        _ => Ok(Own::Planned { statement: Statement::Statement(inner), aside }),
    }
}

/// `ALTER VIEW … RENAME TO`, as the parser has it.
pub(super) fn renamed_view(renamed: &[RenameTable], names: &Names) -> Result<Own> {
    let [RenameTable { old_name, new_name }] = renamed else {
        return Err(Error::internal("ALTER VIEW of several views"));
    };
    let from = reference(old_name)?;
    let to = names.renamed(&from, new_name)?;
    Ok(Own::RenameView { from, to })
}

/// The columns that a statement adds, if that is all that it does, and in one way.
pub(super) fn added_columns(operations: &[AlterTableOperation]) -> Option<(Vec<ColumnDef>, Known)> {
    let column = |operation: &AlterTableOperation| match operation {
        AlterTableOperation::AddColumn { column_def, column_position: None, if_not_exists, .. } => {
            Some((column_def.clone(), if *if_not_exists { Known::Keep } else { Known::Fail }))
        }
        _ => None,
    };
    let added: Option<Vec<_>> = operations.iter().map(column).collect();
    let (columns, known): (Vec<_>, Vec<_>) = added?.into_iter().unzip();
    let first = *known.first()?;
    known.iter().all(|known| *known == first).then_some((columns, first))
}

/// The column that a statement lets hold NULL, or forbids to, if that is all that it does.
pub(super) fn nullability(operations: &[AlterTableOperation]) -> Option<(String, bool)> {
    match operations {
        [AlterTableOperation::AlterColumn { column_name, op }] => match op {
            AlterColumnOperation::DropNotNull => Some((fold(column_name), true)),
            AlterColumnOperation::SetNotNull => Some((fold(column_name), false)),
            _ => None,
        },
        _ => None,
    }
}

/// The columns that a table is to be partitioned by, taken out of the statement: DataFusion does not know
/// them. Those that come with a type are columns of the table's besides the others.
pub(super) fn take_partitioning(create: &mut CreateTable) -> Result<Vec<String>> {
    let mut names = Vec::new();
    let hive = std::mem::replace(&mut create.hive_distribution, HiveDistributionStyle::NONE);
    if let HiveDistributionStyle::PARTITIONED { columns } = hive {
        names.extend(columns.iter().map(|column| fold(&column.name)));
        create.columns.extend(columns);
    }
    if let Some(by) = create.partition_by.take() {
        let columns = match *by {
            SqlExpr::Tuple(columns) => columns,
            SqlExpr::Nested(column) => vec![*column],
            column => vec![column],
        };
        for column in columns {
            let SqlExpr::Identifier(ident) = &column else {
                return Err(Error::invalid(format!("a table is partitioned by columns, not by {column}")));
            };
            names.push(fold(ident));
        }
    }
    Ok(names)
}

/// The columns that a statement declares NOT NULL.
pub(super) fn not_null(create: &CreateTable) -> Vec<String> {
    let is_not_null = |column: &&ColumnDef| {
        column.options.iter().any(|option| matches!(option.option, ColumnOption::NotNull))
    };
    create.columns.iter().filter(is_not_null).map(|column| fold(&column.name)).collect()
}

/// A name as the parser has it, folded to lower case where it is not quoted.
pub(in crate::engine) fn fold(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// The name of a table as the parser has it, its parts folded like all names.
pub(in crate::engine) fn reference(name: &ObjectName) -> Result<TableReference> {
    let parts: Option<Vec<String>> = name.0.iter().map(|part| part.as_ident().map(fold)).collect();
    match parts.unwrap_or_default().as_slice() {
        [table] => Ok(TableReference::bare(table.as_str())),
        [schema, table] => Ok(TableReference::partial(schema.as_str(), table.as_str())),
        [catalog, schema, table] => {
            Ok(TableReference::full(catalog.as_str(), schema.as_str(), table.as_str()))
        }
        _ => Err(Error::invalid(format!("{name} is not the name of a table"))),
    }
}

/// Changes that move no rows.
pub(super) fn change_names(ddl: DdlStatement, aside: Aside, names: &Names) -> Result<u64> {
    let catalog = &names.catalog;
    match ddl {
        DdlStatement::CreateExternalTable(table) => register(&table, names)?,
        DdlStatement::CreateView(view) => create_view(&view, aside, names)?,
        DdlStatement::CreateCatalogSchema(create) => {
            let schema = schema_name(&create.schema_name)?;
            if create.if_not_exists && catalog.has_schema(&schema)? {
                return Ok(0);
            }
            match catalog.create_schema(&schema) {
                Err(error) if create.if_not_exists && error.kind() == ErrorKind::AlreadyExists => {}
                created => created?,
            }
        }
        DdlStatement::DropCatalogSchema(drop) => {
            let schema = match &drop.name {
                SchemaReference::Bare { schema } => SchemaName::parse(schema)?,
                SchemaReference::Full { schema, catalog } if catalog.as_ref() == CATALOG => {
                    SchemaName::parse(schema)?
                }
                SchemaReference::Full { catalog, .. } => return Err(no_catalog(catalog)),
            };
            if drop.if_exists && !catalog.has_schema(&schema)? {
                return Ok(0);
            }
            match catalog.drop_schema(&schema, drop.cascade) {
                Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => {
                    // Somebody else dropped it meanwhile, or something in it.
                    if catalog.has_schema(&schema)? {
                        return Err(error);
                    }
                }
                dropped => dropped?,
            }
        }
        DdlStatement::DropTable(drop) => drop_table(&drop, names)?,
        DdlStatement::DropView(drop) => {
            let view = names.resolve(&drop.name)?;
            match catalog.drop_view(&view) {
                Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => {}
                dropped => dropped?,
            }
        }
        other => return Err(Error::unimplemented(format!("{} is not supported", other.name()))),
    }
    Ok(0)
}

pub(super) fn register(table: &CreateExternalTable, names: &Names) -> Result<()> {
    if !table.file_type.eq_ignore_ascii_case("parquet") {
        return Err(Error::unimplemented(format!("only PARQUET can be registered, not {}", table.file_type)));
    }
    if table.temporary || table.unbounded || !table.options.is_empty() || !table.order_exprs.is_empty() {
        return Err(Error::unimplemented("CREATE EXTERNAL TABLE takes STORED AS PARQUET and LOCATION only"));
    }
    let [location] = table.locations.as_slice() else {
        return Err(Error::invalid("CREATE EXTERNAL TABLE takes one LOCATION"));
    };
    let name = names.resolve(&table.name)?;
    if table.if_not_exists && names.catalog.exists(&name)? {
        return Ok(());
    }
    match names.catalog.register_dataset(&name, location.trim_end_matches('/'), table.or_replace) {
        Err(error) if table.if_not_exists && error.kind() == ErrorKind::AlreadyExists => Ok(()),
        registered => registered.map(drop),
    }
}

/// Whether a table was perhaps not made because of what is there.
pub(super) fn is_refusal(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::FailedPrecondition | ErrorKind::InvalidArgument)
}

pub(super) fn create_view(view: &CreateView, aside: Aside, names: &Names) -> Result<()> {
    let Aside::View { sql, if_not_exists } = aside else {
        return Err(Error::internal("a view without its text"));
    };
    let stored = View { sql, schema: names.environment.scope.schema.clone() };
    match names.catalog.create_view(&names.resolve(&view.name)?, &stored, view.or_replace) {
        Err(error) if if_not_exists && error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created,
    }
}

pub(super) fn drop_table(drop: &DropTable, names: &Names) -> Result<()> {
    if let Some(temporary) = names.temporary(&drop.name) {
        names.environment.temporary.remove(temporary);
        return Ok(());
    }
    let table = match names.find(&drop.name) {
        Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    match names.catalog.drop_dataset(&table, &DropOptions::default()) {
        Err(error) if drop.if_exists && error.kind() == ErrorKind::NotFound => Ok(()),
        dropped => dropped.map(|_| ()),
    }
}

/// Brings back what was dropped.
pub(super) fn undrop(names: &Names, dropped: Undropped) -> Result<u64> {
    let Undropped { kind, name } = dropped;
    let reference = reference(&name)?;
    let (schema, name) = match (kind, &reference) {
        (DroppedKind::Schema, TableReference::Bare { table }) => (SchemaName::parse(table)?, None),
        (DroppedKind::Schema, TableReference::Partial { schema, table }) if schema.as_ref() == CATALOG => {
            (SchemaName::parse(table)?, None)
        }
        (DroppedKind::Schema, _) => {
            return Err(Error::invalid(format!("{name} is not the name of a schema")));
        }
        _ => names.resolve(&reference).map(|dataset| (dataset.schema, Some(dataset.name)))?,
    };
    let wanted = Undrop { kind: Some(kind), schema, name, version: None, new_name: None };
    names.catalog.undrop(&wanted).map(|_| 0)
}

/// Renames a table; a temporary one hides the lasting one of its name from this too.
pub(super) fn rename(names: &Names, from: &TableReference, to: &DatasetRef) -> Result<u64> {
    if let Some(temporary) = names.temporary(from) {
        names.environment.temporary.rename(temporary, to.name.as_str())?;
        return Ok(0);
    }
    names.catalog.rename_dataset(&names.find(from)?, to).map(|_| 0)
}

pub(super) fn add_columns(
    names: &Names,
    table: &TableReference,
    mut columns: Vec<FieldRef>,
    known: Known,
) -> Result<u64> {
    if let Some(temporary) = names.temporary(table) {
        return Err(Error::unimplemented(format!("the temporary table {temporary} cannot get more columns")));
    }
    let table = names.find(table)?;
    if known == Known::Keep {
        let schema = names.catalog.describe(&table)?.schema;
        columns.retain(|column| schema.index_of(column.name()).is_err());
        if columns.is_empty() {
            return Ok(0);
        }
    }
    names.catalog.add_columns(&table, columns).map(|()| 0)
}

pub(super) fn set_nullable(
    names: &Names,
    table: &TableReference,
    column: &str,
    nullable: bool,
) -> Result<u64> {
    if let Some(temporary) = names.temporary(table) {
        return Err(Error::unimplemented(format!(
            "the columns of the temporary table {temporary} cannot be changed; make it anew with CREATE OR REPLACE \
             TEMPORARY TABLE"
        )));
    }
    names.catalog.set_nullable(&names.find(table)?, column, nullable).map(|()| 0)
}

/// How often a table is emptied anew whose rows change meanwhile.
const TRUNCATIONS: usize = 100;

/// An empty table with the same columns takes the table's place.
pub(super) fn truncate(names: &Names, table: &TableReference) -> Result<u64> {
    if let Some(name) = names.temporary(table) {
        let schema = names.environment.temporary.columns(name)?;
        names.sink(&names.resolve(table)?, schema, PutOptions::default(), true)?.finish()?;
        return Ok(0);
    }
    let table = names.find(table)?;
    let mut attempt = 1;
    loop {
        let described = names.catalog.describe(&table)?;
        let before = described.version();
        match empty(&names.catalog, &table, &described) {
            // Somebody else's change came between: these rows go too.
            Err(error)
                if error.kind() == ErrorKind::FailedPrecondition
                    && attempt < TRUNCATIONS
                    && names.catalog.describe(&table)?.version() != before =>
            {
                attempt += 1;
            }
            emptied => return emptied.map(|()| 0),
        }
    }
}

/// Puts no rows in the place of those of a dataset, if it still is what it was described as.
pub(super) fn empty(catalog: &Arc<Catalog>, table: &DatasetRef, described: &Dataset) -> Result<()> {
    let if_version = Some(described.version().to_string());
    let options = PutOptions { if_version, if_missing: IfMissing::Fail, ..PutOptions::default() };
    Upload::begin(Arc::clone(catalog), table.clone(), described.lasting_schema(), options)?.commit().map(drop)
}

pub(super) fn schema_name(text: &str) -> Result<SchemaName> {
    match text.split_once('.') {
        Some((CATALOG, schema)) => SchemaName::parse(schema),
        _ => SchemaName::parse(text),
    }
}

pub(super) fn no_catalog(name: &str) -> Error {
    Error::not_found(format!("there is no catalog {name}; there is {CATALOG}"))
}
