//! Comparisons of UUIDs with texts.
//!
//! A UUID is 16 bytes to DataFusion 55.2, which do not compare with `'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'`: it knows
//! nothing of extension types (apache/datafusion#12644). Here a text that a column of UUIDs is compared with is the
//! UUID that it spells, or an error.
//!
//! This can go when DataFusion has UUIDs.

use arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, Operator, lit};
use datafusion::optimizer::AnalyzerRule;

use crate::storage::UUID;

/// Bytes of a UUID.
const LENGTH: i32 = 16;

/// Reads texts that are compared with UUIDs as such. Comes before types are coerced.
#[derive(Debug)]
pub(super) struct Uuids;

impl AnalyzerRule for Uuids {
    fn name(&self) -> &'static str {
        "uuids"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(plan.transform_up_with_subqueries(with_uuids)?.data)
    }
}

fn with_uuids(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let schema = match &plan {
        LogicalPlan::TableScan(scan) => {
            DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?
        }
        other => merge_schema(&other.inputs()),
    };
    if !schema.fields().iter().any(|field| field.extension_type_name() == Some(UUID)) {
        return Ok(Transformed::no(plan));
    }
    let names = NamePreserver::new(&plan);
    super::map_each(plan, |expr| {
        let name = names.save(&expr);
        let changed = expr.transform_up(|expr| compared(expr, &schema))?;
        Ok(changed.update_data(|expr| name.restore(expr)))
    })
}

/// A comparison whose texts are UUIDs where one of the others is.
fn compared(mut expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let operands: Vec<&mut Expr> = match &mut expr {
        Expr::BinaryExpr(binary) if is_comparison(binary.op) => {
            vec![binary.left.as_mut(), binary.right.as_mut()]
        }
        Expr::InList(list) => std::iter::once(list.expr.as_mut()).chain(&mut list.list).collect(),
        Expr::Between(between) => {
            vec![between.expr.as_mut(), between.low.as_mut(), between.high.as_mut()]
        }
        _ => return Ok(Transformed::no(expr)),
    };
    if !operands.iter().any(|operand| is_uuid(operand, schema)) {
        return Ok(Transformed::no(expr));
    }
    let mut changed = false;
    for operand in operands {
        let Expr::Literal(value, _) = &*operand else { continue };
        let Some(Some(text)) = value.try_as_str() else { continue };
        let bytes = parse_uuid(text).ok_or_else(|| {
            DataFusionError::Plan(format!("a UUID is compared with {text:?}, which is none"))
        })?;
        *operand = lit(ScalarValue::FixedSizeBinary(LENGTH, Some(bytes)));
        changed = true;
    }
    Ok(Transformed::new_transformed(expr, changed))
}

fn is_comparison(operator: Operator) -> bool {
    use Operator::{Eq, Gt, GtEq, IsDistinctFrom, IsNotDistinctFrom, Lt, LtEq, NotEq};
    matches!(operator, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom)
}

fn is_uuid(expr: &Expr, schema: &DFSchema) -> bool {
    expr.to_field(schema).is_ok_and(|(_, field)| {
        field.extension_type_name() == Some(UUID) && *field.data_type() == DataType::FixedSizeBinary(LENGTH)
    })
}

/// The bytes of a UUID: 32 digits, in any case, with hyphens anywhere between bytes and braces around, or not.
pub(in crate::engine) fn parse_uuid(text: &str) -> Option<Vec<u8>> {
    let text = text.trim();
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: Option<Vec<u8>> = text
        .chars()
        .filter(|character| *character != '-')
        .map(|character| character.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect();
    let digits = digits.filter(|digits| digits.len() == 32)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_people_write_them() {
        let bytes = Some((0..16).map(|byte| byte * 0x11).collect::<Vec<u8>>());
        for text in [
            "00112233-4455-6677-8899-aabbccddeeff",
            "00112233445566778899AABBCCDDEEFF",
            "{00112233-4455-6677-8899-aabbccddeeff}",
        ] {
            assert_eq!(parse_uuid(text), bytes, "{text}");
        }
        for text in ["", "0011", "00112233-4455-6677-8899-aabbccddeefg", "00112233445566778899AABBCCDDEEFF0"]
        {
            assert_eq!(parse_uuid(text), None, "{text}");
        }
    }
}
