//! What went wrong in DataFusion, in our terms.

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::{Error, ErrorKind};
use crate::safeguard::Safeguard;
use crate::storage::exhausted_in;

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if let Some(ours) = Self::find_in(&error) {
            return ours.duplicate();
        }
        if let Some(exhausted) = exhausted_in("spill the rows of a query", &error) {
            return exhausted.with_source(error);
        }
        let (kind, message) = classify(&error);
        Self::new(kind, message).with_source(error)
    }
}

/// Carries our error through DataFusion, from which [`Error::from`] takes it out again as it was.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

fn classify(error: &DataFusionError) -> (ErrorKind, String) {
    use ErrorKind::{DataLoss, Internal, InvalidArgument, ResourceExhausted, Unimplemented};
    let root = error.find_root();
    let text = root.strip_backtrace();
    match root {
        DataFusionError::SQL(parser, _) => (InvalidArgument, parser_text(parser)),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::Configuration(text) => (InvalidArgument, with_place(error, text)),
        DataFusionError::SchemaError(schema, _) => (InvalidArgument, with_place(error, &schema.to_string())),
        DataFusionError::NotImplemented(text) => {
            let says_so = ["support", "implemented"].iter().any(|word| text.to_lowercase().contains(word));
            let ending = if says_so { "" } else { " is not supported" };
            (Unimplemented, format!("{}{ending}", text.trim_end_matches('.')))
        }
        DataFusionError::ResourcesExhausted(text) => {
            (ResourceExhausted, format!("{text} (the settings memory-limit and spill-limit)"))
        }
        DataFusionError::ArrowError(arrow, _) => arrow_kind(arrow),
        DataFusionError::ParquetError(_) => (DataLoss, format!("a stored file is damaged: {text}")),
        DataFusionError::Internal(text) if says_of_arguments(text) => {
            (InvalidArgument, with_place(error, text))
        }
        DataFusionError::Internal(text) if text.contains("not implemented for type") => {
            (Unimplemented, plain(text))
        }
        // Of the crate regex, by way of several wrappers.
        _ if text.contains("regex parse error") => (InvalidArgument, text),
        _ => (Internal, text),
    }
}

fn arrow_kind(error: &ArrowError) -> (ErrorKind, String) {
    let kind = match error {
        ArrowError::MemoryError(_) | ArrowError::OffsetOverflowError(_) => ErrorKind::ResourceExhausted,
        ArrowError::ParquetError(_) => ErrorKind::DataLoss,
        // DataFusion reports the limit on spilling so; the kind of the inner error says what it is.
        ArrowError::IoError(text, _) if text.contains("during the spilling process") => {
            let text = format!("{text} (the setting spill-limit)");
            return (ErrorKind::ResourceExhausted, text);
        }
        ArrowError::NotYetImplemented(_) => ErrorKind::Unimplemented,
        ArrowError::IoError(..) | ArrowError::IpcError(_) | ArrowError::ExternalError(_) => {
            ErrorKind::Internal
        }
        // What is left is about the values of the query: a division by zero, a cast that fails.
        _ => ErrorKind::InvalidArgument,
    };
    (kind, error.to_string())
}

/// What functions of DataFusion's say of arguments that they cannot take, and call internal.
const OF_ARGUMENTS: [&str; 8] = [
    "array_resize: ",
    "could not cast array of type List(",
    "could not cast array of type LargeList(",
    "could not cast array of type FixedSizeList(",
    "Unavailable default cast for native type",
    "Expected a Map type",
    "Nth value indices are 1 based",
    "in BETWEEN expression",
];

fn says_of_arguments(text: &str) -> bool {
    Safeguard::ArgumentErrors.stands() && OF_ARGUMENTS.iter().any(|part| text.contains(part))
}

/// A message without what DataFusion adds to those that it takes for its own bugs.
fn plain(text: &str) -> String {
    match text.split_once("\nThis issue was likely caused by a bug in DataFusion's code") {
        Some((text, _)) => text.replace("Internal error: ", ""),
        None => text.to_owned(),
    }
}

/// The parser's message; it says line and column itself.
fn parser_text(error: &ParserError) -> String {
    match error {
        ParserError::TokenizerError(text) | ParserError::ParserError(text) => format!("SQL error: {text}"),
        ParserError::RecursionLimitExceeded => {
            "the SQL nests too deep (the setting max-sql-depth)".to_owned()
        }
    }
}

/// `text` with the place in the SQL that the planner means, if it knows.
fn with_place(error: &DataFusionError, text: &str) -> String {
    let text = plain(text);
    match error.diagnostic().and_then(|diagnostic| diagnostic.span) {
        Some(span) => format!("{text} (at Line: {}, Column: {})", span.start.line, span.start.column),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: DataFusionError) -> (ErrorKind, String) {
        let error = Error::from(error);
        (error.kind(), error.message().to_owned())
    }

    #[test]
    fn what_functions_say_of_their_arguments_is_no_bug() {
        let text = "array_resize: failed to convert size to usize".to_owned();
        let wrapped = DataFusionError::Internal(text.clone()).context("evaluating");
        assert_eq!(of(wrapped), (ErrorKind::InvalidArgument, text));
        let nested = DataFusionError::Internal("a schema that does not fit".to_owned());
        let planned = DataFusionError::Plan(format!("Function 'trim' failed with: {nested}"));
        let text = "Function 'trim' failed with: a schema that does not fit.".to_owned();
        assert_eq!(of(planned), (ErrorKind::InvalidArgument, text));
        assert_eq!(of(nested).0, ErrorKind::Internal);
    }
}
