//! Names for connections and for requests: they count up and are never used again, so that a late answer can only
//! reach what it was meant for.

use core::fmt;

/// One connection, from the dial or the accept to its end.
///
/// The machine names what it dials and the driver what it accepts; the two count apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    /// The machine's `index`-th dial.
    pub const fn dialled(index: u64) -> Self {
        Self(index << 1)
    }

    /// The driver's `index`-th accept.
    pub const fn accepted(index: u64) -> Self {
        Self(index << 1 | 1)
    }

    /// Whether the other side opened it.
    pub const fn is_accepted(self) -> bool {
        self.0 & 1 == 1
    }

    /// As a number that no other connection of this driver has.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.is_accepted() { "accepted" } else { "dialled" }, self.0 >> 1)
    }
}

/// One request to the store or the resolver; its answer bears the same ticket.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

impl Ticket {
    /// The machine's `index`-th request.
    pub const fn new(index: u64) -> Self {
        Self(index)
    }

    /// As a number that no other request of this machine has.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Counts out a machine's connection and request names.
#[derive(Debug, Default)]
pub struct Names {
    conn: u64,
    ticket: u64,
}

impl Names {
    /// A name for the next dial.
    pub fn conn(&mut self) -> ConnId {
        let conn = ConnId::dialled(self.conn);
        self.conn += 1;
        conn
    }

    /// A name for the next request.
    pub fn ticket(&mut self) -> Ticket {
        let ticket = Ticket::new(self.ticket);
        self.ticket += 1;
        ticket
    }
}
