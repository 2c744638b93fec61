//! The newest bytes of the log in memory: a ring of chunks that consumers at the tail are served from.
//!
//! Bytes enter after they were written to the file, so the ring never holds what a failed write left behind. Chunk `n`
//! holds the positions from `n` times the chunk size on; its place is taken by chunk `n + chunks` later. Readers copy
//! out under a lock of one chunk; whoever comes too late reads the file, so nothing pins the ring. A chunk is
//! allocated when the log first reaches it.

use parking_lot::RwLock;

/// Bytes of a chunk.
pub(crate) const CHUNK: u64 = 1 << 20;

#[derive(Default)]
struct Chunk {
    /// Valid bytes: positions from `from` to `end`, all within one chunk.
    from: u64,
    end: u64,
    bytes: Box<[u8]>,
}

/// See the head of this file.
pub(crate) struct Ring {
    chunks: Box<[RwLock<Chunk>]>,
}

impl Ring {
    /// A ring of about `bytes`; at least one chunk.
    pub(crate) fn new(bytes: u64) -> Self {
        let chunks = usize::try_from(bytes.div_ceil(CHUNK)).unwrap_or(usize::MAX).max(1);
        Self { chunks: (0..chunks).map(|_| RwLock::default()).collect() }
    }

    fn chunk(&self, position: u64) -> &RwLock<Chunk> {
        let count = self.chunks.len() as u64;
        let index = (position / CHUNK) % count;
        &self.chunks[usize::try_from(index).unwrap_or(0)]
    }

    /// Adds written bytes. Only the owner of the tail calls this, in the order of positions.
    pub(crate) fn append(&self, position: u64, bytes: &[u8]) {
        let mut position = position;
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = (position % CHUNK) as usize;
            let (piece, later) = rest.split_at(rest.len().min(CHUNK as usize - within));
            let end = position + piece.len() as u64;
            let mut chunk = self.chunk(position).write();
            if chunk.bytes.is_empty() {
                chunk.bytes = vec![0; CHUNK as usize].into_boxed_slice();
            }
            // After the blank end of a segment, and in a chunk used before, older bytes do not join on.
            if chunk.end != position || within == 0 {
                chunk.from = position;
            }
            chunk.end = end;
            chunk.bytes[within..within + piece.len()].copy_from_slice(piece);
            position = end;
            rest = later;
        }
    }

    /// Appends the `len` bytes at `position` to `out` if all are here; otherwise leaves `out` alone.
    pub(crate) fn read(&self, position: u64, len: usize, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let end = position + len as u64;
        let mut position = position;
        while position < end {
            let within = (position % CHUNK) as usize;
            let piece_end = end.min(position - position % CHUNK + CHUNK);
            let chunk = self.chunk(position).read();
            if chunk.from > position || chunk.end < piece_end {
                drop(chunk);
                out.truncate(start);
                return false;
            }
            out.extend_from_slice(&chunk.bytes[within..within + (piece_end - position) as usize]);
            position = piece_end;
        }
        true
    }

    /// Forgets everything from `position` on.
    pub(crate) fn truncate(&self, position: u64) {
        for chunk in &self.chunks {
            let mut chunk = chunk.write();
            if chunk.end > position {
                chunk.end = position.max(chunk.from);
                if chunk.from >= position {
                    (chunk.from, chunk.end) = (0, 0);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ring: &Ring, position: u64, len: usize) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let found = ring.read(position, len, &mut out);
        assert_eq!(&out[..6], b"before");
        assert!(found || out.len() == 6, "a miss leaves the buffer alone");
        found.then(|| out.split_off(6))
    }

    #[test]
    fn bytes_across_chunks_come_back() {
        let ring = Ring::new(4 * CHUNK);
        let bytes: Vec<u8> = (0..3 * CHUNK).map(|n| (n % 251) as u8).collect();
        ring.append(10, &bytes);
        assert_eq!(read(&ring, 10, bytes.len()).unwrap(), bytes);
        assert_eq!(read(&ring, CHUNK - 1, 2).unwrap(), bytes[CHUNK as usize - 11..CHUNK as usize - 9]);
        assert_eq!(read(&ring, 9, 2), None);
        assert_eq!(read(&ring, 3 * CHUNK + 9, 2), None);
    }

    #[test]
    fn the_oldest_chunk_makes_room() {
        let ring = Ring::new(2 * CHUNK);
        for n in 0..3_u8 {
            ring.append(u64::from(n) * CHUNK, &vec![n; CHUNK as usize]);
        }
        assert_eq!(read(&ring, 0, 1), None);
        assert_eq!(read(&ring, CHUNK - 1, 2), None);
        assert_eq!(read(&ring, CHUNK, 1).unwrap(), [1]);
        assert_eq!(read(&ring, 2 * CHUNK, 1).unwrap(), [2]);
        // One byte of a new lap hides the old bytes of its chunk.
        ring.append(3 * CHUNK, &[9]);
        assert_eq!(read(&ring, CHUNK, 1), None);
        assert_eq!(read(&ring, CHUNK + 5, 1), None);
        assert_eq!(read(&ring, 3 * CHUNK, 1).unwrap(), [9]);
    }

    #[test]
    fn a_jump_over_a_blank_end_is_no_data() {
        let ring = Ring::new(CHUNK);
        ring.append(0, b"first");
        ring.append(100, b"second");
        assert_eq!(read(&ring, 0, 5), None);
        assert_eq!(read(&ring, 5, 95), None);
        assert_eq!(read(&ring, 100, 6).unwrap(), b"second");
    }

    #[test]
    fn a_lap_later_at_the_same_place_does_not_join_on() {
        let ring = Ring::new(CHUNK);
        ring.append(0, &[1; 50]);
        ring.append(CHUNK + 50, &[2; 10]);
        assert_eq!(read(&ring, CHUNK + 40, 20), None);
        assert_eq!(read(&ring, CHUNK + 50, 10).unwrap(), [2; 10]);
    }

    #[test]
    fn truncated_bytes_are_gone_and_can_be_written_again() {
        let ring = Ring::new(2 * CHUNK);
        ring.append(CHUNK - 4, b"abcdefgh");
        ring.truncate(CHUNK + 2);
        assert_eq!(read(&ring, CHUNK - 4, 6).unwrap(), b"abcdef");
        assert_eq!(read(&ring, CHUNK + 1, 2), None);
        ring.append(CHUNK + 2, b"XY");
        assert_eq!(read(&ring, CHUNK - 4, 8).unwrap(), b"abcdefXY");
        ring.truncate(CHUNK - 2);
        assert_eq!(read(&ring, CHUNK, 1), None);
        assert_eq!(read(&ring, CHUNK - 4, 2).unwrap(), b"ab");
    }
}
