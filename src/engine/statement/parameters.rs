//! Parameters of prepared statements: what a statement asks for, and what a client binds.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, ParamValues, ScalarValue};
use datafusion::logical_expr::{Cast, Expr, LogicalPlan, TryCast};

use crate::engine::optimizer::parse_uuid;
use crate::error::{Error, Result};

/// The parameters of a statement: `$1`, `$2`, … in the order of their numbers, then named ones.
#[derive(Debug, Clone)]
pub(in crate::engine) struct Wanted {
    /// Names without `$`, and the types that the statement gives them.
    parameters: Vec<(String, Option<DataType>)>,
}

impl Wanted {
    /// The parameters of a plan.
    pub(in crate::engine) fn of(plan: &LogicalPlan) -> Result<Self> {
        let hints = hints(plan)?;
        let mut parameters: Vec<_> = plan
            .get_parameter_types()?
            .into_iter()
            .map(|(name, data_type)| {
                let data_type = data_type.or_else(|| hints.get(&name).cloned());
                (name.trim_start_matches('$').to_owned(), data_type)
            })
            .collect();
        parameters.sort_by_key(|(name, _)| (name.parse::<u32>().unwrap_or(u32::MAX), name.clone()));
        Ok(Self { parameters })
    }

    /// The parameters as clients are shown them: nullable, and text where nothing says otherwise.
    pub(in crate::engine) fn schema(&self) -> Schema {
        let field = |(name, data_type): &(String, Option<DataType>)| {
            Field::new(format!("${name}"), concrete(data_type.as_ref()), true)
        };
        Schema::new(self.parameters.iter().map(field).collect::<Vec<_>>())
    }

    /// NULLs for all parameters, to find out what a statement gives before it has values; those that it
    /// gives no type are `untyped`.
    pub(in crate::engine) fn nulls(&self, untyped: &DataType) -> Result<ParamValues> {
        let values = self.parameters.iter().map(|(name, data_type)| {
            let data_type = data_type.as_ref().filter(|data_type| **data_type != DataType::Null);
            Ok((name.clone(), ScalarValue::try_new_null(data_type.unwrap_or(untyped))?))
        });
        Ok(ParamValues::from(values.collect::<Result<HashMap<_, _>>>()?))
    }

    /// The values of one bound row. A text is read as the type that the statement asks for; other
    /// values stay what they are, and SQL's own rules coerce them.
    pub(in crate::engine) fn values(&self, bound: &Bound, row: usize) -> Result<ParamValues> {
        let columns = columns_for(&bound.schema(), &self.parameters)?;
        let mut values = HashMap::new();
        for ((name, wanted), column) in self.parameters.iter().zip(columns) {
            let column = bound.batch.column(column);
            // A NULL among values has their type, lest rows give results of different ones. Where there are none,
            // the type is what a driver made up.
            let is_typed =
                column.null_count() < column.len() && !matches!(column.data_type(), DataType::Union(..));
            let value = match ScalarValue::try_from_array(column, row)? {
                ScalarValue::Union(Some((_, value)), ..) => *value,
                ScalarValue::Union(None, ..) => ScalarValue::Null,
                value => value,
            };
            let value = match wanted {
                Some(wanted) if value.is_null() && !is_typed => ScalarValue::try_new_null(wanted)?,
                Some(wanted) if is_text(&value.data_type()) && !is_text(wanted) => read_text(&value, wanted)
                    .map_err(|error| {
                        let error = error.strip_backtrace();
                        Error::invalid(format!("the value of parameter ${name} is no {wanted}: {error}"))
                    })?,
                Some(wanted) if is_time_of_day(wanted) && is_time_of_day(&value.data_type()) => {
                    in_unit(value, wanted)
                }
                _ => value,
            };
            values.insert(name.clone(), value);
        }
        Ok(ParamValues::from(values))
    }

    /// Names without `$`, and the types that the statement gives them.
    pub(in crate::engine) fn parameters(&self) -> &[(String, Option<DataType>)] {
        &self.parameters
    }

    /// Whether there are none.
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }
}

/// A text as the type that is wanted. What spells a UUID is one, where 16 bytes are.
fn read_text(value: &ScalarValue, wanted: &DataType) -> Result<ScalarValue, DataFusionError> {
    if let (DataType::FixedSizeBinary(16), Some(Some(text))) = (wanted, value.try_as_str())
        && let Some(bytes) = parse_uuid(text)
    {
        return Ok(ScalarValue::FixedSizeBinary(16, Some(bytes)));
    }
    value.cast_to(wanted)
}

