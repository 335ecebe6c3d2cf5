//! Recordings of a machine that says and hears everything there is: what was written replays, and whatever else the bytes are,
//! reading them ends with a clear answer.

#![allow(clippy::unwrap_used, reason = "a test fails so")]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use andon_kernel::recording::{
    Recordable, Recorded, Recording, RecordingEnd, RecordingError, RecordingStatus, Replay, Sink, Source,
    Verdict,
};
use andon_kernel::{
    ConnId, Disconnect, Input, Instant, Link, Machine, Names, Now, Order, Outbox, Rng, RowsBuffer, Space,
    Ticket, UnixTime,
};

/// Answers every input with effects of every kind, which depend on its seed and on every byte it has been given.
struct Talker {
    names: Names,
    rng: Rng,
    heard: u64,
    deadline: Option<Instant>,
    turns: u32,
    faulty_from: u32,
}

impl Machine for Talker {
    type Command = String;
    type Event = String;

    fn handle(&mut self, now: Now, mut input: Input<'_, String>, out: &mut Outbox<String>) {
        if let Input::Received { bytes, .. } | Input::Datagram { bytes, .. } = &mut input {
            // As decryption in place does.
            for byte in bytes.iter_mut() {
                *byte ^= 0x55;
                self.heard = self.heard.wrapping_mul(31).wrapping_add(u64::from(*byte));
            }
        }
        if let Input::Command(text) = &input {
            assert_ne!(text, "panic", "the talker was told to panic");
        }
        self.heard = self.heard.wrapping_mul(31).wrapping_add(format!("{input:?}").len() as u64);
        let drawn = self.rng.below(16) as u8;
        let to = SocketAddr::from(([127, 0, 0, drawn], 8333));
        let conn = self.names.conn();
        out.connect(conn, to);
        out.send(conn, |bytes| bytes.extend_from_slice(&self.heard.to_le_bytes()));
        out.pause(conn, drawn.is_multiple_of(2));
        out.flush(conn);
        out.close(conn, drawn.is_multiple_of(3));
        out.datagram(to, |bytes| bytes.push(drawn));
        out.resolve(self.names.ticket(), "example.org", 8333);
        let space = Space::new("talk");
        let key = [drawn];
        let bounds = [
            (Bound::Included(&key[..]), Bound::Unbounded),
            (Bound::Unbounded, Bound::Excluded(&key[..])),
            (Bound::Excluded(&key[..]), Bound::Included(&[0xff][..])),
        ];
        let order = if drawn > 7 { Order::Ascending } else { Order::Descending };
        out.load(self.names.ticket(), space, bounds[usize::from(drawn) % 3], order, 7);
        out.store(self.names.ticket(), |batch| {
            batch.put(space, &key, &self.heard.to_le_bytes());
            batch.delete(space, &key, &[drawn.saturating_add(1)]);
            batch.delete_from(space, &key);
        });
        self.turns += 1;
        let fault = if self.turns > self.faulty_from { "!" } else { "" };
        out.event(format!("heard {} at {}{fault}", self.heard, now.unix.as_secs()));
        self.deadline = (drawn > 3).then(|| now.instant + Duration::from_micros(u64::from(drawn)));
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline
    }
}

/// The seed's first byte, and the turn from which it is another machine.
type Build = (u8, u32);

impl Recordable for Talker {
    const NAME: &'static str = "talker";
    const VERSION: &'static str = "1.2.3";

    type Construction = Build;

    fn build((seed, faulty_from): Build) -> Self {
        let rng = Rng::new([seed; 32]);
        Self { names: Names::default(), rng, heard: 0, deadline: None, turns: 0, faulty_from }
    }

    fn encode_construction(&(seed, faulty_from): &Build, out: &mut Vec<u8>) {
        out.push(seed);
        out.extend_from_slice(&faulty_from.to_le_bytes());
    }

