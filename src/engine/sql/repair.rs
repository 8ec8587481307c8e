//! Names that a statement's plan does not find, looked for again.
//!
//! Columns are looked up as DataFusion 55.2 does it: exactly. Where that fails, the planner says which name, where, and
//! what there is; a name that differs from one column alone in case is that one, and one that SQL has for a value of the
//! session (`current_user`) is that value. Then the statement is planned once more. So an exact match always wins, in any
//! scope, and nothing is spent on statements that are right.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result, SchemaError, Span};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, Expr, Function, FunctionArgumentList, FunctionArguments, Ident, MergeAction,
    ObjectName, ObjectNamePart, Query, Select, Statement, VisitMut, VisitorMut,
};

use super::uuid_values;
use crate::engine::functions::SESSION_VALUES;

/// How often a statement is planned again. All columns of one SELECT are found at once.
const MOST_REPAIRS: usize = 100;

/// The plan of `statement`.
pub(super) async fn plan(state: &SessionState, mut statement: AnyStatement) -> Result<LogicalPlan> {
    let mut has_casts = false;
    for _ in 0..MOST_REPAIRS {
        let planned = state.statement_to_plan(statement.clone()).await;
        let error = match planned.and_then(with_keys) {
            Err(error) => error,
            planned => return planned,
        };
        if !has_casts && uuid_values::is_about(&error) {
            has_casts = true;
            if let Some(inner) = inner_of(&mut statement)
                && uuid_values::cast(inner, state).await?
            {
                continue;
            }
        }
        let Some(missing) = Missing::of(&error) else { return Err(error) };
        let Some(inner) = inner_of(&mut statement) else { return Err(error) };
        if missing.repair(inner)? {
            continue;
        }
        // In ORDER BY and where a subquery names its surroundings, the planner does not tell all that there is.
        let missing = Missing { valid: columns(state, &statement).await?, ..missing };
        let Some(inner) = inner_of(&mut statement) else { return Err(error) };
        if !missing.repair(inner)? {
            return Err(missing.explained(error, inner));
        }
    }
    state.statement_to_plan(statement).await.and_then(with_keys)
}

/// A plan, unless one of its ORDER BYs has a qualified name that no column has: the planner does not look for these.
pub(super) fn with_keys(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.apply(|node| {
        let LogicalPlan::Sort(sort) = node else { return Ok(TreeNodeRecursion::Continue) };
        let known = sort.input.schema();
        let mut keys = sort.expr.iter().flat_map(|key| key.expr.column_refs());
        match keys.find(|column| !known.has_column_with_unqualified_name(&column.name)) {
            Some(column) => {
                let (field, valid_fields) = (Box::new(column.clone()), known.columns());
                let error = SchemaError::FieldNotFound { field, valid_fields };
                Err(DataFusionError::SchemaError(Box::new(error), Box::new(None)))
            }
            None => Ok(TreeNodeRecursion::Continue),
        }
    })?;
    Ok(plan)
}

/// The columns of all tables that a statement reads.
async fn columns(state: &SessionState, statement: &AnyStatement) -> Result<Vec<Column>> {
    let mut columns = Vec::new();
    for table in state.resolve_table_references(statement)? {
        let Ok(schema) = state.schema_for_ref(table.clone()) else { continue };
        if let Some(table) = schema.table(table.table()).await? {
            let schema = table.schema();
            columns.extend(schema.fields().iter().map(|field| Column::new_unqualified(field.name())));
        }
    }
    Ok(columns)
}

/// Writes those of the session's values as names that the parser takes for functions without parentheses: a column of the
/// name is meant first.
pub(super) fn correct(statement: &mut Statement) {
    let _ = statement.visit(&mut AsNames);
}

struct AsNames;

impl VisitorMut for AsNames {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && matches!(function.args, FunctionArguments::None)
            && let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice()
            && is_session_value(name)
        {
            *expr = Expr::Identifier(name.clone());
        }
        ControlFlow::Continue(())
    }
}

/// Whether SQL has a value of the session by this name.
pub(super) fn is_session_value(name: &Ident) -> bool {
    name.quote_style.is_none() && SESSION_VALUES.contains(&name.value.to_lowercase().as_str())
}

fn inner_of(statement: &mut AnyStatement) -> Option<&mut Statement> {
    match statement {
        AnyStatement::Statement(statement) => Some(statement),
        AnyStatement::Explain(explain) => inner_of(&mut explain.statement),
        _ => None,
    }
}

