//! `min` and `max` of structs, lists and maps.
//!
//! DataFusion 55.2 compares such values by kernels that leave NULLs inside of them out and know no lists of lists or of
//! structs: it is wrong where a field is NULL, and fails with an internal error on maps and deeper types
//! (apache/datafusion#24937). Here they are compared as ORDER BY compares them, with NULL as the largest. This can go
//! when `ScalarValue` compares all nested values, NULLs inside of them included.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::SortOptions;
use arrow::datatypes::DataType;
use arrow::row::{OwnedRow, RowConverter, SortField};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue, not_impl_err};
use datafusion::logical_expr::expr::WindowFunctionDefinition;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Expr, ExprSchemable, Signature, Volatility,
};

type DfResult<T> = std::result::Result<T, datafusion::common::DataFusionError>;

/// Puts these functions in the place of DataFusion's where the argument is nested.
#[derive(Debug)]
pub(super) struct NestedExtremes {
    min: Arc<AggregateUDF>,
    max: Arc<AggregateUDF>,
}

impl NestedExtremes {
    pub(super) fn new() -> Self {
        let function = |name, is_min| {
            let signature = Signature::any(1, Volatility::Immutable);
            Arc::new(AggregateUDF::new_from_impl(Extreme { name, is_min, signature }))
        };
        Self { min: function("min", true), max: function("max", false) }
    }

    /// What takes the place of `function` of these arguments.
    fn instead_of(
        &self,
        function: &AggregateUDF,
        args: &[Expr],
        schema: &DFSchema,
    ) -> Option<Arc<AggregateUDF>> {
        let own = match function.name() {
            "min" => &self.min,
            "max" => &self.max,
            _ => return None,
        };
        let [argument] = args else { return None };
        // Where the type is not known yet, the planner says so.
        argument.get_type(schema).ok()?.is_nested().then(|| Arc::clone(own))
    }
}

impl FunctionRewrite for NestedExtremes {
    fn name(&self) -> &'static str {
        "nested_extremes"
    }

    fn rewrite(&self, expr: Expr, schema: &DFSchema, _: &ConfigOptions) -> DfResult<Transformed<Expr>> {
        match expr {
            Expr::AggregateFunction(mut call) => {
                let own = self.instead_of(&call.func, &call.params.args, schema);
                let is_changed = own.is_some();
                call.func = own.unwrap_or(call.func);
                Ok(Transformed::new_transformed(Expr::AggregateFunction(call), is_changed))
            }
            Expr::WindowFunction(mut call) => {
                let own = match &call.fun {
                    WindowFunctionDefinition::AggregateUDF(function) => {
                        self.instead_of(function, &call.params.args, schema)
                    }
                    WindowFunctionDefinition::WindowUDF(_) => None,
                };
                let is_changed = own.is_some();
                call.fun = own.map_or(call.fun, WindowFunctionDefinition::AggregateUDF);
                Ok(Transformed::new_transformed(Expr::WindowFunction(call), is_changed))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

/// The least or largest of nested values.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme {
    name: &'static str,
    is_min: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Extreme {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        match args {
            [argument] if RowConverter::supports_fields(&[SortField::new(argument.clone())]) => {
                Ok(argument.clone())
            }
            _ => not_impl_err!("{} of {args:?}", self.name),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> DfResult<Box<dyn Accumulator>> {
        let data_type = args.return_field.data_type();
        let order = SortOptions { descending: false, nulls_first: false };
        let converter = RowConverter::new(vec![SortField::new_with_options(data_type.clone(), order)])?;
        let value = ScalarValue::try_from(data_type)?;
        Ok(Box::new(Best { is_min: self.is_min, converter, row: None, value }))
    }
}

/// The best of the values that came so far.
#[derive(Debug)]
struct Best {
    is_min: bool,
    converter: RowConverter,
    row: Option<OwnedRow>,
    value: ScalarValue,
}

impl Accumulator for Best {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let Some(values) = values.first() else { return Ok(()) };
        let rows = self.converter.convert_columns(&[Arc::clone(values)])?;
        let present = (0..values.len()).filter(|place| values.is_valid(*place));
        let of_these = if self.is_min {
            present.min_by_key(|place| rows.row(*place))
        } else {
            present.max_by_key(|place| rows.row(*place))
        };
        let Some(place) = of_these else { return Ok(()) };
        let row = rows.row(place).owned();
        let is_better =
            self.row.as_ref().is_none_or(|best| if self.is_min { row < *best } else { row > *best });
        if is_better {
            self.value = ScalarValue::try_from_array(values, place)?;
            self.value.compact();
            self.row = Some(row);
        }
        Ok(())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone()])
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        let row = self.row.as_ref().map_or(0, |row| row.as_ref().len());
        size_of::<Self>() + self.converter.size() + row + self.value.size()
    }
}
