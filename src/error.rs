//! The one error type: few kinds, and messages that say what to do.
//!
//! Kinds map one to one to gRPC status codes (in `server::status`). A message is written for the
//! client that caused the error: it names the thing, the limit or the setting, and never a path of
//! the machine. What only an operator needs goes into [`Error::source`], which is logged.

use std::any::Any;
use std::cell::Cell;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What sort of thing went wrong, and so what the caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The request is wrong: its SQL, a name, a message, a type.
    InvalidArgument,
    /// There is no such dataset, schema or table.
    NotFound,
    /// What was to be made exists.
    AlreadyExists,
    /// The state does not allow it: another version, a lock held elsewhere, a read-only store.
    FailedPrecondition,
    /// A limit was reached: memory, disk, the queue, a message's size.
    ResourceExhausted,
    /// The request's or the server's time was up.
    DeadlineExceeded,
    /// The client went away or asked to stop.
    Cancelled,
    /// The request was cut off: nothing was done.
    Aborted,
    /// The server is draining, or cannot write any more.
    Unavailable,
    /// Not supported, on purpose.
    Unimplemented,
    /// A stored file is damaged.
    DataLoss,
    /// A bug.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables that must have a row for each.
    pub const ALL: [Self; 12] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::AlreadyExists,
        Self::FailedPrecondition,
        Self::ResourceExhausted,
        Self::DeadlineExceeded,
        Self::Cancelled,
        Self::Aborted,
        Self::Unavailable,
        Self::Unimplemented,
        Self::DataLoss,
        Self::Internal,
    ];
}

/// A `Result` with Airstrip's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its kind, a message for the client, and what caused it for the log.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
    /// Whether it came of the operating system's failing: of a duplicate the source does not tell.
    is_of_system: bool,
}

impl Error {
    /// Whether it says nothing of what was looked at: the server lacked something, was in the way, or could not read at all.
    /// Who gathers what can be looked at must not take that for a reason to leave something out.
    pub fn is_no_finding(&self) -> bool {
        match self.kind() {
            ErrorKind::ResourceExhausted
            | ErrorKind::DeadlineExceeded
            | ErrorKind::Cancelled
            | ErrorKind::Aborted
            | ErrorKind::Unavailable => true,
            ErrorKind::Internal => self.is_of_system,
            ErrorKind::InvalidArgument
            | ErrorKind::NotFound
            | ErrorKind::AlreadyExists
            | ErrorKind::FailedPrecondition
            | ErrorKind::Unimplemented
            | ErrorKind::DataLoss => false,
        }
    }

    /// An error of `kind` that tells the client `message`.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, is_of_system: false }
    }

    /// The same error with its cause, which the log gets and the client does not.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source = source.into();
        self.is_of_system |= is_of_system(source.as_ref());
        self.source = Some(source);
        self
    }

    /// [`ErrorKind::InvalidArgument`].
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    /// [`ErrorKind::NotFound`].
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// [`ErrorKind::FailedPrecondition`].
    pub fn precondition(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::FailedPrecondition, message)
    }

    /// [`ErrorKind::ResourceExhausted`].
    pub fn exhausted(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ResourceExhausted, message)
    }

    /// [`ErrorKind::Unimplemented`].
    pub fn unimplemented(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unimplemented, message)
    }

    /// [`ErrorKind::DataLoss`].
    pub fn data_loss(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::DataLoss, message)
    }

    /// [`ErrorKind::Internal`]: a bug, whose text stays in the log.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What sort of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The error of ours that `error` is or was caused by: libraries hand back what we gave them
    /// wrapped in errors of their own.
    pub fn find_in<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        causes(error).find_map(|error| error.downcast_ref::<Self>())
    }

    /// Whether it came of the operating system's failing at what was asked of it.
    pub fn is_of_system(&self) -> bool {
        self.is_of_system
    }

    /// Kind and message again, without the cause: for an error that was found inside another.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Self { is_of_system: self.is_of_system, ..Self::new(self.kind, self.message.clone()) }
    }

    /// The error for a panic that was caught; `payload` is what it carried.
    pub fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        Self::internal(format!("panic: {text}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| source.as_ref() as _)
    }
}

/// Whether `error` came of the operating system's failing at what was asked of it. That something is not there is no failure,
/// and says something of what was looked at.
pub fn is_of_system(error: &(dyn StdError + 'static)) -> bool {
    let mut system = causes(error).filter_map(|error| error.downcast_ref::<io::Error>());
    system
        .find(|error| error.raw_os_error().is_some())
        .is_some_and(|error| error.kind() != io::ErrorKind::NotFound)
}

/// `error`, what caused it, and so on.
pub fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a (dyn StdError + 'static)> {
    // An io::Error's source is the source of what it carries, so look at that itself.
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(carried) => Some(carried as &(dyn StdError + 'static)),
        None => error.source(),
    }
}

/// Runs `work` on input that nobody vouches for; a panic in it becomes the `Err` of the caught text.
///
/// The decoders of Arrow and Parquet panic on some malformed input, which their projects treat as
/// ordinary bugs. Such a panic is the input's fault and must stay that request's error.
pub fn contain<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CONTAINED.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CONTAINED.set(outer);
    done.map_err(|payload| Error::from_panic(payload.as_ref()).message)
}

thread_local! {
    static CONTAINED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside of [`contain`]: a panic now is no news for the log.
pub fn is_contained() -> bool {
    CONTAINED.get()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_is_found_inside_others() {
        let wrapped = io::Error::other(Error::data_loss("file x is damaged"));
        let outer = parquet::errors::ParquetError::External(Box::new(wrapped));
        assert_eq!(Error::find_in(&outer).map(Error::kind), Some(ErrorKind::DataLoss));
        assert!(Error::find_in(&std::fmt::Error).is_none());
    }

    #[test]
    fn what_the_system_failed_at_is_no_finding() {
        let failed = io::Error::from_raw_os_error(5);
        let wrapped = parquet::errors::ParquetError::External(Box::new(io::Error::other(failed)));
        let error = Error::internal("cannot read").with_source(wrapped);
        assert!(error.is_no_finding() && error.duplicate().is_no_finding());
        let absent = io::Error::from_raw_os_error(2);
        assert!(!Error::internal("cannot read").with_source(absent).is_no_finding());
        assert!(!Error::internal("a bug").is_no_finding());
    }

    #[test]
    fn a_panic_is_contained_with_its_text() {
        assert_eq!(contain(|| 1), Ok(1));
        let text = contain(|| -> u8 { panic!("bad {}", "bytes") }).unwrap_err();
        assert_eq!(text, "panic: bad bytes");
    }
}
