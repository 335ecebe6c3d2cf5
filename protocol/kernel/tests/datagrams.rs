//! A machine that has nothing to do with Bitcoin: it spreads notes among a few nodes by datagrams that get lost.
//!
//! A node stores each note of its application, then sends it to every other node, again and again at growing intervals,
//! until that node has acknowledged it; a node stores what it hears before it acknowledges it. So each note is
//! told to each application once, whatever the network loses or doubles, and after a restart too.

#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::SocketAddr;
use std::ops::Bound::{Excluded, Unbounded};
use std::time::Duration;

use andon_kernel::{
    Checked, Effect, Input, Instant, Machine, MemoryStore, Names, Now, Order, Outbox, Rng, Shell, Space,
    Ticket, Timers, UnixTime,
};

const OWN: Space = Space::new("own_notes");
const HEARD: Space = Space::new("heard_notes");
const LONGEST_NOTE: usize = 100;
/// Longer than a note takes to a node, its disk and back.
const FIRST_INTERVAL: Duration = Duration::from_millis(200);

/// A note, or a node's copy of it: who wrote it (or is to get it), and which of that node's notes it is.
type NoteId = (SocketAddr, u32);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// What was stored has been read; notes can be written from here on.
    Ready,
    /// Another node wrote this. Once, and it is durable.
    Heard(SocketAddr, String),
    /// Every other node has it.
    Spread(u32),
}

#[derive(Debug)]
struct Gossip {
    others: Vec<SocketAddr>,
    names: Names,
    rng: Rng,
    stopped: bool,
    /// What is being stored or loaded.
    requests: BTreeMap<Ticket, Request>,
    own: BTreeMap<u32, Vec<u8>>,
    /// Whether it is durable.
    heard: BTreeMap<NoteId, bool>,
    /// Who has yet to acknowledge which note, and how often it was sent.
    waiting: BTreeMap<NoteId, u32>,
    resend: Timers<NoteId>,
}

#[derive(Debug)]
enum Request {
    LoadOwn,
    LoadHeard,
    StoreOwn(u32),
    StoreHeard(NoteId, String),
}

impl Gossip {
    fn new(seed: [u8; 32], others: Vec<SocketAddr>) -> Self {
        Self {
            others,
            names: Names::default(),
            rng: Rng::new(seed).fork("resend"),
            stopped: false,
            requests: BTreeMap::new(),
            own: BTreeMap::new(),
            heard: BTreeMap::new(),
            waiting: BTreeMap::new(),
            resend: Timers::new(),
        }
    }

    fn load(&mut self, space: Space, after: Option<&[u8]>, request: Request, out: &mut Outbox<Event>) {
        let ticket = self.names.ticket();
        self.requests.insert(ticket, request);
        out.load(ticket, space, (after.map_or(Unbounded, Excluded), Unbounded), Order::Ascending, 2);
    }

    fn write(&mut self, text: &str, out: &mut Outbox<Event>) {
        let number = self.own.last_key_value().map_or(0, |(last, _)| last + 1);
        let text = &text.as_bytes()[..text.len().min(LONGEST_NOTE)];
        self.own.insert(number, text.to_vec());
        let ticket = self.names.ticket();
        self.requests.insert(ticket, Request::StoreOwn(number));
        out.store(ticket, |batch| batch.put(OWN, &number.to_be_bytes(), text));
    }

    fn spread(&mut self, number: u32, now: Instant, out: &mut Outbox<Event>) {
        for other in self.others.clone() {
            self.waiting.insert((other, number), 0);
            self.send((other, number), now, out);
        }
    }

    /// Sends a note once more and sets the time of the next try, twice as far off and a bit by chance.
    fn send(&mut self, id: NoteId, now: Instant, out: &mut Outbox<Event>) {
        let Some(tries) = self.waiting.get_mut(&id) else { return };
        let interval = FIRST_INTERVAL * 2u32.pow((*tries).min(4));
        *tries += 1;
        let chance = Duration::from_micros(self.rng.below(50_000));
        self.resend.set(id, now + interval + chance);
        out.datagram(id.0, |bytes| {
            bytes.push(b'N');
            bytes.extend_from_slice(&id.1.to_be_bytes());
            bytes.extend_from_slice(&self.own[&id.1]);
        });
    }

    fn acknowledge((to, number): NoteId, out: &mut Outbox<Event>) {
        out.datagram(to, |bytes| {
            bytes.push(b'A');
            bytes.extend_from_slice(&number.to_be_bytes());
        });
    }

