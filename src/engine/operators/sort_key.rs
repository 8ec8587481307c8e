//! Sorts by several columns of integers, dates, times or booleans as sorts by one column.
//!
//! DataFusion compares rows of several keys byte by byte, as many sorted runs as it has batches at a time; rows
//! of one number it compares as numbers, in fewer runs. So a sort whose keys fit into 127 bits together
//! sorts by these bits, and the key columns are taken out of them again behind it: they need not be moved
//! besides.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, PrimitiveArray, RecordBatch};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::compute::{SortOptions, cast};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, FieldRef, Int8Type, Int16Type, Int32Type, Int64Type, Schema,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, internal_err};
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};

use crate::engine::BATCH_ROWS;

type DfResult<T> = Result<T, DataFusionError>;

/// The column that is sorted by.
const KEY: &str = "__airstrip_sort_key";
/// The type of that column: its 128 bits are compared as a number, and all of ours are positive.
const KEY_TYPE: DataType = DataType::Decimal128(38, 0);
const KEY_BITS: u32 = 127;

/// The rule that rewrites sorts at the top of a plan, where no other operator relies on what is known of
/// their order.
#[derive(Debug)]
pub(in crate::engine) struct OneSortKey;

impl PhysicalOptimizerRule for OneSortKey {
    fn optimize(&self, plan: Arc<dyn ExecutionPlan>, _: &ConfigOptions) -> DfResult<Arc<dyn ExecutionPlan>> {
        let rewritten = rewrite(&plan)?.filter(|rewritten| rewritten.schema() == plan.schema());
        Ok(rewritten.unwrap_or(plan))
    }

    fn name(&self) -> &'static str {
        "one_sort_key"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with its topmost sort rewritten, if there is one that can be.
fn rewrite(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(sort) = plan.downcast_ref::<SortExec>() {
        return sort_by_key(sort, false);
    }
    if let Some(merge) = plan.downcast_ref::<SortPreservingMergeExec>() {
        return merge_by_key(merge);
    }
    if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
        let Some(input) = rewrite(projection.input())? else { return Ok(None) };
        return project(projection, input).map(Some);
    }
    Ok(None)
}

fn project(projection: &ProjectionExec, input: Arc<dyn ExecutionPlan>) -> DfResult<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(ProjectionExec::try_new(projection.expr().to_vec(), input)?))
}

/// A merge of what is sorted apart: both by the key, and a projection between them behind both.
fn merge_by_key(merge: &SortPreservingMergeExec) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let projection = merge.input().downcast_ref::<ProjectionExec>();
    let below = projection.map_or(merge.input(), ProjectionExec::input);
    let Some(sort) = below.downcast_ref::<SortExec>() else { return Ok(None) };
    // What a column of the merge is to the sort.
    let sorted = |expr: &Arc<dyn PhysicalExpr>| match projection {
        None => Some(Arc::clone(expr)),
        Some(projection) => {
            let column = expr.downcast_ref::<Column>()?;
            projection.expr().get(column.index()).map(|projected| Arc::clone(&projected.expr))
        }
    };
    let is_same = merge.expr().len() == sort.expr().len()
        && merge.expr().iter().zip(sort.expr()).all(|(merged, key)| {
            merged.options == key.options && sorted(&merged.expr).is_some_and(|expr| *expr == *key.expr)
        });
    if merge.fetch().is_some() || !is_same {
        return Ok(None);
    }
    let Some(by_key) = sort_by_key(sort, true)? else { return Ok(None) };
    match projection {
        Some(projection) => project(projection, by_key).map(Some),
        None => Ok(Some(by_key)),
    }
}

