//! A wrapper that holds both sides to the contract: the machine inside it, and the driver around it.

use alloc::collections::{BTreeMap, BTreeSet};

use crate::{ConnId, Input, Instant, Link, Machine, Now, Outbox, Output, Ticket};

/// A machine whose inputs and effects are checked against the contract.
///
/// # Panics
/// Where either side breaks it; the message says which side, and how.
#[derive(Debug)]
pub struct Checked<M> {
    machine: M,
    phase: Phase,
    last: Instant,
    conns: BTreeMap<ConnId, Conn>,
    tickets: BTreeMap<Ticket, Request>,
    newest_dial: Option<ConnId>,
    newest_accept: Option<ConnId>,
    newest_ticket: Option<Ticket>,
    /// Whether the driver's side is checked too.
    both: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    New,
    Running,
    Stopped,
}

#[derive(Debug)]
struct Conn {
    open: bool,
    closing: bool,
    paused: bool,
    flushes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Load,
    Resolve,
    Store,
}

impl<M: Machine> Checked<M> {
    /// Checks `machine` from its first input on.
    pub fn new(machine: M) -> Self {
        Self {
            machine,
            phase: Phase::New,
            last: Instant::ZERO,
            conns: BTreeMap::new(),
            tickets: BTreeMap::new(),
            newest_dial: None,
            newest_accept: None,
            newest_ticket: None,
            both: true,
        }
    }

