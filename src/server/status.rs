//! The one table from our errors to gRPC's.

use std::borrow::Cow;
use std::error::Error as _;

use http::{HeaderMap, HeaderValue};
use percent_encoding::percent_decode;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::error::{Error, ErrorKind};
use crate::safeguard::Safeguard;

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

/// How the errors begin that the gRPC library calls internal and that are the client's: of bytes that are not the
/// message that the method takes, or not framed or compressed as gRPC says.
const OF_REQUESTS: [&str; 4] = [
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Error decompressing",
    "Missing request message",
];

/// Whether the text of the gRPC library's internal error tells of what the client sent.
pub(super) fn is_of_request(message: &str) -> bool {
    OF_REQUESTS.iter().any(|begin| message.starts_with(begin))
}

/// The text of the status among headers or trailers.
pub(super) fn message_of(headers: &HeaderMap) -> Option<Cow<'_, str>> {
    headers.get("grpc-message").map(|message| percent_decode(message.as_bytes()).decode_utf8_lossy())
}

/// Makes the status among a response's headers the client's error, if the gRPC library took what it sent for a bug.
pub(super) fn blame_request(headers: &mut HeaderMap) {
    let is_internal = headers.get("grpc-status").is_some_and(|code| code == "13");
    if is_internal && message_of(headers).is_some_and(|message| is_of_request(&message)) {
        headers.insert("grpc-status", HeaderValue::from(Code::InvalidArgument as i32));
    }
}

/// The longest message in a header, percent-encoded as it is there. Clients on gRPC's C++ core take 8 KiB of headers;
/// of more they lose all, the status too.
const MAX_MESSAGE: usize = 4096;
/// How a message ends that was cut, percent-encoded.
const CUT: &str = "%E2%80%A6 (this message was too long, the rest was cut)";

/// Cuts the message among the headers or trailers of a response to what every client takes.
pub(super) fn fit(headers: &mut HeaderMap) {
    let is_too_long =
        |message: &&mut HeaderValue| message.len() > MAX_MESSAGE && Safeguard::ErrorLength.stands();
    let Some(message) = headers.get_mut("grpc-message").filter(is_too_long) else { return };
    let encoded = message.as_bytes();
    let mut end = MAX_MESSAGE - CUT.len();
    // Not inside of an encoded byte, nor before one that continues a character of UTF-8.
    end -= (1..=2).find(|back| encoded[end - back] == b'%').unwrap_or(0);
    while encoded[end] == b'%' && matches!(encoded[end + 1], b'8' | b'9' | b'A' | b'B') {
        end -= 3;
    }
    let cut = HeaderValue::from_bytes(&[&encoded[..end], CUT.as_bytes()].concat());
    *message = cut.unwrap_or_else(|_| HeaderValue::from_static(CUT));
}

#[cfg(test)]
mod tests {
    use percent_encoding::percent_decode_str;

    use super::*;

    fn fitted(text: &str) -> String {
        let mut headers = HeaderMap::new();
        Status::invalid_argument(text).add_header(&mut headers).unwrap();
        fit(&mut headers);
        assert_eq!(headers["grpc-status"], "3");
        let message = headers.get("grpc-message").map_or("", |message| message.to_str().unwrap());
        assert!(message.len() <= MAX_MESSAGE, "{}", message.len());
        percent_decode_str(message).decode_utf8().unwrap().into_owned()
    }

    #[test]
    fn a_message_is_cut_between_characters_to_what_clients_take() {
        for short in ["", "short", "ü €", &"x".repeat(4096)] {
            assert_eq!(fitted(short), short);
        }
        for character in ["x", " ", "%", "ü", "€", "🛩", "aü"] {
            for before in 0..13 {
                let long = format!("{}{}", "y".repeat(before), character.repeat(20_000));
                let fitted = fitted(&long);
                let (kept, note) = fitted.rsplit_once('…').unwrap();
                assert!(long.starts_with(kept) && kept.len() > 1000, "{before} {character}");
                assert!(note.contains("cut"), "{note}");
            }
        }
    }

    #[test]
    fn what_the_client_sent_is_its_own_error() {
        let blamed = |message: &str| {
            let mut headers = HeaderMap::new();
            Status::internal(message).add_header(&mut headers).unwrap();
            blame_request(&mut headers);
            headers["grpc-status"].to_str().unwrap().to_owned()
        };
        assert_eq!(blamed("failed to decode Protobuf message: invalid wire type value: 7"), "3");
        assert_eq!(blamed("internal error 1234; the server's log says more"), "13");
    }

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