/// A name that is none of a column.
struct Missing {
    field: Column,
    valid: Vec<Column>,
    span: Option<Span>,
}

impl Missing {
    fn of(error: &DataFusionError) -> Option<Self> {
        let DataFusionError::SchemaError(schema, _) = error.find_root() else { return None };
        let SchemaError::FieldNotFound { field, valid_fields } = schema.as_ref() else { return None };
        let span = error.diagnostic().and_then(|diagnostic| diagnostic.span);
        Some(Self { field: field.as_ref().clone(), valid: valid_fields.clone(), span })
    }

    /// Changes the name to what it means, and says whether there was such.
    fn repair(&self, statement: &mut Statement) -> Result<bool> {
        let found = matching(&self.field, &self.valid);
        let found: Vec<_> = found.into_iter().collect();
        match found.as_slice() {
            [to] => Ok(self.rename(statement, to)),
            [] if self.field.relation.is_none() => Ok(self.evaluate(statement)),
            [] => Ok(false),
            several => {
                let quoted: Vec<_> = several.iter().map(|name| format!("{name:?}")).collect();
                Err(DataFusionError::Plan(format!(
                    "column {} is ambiguous: it could be {}; write the one that you mean in double quotes",
                    self.field.name,
                    quoted.join(" or ")
                )))
            }
        }
    }

    fn rename(&self, statement: &mut Statement, to: &str) -> bool {
        let mut rename = Rename { missing: self, to, hit: false, spread: false };
        if self.span.is_none() {
            rename.targets(statement);
        }
        if !rename.hit {
            let _ = statement.visit(&mut rename);
        }
        rename.hit
    }

    /// Puts the call of the session's function in the place of a name.
    fn evaluate(&self, statement: &mut Statement) -> bool {
        if !SESSION_VALUES.contains(&self.field.name.as_str()) {
            return false;
        }
        let mut evaluate = Evaluate { missing: self, hit: false };
        let _ = statement.visit(&mut evaluate);
        evaluate.hit
    }

    /// The error, with what somebody may have meant who writes texts in double quotes.
    fn explained(&self, error: DataFusionError, statement: &mut Statement) -> DataFusionError {
        let mut quoted = Quoted { missing: self, is_it: false };
        let _ = statement.visit(&mut quoted);
        if !quoted.is_it || self.field.relation.is_some() {
            return error;
        }
        let text = self.field.name.replace('\'', "''");
        let diagnostic = error.diagnostic().cloned();
        let hint = format!(
            "{}. Double quotes are for names; a text is written in single quotes: '{text}'",
            error.find_root().strip_backtrace().trim_end_matches('.')
        );
        let hinted = DataFusionError::Plan(hint);
        match diagnostic {
            Some(diagnostic) => hinted.with_diagnostic(diagnostic),
            None => hinted,
        }
    }

    fn is_named_by(&self, name: &Ident) -> bool {
        name.value == self.field.name
            || name.quote_style.is_none() && name.value.to_lowercase() == self.field.name
    }

    /// Whether `names`, which are one column's, stand where the missing name does.
    fn is_at(&self, names: &[Ident]) -> bool {
        let (Some(first), Some(last)) = (names.first(), names.last()) else { return false };
        let here =
            || Some((Span::try_from_sqlparser_span(first.span)?, Span::try_from_sqlparser_span(last.span)?));
        let is_here = |span: Span| {
            here().is_some_and(|(first, last)| (first.start, last.end) == (span.start, span.end))
        };
        self.is_named_by(last) && self.span.is_none_or(is_here)
    }
}

/// The names of columns that differ from `field`'s in case, and in nothing else.
fn matching<'a>(field: &Column, valid: &'a [Column]) -> BTreeSet<&'a str> {
    let wanted = field.name.to_lowercase();
    let is_of_table = |column: &Column| match (&field.relation, &column.relation) {
        (Some(table), Some(own)) => own.resolved_eq(table),
        _ => true,
    };
    let columns = valid.iter().filter(|column| is_of_table(column) && column.name.to_lowercase() == wanted);
    let columns = columns.filter(|column| column.name != field.name);
    columns.map(|column| column.name.as_str()).collect()
}

fn set(name: &mut Ident, to: &str) {
    to.clone_into(&mut name.value);
    name.quote_style = Some('"');
}

