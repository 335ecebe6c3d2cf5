//! `replay`: runs a recording again, without a network or a data directory, and tells turn by turn what came in, what went
//! out, and whether that is what went out when it was recorded.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use andon_bitcoin::client::{Client, Event};
use andon_driver::RecordingReader;
use andon_kernel::recording::{Outcome, Recording, RecordingEnd, RecordingError, Replay, Turn, Verdict};
use andon_kernel::{Instant, Now};
use clap::Args;
use serde_json::{Value, json};

use crate::End;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::units::{bytes, counted, duration, grouped, times_as_fast};
use crate::{system, turns};

/// What to run again, and how far.
#[derive(Debug, Args)]
pub(crate) struct ReplayArguments {
    /// A file that was made with --record
    file: PathBuf,
    /// Stop before this turn, or before the first one after this time of the run
    #[arg(long, value_name = "TURN|SECONDSs")]
    until: Option<Until>,
    /// Stop after the first turn that tells an event of this name, such as synced or peer_disconnected; repeatable
    #[arg(long, value_name = "EVENT")]
    break_on: Vec<String>,
    /// Show all of long commands, and the bytes that came and went, in hex
    #[arg(long)]
    full: bool,
}

/// Where to stop.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Until {
    Turn(u64),
    Time(Duration),
}

impl FromStr for Until {
    type Err = UntilError;

    /// Reads `1200`, or `3.5s`.
    fn from_str(text: &str) -> Result<Self, UntilError> {
        match text.strip_suffix('s') {
            None => text.parse().map(Self::Turn).map_err(|_| UntilError),
            Some(seconds) => {
                let seconds = seconds.parse().map_err(|_| UntilError)?;
                Duration::try_from_secs_f64(seconds).map(Self::Time).map_err(|_| UntilError)
            }
        }
    }
}

/// Why a text is no [`Until`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UntilError;

impl fmt::Display for UntilError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither the number of a turn nor a time in seconds, such as 12.5s")
    }
}

impl std::error::Error for UntilError {}

/// Why a replay is over.
enum Stop {
    /// With the recording.
    End,
    /// Where it was told to stop.
    Until,
    /// This event came.
    Break(String),
    /// Somebody asked for it.
    Interrupted,
    /// The machine panicked, with this message.
    Panicked(String),
    /// The recording can't be read any further.
    Failed(Error),
}

/// Runs the command.
///
/// # Errors
/// If the file is no recording of a client, is damaged, or the run came out otherwise or panicked.
pub(crate) fn run(
    arguments: &ReplayArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let path = &arguments.file;
    let source = RecordingReader::open(path).map_err(|error| {
        Error::new("recording", format!("the recording {} can't be opened: {error}", path.display()))
            .help("name a file that was made with --record")
    })?;
    let opened = Recording::open(source).map_err(|error| unreadable(path, &error))?;
    let version = opened.version().to_owned();
    let mut replay = Replay::<Client, _>::new(opened).map_err(|error| unreadable(path, &error))?;
    output.news(&format!("Replaying {}, recorded by version {}", path.display(), version.escape_debug()));
    let began = system::now();
    let mut clock = Clock::default();
    let stop = work(&mut replay, arguments, output, interrupt, &mut clock);
    let real = system::now().saturating_duration_since(began);
    summarise(&replay, &stop, clock, real, output);
    if matches!(stop, Stop::End) && !arguments.break_on.is_empty() {
        output.warning(&format!("no event came that is called {}", arguments.break_on.join(" or ")));
    }
    match stop {
        Stop::Failed(error) => Err(error),
        Stop::Panicked(message) => {
            let turn = replay.replayed().turns.saturating_sub(1);
            let again = if replay.end() == Some(RecordingEnd::Panicked) { ", as it did when it was recorded" } else { "" };
            Err(Error::new("panicked", format!("the client panics in turn {turn}{again}: {message}"))
                .help(format!("--until {turn} stops before it")))
        }
        Stop::Interrupted => Ok(End::Interrupted),
        Stop::End | Stop::Until | Stop::Break(_) => match replay.replayed().first_difference {
            None => Ok(End::Done),
            Some(turn) => Err(Error::new("differs", format!("turn {turn} does not do what was recorded"))
                .help("the recording is of another version, or a machine is no function of its inputs: that is a fault")),
        },
    }
}

