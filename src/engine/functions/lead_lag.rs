//! `lead` and `lag`, right with IGNORE NULLS, with negative offsets and below LIMIT.
//!
//! In DataFusion 55.2 what streams over the rows counts the NULLs wrongly that `lead` is to ignore
//! (apache/datafusion#25471), and LIMIT lets fewer rows in than are looked ahead for: it takes `lag` as never
//! looking ahead, also with a negative offset and where the rows come in the opposite order, and `lead` as
//! never looking past NULLs. This can go when both are right.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::interleave;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::functions_window::lead_lag::{lag_udwf, lead_udwf};
use datafusion::logical_expr::function::{ExpressionArgs, PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    Documentation, LimitEffect, PartitionEvaluator, ReversedUDWF, Signature, WindowUDF, WindowUDFImpl,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Literal;

type DfResult<T> = Result<T, DataFusionError>;

/// `lead` and `lag`.
pub(super) fn functions() -> [WindowUDF; 2] {
    [(lead_udwf(), true), (lag_udwf(), false)]
        .map(|(inner, is_lead)| WindowUDF::from(Shift { inner, is_lead, is_reversed: false }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Shift {
    inner: Arc<WindowUDF>,
    is_lead: bool,
    /// Whether the rows come in the opposite of the order that was asked for.
    is_reversed: bool,
}

impl Shift {
    /// How many rows ahead of the current one the value is, in the order of the rows.
    fn ahead(&self, arguments: &[Arc<dyn PhysicalExpr>]) -> Option<i64> {
        let offset = match arguments.get(1) {
            None => 1,
            Some(offset) => match offset.downcast_ref::<Literal>()?.value().cast_to(&DataType::Int64).ok()? {
                ScalarValue::Int64(offset) => offset.unwrap_or(0),
                _ => return None,
            },
        };
        Some(if self.is_lead == self.is_reversed { offset.saturating_neg() } else { offset })
    }
}

impl WindowUDFImpl for Shift {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn expressions(&self, arguments: ExpressionArgs) -> Vec<Arc<dyn PhysicalExpr>> {
        self.inner.inner().expressions(arguments)
    }

    fn partition_evaluator(
        &self,
        arguments: PartitionEvaluatorArgs,
    ) -> DfResult<Box<dyn PartitionEvaluator>> {
        let (exprs, fields) = (arguments.input_exprs(), arguments.input_fields());
        let ahead = self.ahead(exprs);
        let data_type = self.field(WindowUDFFieldArgs::new(fields, self.name()))?.data_type().clone();
        let default = exprs.get(2).and_then(|default| default.downcast_ref::<Literal>()).map(Literal::value);
        let default = match default {
            Some(default) if !default.is_null() => default.cast_to(&data_type)?,
            _ => ScalarValue::try_from(&data_type)?,
        };
        let ignores_nulls = arguments.ignore_nulls();
        // This also looks at the arguments.
        let inner = self.inner.inner().partition_evaluator(arguments)?;
        let Some(ahead) = ahead.filter(|_| ignores_nulls) else { return Ok(inner) };
        let offset = usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX);
        Ok(Box::new(NonNull { offset, is_ahead: ahead > 0, default, recent: VecDeque::new() }))
    }

    fn field(&self, arguments: WindowUDFFieldArgs) -> DfResult<FieldRef> {
        self.inner.inner().field(arguments)
    }

    fn reverse_expr(&self) -> ReversedUDWF {
        let (inner, is_lead) = (Arc::clone(&self.inner), self.is_lead);
        ReversedUDWF::Reversed(Arc::new(WindowUDF::from(Self {
            inner,
            is_lead,
            is_reversed: !self.is_reversed,
        })))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    /// Where NULLs are ignored and the value is ahead, the rows are not streamed, and no limit is passed on.
    fn limit_effect(&self, arguments: &[Arc<dyn PhysicalExpr>]) -> LimitEffect {
        match self.ahead(arguments) {
            Some(ahead) if ahead > 0 => {
                usize::try_from(ahead).map_or(LimitEffect::Unknown, LimitEffect::Relative)
            }
            Some(_) => LimitEffect::None,
            None => LimitEffect::Unknown,
        }
    }
}

/// The value so many rows ahead or behind, of those that are not NULL.
#[derive(Debug)]
struct NonNull {
    offset: usize,
    is_ahead: bool,
    default: ScalarValue,
    /// The last values behind, as many as the offset at most, where rows are streamed.
    recent: VecDeque<ScalarValue>,
}

impl NonNull {
    /// For each row the row whose value it gets.
    fn sources(&self, array: &dyn Array) -> Vec<Option<usize>> {
        let mut sources = vec![None; array.len()];
        let mut recent = VecDeque::new();
        for step in 0..array.len() {
            let row = if self.is_ahead { array.len() - 1 - step } else { step };
            if recent.len() == self.offset {
                sources[row] = recent.front().copied();
            }
            if array.is_valid(row) {
                recent.push_back(row);
                if recent.len() > self.offset {
                    recent.pop_front();
                }
            }
        }
        sources
    }
}

impl PartitionEvaluator for NonNull {
    fn is_causal(&self) -> bool {
        !self.is_ahead
    }

    fn evaluate_all(&mut self, values: &[ArrayRef], _: usize) -> DfResult<ArrayRef> {
        let array = &values[0];
        if self.offset == 0 {
            return Ok(Arc::clone(array));
        }
        let default = self.default.to_array_of_size(1)?;
        let sources = self.sources(array).into_iter();
        let sources: Vec<_> = sources.map(|source| source.map_or((1, 0), |row| (0, row))).collect();
        Ok(interleave(&[array.as_ref(), default.as_ref()], &sources)?)
    }

    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> DfResult<ScalarValue> {
        let value = ScalarValue::try_from_array(&values[0], range.start)?;
        if self.offset == 0 {
            return Ok(value);
        }
        let is_there = self.recent.len() == self.offset;
        let result = self.recent.front().filter(|_| is_there).unwrap_or(&self.default).clone();
        if !value.is_null() {
            if is_there {
                self.recent.pop_front();
            }
            // A slice of an array would keep all of it.
            self.recent.push_back(value.compacted());
        }
        Ok(result)
    }

    /// Ahead there can be any number of NULLs.
    fn supports_bounded_execution(&self) -> bool {
        !self.is_ahead
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int32Array;

    use super::*;

    fn evaluator(offset: usize, is_ahead: bool) -> NonNull {
        NonNull { offset, is_ahead, default: ScalarValue::Int32(Some(-1)), recent: VecDeque::new() }
    }

    fn all(values: &Int32Array, offset: usize, is_ahead: bool) -> Vec<i32> {
        let array: ArrayRef = Arc::new(values.clone());
        let result = evaluator(offset, is_ahead).evaluate_all(&[array], values.len()).unwrap();
        result.as_any().downcast_ref::<Int32Array>().unwrap().values().to_vec()
    }

    #[test]
    fn rows_that_are_null_are_not_counted() {
        let values = Int32Array::from(vec![Some(10), None, Some(30), None, None, Some(60), None]);
        assert_eq!(all(&values, 1, true), [30, 30, 60, 60, 60, -1, -1]);
        assert_eq!(all(&values, 2, true), [60, 60, -1, -1, -1, -1, -1]);
        assert_eq!(all(&values, 1, false), [-1, 10, 10, 30, 30, 30, 60]);
        assert_eq!(all(&values, 2, false), [-1, -1, -1, 10, 10, 10, 30]);
        assert_eq!(all(&values, 9, true), [-1; 7]);
    }

    #[test]
    fn streamed_rows_give_the_same() {
        let values = Int32Array::from(vec![None, Some(1), None, None, Some(4), Some(5), None, Some(7)]);
        let array: ArrayRef = Arc::new(values.clone());
        for offset in 1..4 {
            let mut streamed = evaluator(offset, false);
            let rows = (0..values.len()).map(|row| {
                let range = streamed.get_range(row, values.len()).unwrap();
                match streamed.evaluate(&[Arc::clone(&array)], &range).unwrap() {
                    ScalarValue::Int32(Some(value)) => value,
                    other => panic!("{other}"),
                }
            });
            assert_eq!(rows.collect::<Vec<_>>(), all(&values, offset, false), "{offset}");
        }
    }
}
