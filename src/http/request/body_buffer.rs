//! The bytes of a body, collected as they arrive.

use zeroize::Zeroizing;

/// Bytes that may hold a password. Memory is allocated for bytes that have arrived, never for
/// announced ones, and is overwritten when it is freed, also when the buffer grows.
pub(in crate::http) struct BodyBuffer {
    bytes: Zeroizing<Vec<u8>>,
    /// The maximum number of bytes.
    limit: usize,
}

impl BodyBuffer {
    pub(in crate::http) fn new(limit: usize) -> Self {
        Self { bytes: Zeroizing::new(Vec::new()), limit }
    }

    /// Adds a chunk, or returns false when that would exceed the limit.
    #[must_use]
    pub(in crate::http) fn push(&mut self, chunk: &[u8]) -> bool {
        let length = self.bytes.len() + chunk.len();
        if length > self.limit {
            return false;
        }
        if length > self.bytes.capacity() {
            self.grow(length);
        }
        self.bytes.extend_from_slice(chunk);
        true
    }

    pub(in crate::http) fn into_bytes(self) -> Zeroizing<Vec<u8>> {
        self.bytes
    }

    /// Allocates room for `length` bytes. `Vec` itself would move to a larger allocation and leave
    /// the bytes in the old one; here the old one is overwritten on drop.
    fn grow(&mut self, length: usize) {
        // Doubled, so that a body of many small chunks is not copied for each of them.
        let room = length.max(2 * self.bytes.capacity()).min(self.limit);
        let mut larger = Zeroizing::new(Vec::with_capacity(room));
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_allocated_for_received_bytes() {
        let mut received = BodyBuffer::new(65_536);
        assert_eq!(received.bytes.capacity(), 0);
        let mut whole = Vec::new();
        for size in [1, 10, 3, 0, 2_000, 7, 60_000] {
            let chunk = vec![u8::try_from(size % 251).unwrap(); size];
            assert!(received.push(&chunk));
            whole.extend_from_slice(&chunk);
            assert!(received.bytes.capacity() <= 2 * whole.len(), "{size}");
        }
        assert_eq!(**received.bytes, *whole);
        assert_eq!(*received.into_bytes(), whole);
    }

    #[test]
    fn the_limit_holds_for_all_chunks_together() {
        let mut received = BodyBuffer::new(10);
        assert!(received.push(b"123456"));
        assert!(!received.push(b"78901"));
        assert!(received.push(b"7890"));
        assert_eq!(received.bytes.capacity(), 10);
        assert!(!received.push(b"1"));
        assert_eq!(*received.into_bytes(), b"1234567890");
    }
}
