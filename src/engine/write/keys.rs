//! PRIMARY KEY and FOREIGN KEY, of CREATE TABLE and ALTER TABLE: kept where they are declared NOT ENFORCED.

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::TableReference;
use datafusion::sql::sqlparser::ast::{
    AlterTableOperation, ColumnOption, ConstraintCharacteristics, CreateTable, Expr, ForeignKeyConstraint,
    Ident, IndexColumn, PrimaryKeyConstraint, ReferentialAction, TableConstraint,
};

use super::ddl::{fold, reference};
use super::names::Names;
use crate::catalog::{DatasetRef, ForeignKey, KeyRule, Keys, PrimaryKey};
use crate::error::{Error, ErrorKind, Result};

/// Keys as a statement declares them.
#[derive(Debug, Clone, Default)]
pub(in crate::engine) struct Declared {
    primary: Option<(Option<String>, Vec<String>)>,
    foreign: Vec<Foreign>,
}

#[derive(Debug, Clone)]
struct Foreign {
    name: Option<String>,
    columns: Vec<String>,
    table: TableReference,
    /// Empty: the primary key's.
    referenced: Vec<String>,
    on_update: KeyRule,
    on_delete: KeyRule,
}

/// A change of the keys of a table.
#[derive(Debug, Clone)]
pub(in crate::engine) enum KeyChange {
    Add(Declared),
    /// By the constraint's name; `None` for the primary key.
    Drop {
        name: Option<String>,
        if_exists: bool,
    },
}

impl Declared {
    /// Takes the keys out of a statement: DataFusion would take them for enforced.
    pub(in crate::engine) fn take_from(create: &mut CreateTable) -> Result<Self> {
        let mut declared = Self::default();
        for column in &mut create.columns {
            let own = || vec![fold(&column.name)];
            for option in &column.options {
                let name = option.name.as_ref();
                match &option.option {
                    ColumnOption::PrimaryKey(key) => declared.set_primary(key, name, own())?,
                    ColumnOption::ForeignKey(key) => declared.add_foreign(key, name, own())?,
                    _ => {}
                }
            }
            column.options.retain(|option| {
                !matches!(option.option, ColumnOption::PrimaryKey(_) | ColumnOption::ForeignKey(_))
            });
        }
        for constraint in std::mem::take(&mut create.constraints) {
            declared.add(&constraint)?;
        }
        Ok(declared)
    }

    fn add(&mut self, constraint: &TableConstraint) -> Result<()> {
        match constraint {
            TableConstraint::PrimaryKey(key) => {
                let columns = key.columns.iter().map(key_column).collect::<Result<_>>()?;
                self.set_primary(key, None, columns)
            }
            TableConstraint::ForeignKey(key) => {
                self.add_foreign(key, None, key.columns.iter().map(fold).collect())
            }
            other => Err(Error::unimplemented(format!(
                "the constraint {other} is not supported; NOT NULL is, and PRIMARY KEY and FOREIGN KEY … NOT ENFORCED"
            ))),
        }
    }

    fn set_primary(
        &mut self,
        key: &PrimaryKeyConstraint,
        of_column: Option<&Ident>,
        columns: Vec<String>,
    ) -> Result<()> {
        let PrimaryKeyConstraint { name, index_name, index_type, columns: _, index_options, characteristics } =
            key;
        check_not_enforced("PRIMARY KEY", characteristics.as_ref())?;
        if index_name.is_some() || index_type.is_some() || !index_options.is_empty() {
            return Err(Error::unimplemented("the index of a PRIMARY KEY is not supported"));
        }
        if self.primary.is_some() {
            return Err(Error::invalid("a table has one PRIMARY KEY"));
        }
        self.primary = Some((name.as_ref().or(of_column).map(fold), columns));
        Ok(())
    }

