//! What every RPC gets, whatever it does: a guarded body, a request id, a deadline, a span, a message that fits into its
//! headers, and one line in the log at its end.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Buf;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, timeout_at};
use tonic::Status;
use tower::{Layer, Service};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use super::status::{blame_request, fit, message_of, status};
use super::transport::{GuardedBody, Peer};
use crate::error::Error;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// As much of a dataset's name or a SQL text as a log line carries.
const MAX_LOGGED: usize = 200;
/// The same of an error's text.
const MAX_ERROR_LOGGED: usize = 500;
/// When the log first tells that an RPC still runs, in milliseconds since its start.
const FIRST_LINE_MS: u64 = 60_000;

/// What the handlers know of the RPC that they serve; in the request's extensions.
#[derive(Debug, Clone)]
pub(super) struct Rpc {
    shared: Arc<Shared>,
    span: Span,
}

#[derive(Debug)]
struct Shared {
    id: String,
    started: Instant,
    deadline: Option<Instant>,
    rows: AtomicU64,
    /// Bytes of the response.
    bytes: AtomicU64,
    /// Bytes of the request.
    received: AtomicU64,
    /// When the log next tells that the RPC still runs, in milliseconds since its start.
    next_line: AtomicU64,
    finished: AtomicBool,
}

impl Shared {
    fn new(id: &str, timeout: Option<Duration>) -> Self {
        let started = Instant::now();
        Self {
            id: id.to_owned(),
            started,
            deadline: timeout.map(|timeout| started + timeout),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            received: AtomicU64::new(0),
            next_line: AtomicU64::new(FIRST_LINE_MS),
            finished: AtomicBool::new(false),
        }
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Rpc {
    /// The context of `request`.
    pub(super) fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Status::internal("the request came in without its context"))
    }

    /// The earlier of the client's deadline (`grpc-timeout`) and `limit` from the request's start.
    pub(super) fn deadline(&self, limit: Duration) -> Instant {
        let ours = self.shared.started + limit;
        self.shared.deadline.map_or(ours, |theirs| theirs.min(ours))
    }

    /// Notes what the RPC is about: a dataset's name or a SQL text.
    pub(super) fn about(&self, what: &str) {
        self.note("about", what);
    }

    /// Notes which action a DoAction does.
    pub(super) fn does(&self, action: &str) {
        self.note("action", action);
    }

    /// Notes who asks.
    pub(super) fn is_of(&self, user: &str) {
        self.note("user", user);
    }

    fn note(&self, field: &str, text: &str) {
        let cut: String = text.chars().take(MAX_LOGGED).collect();
        self.span.record(field, cut.as_str());
    }

    /// Counts rows that were sent or received.
    pub(super) fn count_rows(&self, rows: u64) {
        self.shared.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts bytes of the request's messages.
    pub(super) fn count_received(&self, bytes: usize) {
        self.shared.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.tell();
    }

    fn count_sent(&self, bytes: usize) {
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        self.tell();
    }

    /// Tells now and then, and less and less often, that a transfer still runs.
    fn tell(&self) {
        let (ms, due) = (self.shared.ms(), self.shared.next_line.load(Ordering::Relaxed));
        if ms < due {
            return;
        }
        let next = ms.saturating_mul(2);
        if self.shared.next_line.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            let (rows, bytes, received) = self.counted();
            self.span.in_scope(|| tracing::info!(rows, bytes, received, ms, "still runs"));
        }
    }

    fn counted(&self) -> (u64, u64, u64) {
        let Shared { rows, bytes, received, .. } = &*self.shared;
        let [rows, bytes, received] = [rows, bytes, received].map(|count| count.load(Ordering::Relaxed));
        (rows, bytes, received)
    }

    /// The RPC's span, for tasks that work for it.
    pub(super) fn span(&self) -> &Span {
        &self.span
    }

    /// A context that belongs to no request.
    #[cfg(test)]
    pub(super) fn detached() -> Self {
        Self { shared: Arc::new(Shared::new("", None)), span: Span::none() }
    }

    /// The id of the request, as the log and the client have it.
    pub(super) fn id(&self) -> &str {
        &self.shared.id
    }

    /// Logs the RPC's end, with the status among the headers or trailers that say it.
    fn finish_by(&self, headers: &HeaderMap) {
        let Some(code) = headers.get("grpc-status") else { return };
        let error = message_of(headers).map(|text| text.chars().take(MAX_ERROR_LOGGED).collect::<String>());
        self.finish(outcome(code), error.as_deref().filter(|error| !error.is_empty()));
    }

    fn finish(&self, outcome: &str, error: Option<&str>) {
        if self.shared.finished.swap(true, Ordering::AcqRel) {
            return;
        }
        let (rows, bytes, received) = self.counted();
        let ms = self.shared.ms();
        self.span.in_scope(|| tracing::info!(outcome, error, rows, bytes, received, ms, "rpc"));
    }
}

/// Wraps services so that their requests carry an [`Rpc`].
#[derive(Debug, Clone, Copy)]
pub(super) struct RpcLayer;

impl<S> Layer<S> for RpcLayer {
    type Service = RpcService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RpcService { inner }
    }
}

/// See [`RpcLayer`].
#[derive(Debug, Clone)]
pub(super) struct RpcService<S> {
    inner: S,
}

