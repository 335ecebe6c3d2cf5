//! The pieces that recordings are made of: numbers, blobs, addresses; written, and read with every length checked.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Bytes of the longest number.
pub(super) const MAX_NUMBER: usize = 10;

/// Appends a number.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Appends a blob.
pub(super) fn put_blob(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends an address.
pub(super) fn put_address(out: &mut Vec<u8>, address: SocketAddr) {
    let bytes = address_bytes(address);
    out.extend_from_slice(if address.is_ipv4() { &bytes[..7] } else { &bytes });
}

/// All that an address has: its kind, its port, and 4 or 24 bytes.
pub(super) fn address_bytes(address: SocketAddr) -> [u8; 27] {
    let mut bytes = [0; 27];
    bytes[1..3].copy_from_slice(&address.port().to_le_bytes());
    match address {
        SocketAddr::V4(address) => {
            bytes[0] = 4;
            bytes[3..7].copy_from_slice(&address.ip().octets());
        }
        SocketAddr::V6(address) => {
            bytes[0] = 6;
            bytes[3..19].copy_from_slice(&address.ip().octets());
            bytes[19..23].copy_from_slice(&address.flowinfo().to_le_bytes());
            bytes[23..].copy_from_slice(&address.scope_id().to_le_bytes());
        }
    }
    bytes
}

/// What is left of an input to be read.
#[derive(Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

/// Why fields can't be read: what was expected.
pub(super) type Fault = &'static str;

impl<'a> Fields<'a> {
    /// Reads `bytes` from the first on.
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// How many bytes are left.
    pub(super) const fn left(&self) -> usize {
        self.0.len()
    }

    /// So many bytes.
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or("a field goes beyond the end of its input")?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or("a field goes beyond the end of its input")?;
        self.0 = rest;
        Ok(*taken)
    }

    /// One byte.
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self) -> Result<bool, Fault> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err("a yes or no is neither"),
        }
    }

    /// A number.
    pub(super) fn number(&mut self) -> Result<u64, Fault> {
        let mut number = Number::default();
        loop {
            if let Some(number) = number.add(self.byte()?)? {
                return Ok(number);
            }
        }
    }

    /// A blob.
    pub(super) fn blob(&mut self) -> Result<&'a [u8], Fault> {
        let length =
            usize::try_from(self.number()?).map_err(|_| "a field goes beyond the end of its input")?;
        self.take(length)
    }

    /// An address.
    pub(super) fn address(&mut self) -> Result<SocketAddr, Fault> {
        let kind = self.byte()?;
        let port = u16::from_le_bytes(self.array()?);
        match kind {
            4 => Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?)), port)),
            6 => {
                let ip = Ipv6Addr::from(self.array::<16>()?);
                let flow = u32::from_le_bytes(self.array()?);
                let scope = u32::from_le_bytes(self.array()?);
                Ok(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => Err("an address is of neither kind"),
        }
    }

    /// Ends: nothing may be left.
    pub(super) fn end(self) -> Result<(), Fault> {
        if self.0.is_empty() { Ok(()) } else { Err("an input goes on after its last field") }
    }
}

/// A number that is read byte by byte.
#[derive(Debug, Default)]
pub(super) struct Number {
    value: u64,
    shift: u32,
}

impl Number {
    /// The number, if this byte was its last.
    pub(super) fn add(&mut self, byte: u8) -> Result<Option<u64>, Fault> {
        let part = u64::from(byte & 0x7f);
        if self.shift > 63 || (self.shift == 63 && part > 1) {
            return Err("a number has more than 64 bits");
        }
        self.value |= part << self.shift;
        self.shift += 7;
        if byte & 0x80 != 0 {
            return Ok(None);
        }
        // One way to write each: a changed recording is never the same one.
        if byte == 0 && self.shift > 7 {
            return Err("a number is longer than it needs to be");
        }
        Ok(Some(self.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_were_written_and_in_no_other_form() {
        for number in [0, 1, 127, 128, 300, 16_383, 16_384, u64::from(u32::MAX), 1 << 62, 1 << 63, u64::MAX] {
            let mut bytes = Vec::new();
            put_number(&mut bytes, number);
            assert!(bytes.len() <= MAX_NUMBER);
            let mut fields = Fields::new(&bytes);
            assert_eq!((fields.number(), fields.left()), (Ok(number), 0));
            for length in 0..bytes.len() {
                assert!(Fields::new(&bytes[..length]).number().is_err());
            }
        }
        let wrong: [&[u8]; 4] = [&[0x80, 0], &[0xff, 0x80, 0], &[0xff; 10], &[0xff; 11]];
        for bytes in wrong {
            assert!(Fields::new(bytes).number().is_err(), "{bytes:?}");
        }
        let two: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert!(Fields::new(two).number().is_err());
    }

    #[test]
    fn addresses_are_read_as_they_were_written() {
        for text in ["1.2.3.4:5", "[2001:db8::1]:65535", "255.255.255.255:0", "[fe80::1%3]:8333"] {
            let address: SocketAddr = text.parse().expect("an address");
            let mut bytes = Vec::new();
            put_address(&mut bytes, address);
            let mut fields = Fields::new(&bytes);
            assert_eq!((fields.address(), fields.left()), (Ok(address), 0));
            for length in 0..bytes.len() {
                assert!(Fields::new(&bytes[..length]).address().is_err());
            }
        }
        assert!(Fields::new(&[5; 40]).address().is_err());
    }
}
