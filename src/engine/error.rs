//! What went wrong in DataFusion, in our terms.

use arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::{Error, ErrorKind};

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        if let Some(ours) = Self::find_in(&error) {
            return ours.duplicate();
        }
        let (kind, message) = classify(&error);
        Self::new(kind, message).with_source(error)
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
        DataFusionError::IoError(io) if io.kind() == std::io::ErrorKind::StorageFull => {
            (ResourceExhausted, "the disk is full".to_owned())
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
        ArrowError::IoError(text, io)
            if io.kind() == std::io::ErrorKind::StorageFull
                || text.contains("during the spilling process") =>
        {
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
    match error.diagnostic().and_then(|diagnostic| diagnostic.span) {
        Some(span) => format!("{text} (at Line: {}, Column: {})", span.start.line, span.start.column),
        None => text.to_owned(),
    }
}
