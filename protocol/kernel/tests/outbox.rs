//! The outbox: effects come out as they went in, in order, and its memory is used again.

use std::net::SocketAddr;
use std::ops::Bound::{self, Excluded, Included, Unbounded};

use andon_kernel::{Change, ConnId, Order, Outbox, Output, Space, Ticket};

const SPACE: Space = Space::new("space");
const OTHER: Space = Space::new("other");

fn addr() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 8333))
}

/// One effect of each kind, and some more of those with bytes.
fn fill(out: &mut Outbox<&'static str>) {
    let conn = ConnId::dialled(1);
    out.connect(conn, addr());
    out.send(conn, |bytes| bytes.extend_from_slice(b"first"));
    out.pause(conn, true);
    out.flush(conn);
    out.datagram(addr(), |bytes| bytes.extend_from_slice(b"datagram"));
    out.datagram(addr(), |_| {});
    out.resolve(Ticket::new(1), "host.example", 8333);
    out.load(Ticket::new(2), SPACE, (Included(b"from"), Excluded(b"to")), Order::Descending, 7);
    out.store(Ticket::new(3), |batch| {
        batch.put(SPACE, b"key", b"value");
        batch.delete(OTHER, b"a", b"b");
        batch.delete_from(SPACE, b"c");
    });
    out.event("event");
    out.send(conn, |bytes| bytes.extend_from_slice(b"second"));
    out.close(conn, true);
}

const FILLED: [&str; 12] = [
    "Connect { conn: dialled1, addr: 192.0.2.1:8333 }",
    "Send { conn: dialled1, bytes: [102, 105, 114, 115, 116] }",
    "Pause { conn: dialled1, paused: true }",
    "Flush { conn: dialled1 }",
    "Datagram { to: 192.0.2.1:8333, bytes: [100, 97, 116, 97, 103, 114, 97, 109] }",
    "Datagram { to: 192.0.2.1:8333, bytes: [] }",
    "Resolve { ticket: #1, host: \"host.example\", port: 8333 }",
    "Load(Scan { ticket: #2, space: space, from: Included([102, 114, 111, 109]), to: Excluded([116, 111]), \
     order: Descending, limit: 7 })",
    "Store { ticket: #3, batch: [Put { space: space, key: [107, 101, 121], value: [118, 97, 108, 117, 101] }, \
     Delete { space: other, from: [97], to: Some([98]) }, Delete { space: space, from: [99], to: None }] }",
    "Event(\"event\")",
    "Send { conn: dialled1, bytes: [115, 101, 99, 111, 110, 100] }",
    "Close { conn: dialled1, flush: true }",
];

fn pop_all<E: std::fmt::Debug>(out: &mut Outbox<E>) -> Vec<String> {
    std::iter::from_fn(|| out.pop().map(|effect| format!("{effect:?}"))).collect()
}

fn peek_all<E: std::fmt::Debug>(out: &Outbox<E>, start: usize) -> Vec<String> {
    out.peek_from(start).map(|effect| format!("{effect:?}")).collect()
}

#[test]
fn effects_come_out_in_order() {
    let mut out = Outbox::new();
    assert!(out.is_empty());
    fill(&mut out);
    assert_eq!(out.len(), FILLED.len());
    assert_eq!(pop_all(&mut out), FILLED);
    assert!(out.is_empty());
    assert!(out.pop().is_none());
}

#[test]
fn peeking_shows_what_popping_gives() {
    let mut out = Outbox::new();
    fill(&mut out);
    fill(&mut out);
    assert_eq!(format!("{out:?}"), format!("[{}, {}]", FILLED.join(", "), FILLED.join(", ")));
    for start in 0..=FILLED.len() {
        assert_eq!(peek_all(&out, FILLED.len() + start), FILLED[start..]);
    }
    assert_eq!(peek_all(&out, 1000), [""; 0], "past the end is nothing");
    // What comes out first does not change what is behind it.
    while let Some(front) = peek_all(&out, 0).first().cloned() {
        let rest = peek_all(&out, 1);
        assert_eq!(out.pop().map(|effect| format!("{effect:?}")), Some(front));
        assert_eq!(peek_all(&out, 0), rest);
    }
    assert!(out.is_empty());
}

#[test]
fn effects_can_be_added_between_those_taken_out() {
    let mut out = Outbox::new();
    let send = |out: &mut Outbox<()>, byte| out.send(ConnId::dialled(0), |bytes| bytes.push(byte));
    send(&mut out, 1);
    send(&mut out, 2);
    assert!(matches!(out.pop(), Some(Output::Send { bytes: [1], .. })));
    send(&mut out, 3);
    assert!(matches!(out.pop(), Some(Output::Send { bytes: [2], .. })));
    assert!(matches!(out.pop(), Some(Output::Send { bytes: [3], .. })));
    assert!(out.pop().is_none());
}

