//! Each rule that `Checked` holds either side to, broken once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Bound::Unbounded;
use std::panic::{AssertUnwindSafe, catch_unwind};

use andon_kernel::{
    Checked, ConnId, Disconnect, Input, Instant, Link, Machine, Now, Order, Outbox, Rows, Space, Ticket,
    UnixTime,
};

const SPACE: Space = Space::new("space");
const DIAL: ConnId = ConnId::dialled(3);
const ACCEPT: ConnId = ConnId::accepted(3);
const ASK: Ticket = Ticket::new(3);

/// One turn: when, what the driver says, what the machine does, and its deadline from then on.
struct Turn {
    at: u64,
    input: In,
    effects: Effects,
    deadline: Option<u64>,
}

type Effects = fn(&mut Outbox<()>);

/// `Input`, owned.
#[derive(Clone, Copy)]
enum In {
    Start,
    Stop,
    Wake,
    Command,
    Datagram,
    Connected(ConnId, Link),
    Received(ConnId, &'static [u8]),
    Drained(ConnId),
    Disconnected(ConnId),
    Resolved(Ticket),
    Loaded(Ticket),
    Stored(Ticket),
}

use In::*;
use Link::{Inbound, Outbound};

fn turn(at: u64, input: In, effects: Effects) -> Turn {
    Turn { at, input, effects, deadline: None }
}

/// A turn in which the machine does nothing.
fn idle(input: In) -> Turn {
    turn(0, input, |_| {})
}

/// A turn at which a deadline is left.
fn due(at: u64, input: In, deadline: u64) -> Turn {
    Turn { at, input, effects: |_| {}, deadline: Some(deadline) }
}

fn start(effects: Effects) -> Turn {
    turn(0, Start, effects)
}

fn dial(out: &mut Outbox<()>) {
    out.connect(DIAL, addr());
}

fn addr() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1))
}

fn send(out: &mut Outbox<()>, conn: ConnId) {
    out.send(conn, |bytes| bytes.push(1));
}

fn load(out: &mut Outbox<()>, ticket: Ticket, limit: u32) {
    out.load(ticket, SPACE, (Unbounded, Unbounded), Order::Ascending, limit);
}

/// Does as it is told.
struct Puppet {
    script: VecDeque<(Effects, Option<u64>)>,
    deadline: Option<Instant>,
}

impl Machine for Puppet {
    type Command = ();
    type Event = ();

