//! `sum` of integers, decimals, durations and intervals, which fails where the result does not fit its type.
//!
//! DataFusion 55.2 adds with numbers that wrap round, in every form of its `sum`: grouped or not, in windows, of
//! distinct values; and it does not look whether a decimal has more digits than its type (apache/datafusion#16406,
//! #3520). This can go when DataFusion's own fails then.
//!
//! Integers are added up in 128 bits, so that no order of the rows overflows while the sum fits; decimals in what
//! holds 38 or 76 digits. Only the end result is held against its type.

use std::collections::HashMap;
use std::fmt::Debug;
use std::marker::PhantomData;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ArrowNativeTypeOp, AsArray, BooleanArray, PrimitiveArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowNativeType, ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type,
    Decimal256Type, DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType,
    DurationSecondType, Field, FieldRef, Int64Type, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalUnit, IntervalYearMonthType, TimeUnit, UInt64Type, i256,
};
use datafusion::common::{DataFusionError, ScalarValue, internal_err, not_impl_err};
use datafusion::functions_aggregate::sum::Sum as Inner;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, SetMonotonicity,
    Signature,
};
use datafusion::physical_expr::NullState;

use super::overflow::overflow;

type DfResult<T> = Result<T, DataFusionError>;
type Total<T> = <<T as Summand>::Total as ArrowPrimitiveType>::Native;

/// A type of values, and the one that they are added up in.
trait Summand: ArrowPrimitiveType + Debug + Send + Sync {
    /// What holds every sum that can come up, or nearly.
    type Total: ArrowPrimitiveType + Debug + Send + Sync;

    fn widen(value: Self::Native) -> Total<Self>;
    fn narrow(total: Total<Self>) -> Option<Self::Native>;
    fn add(total: Total<Self>, other: Total<Self>) -> Option<Total<Self>>;
    fn subtract(total: Total<Self>, other: Total<Self>) -> Option<Total<Self>>;
}

macro_rules! summand {
    ($($arrow:ty),+ => $total:ty, $widen:expr, $narrow:expr) => {$(
        impl Summand for $arrow {
            type Total = $total;

            fn widen(value: Self::Native) -> Total<Self> {
                $widen(value)
            }

            fn narrow(total: Total<Self>) -> Option<Self::Native> {
                $narrow(total)
            }

            fn add(total: Total<Self>, other: Total<Self>) -> Option<Total<Self>> {
                total.checked_add(other)
            }

            fn subtract(total: Total<Self>, other: Total<Self>) -> Option<Total<Self>> {
                total.checked_sub(other)
            }
        }
    )+};
}

summand!(
    Int64Type, UInt64Type, DurationSecondType, DurationMillisecondType, DurationMicrosecondType,
    DurationNanosecondType, IntervalYearMonthType, Decimal32Type, Decimal64Type
    => Decimal128Type, i128::from, |total: i128| total.try_into().ok()
);
summand!(Decimal128Type => Decimal128Type, |value: i128| value, Some);
summand!(Decimal256Type => Decimal256Type, |value: i256| value, Some);
summand!(IntervalDayTimeType => IntervalDayTimeType, |value| value, Some);
summand!(IntervalMonthDayNanoType => IntervalMonthDayNanoType, |value| value, Some);

/// Calls a function of one type parameter with the type of what is summed; other types give `$other`.
macro_rules! with_summand {
    ($data_type:expr, $function:ident($($argument:expr),*), $other:expr) => {
        match $data_type {
            DataType::Int64 => Ok($function::<Int64Type>($($argument),*)),
            DataType::UInt64 => Ok($function::<UInt64Type>($($argument),*)),
            DataType::Decimal32(..) => Ok($function::<Decimal32Type>($($argument),*)),
            DataType::Decimal64(..) => Ok($function::<Decimal64Type>($($argument),*)),
            DataType::Decimal128(..) => Ok($function::<Decimal128Type>($($argument),*)),
            DataType::Decimal256(..) => Ok($function::<Decimal256Type>($($argument),*)),
            DataType::Duration(TimeUnit::Second) => Ok($function::<DurationSecondType>($($argument),*)),
            DataType::Duration(TimeUnit::Millisecond) => Ok($function::<DurationMillisecondType>($($argument),*)),
            DataType::Duration(TimeUnit::Microsecond) => Ok($function::<DurationMicrosecondType>($($argument),*)),
            DataType::Duration(TimeUnit::Nanosecond) => Ok($function::<DurationNanosecondType>($($argument),*)),
            DataType::Interval(IntervalUnit::YearMonth) => Ok($function::<IntervalYearMonthType>($($argument),*)),
            DataType::Interval(IntervalUnit::DayTime) => Ok($function::<IntervalDayTimeType>($($argument),*)),
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                Ok($function::<IntervalMonthDayNanoType>($($argument),*))
            }
            _ => $other,
        }
    };
}

