//! What comes to the port and is not HTTP/2.
//!
//! Most such clients only have a setting wrong: TLS where there is none, or a proxy that speaks HTTP/1.1 to its servers.
//! Their first bytes tell, and the log says what to do.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;

use super::connection::Connection;

/// How long the log is silent about connections of one sort after it has told of one.
const QUIET: Duration = Duration::from_secs(60);

/// How HTTP/2 begins (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// As many first bytes as tell.
const FIRST_BYTES: usize = 8;

const METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"CONNECT ", b"TRACE "];

const REFUSAL: &str = "This port speaks gRPC (Arrow Flight) over HTTP/2, and no HTTP/1.1. Connect to it with a Flight \
    client, as grpc://HOST:PORT. A proxy in between has to speak HTTP/2 to it: see docs/proxies.md.\n";

/// A protocol that is not spoken here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tls,
    Http1,
}

impl Protocol {
    /// The protocol of a connection that begins with these bytes, if it is one of them.
    fn of(first: &[u8]) -> Option<Self> {
        // A record of a handshake, of any version (RFC 8446, section 5.1).
        if matches!(first, [0x16] | [0x16, 3, ..]) {
            return Some(Self::Tls);
        }
        let is_method = |method: &&[u8]| first.starts_with(method) || method.starts_with(first);
        let is_http1 = !PREFACE.starts_with(first) && METHODS.iter().any(is_method);
        is_http1.then_some(Self::Http1)
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Tls => {
                "a client speaks TLS to this port, which has none: connect with grpc:// in place of grpc+tls://, or \
                 have a proxy end TLS in front of the server (docs/proxies.md)"
            }
            Self::Http1 => {
                "a client speaks HTTP/1.1 to this port, which takes gRPC over HTTP/2: connect with a Flight client, and \
                 have a proxy in between speak HTTP/2 to the server (docs/proxies.md)"
            }
        }
    }
}

/// Answers connections of other protocols.
#[derive(Debug, Default)]
pub(in crate::server) struct Doorkeeper {
    tls: Mutex<Silence>,
    http1: Mutex<Silence>,
}

/// Since when the log is silent about a sort of connections, and how many there were since.
#[derive(Debug, Default)]
struct Silence {
    since: Option<Instant>,
    missed: u64,
}

impl Doorkeeper {
    /// Waits for the first bytes of a connection, and gives it back if they can be HTTP/2's. Others are answered here, and
    /// told of in the log.
    pub(in crate::server) async fn only_http2(&self, mut connection: Connection) -> Option<Connection> {
        let mut first = [0; FIRST_BYTES];
        let length = connection.peek(&mut first).await.ok()?;
        let Some(protocol) = Protocol::of(&first[..length]) else { return Some(connection) };
        self.warn(protocol, &connection);
        if protocol == Protocol::Http1 {
            let length = REFUSAL.len();
            let answer = format!(
                "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\
                 connection: close\r\n\r\n{REFUSAL}"
            );
            let _ = connection.write_all(answer.as_bytes()).await;
        }
        let _ = connection.shutdown().await;
        None
    }

    fn warn(&self, protocol: Protocol, connection: &Connection) {
        let silence = match protocol {
            Protocol::Tls => &self.tls,
            Protocol::Http1 => &self.http1,
        };
        let mut silence = silence.lock().unwrap_or_else(PoisonError::into_inner);
        if silence.since.is_some_and(|since| since.elapsed() < QUIET) {
            silence.missed += 1;
            return;
        }
        let Silence { missed, .. } =
            std::mem::replace(&mut *silence, Silence { since: Some(Instant::now()), missed: 0 });
        let peer = connection.peer().address.map(tracing::field::display);
        let missed = (missed > 0).then_some(missed);
        tracing::warn!(peer, since_the_last_line = missed, "{}", protocol.advice());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell() {
        for (first, protocol) in [
            (&b"\x16\x03\x01\x02\x00\x01"[..], Some(Protocol::Tls)),
            (b"\x16", Some(Protocol::Tls)),
            (b"GET / HT", Some(Protocol::Http1)),
            (b"POST /ar", Some(Protocol::Http1)),
            (b"PO", Some(Protocol::Http1)),
            (b"G", Some(Protocol::Http1)),
            (b"P", None),
            (b"PRI * HT", None),
            (b"GETS", None),
            (b"\x00\x00", None),
            (b"hello", None),
        ] {
            assert_eq!(Protocol::of(first), protocol, "{first:?}");
        }
    }
}