    fn add_foreign(
        &mut self,
        key: &ForeignKeyConstraint,
        of_column: Option<&Ident>,
        columns: Vec<String>,
    ) -> Result<()> {
        let ForeignKeyConstraint {
            name,
            index_name,
            columns: _,
            foreign_table,
            referred_columns,
            on_delete,
            on_update,
            match_kind,
            characteristics,
        } = key;
        check_not_enforced("FOREIGN KEY", characteristics.as_ref())?;
        if index_name.is_some() || match_kind.is_some() {
            return Err(Error::unimplemented("MATCH and the index of a FOREIGN KEY are not supported"));
        }
        self.foreign.push(Foreign {
            name: name.as_ref().or(of_column).map(fold),
            columns,
            table: reference(foreign_table)?,
            referenced: referred_columns.iter().map(fold).collect(),
            on_update: rule(on_update.as_ref()),
            on_delete: rule(on_delete.as_ref()),
        });
        Ok(())
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.primary.is_none() && self.foreign.is_empty()
    }

    /// The keys of the table `name`, whose columns are those of `schema`, added to `keys`. Blocks.
    fn resolve(self, names: &Names, name: &DatasetRef, schema: &Schema, keys: &mut Keys) -> Result<()> {
        let table = name.name.as_str();
        if let Some((own, columns)) = self.primary {
            if keys.primary.is_some() {
                let text =
                    format!("table {name} has a PRIMARY KEY already; drop that first (DROP CONSTRAINT)");
                return Err(Error::new(ErrorKind::AlreadyExists, text));
            }
            let columns = known(schema, name, columns)?;
            let key = PrimaryKey { name: own.unwrap_or_else(|| format!("{table}_pkey")), columns };
            check_new(keys, &key.name)?;
            keys.primary = Some(key);
        }
        for Foreign { name: own, columns, table: parent, referenced, on_update, on_delete } in self.foreign {
            let columns = known(schema, name, columns)?;
            let own = own.unwrap_or_else(|| format!("{table}_{}_fkey", columns.join("_")));
            check_new(keys, &own)?;
            let (parent, referenced) = referred(names, name, schema, keys, &parent, referenced)?;
            if columns.len() != referenced.len() {
                return Err(Error::invalid(format!(
                    "the FOREIGN KEY {own} has {} columns, and refers to {}",
                    columns.len(),
                    referenced.len()
                )));
            }
            let (schema, table) = (parent.schema.as_str().to_owned(), parent.name.as_str().to_owned());
            keys.foreign.push(ForeignKey {
                name: own,
                columns,
                schema,
                table,
                referenced,
                on_update,
                on_delete,
            });
        }
        Ok(())
    }

    /// `schema`, of a table that is to be made, with the keys noted. Blocks.
    pub(in crate::engine) fn noted_in(
        self,
        schema: &SchemaRef,
        name: &DatasetRef,
        names: &Names,
    ) -> Result<SchemaRef> {
        let mut keys = Keys::default();
        self.resolve(names, name, schema, &mut keys)?;
        Ok(keys.noted_in(schema)?.into())
    }
}

impl KeyChange {
    /// The change of keys that operations are, if they are that and nothing else.
    pub(in crate::engine) fn of(operations: &[AlterTableOperation]) -> Result<Option<Self>> {
        let mut declared = Declared::default();
        for operation in operations {
            match (operation, operations.len()) {
                (AlterTableOperation::AddConstraint { constraint, not_valid: false }, _) => {
                    declared.add(constraint)?;
                }
                (AlterTableOperation::DropConstraint { if_exists, name, drop_behavior: _ }, 1) => {
                    return Ok(Some(Self::Drop { name: Some(fold(name)), if_exists: *if_exists }));
                }
                (AlterTableOperation::DropPrimaryKey { drop_behavior: _ }, 1) => {
                    return Ok(Some(Self::Drop { name: None, if_exists: false }));
                }
                _ => return Ok(None),
            }
        }
        Ok((!declared.is_empty()).then_some(Self::Add(declared)))
    }