    fn acknowledged(&mut self, id: NoteId, out: &mut Outbox<Event>) {
        if self.waiting.remove(&id).is_none() {
            return;
        }
        self.resend.cancel(id);
        if !self.others.iter().any(|&other| self.waiting.contains_key(&(other, id.1))) {
            out.event(Event::Spread(id.1));
        }
    }

    fn hear(&mut self, from: SocketAddr, bytes: &[u8], out: &mut Outbox<Event>) {
        if !self.others.contains(&from) {
            return;
        }
        let Some((&kind, rest)) = bytes.split_first() else { return };
        let Some((number, text)) = rest.split_first_chunk() else { return };
        let number = u32::from_be_bytes(*number);
        let id = (from, number);
        match kind {
            b'A' if text.is_empty() => self.acknowledged(id, out),
            b'N' if text.len() <= LONGEST_NOTE => match self.heard.get(&id) {
                Some(true) => Self::acknowledge(id, out),
                Some(false) => {}
                None => {
                    let Ok(text) = str::from_utf8(text) else { return };
                    self.heard.insert(id, false);
                    let ticket = self.names.ticket();
                    self.requests.insert(ticket, Request::StoreHeard(id, text.into()));
                    let key = format!("{from}/{number}");
                    out.store(ticket, |batch| batch.put(HEARD, key.as_bytes(), text.as_bytes()));
                }
            },
            _ => {}
        }
    }
}