struct Rename<'a> {
    missing: &'a Missing,
    to: &'a str,
    hit: bool,
    /// Whether the other names of the SELECT were looked at.
    spread: bool,
}

impl Rename<'_> {
    /// Renames the columns that a statement writes to.
    fn targets(&mut self, statement: &mut Statement) {
        match statement {
            Statement::Insert(insert) => insert.columns.iter_mut().for_each(|column| self.target(column)),
            Statement::Update(update) => {
                update.assignments.iter_mut().for_each(|assignment| self.assigned(&mut assignment.target));
            }
            Statement::Merge(merge) => {
                for clause in &mut merge.clauses {
                    match &mut clause.action {
                        MergeAction::Insert(insert) => {
                            insert.columns.iter_mut().for_each(|column| self.target(column));
                        }
                        MergeAction::Update(update) => {
                            let assignments = update.assignments.iter_mut();
                            assignments.for_each(|assignment| self.assigned(&mut assignment.target));
                        }
                        MergeAction::Delete { .. } => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn assigned(&mut self, target: &mut AssignmentTarget) {
        match target {
            AssignmentTarget::ColumnName(column) => self.target(column),
            AssignmentTarget::Tuple(columns) => columns.iter_mut().for_each(|column| self.target(column)),
        }
    }

    fn target(&mut self, column: &mut ObjectName) {
        if let Some(ObjectNamePart::Identifier(name)) = column.0.last_mut()
            && self.missing.is_named_by(name)
        {
            set(name, self.to);
            self.hit = true;
        }
    }
}

impl VisitorMut for Rename<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let names = match expr {
            Expr::Identifier(name) => std::slice::from_mut(name),
            Expr::CompoundIdentifier(names) => names.as_mut_slice(),
            _ => return ControlFlow::Continue(()),
        };
        if self.missing.is_at(names)
            && let Some(last) = names.last_mut()
        {
            set(last, self.to);
            self.hit = true;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.hit && !self.spread {
            self.spread = true;
            let mut others = Others { valid: &self.missing.valid, depth: 0 };
            let _ = select.projection.visit(&mut others);
            let _ = select.selection.visit(&mut others);
        }
        ControlFlow::Continue(())
    }

    /// The planner names the first key of ORDER BY that is not selected, whichever it is that it does not find.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.hit && !self.spread {
            self.spread = true;
            let mut others = Others { valid: &self.missing.valid, depth: 0 };
            let _ = query.order_by.visit(&mut others);
        }
        ControlFlow::Continue(())
    }
}

/// The other names of a SELECT that its tables have in another case.
struct Others<'a> {
    valid: &'a [Column],
    /// How many subqueries this is inside of: those have tables of their own.
    depth: usize,
}

impl VisitorMut for Others<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let is_column = |name: &Ident| self.valid.iter().any(|column| column.name == name.value);
        let name = match expr {
            Expr::Identifier(name) if self.depth == 0 => name,
            // A name behind a column's is a field of that column.
            Expr::CompoundIdentifier(names) if self.depth == 0 && !names.first().is_some_and(is_column) => {
                let Some(last) = names.last_mut() else { return ControlFlow::Continue(()) };
                last
            }
            _ => return ControlFlow::Continue(()),
        };
        let plain = if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
        let is_exact = self.valid.iter().any(|column| column.name == plain || column.name == name.value);
        let found = matching(&Column::new_unqualified(plain), self.valid);
        if !is_exact
            && found.len() == 1
            && let Some(to) = found.first()
        {
            set(name, to);
        }
        ControlFlow::Continue(())
    }
}

struct Evaluate<'a> {
    missing: &'a Missing,
    hit: bool,
}

impl VisitorMut for Evaluate<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && is_session_value(name)
            && self.missing.is_at(std::slice::from_ref(name))
        {
            *expr = call(name);
            self.hit = true;
        }
        ControlFlow::Continue(())
    }
}

fn call(name: &Ident) -> Expr {
    let none = FunctionArgumentList { duplicate_treatment: None, args: Vec::new(), clauses: Vec::new() };
    Expr::Function(Function {
        name: ObjectName::from(vec![name.clone()]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(none),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// Whether the missing name is written in double quotes.
struct Quoted<'a> {
    missing: &'a Missing,
    is_it: bool,
}

impl VisitorMut for Quoted<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr {
            self.is_it |= name.quote_style == Some('"') && self.missing.is_at(std::slice::from_ref(name));
        }
        ControlFlow::Continue(())
    }
}