    /// Checks the machine's side alone, for inputs that were meant for another machine: those of a recording that an earlier
    /// version made, in which connections may be of dials that this one never made.
    pub fn machine_alone(machine: M) -> Self {
        Self { both: false, ..Self::new(machine) }
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Connections that are open or being opened.
    pub fn connections(&self) -> BTreeSet<ConnId> {
        self.conns.keys().copied().collect()
    }

    fn check_input(&mut self, now: Now, input: &Input<'_, M::Command>) {
        assert!(
            now.instant >= self.last,
            "the driver's clock went back from {:?} to {:?}",
            self.last,
            now.instant
        );
        self.last = now.instant;
        match (self.phase, input) {
            (Phase::New, Input::Start) => self.phase = Phase::Running,
            (Phase::New, _) => panic!("the driver gave another input before Start"),
            (_, Input::Start) => panic!("the driver gave Start twice"),
            (Phase::Running, Input::Stop) => self.phase = Phase::Stopped,
            (Phase::Stopped, Input::Stop) => panic!("the driver gave Stop twice"),
            (Phase::Stopped, Input::Command(_)) => panic!("the driver gave a command after Stop"),
            _ => {}
        }
        match input {
            Input::Start | Input::Stop | Input::Wake | Input::Command(_) | Input::Datagram { .. } => {}
            Input::Connected { conn, link, .. } => {
                assert_eq!(
                    conn.is_accepted(),
                    *link == Link::Inbound,
                    "the driver gave {conn:?} the other side's kind of name"
                );
                if conn.is_accepted() {
                    assert!(self.newest_accept < Some(*conn), "the driver used the name {conn:?} twice");
                    self.newest_accept = Some(*conn);
                    self.conns.insert(*conn, Conn { open: true, closing: false, paused: false, flushes: 0 });
                } else {
                    let known = self.conns.get_mut(conn);
                    let known = known
                        .unwrap_or_else(|| panic!("the driver connected {conn:?}, which nobody dialled"));
                    assert!(!known.open, "the driver connected {conn:?} twice");
                    known.open = true;
                }
            }
            Input::Received { conn, bytes } => {
                let known = self.open(*conn, "received bytes on");
                assert!(!known.paused, "the driver read from {conn:?}, which is paused");
                assert!(!bytes.is_empty(), "the driver received nothing on {conn:?}");
            }
            Input::Drained { conn } => {
                let known = self.open(*conn, "drained");
                assert!(known.flushes > 0, "the driver drained {conn:?} without a flush");
                known.flushes -= 1;
            }
            Input::Disconnected { conn, .. } => {
                let known = self.conns.remove(conn);
                assert!(known.is_some(), "the driver disconnected {conn:?}, which is not there");
            }
            Input::Resolved { ticket, .. } => self.answer(*ticket, Request::Resolve),
            Input::Loaded { ticket, .. } => self.answer(*ticket, Request::Load),
            Input::Stored { ticket } => self.answer(*ticket, Request::Store),
        }
    }

    /// Follows what the driver says as far as it follows from what the machine said.
    fn note_input(&mut self, input: &Input<'_, M::Command>) {
        match input {
            Input::Start if self.phase == Phase::New => self.phase = Phase::Running,
            Input::Stop => self.phase = Phase::Stopped,
            Input::Connected { conn, .. } if conn.is_accepted() => {
                self.conns.insert(*conn, Conn { open: true, closing: false, paused: false, flushes: 0 });
            }
            Input::Connected { conn, .. } => {
                if let Some(known) = self.conns.get_mut(conn) {
                    known.open = true;
                }
            }
            Input::Disconnected { conn, .. } => {
                self.conns.remove(conn);
            }
            _ => {}
        }
    }

    fn open(&mut self, conn: ConnId, what: &str) -> &mut Conn {
        match self.conns.get_mut(&conn) {
            Some(known) if known.open => known,
            _ => panic!("the driver {what} {conn:?}, which is not open"),
        }
    }

    fn answer(&mut self, ticket: Ticket, kind: Request) {
        assert_eq!(
            self.tickets.remove(&ticket),
            Some(kind),
            "the driver answered {ticket:?}, which was not asked"
        );
    }

    fn check_output<E>(&mut self, output: &Output<'_, E>) {
        let stopped = self.phase == Phase::Stopped;
        match output {
            Output::Connect { conn, .. } => {
                assert!(!stopped, "the machine dialled {conn:?} after Stop");
                assert!(!conn.is_accepted(), "the machine gave {conn:?} the driver's kind of name");
                assert!(self.newest_dial < Some(*conn), "the machine used the name {conn:?} twice");
                self.newest_dial = Some(*conn);
                self.conns.insert(*conn, Conn { open: false, closing: false, paused: false, flushes: 0 });
            }
            Output::Send { conn, bytes } => {
                self.usable(*conn, "sent on");
                assert!(!bytes.is_empty(), "the machine sent nothing on {conn:?}");
            }
            Output::Pause { conn, paused } => self.usable(*conn, "paused").paused = *paused,
            Output::Flush { conn } => self.usable(*conn, "flushed").flushes += 1,
            Output::Close { conn, .. } => {
                let known = self.conns.get_mut(conn);
                let known =
                    known.unwrap_or_else(|| panic!("the machine closed {conn:?}, which is not there"));
                assert!(!known.closing, "the machine closed {conn:?} twice");
                known.closing = true;
            }
            Output::Resolve { ticket, .. } => self.ask(*ticket, Request::Resolve),
            Output::Load(scan) => {
                assert!(scan.limit > 0, "the machine asked for no rows with {:?}", scan.ticket);
                self.ask(scan.ticket, Request::Load);
            }
            Output::Store { ticket, .. } => self.ask(*ticket, Request::Store),
            Output::Datagram { .. } | Output::Event(_) => {}
        }
    }

    fn usable(&mut self, conn: ConnId, what: &str) -> &mut Conn {
        match self.conns.get_mut(&conn) {
            Some(known) if known.open && !known.closing => known,
            _ => panic!("the machine {what} {conn:?}, which is not open"),
        }
    }

    fn ask(&mut self, ticket: Ticket, kind: Request) {
        assert!(self.newest_ticket < Some(ticket), "the machine used the name {ticket:?} twice");
        self.newest_ticket = Some(ticket);
        if self.both {
            self.tickets.insert(ticket, kind);
        }
    }
}

impl<M: Machine> Machine for Checked<M> {
    type Command = M::Command;
    type Event = M::Event;

    fn handle(&mut self, now: Now, input: Input<'_, M::Command>, out: &mut Outbox<M::Event>) {
        if self.both {
            self.check_input(now, &input);
        } else {
            self.note_input(&input);
        }
        let before = out.len();
        let wake = matches!(input, Input::Wake);
        // What follows a Close in flight is the driver's right to deliver and the machine's to ignore.
        self.machine.handle(now, input, out);
        assert!(out.len() >= before, "the machine took effects out of its outbox");
        for output in out.peek_from(before) {
            self.check_output(&output);
        }
        let deadline = self.machine.deadline();
        if wake {
            assert!(
                deadline.is_none_or(|deadline| deadline > now.instant),
                "the machine was woken at {:?} and its deadline is still {deadline:?}",
                now.instant
            );
        }
        if self.phase == Phase::Stopped {
            assert_eq!(deadline, None, "the machine has a deadline after Stop");
            let left = self.conns.iter().find(|(_, conn)| !conn.closing);
            assert!(left.is_none(), "the machine has stopped and left {:?} open", left.map(|(conn, _)| conn));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }
}