impl Machine for Gossip {
    type Command = String;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, String>, out: &mut Outbox<Event>) {
        match input {
            Input::Start => self.load(OWN, None, Request::LoadOwn, out),
            Input::Stop => {
                self.stopped = true;
                self.resend = Timers::new();
            }
            Input::Command(text) => self.write(&text, out),
            Input::Wake => {
                while let Some(id) = self.resend.expire(now.instant) {
                    self.send(id, now.instant, out);
                }
            }
            Input::Datagram { from, bytes } if !self.stopped => self.hear(from, bytes, out),
            Input::Loaded { ticket, rows, more } => match self.requests.remove(&ticket) {
                Some(Request::LoadOwn) => {
                    for (key, text) in rows.iter() {
                        let number = u32::from_be_bytes(key.try_into().expect("keys are four bytes"));
                        self.own.insert(number, text.into());
                    }
                    match rows.iter().last() {
                        Some((last, _)) if more => self.load(OWN, Some(last), Request::LoadOwn, out),
                        _ => self.load(HEARD, None, Request::LoadHeard, out),
                    }
                }
                Some(Request::LoadHeard) => {
                    for (key, _) in rows.iter() {
                        let key = str::from_utf8(key).expect("keys are text");
                        let (from, number) = key.split_once('/').expect("a node and a number");
                        let id = (from.parse().expect("a node"), number.parse().expect("a number"));
                        self.heard.insert(id, true);
                    }
                    if let Some((last, _)) = rows.iter().last().filter(|_| more) {
                        return self.load(HEARD, Some(last), Request::LoadHeard, out);
                    }
                    out.event(Event::Ready);
                    // Who has acknowledged what is not stored: it does no harm to ask again.
                    let numbers: Vec<u32> = self.own.keys().copied().collect();
                    for number in numbers {
                        self.spread(number, now.instant, out);
                    }
                }
                _ => {}
            },
            Input::Stored { ticket } if !self.stopped => match self.requests.remove(&ticket) {
                Some(Request::StoreOwn(number)) => self.spread(number, now.instant, out),
                Some(Request::StoreHeard(id, text)) => {
                    self.heard.insert(id, true);
                    out.event(Event::Heard(id.0, text));
                    Self::acknowledge(id, out);
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        self.resend.next()
    }
}

/// Three nodes and the network between them, in virtual time.
struct World {
    now: Instant,
    rng: Rng,
    loss_percent: u64,
    nodes: Vec<Node>,
    /// By arrival, then by a number that counts them.
    flying: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    flown: u64,
    sent: u64,
    lost: u64,
    /// Every effect, in order.
    trace: String,
}

struct Node {
    addr: SocketAddr,
    shell: Shell<Checked<Gossip>, MemoryStore>,
    /// When the store's completions are handed over: it may take its time.
    completes: Option<Instant>,
    events: Vec<Event>,
}

fn seed(number: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

fn addr(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 7000 + index as u16))
}

fn gossip(index: usize, run: u64) -> Checked<Gossip> {
    let others = (0..3).filter(|&other| other != index).map(addr).collect();
    Checked::new(Gossip::new(seed(run * 100 + index as u64), others))
}

impl World {
    fn new(run: u64, loss_percent: u64) -> Self {
        let node = |index| Node {
            addr: addr(index),
            shell: Shell::new(gossip(index, run), MemoryStore::new()),
            completes: None,
            events: Vec::new(),
        };
        let mut world = Self {
            now: Instant::ZERO,
            rng: Rng::new(seed(run)).fork("network"),
            loss_percent,
            nodes: (0..3).map(node).collect(),
            flying: BTreeMap::new(),
            flown: 0,
            sent: 0,
            lost: 0,
            trace: String::new(),
        };
        for index in 0..3 {
            world.turn(index, Input::Start);
        }
        world.run_until(|world| world.nodes.iter().all(|node| node.events.contains(&Event::Ready)));
        world
    }

    fn clock(&self) -> Now {
        let unix = UnixTime::from_secs(1_800_000_000) + self.now.since(Instant::ZERO);
        Now { instant: self.now, unix }
    }

    fn turn(&mut self, index: usize, input: Input<'_, String>) {
        let now = self.clock();
        self.nodes[index].shell.turn(now, input);
        self.carry_out(index);
    }

    fn carry_out(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        while let Some(effect) = node.shell.pop().expect("a store in memory never fails") {
            writeln!(self.trace, "{:?} {} {effect:?}", self.now, node.addr).unwrap();
            match effect {
                Effect::Datagram { to, bytes } => {
                    self.sent += 1;
                    if self.rng.below(100) < self.loss_percent {
                        self.lost += 1;
                        continue;
                    }
                    // A network that loses some doubles some too, and each comes in its own time.
                    let doubled = self.loss_percent > 0 && self.rng.below(10) == 0;
                    for _ in 0..=u64::from(doubled) {
                        let arrives = self.now + Duration::from_micros(1000 + self.rng.below(50_000));
                        self.flown += 1;
                        self.flying.insert((arrives, self.flown), (node.addr, to, bytes.to_vec()));
                    }
                }
                Effect::Event(event) => node.events.push(event),
                other => panic!("a machine of datagrams asks for {other:?}"),
            }
        }
        if node.shell.outstanding() > 0 && node.completes.is_none() {
            node.completes = Some(self.now + Duration::from_micros(self.rng.below(3) * 2000));
        }
    }

    /// Moves time to what is due next and does it. False: nothing is due any more.
    fn step(&mut self) -> bool {
        let arrival = self.flying.first_key_value().map(|(&(at, _), _)| at);
        let of_nodes = self.nodes.iter().flat_map(|node| [node.completes, node.shell.deadline()]);
        let Some(next) = of_nodes.chain([arrival]).flatten().min() else { return false };
        self.now = self.now.max(next);
        let now = self.clock();
        for index in 0..self.nodes.len() {
            if self.nodes[index].shell.wake(now) {
                self.carry_out(index);
            }
            if self.nodes[index].completes.is_some_and(|at| at <= self.now) {
                self.nodes[index].completes = None;
                if self.nodes[index].shell.complete(now).expect("a store in memory never fails") {
                    self.carry_out(index);
                }
            }
        }
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, to, mut bytes) = entry.remove();
            if let Some(index) = self.nodes.iter().position(|node| node.addr == to) {
                self.turn(index, Input::Datagram { from, bytes: &mut bytes });
            }
        }
        true
    }

    fn run_until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..100_000 {
            if done(self) {
                return;
            }
            assert!(self.step(), "nothing is due and it is not done:\n{}", self.trace);
        }
        panic!("it is never done:\n{}", self.trace);
    }

    fn run_to_silence(&mut self) {
        for _ in 0..100_000 {
            if !self.step() {
                return;
            }
        }
        panic!("it never falls silent:\n{}", self.trace);
    }

    /// Ends a node at once, as a kill does, and starts it on what it had stored.
    fn restart(&mut self, index: usize, run: u64) {
        let node = self.nodes.remove(index);
        let (_, mut store) = node.shell.into_parts();
        store.restart();
        let shell = Shell::new(gossip(index, run), store);
        self.nodes.insert(index, Node { shell, completes: None, ..node });
        self.turn(index, Input::Start);
    }

    fn write_notes(&mut self, per_node: usize) {
        for number in 0..per_node {
            for index in 0..3 {
                self.turn(index, Input::Command(format!("note {number} of {index}")));
            }
        }
    }

    fn heard(&self, index: usize) -> Vec<(SocketAddr, &str)> {
        let heard = |event| match event {
            &Event::Heard(from, ref text) => Some((from, text.as_str())),
            _ => None,
        };
        self.nodes[index].events.iter().filter_map(heard).collect()
    }

    /// Every node has heard every other's notes: each once.
    fn assert_all_heard(&self, per_node: usize) {
        for index in 0..3 {
            let heard = self.heard(index);
            let distinct: BTreeSet<_> = heard.iter().collect();
            assert_eq!(distinct.len(), heard.len(), "node {index} heard a note twice: {heard:?}");
            assert_eq!(heard.len(), 2 * per_node, "node {index} heard {heard:?}");
        }
    }
}

