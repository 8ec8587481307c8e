//! Answers that begin before there is anything to say.
//!
//! The headers of a response go out by themselves where what comes after them takes a while, so that clients and proxies
//! see that the request was accepted. An error that comes before them is a response of trailers alone, one that comes
//! later ends a stream: clients see the same status either way.

use std::future::Future;
use std::time::Duration;

use futures::{StreamExt, TryFutureExt};
use tonic::Status;

use crate::server::stream::Responses;

/// How long headers wait for the work that comes before the first message: planning, and a query's turn.
const HEADERS_WAIT: Duration = Duration::from_millis(50);

/// The stream that `work` gives: as soon as that is done, or after [`HEADERS_WAIT`] one that begins with the work.
pub(in crate::server) async fn early<T: Send + 'static>(
    work: impl Future<Output = Result<Responses<T>, Status>> + Send + 'static,
) -> Result<Responses<T>, Status> {
    let mut work = Box::pin(work);
    match tokio::time::timeout(HEADERS_WAIT, &mut work).await {
        Ok(done) => done,
        Err(_) => Ok(work.try_flatten_stream().boxed()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn after(wait: Duration, outcome: Result<Vec<i32>, Status>) -> Result<Responses<i32>, Status> {
        tokio::time::sleep(wait).await;
        outcome.map(|values| futures::stream::iter(values.into_iter().map(Ok)).boxed())
    }

    #[tokio::test]
    async fn what_is_quick_comes_as_it_is_and_what_is_late_as_a_stream() {
        for wait in [Duration::ZERO, 2 * HEADERS_WAIT] {
            let stream = early(after(wait, Ok(vec![1, 2]))).await.unwrap();
            assert_eq!(stream.map(Result::unwrap).collect::<Vec<_>>().await, [1, 2]);
        }
        assert!(early(after(Duration::ZERO, Err(Status::not_found("x")))).await.is_err());
        let mut late = early(after(2 * HEADERS_WAIT, Err(Status::not_found("x")))).await.unwrap();
        assert_eq!(late.next().await.unwrap().unwrap_err().code(), tonic::Code::NotFound);
        assert!(late.next().await.is_none());
    }
}