    fn decode_construction(bytes: &[u8]) -> Result<Build, String> {
        match bytes {
            &[seed, a, b, c, d] => Ok((seed, u32::from_le_bytes([a, b, c, d]))),
            _ => Err("not five bytes".into()),
        }
    }

    fn encode_command(command: &String, out: &mut Vec<u8>) {
        out.extend_from_slice(command.as_bytes());
    }

    fn decode_command(bytes: &[u8]) -> Result<String, String> {
        String::from_utf8(bytes.to_vec()).map_err(|_| "not a text".into())
    }
}

const NEVER: u32 = u32::MAX;

fn at(micros: u64, seconds: u64) -> Now {
    Now { instant: Instant::from_micros(micros), unix: UnixTime::from_secs(seconds) }
}

/// Gives a machine one input of each kind and then some, with clocks that stand, run and jump. What each turn did, as text.
fn play<M: Machine<Command = String, Event = String>>(machine: &mut M, last_words: &str) -> Vec<String> {
    let addrs: Vec<SocketAddr> =
        ["127.0.0.1:1", "[::1]:2", "[fe80::1%7]:3"].iter().map(|text| text.parse().unwrap()).collect();
    let mut rows = RowsBuffer::new();
    rows.push(b"key", b"value");
    rows.push(b"", b"");
    rows.push(b"later", &[7; 300]);
    let (ours, theirs, ticket) = (ConnId::dialled(300), ConnId::accepted(2), Ticket::new(1 << 40));
    let mut bytes: Vec<u8> = (0..200).collect();
    let mut more = vec![9; 1000];
    let mut datagram = [1, 2, 3];
    let mut turns = Vec::new();
    let mut out = Outbox::new();
    let mut turn = |now: Now, input: Input<'_, String>| {
        let came = format!("{now:?} {input:?}");
        machine.handle(now, input, &mut out);
        turns.push(format!("{came} {out:?} {:?}", machine.deadline()));
        while out.pop().is_some() {}
    };
    turn(at(5, 1_800_000_000), Input::Start);
    turn(at(5, 1_800_000_000), Input::Wake);
    turn(
        at(1_000_000, 1_800_000_001),
        Input::Connected { conn: ours, remote: addrs[0], link: Link::Outbound },
    );
    turn(
        at(1_000_001, 1_799_000_001),
        Input::Connected { conn: theirs, remote: addrs[2], link: Link::Inbound },
    );
    turn(at(1_000_001, 1_800_000_001), Input::Received { conn: ours, bytes: &mut bytes });
    turn(at(2_000_001, 1_800_000_002), Input::Received { conn: theirs, bytes: &mut more });
    turn(at(2_000_001, 1_800_000_002), Input::Drained { conn: ours });
    turn(at(2_000_001, 1_800_000_002), Input::Datagram { from: addrs[1], bytes: &mut datagram });
    turn(at(2_000_001, 1_800_000_002), Input::Datagram { from: addrs[1], bytes: &mut [] });
    turn(at(2_000_001, 1_800_000_002), Input::Resolved { ticket, addrs: &addrs });
    turn(at(2_000_001, 1_800_000_002), Input::Resolved { ticket, addrs: &[] });
    turn(at(2_000_001, 1_800_000_002), Input::Loaded { ticket, rows: rows.rows(), more: true });
    rows.clear();
    turn(at(2_000_001, 1_800_000_002), Input::Loaded { ticket, rows: rows.rows(), more: false });
    turn(at(2_000_001, 1_800_000_002), Input::Stored { ticket });
    for reason in [
        Disconnect::Closed,
        Disconnect::ClosedByPeer,
        Disconnect::Refused,
        Disconnect::Reset,
        Disconnect::SendQueueFull,
        Disconnect::TimedOut,
        Disconnect::TooManyConnections,
        Disconnect::Unreachable,
        Disconnect::Failed,
    ] {
        turn(at(3_000_000, 0), Input::Disconnected { conn: ours, reason });
    }
    turn(at(1 << 50, u64::MAX), Input::Command(last_words.into()));
    turn(at(1 << 50, 0), Input::Stop);
    turns
}

