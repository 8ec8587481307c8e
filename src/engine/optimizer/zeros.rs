//! Makes -0.0 and 0.0 one number everywhere.
//!
//! DataFusion 55.2 compares and groups by them as one, but arrow's total order, which is behind everything else, has
//! -0.0 before 0.0: lists of IN, NULLIF, CASE … WHEN, DISTINCT aggregates, windows, orders by several keys and the
//! values that a join passes on as a filter tell them apart (of the family of apache/datafusion#24804). So there
//! the sign of zero is taken away: of the keys that are compared, never of what is given back. This can go when
//! DataFusion compares floating-point numbers in one way.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, DataFusionError, ScalarValue};
use datafusion::logical_expr::expr::{Cast, InList, Sort as SortKey};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{BinaryExpr, Case, Expr, ExprSchemable, LogicalPlan, Operator};
use datafusion::optimizer::AnalyzerRule;

use super::super::functions::{unsigned_zero, unsigned_zero_beside};

type DfResult<T> = Result<T, DataFusionError>;

/// The rule.
#[derive(Debug)]
pub(super) struct Zeros;

impl AnalyzerRule for Zeros {
    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> DfResult<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(rewrite)?.data)
    }

    fn name(&self) -> &'static str {
        "zeros"
    }
}

fn rewrite(plan: LogicalPlan) -> DfResult<Transformed<LogicalPlan>> {
    if !has_candidates(&plan)? {
        return Ok(Transformed::no(plan));
    }
    let schema = super::schema_of_inputs(&plan)?;
    let names = NamePreserver::new(&plan);
    let rewritten = super::map_each(plan, |expr| {
        let name = names.save(&expr);
        let rewritten = expr.transform_up(|expr| Ok(rewrite_expr(expr, &schema)))?;
        Ok(rewritten.update_data(|expr| name.restore(expr)))
    })?;
    let rewritten = rewritten.transform_data(|plan| Ok(rewrite_keys(plan, &schema)))?;
    if rewritten.transformed { rewritten.map_data(LogicalPlan::recompute_schema) } else { Ok(rewritten) }
}

/// Whether anything of a plan could be about zeros, whatever the types are.
fn has_candidates(plan: &LogicalPlan) -> DfResult<bool> {
    let mut found = match plan {
        LogicalPlan::Sort(sort) => sort.expr.len() > 1,
        LogicalPlan::Join(join) => !join.on.is_empty(),
        _ => false,
    };
    plan.apply_expressions(|expr| {
        found = found || expr.exists(|expr| Ok(is_candidate(expr)))?;
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

fn is_candidate(expr: &Expr) -> bool {
    match expr {
        Expr::InList(_) | Expr::WindowFunction(_) => true,
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => {
            constant(left).is_some() || constant(right).is_some()
        }
        Expr::Case(Case { expr, .. }) => expr.is_some(),
        Expr::ScalarFunction(call) => call.name() == "nullif",
        Expr::AggregateFunction(call) => call.params.distinct || call.params.order_by.len() > 1,
        _ => false,
    }
}

fn rewrite_expr(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    if !is_candidate(&expr) {
        return Transformed::no(expr);
    }
    match expr {
        Expr::InList(list) => rewrite_list(list, schema),
        Expr::BinaryExpr(equality) => rewrite_equality(equality, schema),
        Expr::Case(case) => rewrite_case(case, schema),
        Expr::ScalarFunction(mut call) => {
            let mut changed = false;
            keys(&mut call.args, schema, &mut changed);
            with(Expr::ScalarFunction(call), changed)
        }
        Expr::AggregateFunction(mut call) => {
            let mut changed = false;
            if call.params.distinct {
                keys(&mut call.params.args, schema, &mut changed);
            }
            all_but_last(&mut call.params.order_by, schema, &mut changed);
            with(Expr::AggregateFunction(call), changed)
        }
        Expr::WindowFunction(mut call) => {
            let mut changed = false;
            let params = &mut call.params;
            keys(&mut params.partition_by, schema, &mut changed);
            for sort in &mut params.order_by {
                in_place(&mut sort.expr, schema, &mut changed);
            }
            if params.distinct {
                keys(&mut params.args, schema, &mut changed);
            }
            with(Expr::WindowFunction(call), changed)
        }
        expr => Transformed::no(expr),
    }
}

/// Both zeros for each zero in a list of constants, so that bounds and Bloom filters still prune by it.
fn rewrite_list(list: InList, schema: &DFSchema) -> Transformed<Expr> {
    let InList { expr, mut list, negated } = list;
    if !is_float(&expr, schema) {
        return Transformed::no(Expr::InList(InList { expr, list, negated }));
    }
    let constants: Option<Vec<_>> = list.iter().map(constant).collect();
    let mut changed = false;
    let mut expr = expr;
    if let Some(constants) = constants {
        let zero = constants.iter().find_map(zeros);
        if let Some(zeros) = zero {
            list = list
                .into_iter()
                .zip(&constants)
                .filter(|(_, value)| !is_zero(value))
                .map(|(item, _)| item)
                .collect();
            list.extend(zeros.map(|zero| Expr::Literal(zero, None)));
            changed = true;
        }
    } else {
        in_place(&mut expr, schema, &mut changed);
        keys(&mut list, schema, &mut changed);
    }
    with(Expr::InList(InList { expr, list, negated }), changed)
}

/// `x = 0` as a list of both zeros: that they are equal is not known where a Bloom filter is asked.
fn rewrite_equality(equality: BinaryExpr, schema: &DFSchema) -> Transformed<Expr> {
    let BinaryExpr { left, op, right } = equality;
    let (zero, other) = match (constant(&left), constant(&right)) {
        (None, Some(value)) => (value, &left),
        (Some(value), None) => (value, &right),
        _ => return Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    };
    match zeros(&zero) {
        Some(zeros) if matches!(other.as_ref(), Expr::Column(_)) && is_float(other, schema) => {
            let list = zeros.map(|zero| Expr::Literal(zero, None)).to_vec();
            Transformed::yes(Expr::InList(InList { expr: other.clone(), list, negated: false }))
        }
        _ => Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })),
    }
}

