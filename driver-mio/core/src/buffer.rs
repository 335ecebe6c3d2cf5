//! What bytes are read into on their way to a machine.

use std::fmt;

/// As much as a socket usually holds, and any datagram fits.
const BYTES: usize = 64 * 1024;

/// What is lent to a machine for a turn. It keeps nothing from one round to the next, so that all who share a thread need
/// only one.
pub struct Buffer(Vec<u8>);

impl Buffer {
    /// One of 64 KiB.
    pub fn new() -> Self {
        Self(vec![0; BYTES])
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Default for Buffer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Buffer").finish_non_exhaustive()
    }
}
