//! `to_timestamp` and its kin, of texts in a session with a time zone, as every session of ours is.
//!
//! DataFusion 55.2 promises a timestamp with the session's zone and gives columns without one
//! (apache/datafusion#24632): the query fails. The values are right, only their type is not; it is set here. Can go
//! when DataFusion gives what it promises.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, make_array};
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use crate::error::Result;

const NAMES: [&str; 5] = [
    "to_timestamp",
    "to_timestamp_seconds",
    "to_timestamp_millis",
    "to_timestamp_micros",
    "to_timestamp_nanos",
];

/// Puts the functions in the place of DataFusion's.
pub(super) fn replace(state: &mut SessionState) -> Result<()> {
    for name in NAMES {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(Zoned { inner })))?;
    }
    Ok(())
}

/// A function whose result has the zone that it promises.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Zoned {
    inner: Arc<ScalarUDF>,
}

impl ScalarUDFImpl for Zoned {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> DfResult<DataType> {
        self.inner.return_type(arguments)
    }

    fn return_field_from_args(&self, arguments: ReturnFieldArgs) -> DfResult<FieldRef> {
        self.inner.return_field_from_args(arguments)
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let inner = Arc::new(self.inner.inner().with_updated_config(config)?);
        Some(ScalarUDF::from(Self { inner }))
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let promised = arguments.return_field.data_type().clone();
        Ok(match self.inner.inner().invoke_with_args(arguments)? {
            ColumnarValue::Array(array) => ColumnarValue::Array(zoned(array, &promised)?),
            scalar @ ColumnarValue::Scalar(_) => scalar,
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The same moments with the zone of `promised`: they count from the epoch in UTC with a zone or without.
fn zoned(array: ArrayRef, promised: &DataType) -> DfResult<ArrayRef> {
    match (array.data_type(), promised) {
        (DataType::Timestamp(unit, None), DataType::Timestamp(wanted, Some(_))) if unit == wanted => {
            let data = array.to_data().into_builder().data_type(promised.clone()).build()?;
            Ok(make_array(data))
        }
        _ => Ok(array),
    }
}
