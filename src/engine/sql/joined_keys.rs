//! `JOIN … USING` and `NATURAL JOIN`: the key that both sides share is one column.
//!
//! DataFusion 55.2 takes the left side's column for it, which is NULL in the rows that a RIGHT or FULL JOIN has of
//! the right side alone (apache/datafusion#22881), joins a third table by it, and does not find it in WHERE or
//! behind a second USING. Each such join is planned here: [`correct`] sets it in parentheses, [`JoinedKeys`] plans
//! what stands in them, with one column in the place of the left side's key. Can go when DataFusion gives
//! `coalesce(left.k, right.k)` in all clauses.
//!
//! Where the statement names a side's own key as well (`a.k`), all three columns are there, and a node that
//! only marks them as one column keeps `k` and `*` clear; a rule,
//! `DropKeyMarkers`, takes it out again.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use datafusion::common::{Column, DFSchema, NullEquality, TableReference, not_impl_err, plan_err};
use datafusion::error::Result as DfResult;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::expr_rewriter::normalize_col;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Join, JoinConstraint, JoinType, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, Expr as SqlExpr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Join as SqlJoin,
    JoinConstraint as SqlConstraint, JoinOperator, ObjectName, PipeOperator, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableFactor, TableWithJoins, Visit, VisitMut,
    Visitor, VisitorMut,
};

use crate::error::{Error, Result};

/// What qualifies the shared column where the sides' own are there too. Sorts before all names of tables: of
/// columns that are one, DataFusion's `*` keeps the first in the order of their names.
const SHARED: &str = " using";

/// Sets the joins of `statement` that share keys in parentheses.
pub(super) fn correct(statement: &mut Statement) -> Result<()> {
    match statement.visit(&mut Enclose) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Enclose;

impl VisitorMut for Enclose {
    type Break = Error;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if query.pipe_operators.iter().any(|operator| match operator {
            PipeOperator::Join(join) => shares_keys(join) && join_type(join) != Some(JoinType::Inner),
            _ => false,
        }) {
            return ControlFlow::Break(Error::unimplemented(
                "an outer JOIN behind |> takes no USING and no NATURAL; write ON, and coalesce(l.k, r.k) for the key",
            ));
        }
        if has_shared_keys(&query.body) {
            let qualified = Qualified::of(query);
            enclose_all(&mut query.body, &qualified);
        }
        ControlFlow::Continue(())
    }
}

fn selects<'a>(body: &'a SetExpr, found: &mut Vec<&'a Select>) {
    match body {
        SetExpr::Select(select) => found.push(select),
        SetExpr::SetOperation { left, right, .. } => {
            selects(left, found);
            selects(right, found);
        }
        _ => {}
    }
}

fn has_shared_keys(body: &SetExpr) -> bool {
    let mut found = Vec::new();
    selects(body, &mut found);
    found.iter().flat_map(|select| &select.from).any(joins_by_shared_keys)
}

fn joins_by_shared_keys(from: &TableWithJoins) -> bool {
    let relations = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
    let is_nested = |relation: &TableFactor| match relation {
        TableFactor::NestedJoin { table_with_joins, .. } => joins_by_shared_keys(table_with_joins),
        _ => false,
    };
    from.joins.iter().any(shares_keys) || relations.into_iter().any(is_nested)
}