/// The times of the first turn and of the last.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    first: Option<Instant>,
    last: Instant,
}

impl Clock {
    fn note(&mut self, now: Now) {
        self.first.get_or_insert(now.instant);
        self.last = now.instant;
    }

    /// How long the run took when it was recorded.
    fn simulated(self) -> Duration {
        self.last.since(self.first.unwrap_or(self.last))
    }
}

type ClientReplay = Replay<Client, RecordingReader>;

fn work(
    replay: &mut ClientReplay,
    arguments: &ReplayArguments,
    output: &mut Output,
    interrupt: &Interrupt,
    clock: &mut Clock,
) -> Stop {
    let breaks: Vec<String> = arguments.break_on.iter().map(|name| plain(name)).collect();
    loop {
        if interrupt.is_requested() {
            return Stop::Interrupted;
        }
        if let Some(Until::Turn(turn)) = arguments.until
            && replay.replayed().turns >= turn
        {
            return Stop::Until;
        }
        let turn = match replay.next_turn() {
            Ok(Some(turn)) => turn,
            Ok(None) => return Stop::End,
            Err(error) => return Stop::Failed(unreadable(&arguments.file, &error)),
        };
        if let Some(Until::Time(time)) = arguments.until
            && turn.now().instant > Instant::ZERO + time
        {
            return Stop::Until;
        }
        clock.note(turn.now());
        match run_turn(turn, arguments.full, &breaks, output) {
            Ok(None) => {}
            Ok(Some(event)) => return Stop::Break(event),
            Err(message) => {
                // What comes after it is the end, if it panicked when it was recorded.
                let _ = replay.next_turn();
                return Stop::Panicked(message);
            }
        }
    }
}

/// Runs one turn and tells of it. The event to break at, if one came; or the message that the machine panicked with.
fn run_turn(
    turn: Turn<'_, Client>,
    is_full: bool,
    breaks: &[String],
    output: &mut Output,
) -> Result<Option<String>, String> {
    let shown = (!output.is_quiet()).then_some(is_full);
    let (number, now, offset) = (turn.number(), turn.now(), turn.offset());
    let input = shown.map(|is_full| turns::input(turn.input(), is_full));
    if let Some((text, _)) = &input {
        // Before it runs: it may not come back.
        output.say(&format!("{:>6} {:>12}  {text}", number, seconds(now.instant)));
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| turn.run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message").to_owned()
    })?;
    let verdict = outcome.verdict();
    if let (Some(is_full), Some((_, object))) = (shown, input) {
        let mut effects = Vec::new();
        for effect in outcome.effects() {
            let (text, object) = turns::effect(&effect, is_full);
            output.say(&format!("{:21}> {text}", ""));
            effects.push(object);
        }
        output.extra(&json!({
            "event": "turn",
            "turn": number,
            "offset": offset,
            "seconds": now.instant.as_micros() as f64 / 1e6,
            "unix": now.unix.as_secs(),
            "input": object,
            "effects": effects,
            "deadline": outcome.deadline().map(|deadline| deadline.as_micros() as f64 / 1e6),
            "agrees": agreement(verdict),
        }));
    }
    if verdict == Verdict::Differs {
        output.warning(&format!("turn {number}, at {}, does not do what was recorded", seconds(now.instant)));
    }
    Ok(broken_at(&outcome, breaks))
}