#[test]
fn sending_nothing_is_no_effect() {
    let mut out = Outbox::<()>::new();
    out.send(ConnId::dialled(0), |_| {});
    assert!(out.is_empty());
    assert!(out.pop().is_none());
}

#[test]
fn batches_round_trip() {
    let long = vec![0xee; 100_000];
    let table: Vec<Vec<Change<'_>>> = vec![
        vec![],
        vec![Change::Put { space: SPACE, key: b"", value: b"" }],
        vec![Change::Put { space: SPACE, key: &long, value: &long }],
        vec![Change::Delete { space: SPACE, from: b"", to: None }],
        vec![Change::Delete { space: SPACE, from: b"", to: Some(b"") }],
        vec![
            Change::Put { space: SPACE, key: b"key", value: b"" },
            Change::Put { space: OTHER, key: b"", value: b"value" },
            Change::Delete { space: OTHER, from: b"z", to: Some(b"a") },
            Change::Put { space: SPACE, key: b"key", value: b"again" },
        ],
    ];
    let mut out = Outbox::<()>::new();
    for (index, changes) in table.iter().enumerate() {
        out.store(Ticket::new(index as u64), |batch| {
            for change in changes {
                match *change {
                    Change::Put { space, key, value } => batch.put(space, key, value),
                    Change::Delete { space, from, to: Some(to) } => batch.delete(space, from, to),
                    Change::Delete { space, from, to: None } => batch.delete_from(space, from),
                }
            }
        });
    }
    for (index, changes) in table.iter().enumerate() {
        let Some(Output::Store { ticket, batch }) = out.pop() else { panic!("batch {index} is missing") };
        assert_eq!(ticket, Ticket::new(index as u64));
        assert_eq!(batch.changes().len(), changes.len());
        assert!(batch.changes().eq(changes.iter().copied()), "batch {index}");
        let size: usize = changes
            .iter()
            .map(|change| match change {
                Change::Put { key, value, .. } => key.len() + value.len(),
                Change::Delete { from, to, .. } => from.len() + to.map_or(0, <[u8]>::len),
            })
            .sum();
        assert_eq!(batch.size(), size, "batch {index}");
    }
    assert!(out.pop().is_none());
}

#[test]
fn scans_round_trip() {
    let bounds: [Bound<&[u8]>; 5] =
        [Unbounded, Included(b"low"), Excluded(b"high"), Included(b""), Excluded(b"\0\xff")];
    let mut out = Outbox::<()>::new();
    let mut asked = Vec::new();
    for from in bounds {
        for to in bounds {
            for order in [Order::Ascending, Order::Descending] {
                let ticket = Ticket::new(asked.len() as u64);
                out.load(ticket, SPACE, (from, to), order, 1 + asked.len() as u32);
                asked.push((ticket, from, to, order));
            }
        }
    }
    for (index, (ticket, from, to, order)) in asked.into_iter().enumerate() {
        let Some(Output::Load(scan)) = out.pop() else { panic!("scan {index} is missing") };
        assert_eq!((scan.ticket, scan.space, scan.order), (ticket, SPACE, order));
        assert_eq!((scan.from, scan.to, scan.limit), (from, to, 1 + index as u32));
    }
    assert!(out.pop().is_none());
}

/// How much memory the arena has: `send` lends it.
fn capacity(out: &mut Outbox<()>) -> usize {
    let mut capacity = 0;
    out.send(ConnId::dialled(0), |arena| capacity = arena.capacity());
    capacity
}

#[test]
fn memory_is_used_again_turn_after_turn() {
    let mut out = Outbox::<()>::new();
    let turn = |out: &mut Outbox<()>| {
        for size in [10, 5000, 300] {
            out.send(ConnId::dialled(0), |arena| arena.resize(arena.len() + size, 1));
            out.store(Ticket::new(0), |batch| batch.put(SPACE, &[0; 32], &vec![0; size]));
        }
        assert_eq!(pop_all(out).len(), 6);
    };
    turn(&mut out);
    let settled = capacity(&mut out);
    assert!(settled > 10_000);
    for _ in 0..100 {
        turn(&mut out);
    }
    assert_eq!(capacity(&mut out), settled);
}

#[test]
fn memory_is_given_back_after_a_burst() {
    let mut out = Outbox::<()>::new();
    out.send(ConnId::dialled(0), |arena| arena.resize(10_000_000, 1));
    assert!(matches!(out.pop(), Some(Output::Send { bytes, .. }) if bytes.len() == 10_000_000));
    assert!(capacity(&mut out) >= 10_000_000, "what was popped is lent until the outbox is seen to be empty");
    assert!(out.pop().is_none());
    let kept = capacity(&mut out);
    assert!((1..1_000_000).contains(&kept), "{kept} bytes are kept");
}
