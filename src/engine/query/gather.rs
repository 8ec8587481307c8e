//! Small batches gathered to larger ones, which cost clients less, as long as nobody waits for them.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::storage::batch_bytes;

/// How long rows may wait for more.
const PATIENCE: Duration = Duration::from_millis(20);

/// What batches are gathered to, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Gathering {
    /// About what all but the second have.
    pub target: usize,
    /// What the second has: some clients read on faster after one large batch. It is not the first, since
    /// somebody waits for that.
    pub second: usize,
}

impl Gathering {
    /// For those who take batches as they come.
    pub(in crate::engine) const NONE: Self = Self { target: 1, second: 1 };
}

/// The batches of a plan, gathered.
pub(in crate::engine) struct Gather {
    batches: SendableRecordBatchStream,
    gathering: Gathering,
    /// Batches that were given.
    given: u64,
    waiting: Vec<RecordBatch>,
    bytes: usize,
    /// Batches that cannot be put together, to be given as they are.
    apart: VecDeque<RecordBatch>,
    /// When what waits is to go. It begins with the first batch that waits.
    due: Option<Pin<Box<Sleep>>>,
    /// Whether nothing comes any more, and the error that was the reason.
    is_over: bool,
    error: Option<DataFusionError>,
}

impl Gather {
    pub(in crate::engine) fn new(batches: SendableRecordBatchStream, gathering: Gathering) -> Self {
        Self {
            batches,
            gathering,
            given: 0,
            waiting: Vec::new(),
            bytes: 0,
            apart: VecDeque::new(),
            due: None,
            is_over: false,
            error: None,
        }
    }

    /// The next batch: rows that came before an error are given before it.
    pub(in crate::engine) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<RecordBatch, DataFusionError>>> {
        if let Some(batch) = self.apart.pop_front() {
            return Poll::Ready(Some(Ok(batch)));
        }
        let wanted = if self.given == 1 { self.gathering.second } else { self.gathering.target };
        while !self.is_over && self.bytes < wanted.max(1) {
            // Before the batches, which may leave nothing of the task's share in the scheduler for the timer.
            let is_due = self.due.as_mut().is_some_and(|due| due.as_mut().poll(cx).is_ready());
            match self.batches.poll_next_unpin(cx) {
                Poll::Ready(Some(Ok(batch))) => self.push(batch),
                Poll::Ready(Some(Err(error))) => (self.is_over, self.error) = (true, Some(error)),
                Poll::Ready(None) => self.is_over = true,
                Poll::Pending if is_due => break,
                Poll::Pending => return Poll::Pending,
            }
        }
        if !self.waiting.is_empty() {
            return Poll::Ready(self.take().map(Ok));
        }
        Poll::Ready(self.error.take().map(Err))
    }

    fn push(&mut self, batch: RecordBatch) {
        if batch.num_rows() == 0 {
            return;
        }
        self.bytes += batch_bytes(&batch);
        self.waiting.push(batch);
        self.due.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + PATIENCE)));
    }

    fn take(&mut self) -> Option<RecordBatch> {
        let waiting = std::mem::take(&mut self.waiting);
        (self.bytes, self.due) = (0, None);
        self.given += 1;
        let first = waiting.first()?;
        if let Ok(together) = concat_batches(&first.schema(), &waiting) {
            return Some(together);
        }
        // Together they can be too large for their types: dictionaries with few keys, offsets.
        self.apart = waiting.into();
        self.apart.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, Int64Array};
    use arrow::datatypes::Int8Type;
    use datafusion::common::internal_datafusion_err;
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
    use futures::stream;

    use super::*;

    fn batch(rows: i64) -> RecordBatch {
        let column = Int64Array::from_iter_values(0..rows);
        RecordBatch::try_from_iter([("n", Arc::new(column) as _)]).unwrap()
    }

    fn gather(
        items: impl futures::Stream<Item = Result<RecordBatch, DataFusionError>> + Send + 'static,
        target: usize,
    ) -> Gather {
        let gathering = Gathering { target, second: target };
        Gather::new(Box::pin(RecordBatchStreamAdapter::new(batch(1).schema(), items)), gathering)
    }

    async fn lengths(mut gather: Gather) -> (Vec<usize>, bool) {
        let mut lengths = Vec::new();
        loop {
            match std::future::poll_fn(|cx| gather.poll(cx)).await {
                Some(Ok(batch)) => lengths.push(batch.num_rows()),
                Some(Err(_)) => return (lengths, true),
                None => return (lengths, false),
            }
        }
    }

    #[tokio::test]
    async fn batches_are_gathered_up_to_the_target_and_none_is_lost() {
        let ten = || stream::iter((0..10).map(|_| Ok(batch(100))));
        assert_eq!(lengths(gather(ten(), 2400)).await, (vec![300, 300, 300, 100], false));
        assert_eq!(lengths(gather(ten(), usize::MAX)).await, (vec![1000], false));
        assert_eq!(lengths(gather(ten(), 1)).await, (vec![100; 10], false));
        let mut second = gather(ten(), 1);
        second.gathering.second = 2400;
        assert_eq!(lengths(second).await, (vec![100, 300, 100, 100, 100, 100, 100, 100], false));
    }

    #[tokio::test]
    async fn rows_before_an_error_come_before_it() {
        let failing = stream::iter([Ok(batch(5)), Ok(batch(6)), Err(internal_datafusion_err!("x"))]);
        assert_eq!(lengths(gather(failing, usize::MAX)).await, (vec![11], true));
    }

    #[tokio::test]
    async fn dictionaries_that_do_not_fit_together_stay_apart() {
        let batch = |start: usize| {
            let names: Vec<String> = (start..start + 100).map(|n| n.to_string()).collect();
            let column: DictionaryArray<Int8Type> = names.iter().map(String::as_str).collect();
            RecordBatch::try_from_iter([("d", Arc::new(column) as _)]).unwrap()
        };
        let items = stream::iter([Ok(batch(0)), Ok(batch(100)), Ok(batch(200))]);
        let stream = RecordBatchStreamAdapter::new(batch(0).schema(), items);
        let all = Gathering { target: usize::MAX, second: usize::MAX };
        let gather = Gather::new(Box::pin(stream), all);
        assert_eq!(lengths(gather).await, (vec![100, 100, 100], false));
    }

    #[tokio::test]
    async fn rows_do_not_wait_for_ever() {
        let slow = stream::once(async { Ok(batch(5)) }).chain(stream::pending());
        let mut gather = gather(slow, usize::MAX);
        let first = std::future::poll_fn(|cx| gather.poll(cx)).await;
        assert_eq!(first.unwrap().unwrap().num_rows(), 5);
    }
}
