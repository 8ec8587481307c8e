//! What a client still sends when it has its answer.
//!
//! An upload that is refused is answered before its client has sent everything. If the stream were reset then, what is on
//! its way would come to a stream that is gone. That is an error for each frame, and HTTP/2 ends a connection after a
//! number of errors, with all other streams on it; and proxies make resets of such answers. So the rest is taken, and
//! thrown away: clients end their stream themselves as soon as they see the answer.

use std::pin::Pin;
use std::time::Duration;

use http_body::Body;
use tokio::runtime::Handle;

/// How long a client may take to see its answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// What it may send until then, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// Takes what is left of a request's body, in a task of its own.
pub(in crate::server) fn discard(body: tonic::body::Body) {
    let Ok(runtime) = Handle::try_current() else { return };
    runtime.spawn(async {
        // What is dropped before its end is reset.
        let _ = tokio::time::timeout(PATIENCE, to_its_end(body)).await;
    });
}

async fn to_its_end(mut body: tonic::body::Body) {
    let mut taken = 0;
    while taken < MAX_BYTES {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let Some(Ok(frame)) = frame else { return };
        taken += frame.data_ref().map_or(0, bytes::Bytes::len);
    }
}