/// The first event of the turn that is one to break at.
fn broken_at(outcome: &Outcome<'_, Client>, breaks: &[String]) -> Option<String> {
    if breaks.is_empty() {
        return None;
    }
    outcome.effects().find_map(|effect| match effect {
        andon_kernel::Output::Event(event) => {
            Some(event_name(event)).filter(|name| breaks.contains(&plain(name)))
        }
        _ => None,
    })
}

fn summarise(replay: &ClientReplay, stop: &Stop, clock: Clock, real: Duration, output: &mut Output) {
    let replayed = replay.replayed();
    let simulated = clock.simulated();
    let ratio = simulated.as_secs_f64() / real.as_secs_f64().max(1e-6);
    let (end, why) = match (stop, replay.end()) {
        (Stop::Until, _) => ("until", "where it was told to stop".to_owned()),
        (Stop::Break(event), _) => ("break", format!("at the event {event}")),
        (Stop::Interrupted, _) => ("interrupted", "as it was interrupted".into()),
        (Stop::Failed(_), _) => ("damaged", "where the recording can't be read any further".into()),
        (Stop::Panicked(_), _) => ("panicked", "with a panic".into()),
        (Stop::End, Some(RecordingEnd::Complete)) => ("complete", "with the run".into()),
        (Stop::End, Some(RecordingEnd::Bounded)) => {
            ("bounded", "where the recording was as long as it might be".into())
        }
        (Stop::End, Some(RecordingEnd::Panicked)) => {
            ("no_panic", "after the turn that panicked when it was recorded, and does not now".into())
        }
        (Stop::End, Some(RecordingEnd::CutOff) | None) => {
            ("cut_off", "where the recording is cut off".into())
        }
    };
    output.extra(&json!({
        "event": "replayed",
        "turns": replayed.turns,
        "agreed": replayed.agreed,
        "unknown": replayed.unknown,
        "first_difference": replayed.first_difference,
        "end": end,
        "bytes": replay.recording().offset(),
        "simulated_seconds": simulated.as_secs_f64(),
        "seconds": real.as_secs_f64(),
    }));
    output.headline(&format!("Replayed {}; it ends {why}", counted(replayed.turns, "turn")));
    let differing =
        replayed.turns - replayed.agreed - replayed.unknown - u64::from(matches!(stop, Stop::Panicked(_)));
    output.say(&match replayed.first_difference {
        None => format!("  Outputs    {} turns agree bit for bit, none differs", grouped(replayed.agreed)),
        Some(first) => format!(
            "  Outputs    {} turns agree, {} differ, the first of them turn {first}",
            grouped(replayed.agreed),
            grouped(differing)
        ),
    });
    output.say(&format!("  Recording  {}", bytes(replay.recording().offset())));
    output.say(&format!("  Run        {}, as it was recorded", duration(simulated)));
    output.say(&format!("  Replay     {}: {}", duration(real), times_as_fast(ratio)));
}

fn agreement(verdict: Verdict) -> Value {
    match verdict {
        Verdict::Agrees => true.into(),
        Verdict::Differs => false.into(),
        Verdict::Unknown => Value::Null,
    }
}

fn seconds(at: Instant) -> String {
    format!("{at:?}")
}

/// What an event is called: as in the client's interface.
fn event_name(event: &Event) -> String {
    let text = format!("{event:?}");
    text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default().into()
}

/// A name however it is written: `PeerConnected`, `peer_connected`, `peer-connected`.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn unreadable(path: &Path, error: &RecordingError<std::io::Error>) -> Error {
    let help = match error {
        RecordingError::NotARecording => "name a file that was made with --record",
        RecordingError::Format { .. }
        | RecordingError::Construction { .. }
        | RecordingError::Command { .. } => {
            "it may have been made by another version of this program: replay it with that one"
        }
        RecordingError::OtherMachine { .. } => "this program replays clients",
        _ => "take another copy of it, if there is one",
    };
    Error::new("recording", format!("{}: {error}", path.display())).help(help)
}