fn sort_by_key(sort: &SortExec, merged: bool) -> DfResult<Option<Arc<dyn ExecutionPlan>>> {
    let input = sort.input();
    let schema = input.schema();
    if sort.fetch().is_some() || sort.expr().len() < 2 || schema.column_with_name(KEY).is_some() {
        return Ok(None);
    }
    let Some(parts) = parts(sort.expr(), &schema) else { return Ok(None) };
    let is_key = |column: usize| parts.iter().any(|part| part.column.index() == column);
    let others: Vec<_> = (0..schema.fields().len()).filter(|column| !is_key(*column)).collect();

    let column = |index: usize, name: &str| Arc::new(Column::new(name, index)) as Arc<dyn PhysicalExpr>;
    let moved = others.iter().map(|index| {
        let name = schema.field(*index).name();
        ProjectionExpr::new(column(*index, name), name)
    });
    let packed = ProjectionExpr::new(Arc::new(Pack { parts: parts.clone() }), KEY);
    let packed = ProjectionExec::try_new(moved.chain([packed]).collect::<Vec<_>>(), Arc::clone(input))?;

    let key = Column::new(KEY, others.len());
    let options = SortOptions { descending: false, nulls_first: false };
    let order = LexOrdering::from([PhysicalSortExpr::new(Arc::new(key.clone()), options)]);
    let sorted = SortExec::new(order.clone(), Arc::new(packed))
        .with_preserve_partitioning(sort.preserve_partitioning());
    let mut sorted: Arc<dyn ExecutionPlan> = Arc::new(sorted);
    if merged && sorted.output_partitioning().partition_count() > 1 {
        sorted = Arc::new(SortPreservingMergeExec::new(order, sorted));
    }

    let restored = schema.fields().iter().enumerate().map(|(index, field)| {
        let part = parts.iter().find(|part| part.column.index() == index);
        let expr = match (part, others.iter().position(|other| *other == index)) {
            (Some(part), _) => Arc::new(Unpack { key: key.clone(), part: part.clone() }),
            (None, place) => column(place.unwrap_or(index), field.name()),
        };
        ProjectionExpr::new(expr, field.name())
    });
    Ok(Some(Arc::new(ProjectionExec::try_new(restored.collect::<Vec<_>>(), sorted)?)))
}

/// Rows of the batches that a plan is to work on, if it is a sort of what it reads and nothing else, of columns whose
/// values all take the same, at every step: batches of half of what is sorted at once.
///
/// Of smaller batches DataFusion makes larger ones before it sorts them, when it has all: for a moment there is
/// everything twice. Who chose the rows of batches gets those.
pub(in crate::engine) fn rows_of_runs(
    plan: &Arc<dyn ExecutionPlan>,
    options: &ConfigOptions,
) -> Option<usize> {
    let execution = &options.execution;
    let (mut below, mut is_sorted, mut widest) = (plan, false, row_bytes(&plan.schema())?);
    while !below.is::<DataSourceExec>() {
        let is_passed = below.is::<ProjectionExec>() || below.is::<CooperativeExec>();
        match below.downcast_ref::<SortExec>() {
            Some(sort) if sort.fetch().is_none() && sort.expr().len() == 1 => is_sorted = true,
            _ if is_passed || below.is::<SortPreservingMergeExec>() => {}
            _ => return None,
        }
        let [input] = below.children()[..] else { return None };
        below = input;
        widest = widest.max(row_bytes(&below.schema())?);
    }
    let is_chosen = execution.batch_size.get() != BATCH_ROWS;
    if !is_sorted || is_chosen || !gives_what_it_reads(below) {
        return None;
    }
    Some((execution.sort_in_place_threshold_bytes / 2 / widest.max(1)).max(BATCH_ROWS))
}

/// Bytes of a row, if all rows take the same.
fn row_bytes(schema: &Schema) -> Option<usize> {
    schema.fields().iter().map(|field| field.data_type().primitive_width()).sum()
}

/// Whether a scan reads only the columns that it gives: it can compute, and filter by, others of any size.
fn gives_what_it_reads(scan: &Arc<dyn ExecutionPlan>) -> bool {
    let source = scan.downcast_ref::<DataSourceExec>().map(DataSourceExec::data_source);
    let Some(files) = source.and_then(|source| source.downcast_ref::<FileScanConfig>()) else { return true };
    let files = files.file_source();
    let is_plain =
        files.projection().is_some_and(|columns| columns.expr_iter().all(|expr| expr.is::<Column>()));
    is_plain && files.filter().is_none()
}

/// A column's share of the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Part {
    column: Column,
    field: FieldRef,
    /// The type whose numbers are in order as the column's values are.
    integer: DataType,
    /// Bits of a value.
    width: u32,
    /// Bits of the key behind this part.
    shift: u32,
    descending: bool,
    nulls_first: bool,
}

impl Part {
    /// The bits of the value, before they are shifted.
    fn mask(&self) -> u64 {
        u64::MAX >> (64 - self.width)
    }

