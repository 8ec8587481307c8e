//! Casts between texts and UUIDs.
//!
//! A UUID is 16 bytes to DataFusion 55.2, which it does not cast texts to, and shows as bytes (apache/datafusion#12644).
//! Here they are what people write. This can go when DataFusion has UUIDs.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable, LogicalPlan, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TryCast, Volatility,
};
use datafusion::optimizer::AnalyzerRule;

use super::super::optimizer::parse_uuid;
use crate::storage::{UUID, with_extension};

/// Bytes of a UUID.
const LENGTH: i32 = 16;

/// Casts between texts and UUIDs as functions. Comes before types are coerced.
#[derive(Debug)]
pub(in crate::engine) struct UuidCasts;

impl AnalyzerRule for UuidCasts {
    fn name(&self) -> &'static str {
        "uuid_casts"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(with_casts)?.data)
    }
}

fn with_casts(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let mut has_casts = false;
    plan.apply_expressions(|expr| {
        has_casts |= expr.exists(|expr| Ok(matches!(expr, Expr::Cast(_) | Expr::TryCast(_))))?;
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    })?;
    if !has_casts {
        return Ok(Transformed::no(plan));
    }
    let schema = match &plan {
        LogicalPlan::TableScan(scan) => {
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?
        }
        other => merge_schema(&other.inputs()),
    };
    let names = NamePreserver::new(&plan);
    plan.map_expressions(|expr| {
        // A set has no name that could be kept.
        let name = (!matches!(expr, Expr::GroupingSet(_))).then(|| names.save(&expr));
        let changed = expr.transform_up(|expr| Ok(as_function(expr, &schema)))?;
        Ok(match name {
            Some(name) => changed.update_data(|expr| name.restore(expr)),
            None => changed,
        })
    })
}

fn as_function(expr: Expr, schema: &DFSchema) -> Transformed<Expr> {
    let (inner, to, strict) = match &expr {
        Expr::Cast(Cast { expr, field }) => (expr, field, true),
        Expr::TryCast(TryCast { expr, field }) => (expr, field, false),
        _ => return Transformed::no(expr),
    };
    // What cannot be told the type of has an error of its own.
    let Ok((_, from)) = inner.to_field(schema) else { return Transformed::no(expr) };
    let call = |does| {
        let function = Arc::new(ScalarUDF::from(UuidCast::new(does)));
        Expr::ScalarFunction(ScalarFunction::new_udf(function, vec![inner.as_ref().clone()]))
    };
    let is_uuid = from.extension_type_name() == Some(UUID);
    if is_text(from.data_type()) && *to.data_type() == DataType::FixedSizeBinary(LENGTH) {
        return Transformed::yes(call(if strict { Does::Read } else { Does::TryRead }));
    }
    if is_uuid && is_text(to.data_type()) {
        let text = call(Does::Write);
        let as_asked = Cast::new_from_field(Box::new(text.clone()), Arc::clone(to));
        let is_it = *to.data_type() == DataType::Utf8;
        return Transformed::yes(if is_it { text } else { Expr::Cast(as_asked) });
    }
    Transformed::no(expr)
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Does {
    Read,
    /// What is no UUID is NULL.
    TryRead,
    Write,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct UuidCast {
    does: Does,
    signature: Signature,
}

impl UuidCast {
    fn new(does: Does) -> Self {
        Self { does, signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for UuidCast {
    fn name(&self) -> &'static str {
        match self.does {
            Does::Read => "uuid_of_text",
            Does::TryRead => "try_uuid_of_text",
            Does::Write => "text_of_uuid",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.does {
            Does::Read | Does::TryRead => DataType::FixedSizeBinary(LENGTH),
            Does::Write => DataType::Utf8,
        })
    }

    fn return_field_from_args(&self, _: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Field::new(self.name(), self.return_type(&[])?, true);
        Ok(Arc::new(match self.does {
            Does::Read | Does::TryRead => with_extension(field, UUID, None),
            Does::Write => field,
        }))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_scalar = matches!(arguments.args.first(), Some(ColumnarValue::Scalar(_)));
        let arrays = ColumnarValue::values_to_arrays(&arguments.args)?;
        let [array] = arrays.as_slice() else { return plan_err!("{} takes one value", self.name()) };
        let converted = match self.does {
            Does::Read => read(array, true)?,
            Does::TryRead => read(array, false)?,
            Does::Write => write(array)?,
        };
        if is_scalar {
            return Ok(ColumnarValue::Scalar(datafusion::common::ScalarValue::try_from_array(
                &converted, 0,
            )?));
        }
        Ok(ColumnarValue::Array(converted))
    }
}

fn read(array: &ArrayRef, strict: bool) -> Result<ArrayRef> {
    let texts = cast(array, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    let mut uuids = FixedSizeBinaryBuilder::with_capacity(texts.len(), LENGTH);
    for text in texts {
        match text.map(|text| (text, parse_uuid(text))) {
            Some((_, Some(bytes))) => uuids.append_value(bytes)?,
            Some((text, None)) if strict => {
                let text: String = text.chars().take(100).collect();
                return Err(DataFusionError::Execution(format!("{text:?} is no UUID")));
            }
            _ => uuids.append_null(),
        }
    }
    Ok(Arc::new(uuids.finish()))
}

fn write(array: &ArrayRef) -> Result<ArrayRef> {
    let Some(uuids) = array.as_fixed_size_binary_opt() else {
        return plan_err!("a UUID is 16 bytes, not {}", array.data_type());
    };
    let text = |bytes: &[u8]| uuid::Uuid::from_slice(bytes).map(|uuid| uuid.to_string());
    let texts = uuids.iter().map(|bytes| bytes.map(text).transpose()).collect::<Result<StringArray, _>>();
    texts
        .map(|texts| Arc::new(texts) as ArrayRef)
        .map_err(|error| DataFusionError::Execution(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_uuids_are_each_other() {
        let text = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some(text), None]));
        let uuids = read(&texts, true).unwrap();
        assert_eq!(&write(&uuids).unwrap(), &texts);
        let odd: ArrayRef = Arc::new(StringArray::from(vec!["none"]));
        assert!(read(&odd, true).is_err());
        assert_eq!(read(&odd, false).unwrap().null_count(), 1);
    }
}