impl<S, B> Service<Request<tonic::body::Body>> for RpcService<S>
where
    S: Service<Request<tonic::body::Body>, Response = Response<B>> + Send,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    B: Default + Send + 'static,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        let id = request_id(&parts.headers);
        let peer = parts.extensions.get::<Peer>().and_then(|peer| peer.address);
        let method = parts.uri.path().rsplit('/').next().unwrap_or_default();
        let span = tracing::info_span!(
            "rpc",
            method,
            id = id.to_str().unwrap_or_default(),
            peer = peer.map(field::display),
            user = field::Empty,
            action = field::Empty,
            about = field::Empty,
        );
        let shared = Shared::new(id.to_str().unwrap_or_default(), grpc_timeout(&parts.headers));
        let rpc = Rpc { shared: Arc::new(shared), span: span.clone() };
        span.in_scope(|| tracing::debug!("begins"));
        parts.extensions.insert(rpc.clone());
        let body = tonic::body::Body::new(GuardedBody::new(body, rpc.clone()));
        let response = contained(self.inner.call(Request::from_parts(parts, body)));
        let mut guard = FinishOnDrop(Some(rpc.clone()));
        let answer = async move {
            let response = match rpc.shared.deadline {
                None => response.await?,
                Some(deadline) => match timeout_at(deadline, response).await {
                    Ok(response) => response?,
                    Err(_) => Status::deadline_exceeded("the client's deadline has passed").into_http(),
                },
            };
            // From here on the response's body is what ends the RPC.
            guard.disarm();
            let (mut parts, body) = response.into_parts();
            parts.headers.insert(REQUEST_ID, id);
            blame_request(&mut parts.headers);
            fit(&mut parts.headers);
            rpc.finish_by(&parts.headers);
            Ok(Response::from_parts(parts, CountedBody { inner: body, rpc }))
        };
        Box::pin(answer.instrument(span))
    }
}

/// The response; where its making panics, the error that the client is to see, in place of a reset that looks like its own.
async fn contained<B: Default, E>(
    response: impl Future<Output = Result<Response<B>, E>>,
) -> Result<Response<B>, E> {
    let done = AssertUnwindSafe(response).catch_unwind().await;
    done.unwrap_or_else(|payload| Ok(status(&Error::from_panic(payload.as_ref())).into_http()))
}

/// Logs the RPC as cancelled if its handler is dropped before it answers.
struct FinishOnDrop(Option<Rpc>);

impl FinishOnDrop {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for FinishOnDrop {
    fn drop(&mut self) {
        if let Some(rpc) = &self.0 {
            rpc.finish("Cancelled", None);
        }
    }
}

/// A response's body that counts its bytes and ends the RPC.
pub(super) struct CountedBody<B> {
    inner: B,
    rpc: Rpc,
}

impl<B: Body + Unpin> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let span = self.rpc.span.clone();
        let mut polled = ready!(span.in_scope(|| Pin::new(&mut self.inner).poll_frame(cx)));
        match &mut polled {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.rpc.count_sent(data.remaining());
                } else if let Some(trailers) = frame.trailers_mut() {
                    fit(trailers);
                    self.rpc.finish_by(trailers);
                }
            }
            Some(Err(_)) => self.rpc.finish("Aborted", None),
            None => self.rpc.finish("Ok", None),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for CountedBody<B> {
    fn drop(&mut self) {
        // Dropped before its end: the client went away.
        self.rpc.finish("Cancelled", None);
    }
}

fn outcome(code: &HeaderValue) -> &'static str {
    let code = code.to_str().ok().and_then(|code| code.parse::<i32>().ok()).unwrap_or(2);
    match tonic::Code::from_i32(code) {
        tonic::Code::Ok => "Ok",
        tonic::Code::Cancelled => "Cancelled",
        tonic::Code::InvalidArgument => "InvalidArgument",
        tonic::Code::DeadlineExceeded => "DeadlineExceeded",
        tonic::Code::NotFound => "NotFound",
        tonic::Code::AlreadyExists => "AlreadyExists",
        tonic::Code::PermissionDenied => "PermissionDenied",
        tonic::Code::ResourceExhausted => "ResourceExhausted",
        tonic::Code::FailedPrecondition => "FailedPrecondition",
        tonic::Code::Aborted => "Aborted",
        tonic::Code::OutOfRange => "OutOfRange",
        tonic::Code::Unimplemented => "Unimplemented",
        tonic::Code::Internal => "Internal",
        tonic::Code::Unavailable => "Unavailable",
        tonic::Code::DataLoss => "DataLoss",
        tonic::Code::Unauthenticated => "Unauthenticated",
        tonic::Code::Unknown => "Unknown",
    }
}

/// The client's request id if it is a short visible text, else one made here.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let usable = |id: &&HeaderValue| {
        id.to_str()
            .is_ok_and(|id| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()))
    };
    if let Some(id) = headers.get(&REQUEST_ID).filter(usable) {
        return id.clone();
    }
    HeaderValue::from_str(&Uuid::new_v4().to_string()).unwrap_or(HeaderValue::from_static("-"))
}

/// The value of `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeout(text: &'static str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-timeout", HeaderValue::from_static(text));
        grpc_timeout(&headers)
    }

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        assert_eq!(timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(timeout("100m"), Some(Duration::from_millis(100)));
        assert_eq!(timeout("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        for text in ["", "S", "5", "5x", "123456789S", "-1S"] {
            assert_eq!(timeout(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_request_id_is_kept_if_it_can_be_logged() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("abc-1"));
        assert_eq!(request_id(&headers), "abc-1");
        headers.insert(REQUEST_ID, HeaderValue::from_static("a b"));
        assert_ne!(request_id(&headers), "a b");
    }
}
