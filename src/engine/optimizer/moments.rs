//! Comparisons of times and dates in the units that they are stored in.
//!
//! DataFusion 55.2 compares a date with a time, and a time with a text, in nanoseconds, which reach from 1677 to 2262:
//! `t < '9999-12-31'` is an error, and so is `d < now()` over a date outside of that range. Here literals are read in the
//! unit of what they are compared with, and dates in that of the times.
//!
//! It reads a time without a zone in the zone of the column that it is compared with. Here that is the session's zone,
//! as in PostgreSQL and DuckDB: what a statement means does not depend on how a file writes its moments.
//!
//! This can go when DataFusion coerces to the unit of the column and to the zone of the session.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, TimeUnit};
use chrono::{DateTime, TimeZone, Utc};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable, LogicalPlan, cast, lit};
use datafusion::optimizer::AnalyzerRule;

use super::comparisons::{Rounding, operands};
use super::schema_of_inputs;
use crate::engine::sql::in_one_unit;
use crate::safeguard::Safeguard;

const NANOS_OF_SECOND: i128 = 1_000_000_000;
const NANOS_OF_DAY: i128 = 86_400 * NANOS_OF_SECOND;

/// Compares times in their own units. Comes before types are coerced.
#[derive(Debug)]
pub(super) struct Moments;

impl AnalyzerRule for Moments {
    fn name(&self) -> &'static str {
        "moments"
    }

    fn analyze(&self, plan: LogicalPlan, options: &ConfigOptions) -> Result<LogicalPlan> {
        let session = options.execution.time_zone.as_deref().unwrap_or("UTC").into();
        Ok(plan.transform_up_with_subqueries(|plan| in_own_units(plan, &session))?.data)
    }
}

fn in_own_units(plan: LogicalPlan, session: &Arc<str>) -> Result<Transformed<LogicalPlan>> {
    let schema = schema_of_inputs(&plan)?;
    let names = NamePreserver::new(&plan);
    super::map_each(plan, |expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|mut expr| {
            let changed = operands(&mut expr).is_some_and(|mut operands| {
                let times = operands.iter_mut().map(|(operand, _)| &mut **operand).collect();
                in_one_unit(times, &schema) || align(operands, &schema, session)
            });
            Ok(Transformed::new_transformed(expr, changed))
        })?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })
}

/// Gives operands that are compared with one another one type. `session` is the zone of times that have none.
fn align(operands: Vec<(&mut Expr, Rounding)>, schema: &DFSchema, session: &Arc<str>) -> bool {
    let (mut constants, mut others) = (Vec::new(), Vec::new());
    for (expr, rounding) in operands {
        if is_constant(expr) {
            constants.push((expr, rounding));
        } else if let Ok(data_type) = expr.get_type(schema) {
            others.push((expr, data_type));
        } else {
            return false;
        }
    }
    let mut changed = give_zone(&mut others, session);
    let Some(target) = common(&others) else { return changed };
    for (expr, data_type) in others {
        if data_type != target {
            *expr = cast(std::mem::take(expr), target.clone());
            changed = true;
        }
    }
    for (expr, rounding) in constants {
        if let Some(value) = nanos(expr, &target, session).and_then(|nanos| value(nanos, &target, rounding)) {
            *expr = lit(value);
            changed = true;
        }
    }
    changed
}

/// Reads times without a zone in the session's, where they are compared with those of another one.
fn give_zone(others: &mut [(&mut Expr, DataType)], session: &Arc<str>) -> bool {
    let is_elsewhere = |(_, data_type): &(_, DataType)| {
        zone(data_type).is_some_and(|own| own != session && !(is_utc(Some(own)) && is_utc(Some(session))))
    };
    if !others.iter().any(is_elsewhere) || !Safeguard::ZonelessTimes.stands() {
        return false;
    }
    let mut changed = false;
    for (expr, data_type) in others {
        if let DataType::Timestamp(unit, None) = data_type {
            *data_type = DataType::Timestamp(*unit, Some(Arc::clone(session)));
            **expr = cast(std::mem::take(*expr), data_type.clone());
            changed = true;
        }
    }
    changed
}

/// The type that times and dates are compared in, unless that is for DataFusion to say.
fn common(others: &[(&mut Expr, DataType)]) -> Option<DataType> {
    use DataType::{Date32, Timestamp};
    let mut times = others.iter().map(|(_, data_type)| data_type).filter(|data_type| **data_type != Date32);
    let Some(first) = times.next() else { return (!others.is_empty()).then_some(Date32) };
    let Timestamp(unit, zone) = first else { return None };
    let has_dates = others.iter().any(|(_, data_type)| *data_type == Date32);
    let is_known = *unit == TimeUnit::Nanosecond && (zone.is_none() || has_dates);
    if is_known || times.any(|other| other != first) {
        return None;
    }
    Some(Timestamp(*unit, if has_dates { None } else { zone.clone() }))
}

