//! The request's body, guarded: only the true end of a stream looks like its end.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::rest::discard;
use crate::safeguard::Safeguard;
use crate::server::rpc::Rpc;

/// A request body that fails where the client's stream was cut.
///
/// Without it a reset stream can look whole: hyper reads RST_STREAM with NO_ERROR as the end, and
/// tonic reads CANCEL as the end (`codec/decode.rs` takes a request's `Cancelled` for `None`). A put
/// would commit what had arrived by then. So every error is turned into one that tonic passes on, and
/// an end counts only if HTTP/2 said so (END_STREAM).
#[derive(Debug)]
pub(in crate::server) struct GuardedBody {
    /// `None` after its true end.
    inner: Option<tonic::body::Body>,
    rpc: Rpc,
}

impl GuardedBody {
    /// The body of the request of `rpc`, which counts its bytes.
    pub(in crate::server) fn new(inner: tonic::body::Body, rpc: Rpc) -> Self {
        Self { inner: Some(inner), rpc }
    }
}

impl Drop for GuardedBody {
    fn drop(&mut self) {
        if let Some(body) = self.inner.take().filter(|body| !body.is_end_stream()) {
            discard(body);
        }
    }
}

impl Body for GuardedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { inner: body, rpc } = self.get_mut();
        let Some(inner) = body else { return Poll::Ready(None) };
        Poll::Ready(match ready!(Pin::new(&mut *inner).poll_frame(cx)) {
            ended @ (Some(Err(_)) | None) if !Safeguard::BodyGuard.stands() => ended,
            Some(Ok(frame)) => {
                rpc.count_received(frame.data_ref().map_or(0, Bytes::len));
                Some(Ok(frame))
            }
            Some(Err(error)) => {
                tracing::debug!(%error, "the request's stream broke");
                Some(Err(cut()))
            }
            None if inner.is_end_stream() => {
                *body = None;
                None
            }
            None => Some(Err(cut())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

fn cut() -> Status {
    Status::aborted("the request's stream was cut before its end")
}