/// A recording of it, and what each turn did.
fn recorded(limit: u64) -> (Vec<u8>, Vec<String>) {
    let mut bytes = Vec::new();
    let mut machine = Recorded::<Talker, _>::with_limit((3, NEVER), &mut bytes, limit);
    let turns = play(&mut machine, "good bye");
    drop(machine);
    (bytes, turns)
}

/// What became of bytes as a recording.
#[derive(Debug, PartialEq)]
struct Ran {
    turns: Vec<String>,
    verdicts: Vec<Verdict>,
    end: Result<RecordingEnd, String>,
}

impl Ran {
    fn all_agree(&self) -> bool {
        self.verdicts.iter().all(|verdict| *verdict == Verdict::Agrees)
    }
}

/// Replays bytes, whatever they are.
fn replay<S: Source>(source: S) -> Ran
where
    S::Error: std::fmt::Display + std::fmt::Debug,
{
    let mut ran = Ran { turns: Vec::new(), verdicts: Vec::new(), end: Ok(RecordingEnd::CutOff) };
    let opened = Recording::open(source).and_then(Replay::<Talker, _>::new);
    let mut replay = match opened {
        Ok(replay) => replay,
        Err(error) => {
            ran.end = Err(error.to_string());
            return ran;
        }
    };
    loop {
        match replay.next_turn() {
            Ok(Some(turn)) => {
                let came = format!("{:?} {:?}", turn.now(), turn.input());
                let outcome = turn.run();
                let effects: Vec<_> = outcome.effects().collect();
                ran.turns.push(format!("{came} {effects:?} {:?}", outcome.deadline()));
                ran.verdicts.push(outcome.verdict());
            }
            Ok(None) => {
                ran.end = Ok(replay.end().unwrap());
                break;
            }
            Err(error) => {
                ran.end = Err(error.to_string());
                assert!(replay.next_turn().unwrap().is_none(), "there is no turn after an error");
                break;
            }
        }
    }
    let replayed = replay.replayed();
    assert_eq!(replayed.agreed as usize, ran.verdicts.iter().filter(|&&it| it == Verdict::Agrees).count());
    let first = ran.verdicts.iter().position(|verdict| *verdict == Verdict::Differs);
    assert_eq!(replayed.first_difference, first.map(|turn| turn as u64));
    ran
}

/// One byte at a time.
struct Slowly<'a>(&'a [u8]);

impl Source for Slowly<'_> {
    type Error = std::convert::Infallible;

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(&mut buffer[..1])
    }
}

#[test]
fn every_input_and_every_effect_replays_bit_for_bit() {
    let (bytes, turns) = recorded(u64::MAX);
    let ran = replay(bytes.as_slice());
    assert_eq!((&ran.turns, &ran.end), (&turns, &Ok(RecordingEnd::Complete)));
    assert!(ran.all_agree());
    assert_eq!(replay(Slowly(&bytes)), ran);

    let recording = Recording::open(bytes.as_slice()).unwrap();
    assert_eq!((recording.machine(), recording.version()), ("talker", "1.2.3"));
    assert_eq!(recording.construction(), [3, 0xff, 0xff, 0xff, 0xff]);
    // The machine does the same with nobody writing it down.
    assert_eq!(play(&mut Talker::build((3, NEVER)), "good bye"), turns);
}

#[test]
fn a_recording_that_is_cut_off_replays_as_far_as_it_goes() {
    let (bytes, turns) = recorded(u64::MAX);
    let mut longest = 0;
    for length in 0..bytes.len() {
        let ran = replay(&bytes[..length]);
        let whole = ran.verdicts.iter().take_while(|verdict| **verdict == Verdict::Agrees).count();
        assert!(ran.verdicts.len() - whole <= 1, "of one turn at most nothing is known");
        assert_eq!(ran.turns, turns[..ran.turns.len()]);
        if ran.turns.is_empty() {
            let known = ["it is no recording", "the recording is cut off before its first input"];
            assert!(ran.end == Ok(RecordingEnd::CutOff) || known.contains(&ran.end.unwrap_err().as_str()));
        } else {
            assert_eq!(ran.end, Ok(RecordingEnd::CutOff));
        }
        assert!(whole >= longest);
        longest = whole;
    }
    assert_eq!(longest, turns.len());
}

