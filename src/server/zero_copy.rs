//! DoGet without copies: the memory of Arrow's arrays goes to HTTP/2 as it is.
//!
//! tonic's encoder writes each message into one buffer of its own, so this service answers DoGet itself,
//! with a body that holds the messages' pieces, and hands all else to tonic's. What a client sees is the
//! same, byte for byte in its meaning: see gRPC's "gRPC over HTTP2" and Flight.proto.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow_flight::Ticket;
use arrow_flight::flight_service_server::FlightServiceServer;
use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::{Stream, TryStreamExt};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body::Body;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use tonic::Status;
use tonic::codec::{Codec, Streaming};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic_prost::ProstCodec;
use tower::Service;

use super::flight::Handler;
use super::frames::Frame;
use super::respond::Chunks;

/// The path of the one method that is answered here.
const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// The tags of FlightData's fields (Flight.proto).
const DATA_HEADER: u32 = 2;
const DATA_BODY: u32 = 1000;

/// The Flight service with a DoGet of its own.
#[derive(Debug, Clone)]
pub(super) struct ZeroCopy {
    handler: Handler,
    stock: FlightServiceServer<Handler>,
    max_message_bytes: usize,
    enabled: bool,
}

impl ZeroCopy {
    /// The service of `handler`, which takes messages up to `max_message_bytes`; not `enabled`, it hands
    /// everything to tonic's.
    pub(super) fn new(handler: Handler, max_message_bytes: usize, enabled: bool) -> Self {
        let stock = FlightServiceServer::new(handler.clone()).max_decoding_message_size(max_message_bytes);
        Self { handler, stock, max_message_bytes, enabled }
    }

    async fn do_get(self, request: Request<tonic::body::Body>) -> Response<tonic::body::Body> {
        match self.answer(request).await {
            Ok(chunks) => {
                let mut response = Response::new(tonic::body::Body::new(GetBody::new(chunks)));
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

impl NamedService for ZeroCopy {
    const NAME: &'static str = <FlightServiceServer<Handler> as NamedService>::NAME;
}

impl Service<Request<tonic::body::Body>> for ZeroCopy {
    type Response = Response<tonic::body::Body>;
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
        Service::call(&mut self.stock, request)
    }
}

/// A response's body: messages, then the status.
struct GetBody {
    /// `None` after the last message.
    chunks: Option<Chunks>,
    ready: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl GetBody {
    fn new(chunks: Chunks) -> Self {
        Self { chunks: Some(chunks), ready: VecDeque::new(), trailers: None }
    }

    /// Takes what came from the chunks: messages, or the end.
    fn take(&mut self, next: Option<Result<super::frames::Chunk, Status>>) {
        let end = match next {
            Some(Ok(chunk)) => {
                let mut frames = chunk.frames.into_iter();
                match frames.try_for_each(|frame| push_message(frame, &mut self.ready)) {
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
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Status>>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(http_body::Frame::data(piece))));
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

/// Puts a message into `pieces` as gRPC frames it: a flag, its length, and FlightData's fields.
fn push_message(frame: Frame, pieces: &mut VecDeque<Bytes>) -> Result<(), Status> {
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
    pieces.push_back(start.freeze());
    pieces.extend(frame.body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use arrow_flight::FlightData;
    use futures::StreamExt;
    use http_body_util::BodyExt;
    use prost::Message;

    use super::*;
    use crate::server::frames::Chunk;

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
            let message = frame.to_flight_data();
            let mut bytes = VecDeque::new();
            push_message(frame, &mut bytes).unwrap();
            let bytes: Vec<u8> = bytes.into_iter().flatten().collect();
            let (prefix, rest) = bytes.split_at(5);
            assert_eq!(prefix, [&[0][..], &u32::try_from(rest.len()).unwrap().to_be_bytes()].concat());
            assert_eq!(FlightData::decode(rest).unwrap(), message);
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
