//! The library's errors as ours.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::io;

use delta_kernel::schema::{DataType, PrimitiveType};
use delta_kernel::table_features::TableFeature;
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;

use crate::error::{Error, ErrorKind};
use crate::storage::exhausted_in;

/// Whether an error is one of the operating system's that is not the absence of a file.
pub(super) fn is_of_system(error: &Error) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>()
            && error.raw_os_error().is_some()
        {
            return error.kind() != io::ErrorKind::NotFound;
        }
        source = error.source();
    }
    false
}

/// What an error of the library means for the client.
pub(super) fn delta_error(error: DeltaTableError) -> Error {
    if let Some(ours) = Error::find_in(&error) {
        return ours.duplicate().with_source(error);
    }
    if let Some(exhausted) = exhausted_in("work on the Delta table", &error) {
        return exhausted.with_source(error);
    }
    let kind = match &error {
        DeltaTableError::Transaction { source } => return transaction_error(source).with_source(error),
        DeltaTableError::UnsupportedColumnMapping { .. } => ErrorKind::Unimplemented,
        DeltaTableError::InvalidJsonLog { .. }
        | DeltaTableError::InvalidStatsJson { .. }
        | DeltaTableError::NotATable(_)
        | DeltaTableError::MetadataError(_)
        | DeltaTableError::NoSchema => ErrorKind::DataLoss,
        DeltaTableError::InvalidVersion(_) => ErrorKind::NotFound,
        DeltaTableError::InvalidData { .. } | DeltaTableError::SchemaMismatch { .. } => {
            ErrorKind::InvalidArgument
        }
        _ if mentions(&error, &["not found", "NotFound", "No such file"]) => ErrorKind::NotFound,
        DeltaTableError::KernelError(_) if mentions(&error, &["unsupported", "Unsupported"]) => {
            ErrorKind::Unimplemented
        }
        DeltaTableError::KernelError(_) => ErrorKind::DataLoss,
        _ => ErrorKind::Internal,
    };
    let text = match kind {
        ErrorKind::DataLoss => {
            "the log of the Delta table is damaged: what it says does not make a table; the server's log says more"
                .to_owned()
        }
        ErrorKind::Internal => format!("the Delta library: {error}"),
        ErrorKind::Unimplemented => format!("the Delta table is not supported: {error}"),
        _ => error.to_string(),
    };
    Error::new(kind, text).with_source(error)
}

fn mentions(error: &dyn StdError, words: &[&str]) -> bool {
    let text = error.to_string();
    words.iter().any(|word| text.contains(word))
}

fn transaction_error(error: &TransactionError) -> Error {
    match error {
        TransactionError::UnsupportedTableFeatures(_) => unreadable(error),
        TransactionError::DeltaTableAppendOnly => Error::precondition(
            "the Delta table is append-only (delta.appendOnly): its rows are not changed or removed",
        ),
        TransactionError::CommitConflict(_)
        | TransactionError::MaxCommitAttempts(_)
        | TransactionError::VersionAlreadyExists(_) => {
            Error::precondition(format!("another change came first: {error}; try again"))
        }
        other => Error::internal(format!("committing to a Delta table: {other}")),
    }
}

/// The error for a table whose features are not all known.
pub(super) fn unreadable(error: &TransactionError) -> Error {
    match error {
        TransactionError::UnsupportedTableFeatures(features) => Error::unimplemented(format!(
            "the Delta table uses features that are not supported: {}",
            names(features)
        )),
        other => Error::unimplemented(format!("the Delta table is not supported: {other}")),
    }
}

/// The error for a table that is read, and whose writers need to know of features that are not known here.
pub(super) fn unwritable(error: &TransactionError) -> Error {
    match error {
        TransactionError::UnsupportedTableFeatures(features) => Error::unimplemented(format!(
            "the Delta table uses features that are not supported in writes: {}; it is read, but not changed here; \
             change it with the program that made it, or make a copy with CREATE TABLE … AS SELECT",
            names(features)
        )),
        other => unreadable(other),
    }
}

fn names(features: &[TableFeature]) -> String {
    let mut names: Vec<_> = features.iter().map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}

/// The error for the value `text` of a partition column in the log that the library cannot parse; `columns` are those
/// that it may be of. A decimal need not be damage: the library wants all digits of its scale, the protocol does not.
pub(super) fn unparsed(text: &str, data_type: &DataType, columns: &BTreeSet<String>) -> Error {
    let columns: Vec<_> = columns.iter().map(|name| format!("{name:?}")).collect();
    let column = match columns.as_slice() {
        [] => "a partition column".to_owned(),
        columns => format!("partition column {}", columns.join(" or ")),
    };
    let DataType::Primitive(PrimitiveType::Decimal(decimal)) = data_type else {
        return Error::data_loss(format!(
            "the log of the Delta table is damaged: it gives {column} the value {text:?}, which is no {data_type}"
        ));
    };
    let scale = decimal.scale();
    Error::unimplemented(format!(
        "the log of the Delta table gives {column} the value {text:?}, and a {data_type} is only read with exactly \
         {scale} digits after the point; write the table anew with a program that notes its values so, as Spark does"
    ))
}

#[cfg(test)]
mod tests {
    use delta_kernel::schema::DecimalType;

    use super::*;

    #[test]
    fn a_decimal_without_all_digits_is_no_damage() {
        let decimal = DataType::from(DecimalType::try_new(10, 2).unwrap());
        let error = unparsed("-2", &decimal, &BTreeSet::from(["d".to_owned()]));
        assert_eq!(error.kind(), ErrorKind::Unimplemented);
        for part in ["partition column \"d\"", "\"-2\"", "decimal(10,2)", "exactly 2 digits"] {
            assert!(error.message().contains(part), "{error}");
        }
        let integer = DataType::from(PrimitiveType::Integer);
        let error = unparsed("two", &integer, &BTreeSet::from(["a".to_owned(), "b".to_owned()]));
        assert_eq!(error.kind(), ErrorKind::DataLoss);
        assert!(error.message().contains("\"a\" or \"b\" the value \"two\", which is no integer"), "{error}");
    }
}
