//! Filters that are pushed down a plan mean the columns that they were written for.
//!
//! DataFusion 55.2 binds a filter anew at each operator that it passes, by the *name* of its columns: below a
//! join, or a projection over one, the first column of that name is another table's, whose files and row
//! groups are then left out (apache/datafusion#21246, #25244, #25262, #25263, #25296). These rules stand in the
//! place of its two. They ask the operators what filters they have themselves, and what becomes of those that
//! their inputs took or did not take, but follow a filter's columns by their places, through what is known of
//! each operator; through others no filter passes.
//!
//! They can go when DataFusion binds by place (apache/datafusion#25259, in no release yet) and tests/sqllogic
//! and tests/integration pass with its own.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, JoinSide, JoinType, internal_datafusion_err};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, conjunction};
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::buffer::BufferExec;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::execution_plan::replace_children_if_necessary;
use datafusion::physical_plan::filter::{FilterExec, FilterExecBuilder};
use datafusion::physical_plan::filter_pushdown::{
    ChildFilterPushdownResult, ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
    PushedDown,
};
use datafusion::physical_plan::joins::HashJoinExec;
use datafusion::physical_plan::joins::utils::{ColumnIndex, build_join_schema};
use datafusion::physical_plan::limit::LocalLimitExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::union::UnionExec;

use super::opaque::reveal;
use crate::safeguard::Safeguard;

type DfResult<T> = Result<T, DataFusionError>;
type Expr = Arc<dyn PhysicalExpr>;
type Plan = Arc<dyn ExecutionPlan>;
type Pushed = FilterPushdownPropagation<Plan>;

/// What an operator's columns are to one of its inputs, by their places; `None` for a column that is not the
/// input's.
type Route = Vec<Option<Expr>>;

/// The rule that pushes filters down the plan.
#[derive(Debug)]
pub(super) struct FilterPushdownByPlace {
    phase: FilterPushdownPhase,
}

impl FilterPushdownByPlace {
    /// The rule in the place of DataFusion's of that name, if it is one that pushes filters down.
    pub(super) fn instead_of(name: &str) -> Option<Self> {
        let phases = [FilterPushdownPhase::Pre, FilterPushdownPhase::Post];
        phases.into_iter().map(|phase| Self { phase }).find(|rule| rule.name() == name)
    }
}

impl PhysicalOptimizerRule for FilterPushdownByPlace {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> DfResult<Plan> {
        let pushed = Descent { phase: self.phase, config }.push(&plan, &[])?;
        Ok(pushed.updated_node.unwrap_or(plan))
    }

    fn name(&self) -> &'static str {
        match self.phase {
            FilterPushdownPhase::Pre => "FilterPushdown",
            FilterPushdownPhase::Post => "FilterPushdown(Post)",
        }
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// One way down a plan and up again.
struct Descent<'a> {
    phase: FilterPushdownPhase,
    config: &'a ConfigOptions,
}

/// What became of the filters that one input was given.
struct Answer {
    input: Plan,
    /// Of the operator above it, in the order in which it has them.
    own: Vec<PushedDown>,
    /// Of those that came to the operator from above, in their order.
    passed: Vec<PushedDown>,
}

