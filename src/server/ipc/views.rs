//! Arrays of views without what they do not use: a message has some of the rows of the buffers that were decoded
//! together.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, GenericByteViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::ByteViewType;

use super::strings::{INLINE_BYTES, parts};
use crate::storage::{NEGLIGIBLE_BYTES, held_by_views, is_mostly_used};

/// The views over buffers that hold little else than their strings; `None` where they do already, or point elsewhere.
///
/// Strings that lie beside each other stay where they are: their buffers are cut to the stretch of them, and only the
/// views are written anew. Strings that lie scattered are copied together.
pub(in crate::server) fn compact<T: ByteViewType>(column: &ArrayRef) -> Option<ArrayRef> {
    let views = column.as_byte_view::<T>();
    let held = held_by_views(views);
    if held <= NEGLIGIBLE_BYTES {
        return None;
    }
    let used = Used::of(views.views(), views.data_buffers())?;
    if is_mostly_used(held, used.string_bytes) {
        return None;
    }
    let cut = used.stretches.iter().map(ExactSizeIterator::len).sum();
    let is_dense = is_mostly_used(cut, used.string_bytes);
    Some(if is_dense { Arc::new(cut_to(views, &used.stretches)) } else { Arc::new(views.gc()) })
}

/// What views use of the buffers that they point into.
struct Used {
    /// Of each buffer: from the first byte that is used to the last.
    stretches: Vec<Range<u32>>,
    /// Bytes of all strings, those included that several views share.
    string_bytes: usize,
}

impl Used {
    /// `None` for views that point elsewhere, as those of NULLs might.
    fn of(views: &[u128], buffers: &[Buffer]) -> Option<Self> {
        // To be widened by whatever is used.
        let nothing = Range { start: u32::MAX, end: 0 };
        let mut stretches = vec![nothing; buffers.len()];
        let mut string_bytes = 0;
        for view in views {
            let [start, buffer, _, length] = parts(*view);
            if length > INLINE_BYTES {
                let stretch = stretches.get_mut(buffer as usize)?;
                stretch.start = stretch.start.min(start);
                stretch.end = stretch.end.max(start.checked_add(length)?);
                string_bytes += length as usize;
            }
        }
        let are_there =
            stretches.iter().zip(buffers).all(|(stretch, buffer)| stretch.end as usize <= buffer.len());
        are_there.then_some(Self { stretches, string_bytes })
    }
}

/// The views over these stretches of their buffers alone.
fn cut_to<T: ByteViewType>(
    views: &GenericByteViewArray<T>,
    stretches: &[Range<u32>],
) -> GenericByteViewArray<T> {
    let mut buffers = Vec::new();
    // Where each buffer is now, and where its stretch began.
    let mut places = Vec::with_capacity(stretches.len());
    for (buffer, stretch) in views.data_buffers().iter().zip(stretches) {
        places.push((u128::try_from(buffers.len()).unwrap_or(0), stretch.start));
        if !stretch.is_empty() {
            buffers.push(buffer.slice_with_length(stretch.start as usize, stretch.len()));
        }
    }
    let moved = |view: &u128| {
        let [start, buffer, _, length] = parts(*view);
        if length <= INLINE_BYTES {
            return *view;
        }
        let (place, from) = places[buffer as usize];
        (*view & u128::from(u64::MAX)) | place << 64 | u128::from(start - from) << 96
    };
    let moved: ScalarBuffer<u128> = views.views().iter().map(moved).collect();
    // SAFETY: each view has the bytes that it had before, which are in its buffer's stretch.
    #[allow(unsafe_code)]
    unsafe {
        GenericByteViewArray::new_unchecked(moved, buffers, views.nulls().cloned())
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{StringViewArray, StringViewBuilder};
    use arrow::datatypes::StringViewType;
    use proptest::prelude::*;

    use super::*;

    /// Strings in several buffers, in order.
    fn views(texts: &[Option<String>], block: u32) -> StringViewArray {
        let mut builder = StringViewBuilder::new().with_fixed_block_size(block);
        for text in texts {
            builder.append_option(text.as_deref());
        }
        builder.finish()
    }

    #[test]
    fn a_slice_takes_its_stretches_and_copies_no_string() {
        let texts: Vec<_> = (0..10_000).map(|row| Some(format!("{row} is a text of some length"))).collect();
        let all = views(&texts, 64 << 10);
        let slice = all.slice(3_000, 4_000);
        let compacted = compact::<StringViewType>(&(Arc::new(slice.clone()) as ArrayRef)).unwrap();
        let compacted = compacted.as_string_view();
        assert_eq!(compacted, &slice);
        assert!(
            held_by_views(compacted) <= held_by_views(&all) / 2
                && compacted.data_buffers().len() < all.data_buffers().len()
        );
        let within = |buffer: &Buffer| {
            all.data_buffers().iter().any(|all| all.as_slice().as_ptr_range().contains(&buffer.as_ptr()))
        };
        assert!(compacted.data_buffers().iter().all(within));
    }

    #[test]
    fn scattered_strings_are_copied_together() {
        let texts: Vec<_> = (0..10_000).map(|row| Some(format!("{row} is a text of some length"))).collect();
        let all = views(&texts, 1 << 20);
        let some = (0..10_000).step_by(100).collect::<Vec<u32>>();
        let some = arrow::compute::take(&all, &arrow::array::UInt32Array::from(some), None).unwrap();
        let compacted = compact::<StringViewType>(&some).unwrap();
        assert_eq!(&compacted, &some);
        assert!(held_by_views(compacted.as_string_view()) < 10_000);
        assert!(compact::<StringViewType>(&(Arc::new(all) as ArrayRef)).is_none(), "nothing is gained");
    }

    proptest! {
        #[test]
        fn the_strings_stay_what_they_are(
            texts in prop::collection::vec(prop::option::of("[a-zü]{0,40}"), 1..300),
            block in 50..400_u32,
            from in any::<prop::sample::Index>(),
            length in any::<prop::sample::Index>(),
        ) {
            let all = views(&texts, block);
            let from = from.index(texts.len());
            let slice = all.slice(from, length.index(texts.len() - from + 1));
            let used = Used::of(slice.views(), slice.data_buffers()).unwrap();
            let cut = cut_to(&slice, &used.stretches);
            prop_assert_eq!(&cut, &slice);
            prop_assert!(cut.to_data().validate_full().is_ok());
            prop_assert_eq!(held_by_views(&cut), used.string_bytes);
        }
    }
}
