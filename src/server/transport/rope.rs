//! Bytes in pieces, on their way to HTTP/2.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// Pieces that HTTP/2 takes for one: it sends them in frames as large as the client's, each with a system call for
/// many pieces, and asks for what follows when the last of them is nearly through. Each on its own would be a frame
/// and a system call, and asked for one by one, by a task that is woken for that.
#[derive(Debug, Default)]
pub(in crate::server) struct Rope {
    /// None of them is empty.
    pieces: VecDeque<Bytes>,
    bytes: usize,
}

impl Rope {
    /// Puts `piece` behind the others.
    pub(in crate::server) fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.bytes += piece.len();
            self.pieces.push_back(piece);
        }
    }

    /// Takes the first `most` bytes off, or all where there are fewer.
    pub(in crate::server) fn split_to(&mut self, most: usize) -> Self {
        let mut front = Self::default();
        while front.bytes < most {
            let Some(mut piece) = self.pieces.pop_front() else { break };
            if piece.len() > most - front.bytes {
                self.pieces.push_front(piece.split_off(most - front.bytes));
            }
            front.push(piece);
        }
        self.bytes -= front.bytes;
        front
    }
}

impl From<Bytes> for Rope {
    fn from(piece: Bytes) -> Self {
        let mut rope = Self::default();
        rope.push(piece);
        rope
    }
}

impl Buf for Rope {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        slices.iter_mut().zip(&self.pieces).map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        // As `Buf` has it: who goes on behind the end is wrong about what was sent.
        assert!(count <= self.bytes, "{count} bytes of {}", self.bytes);
        self.bytes -= count;
        while count > 0 {
            let Some(front) = self.pieces.front_mut() else { return };
            if front.len() > count {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(pieces: &[&'static str]) -> Rope {
        let mut rope = Rope::default();
        for piece in pieces {
            rope.push(Bytes::from_static(piece.as_bytes()));
        }
        rope
    }

    #[test]
    fn it_reads_as_one_from_wherever_it_is() {
        for pieces in [&[][..], &["whole"], &["", "a", "", "bcd", "ef", ""]] {
            let whole = pieces.concat();
            for start in 0..=whole.len() {
                let mut rope = rope(pieces);
                rope.advance(start);
                assert_eq!(rope.remaining(), whole.len() - start);
                assert_eq!(rope.chunk().is_empty(), !rope.has_remaining());
                let mut front = rope.split_to(2);
                let middle = whole.len().min(start + 2);
                assert_eq!(front.copy_to_bytes(front.remaining()), whole[start..middle]);
                assert_eq!(rope.copy_to_bytes(rope.remaining()), whole[middle..]);
                assert!(!rope.has_remaining());
            }
        }
    }

    #[test]
    fn one_system_call_gets_as_many_pieces_as_it_has_room_for() {
        let mut rope = rope(&["ab", "", "cd", "ef"]);
        rope.advance(1);
        for room in 0..5 {
            let mut slices = vec![IoSlice::new(&[]); room];
            let filled = rope.chunks_vectored(&mut slices);
            let read: Vec<&[u8]> = slices[..filled].iter().map(|slice| &**slice).collect();
            assert_eq!(read, [&b"b"[..], b"cd", b"ef"][..room.min(3)]);
        }
    }
}
