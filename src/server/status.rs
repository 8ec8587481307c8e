//! The one table from our errors to gRPC's.

use std::error::Error as _;

use tonic::{Code, Status};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};

/// The status code of an error's kind.
pub(super) fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::FailedPrecondition => Code::FailedPrecondition,
        ErrorKind::ResourceExhausted => Code::ResourceExhausted,
        ErrorKind::DeadlineExceeded => Code::DeadlineExceeded,
        ErrorKind::Cancelled => Code::Cancelled,
        ErrorKind::Aborted => Code::Aborted,
        ErrorKind::Unavailable => Code::Unavailable,
        ErrorKind::Unimplemented => Code::Unimplemented,
        ErrorKind::DataLoss => Code::DataLoss,
        ErrorKind::Internal => Code::Internal,
    }
}

/// What a client may read of an error, which is logged here where it is handled. Of a bug it gets an
/// id that the log has too.
pub(super) fn status(error: &Error) -> Status {
    let code = code(error.kind());
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    match error.kind() {
        ErrorKind::Internal => {
            let id = Uuid::new_v4();
            tracing::error!(%id, %error, cause, "internal error");
            Status::new(code, format!("internal error {id}; the server's log says more"))
        }
        ErrorKind::DataLoss => {
            tracing::error!(%error, cause, "damaged data");
            Status::new(code, error.message())
        }
        _ => {
            tracing::debug!(%error, cause, "request failed");
            Status::new(code, error.message())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_code_of_its_name() {
        for kind in ErrorKind::ALL {
            assert_eq!(format!("{kind:?}"), format!("{:?}", code(kind)));
        }
    }

    #[test]
    fn a_bug_shows_an_id_and_nothing_else() {
        let status = status(&Error::internal("secret detail"));
        assert_eq!(status.code(), Code::Internal);
        assert!(!status.message().contains("secret"), "{status}");
    }
}