fn is_constant(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => !value.is_null(),
        Expr::Cast(Cast { expr, .. }) => matches!(expr.as_ref(), Expr::Literal(value, _) if !value.is_null()),
        _ => false,
    }
}

/// The nanoseconds since 1970 of a constant, as it compares with values of a type.
fn nanos(expr: &Expr, target: &DataType, session: &Arc<str>) -> Option<i128> {
    let is_zoned = zone(target).is_some();
    let on_clock = |nanos: i128| if is_zoned { since_1970(nanos, session) } else { Some(nanos) };
    let day = |days: i32| on_clock(i128::from(days) * NANOS_OF_DAY);
    let read = |text: &str| parsed(text, is_zoned.then_some(session));
    match expr {
        Expr::Literal(ScalarValue::Date32(Some(days)), _) if *target != DataType::Date32 => day(*days),
        Expr::Literal(value, _) if matches!(value.data_type(), DataType::Timestamp(..)) => {
            let data_type = value.data_type();
            let (DataType::Timestamp(unit, zone), false) = (&data_type, data_type == *target) else {
                return None;
            };
            let ScalarValue::Int64(Some(count)) = value.cast_to(&DataType::Int64).ok()? else { return None };
            let nanos = i128::from(count) * nanos_of(*unit);
            match zone {
                None => on_clock(nanos),
                Some(_) => is_zoned.then_some(nanos),
            }
        }
        // A text is read as a date where it is compared with one.
        Expr::Literal(value, _) if *target != DataType::Date32 => read(value.try_as_str()??),
        Expr::Cast(Cast { expr, field }) => {
            let Expr::Literal(value, _) = expr.as_ref() else { return None };
            let text = value.try_as_str()??;
            match field.data_type() {
                DataType::Timestamp(TimeUnit::Nanosecond, None) => on_clock(parsed(text, None)?),
                DataType::Timestamp(TimeUnit::Nanosecond, zone) if is_zoned => parsed(text, zone.as_ref()),
                DataType::Date32 if *target != DataType::Date32 => {
                    let ScalarValue::Date32(Some(days)) = value.cast_to(&DataType::Date32).ok()? else {
                        return None;
                    };
                    day(days)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

/// The nanoseconds since 1970 when the clocks of a zone, which nothing else is said of, showed a time.
fn since_1970(shown: i128, zone: &Arc<str>) -> Option<i128> {
    if is_utc(Some(zone)) {
        return Some(shown);
    }
    let seconds = i64::try_from(shown.div_euclid(NANOS_OF_SECOND)).ok()?;
    let rest = u32::try_from(shown.rem_euclid(NANOS_OF_SECOND)).ok()?;
    let shown = DateTime::from_timestamp(seconds, rest)?.naive_utc();
    Some(nanos_since_1970(&zone.parse::<Tz>().ok()?.from_local_datetime(&shown).earliest()?))
}

fn nanos_since_1970<Z: TimeZone>(moment: &DateTime<Z>) -> i128 {
    i128::from(moment.timestamp()) * NANOS_OF_SECOND + i128::from(moment.timestamp_subsec_nanos())
}

/// The moment that a text names, in a zone or on a clock without one.
fn parsed(text: &str, zone: Option<&Arc<str>>) -> Option<i128> {
    match zone {
        Some(zone) => Some(nanos_since_1970(&string_to_datetime(&zone.parse::<Tz>().ok()?, text).ok()?)),
        None => Some(nanos_since_1970(&string_to_datetime(&Utc, text).ok()?)),
    }
}

/// A moment as a value of a type, which it may be moved to.
fn value(nanos: i128, target: &DataType, rounding: Rounding) -> Option<ScalarValue> {
    let step = match target {
        DataType::Timestamp(unit, _) => nanos_of(*unit),
        _ => NANOS_OF_DAY,
    };
    let count = match (nanos.rem_euclid(step), rounding) {
        (0, _) | (_, Rounding::Down) => nanos.div_euclid(step),
        (_, Rounding::Up) => nanos.div_euclid(step) + 1,
        (_, Rounding::None) => return None,
    };
    match target {
        DataType::Date32 => Some(ScalarValue::Date32(Some(i32::try_from(count).ok()?))),
        _ => ScalarValue::Int64(Some(i64::try_from(count).ok()?)).cast_to(target).ok(),
    }
}

fn nanos_of(unit: TimeUnit) -> i128 {
    match unit {
        TimeUnit::Second => NANOS_OF_SECOND,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

fn zone(data_type: &DataType) -> Option<&Arc<str>> {
    match data_type {
        DataType::Timestamp(_, zone) => zone.as_ref(),
        _ => None,
    }
}

fn is_utc(zone: Option<&Arc<str>>) -> bool {
    zone.is_some_and(|zone| matches!(zone.as_ref(), "UTC" | "+00:00" | "Z" | "Etc/UTC"))
}