impl Descent<'_> {
    /// Pushes `filters`, in terms of the columns of `node`, as far down as they go.
    fn push(&self, node: &Plan, filters: &[Expr]) -> DfResult<Pushed> {
        let routes = routes(node);
        let mut own = node.gather_filters_for_pushdown(self.phase, Vec::new(), self.config)?.self_filters();
        if node.downcast_ref::<AggregateExec>().is_some_and(|aggregate| !is_bounded_by_columns(aggregate))
            && Safeguard::AggregateFilters.stands()
        {
            own = vec![Vec::new(); own.len()];
        }
        let children = node.children();
        if own.len() != children.len() || routes.len() != children.len() {
            return Err(internal_datafusion_err!(
                "{} tells of filters for other inputs than it has",
                node.name()
            ));
        }
        let mut answers = Vec::with_capacity(children.len());
        for ((child, route), own) in children.into_iter().zip(&routes).zip(&own) {
            answers.push(self.ask(child, route.as_ref(), own, filters)?);
        }
        let inputs = answers.iter().map(|answer| Arc::clone(&answer.input)).collect();
        let updated = replace_children_if_necessary(Arc::clone(node), inputs)?;
        let mut pushed = self.conclude(&updated, &routes, filters, own, &answers)?;
        if pushed.updated_node.is_none() && !Arc::ptr_eq(&updated, node) {
            pushed.updated_node = Some(updated);
        }
        Ok(pushed)
    }

    /// Gives an input the filters that its operator has for it, and those from above that are its own.
    fn ask(&self, child: &Plan, route: Option<&Route>, own: &[Expr], filters: &[Expr]) -> DfResult<Answer> {
        let mut given = Vec::new();
        // For each filter whether it was given.
        let mut give = |filter: Option<Expr>| {
            let filter = filter.filter(|filter| !holds_volatile(filter));
            given.extend(filter.clone());
            filter.is_some()
        };
        let own: Vec<bool> = own.iter().map(|filter| give(Some(Arc::clone(filter)))).collect();
        let passed = filters.iter().map(|filter| -> DfResult<bool> {
            let routed = route.map(|route| follow(filter, route)).transpose()?;
            Ok(give(routed.flatten()))
        });
        let passed = passed.collect::<DfResult<Vec<bool>>>()?;
        let result = self.push(child, &given)?;
        if result.filters.len() != given.len() {
            return Err(internal_datafusion_err!("{} did not answer for each of its filters", child.name()));
        }
        let mut results = result.filters.into_iter();
        let mut answered = |was_given: Vec<bool>| -> Vec<PushedDown> {
            let one = |given: bool| if given { results.next() } else { None };
            was_given.into_iter().map(one).map(|result| result.unwrap_or(PushedDown::No)).collect()
        };
        let input = result.updated_node.unwrap_or_else(|| Arc::clone(child));
        Ok(Answer { input, own: answered(own), passed: answered(passed) })
    }

    /// What becomes of an operator whose inputs have answered.
    fn conclude(
        &self,
        node: &Plan,
        routes: &[Option<Route>],
        filters: &[Expr],
        own: Vec<Vec<Expr>>,
        answers: &[Answer],
    ) -> DfResult<Pushed> {
        if self.phase == FilterPushdownPhase::Pre {
            if let Some(filter) = node.downcast_ref::<FilterExec>() {
                return conclude_filter(filter, routes, filters, own, answers);
            }
            if let Some(union) = node.downcast_ref::<UnionExec>() {
                return conclude_union(union, routes, filters, answers);
            }
        }
        let is_scan = node.is::<DataSourceExec>();
        let parent_filter = |(place, filter): (usize, &Expr)| -> DfResult<ChildFilterPushdownResult> {
            let child_results = answers.iter().map(|answer| answer.passed[place]).collect();
            let filter = if is_scan { reveal(filter)? } else { Arc::clone(filter) };
            Ok(ChildFilterPushdownResult { filter, child_results })
        };
        let parent_filters = filters.iter().enumerate().map(parent_filter).collect::<DfResult<Vec<_>>>()?;
        let own = own.into_iter().zip(answers).map(|(filters, answer)| {
            let of = |(filter, result): (Expr, &PushedDown)| result.wrap_expression(filter);
            filters.into_iter().zip(&answer.own).map(of).collect()
        });
        let result = ChildPushdownResult { parent_filters, self_filters: own.collect() };
        node.handle_child_pushdown_result(self.phase, result, self.config)
    }
}

