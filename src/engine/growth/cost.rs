//! What the calls of a function come to, before they are made.

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};

/// Bytes of a value in an array, and what each text or list takes besides.
const VALUE: u64 = 8;
const PLACE: u64 = 16;

/// How a function's cost follows from its arguments, for one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Cost {
    /// The value's bytes times the count: `repeat(text, count)`, `array_repeat(value, count)`.
    Repeated,
    /// The larger of the count and the text's bytes: `lpad(text, count, …)`.
    Padded,
    /// The count, and the list's bytes: `array_resize(array, count, …)`.
    Counted,
    /// The distance of the first two arguments: `range(start, stop, step)`, for integers.
    Ranged,
    /// The text's bytes, and the last argument's for each time that the second is in it: `replace(text, from, to)`.
    Replaced,
    /// One argument's bytes for each of another's, at most: `regexp_replace(text, pattern, replacement, …)`.
    Multiplied,
    /// Nobody knows; most likely no more than that either.
    Unknown,
    /// In the order of what is given.
    OfItsInput,
}

/// The functions whose cost is known.
const KNOWN: [(&str, Cost); 13] = [
    ("repeat", Cost::Repeated),
    ("array_repeat", Cost::Repeated),
    ("lpad", Cost::Padded),
    ("rpad", Cost::Padded),
    ("array_resize", Cost::Counted),
    ("range", Cost::Ranged),
    ("generate_series", Cost::Ranged),
    ("replace", Cost::Replaced),
    ("regexp_replace", Cost::Multiplied),
    ("array_to_string", Cost::Multiplied),
    ("array_replace", Cost::Multiplied),
    ("array_replace_n", Cost::Multiplied),
    ("array_replace_all", Cost::Multiplied),
];

/// Functions of several arguments that give one of them, or a part of one.
const PARTS: [&str; 20] = [
    "substr",
    "substr_index",
    "left",
    "right",
    "split_part",
    "btrim",
    "ltrim",
    "rtrim",
    "trim",
    "coalesce",
    "nvl",
    "nvl2",
    "nullif",
    "greatest",
    "least",
    "array_slice",
    "array_element",
    "date_format",
    "to_char",
    "regexp_match",
];

impl Cost {
    /// The cost of the function of that name, called with `arguments` arguments.
    pub(super) fn of(name: &str, arguments: usize) -> Self {
        let known = KNOWN.iter().find(|(known, _)| *known == name);
        match known {
            Some((_, cost)) => *cost,
            None if arguments < 2 || PARTS.contains(&name) => Self::OfItsInput,
            None => Self::Unknown,
        }
    }

    /// Whether rows come to what it tells, or nearly so, and not just to no more.
    pub(super) fn is_exact(self) -> bool {
        matches!(self, Self::Repeated | Self::Padded | Self::Counted | Self::Ranged)
    }

    /// Whether a few bytes can ask for any amount.
    pub(super) fn is_asked_for(self) -> bool {
        self.is_exact() || self == Self::Replaced
    }

    /// What each row comes to, in bytes, at most.
    pub(super) fn rows(self, call: &ScalarFunctionArgs) -> Vec<u64> {
        let rows = call.number_rows;
        let integers = |index: usize| integers(call.args.get(index), rows);
        let first = || bytes(call.args.first(), rows);
        let zip = |bytes: Vec<u64>, counts: Vec<i64>, cost: fn(u64, u64) -> u64| {
            let counts = counts.into_iter().map(|count| u64::try_from(count).unwrap_or(0));
            bytes.into_iter().zip(counts).map(|(bytes, count)| cost(bytes, count)).collect()
        };
        match self {
            Self::Repeated => zip(first(), integers(1), u64::saturating_mul),
            Self::Padded => zip(first(), integers(1), u64::max),
            Self::Counted => zip(first(), integers(1), |bytes, count| bytes.max(count.saturating_mul(VALUE))),
            // With one argument the range begins at 0.
            Self::Ranged if call.args.len() < 2 => {
                integers(0).into_iter().map(|stop| stop.unsigned_abs().saturating_mul(VALUE)).collect()
            }
            Self::Ranged => {
                let ends = integers(0).into_iter().zip(integers(1));
                ends.map(|(start, stop)| start.abs_diff(stop).saturating_mul(VALUE)).collect()
            }
            Self::Replaced | Self::Multiplied | Self::Unknown => products(call),
            Self::OfItsInput => Vec::new(),
        }
    }
}

/// The product of the two largest arguments of each row.
fn products(call: &ScalarFunctionArgs) -> Vec<u64> {
    let mut largest = vec![(1_u64, 1_u64); call.number_rows];
    for argument in &call.args {
        for ((first, second), bytes) in largest.iter_mut().zip(bytes(Some(argument), call.number_rows)) {
            if bytes > *first {
                (*first, *second) = (bytes, *first);
            } else {
                *second = bytes.max(*second);
            }
        }
    }
    largest.into_iter().map(|(first, second)| first.saturating_mul(second)).collect()
}

/// What the calls of `replace` come to exactly; `None` for arguments that are no texts.
pub(super) fn replaced(call: &ScalarFunctionArgs) -> Option<Vec<u64>> {
    let rows = call.number_rows;
    let texts = |index: usize| {
        let array = call.args.get(index)?.to_array(rows).ok()?;
        let array = cast(&array, &DataType::Utf8View).ok()?;
        Some(array.as_string_view().clone())
    };
    let (text, from, to) = (texts(0)?, texts(1)?, texts(2)?);
    let each = text.iter().zip(from.iter()).zip(to.iter()).map(|((text, from), to)| {
        let (Some(text), Some(from), Some(to)) = (text, from, to) else { return 0 };
        let times = text.matches(from).count() as u64;
        (text.len() as u64).saturating_add(times.saturating_mul(to.len() as u64))
    });
    Some(each.collect())
}