    fn handle(&mut self, _: Now, _: Input<'_, ()>, out: &mut Outbox<()>) {
        let (effects, deadline) = self.script.pop_front().expect("one entry for each turn");
        effects(out);
        self.deadline = deadline.map(Instant::from_micros);
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// Plays the turns. Nothing is taken out of the outbox, so each turn's effects stand behind those of the turns before.
fn play(turns: &[Turn]) {
    play_with(Checked::new, turns);
}

fn play_with(check: fn(Puppet) -> Checked<Puppet>, turns: &[Turn]) {
    let script = turns.iter().map(|turn| (turn.effects, turn.deadline)).collect();
    let mut machine = check(Puppet { script, deadline: None });
    let mut out = Outbox::new();
    let mut bytes;
    for turn in turns {
        let now = Now { instant: Instant::from_micros(turn.at), unix: UnixTime::from_secs(0) };
        let input = match turn.input {
            Start => Input::Start,
            Stop => Input::Stop,
            Wake => Input::Wake,
            Command => Input::Command(()),
            Datagram => Input::Datagram { from: addr(), bytes: &mut [] },
            Connected(conn, link) => Input::Connected { conn, remote: addr(), link },
            Received(conn, content) => {
                bytes = content.to_vec();
                Input::Received { conn, bytes: &mut bytes }
            }
            Drained(conn) => Input::Drained { conn },
            Disconnected(conn) => Input::Disconnected { conn, reason: Disconnect::Reset },
            Resolved(ticket) => Input::Resolved { ticket, addrs: &[] },
            Loaded(ticket) => Input::Loaded { ticket, rows: Rows::default(), more: false },
            Stored(ticket) => Input::Stored { ticket },
        };
        machine.handle(now, input, &mut out);
    }
}

fn assert_broken_by_driver(table: Vec<(&str, Vec<Turn>)>) {
    assert_broken(Side::Driver, table);
}

fn assert_broken_by_machine(table: Vec<(&str, Vec<Turn>)>) {
    assert_broken(Side::Machine, table);
}

/// Plays each list of turns: its last turn, and no earlier one, breaks the rule that the message names. Where it is the
/// driver's, nothing is broken while the machine alone is checked.
fn assert_broken(by: Side, table: Vec<(&str, Vec<Turn>)>) {
    for (message, mut turns) in table {
        let last = turns.pop().expect("a turn");
        play(&turns);
        turns.push(last);
        assert_panics(message, || play(&turns));
        match by {
            Side::Driver => play_with(Checked::machine_alone, &turns),
            Side::Machine => assert_panics(message, || play_with(Checked::machine_alone, &turns)),
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Driver,
    Machine,
}

fn assert_panics(message: &str, play: impl Fn()) {
    let panic = catch_unwind(AssertUnwindSafe(play)).expect_err(message);
    let said = panic.downcast_ref::<String>().cloned();
    let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| said.to_string()));
    let said = said.expect("a panic with a message");
    assert!(said.contains(message), "expected {message:?}, and it said {said:?}");
}

#[test]
fn a_driver_that_breaks_a_rule_is_named() {
    assert_broken_by_driver(vec![
        // Time, start and end.
        (
            "the driver's clock went back from 0.000005s to 0.000004s",
            vec![start(|_| {}), due(5, Wake, 9), due(4, Wake, 9)],
        ),
        ("the driver gave another input before Start", vec![idle(Wake)]),
        ("the driver gave another input before Start", vec![idle(Stop)]),
        ("the driver gave another input before Start", vec![idle(Datagram)]),
        ("the driver gave Start twice", vec![idle(Start), idle(Start)]),
        ("the driver gave Start twice", vec![idle(Start), idle(Stop), idle(Start)]),
        ("the driver gave Stop twice", vec![idle(Start), idle(Stop), idle(Stop)]),
        ("the driver gave a command after Stop", vec![idle(Start), idle(Stop), idle(Command)]),
        // Connections begin.
        (
            "the driver gave dialled3 the other side's kind of name",
            vec![start(dial), idle(Connected(DIAL, Inbound))],
        ),
        (
            "the driver gave accepted3 the other side's kind of name",
            vec![idle(Start), idle(Connected(ACCEPT, Outbound))],
        ),
        (
            "the driver used the name accepted3 twice",
            vec![idle(Start), idle(Connected(ACCEPT, Inbound)), idle(Connected(ACCEPT, Inbound))],
        ),
        (
            "the driver used the name accepted2 twice",
            vec![
                idle(Start),
                idle(Connected(ACCEPT, Inbound)),
                idle(Connected(ConnId::accepted(2), Inbound)),
            ],
        ),
        (
            "the driver used the name accepted3 twice",
            vec![
                idle(Start),
                idle(Connected(ACCEPT, Inbound)),
                idle(Disconnected(ACCEPT)),
                idle(Connected(ACCEPT, Inbound)),
            ],
        ),
        (
            "the driver connected dialled3, which nobody dialled",
            vec![idle(Start), idle(Connected(DIAL, Outbound))],
        ),
        (
            "the driver connected dialled3, which nobody dialled",
            vec![start(dial), idle(Disconnected(DIAL)), idle(Connected(DIAL, Outbound))],
        ),
        (
            "the driver connected dialled3 twice",
            vec![start(dial), idle(Connected(DIAL, Outbound)), idle(Connected(DIAL, Outbound))],
        ),
        // Bytes.
        (
            "the driver received bytes on dialled3, which is not open",
            vec![idle(Start), idle(Received(DIAL, b"x"))],
        ),
        (
            "the driver received bytes on dialled3, which is not open",
            vec![start(dial), idle(Received(DIAL, b"x"))],
        ),
        (
            "the driver received bytes on accepted3, which is not open",
            vec![
                idle(Start),
                idle(Connected(ACCEPT, Inbound)),
                idle(Disconnected(ACCEPT)),
                idle(Received(ACCEPT, b"x")),
            ],
        ),
        (
            "the driver read from accepted3, which is paused",
            vec![
                idle(Start),
                turn(0, Connected(ACCEPT, Inbound), |out| out.pause(ACCEPT, true)),
                idle(Received(ACCEPT, b"x")),
            ],
        ),
        (
            "the driver received nothing on accepted3",
            vec![idle(Start), idle(Connected(ACCEPT, Inbound)), idle(Received(ACCEPT, b""))],
        ),
        ("the driver drained dialled3, which is not open", vec![start(dial), idle(Drained(DIAL))]),
        (
            "the driver drained accepted3 without a flush",
            vec![idle(Start), idle(Connected(ACCEPT, Inbound)), idle(Drained(ACCEPT))],
        ),
        (
            "the driver drained accepted3 without a flush",
            vec![
                idle(Start),
                turn(0, Connected(ACCEPT, Inbound), |out| out.flush(ACCEPT)),
                idle(Drained(ACCEPT)),
                idle(Drained(ACCEPT)),
            ],
        ),
        // Connections end.
        ("the driver disconnected dialled3, which is not there", vec![idle(Start), idle(Disconnected(DIAL))]),
        (
            "the driver disconnected dialled3, which is not there",
            vec![start(dial), idle(Disconnected(DIAL)), idle(Disconnected(DIAL))],
        ),
        // Answers.
        ("the driver answered #3, which was not asked", vec![idle(Start), idle(Resolved(ASK))]),
        ("the driver answered #3, which was not asked", vec![idle(Start), idle(Loaded(ASK))]),
        ("the driver answered #3, which was not asked", vec![idle(Start), idle(Stored(ASK))]),
        (
            "the driver answered #3, which was not asked",
            vec![start(|out| load(out, ASK, 1)), idle(Stored(ASK))],
        ),
        (
            "the driver answered #3, which was not asked",
            vec![start(|out| out.store(ASK, |_| {})), idle(Loaded(ASK))],
        ),
        (
            "the driver answered #3, which was not asked",
            vec![start(|out| out.resolve(ASK, "host", 1)), idle(Loaded(ASK))],
        ),
        (
            "the driver answered #3, which was not asked",
            vec![start(|out| out.store(ASK, |_| {})), idle(Stored(ASK)), idle(Stored(ASK))],
        ),
    ]);
}

#[test]
fn a_machine_that_breaks_a_rule_is_named() {
    assert_broken_by_machine(vec![
        // Names.
        (
            "the machine gave accepted3 the driver's kind of name",
            vec![start(|out| out.connect(ACCEPT, addr()))],
        ),
        ("the machine used the name dialled3 twice", vec![start(dial), turn(0, Wake, dial)]),
        ("the machine used the name dialled3 twice", vec![start(dial), turn(0, Disconnected(DIAL), dial)]),
        (
            "the machine used the name dialled2 twice",
            vec![start(dial), turn(0, Wake, |out| out.connect(ConnId::dialled(2), addr()))],
        ),
        (
            "the machine used the name #3 twice",
            vec![start(|out| load(out, ASK, 1)), turn(0, Wake, |out| load(out, ASK, 1))],
        ),
        (
            "the machine used the name #3 twice",
            vec![start(|out| load(out, ASK, 1)), turn(0, Wake, |out| out.store(ASK, |_| {}))],
        ),
        (
            "the machine used the name #2 twice",
            vec![
                start(|out| load(out, ASK, 1)),
                turn(0, Loaded(ASK), |out| out.resolve(Ticket::new(2), "host", 1)),
            ],
        ),
        // Connections that are not open.
        ("the machine sent on dialled3, which is not open", vec![start(|out| send(out, DIAL))]),
        (
            "the machine sent on dialled3, which is not open",
            vec![start(dial), turn(0, Wake, |out| send(out, DIAL))],
        ),
        (
            "the machine sent on dialled3, which is not open",
            vec![start(dial), turn(0, Disconnected(DIAL), |out| send(out, DIAL))],
        ),
        (
            "the machine sent on accepted3, which is not open",
            vec![
                idle(Start),
                turn(0, Connected(ACCEPT, Inbound), |out| {
                    out.close(ACCEPT, true);
                    send(out, ACCEPT);
                }),
            ],
        ),
        (
            "the machine paused dialled3, which is not open",
            vec![start(dial), turn(0, Wake, |out| out.pause(DIAL, true))],
        ),
        (
            "the machine flushed dialled3, which is not open",
            vec![start(dial), turn(0, Wake, |out| out.flush(DIAL))],
        ),
        ("the machine closed dialled3, which is not there", vec![start(|out| out.close(DIAL, false))]),
        (
            "the machine closed dialled3, which is not there",
            vec![start(dial), turn(0, Disconnected(DIAL), |out| out.close(DIAL, false))],
        ),
        (
            "the machine closed dialled3 twice",
            vec![
                start(dial),
                turn(0, Wake, |out| {
                    out.close(DIAL, false);
                    out.close(DIAL, false);
                }),
            ],
        ),
        // Requests and effects.
        ("the machine asked for no rows with #3", vec![start(|out| load(out, ASK, 0))]),
        (
            "the machine took effects out of its outbox",
            vec![start(|out| out.event(())), turn(0, Wake, |out| while out.pop().is_some() {})],
        ),
        // Time.
        (
            "the machine was woken at 0.000005s and its deadline is still Some(0.000005s)",
            vec![idle(Start), due(5, Wake, 5)],
        ),
        (
            "the machine was woken at 0.000005s and its deadline is still Some(0.000004s)",
            vec![idle(Start), due(5, Wake, 4)],
        ),
        // The end.
        ("the machine dialled dialled3 after Stop", vec![idle(Start), turn(0, Stop, dial)]),
        ("the machine has a deadline after Stop", vec![idle(Start), due(0, Stop, 7)]),
        ("the machine has a deadline after Stop", vec![idle(Start), idle(Stop), due(0, Datagram, 7)]),
        ("the machine has stopped and left Some(dialled3) open", vec![start(dial), idle(Stop)]),
        (
            "the machine has stopped and left Some(accepted3) open",
            vec![idle(Start), idle(Stop), idle(Connected(ACCEPT, Inbound))],
        ),
    ]);
}

#[test]
fn a_machine_and_a_driver_that_keep_the_rules_pass() {
    let next = ConnId::accepted(4);
    play(&[
        start(|out| {
            out.connect(DIAL, addr());
            out.connect(ConnId::dialled(4), addr());
            load(out, Ticket::new(0), 1);
            out.store(Ticket::new(1), |batch| batch.put(SPACE, b"key", b"value"));
            out.resolve(ASK, "host", 1);
            out.datagram(addr(), |_| {});
        }),
        due(3, Command, 3),
        due(3, Wake, 9),
        // Early, extra and late wakes; and a deadline that is already due after another input.
        due(4, Wake, 9),
        due(4, Datagram, 2),
        due(20, Wake, 30),
        turn(20, Connected(DIAL, Outbound), |out| {
            send(out, DIAL);
            out.send(DIAL, |_| {});
            out.flush(DIAL);
            out.flush(DIAL);
            out.pause(DIAL, true);
        }),
        turn(20, Connected(ACCEPT, Inbound), |out| send(out, ACCEPT)),
        // Answers in any order.
        turn(20, Stored(Ticket::new(1)), |_| {}),
        turn(20, Resolved(ASK), |_| {}),
        turn(20, Loaded(Ticket::new(0)), |_| {}),
        turn(20, Drained(DIAL), |_| {}),
        turn(20, Drained(DIAL), |out| out.pause(DIAL, false)),
        // What was on its way when the machine closed still comes.
        turn(20, Received(DIAL, b"bytes"), |out| {
            out.flush(DIAL);
            out.close(DIAL, true);
        }),
        turn(20, Received(DIAL, b"more"), |_| {}),
        turn(20, Drained(DIAL), |_| {}),
        turn(20, Disconnected(DIAL), |_| {}),
        turn(20, Wake, |out| out.close(ConnId::dialled(4), false)),
        turn(20, Connected(ConnId::dialled(4), Outbound), |_| {}),
        turn(20, Disconnected(ACCEPT), |_| {}),
        turn(20, Connected(next, Inbound), |out| out.store(Ticket::new(7), |_| {})),
        turn(20, Stop, |out| out.close(ConnId::accepted(4), true)),
        turn(21, Connected(ConnId::accepted(5), Inbound), |out| out.close(ConnId::accepted(5), false)),
        turn(22, Wake, |_| {}),
        turn(22, Disconnected(next), |_| {}),
        turn(22, Disconnected(ConnId::dialled(4)), |_| {}),
        turn(22, Stored(Ticket::new(7)), |_| {}),
        turn(22, Disconnected(ConnId::accepted(5)), |_| {}),
    ]);
}
