//! The request's body, guarded: only the true end of a stream looks like its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

/// A request body that fails where the client's stream was cut.
///
/// Without it a reset stream can look whole: hyper reads RST_STREAM with NO_ERROR as the end, and
/// tonic reads CANCEL as the end (`codec/decode.rs` takes a request's `Cancelled` for `None`). A put
/// would commit what had arrived by then. So every error is turned into one that tonic passes on, and
/// an end counts only if HTTP/2 said so (END_STREAM).
#[derive(Debug)]
pub(super) struct GuardedBody {
    inner: tonic::body::Body,
}

impl GuardedBody {
    pub(super) fn new(inner: tonic::body::Body) -> Self {
        Self { inner }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => {
                tracing::debug!(%error, "the request's stream broke");
                Some(Err(cut()))
            }
            None if self.inner.is_end_stream() => None,
            None => Some(Err(cut())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

fn cut() -> Status {
    Status::aborted("the request's stream was cut before its end")
}
