//! The headers of the pages of our own files: they are given checksums on their way into a file, and looked at before
//! the pages are read.
//!
//! A checksum is the CRC-32 of a page's bytes as they lie in the file, which Parquet's readers compare
//! (<https://github.com/apache/parquet-format#checksumming>). It leaves the header out, and a header that lies, about its
//! values say, gives other rows. But of our own files it is known what headers look like, and what has to be in them.
//!
//! ```text
//! 15 type  15 size  15 size in the file  15 CRC-32  1C { 15 values  15 encoding  15 levels  15 levels  00 }  00
//! ```
//!
//! (Thrift's compact protocol; `1C` begins the part of a data page, `3C` that of a dictionary, which ends otherwise.)

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use parquet::file::page_index::offset_index::PageLocation;

use super::file::HeldFile;
use crate::error::{Error, Result};

/// Who wrote a file, as its footer says: our name stands first.
pub(super) const WRITER: &str = "airstrip version ";
/// The longest header that is written here, with room to spare.
const MAX_HEADER: u64 = 64;
/// Bytes that are read to find out which page it is that is damaged.
const MAX_SEARCHED: u64 = 1 << 30;

/// A field that follows the one before it and is an integer.
const INTEGER: u8 = 0x15;
/// What begins the part of a data page or of a dictionary, right behind a checksum; without one a field is left out.
const DATA: u8 = 0x1C;
const DICTIONARY: u8 = 0x3C;
const FIELD: u8 = 0x10;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PageKind {
    Data,
    Dictionary,
}

/// A header with the checksum of its page, and what sort of page it is; `None` for a header that is none of ours.
pub(super) fn with_checksum(header: &[u8], page: &[u8]) -> Option<(Bytes, PageKind)> {
    let parsed = Header::parse(header).filter(|parsed| parsed.length == header.len())?;
    let (before, after) = header.split_at(parsed.checksum_at);
    let (next, rest) = after.split_first().filter(|_| parsed.checksum.is_none())?;
    let mut with = Vec::with_capacity(header.len() + 6);
    with.extend_from_slice(before);
    with.push(INTEGER);
    push_integer(&mut with, crc32fast::hash(page).cast_signed());
    with.push(next - FIELD);
    with.extend_from_slice(rest);
    Some((with.into(), parsed.kind))
}

fn push_integer(bytes: &mut Vec<u8>, value: i32) {
    // Small numbers of either sign are short.
    let mut rest = ((value << 1) ^ (value >> 31)).cast_unsigned();
    while let Some(low) = u8::try_from(rest & 0x7F).ok().filter(|_| rest > 0x7F) {
        bytes.push(low | 0x80);
        rest >>= 7;
    }
    bytes.extend(u8::try_from(rest));
}

/// A header as it is in our files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    kind: PageKind,
    /// Bytes of the page in the file.
    bytes: u64,
    checksum: Option<i32>,
    /// Where the checksum is in the header, or has to be put.
    checksum_at: usize,
    /// Values, NULLs among them.
    values: i64,
    encoding: i32,
    /// Bytes of the header itself.
    length: usize,
}

impl Header {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut input = Input { bytes, at: 0 };
        let kind = match input.integer()? {
            0 => PageKind::Data,
            2 => PageKind::Dictionary,
            _ => return None,
        };
        u32::try_from(input.integer()?).ok()?;
        let page_bytes = u64::try_from(input.integer()?).ok()?;
        let checksum_at = input.at;
        let checksum = if bytes.get(input.at) == Some(&INTEGER) { Some(input.integer()?) } else { None };
        let part = if kind == PageKind::Data { DATA } else { DICTIONARY };
        input.expect(if checksum.is_some() { part } else { part + FIELD })?;
        let values = i64::from(input.integer()?);
        let encoding = input.integer()?;
        match kind {
            PageKind::Data => {
                let levels = [input.integer()?, input.integer()?];
                levels.iter().all(|encoding| *encoding == Encoding::RLE as i32).then_some(())?;
            }
            // Its values are in no order.
            PageKind::Dictionary => input.expect(0x12)?,
        }
        input.expect(0)?;
        input.expect(0)?;
        let length = input.at;
        (values >= 0).then_some(Self {
            kind,
            bytes: page_bytes,
            checksum,
            checksum_at,
            values,
            encoding,
            length,
        })
    }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.byte()? == wanted).then_some(())
    }

    fn integer(&mut self) -> Option<i32> {
        self.expect(INTEGER)?;
        let mut value = 0_u64;
        for place in 0..5 {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                let value = u32::try_from(value).ok()?;
                return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
            }
        }
        None
    }
}