    /// Makes the change. Blocks.
    pub(in crate::engine) fn make(self, names: &Names, table: &TableReference) -> Result<u64> {
        if let Some(temporary) = names.temporary(table) {
            return Err(Error::unimplemented(format!("the temporary table {temporary} has no keys")));
        }
        let dataset = names.find(table)?;
        names.catalog().change_keys(&dataset, |keys, schema| match self {
            Self::Add(declared) => declared.resolve(names, &dataset, schema, keys),
            Self::Drop { name: None, .. } => match keys.primary.take() {
                Some(_) => Ok(()),
                None => Err(Error::not_found(format!("table {dataset} has no PRIMARY KEY"))),
            },
            Self::Drop { name: Some(name), if_exists } => {
                if keys.remove(&name) || if_exists {
                    return Ok(());
                }
                Err(Error::not_found(format!("table {dataset} has no key of the name {name}")))
            }
        })?;
        Ok(0)
    }
}

fn key_column(column: &IndexColumn) -> Result<String> {
    match &column.column.expr {
        Expr::Identifier(name) if column.operator_class.is_none() => Ok(fold(name)),
        other => Err(Error::invalid(format!("a key is of columns, not of {other}"))),
    }
}

/// What is declared and not checked must say so.
fn check_not_enforced(what: &str, characteristics: Option<&ConstraintCharacteristics>) -> Result<()> {
    let Some(ConstraintCharacteristics { deferrable, initially, enforced: Some(false) }) = characteristics
    else {
        return Err(Error::unimplemented(format!(
            "an enforced {what} is not supported; write NOT ENFORCED behind it: it is kept and shown to tools then, and not \
             checked"
        )));
    };
    if deferrable.is_some() || initially.is_some() {
        return Err(Error::unimplemented(
            "DEFERRABLE and INITIALLY are not supported: keys are not enforced",
        ));
    }
    Ok(())
}

fn rule(action: Option<&ReferentialAction>) -> KeyRule {
    match action {
        None | Some(ReferentialAction::NoAction) => KeyRule::NoAction,
        Some(ReferentialAction::Restrict) => KeyRule::Restrict,
        Some(ReferentialAction::Cascade) => KeyRule::Cascade,
        Some(ReferentialAction::SetNull) => KeyRule::SetNull,
        Some(ReferentialAction::SetDefault) => KeyRule::SetDefault,
    }
}

/// The columns of a table that a key names: the very names, or the only ones that differ in case.
fn known(schema: &Schema, table: &DatasetRef, columns: Vec<String>) -> Result<Vec<String>> {
    let find = |name: String| {
        if schema.index_of(&name).is_ok() {
            return Ok(name);
        }
        let fields = schema.fields().iter();
        let mut same = fields.filter(|field| field.name().to_lowercase() == name.to_lowercase());
        match (same.next(), same.next()) {
            (Some(field), None) => Ok(field.name().clone()),
            _ => Err(Error::invalid(format!("table {table} has no column {name:?} for a key"))),
        }
    };
    columns.into_iter().map(find).collect()
}

fn check_new(keys: &Keys, name: &str) -> Result<()> {
    let is_known =
        keys.primary.iter().any(|key| key.name == name) || keys.foreign.iter().any(|key| key.name == name);
    if is_known {
        return Err(Error::new(
            ErrorKind::AlreadyExists,
            format!("the table has a constraint {name} already"),
        ));
    }
    Ok(())
}

/// The table and the columns that a foreign key of `own` refers to.
fn referred(
    names: &Names,
    own: &DatasetRef,
    schema: &Schema,
    keys: &Keys,
    table: &TableReference,
    columns: Vec<String>,
) -> Result<(DatasetRef, Vec<String>)> {
    let itself = names.resolve(table).is_ok_and(|table| table == *own);
    let (parent, of_parent, its_keys) = if itself {
        (own.clone(), schema.clone(), keys.clone())
    } else {
        let parent = names.find(table)?;
        let described = names.catalog().describe(&parent)?.schema;
        (parent, Schema::clone(&described), Keys::of(&described))
    };
    if !columns.is_empty() {
        let columns = known(&of_parent, &parent, columns)?;
        return Ok((parent, columns));
    }
    match its_keys.primary {
        Some(key) => Ok((parent, key.columns)),
        None => Err(Error::invalid(format!(
            "table {parent} has no PRIMARY KEY to refer to; name the columns: REFERENCES {parent} (…)"
        ))),
    }
}