fn rewrite_case(case: Case, schema: &DFSchema) -> Transformed<Expr> {
    let Case { mut expr, mut when_then_expr, else_expr } = case;
    let mut changed = false;
    if let Some(expr) = &mut expr {
        in_place(expr, schema, &mut changed);
        for (when, _) in &mut when_then_expr {
            in_place(when, schema, &mut changed);
        }
    }
    with(Expr::Case(Case { expr, when_then_expr, else_expr }), changed)
}

/// The keys of sorts and joins.
fn rewrite_keys(plan: LogicalPlan, schema: &DFSchema) -> Transformed<LogicalPlan> {
    let mut changed = false;
    let plan = match plan {
        LogicalPlan::Sort(mut sort) => {
            if let Some((_, sorts)) = sort.expr.split_last_mut() {
                for sort in sorts {
                    beside(&mut sort.expr, schema, &mut changed);
                }
            }
            LogicalPlan::Sort(sort)
        }
        LogicalPlan::Join(mut join) => {
            for (left, right) in &mut join.on {
                beside(left, schema, &mut changed);
                beside(right, schema, &mut changed);
            }
            LogicalPlan::Join(join)
        }
        plan => plan,
    };
    if changed { Transformed::yes(plan) } else { Transformed::no(plan) }
}

fn with(expr: Expr, changed: bool) -> Transformed<Expr> {
    if changed { Transformed::yes(expr) } else { Transformed::no(expr) }
}

/// The last key decides nothing between equal rows.
fn all_but_last(sorts: &mut [SortKey], schema: &DFSchema, changed: &mut bool) {
    let Some((_, sorts)) = sorts.split_last_mut() else { return };
    for sort in sorts {
        in_place(&mut sort.expr, schema, changed);
    }
}

fn keys(exprs: &mut [Expr], schema: &DFSchema, changed: &mut bool) {
    for expr in exprs {
        in_place(expr, schema, changed);
    }
}

/// `expr` without the sign of zero, if it is a floating-point number that can have one.
fn in_place(expr: &mut Expr, schema: &DFSchema, changed: &mut bool) {
    if has_sign(expr, schema) {
        *expr = unsigned_zero(std::mem::take(expr));
        *changed = true;
    }
}

/// The same for what can be computed into a column of its own, beside that of `expr`.
fn beside(expr: &mut Expr, schema: &DFSchema, changed: &mut bool) {
    if has_sign(expr, schema) {
        *expr = unsigned_zero_beside(std::mem::take(expr));
        *changed = true;
    }
}

fn has_sign(expr: &Expr, schema: &DFSchema) -> bool {
    let is_done = match expr {
        Expr::ScalarFunction(call) => call.name() == "unsigned_zero",
        expr => constant(expr).is_some_and(|value| !is_zero(&value)),
    };
    !is_done && is_float(expr, schema)
}

fn is_float(expr: &Expr, schema: &DFSchema) -> bool {
    expr.get_type(schema).is_ok_and(|data_type| data_type.is_floating())
}

/// The value of a literal, as what it is cast to.
fn constant(expr: &Expr) -> Option<ScalarValue> {
    match expr {
        Expr::Literal(value, _) => Some(value.clone()),
        Expr::Cast(Cast { expr, field }) => constant(expr)?.cast_to(field.data_type()).ok(),
        _ => None,
    }
}

fn is_zero(value: &ScalarValue) -> bool {
    zeros(value).is_some()
}

/// Both zeros, if a floating-point number is one of them.
fn zeros(value: &ScalarValue) -> Option<[ScalarValue; 2]> {
    let data_type = value.data_type();
    let is_zero = match value {
        ScalarValue::Float64(Some(value)) => *value == 0.0,
        ScalarValue::Float32(Some(value)) => *value == 0.0,
        ScalarValue::Float16(Some(value)) => value.to_f32() == 0.0,
        _ => false,
    };
    let zero = |zero: f64| match data_type {
        DataType::Float64 => Some(ScalarValue::from(zero)),
        _ => ScalarValue::from(zero).cast_to(&data_type).ok(),
    };
    if is_zero { Some([zero(0.0)?, zero(-0.0)?]) } else { None }
}