    /// Bits of the part: those of the value, and one for NULL.
    fn bits(&self) -> u32 {
        self.width + u32::from(self.field.is_nullable())
    }
}

/// The shares of the sort's keys, if all of them are columns which fit into one key.
fn parts(order: &LexOrdering, schema: &Schema) -> Option<Vec<Part>> {
    let part = |sort: &PhysicalSortExpr| {
        let column = sort.expr.downcast_ref::<Column>()?.clone();
        let field = Arc::clone(schema.fields().get(column.index())?);
        let (integer, width) = integer(field.data_type())?;
        let SortOptions { descending, nulls_first } = sort.options;
        Some(Part { column, field, integer, width, shift: 0, descending, nulls_first })
    };
    let mut parts = order.iter().map(part).collect::<Option<Vec<_>>>()?;
    let mut behind = 0;
    for part in parts.iter_mut().rev() {
        part.shift = behind;
        behind += part.bits();
    }
    (behind <= KEY_BITS).then_some(parts)
}

/// The integers that a type's values are in order as, and how many bits of them are used.
fn integer(data_type: &DataType) -> Option<(DataType, u32)> {
    Some(match data_type {
        DataType::Boolean => (DataType::UInt8, 1),
        DataType::Int8 | DataType::UInt8 => (data_type.clone(), 8),
        DataType::Int16 | DataType::UInt16 => (data_type.clone(), 16),
        DataType::Int32 | DataType::UInt32 => (data_type.clone(), 32),
        DataType::Int64 | DataType::UInt64 => (data_type.clone(), 64),
        DataType::Date32 | DataType::Time32(_) => (DataType::Int32, 32),
        DataType::Date64 | DataType::Time64(_) | DataType::Timestamp(..) | DataType::Duration(_) => {
            (DataType::Int64, 64)
        }
        _ => return None,
    })
}

/// An integer as a number of the same order that is not negative.
trait Ordered: ArrowPrimitiveType {
    fn rank(value: Self::Native) -> u64;
    fn value(rank: u64) -> Self::Native;
}

macro_rules! ordered {
    ($($arrow:ty, $native:ty, $unsigned:ty);+) => {$(
        // Bits are moved, whatever number they are.
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss)]
        #[allow(clippy::cast_lossless, trivial_numeric_casts)]
        impl Ordered for $arrow {
            fn rank(value: $native) -> u64 {
                u64::from(value.wrapping_sub(<$native>::MIN) as $unsigned)
            }

            fn value(rank: u64) -> $native {
                (rank as $native).wrapping_add(<$native>::MIN)
            }
        }
    )+};
}

ordered!(
    Int8Type, i8, u8; Int16Type, i16, u16; Int32Type, i32, u32; Int64Type, i64, u64;
    UInt8Type, u8, u8; UInt16Type, u16, u16; UInt32Type, u32, u32; UInt64Type, u64, u64
);

/// Calls a function of one type parameter with the type of an integer.
macro_rules! with_integer {
    ($data_type:expr, $function:ident($($argument:expr),*)) => {
        match $data_type {
            DataType::Int8 => $function::<Int8Type>($($argument),*),
            DataType::Int16 => $function::<Int16Type>($($argument),*),
            DataType::Int32 => $function::<Int32Type>($($argument),*),
            DataType::Int64 => $function::<Int64Type>($($argument),*),
            DataType::UInt8 => $function::<UInt8Type>($($argument),*),
            DataType::UInt16 => $function::<UInt16Type>($($argument),*),
            DataType::UInt32 => $function::<UInt32Type>($($argument),*),
            DataType::UInt64 => $function::<UInt64Type>($($argument),*),
            other => return internal_err!("{other} is no part of a sort key"),
        }
    };
}

/// The key of the columns in a batch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pack {
    parts: Vec<Part>,
}

impl fmt::Display for Pack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.parts.iter();
        write!(f, "sort_key(")?;
        if let Some(part) = parts.next() {
            write!(f, "{}", part.column)?;
        }
        parts.try_for_each(|part| write!(f, ", {}", part.column))?;
        write!(f, ")")
    }
}

