//! String views out of bytes that nobody vouches for, checked in bulk.
//!
//! Arrow's own check looks at every string for itself, which is more than half of the time that a message
//! takes to be decoded. Most messages are ASCII or at least UTF-8 from end to end, which is told at a
//! fraction of the cost; what is left then is to see that no string begins or ends inside of a character.

use std::str::from_utf8;

use arrow::array::{BinaryViewArray, StringViewArray};
use arrow::buffer::Buffer;
use arrow::error::ArrowError;

/// Strings of at most so many bytes lie in the view itself.
pub(in crate::server) const INLINE_BYTES: u32 = 12;
/// The highest bit of every byte of a view that is not its length: set in none of them, they are ASCII.
const NOT_ASCII: u128 = 0x8080_8080_8080_8080_8080_8080_0000_0000;

/// `values` as strings, or an error if any of them is not UTF-8, a null one included.
pub(in crate::server) fn to_strings(values: BinaryViewArray) -> Result<StringViewArray, ArrowError> {
    check(values.views(), values.data_buffers())?;
    // SAFETY: `check` found every value to be UTF-8.
    #[allow(unsafe_code)]
    Ok(unsafe { values.to_string_view_unchecked() })
}

/// What is known of a buffer that strings lie in.
enum Text<'a> {
    Ascii(&'a [u8]),
    Utf8(&'a str),
    /// Not UTF-8 as a whole: each string is to be looked at.
    Unknown(&'a [u8]),
}

impl<'a> Text<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        if bytes.is_ascii() {
            return Self::Ascii(bytes);
        }
        from_utf8(bytes).map_or(Self::Unknown(bytes), Self::Utf8)
    }

    /// Whether the bytes from `start` to `end` are there and are UTF-8.
    fn has_string(&self, start: usize, end: usize) -> bool {
        match self {
            Self::Ascii(bytes) => end <= bytes.len(),
            Self::Utf8(text) => text.is_char_boundary(start) && text.is_char_boundary(end),
            Self::Unknown(bytes) => bytes.get(start..end).is_some_and(|bytes| from_utf8(bytes).is_ok()),
        }
    }
}

fn check(views: &[u128], buffers: &[Buffer]) -> Result<(), ArrowError> {
    let texts: Vec<Text> = buffers.iter().map(|buffer| Text::new(buffer)).collect();
    match views.iter().position(|view| !is_string(*view, &texts)) {
        None => Ok(()),
        Some(index) => Err(ArrowError::InvalidArgumentError(format!("the string at {index} is not UTF-8"))),
    }
}

/// Whether `view` is UTF-8. Its parts are, from the lowest bits: the length, and then either the string
/// itself or its first bytes, the number of its buffer and the place therein, all of 32 bits.
fn is_string(view: u128, texts: &[Text<'_>]) -> bool {
    let bytes = view.to_le_bytes();
    let [.., length] = parts(view);
    if length <= INLINE_BYTES {
        return view & NOT_ASCII == 0 || from_utf8(&bytes[4..4 + length as usize]).is_ok();
    }
    let [start, buffer, _, _] = parts(view);
    let (start, length) = (start as usize, length as usize);
    texts.get(buffer as usize).is_some_and(|text| text.has_string(start, start + length))
}

/// The four numbers of a view, the highest first.
#[allow(clippy::cast_possible_truncation)] // Each is cut to its 32 bits.
pub(in crate::server) fn parts(view: u128) -> [u32; 4] {
    [(view >> 96) as u32, (view >> 64) as u32, (view >> 32) as u32, view as u32]
}

#[cfg(test)]
mod tests {
    use arrow::array::Array;
    use arrow::buffer::{NullBuffer, ScalarBuffer};
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Bytes that often are UTF-8, and often nearly so.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let text = prop_oneof!["[a-z]{0,40}", "[aé€😀]{0,40}"].prop_map(String::into_bytes);
        let damaged =
            (text.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut text, at, byte)| {
                if !text.is_empty() {
                    let at = at.index(text.len());
                    text[at] = byte;
                }
                text
            });
        prop_oneof![4 => text, 1 => damaged, 1 => vec(any::<u8>(), 0..40)]
    }

    /// A view of `length` bytes at `start`, or of all there is from there on.
    fn view(buffers: &[Buffer], buffer: usize, start: usize, length: usize) -> u128 {
        let data = buffers[buffer].as_slice();
        let start = start.min(data.len());
        let data = &data[start..(start + length).min(data.len())];
        arrow::array::make_view(data, u32::try_from(buffer).unwrap(), u32::try_from(start).unwrap())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(5000))]

        /// Views anywhere in the buffers, also in the middle of characters.
        #[test]
        fn it_agrees_with_the_check_of_each_string(
            buffers in vec(bytes(), 1..4),
            places in vec((any::<prop::sample::Index>(), 0..40_usize, 0..40_usize), 0..6),
        ) {
            let buffers: Vec<Buffer> = buffers.into_iter().map(Buffer::from_vec).collect();
            let views: Vec<u128> = places
                .iter()
                .map(|(buffer, start, length)| view(&buffers, buffer.index(buffers.len()), *start, *length))
                .collect();
            let nulls = NullBuffer::new_null(views.len());
            let values = BinaryViewArray::try_new(ScalarBuffer::from(views), buffers, Some(nulls)).unwrap();
            let stock = values.clone().to_string_view();
            let ours = to_strings(values);
            prop_assert_eq!(stock.is_ok(), ours.is_ok(), "{:?} {:?}", stock, ours);
            if let (Ok(stock), Ok(ours)) = (stock, ours) {
                prop_assert_eq!(stock.to_data(), ours.to_data());
            }
        }

        /// Whole strings are always taken.
        #[test]
        fn what_is_utf8_is_taken(strings in vec(prop::option::of("[aé€😀]{0,30}"), 0..20)) {
            let expected: StringViewArray = strings.into_iter().collect();
            let taken = to_strings(expected.clone().to_binary_view()).unwrap();
            prop_assert_eq!(taken, expected);
        }
    }

    #[test]
    fn a_string_that_is_cut_inside_a_character_is_refused() {
        let buffers = vec![Buffer::from("€".repeat(20).as_bytes())];
        for (start, length, valid) in
            [(0, 60, true), (3, 30, true), (1, 30, false), (0, 31, false), (0, 2, false)]
        {
            let views = ScalarBuffer::from(vec![view(&buffers, 0, start, length)]);
            let values = BinaryViewArray::try_new(views, buffers.clone(), None).unwrap();
            assert_eq!(to_strings(values).is_ok(), valid, "{start} {length}");
        }
    }

    #[test]
    fn views_out_of_bounds_are_refused_here_too() {
        let buffers = [Buffer::from(vec![b'a'; 20])];
        let inside = view(&buffers, 0, 0, 20);
        assert!(check(&[inside], &buffers).is_ok());
        assert!(check(&[inside + (1 << 96)], &buffers).is_err());
        assert!(check(&[inside + (1 << 64)], &buffers).is_err());
    }
}
