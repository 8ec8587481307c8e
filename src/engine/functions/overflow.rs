//! The error of a result that does not fit its type.

use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use datafusion::common::DataFusionError;

/// What `what` gives does not fit `data_type`.
pub(in crate::engine) fn overflow(what: &str, data_type: &DataType) -> DataFusionError {
    let wider = match data_type {
        data_type if data_type.is_integer() => "; cast what it is made of to DECIMAL(38, 0) or DOUBLE",
        data_type if data_type.is_decimal() => {
            "; cast what it is made of to fewer decimal places, or to DOUBLE"
        }
        _ => "",
    };
    DataFusionError::Execution(format!("Arithmetic overflow: {what} does not fit {data_type}{wider}"))
}

/// The error of a kernel of arrow, as one of ours if it is about values that do not fit.
pub(super) fn kernel_error(error: ArrowError, data_type: &DataType) -> DataFusionError {
    match error {
        ArrowError::ArithmeticOverflow(text) => {
            let what = text.strip_prefix("Overflow happened on: ").unwrap_or(&text);
            overflow(what, data_type)
        }
        error => error.into(),
    }
}
