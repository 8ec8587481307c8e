//! `corr`, which stays exact for groups of values that are far from zero and near each other.
//!
//! For groups DataFusion 55.2 adds up squares and products, and takes the difference of two large sums in the end;
//! of values around 1e9 nothing is left of it (apache/datafusion#13247, #18867). Here the sums are of what values
//! differ from their means, as it does without groups. This can go when DataFusion's groups do.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, UInt64Array};
use arrow::datatypes::{DataType, FieldRef, Float64Type, UInt64Type};
use datafusion::common::DataFusionError;
use datafusion::functions_aggregate::correlation::corr_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, Signature,
};

type DfResult<T> = Result<T, DataFusionError>;

/// `corr`.
pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(Corr { inner: corr_udaf() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Corr {
    inner: Arc<AggregateUDF>,
}

impl AggregateUDFImpl for Corr {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, _: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        Ok(Box::new(Grouped::default()))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// What is known of the pairs of a group: how many they are, their means, and sums of what they differ from them.
#[derive(Debug, Clone, Copy, Default)]
struct Moments {
    count: u64,
    mean_x: f64,
    mean_y: f64,
    /// Of the squares of x's differences.
    xx: f64,
    yy: f64,
    /// Of the products of both differences.
    xy: f64,
}

impl Moments {
    fn of(x: f64, y: f64) -> Self {
        Self { count: 1, mean_x: x, mean_y: y, ..Self::default() }
    }

    /// Those of the pairs of both.
    #[allow(clippy::cast_precision_loss)]
    fn add(&mut self, other: Self) {
        if self.count == 0 || other.count == 0 {
            if self.count == 0 {
                *self = other;
            }
            return;
        }
        let count = self.count + other.count;
        let share = other.count as f64 / count as f64;
        let weight = self.count as f64 * share;
        let (dx, dy) = (other.mean_x - self.mean_x, other.mean_y - self.mean_y);
        self.count = count;
        self.mean_x += dx * share;
        self.mean_y += dy * share;
        self.xx += other.xx + dx * dx * weight;
        self.yy += other.yy + dy * dy * weight;
        self.xy += other.xy + dx * dy * weight;
    }

    /// The coefficient; none of less than two pairs, or where one side is always the same or has a NaN.
    fn result(&self) -> Option<f64> {
        if self.count > 0 && self.mean_x.is_nan() && self.mean_y.is_nan() {
            return Some(f64::NAN);
        }
        let has_nan = self.mean_x.is_nan() || self.mean_y.is_nan();
        if self.count < 2 || has_nan || self.xx == 0.0 || self.yy == 0.0 {
            return None;
        }
        Some((self.xy / self.xx.sqrt() / self.yy.sqrt()).clamp(-1.0, 1.0))
    }
}

#[derive(Debug, Default)]
struct Grouped {
    groups: Vec<Moments>,
}

/// The moments of each row of two columns by themselves, where both are there and the filter lets the row pass.
fn rows<'a>(
    values: &'a [ArrayRef],
    filter: Option<&'a BooleanArray>,
) -> impl Iterator<Item = Option<Moments>> + 'a {
    let (x, y) = (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
    (0..x.len()).map(move |row| {
        let passes = filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        (passes && x.is_valid(row) && y.is_valid(row)).then(|| Moments::of(x.value(row), y.value(row)))
    })
}

/// Moments as columns, in the order of the accumulator without groups.
fn columns(moments: &[Moments]) -> Vec<ArrayRef> {
    let floats = |of: fn(&Moments) -> f64| {
        Arc::new(Float64Array::from_iter_values(moments.iter().map(of))) as ArrayRef
    };
    vec![
        Arc::new(UInt64Array::from_iter_values(moments.iter().map(|moments| moments.count))),
        floats(|moments| moments.mean_x),
        floats(|moments| moments.xx),
        floats(|moments| moments.mean_y),
        floats(|moments| moments.yy),
        floats(|moments| moments.xy),
    ]
}

impl GroupsAccumulator for Grouped {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.groups.resize(total_num_groups, Moments::default());
        for (group, row) in group_indices.iter().zip(rows(values, opt_filter)) {
            if let Some(row) = row {
                self.groups[*group].add(row);
            }
        }
        Ok(())
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.groups.resize(total_num_groups, Moments::default());
        let count = values[0].as_primitive::<UInt64Type>();
        let [mean_x, xx, mean_y, yy, xy] =
            [1, 2, 3, 4, 5].map(|column: usize| values[column].as_primitive::<Float64Type>());
        for (row, group) in group_indices.iter().enumerate() {
            self.groups[*group].add(Moments {
                count: count.value(row),
                mean_x: mean_x.value(row),
                mean_y: mean_y.value(row),
                xx: xx.value(row),
                yy: yy.value(row),
                xy: xy.value(row),
            });
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let groups = emit_to.take_needed(&mut self.groups);
        Ok(Arc::new(groups.iter().map(Moments::result).collect::<Float64Array>()))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        Ok(columns(&emit_to.take_needed(&mut self.groups)))
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        let rows: Vec<_> = rows(values, filter).map(Option::unwrap_or_default).collect();
        Ok(columns(&rows))
    }

    fn size(&self) -> usize {
        self.groups.capacity() * size_of::<Moments>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(pairs: &[(f64, f64)]) -> Option<f64> {
        let mut moments = Moments::default();
        for (x, y) in pairs {
            moments.add(Moments::of(*x, *y));
        }
        moments.result()
    }

    #[test]
    fn values_far_from_zero_keep_their_differences() {
        let far: Vec<_> = [1.0, 2.0, 3.0, 5.0].map(|value| (value, 1e9 + value)).to_vec();
        assert!((result(&far).unwrap() - 1.0).abs() < 1e-12);
        let opposite: Vec<_> = [1.0, 2.0, 3.0, 5.0].map(|value| (1e15 - value, value)).to_vec();
        assert!((result(&opposite).unwrap() + 1.0).abs() < 1e-12);
    }

    #[test]
    fn too_few_or_equal_values_have_none() {
        assert_eq!(result(&[]), None);
        assert_eq!(result(&[(1.0, 2.0)]), None);
        assert_eq!(result(&[(0.1, 2.0), (0.1, 3.0), (0.1, 4.0)]), None);
        assert_eq!(result(&[(1.0, f64::NAN), (2.0, 1.0)]), None);
    }

    #[test]
    fn parts_give_what_the_whole_gives() {
        let pair = |row: u32| (f64::from(row * 7919 % 100), f64::from(row * 104_729 % 1000) + 1e6);
        let pairs: Vec<_> = (0..200).map(pair).collect();
        let mut merged = Moments::default();
        for part in pairs.chunks(37) {
            let mut moments = Moments::default();
            for (x, y) in part {
                moments.add(Moments::of(*x, *y));
            }
            merged.add(moments);
        }
        assert!((merged.result().unwrap() - result(&pairs).unwrap()).abs() < 1e-12);
    }
}
