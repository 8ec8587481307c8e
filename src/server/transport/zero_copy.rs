//! DoGet without copies: the memory of Arrow's arrays goes to HTTP/2 as it is.
//!
//! tonic's encoder writes each message into one buffer of its own, so this service answers DoGet itself,
//! with a body that holds the messages' pieces, and hands all else to tonic's services. What a client sees is the
//! same, byte for byte in its meaning: see gRPC's "gRPC over HTTP2" and Flight.proto.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow_flight::Ticket;
use bytes::{Buf, BufMut, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream, TryStreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::{Body, SizeHint};
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::codec::{Codec, Streaming};
use tonic::metadata::MetadataMap;
use tonic::service::Routes;
use tonic_prost::ProstCodec;
use tower::Service;

use super::rope::Rope;
use crate::server::flight::Handler;
use crate::server::ipc::Frame;
use crate::server::stream::Chunks;

/// The path of the one method that is answered here.
const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// The tags of FlightData's fields (Flight.proto).
const DATA_HEADER: u32 = 2;
const DATA_BODY: u32 = 1000;

/// What hyper is given at once. It holds one part besides the one that is being sent, so that a stalled client's
/// stream keeps little more than its chunk; and no client is known that takes larger frames.
const PART_BYTES: usize = 4 << 20;

/// All services, with a DoGet of its own.
#[derive(Debug, Clone)]
pub(in crate::server) struct ZeroCopy {
    handler: Handler,
    stock: Routes,
    max_message_bytes: usize,
    enabled: bool,
}

impl ZeroCopy {
    /// The services of `stock`, of which `handler` answers DoGet, taking messages up to `max_message_bytes`;
    /// not `enabled`, they answer everything.
    pub(in crate::server) fn new(
        handler: Handler,
        stock: Routes,
        max_message_bytes: usize,
        enabled: bool,
    ) -> Self {
        Self { handler, stock, max_message_bytes, enabled }
    }

    async fn do_get(self, request: Request<tonic::body::Body>) -> Response<Answer> {
        match self.answer(request).await {
            Ok(chunks) => {
                let mut response = Response::new(Answer::Get(GetBody::new(chunks)));
                let content_type = HeaderValue::from_static("application/grpc");
                response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
                response
            }
            Err(status) => status.into_http(),
        }
    }

    async fn answer(self, request: Request<tonic::body::Body>) -> Result<Chunks, Status> {
        let (parts, body) = request.into_parts();
        let decoder = ProstCodec::<Ticket, Ticket>::default().decoder();
        let mut messages = Streaming::new_request(decoder, body, None, Some(self.max_message_bytes));
        let ticket =
            messages.try_next().await?.ok_or_else(|| Status::internal("the request has no message"))?;
        let metadata = MetadataMap::from_headers(parts.headers);
        self.handler.chunks(tonic::Request::from_parts(metadata, parts.extensions, ticket)).await
    }
}

impl Service<Request<tonic::body::Body>> for ZeroCopy {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        // A compressed request is for tonic to refuse.
        if self.enabled && request.uri().path() == DO_GET && !request.headers().contains_key("grpc-encoding")
        {
            let service = self.clone();
            return Box::pin(async move { Ok(service.do_get(request).await) });
        }
        let answer = Service::call(&mut self.stock, request);
        Box::pin(async move { Ok(answer.await?.map(Answer::Other)) })
    }
}

/// A response's body.
pub(in crate::server) enum Answer {
    /// Of a DoGet that is answered here.
    Get(GetBody),
    /// Of all else.
    Other(tonic::body::Body),
}

impl Default for Answer {
    fn default() -> Self {
        Self::Other(tonic::body::Body::empty())
    }
}

impl Body for Answer {
    type Data = Rope;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Rope>, Status>>> {
        match self.get_mut() {
            Self::Get(body) => Pin::new(body).poll_frame(cx),
            Self::Other(body) => Pin::new(body).poll_frame(cx).map_ok(|frame| frame.map_data(Rope::from)),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Get(body) => body.is_end_stream(),
            Self::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Get(body) => body.size_hint(),
            Self::Other(body) => body.size_hint(),
        }
    }
}

/// The body of a download: messages, then the status.
pub(in crate::server) struct GetBody {
    /// `None` after the last message.
    chunks: Option<Chunks>,
    ready: VecDeque<Rope>,
    trailers: Option<HeaderMap>,
}

impl GetBody {
    fn new(chunks: Chunks) -> Self {
        Self { chunks: Some(chunks), ready: VecDeque::new(), trailers: None }
    }

