//! A Parquet file of columns that are encoded already.
//!
//! The library's own writer of files takes the pages of a chunk for as long as its encoder made them; here their
//! headers have grown by checksums, and all that tells where pages lie is moved by as much.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use parquet::arrow::arrow_writer::ArrowColumnChunk;
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{
    ColumnChunkMetaData, ColumnChunkMetaDataBuilder, FileMetaData, ParquetMetaDataBuilder,
    ParquetMetaDataWriter, RowGroupMetaData,
};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::page_index::offset_index::OffsetIndexMetaData;
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::{SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::{SchemaDescPtr, SchemaDescriptor, TypePtr};

use super::pages::{Added, GroupPages};

/// What a Parquet file begins with; the end is the library's.
const MAGIC: &[u8] = b"PAR1";

/// Writes row groups one after the other, then the footer.
pub(super) struct FileWriter<W: Write + Send> {
    out: TrackedWrite<Sink<W>>,
    sink: Sink<W>,
    parquet: SchemaDescPtr,
    properties: WriterPropertiesPtr,
    row_groups: Vec<RowGroupMetaData>,
    column_indexes: Vec<Vec<ColumnIndexMetaData>>,
    /// `None` once a column has none.
    offset_indexes: Option<Vec<Vec<OffsetIndexMetaData>>>,
}

/// What the library tells of a row group at its end.
struct Closed {
    metadata: RowGroupMetaData,
    filters: Vec<Option<Sbbf>>,
    columns: Vec<Option<ColumnIndexMetaData>>,
    offsets: Vec<Option<OffsetIndexMetaData>>,
}

impl<W: Write + Send> FileWriter<W> {
    pub(super) fn new(to: W, schema: TypePtr, properties: WriterPropertiesPtr) -> Result<Self> {
        let sink = Sink(Arc::new(Mutex::new(Written { to, failed: None })));
        let mut out = TrackedWrite::new(sink.clone());
        out.write_all(MAGIC)?;
        let parquet = Arc::new(SchemaDescriptor::new(schema));
        let (row_groups, column_indexes, offset_indexes) = (Vec::new(), Vec::new(), Some(Vec::new()));
        Ok(Self { out, sink, parquet, properties, row_groups, column_indexes, offset_indexes })
    }

    pub(super) fn schema_descr(&self) -> &SchemaDescriptor {
        &self.parquet
    }

    /// Appends a row group: its chunks in the order of the leaves, whose pages went through `pages`.
    pub(super) fn append_group(
        &mut self,
        chunks: impl Iterator<Item = ArrowColumnChunk>,
        pages: &GroupPages,
    ) -> Result<()> {
        let ordinal = i16::try_from(self.row_groups.len());
        let ordinal = ordinal.map_err(|_| general("a Parquet file has no more than 32,768 row groups"))?;
        let mut closed = None;
        let on_close = |_: &mut TrackedWrite<Sink<W>>, metadata, filters, columns, offsets| {
            closed = Some(Closed { metadata, filters, columns, offsets });
            Ok(())
        };
        let mut group = SerializedRowGroupWriter::new(
            Arc::clone(&self.parquet),
            Arc::clone(&self.properties),
            &mut self.out,
            ordinal,
            Some(Box::new(on_close)),
        );
        let mut dictionaries = Vec::with_capacity(self.parquet.num_columns());
        for (leaf, mut chunk) in chunks.enumerate() {
            let added = pages.added(leaf);
            lengthen(chunk.close_mut(), &added)?;
            dictionaries.push(added.dictionary);
            chunk.append_to_row_group(&mut group)?;
        }
        group.close()?;
        let closed = closed.ok_or_else(|| general("a row group was not closed"))?;
        self.take(closed, &dictionaries)
    }

    /// Keeps what the footer is to say of a row group, and writes its Bloom filters.
    fn take(&mut self, closed: Closed, dictionaries: &[i64]) -> Result<()> {
        let Closed { metadata, filters, columns, mut offsets } = closed;
        let mut chunks = metadata.columns().to_vec();
        for (chunk, dictionary) in chunks.iter_mut().zip(dictionaries) {
            let data_page = chunk.data_page_offset() + dictionary;
            *chunk = rebuilt(chunk, |builder| builder.set_data_page_offset(data_page))?;
        }
        for (offsets, dictionary) in offsets.iter_mut().zip(dictionaries) {
            for page in offsets.iter_mut().flat_map(|offsets| &mut offsets.page_locations) {
                page.offset += dictionary;
            }
        }
        for (chunk, filter) in chunks.iter_mut().zip(filters) {
            let Some(filter) = filter else { continue };
            let start = self.out.bytes_written();
            filter.write(&mut self.out)?;
            let (offset, length) = (i64::try_from(start)?, i32::try_from(self.out.bytes_written() - start)?);
            *chunk = rebuilt(chunk, |builder| {
                builder.set_bloom_filter_offset(Some(offset)).set_bloom_filter_length(Some(length))
            })?;
        }
        self.row_groups.push(metadata.into_builder().set_column_metadata(chunks).build()?);
        let columns = columns.into_iter().map(|index| index.unwrap_or(ColumnIndexMetaData::NONE));
        self.column_indexes.push(columns.collect());
        let offsets: Option<Vec<_>> = offsets.into_iter().collect();
        match (self.offset_indexes.as_mut(), offsets) {
            (Some(all), Some(offsets)) => all.push(offsets),
            _ => self.offset_indexes = None,
        }
        Ok(())
    }

    /// Writes the footer and gives back where it was written to.
    pub(super) fn finish(self) -> Result<W> {
        let Self { out, sink, parquet, properties, row_groups, column_indexes, offset_indexes } = self;
        let file = FileMetaData::new(
            properties.writer_version().as_num(),
            row_groups.iter().map(RowGroupMetaData::num_rows).sum(),
            Some(properties.created_by().to_owned()),
            properties.key_value_metadata().cloned(),
            parquet,
            None,
        );
        let metadata = ParquetMetaDataBuilder::new(file)
            .set_row_groups(row_groups)
            .set_column_index(Some(column_indexes))
            .set_offset_index(offset_indexes)
            .build();
        // The last bytes are written when the writer is gone, which says nothing of an error.
        ParquetMetaDataWriter::new_with_tracked(out, &metadata).finish()?;
        sink.into_inner()
    }
}

/// Notes by how much the pages of a chunk have grown. Where a dictionary comes first, and that it does, the library
/// finds out when it takes the chunk; what it does not see then is that the dictionary has grown too.
fn lengthen(close: &mut ColumnCloseResult, added: &Added) -> Result<()> {
    let all = added.dictionary + added.pages.iter().map(|bytes| i64::from(*bytes)).sum::<i64>();
    close.bytes_written += u64::try_from(all)?;
    let metadata = &close.metadata;
    let (stored, plain) = (metadata.compressed_size() + all, metadata.uncompressed_size() + all);
    let mut offset = metadata.data_page_offset();
    close.metadata = rebuilt(metadata, |builder| {
        builder.set_total_compressed_size(stored).set_total_uncompressed_size(plain)
    })?;
    let locations = close.offset_index.iter_mut().flat_map(|index| &mut index.page_locations);
    for (page, bytes) in locations.zip(&added.pages) {
        page.offset = offset;
        page.compressed_page_size += bytes;
        offset += i64::from(page.compressed_page_size);
    }
    Ok(())
}

fn rebuilt(
    chunk: &ColumnChunkMetaData,
    change: impl FnOnce(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
) -> Result<ColumnChunkMetaData> {
    change(chunk.clone().into_builder()).build()
}

fn general(text: &str) -> ParquetError {
    ParquetError::General(text.to_owned())
}

/// Where the file goes. The library's buffer before it drops its last error.
struct Sink<W>(Arc<Mutex<Written<W>>>);

struct Written<W> {
    to: W,
    failed: Option<io::Error>,
}

impl<W> Clone for Sink<W> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<W> Sink<W> {
    fn into_inner(self) -> Result<W> {
        let shared = Arc::into_inner(self.0).ok_or_else(|| general("a file is still being written"))?;
        let Written { to, failed } = shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(to), |error| Err(error.into()))
    }
}

impl<W: Write> Sink<W> {
    fn with<T>(&self, work: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        let mut written = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = work(&mut written.to);
        if let Err(error) = &done
            && error.kind() != io::ErrorKind::Interrupted
        {
            let copy = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            written.failed.get_or_insert(copy);
        }
        done
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.with(|to| to.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.with(Write::flush)
    }
}