fn enclose_all(body: &mut SetExpr, qualified: &Qualified) {
    match body {
        SetExpr::Select(select) => {
            let mut named = HashSet::new();
            for from in &mut select.from {
                enclose(from, qualified, &mut named);
            }
            if let Some(condition) = &mut select.selection
                && !named.is_empty()
            {
                // Of all clauses, this is the one in which DataFusion does not look for what is marked as one.
                let _ = condition.visit(&mut Qualify { keys: named, inside: 0 });
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            enclose_all(left, qualified);
            enclose_all(right, qualified);
        }
        _ => {}
    }
}

/// Sets the joins of `from` that share keys in parentheses, from the left; in two pairs where the statement
/// names a side's own key. Those keys are added to `named`.
fn enclose(from: &mut TableWithJoins, qualified: &Qualified, named: &mut HashSet<String>) {
    let names_own = qualified.names_keys_of(from, named);
    enclose_within(&mut from.relation, qualified, named);
    let mut left = std::mem::replace(&mut from.relation, nothing());
    let mut waiting: Vec<SqlJoin> = Vec::new();
    for mut join in std::mem::take(&mut from.joins) {
        enclose_within(&mut join.relation, qualified, named);
        if !shares_keys(&join) {
            waiting.push(join);
            continue;
        }
        if !waiting.is_empty() {
            left = nested(TableWithJoins { relation: left, joins: std::mem::take(&mut waiting) });
        }
        left = nested(TableWithJoins { relation: left, joins: vec![join] });
        if names_own {
            left = nested(TableWithJoins { relation: left, joins: Vec::new() });
        }
    }
    from.relation = left;
    from.joins = waiting;
}

fn enclose_within(relation: &mut TableFactor, qualified: &Qualified, named: &mut HashSet<String>) {
    let TableFactor::NestedJoin { table_with_joins, alias } = relation else { return };
    // Behind an alias nothing else names what is in the parentheses.
    let hidden = Qualified::default();
    enclose(table_with_joins, if alias.is_some() { &hidden } else { qualified }, named);
    if table_with_joins.joins.is_empty()
        && let TableFactor::NestedJoin { table_with_joins: inner, alias: None } =
            &mut table_with_joins.relation
    {
        // It stands in parentheses already, and a second pair would say that sides' own keys are named.
        let inner =
            std::mem::replace(inner.as_mut(), TableWithJoins { relation: nothing(), joins: Vec::new() });
        **table_with_joins = inner;
    }
}

fn nested(table_with_joins: TableWithJoins) -> TableFactor {
    TableFactor::NestedJoin { table_with_joins: Box::new(table_with_joins), alias: None }
}

/// What stands in the place of a relation that is moved.
fn nothing() -> TableFactor {
    TableFactor::UNNEST {
        alias: None,
        array_exprs: Vec::new(),
        with_offset: false,
        with_offset_alias: None,
        with_ordinality: false,
    }
}

/// Whether a join makes one column of two, and can stand in parentheses.
fn shares_keys(join: &SqlJoin) -> bool {
    let is_lateral = matches!(
        join.relation,
        TableFactor::Derived { lateral: true, .. }
            | TableFactor::Function { lateral: true, .. }
            | TableFactor::UNNEST { .. }
    );
    !is_lateral
        && join_type(join).is_some()
        && matches!(constraint(join), Some(SqlConstraint::Using(_) | SqlConstraint::Natural))
}

fn join_type(join: &SqlJoin) -> Option<JoinType> {
    match &join.join_operator {
        JoinOperator::Join(_) | JoinOperator::Inner(_) => Some(JoinType::Inner),
        JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => Some(JoinType::Left),
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) => Some(JoinType::Right),
        JoinOperator::FullOuter(_) => Some(JoinType::Full),
        _ => None,
    }
}

fn constraint(join: &SqlJoin) -> Option<&SqlConstraint> {
    match &join.join_operator {
        JoinOperator::Join(constraint)
        | JoinOperator::Inner(constraint)
        | JoinOperator::Left(constraint)
        | JoinOperator::LeftOuter(constraint)
        | JoinOperator::Right(constraint)
        | JoinOperator::RightOuter(constraint)
        | JoinOperator::FullOuter(constraint) => Some(constraint),
        _ => None,
    }
}

/// What a statement names with a qualifier: `a.k` as `(a, k)`, `a.*` as `(a, *)`, in lower case.
#[derive(Default)]
struct Qualified(HashSet<(String, String)>);

impl Qualified {
    fn of(query: &Query) -> Self {
        let mut found = Self::default();
        let _ = query.visit(&mut found);
        found
    }

    /// Whether a key that the joins of `from` share is named as a side's own. If so, the keys are added to `named`.
    fn names_keys_of(&self, from: &TableWithJoins, named: &mut HashSet<String>) -> bool {
        let (mut keys, mut is_natural) = (HashSet::new(), false);
        for join in from.joins.iter().filter(|join| shares_keys(join)) {
            match constraint(join) {
                Some(SqlConstraint::Using(names)) => keys.extend(names.iter().filter_map(last_name)),
                _ => is_natural = true,
            }
        }
        let mut relations = HashSet::new();
        names_of(from, &mut relations);
        let found = self.0.iter().any(|(relation, column)| {
            relations.contains(relation) && (is_natural || column == "*" || keys.contains(column))
        });
        if found {
            named.extend(keys);
        }
        found
    }

    fn add(&mut self, relation: Option<String>, column: &str) {
        if let Some(relation) = relation {
            self.0.insert((relation, column.to_owned()));
        }
    }
}