/// Whether a file was written here.
pub(super) fn is_own(metadata: &ParquetMetaData) -> bool {
    metadata.file_metadata().created_by().is_some_and(|writer| writer.starts_with(WRITER))
}

/// A column of a row group.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chunk<'a> {
    file: &'a HeldFile,
    metadata: &'a ParquetMetaData,
    row_group: usize,
    leaf: usize,
}

impl<'a> Chunk<'a> {
    pub(super) fn new(
        file: &'a HeldFile,
        metadata: &'a ParquetMetaData,
        row_group: usize,
        leaf: usize,
    ) -> Self {
        Self { file, metadata, row_group, leaf }
    }

    fn column(&self) -> &'a ColumnChunkMetaData {
        self.metadata.row_group(self.row_group).column(self.leaf)
    }

    fn damaged(&self, why: &str) -> Error {
        let (path, column) = (self.file.path().display(), self.column().column_path().string());
        let group = self.row_group;
        Error::data_loss(format!(
            "the file {path} is damaged: column {column:?} of row group {group} has {why}; put back a copy of the file, \
             or upload the dataset again"
        ))
    }

    /// Fails where the headers of the pages do not fit to each other or to the footer.
    pub(super) fn check_headers(&self) -> Result<()> {
        let (start, length) = self.column().byte_range();
        let read = |at: u64, length: u64| self.read(at, length);
        self.check(start, start + length, read)
    }

    /// The same for the pages that lie in `bytes`, which begin at `start` in the file.
    fn check_headers_in(&self, start: u64, bytes: &Bytes) -> Result<()> {
        let read = |at: u64, length: u64| {
            let from = usize::try_from(at - start).unwrap_or(usize::MAX).min(bytes.len());
            let end = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)).min(bytes.len());
            Ok(bytes.slice(from..end))
        };
        self.check(start, start + bytes.len() as u64, read)
    }

    fn read(&self, at: u64, length: u64) -> Result<Bytes> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.file.read(at, length).map_err(|error| self.file.read_error(error))
    }

    fn check(&self, start: u64, end: u64, mut read: impl FnMut(u64, u64) -> Result<Bytes>) -> Result<()> {
        let column = self.column();
        let mut seen = Seen::default();
        let mut at = start;
        while at < end {
            let header = Header::parse(&read(at, MAX_HEADER.min(end - at))?);
            let header = header.ok_or_else(|| self.damaged("a page without a header"))?;
            let is_known = column.encodings().any(|known| known as i32 == header.encoding);
            let is_counted = self.rows_at(at).is_none_or(|rows| rows == header.values);
            let fits = header.kind == PageKind::Dictionary || (is_known && is_counted);
            if !fits || !seen.add(&header) {
                return Err(self.damaged("a page whose header contradicts the footer"));
            }
            at = at.saturating_add(header.length as u64).saturating_add(header.bytes);
        }
        let is_whole = (start, end - start) == column.byte_range();
        if at != end || (is_whole && seen.values != column.num_values()) {
            return Err(self.damaged("pages that are not those of its footer"));
        }
        Ok(())
    }

    /// Rows of the data page at an offset, which are its values, as far as the index of the pages is loaded.
    fn rows_at(&self, offset: u64) -> Option<i64> {
        if self.column().column_descr().max_rep_level() > 0 {
            return None;
        }
        let pages = self.metadata.offset_index()?.get(self.row_group)?.get(self.leaf)?.page_locations();
        let offset = i64::try_from(offset).ok()?;
        let page = pages.binary_search_by_key(&offset, |page: &PageLocation| page.offset).ok()?;
        let end = pages.get(page + 1).map(|next| next.first_row_index);
        let end = end.unwrap_or_else(|| self.metadata.row_group(self.row_group).num_rows());
        Some(end - pages[page].first_row_index)
    }

    /// Fails where a page has another checksum than its header says; `left` are the bytes that may be read for it.
    fn check_pages(&self, left: &mut u64) -> Result<()> {
        let (start, length) = self.column().byte_range();
        let (mut at, end) = (start, start + length);
        while at < end {
            let header = Header::parse(&self.read(at, MAX_HEADER.min(end - at))?);
            let header = header.ok_or_else(|| self.damaged("a page without a header"))?;
            let Some(rest) = left.checked_sub(header.bytes) else { return Ok(()) };
            *left = rest;
            let page = self.read(at + header.length as u64, header.bytes)?;
            if header.checksum.is_some_and(|sum| sum.cast_unsigned() != crc32fast::hash(&page)) {
                return Err(self.damaged("a page that does not have its checksum"));
            }
            at += header.length as u64 + header.bytes;
        }
        Ok(())
    }
}

