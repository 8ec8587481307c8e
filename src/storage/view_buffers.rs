//! How much of their buffers arrays of views use.

use arrow::array::GenericByteViewArray;
use arrow::buffer::Buffer;
use arrow::datatypes::ByteViewType;

/// Buffers that hold no more than this together may stay as they are, whatever is used of them.
pub const NEGLIGIBLE_BYTES: usize = 16 << 10;

/// Bytes of the buffers that views point into.
pub fn held_by_views<T: ByteViewType>(views: &GenericByteViewArray<T>) -> usize {
    views.data_buffers().iter().map(Buffer::len).sum()
}

/// Whether buffers of `held` bytes have little else than the `used` ones.
pub fn is_mostly_used(held: usize, used: usize) -> bool {
    held <= used + used / 4
}