/// The type that sums of `data_type` are added up in.
fn total_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Decimal32(_, scale) | DataType::Decimal64(_, scale) | DataType::Decimal128(_, scale) => {
            DataType::Decimal128(38, *scale)
        }
        DataType::Decimal256(_, scale) => DataType::Decimal256(76, *scale),
        DataType::Float64 | DataType::Interval(IntervalUnit::DayTime | IntervalUnit::MonthDayNano) => {
            data_type.clone()
        }
        _ => DataType::Decimal128(38, 0),
    }
}

/// `sum`.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    inner: Inner,
}

impl AggregateUDFImpl for Sum {
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
        let data_type = args.return_field.data_type().clone();
        if args.is_distinct {
            let inner = self.inner.accumulator(args)?;
            return match data_type {
                DataType::Float64 => Ok(inner),
                _ => with_summand!(&data_type, distinct(inner, &data_type), unknown(&data_type)),
            };
        }
        with_summand!(&data_type, plain(&data_type), self.inner.accumulator(args))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        if args.is_distinct {
            return self.inner.state_fields(args);
        }
        let name = format_state_name(args.name, "sum");
        Ok(vec![Arc::new(Field::new(name, total_type(args.return_field.data_type()), true))])
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        let data_type = args.return_field.data_type().clone();
        with_summand!(&data_type, grouped(&data_type), self.inner.create_groups_accumulator(args))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        let data_type = args.return_field.data_type().clone();
        if args.is_distinct {
            return sliding_distinct(&data_type);
        }
        with_summand!(&data_type, sliding(&data_type), self.inner.create_sliding_accumulator(args))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        self.inner.reverse_expr()
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn set_monotonicity(&self, data_type: &DataType) -> SetMonotonicity {
        self.inner.set_monotonicity(data_type)
    }
}

fn unknown<T>(data_type: &DataType) -> DfResult<T> {
    internal_err!("sum of {data_type}")
}

fn plain<T: Summand>(data_type: &DataType) -> Box<dyn Accumulator> {
    Box::new(Plain::<T> { adder: Adder::new(data_type), total: None })
}

fn sliding<T: Summand>(data_type: &DataType) -> Box<dyn Accumulator> {
    let total = <Total<T>>::default();
    Box::new(Sliding::<T> { adder: Adder::new(data_type), total, count: 0 })
}

fn distinct<T: Summand>(inner: Box<dyn Accumulator>, data_type: &DataType) -> Box<dyn Accumulator> {
    Box::new(Distinct::<T> { adder: Adder::new(data_type), inner })
}

fn grouped<T: Summand>(data_type: &DataType) -> Box<dyn GroupsAccumulator> {
    Box::new(Grouped::<T> { adder: Adder::new(data_type), totals: Vec::new(), seen: NullState::new() })
}

fn sliding_distinct(data_type: &DataType) -> DfResult<Box<dyn Accumulator>> {
    fn of<T: Summand<Total = Decimal128Type>>(data_type: &DataType) -> Box<dyn Accumulator> {
        Box::new(SlidingDistinct::<T> { adder: Adder::new(data_type), counts: HashMap::new(), total: 0 })
    }
    Ok(match data_type {
        DataType::Int64 => of::<Int64Type>(data_type),
        DataType::UInt64 => of::<UInt64Type>(data_type),
        DataType::Decimal32(..) => of::<Decimal32Type>(data_type),
        DataType::Decimal64(..) => of::<Decimal64Type>(data_type),
        DataType::Decimal128(..) => of::<Decimal128Type>(data_type),
        other => return not_impl_err!("sum(DISTINCT) of {other} over a frame that moves is not supported"),
    })
}