impl Visitor for Qualified {
    type Break = ();

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<()> {
        for item in &select.projection {
            if let SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) = item
            {
                self.add(last_name(name), "*");
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &SqlExpr) -> ControlFlow<()> {
        match expr {
            SqlExpr::CompoundIdentifier(parts) => {
                for pair in parts.windows(2) {
                    self.add(pair.first().map(lower), &pair.last().map(lower).unwrap_or_default());
                }
            }
            SqlExpr::CompoundFieldAccess { root, access_chain } => {
                if let (SqlExpr::Identifier(relation), Some(AccessExpr::Dot(SqlExpr::Identifier(column)))) =
                    (root.as_ref(), access_chain.first())
                {
                    self.add(Some(lower(relation)), &lower(column));
                }
            }
            SqlExpr::Function(function) => {
                if let FunctionArguments::List(list) = &function.args {
                    for argument in &list.args {
                        if let FunctionArg::Unnamed(FunctionArgExpr::QualifiedWildcard(name)) = argument {
                            self.add(last_name(name), "*");
                        }
                    }
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The names that columns of `from` can be qualified with, in lower case.
fn names_of(from: &TableWithJoins, names: &mut HashSet<String>) {
    let relations = std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation));
    for relation in relations {
        let (name, alias) = match relation {
            TableFactor::NestedJoin { table_with_joins, alias: None } => {
                names_of(table_with_joins, names);
                continue;
            }
            TableFactor::Table { name, alias, .. } | TableFactor::Function { name, alias, .. } => {
                (last_name(name), alias.as_ref())
            }
            TableFactor::Derived { alias, .. }
            | TableFactor::NestedJoin { alias, .. }
            | TableFactor::UNNEST { alias, .. } => (None, alias.as_ref()),
            _ => continue,
        };
        names.extend(alias.map(|alias| lower(&alias.name)).or(name));
    }
}

fn last_name(name: &ObjectName) -> Option<String> {
    name.0.last().and_then(|part| part.as_ident()).map(lower)
}

fn lower(ident: &Ident) -> String {
    ident.value.to_lowercase()
}

/// Qualifies the names of keys, but for those in subqueries, which can be other tables' columns.
struct Qualify {
    keys: HashSet<String>,
    inside: usize,
}

impl VisitorMut for Qualify {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut SqlExpr) -> ControlFlow<()> {
        if let SqlExpr::Identifier(name) = expr
            && self.inside == 0
            && self.keys.contains(&lower(name))
        {
            *expr = SqlExpr::CompoundIdentifier(vec![Ident::with_quote('"', SHARED), name.clone()]);
        }
        ControlFlow::Continue(())
    }
}

/// Plans joins that share keys: those alone in parentheses, as [`correct`] sets them.
#[derive(Debug)]
pub(super) struct JoinedKeys;

impl RelationPlanner for JoinedKeys {
    fn plan_relation(
        &self,
        relation: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> DfResult<RelationPlanning> {
        let TableFactor::NestedJoin { table_with_joins, alias } = relation else {
            return Ok(RelationPlanning::Original(Box::new(relation)));
        };
        let (joined, names_own) = match *table_with_joins {
            TableWithJoins {
                relation: TableFactor::NestedJoin { table_with_joins: inner, alias: None },
                joins,
            } if joins.is_empty() && is_one(&inner) => (*inner, true),
            one if is_one(&one) => (one, false),
            other => {
                let table_with_joins = Box::new(other);
                let original = TableFactor::NestedJoin { table_with_joins, alias };
                return Ok(RelationPlanning::Original(Box::new(original)));
            }
        };
        let plan = plan(joined, names_own, context)?;
        Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(plan, alias))))
    }
}

fn is_one(joined: &TableWithJoins) -> bool {
    matches!(joined.joins.as_slice(), [join] if shares_keys(join))
}

fn plan(
    joined: TableWithJoins,
    names_own: bool,
    context: &mut dyn RelationPlannerContext,
) -> DfResult<LogicalPlan> {
    let TableWithJoins { relation, mut joins } = joined;
    let left = context.plan(relation)?;
    let Some(join) = joins.pop() else { return Ok(left) };
    let (Some(join_type), Some(constraint)) = (join_type(&join), constraint(&join).cloned()) else {
        return plan_err!("a join of two tables was expected");
    };
    let right = context.plan(join.relation)?;
    let keys = match constraint {
        SqlConstraint::Using(names) => using(names, context)?,
        _ => natural(&left, &right),
    };
    if keys.is_empty() {
        return LogicalPlanBuilder::from(left).join_on(right, join_type, [])?.build();
    }
    let of = |plan: &LogicalPlan| keys.iter().map(|name| key_of(plan, name)).collect::<DfResult<Vec<_>>>();
    let (left_keys, right_keys) = (of(&left)?, of(&right)?);
    let keys: Vec<String> = left_keys.iter().zip(keys).map(|(key, name)| own_name(key, name)).collect();
    let on = left_keys.iter().zip(&right_keys).map(|(left, right)| left.clone().eq(right.clone()));
    let on: Vec<_> = on.collect();
    let (left_columns, right_columns) = (columns(&left), columns(&right));
    let joined = LogicalPlanBuilder::from(left).join_on(right, join_type, on)?;
    let shared = |at: usize| shared(join_type, &left_keys[at], &right_keys[at]);
    let mut outputs = Vec::new();
    for column in left_columns {
        match left_keys.iter().position(|key| *key == column) {
            None => outputs.push(column),
            Some(at) => shared_and_own(&column, shared(at), names_own, &mut outputs),
        }
    }
    outputs.extend(right_columns.into_iter().filter(|column| names_own || !right_keys.contains(column)));
    let plan = joined.project(outputs)?.build()?;
    if names_own { mark(plan, &keys) } else { Ok(plan) }
}

/// The names in USING.
fn using(names: Vec<ObjectName>, context: &dyn RelationPlannerContext) -> DfResult<Vec<String>> {
    let mut keys: Vec<String> = Vec::new();
    for name in names {
        let [part] = name.0.as_slice() else {
            return plan_err!("USING takes names of columns without a table, not {name}");
        };
        let Some(ident) = part.as_ident() else {
            return plan_err!("USING takes names of columns, not {name}");
        };
        let key = context.normalize_ident(ident.clone());
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The column of a key's name, or the only one that differs in case.
fn key_of(plan: &LogicalPlan, name: &str) -> DfResult<Expr> {
    let exact = normalize_col(Expr::Column(Column::new_unqualified(name)), plan);
    if exact.is_ok() {
        return exact;
    }
    let columns = plan.schema().columns().into_iter();
    let mut same = columns.filter(|column| column.name.to_lowercase() == name.to_lowercase());
    match (same.next(), same.next()) {
        (Some(column), None) => Ok(Expr::Column(column)),
        _ => exact,
    }
}

fn own_name(key: &Expr, name: String) -> String {
    match key {
        Expr::Column(column) => column.name.clone(),
        _ => name,
    }
}

/// The names that both sides have.
fn natural(left: &LogicalPlan, right: &LogicalPlan) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for field in left.schema().fields() {
        if right.schema().has_column_with_unqualified_name(field.name()) && !keys.contains(field.name()) {
            keys.push(field.name().clone());
        }
    }
    keys
}

fn columns(plan: &LogicalPlan) -> Vec<Expr> {
    plan.schema().iter().map(Expr::from).collect()
}

/// The value of a key that both sides have.
fn shared(join_type: JoinType, left: &Expr, right: &Expr) -> Expr {
    match join_type {
        JoinType::Right => right.clone(),
        JoinType::Full => coalesce(vec![left.clone(), right.clone()]),
        _ => left.clone(),
    }
}

/// Adds the shared value of a key in the place of the left side's `own`; before it, where it is wanted too.
fn shared_and_own(own: &Expr, shared: Expr, names_own: bool, outputs: &mut Vec<Expr>) {
    let Expr::Column(column) = own else { return };
    let is_shared = column.relation.as_ref().is_some_and(is_shared_name);
    let relation = if names_own { Some(TableReference::bare(SHARED)) } else { column.relation.clone() };
    let is_same = shared == *own && relation == column.relation;
    outputs.push(if is_same { shared } else { shared.alias_qualified(relation, &column.name) });
    if names_own && !is_shared {
        outputs.push(own.clone());
    }
}

fn is_shared_name(relation: &TableReference) -> bool {
    *relation == TableReference::bare(SHARED)
}

/// Marks that all columns called as the keys are one, and the shared one of them is meant.
///
/// What DataFusion reads this off is a join by USING. This one is no join: nothing is on its right.
fn mark(plan: LogicalPlan, keys: &[String]) -> DfResult<LogicalPlan> {
    let mut pairs = Vec::new();
    for key in keys {
        let shared = Expr::Column(Column::new(Some(TableReference::bare(SHARED)), key));
        for (relation, _) in own_columns(plan.schema(), key) {
            if relation.is_none_or(|relation| relation.table() < SHARED) {
                return not_impl_err!(
                    "{key} of a table whose name begins so beside the {key} that a JOIN … USING shares; \
                     give the table an alias"
                );
            }
            pairs.push((shared.clone(), Expr::Column(Column::new(relation.cloned(), key))));
        }
    }
    let nothing = Arc::new(LogicalPlanBuilder::empty(true).build()?);
    let marker = Join::try_new(
        Arc::new(plan),
        nothing,
        pairs,
        None,
        JoinType::Inner,
        JoinConstraint::Using,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    Ok(LogicalPlan::Join(marker))
}

fn own_columns<'a>(
    schema: &'a DFSchema,
    key: &'a str,
) -> impl Iterator<Item = (Option<&'a TableReference>, &'a str)> {
    let named = schema.iter().filter(move |(_, field)| field.name() == key);
    named
        .map(move |(relation, _)| (relation, key))
        .filter(|(relation, _)| !relation.is_some_and(is_shared_name))
}

/// Whether a join is no join but marks columns as one.
pub(in crate::engine) fn is_key_marker(join: &Join) -> bool {
    let is_nothing = match join.right.as_ref() {
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row && empty.schema.fields().is_empty(),
        _ => false,
    };
    is_nothing && join.join_constraint == JoinConstraint::Using
}
