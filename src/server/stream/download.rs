//! Raw streams: pieces of a dataset that are decoded and encoded ahead of the client, several at once, and
//! sent in order.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::frame_cache::{FrameCache, Lease, Made, PieceKey};
use crate::catalog::{Piece, PieceScan, RawScan};
use crate::error::{Error, Result};
use crate::server::ipc::{Chunk, FrameEncoder, Framing, opening};
use crate::storage::{Decoders, cores};

/// What a piece aims at, in bytes of Arrow data: a row group, most often; less where so many downloads run
/// that their pieces would take more memory than all together may.
const PIECE_BYTES: u64 = 24 << 20;
const LEAST_PIECE_BYTES: u64 = 1 << 20;
/// The first piece, which is to be there at once.
const FIRST_BYTES: u64 = 1 << 20;
/// What makes a piece a large message, for the clients that gain by one.
const LARGE_BYTES: u64 = 8 << 20;

/// The settings of raw streams.
#[derive(Debug, Clone, Copy)]
pub struct DownloadOptions {
    /// Bytes of encoded messages that are kept for the next reader; 0: none.
    pub cache_bytes: u64,
    /// Bytes that all downloads together may decode ahead of their clients.
    pub ahead_bytes: u64,
}

/// What all raw streams share.
#[derive(Debug, Clone)]
pub(in crate::server) struct Downloads {
    decoders: Decoders,
    cores: NonZeroUsize,
    cache: FrameCache,
    running: Arc<AtomicU64>,
    ahead_bytes: u64,
}

impl Downloads {
    pub(in crate::server) fn new(options: DownloadOptions) -> Result<Self> {
        let cores = cores();
        Ok(Self {
            decoders: Decoders::new(cores)?,
            cores,
            cache: FrameCache::new(options.cache_bytes),
            running: Arc::default(),
            ahead_bytes: options.ahead_bytes,
        })
    }

    /// Gives back the memory of what can be made again.
    pub(in crate::server) fn release_memory(&self) {
        self.cache.clear();
    }

    /// The messages of a scan.
    pub(in crate::server) fn stream(
        &self,
        scan: RawScan,
        framing: Framing,
    ) -> Result<impl Stream<Item = Result<Chunk>> + Send + use<>> {
        let scan = Arc::new(scan);
        let first = opening(scan.schema());
        let last = if scan.rows() == 0 { FrameEncoder::new(scan.schema(), framing)?.finish()? } else { None };
        let running = Running::new(&self.running);
        let piece_bytes = self.piece_bytes();
        let mut pieces = scan.pieces(piece_bytes);
        if let Some((first, rest)) = pieces.first().and_then(|piece| piece.split(FIRST_BYTES)) {
            pieces.splice(..1, [first, rest]);
        }
        // Not the one that is to be there at once.
        let large = (1..pieces.len()).find(|place| pieces[*place].bytes() >= LARGE_BYTES);
        let ahead = self.ahead(pieces.iter().map(Piece::bytes).max());
        let downloads = self.clone();
        // The others would share the cores with the first piece, which the client waits for.
        let first_made = CancellationToken::new();
        let mut first_making = Some(first_made.clone().drop_guard());
        let chunks = futures::stream::iter(pieces.into_iter().enumerate())
            .map(move |(place, piece)| {
                let _ = &running;
                let size = if large == Some(place) { framing.size } else { framing.size.steady() };
                let framing = Framing { size, ..framing };
                let key = PieceKey::new(&scan, &piece, framing);
                let job = Job { scan: Arc::clone(&scan), piece, framing, piece_bytes };
                let (downloads, span) = (downloads.clone(), tracing::Span::current());
                let (making, first_made) = (first_making.take(), first_made.clone());
                let made = async move {
                    if making.is_none() {
                        first_made.cancelled().await;
                    }
                    downloads.piece(key, job).await
                };
                // A task of its own, so that it goes on while others are sent.
                AbortOnDropHandle::new(tokio::spawn(made.instrument(span)))
            })
            .buffered(ahead)
            .flat_map(|piece| match piece {
                Ok(Ok(chunks)) => chunks,
                Ok(Err(error)) => failed(error),
                Err(join) => failed(Error::internal(format!("the task of a piece ended: {join}"))),
            });
        let ends = |chunk: Option<Chunk>| futures::stream::iter(chunk.map(Ok));
        Ok(ends(Some(first)).chain(chunks).chain(ends(last)))
    }