/// Adds values up, and knows what the result may be.
#[derive(Debug)]
struct Adder<T: Summand> {
    data_type: DataType,
    total_type: DataType,
    /// The largest number that has the digits of a decimal type.
    most: Option<Total<T>>,
    summand: PhantomData<T>,
}

impl<T: Summand> Adder<T> {
    fn new(data_type: &DataType) -> Self {
        let most = match data_type {
            DataType::Decimal32(precision, _)
            | DataType::Decimal64(precision, _)
            | DataType::Decimal128(precision, _)
            | DataType::Decimal256(precision, _) => {
                let beyond = <Total<T>>::usize_as(10).pow_checked(u32::from(*precision)).ok();
                beyond.map(|beyond| beyond.sub_wrapping(<Total<T>>::ONE))
            }
            _ => None,
        };
        let (data_type, total_type) = (data_type.clone(), total_type(data_type));
        Self { data_type, total_type, most, summand: PhantomData }
    }

    fn overflow(&self) -> DataFusionError {
        overflow("the sum", &self.data_type)
    }

    /// The sum of values on top of `total`, or `None` if it overflows.
    fn add_all(mut total: Total<T>, values: &PrimitiveArray<T>) -> Option<Total<T>> {
        if values.null_count() == 0 {
            for value in values.values() {
                total = T::add(total, T::widen(*value))?;
            }
        } else {
            for value in values.iter().flatten() {
                total = T::add(total, T::widen(value))?;
            }
        }
        Some(total)
    }

    /// The end result, if it fits.
    fn finish(&self, total: Total<T>) -> DfResult<T::Native> {
        let fits = self.most.is_none_or(|most| total.is_le(most) && total.is_ge(most.neg_wrapping()));
        let narrow = T::narrow(total).filter(|_| fits);
        narrow.ok_or_else(|| self.overflow())
    }

    fn result(&self, total: Option<Total<T>>) -> DfResult<ScalarValue> {
        let result = total.map(|total| self.finish(total)).transpose()?;
        ScalarValue::new_primitive::<T>(result, &self.data_type)
    }
}

/// The sum of all rows.
#[derive(Debug)]
struct Plain<T: Summand> {
    adder: Adder<T>,
    total: Option<Total<T>>,
}

impl<T: Summand> Accumulator for Plain<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let values = values[0].as_primitive::<T>();
        if values.null_count() < values.len() {
            let total = Adder::add_all(self.total.unwrap_or_default(), values);
            self.total = Some(total.ok_or_else(|| self.adder.overflow())?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.adder.result(self.total)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::new_primitive::<T::Total>(self.total, &self.adder.total_type)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        for other in states[0].as_primitive::<T::Total>().iter().flatten() {
            let total = T::add(self.total.unwrap_or_default(), other);
            self.total = Some(total.ok_or_else(|| self.adder.overflow())?);
        }
        Ok(())
    }
}

/// The sum of the rows of a window's frame, which moves.
#[derive(Debug)]
struct Sliding<T: Summand> {
    adder: Adder<T>,
    total: Total<T>,
    count: usize,
}

impl<T: Summand> Accumulator for Sliding<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let values = values[0].as_primitive::<T>();
        self.total = Adder::add_all(self.total, values).ok_or_else(|| self.adder.overflow())?;
        self.count += values.len() - values.null_count();
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let values = values[0].as_primitive::<T>();
        for value in values.iter().flatten() {
            let total = T::subtract(self.total, T::widen(value));
            self.total = total.ok_or_else(|| self.adder.overflow())?;
        }
        self.count -= values.len() - values.null_count();
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.adder.result((self.count > 0).then_some(self.total))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        internal_err!("windows have no partial results")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        internal_err!("windows have no partial results")
    }
}

/// The sum of distinct values, which DataFusion's accumulator gathers.
#[derive(Debug)]
struct Distinct<T: Summand> {
    adder: Adder<T>,
    inner: Box<dyn Accumulator>,
}

impl<T: Summand> Accumulator for Distinct<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let state = self.inner.state()?;
        let [ScalarValue::List(gathered)] = &state[..] else {
            return internal_err!("distinct values are no list");
        };
        let values = gathered.value(0);
        if values.is_empty() {
            return self.adder.result(None);
        }
        let total = Adder::add_all(<Total<T>>::default(), values.as_primitive::<T>());
        self.adder.result(Some(total.ok_or_else(|| self.adder.overflow())?))
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