/// What the headers of a chunk have said so far.
#[derive(Default)]
struct Seen {
    pages: usize,
    with_checksum: usize,
    values: i64,
    has_dictionary: bool,
    /// A dictionary that grows too large is given up, and for good.
    is_plain: bool,
}

impl Seen {
    /// Whether a page can follow those that came before.
    fn add(&mut self, header: &Header) -> bool {
        self.pages += 1;
        self.with_checksum += usize::from(header.checksum.is_some());
        let all_or_none = self.with_checksum == 0 || self.with_checksum == self.pages;
        if header.kind == PageKind::Dictionary {
            let is_first = !std::mem::replace(&mut self.has_dictionary, true) && self.values == 0;
            return all_or_none && is_first && header.encoding == Encoding::PLAIN as i32;
        }
        self.values += header.values;
        let is_plain = header.encoding != Encoding::RLE_DICTIONARY as i32;
        let was_plain = std::mem::replace(&mut self.is_plain, is_plain);
        all_or_none && (is_plain || !was_plain)
    }
}

/// Fails where the headers of pages that were read of a file at `start` are not as they were written. Of a file of
/// others nothing is known.
pub fn check_read(file: &HeldFile, metadata: &ParquetMetaData, start: u64, bytes: &Bytes) -> Result<()> {
    if !is_own(metadata) {
        return Ok(());
    }
    let (mut low, mut high) = (0, metadata.num_row_groups());
    while low + 1 < high {
        let middle = usize::midpoint(low, high);
        let first = metadata.row_group(middle).columns().first();
        if first.is_some_and(|column| column.byte_range().0 <= start) { low = middle } else { high = middle }
    }
    let Some(group) = metadata.row_groups().get(low) else { return Ok(()) };
    let leaf = group.columns().partition_point(|column| column.byte_range().0 <= start);
    let Some(leaf) = leaf.checked_sub(1) else { return Ok(()) };
    let (first, length) = group.column(leaf).byte_range();
    let is_inside = start >= first && start + bytes.len() as u64 <= first + length;
    if is_inside { Chunk::new(file, metadata, low, leaf).check_headers_in(start, bytes) } else { Ok(()) }
}

