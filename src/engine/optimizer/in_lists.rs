//! Lists of `IN` that are merged without forgetting NULL.
//!
//! DataFusion 55.2 merges lists for one expression that stand side by side, and takes NULL and other columns in
//! them for values like any: `a NOT IN (1, NULL) AND a IN (20, 12)` is true for 20, and `a IN (1) AND a IN (2)` is
//! false where `a` is NULL (apache/datafusion#17681, apache/datafusion#24246, PR apache/datafusion#24258). Here they
//! are merged before it sees them; those that cannot be are written in a way that it leaves alone.
//!
//! This can go with the release that has that change, if that does the same with other columns in the lists.

use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr::{BinaryExpr, InList};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, binary_expr, lit};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

use super::{any_expression, schema_of_inputs};

/// Merges lists of `IN`.
#[derive(Debug)]
pub(super) struct MergeInLists;

impl OptimizerRule for MergeInLists {
    fn name(&self) -> &'static str {
        "merge_in_lists"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, _: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        if !any_expression(&plan, has_lists)? {
            return Ok(Transformed::no(plan));
        }
        let schema = schema_of_inputs(&plan)?;
        let names = NamePreserver::new(&plan);
        super::map_each(plan, |expr| {
            if !has_lists(&expr)? {
                return Ok(Transformed::no(expr));
            }
            let name = names.save(&expr);
            Ok(merged(expr, &schema)?.update_data(|expr| name.restore(expr)))
        })
    }
}

/// Whether there may be two lists for one expression.
fn has_lists(expr: &Expr) -> Result<bool> {
    let mut lists = 0;
    expr.apply(|expr| {
        let is_list = matches!(expr, Expr::InList(_))
            || matches!(expr, Expr::BinaryExpr(BinaryExpr { op: Operator::Or, .. }));
        lists += usize::from(is_list);
        Ok(if lists > 1 { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(lists > 1)
}

fn merged(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { op: op @ (Operator::And | Operator::Or), .. }) => {
            let mut changed = false;
            let mut terms = Vec::new();
            for term in terms_of(expr, op) {
                let term = merged(term, schema)?;
                changed |= term.transformed;
                terms.push(term.data);
            }
            changed |= merge(&mut terms, op, schema)?;
            let joined = terms.into_iter().reduce(|left, right| binary_expr(left, op, right));
            Ok(Transformed::new_transformed(joined.unwrap_or_else(|| lit(op == Operator::And)), changed))
        }
        Expr::Not(inner) => match *inner {
            Expr::InList(list) => {
                let negated = !list.negated;
                let list = merged(Expr::InList(InList { negated, ..list }), schema)?;
                Ok(Transformed::yes(list.data))
            }
            other => Ok(merged(other, schema)?.update_data(|inner| Expr::Not(Box::new(inner)))),
        },
        other => other.map_children(|child| merged(child, schema)),
    }
}

/// The terms of a chain of AND or of OR, in their order.
fn terms_of(expr: Expr, op: Operator) -> Vec<Expr> {
    let (mut terms, mut open) = (Vec::new(), vec![expr]);
    while let Some(expr) = open.pop() {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op: own, right }) if own == op => {
                open.extend([*right, *left]);
            }
            term => terms.push(term),
        }
    }
    terms
}

/// Merges the lists for one expression among the terms of a chain.
fn merge(terms: &mut Vec<Expr>, op: Operator, schema: &DFSchema) -> Result<bool> {
    let mut changed = false;
    let mut first = 0;
    while first < terms.len() {
        let Some(subject) = subject(&terms[first], op).cloned() else {
            first += 1;
            continue;
        };
        let is_same = |term: &Expr| self::subject(term, op) == Some(&subject);
        if !terms[first + 1..].iter().any(is_same) || subject.is_volatile() {
            first += 1;
            continue;
        }
        let rest = terms.split_off(first);
        let (lists, others): (Vec<Expr>, Vec<Expr>) = rest.into_iter().partition(is_same);
        terms.extend(one_list(subject, lists, op, schema)?);
        first = terms.len();
        terms.extend(others);
        changed = true;
    }
    Ok(changed)
}