#[test]
fn a_changed_byte_is_never_taken_for_the_recording() {
    let (bytes, _) = recorded(u64::MAX);
    for position in 0..bytes.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = bytes.clone();
            changed[position] ^= change;
            let ran = replay(changed.as_slice());
            let is_caught = ran.end.is_err() || (!ran.all_agree() && ran.end == Ok(RecordingEnd::Complete));
            assert!(is_caught, "byte {position}: {:?}", ran.end);
        }
    }
}

#[test]
fn what_follows_the_end_is_damage() {
    let (mut bytes, turns) = recorded(u64::MAX);
    let length = bytes.len();
    bytes.push(0);
    let ran = replay(bytes.as_slice());
    assert_eq!(ran.turns, turns);
    assert_eq!(ran.end, Err(format!("the recording is damaged at byte {length}: it goes on after its end")));
}

#[test]
fn random_bytes_are_no_recording_and_do_no_harm() {
    let (bytes, _) = recorded(u64::MAX);
    let header = 8 + 1 + 7 + 6 + 6 + 8;
    let mut rng = Rng::new([9; 32]);
    for round in 0..2000u64 {
        let mut random = vec![0; rng.below(400) as usize];
        rng.fill(&mut random);
        assert!(replay(random.as_slice()).end.is_err());
        // And behind a header that is sound.
        let mut behind = bytes[..header].to_vec();
        behind.push([1, 3][(round % 2) as usize]);
        behind.extend_from_slice(&random);
        let ran = replay(behind.as_slice());
        assert!(ran.turns.is_empty() && ran.end != Ok(RecordingEnd::Complete));
    }
}

#[test]
fn a_recording_is_no_longer_than_it_may_be_and_the_run_goes_on() {
    let (whole, turns) = recorded(u64::MAX);
    let header = 36;
    for limit in (0..whole.len() as u64 + 40).step_by(3) {
        let (bytes, ran) = recorded(limit);
        assert_eq!(ran, turns, "recording changes nothing");
        assert!(bytes.len() as u64 <= limit.max(header + 10), "{} bytes of {limit}", bytes.len());
        let replayed = replay(bytes.as_slice());
        assert!(replayed.all_agree());
        assert_eq!(replayed.turns, turns[..replayed.turns.len()]);
        let is_whole = replayed.turns.len() == turns.len();
        let end = if is_whole { RecordingEnd::Complete } else { RecordingEnd::Bounded };
        assert_eq!(replayed.end, Ok(end), "limit {limit}");
    }
}

/// Takes so many bytes.
#[derive(Default)]
struct Small {
    room: usize,
    taken: Rc<RefCell<Vec<u8>>>,
}

impl Sink for Small {
    type Error = &'static str;

    fn append(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let fits = bytes.len().min(self.room);
        self.taken.borrow_mut().extend_from_slice(&bytes[..fits]);
        self.room -= fits;
        if fits == bytes.len() { Ok(()) } else { Err("the disk is full") }
    }

    fn finish(&mut self) -> Result<(), &'static str> {
        Ok(())
    }
}

#[test]
fn a_sink_that_fails_ends_the_recording_and_not_the_run() {
    let (whole, turns) = recorded(u64::MAX);
    for room in (0..whole.len()).step_by(3) {
        let taken = Rc::default();
        let sink = Small { room, taken: Rc::clone(&taken) };
        let mut machine = Recorded::<Talker, _>::new((3, NEVER), sink);
        assert_eq!(play(&mut machine, "good bye"), turns);
        if room < whole.len() - 10 {
            assert_eq!(machine.status(), RecordingStatus::Failed(&"the disk is full"));
        }
        drop(machine);
        assert_eq!(*taken.borrow(), whole[..room], "what was taken is the recording up to there");
    }
}

