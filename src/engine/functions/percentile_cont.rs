//! `percentile_cont`, whose results lie between their neighbours at every fraction.
//!
//! DataFusion 55.2 cuts the share of the way between two values to six digits (apache/datafusion#25266), and takes
//! their difference, which overflows where they are far apart (apache/datafusion#25267). Here its accumulators gather
//! the values only, and the percentiles are computed from these. This can go when both are mended.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, ListArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{ArrowNativeType, DataType, FieldRef, Float64Type, Schema};
use datafusion::common::{DataFusionError, ScalarValue, internal_err};
use datafusion::functions_aggregate::percentile_cont::percentile_cont_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, AggregateFunctionSimplification, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Documentation, EmitTo, GroupsAccumulator,
    Signature,
};

type DfResult<T> = Result<T, DataFusionError>;

/// `percentile_cont`.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(PercentileCont { inner: percentile_cont_udaf() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct PercentileCont {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for PercentileCont {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        // It also refuses what is no fraction.
        let inner = self.inner.accumulator(args.clone())?;
        if args.expr_fields.first().is_some_and(|field| field.data_type().is_null()) {
            return Ok(inner);
        }
        Ok(Box::new(Single { inner, fraction: fraction(&args)?, is_distinct: args.is_distinct }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        let inner = self.inner.create_groups_accumulator(args.clone())?;
        Ok(Box::new(Grouped { inner, fraction: fraction(&args)? }))
    }

    fn simplify(&self) -> Option<AggregateFunctionSimplification> {
        self.inner.simplify()
    }

    fn supports_within_group_clause(&self) -> bool {
        self.inner.supports_within_group_clause()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// How far on the way from the least value to the largest the percentile lies.
fn fraction(args: &AccumulatorArgs) -> DfResult<f64> {
    let Some(fraction) = args.exprs.get(1) else { return internal_err!("percentile_cont has two arguments") };
    let no_rows = RecordBatch::new_empty(Arc::new(Schema::empty()));
    let ColumnarValue::Scalar(fraction) = fraction.evaluate(&no_rows)? else {
        return internal_err!("the fraction of percentile_cont is no literal");
    };
    let ScalarValue::Float64(Some(fraction)) = fraction.cast_to(&DataType::Float64)? else {
        return internal_err!("the fraction of percentile_cont is NULL");
    };
    let is_descending = args.order_bys.first().is_some_and(|order| order.options.descending);
    Ok(if is_descending { 1.0 - fraction } else { fraction })
}

/// The percentile of each list of values.
fn percentiles(gathered: &ListArray, fraction: f64) -> DfResult<ArrayRef> {
    let values = cast(gathered.values(), &DataType::Float64)?;
    let mut values = values.as_primitive::<Float64Type>().values().to_vec();
    let lists = gathered.value_offsets().windows(2);
    let results = lists.map(|ends| percentile(&mut values[ends[0].as_usize()..ends[1].as_usize()], fraction));
    let results: Float64Array = results.collect();
    Ok(cast(&results, gathered.values().data_type())?)
}

/// The percentile of values, which are reordered for it; none of no values.
#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]
fn percentile(values: &mut [f64], fraction: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    let rank = fraction * last as f64;
    let share = rank - rank.floor();
    let place = (rank.floor() as usize).min(last);
    let (_, lower, above) = values.select_nth_unstable_by(place, f64::total_cmp);
    let upper = if share > 0.0 { above.iter().copied().min_by(f64::total_cmp) } else { None };
    Some(upper.map_or(*lower, |upper| between(*lower, upper, share)))
}

/// The number that lies at a share of the way from one number to another.
fn between(lower: f64, upper: f64, share: f64) -> f64 {
    let distance = upper - lower;
    if distance.is_finite() { lower + distance * share } else { lower * (1.0 - share) + upper * share }
}

/// The percentile of all rows, or of those of a window's frame.
#[derive(Debug)]
struct Single {
    inner: Box<dyn Accumulator>,
    fraction: f64,
    is_distinct: bool,
}

impl Accumulator for Single {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.inner.update_batch(values)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let state = self.inner.state()?;
        let [ScalarValue::List(gathered)] = &state[..] else {
            return internal_err!("the values of percentile_cont are no list");
        };
        // A window goes on with the values, and only the accumulator of distinct ones still has them.
        if !self.is_distinct {
            self.inner.merge_batch(&[Arc::clone(gathered) as ArrayRef])?;
        }
        ScalarValue::try_from_array(&percentiles(gathered, self.fraction)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.inner.merge_batch(states)
    }
}

/// The percentiles of groups.
struct Grouped {
    inner: Box<dyn GroupsAccumulator>,
    fraction: f64,
}

impl GroupsAccumulator for Grouped {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.inner.update_batch(values, group_indices, opt_filter, total_num_groups)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.inner.merge_batch(values, group_indices, total_num_groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let state = self.inner.state(emit_to)?;
        let [gathered] = &state[..] else {
            return internal_err!("the values of percentile_cont are no list");
        };
        percentiles(gathered.as_list::<i32>(), self.fraction)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        self.inner.state(emit_to)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        // It takes no fraction beside the values, and panics.
        self.inner.convert_to_state(&values[..1], filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_lie_between_their_neighbours() {
        let far = 2_f64.powi(1023);
        for (mut values, fraction, expected) in [
            (vec![], 0.5, None),
            (vec![3.0], 0.3, Some(3.0)),
            (vec![4.0, 1.0, 3.0, 2.0], 0.0, Some(1.0)),
            (vec![4.0, 1.0, 3.0, 2.0], 1.0, Some(4.0)),
            (vec![4.0, 1.0, 3.0, 2.0], 0.25, Some(1.75)),
            (vec![2.0, 0.0, 1.0], 2.5e-7, Some(5e-7)),
            (vec![f64::MAX, -f64::MAX], 0.5, Some(0.0)),
            (vec![far, -far], 0.25, Some(-far / 2.0)),
            (vec![f64::INFINITY, f64::INFINITY], 0.5, Some(f64::INFINITY)),
            (vec![f64::NAN, 1.0, 2.0], 0.25, Some(1.5)),
        ] {
            assert_eq!(percentile(&mut values, fraction), expected, "{values:?} at {fraction}");
        }
    }
}