/// A filter that keeps what its input did not take. DataFusion's way binds filters from above by name.
fn conclude_filter(
    filter: &FilterExec,
    routes: &[Option<Route>],
    from_above: &[Expr],
    own: Vec<Vec<Expr>>,
    answers: &[Answer],
) -> DfResult<Pushed> {
    let (Some(answer), Some(route)) = (answers.first(), routes.first()) else {
        return Err(internal_datafusion_err!("a filter without input"));
    };
    let Some(route) = route else {
        // A limit is taken of the rows that this filter lets pass, not of those that others do.
        let node = keep(filter, unsupported(own.into_iter().flatten(), &answer.own).collect())?;
        return Ok(FilterPushdownPropagation {
            filters: vec![PushedDown::No; from_above.len()],
            updated_node: node,
        });
    };
    let routed = from_above.iter().map(|filter| -> DfResult<Expr> {
        follow(filter, route)?.ok_or_else(|| internal_datafusion_err!("a filter's column is not its input's"))
    });
    let routed = routed.collect::<DfResult<Vec<_>>>()?;
    let kept = unsupported(routed.into_iter(), &answer.passed)
        .chain(unsupported(own.into_iter().flatten(), &answer.own))
        .collect();
    Ok(FilterPushdownPropagation {
        filters: vec![PushedDown::Yes; from_above.len()],
        updated_node: keep(filter, kept)?,
    })
}

fn unsupported<'a>(
    filters: impl Iterator<Item = Expr> + 'a,
    results: &'a [PushedDown],
) -> impl Iterator<Item = Expr> + 'a {
    let is_kept = |(filter, result): (Expr, &PushedDown)| matches!(result, PushedDown::No).then_some(filter);
    filters.zip(results).filter_map(is_kept)
}

/// What stands in the place of `filter` where only `kept` is left to be filtered by; `None`: itself.
fn keep(filter: &FilterExec, kept: Vec<Expr>) -> DfResult<Option<Plan>> {
    let input = Arc::clone(filter.input());
    let fetch = ExecutionPlan::fetch(filter);
    if !kept.is_empty() {
        let predicate = conjunction(kept);
        if predicate.eq(filter.predicate()) {
            return Ok(None);
        }
        let left = FilterExecBuilder::new(predicate, input)
            .apply_projection_by_ref(filter.projection().as_ref())?
            .with_default_selectivity(filter.default_selectivity())
            .with_batch_size(filter.batch_size())
            .with_fetch(fetch)
            .build()?;
        return Ok(Some(Arc::new(left)));
    }
    let input = match fetch {
        None => input,
        Some(rows) => {
            let rows = input.fetch().map_or(rows, |inner| inner.min(rows));
            input.with_fetch(Some(rows)).unwrap_or_else(|| Arc::new(LocalLimitExec::new(input, rows)))
        }
    };
    let Some(projection) = filter.projection() else { return Ok(Some(input)) };
    let schema = input.schema();
    let column = |place: &usize| {
        let name = schema.field(*place).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, *place)), alias: name.clone() }
    };
    let columns: Vec<_> = projection.iter().map(column).collect();
    Ok(Some(Arc::new(ProjectionExec::try_new(columns, input)?)))
}

/// A union whose inputs each filter what they did not take, in their own columns.
fn conclude_union(
    union: &UnionExec,
    routes: &[Option<Route>],
    filters: &[Expr],
    answers: &[Answer],
) -> DfResult<Pushed> {
    let mut inputs = Vec::with_capacity(answers.len());
    let mut is_changed = false;
    let mut results = vec![PushedDown::Yes; filters.len()];
    for ((input, route), answer) in union.inputs().iter().zip(routes).zip(answers) {
        let mut kept = Vec::new();
        for ((filter, passed), result) in filters.iter().zip(&answer.passed).zip(&mut results) {
            if matches!(passed, PushedDown::Yes) {
                continue;
            }
            match route.as_ref().map(|route| follow(filter, route)).transpose()?.flatten() {
                Some(routed) => kept.push(routed),
                None => *result = PushedDown::No,
            }
        }
        is_changed |= !kept.is_empty();
        inputs.push(if kept.is_empty() {
            Arc::clone(input)
        } else {
            Arc::new(FilterExec::try_new(conjunction(kept), Arc::clone(input))?) as Plan
        });
    }
    let updated_node = if is_changed { Some(UnionExec::try_new(inputs)?) } else { None };
    Ok(FilterPushdownPropagation { filters: results, updated_node })
}

