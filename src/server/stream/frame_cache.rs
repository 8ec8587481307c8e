//! Encoded pieces of datasets that are read again and again, or by several clients at once.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::catalog::{Piece, RawScan};
use crate::error::Result;
use crate::server::ipc::{Chunk, Framing};
use crate::storage::{FileStat, RowGroupSlice};

/// Pieces that are remembered for having been read once.
const REMEMBERED: usize = 1 << 16;

/// What encoded messages follow from. An entry cannot be stale: a file whose bytes changed has another
/// stat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::server) struct PieceKey {
    stat: FileStat,
    slice: RowGroupSlice,
    shape: [u8; 32],
    framing: Framing,
}

impl PieceKey {
    /// The key of a piece of `scan`.
    pub(in crate::server) fn new(scan: &RawScan, piece: &Piece, framing: Framing) -> Self {
        Self { stat: *scan.stat(piece), slice: piece.slice().clone(), shape: scan.shape(piece), framing }
    }
}

#[derive(Debug, Clone)]
struct ByMemory;

impl Weighter<PieceKey, Arc<Chunk>> for ByMemory {
    fn weight(&self, _: &PieceKey, chunk: &Arc<Chunk>) -> u64 {
        chunk.bytes() as u64 + 1024
    }
}

/// Messages within a budget of bytes. A piece gets in when it is read for the second time; while it is
/// being made for one reader, others wait for that instead of making it again.
#[derive(Debug, Clone)]
pub(in crate::server) struct FrameCache {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `None` where the budget is 0.
    kept: Option<Cache<PieceKey, Arc<Chunk>, ByMemory>>,
    seen: Cache<PieceKey, ()>,
    /// Pieces that readers are at.
    shared: Mutex<HashMap<PieceKey, Arc<Slot>>>,
}

/// The place of a piece that is being made or sent. Empty until it is made.
type Slot = tokio::sync::Mutex<Option<Arc<Chunk>>>;

/// A piece's messages. While this lives, those who ask for the piece share it.
#[derive(Debug)]
pub(in crate::server) struct Lease {
    pub(in crate::server) chunk: Arc<Chunk>,
    _reader: Option<Reader>,
}

/// Takes the piece's slot away when its last reader is through.
#[derive(Debug)]
struct Reader {
    cache: Arc<Inner>,
    key: PieceKey,
    /// `None` only while it is dropped.
    slot: Option<Arc<Slot>>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut shared = self.cache.shared.lock().unwrap_or_else(PoisonError::into_inner);
        // While the map is locked, so that of two last readers one sees that there is no other.
        self.slot = None;
        if shared.get(&self.key).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            shared.remove(&self.key);
        }
    }
}

/// What making a piece gave.
pub(in crate::server) enum Made<R> {
    /// All of it.
    Whole(Chunk),
    /// The beginning of what is too large to be kept, and what makes the rest.
    Begun(Chunk, R),
}

impl FrameCache {
    /// A cache of up to `budget` bytes; 0 switches it off.
    pub(in crate::server) fn new(budget: u64) -> Self {
        // The cache divides its budget among shards by this; what is larger than a shard's share is not kept.
        let estimated = usize::try_from(budget >> 24).unwrap_or(usize::MAX).clamp(1, 1 << 16);
        let kept = (budget > 0).then(|| Cache::with_weighter(estimated, budget, ByMemory));
        let inner = Inner { kept, seen: Cache::new(REMEMBERED), shared: Mutex::default() };
        Self { inner: Arc::new(inner) }
    }

    /// Gives all memory back.
    pub(in crate::server) fn clear(&self) {
        if let Some(kept) = &self.inner.kept {
            kept.clear();
        }
    }

    /// The messages of a piece: kept, shared, or made.
    pub(in crate::server) async fn get<R>(
        &self,
        key: PieceKey,
        make: impl Future<Output = Result<Made<R>>>,
    ) -> Result<(Lease, Option<R>)> {
        if let Some(chunk) = self.inner.kept.as_ref().and_then(|kept| kept.get(&key)) {
            return Ok((Lease { chunk, _reader: None }, None));
        }
        let (reader, slot) = self.reader(key);
        let mut place = slot.lock_owned().await;
        if let Some(chunk) = &*place {
            let chunk = Arc::clone(chunk);
            return Ok((Lease { chunk, _reader: Some(reader) }, None));
        }
        match make.await? {
            Made::Whole(chunk) => {
                let chunk = Arc::new(chunk);
                *place = Some(Arc::clone(&chunk));
                self.offer(&reader.key, &chunk);
                Ok((Lease { chunk, _reader: Some(reader) }, None))
            }
            Made::Begun(chunk, rest) => Ok((Lease { chunk: Arc::new(chunk), _reader: None }, Some(rest))),
        }
    }

    fn reader(&self, key: PieceKey) -> (Reader, Arc<Slot>) {
        let mut shared = self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = Arc::clone(shared.entry(key.clone()).or_default());
        let reader = Reader { cache: Arc::clone(&self.inner), key, slot: Some(Arc::clone(&slot)) };
        (reader, slot)
    }

    /// Keeps a piece if it was read before.
    fn offer(&self, key: &PieceKey, chunk: &Arc<Chunk>) {
        let Some(kept) = &self.inner.kept else { return };
        if self.inner.seen.get(key).is_some() {
            kept.insert(key.clone(), Arc::clone(chunk));
        } else {
            self.inner.seen.insert(key.clone(), ());
        }
    }
}
