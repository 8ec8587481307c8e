//! `make_array` and `[…]` of columns that are NULL in every row and so have the type of NULL.
//!
//! DataFusion 55.2 makes one list of all their rows (apache/datafusion#21841), and the query fails. Other calls stay
//! DataFusion's, which it knows: it searches their arguments, and not the lists that they make. This can go when it
//! makes a list for each row.

use std::sync::Arc;

use arrow::array::{ListArray, NullArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, Result};
use datafusion::functions_nested::make_array::make_array_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExprSchemable, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature,
};

use super::replacement::Replacement;

/// The function in the place of DataFusion's where all arguments have the type of NULL.
pub(super) fn lists_of_nulls() -> Replacement {
    Replacement::of_those("lists_of_nulls", ScalarUDF::from(MakeArray { inner: make_array_udf() }), all_null)
}

/// Whether all arguments have the type of NULL, and there are some.
fn all_null(args: &[Expr], schema: &DFSchema) -> bool {
    let is_null = |arg: &Expr| arg.get_type(schema).is_ok_and(|data_type| data_type.is_null());
    !args.is_empty() && args.iter().all(is_null)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MakeArray {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for MakeArray {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // The type of a column of a union is known only when all of its sides are.
        let are_null = args.args.iter().all(|arg| arg.data_type().is_null());
        let are_scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        if !are_null || are_scalars {
            return self.inner.invoke_with_args(args);
        }
        let (length, rows) = (args.args.len(), args.number_rows);
        let field = Arc::new(Field::new_list_field(DataType::Null, true));
        let offsets = OffsetBuffer::from_repeated_length(length, rows);
        let lists = ListArray::try_new(field, offsets, Arc::new(NullArray::new(length * rows)), None)?;
        Ok(ColumnarValue::Array(Arc::new(lists)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