/// Whether a filter is another one each time that it is evaluated.
fn holds_volatile(filter: &Expr) -> bool {
    filter.exists(|expr| Ok(is_volatile(expr))).unwrap_or(true)
}

/// `filter` in terms of an input; `None` where a column of it is not the input's.
fn follow(filter: &Expr, route: &Route) -> DfResult<Option<Expr>> {
    let mut is_known = true;
    let followed = Arc::clone(filter).transform_down(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        if let Some(meant) = route.get(column.index()).cloned().flatten() {
            // It is in the input's terms already.
            Ok(Transformed::new(meant, true, TreeNodeRecursion::Jump))
        } else {
            is_known = false;
            Ok(Transformed::new(expr, false, TreeNodeRecursion::Stop))
        }
    });
    let followed = followed.data()?;
    Ok(is_known.then_some(followed))
}

/// The route to each input of `node`; `None` for an input to which no filter from above may pass.
fn routes(node: &Plan) -> Vec<Option<Route>> {
    let children = node.children();
    let closed = || vec![None; children.len()];
    // The rows that a limit takes are among those that come to it without a filter from above.
    if node.fetch().is_some() {
        return closed();
    }
    if let Some(projection) = node.downcast_ref::<ProjectionExec>() {
        let exprs = projection.expr().iter();
        let routed = |projected: &ProjectionExpr| Some(Arc::clone(&projected.expr));
        let routed = |projected| routed(projected).filter(|expr| !holds_volatile(expr));
        return vec![Some(exprs.map(routed).collect())];
    }
    if let Some(filter) = node.downcast_ref::<FilterExec>() {
        let schema = filter.input().schema();
        return vec![Some(match filter.projection() {
            Some(projection) => projection.iter().map(|place| column(&schema, *place)).collect(),
            None => columns(&schema),
        })];
    }
    if let Some(join) = node.downcast_ref::<HashJoinExec>() {
        return join_routes(join);
    }
    if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
        return vec![group_route(aggregate)];
    }
    if node.is::<UnionExec>() {
        let route = |child: &&Plan| same_types(node, child).then(|| columns(&child.schema()));
        return children.iter().map(route).collect();
    }
    let keeps_columns = node.is::<RepartitionExec>()
        || node.is::<CoalescePartitionsExec>()
        || node.is::<CooperativeExec>()
        || node.is::<BufferExec>()
        || node.is::<SortExec>();
    match children.as_slice() {
        [child] if keeps_columns => vec![Some(columns(&child.schema()))],
        _ => closed(),
    }
}

fn column(schema: &Schema, place: usize) -> Option<Expr> {
    let field = schema.fields().get(place)?;
    Some(Arc::new(Column::new(field.name(), place)))
}

fn columns(schema: &Schema) -> Route {
    (0..schema.fields().len()).map(|place| column(schema, place)).collect()
}

fn same_types(node: &Plan, child: &Plan) -> bool {
    let (node, child) = (node.schema(), child.schema());
    node.fields().len() == child.fields().len()
        && node.fields().iter().zip(child.fields()).all(|(node, child)| node.data_type() == child.data_type())
}

/// A group is there or not as its rows are, judged by what it is grouped by; but one of no columns is there without rows.
fn group_route(aggregate: &AggregateExec) -> Option<Route> {
    let group_by = aggregate.group_expr();
    let is_there_anyway = group_by.is_true_no_grouping()
        || group_by.groups().iter().any(|nulls| nulls.iter().all(|is_null| *is_null));
    if is_there_anyway || aggregate.limit_options().is_some() {
        return None;
    }
    let schema = aggregate.input().schema();
    let key = |(place, (expr, _)): (usize, &(Expr, String))| {
        let is_always_given = group_by.groups().iter().all(|nulls| nulls.get(place) != Some(&true));
        let key = expr.downcast_ref::<Column>().filter(|_| is_always_given)?;
        column(&schema, key.index())
    };
    Some(group_by.expr().iter().enumerate().map(key).collect())
}

