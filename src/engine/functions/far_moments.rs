//! `date_bin` and `date_trunc` outside of 1677 to 2262.
//!
//! DataFusion 55.2 computes both in nanoseconds, also for columns of coarser units that reach further: `date_bin` gives
//! NULL there, `date_trunc` an error. Here what it has no answer for is computed in wider numbers.
//!
//! This can go when DataFusion computes in the unit of the column.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    ArrowTimestampType, DataType, FieldRef, IntervalDayTimeType, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampSecondType,
};
use chrono::{DateTime, Datelike, Months, NaiveDate, Utc};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

const SECONDS_OF_DAY: i64 = 86_400;
const NANOS_OF_SECOND: i128 = 1_000_000_000;

/// Puts the functions in the place of DataFusion's.
pub(super) fn register(state: &mut SessionState) -> Result<()> {
    for (name, kind) in [("date_bin", Kind::Bin), ("date_trunc", Kind::Truncate)] {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::new_from_impl(Far { inner, kind })))?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Bin,
    Truncate,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Far {
    inner: Arc<ScalarUDF>,
    kind: Kind,
}

impl ScalarUDFImpl for Far {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = args.args.clone();
        let answer = self.inner.invoke_with_args(args);
        let Some(times) = given.get(1) else { return answer };
        let step = match (self.kind, &answer) {
            (Kind::Bin, Ok(bins)) if nulls(bins) > nulls(times) => Bins::of(&given).map(Step::Bin),
            (Kind::Truncate, Err(_)) if is_utc(&times.data_type()) => Part::of(&given).map(Step::Part),
            _ => None,
        };
        let Some(step) = step else { return answer };
        let array = match times {
            ColumnarValue::Array(times) => Arc::clone(times),
            ColumnarValue::Scalar(time) => time.to_array()?,
        };
        match (step.over(&array)?, times) {
            (Some(starts), ColumnarValue::Array(_)) => Ok(ColumnarValue::Array(starts)),
            (Some(start), ColumnarValue::Scalar(_)) => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&start, 0)?))
            }
            (None, _) => answer,
        }
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(inputs)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn nulls(values: &ColumnarValue) -> usize {
    match values {
        ColumnarValue::Array(values) => values.null_count(),
        ColumnarValue::Scalar(value) => usize::from(value.is_null()),
    }
}

/// Whether a time is told by a clock that is never set forth or back.
fn is_utc(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, zone) => {
            zone.as_deref().is_none_or(|zone| matches!(zone, "UTC" | "+00:00" | "Z" | "Etc/UTC"))
        }
        _ => false,
    }
}

/// What a time is set back to.
#[derive(Debug)]
enum Step {
    Bin(Bins),
    Part(Part),
}

impl Step {
    /// The times set back; `None` for a type that is not for us.
    fn over(&self, times: &ArrayRef) -> Result<Option<ArrayRef>> {
        Ok(match times.data_type() {
            DataType::Timestamp(TimeUnit::Second, _) => Some(self.each::<TimestampSecondType>(times, 1)?),
            DataType::Timestamp(TimeUnit::Millisecond, _) => {
                Some(self.each::<TimestampMillisecondType>(times, 1_000)?)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Some(self.each::<TimestampMicrosecondType>(times, 1_000_000)?)
            }
            _ => None,
        })
    }

    fn each<T: ArrowTimestampType>(&self, times: &ArrayRef, per_second: i64) -> Result<ArrayRef> {
        let times = times.as_primitive::<T>();
        let back = |time: i64| {
            let back = match self {
                Self::Bin(bins) => bins.start(time, per_second),
                Self::Part(part) => part.start(time, per_second),
            };
            back.ok_or_else(|| exec_datafusion_err!("the time {time} is out of range"))
        };
        let back = times.try_unary::<_, T, _>(back)?;
        Ok(Arc::new(back.with_data_type(times.data_type().clone())))
    }
}

/// Bins of one width.
#[derive(Debug)]
struct Bins {
    width: Width,
    /// Where one begins, in nanoseconds since 1970.
    origin: i64,
}

#[derive(Debug)]
enum Width {
    Nanos(i128),
    Months(u32),
}