/// An argument's integers, one a row; 0 for NULL, and for arguments of other types.
fn integers(argument: Option<&ColumnarValue>, rows: usize) -> Vec<i64> {
    let array = match argument {
        Some(ColumnarValue::Scalar(value)) if value.data_type().is_integer() => {
            let value = value.cast_to(&DataType::Int64).ok();
            return match value {
                Some(ScalarValue::Int64(Some(value))) => vec![value; rows],
                _ => vec![0; rows],
            };
        }
        Some(ColumnarValue::Array(array)) if array.data_type().is_integer() => array,
        _ => return vec![0; rows],
    };
    let Ok(array) = cast(array, &DataType::Int64) else { return vec![0; rows] };
    array.as_primitive::<Int64Type>().iter().map(Option::unwrap_or_default).collect()
}

/// The bytes of an argument's values, one a row.
pub(super) fn bytes(argument: Option<&ColumnarValue>, rows: usize) -> Vec<u64> {
    match argument {
        Some(ColumnarValue::Scalar(value)) => vec![scalar_bytes(value); rows],
        Some(ColumnarValue::Array(array)) => array_bytes(array.as_ref()),
        None => vec![0; rows],
    }
}

fn scalar_bytes(value: &ScalarValue) -> u64 {
    match value {
        ScalarValue::Utf8(text) | ScalarValue::LargeUtf8(text) | ScalarValue::Utf8View(text) => {
            text.as_ref().map_or(0, |text| text.len() as u64)
        }
        ScalarValue::Binary(bytes) | ScalarValue::LargeBinary(bytes) | ScalarValue::BinaryView(bytes) => {
            bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)
        }
        other => other.size() as u64,
    }
}

fn array_bytes(array: &dyn Array) -> Vec<u64> {
    let offsets = |ends: &mut dyn Iterator<Item = u64>| {
        let ends: Vec<_> = ends.collect();
        ends.windows(2).map(|ends| ends[1] - ends[0]).collect::<Vec<_>>()
    };
    let of_i32 = |values: &[i32]| offsets(&mut values.iter().map(|end| u64::try_from(*end).unwrap_or(0)));
    let of_i64 = |values: &[i64]| offsets(&mut values.iter().map(|end| u64::try_from(*end).unwrap_or(0)));
    // The values of a list are taken for as large as they are on average.
    let each = |values: &dyn Array| (values.get_array_memory_size() / values.len().max(1)) as u64;
    let times = |counts: Vec<u64>, each: u64| counts.into_iter().map(|count| PLACE + count * each).collect();
    match array.data_type() {
        DataType::Utf8 => of_i32(array.as_string::<i32>().value_offsets()),
        DataType::LargeUtf8 => of_i64(array.as_string::<i64>().value_offsets()),
        DataType::Binary => of_i32(array.as_binary::<i32>().value_offsets()),
        DataType::LargeBinary => of_i64(array.as_binary::<i64>().value_offsets()),
        DataType::Utf8View => array.as_string_view().lengths().map(u64::from).collect(),
        DataType::BinaryView => array.as_binary_view().lengths().map(u64::from).collect(),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            times(of_i32(lists.value_offsets()), each(lists.values().as_ref()))
        }
        DataType::LargeList(_) => {
            let lists = array.as_list::<i64>();
            times(of_i64(lists.value_offsets()), each(lists.values().as_ref()))
        }
        other => vec![other.primitive_width().map_or(PLACE, |width| width as u64); array.len()],
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray, StringArray};
    use arrow::datatypes::Field;

    use super::*;

    fn call(args: Vec<ColumnarValue>, number_rows: usize) -> ScalarFunctionArgs {
        let field = Arc::new(Field::new("r", DataType::Utf8, true));
        ScalarFunctionArgs {
            args,
            arg_fields: vec![],
            number_rows,
            return_field: field,
            config_options: Arc::default(),
        }
    }

    fn texts() -> ColumnarValue {
        ColumnarValue::Array(Arc::new(StringArray::from(vec![Some("abc"), None, Some("a")])))
    }

    fn numbers(values: &[i64]) -> ColumnarValue {
        ColumnarValue::Array(Arc::new(Int64Array::from(values.to_vec())))
    }

    #[test]
    fn the_cost_of_each_row_follows_from_its_arguments() {
        let of = |name: &str, args: Vec<ColumnarValue>| Cost::of(name, args.len()).rows(&call(args, 3));
        let scalar = |value: i64| ColumnarValue::Scalar(ScalarValue::Int64(Some(value)));
        assert_eq!(of("repeat", vec![texts(), numbers(&[10, 10, -1])]), [30, 0, 0]);
        assert_eq!(of("lpad", vec![texts(), scalar(2)]), [3, 2, 2]);
        assert_eq!(of("range", vec![scalar(1), numbers(&[1, 3, i64::MIN])])[..2], [0, 16]);
        assert_eq!(of("range", vec![scalar(-5)]), [40; 3]);
        assert_eq!(of("replace", vec![texts(), texts(), texts()]), [9, 1, 1]);
        let text = |text: &str| ColumnarValue::Scalar(ScalarValue::from(text));
        assert_eq!(replaced(&call(vec![texts(), text("b"), text("yyyy")], 3)), Some(vec![7, 0, 1]));
        assert!(of("upper", vec![texts()]).is_empty());
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1); 100]),
            None,
            Some(vec![]),
        ]);
        let sizes = of("array_repeat", vec![ColumnarValue::Array(Arc::new(lists)), scalar(1000)]);
        assert!(sizes[0] >= 800_000 && sizes[2] <= 100_000, "{sizes:?}");
    }
}