#[test]
fn notes_reach_everyone_once_whatever_is_lost() {
    // loss in percent, whether anything had to be sent again
    for (loss, again) in [(0, false), (10, true), (50, true), (80, true)] {
        let mut world = World::new(1, loss);
        world.write_notes(4);
        world.run_to_silence();
        world.assert_all_heard(4);
        for node in &world.nodes {
            let spread = node.events.iter().filter(|event| matches!(event, Event::Spread(_))).count();
            assert_eq!(spread, 4, "at {loss} % loss: {:?}", node.events);
        }
        // A note to each other node and its acknowledgement, if nothing is lost.
        assert_eq!(world.sent > 3 * 4 * 2 * 2, again, "at {loss} % loss {} were sent", world.sent);
        assert_eq!(world.lost > 0, again);
    }
}

#[test]
fn the_same_seeds_give_the_same_effects() {
    let run = |number| {
        let mut world = World::new(number, 40);
        world.write_notes(3);
        world.run_to_silence();
        world.trace
    };
    let first = run(7);
    assert!(first.lines().count() > 50, "{first}");
    assert_eq!(first, run(7));
    assert_ne!(first, run(8));
}

#[test]
fn a_killed_node_goes_on_from_what_it_stored() {
    for run in 0..20 {
        let mut world = World::new(run, 40);
        world.write_notes(3);
        // Killed at some instant, among stores, acknowledgements and tries.
        for _ in 0..run * 2 {
            world.step();
        }
        let stored: Vec<_> = world.nodes[1]
            .shell
            .store()
            .rows(OWN)
            .map(|(_, text)| String::from_utf8_lossy(text).into_owned())
            .collect();
        world.restart(1, run + 1000);
        world.run_to_silence();
        for index in [0, 2] {
            let heard = world.heard(index);
            let of_killed: Vec<_> = heard.iter().filter(|(from, _)| *from == addr(1)).collect();
            assert_eq!(of_killed.len(), stored.len(), "run {run}: {heard:?}");
        }
        // It may have been killed between the store and the event; nothing else is missing, nothing is twice.
        let kept: BTreeSet<_> =
            world.nodes[1].shell.store().rows(HEARD).map(|(key, _)| key.to_vec()).collect();
        assert_eq!(kept.len(), 6, "run {run}");
        let heard = world.heard(1);
        assert_eq!(heard.iter().collect::<BTreeSet<_>>().len(), heard.len(), "run {run}: {heard:?}");
    }
}

#[test]
fn datagrams_that_make_no_sense_have_no_effect() {
    let long = [&b"N\0\0\0\0"[..], &[b'x'; LONGEST_NOTE + 1]].concat();
    let table: [(SocketAddr, &[u8]); 8] = [
        (addr(1), b""),
        (addr(1), b"N"),
        (addr(1), b"N\0\0\0"),
        (addr(1), b"N\0\0\0\0\xff\xfe"),
        (addr(1), b"X\0\0\0\0note"),
        (addr(1), b"A\xff\xff\xff\xff"),
        (addr(1), &long),
        (addr(9), b"N\0\0\0\0a stranger's"),
    ];
    let mut world = World::new(3, 0);
    let before = world.trace.clone();
    for (from, bytes) in table {
        world.turn(0, Input::Datagram { from, bytes: &mut bytes.to_vec() });
        assert_eq!(world.trace, before, "{bytes:?} had an effect");
        assert_eq!(world.nodes[0].shell.outstanding(), 0, "{bytes:?} was stored");
    }
}

#[test]
fn a_stopped_node_is_silent() {
    let mut world = World::new(4, 100);
    world.write_notes(1);
    for _ in 0..20 {
        assert!(world.step());
    }
    for index in 0..3 {
        assert!(world.nodes[index].shell.deadline().is_some());
        world.turn(index, Input::Stop);
        assert_eq!(world.nodes[index].shell.deadline(), None);
    }
    let before = world.trace.clone();
    world.run_to_silence();
    assert_eq!(world.trace, before);
}
