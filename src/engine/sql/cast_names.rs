//! Aggregates, windows and groups that differ by a cast alone: `min(cast(a as bigint)), min(a)`.
//!
//! DataFusion 55.2 names expressions without their casts, so that two columns below have one name, and refuses the query
//! (apache/datafusion#18975). All but one of them get an argument that says the same otherwise, `CASE WHEN true THEN …
//! END`, which is simplified away once columns have their names. The one that a column of the result is named after
//! keeps its own. Can go when casts are part of names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::convert::Infallible;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    CaseWhen, CastKind, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident,
    ObjectNamePart, OrderBy, Query, Select, SelectItem, SetExpr, Statement, Value, Visit, VisitMut, Visitor,
    VisitorMut, visit_expressions,
};

use super::ordinals::{is_aggregate, ordinal};

/// Gives expressions of `statement` that differ by casts different names.
pub(super) fn correct(statement: &mut Statement) {
    let _ = statement.visit(&mut Queries);
}

struct Queries;

impl VisitorMut for Queries {
    type Break = Infallible;

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Infallible> {
        correct_selects(&mut query.body, &mut query.order_by);
        ControlFlow::Continue(())
    }
}

fn correct_selects(body: &mut SetExpr, order_by: &mut Option<OrderBy>) {
    match body {
        SetExpr::Select(select) => correct_select(select, order_by),
        SetExpr::SetOperation { left, right, .. } => {
            correct_selects(left, &mut None);
            correct_selects(right, &mut None);
        }
        _ => {}
    }
}

fn correct_select(select: &mut Select, order_by: &mut Option<OrderBy>) {
    let is_cast = |expr: &Expr| match expr {
        Expr::Cast { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let casts = [
        visit_expressions(&select.projection, is_cast),
        visit_expressions(&select.group_by, is_cast),
        visit_expressions(&select.having, is_cast),
        visit_expressions(&select.qualify, is_cast),
        visit_expressions(order_by, is_cast),
    ];
    if casts.iter().all(ControlFlow::is_continue) {
        return;
    }
    let mut rename = Rename { renamed: clashes(select, order_by.as_ref()), inside: 0 };
    if rename.renamed.is_empty() {
        return;
    }
    for item in &mut select.projection {
        rename.item(item);
    }
    let _ = VisitMut::visit(&mut select.group_by, &mut rename);
    let _ = VisitMut::visit(&mut select.having, &mut rename);
    let _ = VisitMut::visit(&mut select.qualify, &mut rename);
    let _ = VisitMut::visit(order_by, &mut rename);
}

/// The expressions to be renamed, each with how often it is to be wrapped.
fn clashes(select: &Select, order_by: Option<&OrderBy>) -> HashMap<String, usize> {
    let mut found = Found::default();
    for item in &select.projection {
        found.is_named_after = matches!(item, SelectItem::UnnamedExpr(_));
        let _ = item.visit(&mut found);
        if let SelectItem::UnnamedExpr(expr @ Expr::Function(_)) = item {
            found.whole.insert(text(expr, false));
        }
    }
    found.is_named_after = false;
    let _ = select.having.visit(&mut found);
    let _ = select.qualify.visit(&mut found);
    if let Some(order_by) = order_by {
        let _ = order_by.visit(&mut found);
    }
    if let GroupByExpr::Expressions(groups, _) = &select.group_by {
        for group in groups {
            let group = resolved(group, select);
            if !matches!(group, Expr::Function(_)) {
                found.add(group);
                found.groups.insert(text(group, true));
            }
        }
    }
    let mut renamed = HashMap::new();
    for (name, variants) in found.variants {
        let mut whole = variants.iter().filter(|variant| found.whole.contains(*variant));
        let (first, second) = (whole.next(), whole.next());
        if variants.len() < 2 || second.is_some() {
            continue;
        }
        let named = first.or_else(|| variants.iter().find(|variant| found.named.contains(*variant)));
        let bare = variants.get(&name);
        // A column that is grouped by cannot be renamed: it is a part of the others.
        let kept = if found.groups.contains(&name) { bare.or(named) } else { named.or(bare) };
        let kept = kept.or(variants.first()).cloned();
        let others = variants.into_iter().filter(|variant| Some(variant) != kept.as_ref());
        renamed.extend(others.zip(1..));
    }
    renamed
}

/// What a group says: an ordinal or an alias stands for a column.
fn resolved<'a>(group: &'a Expr, select: &'a Select) -> &'a Expr {
    let expression = |item: &'a SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    };
    let by_alias = |name: &Ident| {
        select.projection.iter().find_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if alias.value == name.value => Some(expr),
            _ => None,
        })
    };
    let meant = match group {
        Expr::Identifier(name) => by_alias(name),
        other => ordinal(other)
            .and_then(|ordinal| select.projection.get(ordinal.checked_sub(1)?))
            .and_then(expression),
    };
    meant.unwrap_or(group)
}