    /// Takes what came from the chunks: messages, or the end.
    fn take(&mut self, next: Option<Result<crate::server::ipc::Chunk, Status>>) {
        let end = match next {
            Some(Ok(chunk)) => {
                let mut frames = chunk.frames.into_iter();
                let made = frames.try_for_each(|frame| {
                    self.ready.push_back(message(frame)?);
                    Ok(())
                });
                match made {
                    Ok(()) => return,
                    Err(status) => status,
                }
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        // The work behind the stream is over here, whenever the client takes the status.
        self.chunks = None;
        let mut trailers = HeaderMap::new();
        if end.add_header(&mut trailers).is_err() {
            // A message or metadata that cannot be in a header.
            trailers.insert("grpc-status", HeaderValue::from(tonic::Code::Internal as i32));
        }
        self.trailers = Some(trailers);
    }
}

impl Body for GetBody {
    type Data = Rope;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Rope>, Status>>> {
        loop {
            if let Some(message) = self.ready.front_mut() {
                let part = message.split_to(PART_BYTES);
                if !message.has_remaining() {
                    self.ready.pop_front();
                }
                return Poll::Ready(Some(Ok(http_body::Frame::data(part))));
            }
            let Some(chunks) = &mut self.chunks else {
                let trailers = self.trailers.take();
                return Poll::Ready(trailers.map(|trailers| Ok(http_body::Frame::trailers(trailers))));
            };
            let next = ready!(Pin::new(chunks).poll_next(cx));
            self.take(next);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.chunks.is_none() && self.ready.is_empty() && self.trailers.is_none()
    }
}

/// A message as gRPC frames it: a flag, its length, and FlightData's fields.
fn message(frame: Frame) -> Result<Rope, Status> {
    let (header, body) = (frame.header.len(), frame.body_bytes());
    let field = |tag, length: usize| key_len(tag) + encoded_len_varint(length as u64) + length;
    let mut length = field(DATA_HEADER, header);
    if body > 0 {
        length += field(DATA_BODY, body);
    }
    let prefix = u32::try_from(length).map_err(|_| {
        Status::resource_exhausted(format!("a row of {length} bytes is more than a gRPC message can hold"))
    })?;
    let mut start = BytesMut::with_capacity(header + 32);
    start.put_u8(0);
    start.put_u32(prefix);
    encode_key(DATA_HEADER, WireType::LengthDelimited, &mut start);
    encode_varint(header as u64, &mut start);
    start.extend_from_slice(&frame.header);
    if body > 0 {
        encode_key(DATA_BODY, WireType::LengthDelimited, &mut start);
        encode_varint(body as u64, &mut start);
    }
    let mut message = Rope::from(start.freeze());
    frame.body.into_iter().for_each(|piece| message.push(piece));
    Ok(message)
}

#[cfg(test)]
mod tests {
    use arrow_flight::FlightData;
    use bytes::Bytes;
    use futures::StreamExt;
    use http_body_util::BodyExt;
    use prost::Message;

    use super::*;
    use crate::server::ipc::Chunk;

    fn frame(pieces: &[&'static [u8]]) -> Frame {
        Frame {
            header: Bytes::from_static(b"header"),
            body: pieces.iter().map(|piece| Bytes::from_static(piece)).collect(),
        }
    }

    #[test]
    fn a_message_is_framed_as_tonic_frames_it() {
        for pieces in [&[][..], &[&b"body"[..]], &[&b"in "[..], &[7; 300], b"pieces"]] {
            let frame = frame(pieces);
            let expected = frame.to_flight_data();
            let mut rope = message(frame).unwrap();
            let bytes = rope.copy_to_bytes(rope.remaining());
            let (prefix, rest) = bytes.split_at(5);
            assert_eq!(prefix, [&[0][..], &u32::try_from(rest.len()).unwrap().to_be_bytes()].concat());
            assert_eq!(FlightData::decode(rest).unwrap(), expected);
        }
    }

    async fn trailers(chunks: Vec<Result<Chunk, Status>>) -> HeaderMap {
        let body = GetBody::new(futures::stream::iter(chunks).boxed());
        body.collect().await.unwrap().trailers().cloned().unwrap()
    }

    #[tokio::test]
    async fn the_status_comes_last_whatever_it_is() {
        let chunk = || Ok(Chunk { frames: vec![frame(&[b"x"])], rows: 1 });
        assert_eq!(trailers(vec![chunk(), chunk()]).await["grpc-status"], "0");
        let failed = trailers(vec![chunk(), Err(Status::data_loss("gone: ü"))]).await;
        assert_eq!(failed["grpc-status"], "15");
        assert_eq!(failed["grpc-message"], "gone:%20%C3%BC");
    }
}
