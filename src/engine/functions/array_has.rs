//! `array_has`, and `= ANY` of a list: whether a list has a value.
//!
//! Where the value is not found and the list has NULLs, which may be anything, the answer is NULL: so SQL has it of `IN`, and
//! so DataFusion 55.2 answers where the list is a literal, which it makes an IN list of. Of any other list it says false
//! there, so that one query gives two answers. This can go when it has one.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, OffsetSizeTrait};
use arrow::buffer::BooleanBuffer;
use arrow::compute::{and_not, nullif};
use arrow::datatypes::DataType;
use datafusion::common::Result;
use datafusion::functions_nested::array_has::array_has_udf;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::replacement::Replacement;

/// The function in the place of DataFusion's.
pub(super) fn unknown_elements() -> Replacement {
    Replacement::of_all("unknown_elements", ScalarUDF::from(ArrayHas { inner: array_has_udf() }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ArrayHas {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for ArrayHas {
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

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        self.inner.simplify(args, info)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (list, rows) = (args.args.first().cloned(), args.number_rows);
        let found = self.inner.invoke_with_args(args)?;
        let Some(list) = list else { return Ok(found) };
        let list = match &list {
            ColumnarValue::Array(list) => Arc::clone(list),
            ColumnarValue::Scalar(list) => list.to_array_of_size(1)?,
        };
        let Some(unknown) = have_nulls(&list) else { return Ok(found) };
        let (rows, unknown) = match list.len() {
            1 => (rows, BooleanBuffer::collect_bool(rows, |_| unknown.value(0))),
            rows => (rows, unknown),
        };
        let found = found.into_array(rows)?;
        let is_open = and_not(&BooleanArray::new(unknown, None), found.as_boolean())?;
        Ok(ColumnarValue::Array(nullif(&found, &is_open)?))
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// Which of some lists have NULLs; `None` where none has.
fn have_nulls(lists: &ArrayRef) -> Option<BooleanBuffer> {
    match lists.data_type() {
        DataType::List(_) => in_windows::<i32>(lists),
        DataType::LargeList(_) => in_windows::<i64>(lists),
        DataType::FixedSizeList(..) => {
            let lists = lists.as_fixed_size_list();
            let nulls = lists.values().logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
            let size = usize::try_from(lists.value_length()).ok()?;
            Some(BooleanBuffer::collect_bool(lists.len(), |row| {
                nulls.slice(row * size, size).null_count() > 0
            }))
        }
        _ => None,
    }
}

fn in_windows<O: OffsetSizeTrait>(lists: &ArrayRef) -> Option<BooleanBuffer> {
    let lists = lists.as_list::<O>();
    let nulls = lists.values().logical_nulls().filter(|nulls| nulls.null_count() > 0)?;
    let offsets = lists.value_offsets();
    Some(BooleanBuffer::collect_bool(lists.len(), |row| {
        let (start, end) = (offsets[row].as_usize(), offsets[row + 1].as_usize());
        nulls.slice(start, end - start).null_count() > 0
    }))
}
