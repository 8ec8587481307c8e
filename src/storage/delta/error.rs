//! The library's errors as ours.

use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::fmt;

use delta_kernel::Error as KernelError;
use delta_kernel::schema::{DataType, PrimitiveType};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::TransactionError;

use crate::error::{Error, ErrorKind, causes, is_of_system};
use crate::storage::exhausted_in;

/// An error of the library's with its cause, which that of its kernel does not give.
#[derive(Debug)]
struct Unveiled(DeltaTableError);

impl fmt::Display for Unveiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Unveiled {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        let kernel = causes(&self.0).find_map(|error| error.downcast_ref::<KernelError>());
        kernel.and_then(kernel_cause).or_else(|| self.0.source())
    }
}

fn kernel_cause(error: &KernelError) -> Option<&(dyn StdError + 'static)> {
    match error {
        KernelError::Backtraced { source, .. } => kernel_cause(source),
        KernelError::ObjectStore(error) => Some(error),
        KernelError::IOError(error) => Some(error),
        other => other.source(),
    }
}

/// What an error of the library means for the client.
pub(super) fn delta_error(error: DeltaTableError) -> Error {
    let error = Unveiled(error);
    if let Some(ours) = Error::find_in(&error) {
        return ours.duplicate().with_source(error);
    }
    if let Some(exhausted) = exhausted_in("work on the Delta table", &error) {
        return exhausted.with_source(error);
    }
    if is_of_system(&error) {
        return Error::internal("the log of the Delta table could not be read or written").with_source(error);
    }
    let kind = match &error.0 {
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
        _ if mentions(&error.0, &["not found", "NotFound", "No such file"]) => ErrorKind::NotFound,
        DeltaTableError::KernelError(_) if mentions(&error.0, &["unsupported", "Unsupported"]) => {
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
        TransactionError::CommitConflict(_)
        | TransactionError::MaxCommitAttempts(_)
        | TransactionError::VersionAlreadyExists(_) => {
            Error::precondition(format!("another change came first: {error}; try again"))
        }
        other => Error::internal(format!("committing to a Delta table: {other}")),
    }
}

/// The error for a table whose readers need to know of `features` that are not known here.
pub(super) fn unreadable(features: &[String]) -> Error {
    let features = features.join(", ");
    Error::unimplemented(format!("the Delta table uses features that are not supported: {features}"))
}

/// The error for a table that is read, and whose writers need to know of `features` that are not known here.
pub(super) fn unwritable(features: &[String]) -> Error {
    let features = features.join(", ");
    Error::unimplemented(format!(
        "the Delta table uses features that are not supported in writes: {features}; it is read, but not changed here; \
         change it with the program that made it, or make a copy with CREATE TABLE … AS SELECT"
    ))
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
    use std::io;

    use delta_kernel::schema::DecimalType;

    use super::*;

    #[test]
    fn what_the_system_failed_at_is_no_damage() {
        let failed = || Box::new(io::Error::from_raw_os_error(5));
        let store = || object_store::Error::Generic { store: "root", source: failed() };
        for error in [
            DeltaTableError::from(store()),
            DeltaTableError::KernelError(KernelError::ObjectStore(store())),
            DeltaTableError::KernelError(KernelError::IOError(*failed())),
        ] {
            let error = delta_error(error);
            assert!(error.kind() == ErrorKind::Internal && error.is_no_finding(), "{error:?}");
        }
        let none_left = Box::new(io::Error::from_raw_os_error(24));
        let store = object_store::Error::Generic { store: "root", source: none_left };
        let error = delta_error(DeltaTableError::KernelError(KernelError::ObjectStore(store)));
        assert_eq!(error.kind(), ErrorKind::ResourceExhausted, "{error:?}");
    }

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