/// What a list is for; in a chain of OR, `column = literal` is a list too.
fn subject(term: &Expr, op: Operator) -> Option<&Expr> {
    match term {
        Expr::InList(InList { expr, .. }) => Some(expr),
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) if op == Operator::Or => {
            match (left.as_ref(), right.as_ref()) {
                (column @ Expr::Column(_), Expr::Literal(..))
                | (Expr::Literal(..), column @ Expr::Column(_)) => Some(column),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The terms that say the same as several for one subject: at most one list, and what cannot be merged.
fn one_list(subject: Expr, terms: Vec<Expr>, op: Operator, schema: &DFSchema) -> Result<Vec<Expr>> {
    let is_and = op == Operator::And;
    // Of the lists that narrow one another in this chain, and of those that add up.
    let (mut common, mut all): (Option<Vec<Expr>>, Vec<Expr>) = (None, Vec::new());
    let mut unmerged = Vec::new();
    for term in terms {
        let InList { expr, list, negated } = match term {
            Expr::InList(list) => list,
            Expr::BinaryExpr(BinaryExpr { left, right, .. }) => {
                let value = if matches!(*left, Expr::Literal(..)) { left } else { right };
                InList { expr: Box::new(subject.clone()), list: vec![*value], negated: false }
            }
            other => {
                unmerged.push(other);
                continue;
            }
        };
        let adds_up = negated == is_and;
        if list.is_empty() || !list.iter().all(|member| is_value(member) || adds_up && is_null(member)) {
            unmerged.push(spelled_out(&expr, list, negated));
        } else if adds_up {
            all.extend(list);
        } else {
            common = Some(match common {
                Some(common) => common.into_iter().filter(|member| list.contains(member)).collect(),
                None => list,
            });
        }
    }
    if all.iter().any(is_null) {
        unmerged.push(unknown());
        all.retain(|member| !is_null(member));
    }
    let narrows = common.is_some();
    let list = match common {
        Some(common) => common.into_iter().filter(|member| !all.contains(member)).collect(),
        None => all,
    };
    let mut members: Vec<Expr> = Vec::new();
    for member in list {
        if !members.contains(&member) {
            members.push(member);
        }
    }
    if !members.is_empty() {
        let negated = narrows != is_and;
        let list = Expr::InList(InList { expr: Box::new(subject), list: members, negated });
        unmerged.insert(0, list);
    } else if narrows {
        unmerged.insert(0, never(subject, is_and, schema)?);
    }
    Ok(unmerged)
}

/// A literal that equals only itself.
fn is_value(member: &Expr) -> bool {
    match member {
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => *value != 0.0,
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => *value != 0.0,
        Expr::Literal(value, _) => !value.is_null(),
        _ => false,
    }
}

fn is_null(member: &Expr) -> bool {
    matches!(member, Expr::Literal(value, _) if value.is_null())
}

fn unknown() -> Expr {
    lit(ScalarValue::Boolean(None))
}

/// False (in a chain of AND) or true, but NULL where `subject` is.
fn never(subject: Expr, is_and: bool, schema: &DFSchema) -> Result<Expr> {
    Ok(match (subject.nullable(schema)?, is_and) {
        (false, _) => lit(!is_and),
        (true, true) => subject.is_null().and(unknown()),
        (true, false) => subject.is_not_null().or(unknown()),
    })
}

/// A list as comparisons with its members, in halves, so that a long one is not deep.
fn spelled_out(subject: &Expr, mut list: Vec<Expr>, negated: bool) -> Expr {
    let compared = if negated { Operator::NotEq } else { Operator::Eq };
    match list.pop() {
        None => lit(negated),
        Some(last) if list.is_empty() => binary_expr(subject.clone(), compared, last),
        Some(last) => {
            list.push(last);
            let right = list.split_off(list.len() / 2);
            let op = if negated { Operator::And } else { Operator::Or };
            binary_expr(spelled_out(subject, list, negated), op, spelled_out(subject, right, negated))
        }
    }
}
