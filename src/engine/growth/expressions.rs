//! Which expressions can make more than they are given.

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Literal};

use super::cost::Cost;

/// Constants up to here are as good as numbers.
const SMALL: usize = 64;

/// Whether values of a type can be of any size.
pub(super) fn is_of_any_size(data_type: &DataType) -> bool {
    match data_type {
        DataType::Struct(fields) => fields.iter().any(|field| is_of_any_size(field.data_type())),
        DataType::FixedSizeList(..) | DataType::FixedSizeBinary(_) => true,
        DataType::Dictionary(_, value) => is_of_any_size(value),
        DataType::Null => false,
        other => other.primitive_width().is_none() && *other != DataType::Boolean,
    }
}

/// What an expression may come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Growth {
    /// Whether it makes values that can be of any size.
    pub(super) makes_values: bool,
    /// Whether these can be any number of times as large as what they are made of.
    pub(super) multiplies: bool,
    /// Whether a few bytes can ask for any amount of them.
    pub(super) is_asked_for: bool,
    /// Bytes that it repeats in each row: those of large constants.
    pub(super) constant: usize,
    /// Texts that are put together.
    pub(super) joined: usize,
}

impl Growth {
    pub(super) fn of(expr: &Arc<dyn PhysicalExpr>) -> Self {
        let mut growth = Self::default();
        growth.add(expr);
        growth
    }

    pub(super) fn of_all<'a>(exprs: impl IntoIterator<Item = &'a Arc<dyn PhysicalExpr>>) -> Self {
        let mut growth = Self::default();
        exprs.into_iter().for_each(|expr| growth.add(expr));
        growth
    }

    fn add(&mut self, expr: &Arc<dyn PhysicalExpr>) {
        if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
            let makes = is_of_any_size(call.return_type());
            self.makes_values |= makes;
            let cost = Cost::of(call.fun().name(), call.args().len());
            self.multiplies |= makes && cost != Cost::OfItsInput;
            self.is_asked_for |= makes && cost.is_asked_for();
        } else if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
            let joins = *binary.op() == Operator::StringConcat;
            self.makes_values |= joins;
            self.joined += usize::from(joins);
        } else if let Some(literal) = expr.downcast_ref::<Literal>() {
            let bytes = bytes(literal.value());
            if bytes > SMALL {
                self.makes_values = true;
                self.constant = self.constant.saturating_add(bytes);
            }
        }
        expr.children().into_iter().for_each(|child| self.add(child));
    }
}

fn bytes(value: &ScalarValue) -> usize {
    if is_of_any_size(&value.data_type()) { value.size() } else { 0 }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{Field, Fields};

    use super::*;

    #[test]
    fn texts_and_lists_are_of_any_size_and_numbers_are_not() {
        let list = DataType::new_list(DataType::Int8, true);
        for any in [DataType::Utf8, DataType::BinaryView, list.clone()] {
            assert!(is_of_any_size(&any), "{any}");
        }
        for fixed in [
            DataType::Int64,
            DataType::Boolean,
            DataType::Decimal128(10, 2),
            DataType::Date32,
            DataType::Null,
        ] {
            assert!(!is_of_any_size(&fixed), "{fixed}");
        }
        let of = |data_type: DataType| DataType::Struct(Fields::from(vec![Field::new("a", data_type, true)]));
        assert!(is_of_any_size(&of(list)) && !is_of_any_size(&of(DataType::Int8)));
    }
}