/// Whether rows that cannot change the minima and maxima of *columns* change no result of an aggregation. DataFusion
/// overlooks what it computes of expressions: rows that matter only to these would be skipped.
fn is_bounded_by_columns(aggregate: &AggregateExec) -> bool {
    aggregate
        .aggr_expr()
        .iter()
        .all(|call| matches!(call.expressions().as_slice(), [one] if one.is::<Column>()))
}

/// The routes to both sides of a join: to a side all of whose rows that pass come out again, unfilled with NULLs.
fn join_routes(join: &HashJoinExec) -> Vec<Option<Route>> {
    use JoinType::{Full, Inner, Left, LeftAnti, LeftMark, LeftSemi, Right, RightAnti, RightMark, RightSemi};
    let (to_left, to_right) = match join.join_type() {
        Left | LeftAnti | LeftMark => (true, false),
        Right | RightAnti | RightMark => (false, true),
        // Of semi joins the other side matters only by its keys, and is filtered by these.
        Inner | LeftSemi | RightSemi => (true, true),
        Full => (false, false),
    };
    let (left, right) = (join.left().schema(), join.right().schema());
    let (_, places) = build_join_schema(&left, &right, join.join_type());
    let places: Vec<&ColumnIndex> = match join.projection.as_deref() {
        Some(projection) => projection.iter().filter_map(|place| places.get(*place)).collect(),
        None => places.iter().collect(),
    };
    let route = |side: JoinSide, schema: &Schema| -> Route {
        let to = |place: &&ColumnIndex| {
            if place.side == side { column(schema, place.index) } else { equal_key(join, place) }
        };
        places.iter().map(to).collect()
    };
    vec![to_left.then(|| route(JoinSide::Left, &left)), to_right.then(|| route(JoinSide::Right, &right))]
}

/// What a semi join's column is equal to on the side whose columns do not come out of it: a key that is the
/// same value bit by bit, which equal floats need not be.
fn equal_key(join: &HashJoinExec, place: &ColumnIndex) -> Option<Expr> {
    let side = match join.join_type() {
        JoinType::LeftSemi => JoinSide::Left,
        JoinType::RightSemi => JoinSide::Right,
        _ => return None,
    };
    let (left, right) = (join.left().schema(), join.right().schema());
    join.on().iter().find_map(|(in_left, in_right)| {
        let (in_left, in_right) = (in_left.downcast_ref::<Column>()?, in_right.downcast_ref::<Column>()?);
        let (have, other) = if side == JoinSide::Left { (in_left, in_right) } else { (in_right, in_left) };
        if place.side != side || have.index() != place.index {
            return None;
        }
        let field = left.fields().get(in_left.index())?;
        let other_field = right.fields().get(in_right.index())?;
        let is_same = field.data_type() == other_field.data_type() && !field.data_type().is_floating();
        let schema = if side == JoinSide::Left { &right } else { &left };
        if is_same && !field.data_type().is_nested() { column(schema, other.index()) } else { None }
    })
}

#[cfg(test)]
mod tests {
    use arrow::compute::SortOptions;
    use arrow::datatypes::{DataType, Field, SchemaRef};
    use datafusion::common::NullEquality;
    use datafusion::datasource::listing::PartitionedFile;
    use datafusion::datasource::object_store::ObjectStoreUrl;
    use datafusion::datasource::physical_plan::{FileScanConfigBuilder, ParquetSource};
    use datafusion::functions_aggregate::min_max::min_udaf;
    use datafusion::logical_expr::Operator;
    use datafusion::physical_expr::aggregate::AggregateExprBuilder;
    use datafusion::physical_expr::expressions::{IsNullExpr, binary, lit};
    use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
    use datafusion::physical_plan::aggregates::{AggregateMode, PhysicalGroupBy};
    use datafusion::physical_plan::displayable;
    use datafusion::physical_plan::joins::PartitionMode;

    use super::*;

    fn scan(file: &str, columns: &[&str]) -> Plan {
        let fields = columns.iter().map(|name| Field::new(*name, DataType::Int64, true));
        let schema: SchemaRef = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let source = Arc::new(ParquetSource::new(schema));
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file(PartitionedFile::new(file, 1));
        DataSourceExec::from_data_source(scan.build())
    }

