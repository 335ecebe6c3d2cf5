//! One input as a recording has it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::fields::{Fault, Fields, put_address, put_blob, put_number};
use crate::{ConnId, Disconnect, Input, Instant, Link, Now, RowsBuffer, Ticket, UnixTime};

mod kind {
    pub(super) const START: u8 = 1;
    pub(super) const STOP: u8 = 2;
    pub(super) const WAKE: u8 = 3;
    pub(super) const COMMAND: u8 = 4;
    pub(super) const CONNECTED: u8 = 5;
    pub(super) const RECEIVED: u8 = 6;
    pub(super) const DRAINED: u8 = 7;
    pub(super) const DISCONNECTED: u8 = 8;
    pub(super) const DATAGRAM: u8 = 9;
    pub(super) const RESOLVED: u8 = 10;
    pub(super) const LOADED: u8 = 11;
    pub(super) const STORED: u8 = 12;
}

/// Addresses of a name, and rows of an answer, that a recording may hold: more than any driver or store gives, and few beside the
/// bytes that say them, so that a small file can't take gigabytes.
const MAX_ADDRESSES: usize = 4096;
const MAX_ROWS: usize = 1 << 20;

/// Every reason, by the number that it has in recordings.
const REASONS: [Disconnect; 9] = [
    Disconnect::Closed,
    Disconnect::ClosedByPeer,
    Disconnect::Refused,
    Disconnect::Reset,
    Disconnect::SendQueueFull,
    Disconnect::TimedOut,
    Disconnect::TooManyConnections,
    Disconnect::Unreachable,
    Disconnect::Failed,
];

/// The place in [`REASONS`]; the compiler asks for one of each new reason.
const fn reason_number(reason: Disconnect) -> u8 {
    match reason {
        Disconnect::Closed => 0,
        Disconnect::ClosedByPeer => 1,
        Disconnect::Refused => 2,
        Disconnect::Reset => 3,
        Disconnect::SendQueueFull => 4,
        Disconnect::TimedOut => 5,
        Disconnect::TooManyConnections => 6,
        Disconnect::Unreachable => 7,
        Disconnect::Failed => 8,
    }
}

/// Writes an input but for the bytes that stand at its end, which are returned: they need not be copied twice.
pub(super) fn write<'a, C>(
    out: &mut Vec<u8>,
    before: Now,
    now: Now,
    input: &'a Input<'_, C>,
    command: fn(&C, &mut Vec<u8>),
) -> &'a [u8] {
    put_number(out, now.instant.as_micros().wrapping_sub(before.instant.as_micros()));
    put_number(out, zigzag(now.unix.as_secs().wrapping_sub(before.unix.as_secs()) as i64));
    match input {
        Input::Start => out.push(kind::START),
        Input::Stop => out.push(kind::STOP),
        Input::Wake => out.push(kind::WAKE),
        Input::Command(asked) => {
            out.push(kind::COMMAND);
            command(asked, out);
        }
        Input::Connected { conn, remote, link } => {
            out.push(kind::CONNECTED);
            put_number(out, conn.as_u64());
            put_address(out, *remote);
            out.push(u8::from(*link == Link::Inbound));
        }
        Input::Received { conn, bytes } => {
            out.push(kind::RECEIVED);
            put_number(out, conn.as_u64());
            return bytes;
        }
        Input::Drained { conn } => {
            out.push(kind::DRAINED);
            put_number(out, conn.as_u64());
        }
        Input::Disconnected { conn, reason } => {
            out.push(kind::DISCONNECTED);
            put_number(out, conn.as_u64());
            out.push(reason_number(*reason));
        }
        Input::Datagram { from, bytes } => {
            out.push(kind::DATAGRAM);
            put_address(out, *from);
            return bytes;
        }
        Input::Resolved { ticket, addrs } => {
            out.push(kind::RESOLVED);
            put_number(out, ticket.as_u64());
            for addr in *addrs {
                put_address(out, *addr);
            }
        }
        Input::Loaded { ticket, rows, more } => {
            out.push(kind::LOADED);
            put_number(out, ticket.as_u64());
            out.push(u8::from(*more));
            for (key, value) in rows.iter() {
                put_blob(out, key);
                put_blob(out, value);
            }
        }
        Input::Stored { ticket } => {
            out.push(kind::STORED);
            put_number(out, ticket.as_u64());
        }
    }
    &[]
}

/// What an input borrows that does not lie in the recording as the machine wants it.
#[derive(Debug, Default)]
pub(super) struct Lent {
    addrs: Vec<SocketAddr>,
    rows: RowsBuffer,
}

/// Why an input can't be read.
pub(super) enum InputFault {
    /// It is none.
    Malformed(Fault),
    /// It is a command that this machine does not know.
    Command(String),
}

impl From<Fault> for InputFault {
    fn from(fault: Fault) -> Self {
        Self::Malformed(fault)
    }
}