#[test]
fn a_turn_that_panics_is_in_the_recording_and_panics_again() {
    let mut bytes = Vec::new();
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut machine = Recorded::<Talker, _>::new((3, NEVER), &mut bytes);
        play(&mut machine, "panic");
    }));
    assert!(played.is_err());
    let recording = Recording::open(bytes.as_slice()).unwrap();
    let mut replay = Replay::<Talker, _>::new(recording).unwrap();
    loop {
        let turn = replay.next_turn().unwrap().unwrap();
        if turn.is_whole() {
            assert_eq!(turn.run().verdict(), Verdict::Agrees);
            continue;
        }
        assert!(matches!(turn.input(), Input::Command(text) if text == "panic"));
        assert_eq!(turn.number(), 23);
        let again = catch_unwind(AssertUnwindSafe(|| turn.run().verdict())).unwrap_err();
        assert!(again.downcast_ref::<String>().unwrap().contains("told to panic"));
        break;
    }
    assert!(replay.next_turn().unwrap().is_none());
    assert_eq!(replay.end(), Some(RecordingEnd::Panicked));
    assert_eq!((replay.replayed().turns, replay.replayed().agreed), (24, 23));
}

/// The same by its name, and another from some turn on.
#[test]
fn the_first_turn_that_differs_is_named() {
    let (_, turns) = recorded(u64::MAX);
    for faulty_from in [0, 1, 7, turns.len() as u32 - 1] {
        let mut bytes = Vec::new();
        let mut machine = Recorded::<Talker, _>::new((3, NEVER), &mut bytes);
        play(&mut machine, "good bye");
        drop(machine);
        let recording = Recording::open(bytes.as_slice()).unwrap();
        let build = |talker: Talker| Talker { faulty_from, ..talker };
        let mut replay = Replay::wrapped::<Talker>(recording, build).unwrap();
        while let Some(turn) = replay.next_turn().unwrap() {
            let number = turn.number();
            let expected = if number < u64::from(faulty_from) { Verdict::Agrees } else { Verdict::Differs };
            assert_eq!(turn.run().verdict(), expected);
        }
        assert_eq!(replay.replayed().first_difference, Some(u64::from(faulty_from)));
    }
}

#[test]
fn what_is_of_another_machine_or_format_is_named() {
    let (bytes, _) = recorded(0);
    #[derive(Debug)]
    struct Other;
    impl Machine for Other {
        type Command = String;
        type Event = String;
        fn handle(&mut self, _: Now, _: Input<'_, String>, _: &mut Outbox<String>) {}
        fn deadline(&self) -> Option<Instant> {
            None
        }
    }
    impl Recordable for Other {
        const NAME: &'static str = "other";
        const VERSION: &'static str = "";
        type Construction = ();
        fn build((): ()) -> Self {
            Self
        }
        fn encode_construction((): &(), _: &mut Vec<u8>) {}
        fn decode_construction(_: &[u8]) -> Result<(), String> {
            Ok(())
        }
        fn encode_command(_: &String, _: &mut Vec<u8>) {}
        fn decode_command(_: &[u8]) -> Result<String, String> {
            Err("it takes none".into())
        }
    }
    let error = Replay::<Other, _>::new(Recording::open(bytes.as_slice()).unwrap()).unwrap_err();
    assert_eq!(error, RecordingError::OtherMachine { found: "talker".into(), expected: "other" });
    assert_eq!(error.to_string(), "the recording is of \"talker\", and not of \"other\"");

    let mut newer = bytes;
    newer[8] = 2;
    let error = Recording::open(newer.as_slice()).unwrap_err();
    assert_eq!(error.to_string(), "the recording is in format 2, and this program reads format 1");
}