    /// What each of the downloads that run may decode ahead, in bytes.
    fn share(&self) -> u64 {
        self.ahead_bytes / self.running.load(Ordering::Relaxed).max(1)
    }

    /// What the pieces of one more download may have. In steps, so that readers of one dataset share them.
    fn piece_bytes(&self) -> u64 {
        let share = self.share();
        if share >= PIECE_BYTES {
            PIECE_BYTES
        } else {
            (share / 2 + 1).next_power_of_two().max(LEAST_PIECE_BYTES)
        }
    }

    /// How many pieces one more download may be ahead: a share of what all may, and enough for all cores.
    fn ahead(&self, largest: Option<u64>) -> usize {
        usize::try_from(self.share() / largest.unwrap_or(0).max(1))
            .unwrap_or(usize::MAX)
            .clamp(1, self.cores.get() + 1)
    }

    async fn piece(self, key: PieceKey, job: Job) -> Result<BoxStream<'static, Result<Chunk>>> {
        let decoders = self.decoders.clone();
        let made = async {
            Ok(match decoders.run(move || job.begin()).await? {
                (chunk, None) => Made::Whole(chunk),
                (chunk, Some(rest)) => Made::Begun(chunk, rest),
            })
        };
        let (lease, rest) = self.cache.get(key, made).await?;
        let rest = futures::stream::try_unfold(rest, move |rest| {
            let decoders = decoders.clone();
            async move {
                match rest {
                    Some(rest) => decoders.run(move || rest.step()).await.map(Some),
                    None => Ok(None),
                }
            }
        });
        // The lease is given back when the chunk after this one is asked for.
        let first = futures::stream::unfold((lease, true), |(lease, is_new): (Lease, bool)| async move {
            is_new.then(|| (Ok(Chunk::clone(&lease.chunk)), (lease, false)))
        });
        Ok(first.chain(rest).boxed())
    }
}

fn failed(error: Error) -> BoxStream<'static, Result<Chunk>> {
    futures::stream::once(async { Err(error) }).boxed()
}

/// Counts as a running download while it lives.
struct Running(Arc<AtomicU64>);

impl Running {
    fn new(count: &Arc<AtomicU64>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(count))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A piece to be made into messages.
struct Job {
    scan: Arc<RawScan>,
    piece: Piece,
    framing: Framing,
    /// About what it was cut to.
    piece_bytes: u64,
}

impl Job {
    fn begin(self) -> Result<(Chunk, Option<Making>)> {
        let encoder = FrameEncoder::new(self.scan.schema(), self.framing)?;
        let rows = self.scan.open(&self.piece, encoder.batch_bytes(self.piece_bytes))?;
        // What comes out larger is sent in several chunks.
        let chunk_bytes = usize::try_from(2 * self.piece_bytes).unwrap_or(usize::MAX);
        Making { rows, encoder, chunk_bytes }.step()
    }
}

/// A piece in the making.
struct Making {
    rows: PieceScan,
    encoder: FrameEncoder,
    chunk_bytes: usize,
}

impl Making {
    /// The next messages, and what makes those after them.
    fn step(mut self) -> Result<(Chunk, Option<Self>)> {
        let mut chunk = Chunk::default();
        while let Some(batch) = self.rows.next_batch()? {
            chunk.append(self.encoder.encode(&batch)?);
            if chunk.bytes() > self.chunk_bytes {
                return Ok((chunk, Some(self)));
            }
        }
        Ok((chunk, None))
    }
}
