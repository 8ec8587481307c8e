//! `date_part` and `extract`, whose comparisons with years hold for columns that cannot tell those years.
//!
//! DataFusion 55.2 turns `extract(year from t) < 9999` into a comparison of `t` with the first moment of that year,
//! which is NULL where the type of `t` cannot tell it: nanoseconds end in 2262. All rows are lost then (PR
//! apache/datafusion#25140). Here such a comparison stays as it is written.
//!
//! This can go with the release that has that change.

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result;
use datafusion::functions::datetime::date_part as original;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use super::replacement::Replacement;

/// DataFusion's function, which gives no bounds that are NULL.
#[derive(Debug, PartialEq, Eq, Hash)]
struct DatePart {
    inner: Arc<ScalarUDF>,
}

/// The function.
pub(super) fn date_part() -> ScalarUDF {
    ScalarUDF::new_from_impl(DatePart { inner: original() })
}

/// `EXTRACT(… FROM …)` with this function: DataFusion plans it with its own, whichever is registered.
pub(super) fn extract() -> Replacement {
    Replacement::of_all("extract", date_part())
}

impl ScalarUDFImpl for DatePart {
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

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }

    fn preimage(&self, args: &[Expr], value: &Expr, info: &SimplifyContext) -> Result<PreimageResult> {
        Ok(match self.inner.preimage(args, value, info)? {
            PreimageResult::Range { interval, .. }
                if interval.lower().is_null() || interval.upper().is_null() =>
            {
                PreimageResult::None
            }
            range => range,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}
