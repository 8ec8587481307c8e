//! How wide the rows of a plan are, as far as the footers of what it reads tell.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::unnest::UnnestExec;

use super::expressions::is_of_any_size;
use crate::storage::Footer;

/// What a value is taken for of which nothing is known, in bytes.
const UNKNOWN: u64 = 32;

/// The bytes of each of some columns in a row.
type Widths = Vec<u64>;

/// Rows whose batches are about `target` bytes at each step of `plan`; `None` where as many as `most` are.
pub(in crate::engine) fn rows_at_once(
    plan: &Arc<dyn ExecutionPlan>,
    target: usize,
    most: usize,
) -> Option<usize> {
    let mut widest = Widest(0);
    widest.widths(plan);
    let rows = target as u64 / widest.0.max(1);
    (rows < most as u64).then(|| usize::try_from(rows).unwrap_or(most).max(1))
}

/// The widest row that was seen.
struct Widest(u64);

impl Widest {
    /// The widths of the columns that a plan gives.
    fn widths(&mut self, plan: &Arc<dyn ExecutionPlan>) -> Widths {
        let inputs: Vec<Widths> = plan.children().into_iter().map(|input| self.widths(input)).collect();
        let schema = plan.schema();
        let widths = if let Some(source) = plan.downcast_ref::<DataSourceExec>() {
            self.of_source(source, &schema)
        } else if let (Some(projection), [input]) = (plan.downcast_ref::<ProjectionExec>(), &inputs[..]) {
            projection
                .expr()
                .iter()
                .zip(schema.fields())
                .map(|(projected, field)| computed(&projected.expr, field.data_type(), input))
                .collect()
        } else if let (Some(aggregate), [input]) = (plan.downcast_ref::<AggregateExec>(), &inputs[..]) {
            of_aggregate(aggregate, &schema, input)
        } else if plan.is::<UnionExec>() {
            widest_of(&inputs, &schema)
        } else {
            // What a join has of both sides it has before it leaves columns out.
            if let [_, _] = &inputs[..] {
                self.note(inputs.iter().flatten());
            }
            by_name(plan, &schema, &inputs)
        };
        self.note(&widths);
        widths
    }

    fn note<'a>(&mut self, widths: impl IntoIterator<Item = &'a u64>) {
        let row = widths.into_iter().fold(0, |row: u64, width| row.saturating_add(*width));
        self.0 = self.0.max(row);
    }

    /// The widths of the columns that a scan gives. All that it reads for them counts as a row.
    fn of_source(&mut self, source: &DataSourceExec, schema: &Schema) -> Widths {
        let known = source.data_source().downcast_ref::<FileScanConfig>().and_then(|files| {
            let stored = of_files(files);
            let projection = files.file_source().projection()?;
            let filter = files.file_source().filter();
            let mut read = projection.column_indices();
            read.extend(filter.iter().flat_map(collect_columns).map(|column| column.index()));
            read.sort_unstable();
            read.dedup();
            self.note(read.iter().filter_map(|column| stored.get(*column)));
            let columns = projection.expr_iter().zip(schema.fields());
            Some(columns.map(|(expr, field)| computed(&expr, field.data_type(), &stored)).collect())
        });
        known.unwrap_or_else(|| schema.fields().iter().map(|field| of_type(field.data_type())).collect())
    }
}

/// The widths of the columns of a table, the widest that one of its files has.
fn of_files(files: &FileScanConfig) -> Widths {
    let table = files.file_source().table_schema().table_schema();
    let mut widths: Widths = table.fields().iter().map(|field| of_type(field.data_type())).collect();
    for file in files.file_groups.iter().flat_map(FileGroup::files) {
        let Some(footer) = file.extension::<Arc<Footer>>() else { continue };
        let stored = footer.widths();
        let is_same =
            table.fields().iter().zip(footer.schema.fields()).all(|(one, other)| one.name() == other.name());
        let places: HashMap<&str, usize> = if is_same {
            HashMap::new()
        } else {
            footer.schema.fields().iter().map(|field| field.name().as_str()).zip(0..).collect()
        };
        for (place, (width, field)) in widths.iter_mut().zip(table.fields()).enumerate() {
            let place = if is_same { Some(place) } else { places.get(field.name().as_str()).copied() };
            let stored = place.and_then(|place| stored.get(place));
            *width = stored.map_or(*width, |stored| (*width).max(*stored));
        }
    }
    widths
}

/// The width of what an expression makes of columns: no wider than all that it reads, as far as one can tell.
fn computed(expr: &Arc<dyn PhysicalExpr>, data_type: &DataType, input: &Widths) -> u64 {
    if let Some(column) = expr.downcast_ref::<Column>() {
        return input.get(column.index()).copied().unwrap_or_else(|| of_type(data_type));
    }
    if !is_of_any_size(data_type) {
        return of_type(data_type);
    }
    let read = collect_columns(expr).into_iter().filter_map(|column| input.get(column.index()).copied());
    of_type(data_type).max(read.fold(0, u64::saturating_add))
}

fn of_aggregate(aggregate: &AggregateExec, schema: &Schema, input: &Widths) -> Widths {
    let keys = aggregate.group_expr().expr();
    let widths = schema.fields().iter().enumerate().map(|(place, field)| match keys.get(place) {
        Some((key, _)) => computed(key, field.data_type(), input),
        // A value of many rows can be of any width; its operator counts those that it keeps.
        None => of_type(field.data_type()),
    });
    widths.collect()
}

fn widest_of(inputs: &[Widths], schema: &Schema) -> Widths {
    let widest = |place: usize| inputs.iter().filter_map(|input| input.get(place).copied()).max();
    schema
        .fields()
        .iter()
        .zip(0..)
        .map(|(field, place)| widest(place).unwrap_or_else(|| of_type(field.data_type())))
        .collect()
}

/// The widths of columns that keep their names: the widest of that name.
fn by_name(plan: &Arc<dyn ExecutionPlan>, schema: &Schema, inputs: &[Widths]) -> Widths {
    if let ([input], [child]) = (inputs, &plan.children()[..])
        && child.schema().fields() == schema.fields()
    {
        return input.clone();
    }
    let unnested = plan.downcast_ref::<UnnestExec>().map(UnnestExec::input);
    let mut named: HashMap<String, u64> = HashMap::new();
    for (child, widths) in plan.children().into_iter().zip(inputs) {
        for (field, width) in child.schema().fields().iter().zip(widths) {
            // The values of a list are not as wide as the list.
            let is_list = unnested.is_some() && field.data_type().is_nested();
            let width = if is_list { UNKNOWN } else { *width };
            let widest = named.entry(field.name().clone()).or_default();
            *widest = (*widest).max(width);
        }
    }
    let width = |field: &arrow::datatypes::FieldRef| named.get(field.name()).copied();
    schema.fields().iter().map(|field| width(field).unwrap_or_else(|| of_type(field.data_type()))).collect()
}

fn of_type(data_type: &DataType) -> u64 {
    data_type.primitive_width().map_or(UNKNOWN, |width| width as u64)
}
