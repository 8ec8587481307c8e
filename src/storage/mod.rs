//! Files: the root directory, reading Parquet through held descriptors, staging and publishing.
//!
//! Everything here is blocking and knows nothing of datasets, SQL or gRPC. Callers on a runtime use
//! [`blocking`]. Two invariants hold for the whole crate because they are kept here:
//!
//! - a file is read only through a descriptor opened beneath its [`Area`], so neither a name nor a
//!   link leads out of the root, and a replace or drop changes nothing for a reader;
//! - a published file was synced, read back, renamed and its directory synced before anyone is told.

mod area;
mod choice;
mod column_cache;
mod decoders;
mod delta;
mod disk;
mod encode;
mod encoders;
mod file;
mod file_writer;
mod folder_cache;
mod footer;
mod lengths;
mod listing;
mod logical;
mod names;
mod others;
mod page_headers;
mod pages;
mod root;
mod scan;
mod sql_types;
mod staging;
mod storing;
mod table_format;
mod trash;
mod trust;
mod types;
mod unite;
mod view_buffers;
mod writeback;

pub use area::{Area, io_error, no_regular_file};
pub use column_cache::{CHUNK_ROWS, Chunks, ColumnCache, ColumnFile};
pub use decoders::{Decoders, end_runtimes};
pub use delta::{
    Changes, CommitSummary, Committed, DELTA_LOG, DataFile, DeletedRows, DeltaLog, DeltaRuntime,
    DeltaVersion, NewFile, Operation, Placing, Transaction, delta_types, first_entry, first_entry_path,
    to_logical, to_stored,
};
pub use disk::{descriptor_limit, exhausted_in, exhausted_in_text, exhausted_reading, reserved_descriptors};
pub use file::{FileIdentity, FileStat, HeldFile};
pub use folder_cache::FolderCache;
pub use footer::{Footer, FooterCache};
pub use listing::{Entry, EntryKind, Folder, Part, check_no_table, list_entries, list_parts, look_at_folder};
pub use logical::{EXTENSION_METADATA, EXTENSION_NAME, JSON, UUID, with_extension};
pub use names::{ColumnNames, FieldName, InnerNames};
pub use others::list_others;
pub use page_headers::{check_read, find_damage};
pub use root::{Root, Target};
pub use scan::{Projection, RowGroupSlice, SliceScan, batch_rows, first_row, remaining, slices};
pub use sql_types::{MAX_LENGTH, fraction, precision_and_scale, sql_type, type_name};
pub use staging::{BloomFilters, Codec, StagedFile, Staging, StagingOptions, check_storable};
pub use storing::{BatchSink, Storing};
pub use table_format::{SINK_LOG, TableFormat};
pub use trash::{Label, TrashOptions, Trashed, Why};
pub use types::{
    array_bytes, batch_bytes, cast_batch, decodable, decodable_as, ipc_schema, is_decodable_as,
    rewrite_field, storable, with_order_of, without_views,
};
pub use unite::{Clash, bare_type, unite};
pub use view_buffers::{NEGLIGIBLE_BYTES, held_by_views, is_mostly_used};

use std::num::NonZeroUsize;

use tokio::task::JoinError;

use crate::error::{Error, ErrorKind, Result};

/// Runs blocking `work` off the runtime's threads. It is not cancelled when the caller is dropped:
/// what has begun is carried to its end. A panic in it becomes an internal error.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let span = tracing::Span::current();
    outcome(tokio::task::spawn_blocking(move || span.in_scope(work)).await)
}

/// What a task that was waited for came to: a panic in it becomes an internal error.
pub fn outcome<T>(joined: Result<Result<T>, JoinError>) -> Result<T> {
    match joined {
        Ok(result) => result,
        Err(join) if join.is_panic() => Err(Error::from_panic(join.into_panic().as_ref())),
        Err(_) => Err(Error::new(ErrorKind::Unavailable, "the server is shutting down")),
    }
}

/// How many threads compute at once here: the cores that the process may use. To find out, the system reads files.
pub fn cores() -> NonZeroUsize {
    std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

/// Fewer items than these are not worth a thread.
const MIN_CHUNK: usize = 16;

/// Applies `work` to all items on as many threads as there are cores, keeping their order.
pub fn parallel_map<I: Sync, O: Send>(items: &[I], work: impl Fn(&I) -> O + Sync) -> Vec<O> {
    if items.len() <= MIN_CHUNK {
        // Before the look at the number of cores, which reads files.
        return items.iter().map(work).collect();
    }
    let threads = cores().get();
    let chunk = items.len().div_ceil(threads).max(MIN_CHUNK);
    std::thread::scope(|scope| {
        let work = &work;
        let workers: Vec<_> = items
            .chunks(chunk)
            .map(|chunk| scope.spawn(move || chunk.iter().map(work).collect::<Vec<_>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_parallel_map_keeps_the_order() {
        let items: Vec<u32> = (0..1000).collect();
        let doubled = super::parallel_map(&items, |item| item * 2);
        assert!(doubled.iter().zip(&items).all(|(doubled, item)| *doubled == item * 2));
        assert_eq!(doubled.len(), items.len());
    }
}