fn is_time_of_day(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

/// A time of day in the unit that is wanted, since DataFusion compares none of two units; as it is, where that unit does not
/// hold it.
fn in_unit(value: ScalarValue, wanted: &DataType) -> ScalarValue {
    let is_same = |cast: &ScalarValue| cast.cast_to(&value.data_type()).is_ok_and(|back| back == value);
    match value.cast_to(wanted) {
        Ok(cast) if is_same(&cast) => cast,
        _ => value,
    }
}

/// Types that DataFusion does not infer: those of `CAST($1 AS …)`, and of LIMIT and OFFSET.
fn hints(plan: &LogicalPlan) -> Result<HashMap<String, DataType>> {
    let mut hints = HashMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::Limit(limit) = node {
            for expression in limit.skip.iter().chain(&limit.fetch) {
                if let Expr::Placeholder(parameter) = expression.as_ref() {
                    hints.insert(parameter.id.clone(), DataType::Int64);
                }
            }
        }
        node.apply_expressions(|expression| {
            expression.apply(|expression| {
                let (Expr::Cast(Cast { expr, field }) | Expr::TryCast(TryCast { expr, field })) = expression
                else {
                    return Ok(TreeNodeRecursion::Continue);
                };
                if let Expr::Placeholder(parameter) = expr.as_ref() {
                    hints.insert(parameter.id.clone(), field.data_type().clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(hints)
}

fn concrete(data_type: Option<&DataType>) -> DataType {
    match data_type {
        None | Some(DataType::Null) => DataType::Utf8,
        Some(data_type) => data_type.clone(),
    }
}

pub(in crate::engine) fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// Values for a statement's parameters; a statement runs once for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    batch: RecordBatch,
}

impl Bound {
    /// The rows of `batch`, one column for each parameter.
    pub fn new(batch: RecordBatch) -> Self {
        Self { batch }
    }

    /// How often the statement runs.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The rows as a batch.
    pub fn batch(&self) -> &RecordBatch {
        &self.batch
    }

    /// The schema of the rows.
    pub fn schema(&self) -> SchemaRef {
        self.batch.schema()
    }
}

/// The column of each parameter: by name where the columns are called as the parameters are, `$` included, else by
/// position.
pub(in crate::engine) fn columns_for(
    schema: &Schema,
    parameters: &[(String, Option<DataType>)],
) -> Result<Vec<usize>> {
    let (have, want) = (schema.fields().len(), parameters.len());
    if have != want {
        return Err(Error::invalid(format!("the statement has {want} parameters, {have} were bound")));
    }
    let named = parameters.iter().map(|(name, _)| {
        let plain = name.parse::<u32>().is_err().then(|| schema.index_of(name).ok()).flatten();
        schema.index_of(&format!("${name}")).ok().or(plain)
    });
    let named: Option<Vec<usize>> = named.collect();
    Ok(named.unwrap_or_else(|| (0..want).collect()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn wanted(parameters: &[(&str, Option<DataType>)]) -> Wanted {
        let parameters = parameters.iter().map(|(name, data_type)| ((*name).to_owned(), data_type.clone()));
        Wanted { parameters: parameters.collect() }
    }

    fn bound(columns: &[(&str, ArrayRef)]) -> Bound {
        Bound::new(RecordBatch::try_from_iter(columns.to_vec()).unwrap())
    }

    fn value(values: &ParamValues, id: &str) -> ScalarValue {
        values.get_placeholders_with_values(id).unwrap().value().clone()
    }

    #[test]
    fn values_bind_by_position_or_by_name() {
        let (one, two): (ArrayRef, ArrayRef) =
            (Arc::new(Int64Array::from(vec![1])), Arc::new(Int64Array::from(vec![2])));
        let wanted = wanted(&[("1", Some(DataType::Int64)), ("2", None)]);
        let positional = bound(&[("0", Arc::clone(&one)), ("1", Arc::clone(&two))]);
        let named = bound(&[("$2", Arc::clone(&two)), ("$1", Arc::clone(&one))]);
        for bound in [positional, named] {
            let values = wanted.values(&bound, 0).unwrap();
            assert_eq!(value(&values, "$1"), ScalarValue::Int64(Some(1)));
            assert_eq!(value(&values, "$2"), ScalarValue::Int64(Some(2)));
        }
        assert!(wanted.values(&bound(&[("$1", one)]), 0).is_err());
    }

    #[test]
    fn a_null_has_the_type_of_the_values_around_it() {
        let wanted = wanted(&[("1", Some(DataType::Int32))]);
        let of = |column: Vec<Option<i64>>| {
            let bound = bound(&[("0", Arc::new(Int64Array::from(column)) as ArrayRef)]);
            value(&wanted.values(&bound, 0).unwrap(), "$1")
        };
        assert_eq!(of(vec![None, Some(1)]), ScalarValue::Int64(None));
        assert_eq!(of(vec![None, None]), ScalarValue::Int32(None));
    }

    #[test]
    fn text_is_read_as_the_type_that_is_asked_for() {
        let wanted = wanted(&[("1", Some(DataType::Int64))]);
        let text = |text: &str| bound(&[("0", Arc::new(StringArray::from(vec![text])) as ArrayRef)]);
        let values = wanted.values(&text("42"), 0).unwrap();
        assert_eq!(value(&values, "$1"), ScalarValue::Int64(Some(42)));
        let error = wanted.values(&text("many"), 0).unwrap_err();
        assert!(error.message().contains("$1"), "{error}");
    }

    #[test]
    fn the_schema_is_in_the_order_of_the_numbers_and_has_no_null_types() {
        let names: Vec<_> = wanted(&[("1", Some(DataType::Null)), ("2", Some(DataType::Date32))])
            .schema()
            .fields()
            .iter()
            .map(|field| (field.name().clone(), field.data_type().clone()))
            .collect();
        assert_eq!(names, [("$1".to_owned(), DataType::Utf8), ("$2".to_owned(), DataType::Date32)]);
    }
}