impl PhysicalExpr for Pack {
    fn return_field(&self, _: &Schema) -> DfResult<FieldRef> {
        Ok(Arc::new(Field::new(KEY, KEY_TYPE, false)))
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let mut keys = vec![0; batch.num_rows()];
        for part in &self.parts {
            let values = cast(batch.column(part.column.index()), &part.integer)?;
            with_integer!(&part.integer, pack(part, &values, &mut keys));
        }
        let keys = Decimal128Array::from(keys).with_data_type(KEY_TYPE);
        Ok(ColumnarValue::Array(Arc::new(keys)))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn PhysicalExpr>>) -> DfResult<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Adds the bits of a part behind those that `keys` have.
fn pack<T: Ordered>(part: &Part, values: &ArrayRef, keys: &mut [i128]) {
    let values = values.as_primitive::<T>();
    let flip = if part.descending { part.mask() } else { 0 };
    for (key, value) in keys.iter_mut().zip(values.values()) {
        *key = (*key << part.bits()) | i128::from(T::rank(*value) ^ flip);
    }
    if part.field.is_nullable() {
        let value_bit = i128::from(part.nulls_first) << part.width;
        let null_bit = i128::from(!part.nulls_first) << part.width;
        for key in keys.iter_mut() {
            *key |= value_bit;
        }
        if let Some(nulls) = values.nulls() {
            for row in (0..values.len()).filter(|row| nulls.is_null(*row)) {
                keys[row] = ((keys[row] >> part.bits()) << part.bits()) | null_bit;
            }
        }
    }
}

/// A column out of the key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Unpack {
    key: Column,
    part: Part,
}

impl fmt::Display for Unpack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.part.column.name(), self.key)
    }
}

impl PhysicalExpr for Unpack {
    fn return_field(&self, _: &Schema) -> DfResult<FieldRef> {
        Ok(Arc::clone(&self.part.field))
    }

    fn evaluate(&self, batch: &RecordBatch) -> DfResult<ColumnarValue> {
        let keys = self.key.evaluate(batch)?.into_array(batch.num_rows())?;
        let keys = keys.as_primitive_opt::<arrow::datatypes::Decimal128Type>();
        let Some(keys) = keys else { return internal_err!("a sort key is no number") };
        let part = &self.part;
        let values = with_integer!(&part.integer, unpack(part, keys.values()));
        Ok(ColumnarValue::Array(cast(&values, part.field.data_type())?))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        Vec::new()
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn PhysicalExpr>>) -> DfResult<Arc<dyn PhysicalExpr>> {
        Ok(self)
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The values of a part.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Each is cut to the bits of the part.
fn unpack<T: Ordered>(part: &Part, keys: &[i128]) -> ArrayRef {
    let flip = if part.descending { part.mask() } else { 0 };
    let rank = |key: &i128| (key >> part.shift) as u64 & part.mask();
    let values = keys.iter().map(|key| T::value(rank(key) ^ flip)).collect::<Vec<_>>();
    let nulls = part.field.is_nullable().then(|| {
        let is_valid = |row: usize| ((keys[row] >> (part.shift + part.width)) & 1 == 1) == part.nulls_first;
        NullBuffer::new(BooleanBuffer::collect_bool(keys.len(), is_valid))
    });
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls.filter(|nulls| nulls.null_count() > 0)))
}