/// Reads an input, and its time.
pub(super) fn read<'a, C>(
    bytes: &'a mut [u8],
    before: Now,
    lent: &'a mut Lent,
    command: fn(&[u8]) -> Result<C, String>,
) -> Result<(Now, Input<'a, C>), InputFault> {
    let length = bytes.len();
    let mut fields = Fields::new(bytes);
    let micros = before.instant.as_micros().wrapping_add(fields.number()?);
    let seconds = before.unix.as_secs().wrapping_add(unzigzag(fields.number()?) as u64);
    let now = Now { instant: Instant::from_micros(micros), unix: UnixTime::from_secs(seconds) };
    if now.instant < before.instant {
        return Err("the clock goes back".into());
    }
    let input = match fields.byte()? {
        kind::START => Input::Start,
        kind::STOP => Input::Stop,
        kind::WAKE => Input::Wake,
        kind::COMMAND => {
            let rest = fields.take(fields.left())?;
            Input::Command(command(rest).map_err(InputFault::Command)?)
        }
        kind::CONNECTED => {
            let conn = conn(&mut fields)?;
            let remote = fields.address()?;
            let link = if fields.flag()? { Link::Inbound } else { Link::Outbound };
            Input::Connected { conn, remote, link }
        }
        kind::RECEIVED => {
            let conn = conn(&mut fields)?;
            let from = length - fields.left();
            if from == length {
                return Err("nothing was received".into());
            }
            return Ok((now, Input::Received { conn, bytes: &mut bytes[from..] }));
        }
        kind::DRAINED => Input::Drained { conn: conn(&mut fields)? },
        kind::DISCONNECTED => {
            let conn = conn(&mut fields)?;
            let reason =
                REASONS.get(usize::from(fields.byte()?)).ok_or("a connection ends for no known reason")?;
            Input::Disconnected { conn, reason: *reason }
        }
        kind::DATAGRAM => {
            let from = fields.address()?;
            let start = length - fields.left();
            return Ok((now, Input::Datagram { from, bytes: &mut bytes[start..] }));
        }
        kind::RESOLVED => {
            let ticket = Ticket::new(fields.number()?);
            lent.addrs.clear();
            while fields.left() > 0 {
                if lent.addrs.len() >= MAX_ADDRESSES {
                    return Err("a name has more addresses than any has".into());
                }
                lent.addrs.push(fields.address()?);
            }
            Input::Resolved { ticket, addrs: &lent.addrs }
        }
        kind::LOADED => {
            let ticket = Ticket::new(fields.number()?);
            let more = fields.flag()?;
            lent.rows.clear();
            while fields.left() > 0 {
                if lent.rows.len() >= MAX_ROWS {
                    return Err("an answer of the store has more rows than any has".into());
                }
                let (key, value) = (fields.blob()?, fields.blob()?);
                lent.rows.push(key, value);
            }
            Input::Loaded { ticket, rows: lent.rows.rows(), more }
        }
        kind::STORED => Input::Stored { ticket: Ticket::new(fields.number()?) },
        _ => return Err("an input is of no known kind".into()),
    };
    fields.end()?;
    Ok((now, input))
}

fn conn(fields: &mut Fields<'_>) -> Result<ConnId, Fault> {
    let number = fields.number()?;
    let index = number >> 1;
    Ok(if number & 1 == 1 { ConnId::accepted(index) } else { ConnId::dialled(index) })
}

/// Small numbers of either sign as small ones without.
const fn zigzag(number: i64) -> u64 {
    (number << 1 ^ number >> 63) as u64
}

const fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_their_numbers() {
        for (number, reason) in REASONS.iter().enumerate() {
            assert_eq!(usize::from(reason_number(*reason)), number);
        }
    }

    #[test]
    fn signs_are_kept() {
        for number in [0, 1, -1, 2, -2, 3600, -3600, i64::MAX, i64::MIN] {
            assert_eq!(unzigzag(zigzag(number)), number);
        }
        assert_eq!((zigzag(0), zigzag(-1), zigzag(1)), (0, 1, 2));
    }

    /// What a seal does not keep out: inputs that somebody has made up.
    #[test]
    fn random_inputs_are_read_or_refused() {
        let mut rng = crate::Rng::new([4; 32]);
        let zero = Now { instant: Instant::ZERO, unix: UnixTime::from_secs(0) };
        let mut lent = Lent::default();
        let mut read_whole = [0; 13];
        for _ in 0..20_000 {
            let mut bytes = [0; 60];
            rng.fill(&mut bytes);
            if rng.below(2) == 0 {
                // Small numbers: lengths that fit, and kinds that there are.
                bytes.iter_mut().for_each(|byte| *byte &= 7);
            }
            bytes[..3].copy_from_slice(&[0, 0, rng.below(14) as u8]);
            if bytes[2] == kind::CONNECTED {
                bytes[4] = 4;
            }
            let bytes = &mut bytes[..rng.below(61) as usize];
            let (kind, length) = (bytes.get(2).copied().unwrap_or_default(), bytes.len());
            let command = |bytes: &[u8]| Err::<(), _>(alloc::format!("{}", bytes.len()));
            match read(bytes, zero, &mut lent, command) {
                Ok(_) => read_whole[usize::from(kind)] += 1,
                Err(InputFault::Command(taken)) => {
                    assert_eq!(taken.parse(), Ok(length - 3));
                    read_whole[usize::from(kind)] += 1;
                }
                Err(InputFault::Malformed(_)) => {}
            }
        }
        assert!(read_whole[1..].iter().all(|count| *count > 0), "{read_whole:?}");
    }
}