/// The error that names the page of a file which does not have its checksum, if there is one.
pub fn find_damage(file: &HeldFile, metadata: &ParquetMetaData) -> Option<Error> {
    let mut left = MAX_SEARCHED;
    let groups = (0..metadata.num_row_groups()).filter(|_| is_own(metadata));
    let chunks =
        groups.flat_map(|group| (0..metadata.row_group(group).num_columns()).map(move |leaf| (group, leaf)));
    chunks
        .map(|(group, leaf)| Chunk::new(file, metadata, group, leaf))
        .find_map(|chunk| chunk.check_pages(&mut left).err())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::ops::Range;
    use std::os::unix::fs::FileExt;
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray};
    use arrow::datatypes::Int64Type;
    use parquet::basic::Compression;
    use parquet::file::metadata::{ColumnChunkMetaData, PageIndexPolicy, RowGroupMetaData};
    use parquet::file::properties::WriterProperties;

    use super::super::encode::ParallelWriter;
    use super::super::encoders::Encoders;
    use super::super::footer::Footer;
    use super::super::pages::PageMemory;
    use super::super::scan::{Projection, SliceScan, slices};
    use super::*;
    use crate::error::ErrorKind;

    const ROWS: i64 = 400;

    /// Numbers that are packed as differences, others in plain form, a dictionary, one that was given up, and lists.
    fn rows() -> RecordBatch {
        let scattered = |n: i64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15_u64.cast_signed());
        let text = |n: i64| (n % 5 != 0).then(|| format!("{:x}", scattered(n) >> 40));
        let list = |n: i64| (n % 3 != 0).then(|| (0..n % 4).map(Some).collect::<Vec<_>>());
        let columns: [(&str, ArrayRef); 5] = [
            ("n", Arc::new(Int64Array::from_iter_values(0..ROWS))),
            ("far", Arc::new(Int64Array::from_iter_values((0..ROWS).map(scattered)))),
            (
                "few",
                Arc::new(
                    (0..ROWS)
                        .map(|n| (n % 7 > 0).then_some(if n % 2 == 0 { "a" } else { "b" }))
                        .collect::<StringArray>(),
                ),
            ),
            ("text", Arc::new((0..ROWS).map(text).collect::<StringArray>())),
            ("list", Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>((0..ROWS).map(list)))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
    }

    fn written(compression: Compression) -> Vec<u8> {
        let properties = WriterProperties::builder()
            .set_created_by(format!("{WRITER}0"))
            .set_compression(compression)
            .set_max_row_group_row_count(Some(300))
            .set_data_page_row_count_limit(100)
            .set_write_batch_size(50)
            .set_dictionary_page_size_limit(1000);
        let memory = PageMemory::new(usize::MAX, || unreachable!("there is room for all pages"));
        let rows = rows();
        let writer = ParallelWriter::new(Vec::new(), rows.schema(), properties, Encoders::new(), memory);
        let mut writer = writer.unwrap();
        writer.write(&rows).unwrap();
        writer.finish().unwrap()
    }

    /// Where a column chunk's bytes are.
    fn place(chunk: &ColumnChunkMetaData) -> Range<usize> {
        let (start, length) = chunk.byte_range();
        let start = usize::try_from(start).unwrap();
        start..start + usize::try_from(length).unwrap()
    }

    struct Stored {
        bytes: Vec<u8>,
        file: File,
        footer: Footer,
    }

    impl Stored {
        fn new(compression: Compression) -> Self {
            let (bytes, file) = (written(compression), tempfile::tempfile().unwrap());
            file.write_all_at(&bytes, 0).unwrap();
            let held = HeldFile::new(file.try_clone().unwrap(), Path::new("t.parquet")).unwrap();
            let footer = Footer::read(&held, PageIndexPolicy::Required).unwrap();
            Self { bytes, file, footer }
        }

        fn held(&self) -> HeldFile {
            HeldFile::new(self.file.try_clone().unwrap(), Path::new("t.parquet")).unwrap()
        }

        fn read(&self) -> Result<Vec<RecordBatch>> {
            let columns = (0..self.footer.schema.fields().len()).collect();
            let projection = Projection { columns, schema: Arc::clone(&self.footer.schema) };
            let mut batches = Vec::new();
            for slice in slices(&self.footer, &projection, u64::MAX) {
                let mut scan = SliceScan::open(self.held(), &self.footer, &projection, &slice, None, 1000)?;
                while let Some(batch) = scan.next_batch()? {
                    batches.push(batch);
                }
            }
            Ok(batches)
        }

        /// Where the headers of the pages are, and the pages.
        fn pages(&self) -> Vec<(Range<usize>, Range<usize>)> {
            let chunks = self.footer.metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
            let mut pages = Vec::new();
            for chunk in chunks {
                let Range { start: mut at, end } = place(chunk);
                while at < end {
                    let header = Header::parse(&self.bytes[at..]).unwrap();
                    assert!(header.checksum.is_some());
                    let page = at + header.length;
                    at = page + usize::try_from(header.bytes).unwrap();
                    pages.push((page - header.length..page, page..at));
                }
                assert_eq!(at, end);
            }
            pages
        }
    }

    #[test]
    fn a_flipped_bit_is_never_other_rows() {
        for compression in [Compression::UNCOMPRESSED, Compression::LZ4_RAW] {
            let stored = Stored::new(compression);
            let whole = stored.read().unwrap();
            let pages = stored.pages();
            assert!(pages.len() >= 20, "{}", pages.len());
            let all_bits =
                |header: &Range<usize>| header.clone().flat_map(|at| (0..8).map(move |bit| (at, bit)));
            let one_bit = |page: &Range<usize>| page.clone().step_by(3).map(|at| (at, at % 8));
            let flips = pages.iter().flat_map(|(header, page)| all_bits(header).chain(one_bit(page)));
            let (mut harmless, mut refused) = (0, 0);
            for (at, bit) in flips {
                stored.file.write_all_at(&[stored.bytes[at] ^ (1 << bit)], at as u64).unwrap();
                match stored.read() {
                    Ok(read) => {
                        assert_eq!(read, whole, "bit {bit} of byte {at}");
                        harmless += 1;
                    }
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::DataLoss, "{error}");
                        assert!(error.message().contains("t.parquet"), "{error}");
                        refused += 1;
                    }
                }
                stored.file.write_all_at(&stored.bytes[at..=at], at as u64).unwrap();
            }
            println!("{compression:?}: {refused} refused, {harmless} harmless");
            assert!(refused > 20 * harmless, "{refused} refused, {harmless} harmless");
        }
    }

    #[test]
    fn what_is_damaged_is_named() {
        let stored = Stored::new(Compression::LZ4_RAW);
        let column = stored.footer.metadata.row_group(1).column(3);
        let at = place(column).end - 1;
        stored.file.write_all_at(&[stored.bytes[at] ^ 1], at as u64).unwrap();
        let error = stored.read().unwrap_err();
        for part in ["t.parquet", "\"text\"", "row group 1", "checksum"] {
            assert!(error.message().contains(part), "{error}");
        }
        assert!(find_damage(&stored.held(), &stored.footer.metadata).is_some());
    }

    #[test]
    fn pages_that_were_read_are_looked_at() {
        let stored = Stored::new(Compression::LZ4_RAW);
        let (held, metadata) = (stored.held(), &stored.footer.metadata);
        for chunk in metadata.row_groups().iter().flat_map(RowGroupMetaData::columns) {
            let (start, _) = chunk.byte_range();
            let bytes = Bytes::copy_from_slice(&stored.bytes[place(chunk)]);
            check_read(&held, metadata, start, &bytes).unwrap();
            for bit in 0..8 {
                let mut other = bytes.to_vec();
                other[1] ^= 1 << bit;
                check_read(&held, metadata, start, &other.into()).unwrap_err();
            }
        }
    }

    #[test]
    fn integers_are_written_as_they_are_read() {
        for value in [0, -1, 1, 63, 64, -64, -65, i32::MAX, i32::MIN] {
            let mut bytes = vec![INTEGER];
            push_integer(&mut bytes, value);
            let mut input = Input { bytes: &bytes, at: 0 };
            assert_eq!((input.integer(), input.at), (Some(value), bytes.len()));
        }
    }
}