#[cfg(test)]
mod tests {
    use arrow::array::{BooleanArray, Int64Array, UInt64Array};
    use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take};
    use arrow::datatypes::TimeUnit;
    use datafusion::datasource::memory::MemorySourceConfig;
    use datafusion::physical_plan::{collect, displayable};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;

    use super::*;

    const TYPES: [DataType; 9] = [
        DataType::Boolean,
        DataType::Int8,
        DataType::UInt8,
        DataType::Int16,
        DataType::UInt16,
        DataType::Int32,
        DataType::UInt32,
        DataType::Date32,
        DataType::Time32(TimeUnit::Second),
    ];
    const WIDE: [DataType; 5] = [
        DataType::Int64,
        DataType::UInt64,
        DataType::Date64,
        DataType::Timestamp(TimeUnit::Nanosecond, None),
        DataType::Duration(TimeUnit::Second),
    ];

    /// A column of `data_type` with the numbers' bits for values.
    fn column(data_type: &DataType, numbers: &[Option<i64>]) -> ArrayRef {
        let narrow = |bits: u32| numbers.iter().map(|n| n.map(|n| n >> (64 - bits))).collect::<Int64Array>();
        let unsigned = |bits: u32| {
            numbers.iter().map(|n| n.map(|n| n.cast_unsigned() >> (64 - bits))).collect::<UInt64Array>()
        };
        let array: ArrayRef = match integer(data_type).unwrap() {
            (_, 1) => Arc::new(numbers.iter().map(|n| n.map(|n| n < 0)).collect::<BooleanArray>()),
            (DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64, bits) => {
                cast(&unsigned(bits), &integer(data_type).unwrap().0).unwrap()
            }
            (integer, bits) => cast(&narrow(bits), &integer).unwrap(),
        };
        cast(&array, data_type).unwrap()
    }

    /// The plan of a sort of two partitions, as DataFusion makes it: what is projected goes between.
    fn sorted(batches: &[RecordBatch], options: &[SortOptions], projected: bool) -> Arc<dyn ExecutionPlan> {
        let schema = batches[0].schema();
        let input = MemorySourceConfig::try_new_exec(
            &[batches.to_vec(), batches.to_vec()],
            Arc::clone(&schema),
            None,
        );
        let order = options.iter().enumerate().map(|(index, options)| {
            PhysicalSortExpr::new(Arc::new(Column::new(schema.field(index).name(), index)), *options)
        });
        let order = LexOrdering::new(order).unwrap();
        let sort = SortExec::new(order.clone(), input.unwrap()).with_preserve_partitioning(true);
        let sort: Arc<dyn ExecutionPlan> = Arc::new(sort);
        if !projected {
            return Arc::new(SortPreservingMergeExec::new(order, sort));
        }
        let last = schema.fields().len() - 1;
        let turned = (0..=last).rev().map(|index| {
            let name = schema.field(index).name();
            ProjectionExpr::new(Arc::new(Column::new(name, index)), name)
        });
        let turned = ProjectionExec::try_new(turned.collect::<Vec<_>>(), sort).unwrap();
        let order = order.iter().map(|key| {
            let column = key.expr.downcast_ref::<Column>().unwrap();
            PhysicalSortExpr::new(Arc::new(Column::new(column.name(), last - column.index())), key.options)
        });
        let order = LexOrdering::new(order).unwrap();
        let merged = Arc::new(SortPreservingMergeExec::new(order, Arc::new(turned)));
        let back = (0..=last).map(|index| {
            let name = schema.field(index).name();
            ProjectionExpr::new(Arc::new(Column::new(name, last - index)), name)
        });
        Arc::new(ProjectionExec::try_new(back.collect::<Vec<_>>(), merged).unwrap())
    }

    fn optimized(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        OneSortKey.optimize(Arc::clone(plan), &ConfigOptions::new()).unwrap()
    }

    fn is_by_key(plan: &Arc<dyn ExecutionPlan>) -> bool {
        displayable(plan.as_ref()).indent(false).to_string().contains("sort_key(")
    }

    /// The rows of a plan.
    fn rows(plan: Arc<dyn ExecutionPlan>) -> RecordBatch {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let schema = plan.schema();
        let batches = runtime.block_on(collect(plan, SessionContext::new().task_ctx())).unwrap();
        concat_batches(&schema, &batches).unwrap()
    }

    fn batch(types: &[(DataType, bool)], numbers: &[Vec<Option<i64>>]) -> RecordBatch {
        let mut fields: Vec<_> = types
            .iter()
            .enumerate()
            .map(|(index, (data_type, nullable))| {
                Field::new(format!("c{index}"), data_type.clone(), *nullable)
            })
            .collect();
        let mut columns: Vec<ArrayRef> = types
            .iter()
            .zip(numbers)
            .map(|((data_type, nullable), numbers)| {
                let numbers: Vec<_> =
                    numbers.iter().map(|n| if *nullable { *n } else { Some(n.unwrap_or(0)) }).collect();
                column(data_type, &numbers)
            })
            .collect();
        fields.push(Field::new("row", DataType::Int64, false));
        columns.push(Arc::new(Int64Array::from_iter_values((0..).take(numbers[0].len()))));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn numbers(rows: usize) -> impl Strategy<Value = Vec<Option<i64>>> {
        let value = prop_oneof![
            Just(None),
            any::<i64>().prop_map(Some),
            prop::sample::select(vec![i64::MIN, -1, 0, 1, i64::MAX]).prop_map(Some),
        ];
        prop::collection::vec(value, rows)
    }

    fn key() -> impl Strategy<Value = (DataType, bool, SortOptions)> {
        let options = any::<(bool, bool)>()
            .prop_map(|(descending, nulls_first)| SortOptions { descending, nulls_first });
        (prop::sample::select(TYPES.to_vec()), any::<bool>(), options)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn one_key_sorts_as_the_columns_do(
            mut keys in prop::collection::vec(key(), 2..=3),
            wide in prop::option::of((prop::sample::select(WIDE.to_vec()), 0..2_usize)),
            projected in any::<bool>(),
            values in (1..40_usize).prop_flat_map(|rows| prop::collection::vec(numbers(rows), 3)),
        ) {
            if let Some((data_type, place)) = wide {
                keys.truncate(2);
                keys[place].0 = data_type;
            }
            let types: Vec<_> = keys.iter().map(|(data_type, nullable, _)| (data_type.clone(), *nullable)).collect();
            let options: Vec<_> = keys.iter().map(|(_, _, options)| *options).collect();
            let all = batch(&types, &values[..types.len()]);
            let plan = sorted(std::slice::from_ref(&all), &options, projected);
            let by_key = optimized(&plan);
            prop_assert!(is_by_key(&by_key));
            prop_assert_eq!(by_key.schema(), plan.schema());
            let got = rows(by_key);

            // Two partitions have the same rows.
            let twice = concat_batches(&all.schema(), [&all, &all]).unwrap();
            let columns: Vec<_> = options.iter().zip(twice.columns()).map(|(options, values)| {
                SortColumn { values: Arc::clone(values), options: Some(*options) }
            }).collect();
            let order = lexsort_to_indices(&columns, None).unwrap();
            for column in 0..options.len() {
                prop_assert_eq!(got.column(column), &take(twice.column(column), &order, None).unwrap());
            }
            // The other columns stay with their keys.
            let places = take(all.column(0), got.column(options.len()), None).unwrap();
            prop_assert_eq!(got.column(0), &places);
        }
    }

    #[test]
    fn what_does_not_fit_is_sorted_as_before() {
        let options = SortOptions::default();
        let values = vec![vec![Some(1), None], vec![Some(2), Some(3)], vec![None, None]];
        let wide = |nullable| [(DataType::Int64, nullable), (DataType::Int64, nullable)];
        let two = sorted(&[batch(&wide(false), &values)], &[options; 2], false);
        assert!(!is_by_key(&optimized(&two)), "128 bits");
        let narrow = [(DataType::Int32, true), (DataType::Int32, true)];
        let one = sorted(&[batch(&narrow, &values)], &[options], false);
        assert!(!is_by_key(&optimized(&one)), "one column");
        let fits = sorted(&[batch(&narrow, &values)], &[options; 2], false);
        assert!(is_by_key(&optimized(&fits)));
    }

    #[test]
    fn what_is_only_sorted_is_read_in_runs() {
        let values = vec![vec![Some(1), None], vec![Some(2), Some(3)]];
        let rows = batch(&[(DataType::Int32, true), (DataType::Int32, true)], &values);
        let mut session = SessionConfig::new().with_batch_size(BATCH_ROWS);
        let config = session.options_mut();
        config.execution.sort_in_place_threshold_bytes = 48 << 20;
        let plan = sorted(std::slice::from_ref(&rows), &[SortOptions::default(); 2], true);
        // A key of 16 bytes, and a column of 8.
        assert_eq!(rows_of_runs(&optimized(&plan), config), Some(1 << 20));
        assert_eq!(rows_of_runs(&plan, config), None, "rows of several columns are not put together");
        let [merge] = plan.children()[..] else { panic!("a projection") };
        let [projection] = merge.children()[..] else { panic!("a merge") };
        let [sort] = projection.children()[..] else { panic!("a projection") };
        let [scan] = sort.children()[..] else { panic!("a sort") };
        assert_eq!(rows_of_runs(scan, config), None, "nothing is sorted");
        config.execution.sort_in_place_threshold_bytes = 1;
        assert_eq!(rows_of_runs(&optimized(&plan), config), Some(BATCH_ROWS));
        let chosen = SessionConfig::new().with_batch_size(100);
        assert_eq!(rows_of_runs(&optimized(&plan), chosen.options()), None, "somebody wants 100");
    }
}