/// The expressions that become columns of an aggregation or a window: by what DataFusion calls them, what they are.
#[derive(Default)]
struct Found {
    variants: BTreeMap<String, BTreeSet<String>>,
    /// Those that columns of the result are named after.
    named: BTreeSet<String>,
    /// Those that are columns of the result as they are.
    whole: BTreeSet<String>,
    is_named_after: bool,
    /// The names of what is grouped by.
    groups: BTreeSet<String>,
    inside: usize,
}

impl Found {
    fn add(&mut self, expr: &Expr) {
        let variant = text(expr, false);
        if self.is_named_after {
            self.named.insert(variant.clone());
        }
        self.variants.entry(text(expr, true)).or_default().insert(variant);
    }
}

impl Visitor for Found {
    type Break = Infallible;

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<Infallible> {
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<Infallible> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Infallible> {
        if let Expr::Function(function) = expr
            && self.inside == 0
            && (function.over.is_some() || is_aggregate(function))
        {
            self.add(expr);
        }
        ControlFlow::Continue(())
    }
}

/// The text of an expression, in one spelling.
fn text(expr: &Expr, without_casts: bool) -> String {
    let mut expr = expr.clone();
    let _ = VisitMut::visit(&mut expr, &mut Spelling { without_casts });
    expr.to_string()
}

struct Spelling {
    without_casts: bool,
}

impl VisitorMut for Spelling {
    type Break = Infallible;

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        let lower = |ident: &mut Ident| {
            if ident.quote_style.is_none() {
                ident.value = ident.value.to_lowercase();
            }
        };
        match expr {
            Expr::Identifier(ident) => lower(ident),
            Expr::CompoundIdentifier(idents) => idents.iter_mut().for_each(lower),
            Expr::Function(function) => {
                for part in &mut function.name.0 {
                    if let ObjectNamePart::Identifier(ident) = part {
                        lower(ident);
                    }
                }
            }
            Expr::Nested(inner) => *expr = take(inner),
            Expr::Cast { expr: inner, .. } if self.without_casts => *expr = take(inner),
            Expr::Cast { kind: kind @ CastKind::DoubleColon, .. } => *kind = CastKind::Cast,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::Identifier(Ident::new("")))
}

/// Wraps what is to have another name.
struct Rename {
    renamed: HashMap<String, usize>,
    inside: usize,
}

impl Rename {
    fn times(&self, expr: &Expr) -> Option<usize> {
        if self.inside > 0 {
            return None;
        }
        self.renamed.get(&text(expr, false)).copied()
    }

    fn item(&mut self, item: &mut SelectItem) {
        if let SelectItem::UnnamedExpr(expr) = item
            && let Expr::Cast { expr: inner, .. } = &*expr
            && self.times(expr).is_some()
            && let Some(alias) = column_name(inner)
        {
            let _ = expr.visit(self);
            *item = SelectItem::ExprWithAlias { expr: take(expr), alias };
            return;
        }
        let _ = item.visit(self);
    }
}

fn column_name(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Identifier(name) => Some(name.clone()),
        Expr::CompoundIdentifier(names) => names.last().cloned(),
        _ => None,
    }
}

impl VisitorMut for Rename {
    type Break = Infallible;

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<Infallible> {
        self.inside += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Infallible> {
        self.inside -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if !matches!(expr, Expr::Function(_)) {
            return ControlFlow::Continue(());
        }
        let Some(times) = self.times(expr) else { return ControlFlow::Continue(()) };
        if let Expr::Function(function) = expr
            && let FunctionArguments::List(list) = &mut function.args
        {
            let column = list.args.iter_mut().find_map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) if !matches!(expr, Expr::Value(_)) => {
                    Some(expr)
                }
                _ => None,
            });
            if let Some(argument) = column {
                wrap(argument, times);
            }
        }
        ControlFlow::Continue(())
    }

    /// Not before: what is wrapped would be found again inside.
    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        if matches!(expr, Expr::Cast { .. } | Expr::BinaryOp { .. } | Expr::Case { .. })
            && let Some(times) = self.times(expr)
        {
            wrap(expr, times);
        }
        ControlFlow::Continue(())
    }
}

fn wrap(expr: &mut Expr, times: usize) {
    for _ in 0..times {
        let result = take(expr);
        *expr = Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![CaseWhen { condition: Expr::Value(Value::Boolean(true).into()), result }],
            else_result: None,
        };
    }
}