    /// The tables `x` and `y`, both with columns `id` and `b`, joined by `b`: `x.id, x.b, y.id, y.b`.
    fn joined(join_type: JoinType) -> Plan {
        let on: Vec<(Expr, Expr)> = vec![(Arc::new(Column::new("b", 1)), Arc::new(Column::new("b", 1)))];
        let (mode, nulls) = (PartitionMode::CollectLeft, NullEquality::NullEqualsNothing);
        let (x, y) = (scan("x", &["id", "b"]), scan("y", &["id", "b"]));
        Arc::new(HashJoinExec::try_new(x, y, on, None, &join_type, None, mode, nulls, false).unwrap())
    }

    fn projected(input: Plan, columns: &[(&str, usize, &str)]) -> Plan {
        let expr = |(name, place, alias): &(&str, usize, &str)| ProjectionExpr {
            expr: Arc::new(Column::new(name, *place)),
            alias: (*alias).to_owned(),
        };
        Arc::new(ProjectionExec::try_new(columns.iter().map(expr).collect::<Vec<_>>(), input).unwrap())
    }

    fn is_null(name: &str, place: usize) -> Expr {
        Arc::new(IsNullExpr::new(Arc::new(Column::new(name, place))))
    }

    fn filtered(input: Plan, predicate: Expr) -> Plan {
        Arc::new(FilterExec::try_new(predicate, input).unwrap())
    }

    fn first(input: Plan, name: &str, place: usize) -> Plan {
        let key =
            PhysicalSortExpr { expr: Arc::new(Column::new(name, place)), options: SortOptions::default() };
        Arc::new(SortExec::new(LexOrdering::new([key]).unwrap(), input).with_fetch(Some(1)))
    }

    /// The plan after the rule, and for each table what it is skipped by.
    fn pushed(name: &str, plan: Plan) -> (String, [String; 2]) {
        let rule = FilterPushdownByPlace::instead_of(name).unwrap();
        let plan = rule.optimize(plan, &ConfigOptions::new()).unwrap();
        let shown = displayable(plan.as_ref()).indent(false).to_string();
        let of = |file: &str| {
            let line = shown.lines().find(|line| line.contains(&format!("[[{file}]]"))).unwrap();
            let predicate = line.split_once(" predicate=").map_or("", |(_, rest)| rest);
            predicate.split(", pruning_predicate").next().unwrap().to_owned()
        };
        let by_table = [of("x"), of("y")];
        (shown, by_table)
    }

    fn none() -> String {
        String::new()
    }

    #[test]
    fn a_filter_above_an_outer_join_does_not_reach_the_other_table() {
        for (join_type, place, expected) in [
            (JoinType::Right, 0, [none(), none()]),
            (JoinType::Right, 2, [none(), "id@0 IS NULL".to_owned()]),
            (JoinType::Left, 0, ["id@0 IS NULL".to_owned(), none()]),
            (JoinType::Left, 2, [none(), none()]),
            (JoinType::Full, 0, [none(), none()]),
            (JoinType::Inner, 2, [none(), "id@0 IS NULL".to_owned()]),
        ] {
            let (shown, seen) = pushed("FilterPushdown", filtered(joined(join_type), is_null("id", place)));
            assert_eq!(seen, expected, "{join_type}, column {place}");
            assert!(shown.contains("FilterExec"), "what a scan does not filter by stays: {shown}");
        }
    }

    #[test]
    fn a_projection_is_passed_by_the_place_of_a_column() {
        // y.id, x.id: the names are those of the other order.
        let swapped = projected(joined(JoinType::Inner), &[("id", 2, "id"), ("id", 0, "id")]);
        let (_, seen) = pushed("FilterPushdown", filtered(Arc::clone(&swapped), is_null("id", 0)));
        assert_eq!(seen, [none(), "id@0 IS NULL".to_owned()]);
        let (_, seen) = pushed("FilterPushdown", filtered(swapped, is_null("id", 1)));
        assert_eq!(seen, ["id@0 IS NULL".to_owned(), none()]);
        let renamed = projected(joined(JoinType::Inner), &[("b", 1, "id"), ("id", 0, "b")]);
        let (_, seen) = pushed("FilterPushdown", filtered(renamed, is_null("id", 0)));
        assert_eq!(seen, ["b@1 IS NULL".to_owned(), none()]);
    }