impl Bins {
    fn of(args: &[ColumnarValue]) -> Option<Self> {
        let nanos =
            |days: i32, nanos: i128| i128::from(days) * i128::from(SECONDS_OF_DAY) * NANOS_OF_SECOND + nanos;
        let width = match args.first()? {
            ColumnarValue::Scalar(ScalarValue::IntervalDayTime(Some(width))) => {
                let (days, millis) = IntervalDayTimeType::to_parts(*width);
                Width::Nanos(nanos(days, i128::from(millis) * 1_000_000))
            }
            ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(width))) => {
                match IntervalMonthDayNanoType::to_parts(*width) {
                    (0, days, rest) => Width::Nanos(nanos(days, i128::from(rest))),
                    (months, ..) => Width::Months(u32::try_from(months).ok()?),
                }
            }
            _ => return None,
        };
        let origin = match args.get(2) {
            None => 0,
            Some(ColumnarValue::Scalar(ScalarValue::TimestampNanosecond(Some(origin), _))) => *origin,
            Some(_) => return None,
        };
        let is_positive = !matches!(width, Width::Nanos(..=0) | Width::Months(0));
        is_positive.then_some(Self { width, origin })
    }

    fn start(&self, time: i64, per_second: i64) -> Option<i64> {
        let unit = NANOS_OF_SECOND / i128::from(per_second);
        let nanos = i128::from(time) * unit;
        let start = match self.width {
            Width::Nanos(width) => {
                let origin = i128::from(self.origin);
                origin + (nanos - origin).div_euclid(width) * width
            }
            Width::Months(months) => {
                let start = month(moment(nanos)?, moment(i128::from(self.origin))?, months)?;
                i128::from(start.timestamp()) * NANOS_OF_SECOND + i128::from(start.timestamp_subsec_nanos())
            }
        };
        i64::try_from(start.div_euclid(unit)).ok()
    }
}

fn moment(nanos: i128) -> Option<DateTime<Utc>> {
    let seconds = i64::try_from(nanos.div_euclid(NANOS_OF_SECOND)).ok()?;
    DateTime::from_timestamp(seconds, u32::try_from(nanos.rem_euclid(NANOS_OF_SECOND)).ok()?)
}

/// The last of the moments every so many months from `origin` that is not after `time`.
fn month(time: DateTime<Utc>, origin: DateTime<Utc>, months: u32) -> Option<DateTime<Utc>> {
    let of = |moment: DateTime<Utc>| i64::from(moment.year()) * 12 + i64::from(moment.month0());
    let width = i64::from(months);
    let shifted = |by: i64| {
        let months = Months::new(u32::try_from(by.unsigned_abs()).ok()?);
        if by < 0 { origin.checked_sub_months(months) } else { origin.checked_add_months(months) }
    };
    let by = (of(time) - of(origin)).div_euclid(width) * width;
    let start = shifted(by)?;
    if start > time { shifted(by - width) } else { Some(start) }
}

/// A part of a date that times are cut to.
#[derive(Debug, Clone, Copy)]
enum Part {
    Seconds(i64),
    Week,
    Months(u32),
}

impl Part {
    fn of(args: &[ColumnarValue]) -> Option<Self> {
        let Some(ColumnarValue::Scalar(name)) = args.first() else { return None };
        Some(match name.try_as_str()??.to_lowercase().as_str() {
            "second" => Self::Seconds(1),
            "minute" => Self::Seconds(60),
            "hour" => Self::Seconds(3_600),
            "day" => Self::Seconds(SECONDS_OF_DAY),
            "week" => Self::Week,
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            _ => return None,
        })
    }

    fn start(self, time: i64, per_second: i64) -> Option<i64> {
        let seconds = time.div_euclid(per_second);
        let start = match self {
            Self::Seconds(width) => seconds.div_euclid(width) * width,
            Self::Week | Self::Months(_) => {
                let date = DateTime::from_timestamp(seconds, 0)?.date_naive();
                let start = match self {
                    Self::Months(months) => {
                        NaiveDate::from_ymd_opt(date.year(), date.month0() / months * months + 1, 1)?
                    }
                    _ => date
                        .checked_sub_days(chrono::Days::new(date.weekday().num_days_from_monday().into()))?,
                };
                start.and_hms_opt(0, 0, 0)?.and_utc().timestamp()
            }
        };
        start.checked_mul(per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds since 1970 of a date.
    fn day(year: i32, month: u32, day: u32) -> i64 {
        let date = NaiveDate::from_ymd_opt(year, month, day).unwrap();
        date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp()
    }

    #[test]
    fn times_are_cut_to_parts_of_dates() {
        let time = day(1, 8, 16) + 4_000;
        for (part, start) in [
            (Part::Seconds(3_600), day(1, 8, 16) + 3_600),
            (Part::Week, day(1, 8, 13)),
            (Part::Months(1), day(1, 8, 1)),
            (Part::Months(3), day(1, 7, 1)),
            (Part::Months(12), day(1, 1, 1)),
        ] {
            assert_eq!(part.start(time * 1_000 + 7, 1_000), Some(start * 1_000), "{part:?}");
        }
    }

    #[test]
    fn bins_reach_back_from_their_origin() {
        let nanos = |seconds: i64| i64::try_from(i128::from(seconds) * NANOS_OF_SECOND).unwrap();
        let bins = |width, origin: i64| Bins { width, origin: nanos(origin) };
        let hours = bins(Width::Nanos(3_600 * NANOS_OF_SECOND), 60);
        assert_eq!(hours.start(day(9999, 12, 31), 1), Some(day(9999, 12, 30) + 23 * 3_600 + 60));
        let years = bins(Width::Months(12), day(1970, 3, 2));
        assert_eq!(years.start(day(1500, 3, 1), 1), Some(day(1499, 3, 2)));
        assert_eq!(years.start(day(1500, 3, 2), 1), Some(day(1500, 3, 2)));
    }
}