/// The sum of the distinct values of a window's frame, which moves.
#[derive(Debug)]
struct SlidingDistinct<T: Summand<Total = Decimal128Type>> {
    adder: Adder<T>,
    /// How often a value is in the frame.
    counts: HashMap<i128, usize>,
    total: i128,
}

impl<T: Summand<Total = Decimal128Type>> Accumulator for SlidingDistinct<T> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for value in values[0].as_primitive::<T>().iter().flatten().map(T::widen) {
            let count = self.counts.entry(value).or_default();
            *count += 1;
            if *count == 1 {
                self.total = self.total.checked_add(value).ok_or_else(|| self.adder.overflow())?;
            }
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for value in values[0].as_primitive::<T>().iter().flatten().map(T::widen) {
            let Some(count) = self.counts.get_mut(&value) else { continue };
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&value);
                self.total = self.total.checked_sub(value).ok_or_else(|| self.adder.overflow())?;
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.adder.result((!self.counts.is_empty()).then_some(self.total))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.capacity() * size_of::<(i128, usize)>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        internal_err!("windows have no partial results")
    }

    fn merge_batch(&mut self, _: &[ArrayRef]) -> DfResult<()> {
        internal_err!("windows have no partial results")
    }
}

/// The sums of groups.
struct Grouped<T: Summand> {
    adder: Adder<T>,
    totals: Vec<Total<T>>,
    /// Which groups have a value.
    seen: NullState,
}

impl<T: Summand> Grouped<T> {
    fn add<V: ArrowPrimitiveType + Send>(
        &mut self,
        values: &PrimitiveArray<V>,
        widen: impl Fn(V::Native) -> Total<T> + Send + Sync,
        groups: (&[usize], usize),
        filter: Option<&BooleanArray>,
    ) -> DfResult<()> {
        self.totals.resize(groups.1, <Total<T>>::default());
        let (totals, mut has_overflowed) = (&mut self.totals, false);
        self.seen.accumulate(groups.0, values, filter, groups.1, |group, value| {
            let total = &mut totals[group];
            match T::add(*total, widen(value)) {
                Some(sum) => *total = sum,
                None => has_overflowed = true,
            }
        });
        if has_overflowed { Err(self.adder.overflow()) } else { Ok(()) }
    }
}

impl<T: Summand> GroupsAccumulator for Grouped<T> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        let values = values[0].as_primitive::<T>();
        self.add(values, T::widen, (group_indices, total_num_groups), opt_filter)
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> DfResult<()> {
        let totals = values[0].as_primitive::<T::Total>();
        self.add(totals, |total| total, (group_indices, total_num_groups), None)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let totals = emit_to.take_needed(&mut self.totals);
        let nulls = self.seen.build(emit_to);
        let values = totals.into_iter().map(|total| self.adder.finish(total));
        let values = values.collect::<DfResult<Vec<_>>>()?;
        let values = PrimitiveArray::<T>::new(values.into(), nulls);
        Ok(Arc::new(values.with_data_type(self.adder.data_type.clone())))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let totals = emit_to.take_needed(&mut self.totals);
        let totals = PrimitiveArray::<T::Total>::new(totals.into(), self.seen.build(emit_to));
        Ok(vec![Arc::new(totals.with_data_type(self.adder.total_type.clone()))])
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> DfResult<Vec<ArrayRef>> {
        let values = values[0].as_primitive::<T>();
        let totals = values.unary::<_, T::Total>(T::widen);
        let kept = filter.map(|filter| match filter.nulls() {
            Some(nulls) => NullBuffer::new(filter.values() & nulls.inner()),
            None => NullBuffer::new(filter.values().clone()),
        });
        let nulls = NullBuffer::union(totals.nulls(), kept.as_ref());
        let totals = PrimitiveArray::<T::Total>::new(totals.values().clone(), nulls);
        Ok(vec![Arc::new(totals.with_data_type(self.adder.total_type.clone()))])
    }

    fn size(&self) -> usize {
        self.totals.capacity() * size_of::<Total<T>>() + self.seen.size()
    }
}