    #[test]
    fn the_bound_of_a_sort_goes_to_the_table_that_it_sorts_by() {
        let (shown, [x, y]) = pushed("FilterPushdown(Post)", first(joined(JoinType::Inner), "id", 2));
        assert!(!x.contains("DynamicFilter") && y.matches("DynamicFilter").count() == 2, "{shown}");
        let swapped = projected(joined(JoinType::Inner), &[("id", 2, "id"), ("id", 0, "id")]);
        let (shown, [x, y]) = pushed("FilterPushdown(Post)", first(swapped, "id", 1));
        assert!(x.contains("DynamicFilter") && y.matches("DynamicFilter").count() == 1, "{shown}");
    }

    #[test]
    fn a_limit_is_taken_before_a_filter_above_it() {
        let limited = FilterExecBuilder::new(is_null("b", 1), joined(JoinType::Inner)).with_fetch(Some(5));
        let plan = filtered(Arc::new(limited.build().unwrap()), is_null("id", 0));
        let (shown, seen) = pushed("FilterPushdown", plan);
        assert_eq!(seen, ["b@1 IS NULL".to_owned(), none()], "{shown}");
        assert!(shown.contains("FilterExec: id@0 IS NULL\n"), "{shown}");
    }

    #[test]
    fn groups_are_filtered_by_what_they_are_grouped_by() {
        let join = joined(JoinType::Inner);
        let sum = binary(Arc::new(Column::new("id", 0)), Operator::Plus, lit(1_i64), &join.schema());
        let keys =
            vec![(sum.unwrap(), "b".to_owned()), (Arc::new(Column::new("id", 2)) as Expr, "id".to_owned())];
        let schema = join.schema();
        let grouped = AggregateExec::try_new(
            AggregateMode::Single,
            PhysicalGroupBy::new_single(keys),
            vec![],
            vec![],
            join,
            schema,
        );
        let grouped: Plan = Arc::new(grouped.unwrap());
        let (_, seen) = pushed("FilterPushdown", filtered(Arc::clone(&grouped), is_null("b", 0)));
        assert_eq!(seen, [none(), none()], "a name that means another column below");
        let (_, seen) = pushed("FilterPushdown", filtered(grouped, is_null("id", 1)));
        assert_eq!(seen, [none(), "id@0 IS NULL".to_owned()]);
    }

    #[test]
    fn minima_of_expressions_leave_no_rows_out() {
        let minima = |arguments: Vec<Expr>| -> Plan {
            let join = joined(JoinType::Inner);
            let call = |(place, argument): (usize, Expr)| {
                let builder = AggregateExprBuilder::new(min_udaf(), vec![argument]);
                Arc::new(builder.schema(join.schema()).alias(format!("m{place}")).build().unwrap())
            };
            let calls: Vec<_> = arguments.into_iter().enumerate().map(call).collect();
            let (filters, schema) = (vec![None; calls.len()], join.schema());
            let (mode, groups) = (AggregateMode::Partial, PhysicalGroupBy::new_single(vec![]));
            Arc::new(AggregateExec::try_new(mode, groups, calls, filters, join, schema).unwrap())
        };
        let id: Expr = Arc::new(Column::new("id", 0));
        let schema = joined(JoinType::Inner).schema();
        let more = binary(Arc::clone(&id), Operator::Plus, lit(1_i64), &schema).unwrap();
        let (shown, [x, _]) = pushed("FilterPushdown(Post)", minima(vec![Arc::clone(&id)]));
        assert!(x.contains("DynamicFilter"), "{shown}");
        let (shown, [x, _]) = pushed("FilterPushdown(Post)", minima(vec![id, more]));
        assert!(!x.contains("DynamicFilter"), "{shown}");
    }
}
