//! Runs of the program are recorded under each driver, and run again: with no network and no data directory, and with the same
//! outputs bit for bit.

#![allow(clippy::unwrap_used, reason = "a test fails so")]

mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use andon::runtime::Runtime;
use andon_bitcoin::server;
use andon_driver::{Compression, DriverError, RecordingFile, RecordingReader};
use andon_kernel::recording::{Recordable, Recorded, Recording, RecordingEnd, Replay, Verdict};
use andon_kernel::{Input, Instant, Machine, MemoryStore, Now, Outbox, Rng};
use serde_json::Value;

use common::{Ended, FIXTURE, Node, Running, andon, blocks, run, sync};

/// `replay` with `--json`.
fn replay(home: &Path, file: &Path, more: &[&str]) -> Ended {
    let home = home.join("nowhere");
    run(andon(&home, ["replay", "--json"]).arg(file).args(more))
}

/// All turns that were told, and what it came to.
fn turns(ended: &Ended) -> (Vec<Value>, Value) {
    let mut objects = ended.objects();
    let turns = objects.iter().filter(|object| object["event"] == "turn").cloned().collect();
    objects.retain(|object| object["event"] == "replayed");
    assert_eq!(objects.len(), 1, "{ended:?}");
    (turns, objects.remove(0))
}

#[track_caller]
fn assert_agrees(ended: &Ended, end: &str) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let (_, came_to) = turns(ended);
    assert_eq!((&came_to["first_difference"], &came_to["end"]), (&Value::Null, &end.into()), "{came_to}");
    let (all, agreed, unknown) = (&came_to["turns"], &came_to["agreed"], &came_to["unknown"]);
    assert_eq!(all.as_u64().unwrap(), agreed.as_u64().unwrap() + unknown.as_u64().unwrap(), "{came_to}");
    came_to
}

/// The command line of a sync under another program.
fn under(program: &str, command: std::process::Command) -> std::process::Command {
    let mut other = std::process::Command::new(program);
    other.args(command.get_args()).stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    other
}

#[test]
fn a_sync_under_every_driver_replays_bit_for_bit() {
    let node = Node::start(blocks(0..290));
    for (name, program) in [
        ("mio", env!("CARGO_BIN_EXE_andon-mio")),
        ("smol", env!("CARGO_BIN_EXE_andon-smol")),
        ("tokio", env!("CARGO_BIN_EXE_andon-tokio")),
    ] {
        let home = tempfile::tempdir().unwrap();
        // The first run begins from nothing, the second one reads what the first has stored.
        for file in ["first.andonrec", "second.andonrec.gz"] {
            let file = home.path().join(file);
            let command = sync(home.path(), node.address, &["--record", file.to_str().unwrap()]);
            let synced = run(&mut under(program, command));
            assert_eq!(synced.code, Some(0), "{synced:?}");
            let connected =
                synced.objects().into_iter().find(|object| object["event"] == "peer_connected").unwrap();
            assert_eq!(connected["transport"], "v2");
            let bytes = fs::read(&file).unwrap();
            assert_eq!(bytes.starts_with(&[0x1f, 0x8b]), file.extension().unwrap() == "gz");

            let ended = replay(home.path(), &file, &[]);
            let came_to = assert_agrees(&ended, "complete");
            let (turns, _) = turns(&ended);
            assert_eq!(turns.len() as u64, came_to["turns"].as_u64().unwrap());
            let told = |what: &str| {
                let effects = turns.iter().flat_map(|turn| turn["effects"].as_array().unwrap());
                effects
                    .filter(|effect| effect["event"].as_str().is_some_and(|text| text.starts_with(what)))
                    .count()
            };
            assert_eq!((told("Touched"), told("Synced")), (FIXTURE.expected.len() + spent(&synced), 1));
            // The rest of it is the same with less said.
            let quiet = replay(home.path(), &file, &["--quiet"]);
            let quiet = assert_agrees(&quiet, "complete");
            let seconds = |field: &str| quiet[field].as_f64().unwrap();
            println!(
                "{name}, {}: {} turns in {} bytes; recorded in {:.3} s, replayed in {:.3} s, ratio {:.1}",
                file.file_name().unwrap().display(),
                quiet["turns"],
                bytes.len(),
                seconds("simulated_seconds"),
                seconds("seconds"),
                seconds("simulated_seconds") / seconds("seconds")
            );
        }
    }
    node.stop();
}

fn spent(synced: &Ended) -> usize {
    synced.last()["spent_count"].as_u64().unwrap() as usize
}

/// A recording of a whole sync, in a directory of its own.
fn recorded(more: &[&str]) -> (tempfile::TempDir, std::path::PathBuf) {
    let (home, file, _) = recorded_by(more);
    (home, file)
}

/// And what was told meanwhile.
fn recorded_by(more: &[&str]) -> (tempfile::TempDir, std::path::PathBuf, Ended) {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("run.andonrec");
    let node = Node::start(blocks(0..290));
    let synced = run(sync(home.path(), node.address, &["--record", file.to_str().unwrap()]).args(more));
    assert_eq!(synced.code, Some(0), "{synced:?}");
    node.stop();
    (home, file, synced)
}

/// What was warned of.
fn warnings(ended: &Ended) -> Vec<String> {
    let objects = ended.objects();
    let warnings = objects.iter().filter(|object| object["event"] == "warning");
    warnings.map(|warning| warning["what"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn it_stops_where_it_is_told_to() {
    let (home, file) = recorded(&[]);
    let (all, came_to) = turns(&replay(home.path(), &file, &[]));
    let last = all.len() - 1;
    for turn in [0, 1, 7, last, last + 1] {
        let (told, came_to) = turns(&replay(home.path(), &file, &["--until", &turn.to_string()]));
        assert_eq!(told, all[..turn]);
        assert_eq!(came_to["end"], "until");
    }
    let past_the_end = replay(home.path(), &file, &["--until", "1000000"]);
    assert_agrees(&past_the_end, "complete");

    // Before the first turn that is later.
    let middle = all[last / 2]["seconds"].as_f64().unwrap();
    let (told, _) = turns(&replay(home.path(), &file, &["--until", &format!("{middle:.6}s")]));
    assert!(told.last().unwrap()["seconds"].as_f64().unwrap() <= middle);
    assert!(all[told.len()]["seconds"].as_f64().unwrap() > middle);

    for name in ["synced", "Synced", "peer_connected", "PEER-CONNECTED"] {
        let stopped = replay(home.path(), &file, &["--break-on", "no_such_event", "--break-on", name]);
        let (told, came_to) = turns(&stopped);
        assert_eq!((stopped.code, &came_to["end"]), (Some(0), &"break".into()));
        let plain = name.to_lowercase().replace(['_', '-'], "");
        let is_it = |turn: &Value| {
            let effects = turn["effects"].as_array().unwrap();
            effects.iter().any(|effect| {
                let text = effect["event"].as_str().unwrap_or_default();
                text.split(|letter: char| !letter.is_alphanumeric()).next().unwrap().to_lowercase() == plain
            })
        };
        assert!(is_it(told.last().unwrap()) && !told[..told.len() - 1].iter().any(is_it));
    }
    let never = replay(home.path(), &file, &["--break-on", "no_such_event"]);
    assert_agrees(&never, "complete");
    assert!(never.stdout.contains("no event came that is called no_such_event"));

    for wrong in ["soon", "-1", "1.5", "-1s", "nans", "s", "1e400s"] {
        let refused = replay(home.path(), &file, &[&format!("--until={wrong}")]);
        assert_eq!(refused.code, Some(2), "{wrong}: {refused:?}");
    }
    assert_eq!(came_to["end"], "complete");
}

#[test]
fn people_read_what_came_and_what_went() {
    let (home, file) = recorded(&["--transport=v1"]);
    let shown = run(andon(home.path(), ["replay"]).arg(&file));
    assert_eq!(shown.code, Some(0), "{shown:?}");
    for text in [
        "  start\n",
        "  command WatchOnly { scripts: [",
        " connected to 127.0.0.1:",
        " (version",
        " (verack",
        "> dialled0 send ",
        "getcfilters",
        "> event PeerConnected { peer: dialled0",
        "> event Touched(Touch { block: BlockId { height: ",
        " change",
        " loaded ",
        " stored\n",
        "  stop\n",
        "it ends with the run",
        " turns agree bit for bit, none differs",
        " times as fast",
    ] {
        assert!(shown.stdout.contains(text), "{text:?} is not in {}", shown.stdout);
    }
    let quiet = run(andon(home.path(), ["replay", "--quiet"]).arg(&file));
    assert!(quiet.stdout.starts_with("Replayed ") && quiet.stdout.lines().count() == 5, "{}", quiet.stdout);
    // In full it shows every byte.
    let full = run(andon(home.path(), ["replay", "--full"]).arg(&file));
    assert!(full.stdout.contains(
        &FIXTURE.chain[100].bytes.iter().take(80).map(|byte| format!("{byte:02x}")).collect::<String>()
    ));
}

#[test]
fn a_recording_has_its_bound_and_its_file_to_itself() {
    let (home, file, bounded) = recorded_by(&["--record-limit", "20K"]);
    let told = warnings(&bounded);
    assert!(
        told.iter().any(|told| told.contains("it ends at --record-limit, before the run did")),
        "{told:?}"
    );
    // One that has room for all of the run is not spoken of so.
    let (_, _, whole) = recorded_by(&["--record-limit", "100M"]);
    assert!(warnings(&whole).iter().all(|told| !told.contains("recording")), "{:?}", warnings(&whole));
    let bytes = fs::read(&file).unwrap();
    assert!((3_000..=20_000).contains(&bytes.len()), "{} bytes", bytes.len());
    assert_agrees(&replay(home.path(), &file, &[]), "bounded");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    // Nothing is written over, and no node is asked.
    let again = run(&mut sync(home.path(), common::closed(), &["--record", file.to_str().unwrap()]));
    assert_eq!(again.code, Some(1), "{again:?}");
    again.failed_as("recording");
    assert_eq!(fs::read(&file).unwrap(), bytes);

    for wrong in ["0x5", "", "G", "-1", "5 M", "99999999999999999999", "99999999999999999G"] {
        let refused = run(&mut sync(
            home.path(),
            common::closed(),
            &["--record", "x", &format!("--record-limit={wrong}")],
        ));
        assert_eq!(refused.code, Some(2), "{wrong}: {refused:?}");
    }
    let alone = run(&mut sync(home.path(), common::closed(), &["--record-limit", "1G"]));
    assert_eq!(alone.code, Some(2), "{alone:?}");
}

#[test]
fn a_start_that_fails_leaves_no_recording() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("run.andonrec");
    fs::write(home.path().join("data"), "no directory").unwrap();
    // The second attempt comes as far as the first.
    for _ in 0..2 {
        let refused = run(&mut sync(home.path(), common::closed(), &["--record", file.to_str().unwrap()]));
        refused.failed_as("not_a_directory");
        assert!(!file.exists());
    }
    // What was there before is somebody's.
    fs::write(&file, "mine").unwrap();
    run(&mut sync(home.path(), common::closed(), &["--record", file.to_str().unwrap()]))
        .failed_as("recording");
    assert_eq!(fs::read(&file).unwrap(), b"mine");
}

#[test]
fn damage_is_named_and_a_cut_is_told() {
    let (home, file) = recorded(&[]);
    let bytes = fs::read(&file).unwrap();
    let other = home.path().join("other");
    let (all, _) = turns(&replay(home.path(), &file, &[]));
    // A position in each part of the file, and every byte of a turn.
    let turn = all[20]["offset"].as_u64().unwrap() as usize..all[21]["offset"].as_u64().unwrap() as usize;
    let spread = (0..bytes.len()).step_by(bytes.len() / 20).chain([8, 9, bytes.len() - 1]);
    for position in spread.chain(turn.clone().step_by((turn.len() / 12).max(1))) {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x10;
        fs::write(&other, &damaged).unwrap();
        let ended = replay(home.path(), &other, &["--quiet"]);
        assert_eq!(ended.code, Some(1), "byte {position}: {ended:?}");
        assert!(["recording", "differs"].contains(&ended.last()["kind"].as_str().unwrap()), "{ended:?}");
    }
    for length in (0..bytes.len()).step_by(bytes.len() / 20).chain([bytes.len() - 1]) {
        fs::write(&other, &bytes[..length]).unwrap();
        let ended = replay(home.path(), &other, &["--quiet"]);
        if ended.code == Some(0) {
            assert_agrees(&ended, "cut_off");
        } else {
            assert!(length < all[0]["offset"].as_u64().unwrap() as usize, "{length}: {ended:?}");
            ended.failed_as("recording");
        }
    }
    for (contents, what) in [(&b"no recording"[..], "it is no recording"), (&[], "it is no recording")] {
        fs::write(&other, contents).unwrap();
        let ended = replay(home.path(), &other, &[]);
        ended.failed_as("recording");
        assert!(ended.stdout.contains(what));
    }
    let absent = replay(home.path(), &home.path().join("absent"), &[]);
    assert_eq!(absent.code, Some(1));
    absent.failed_as("recording");
}

#[test]
fn what_was_recorded_before_the_process_was_killed_replays() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(blocks(0..290));
    for name in ["killed.andonrec", "killed.andonrec.gz"] {
        let file = home.path().join(name);
        let mut command = sync(home.path(), node.address, &["--follow", "--record", file.to_str().unwrap()]);
        let mut following = Running::start(&mut command);
        following.wait_for("synced", |_| true);
        following.signal("KILL");
        following.end();
        let ended = replay(home.path(), &file, &[]);
        // As little may have been written as nothing.
        if fs::metadata(&file).unwrap().len() > 2000 {
            assert_agrees(&ended, "cut_off");
        }
    }
    // One that is told to end does so in order.
    let file = home.path().join("ended.andonrec.gz");
    let mut command = sync(home.path(), node.address, &["--follow", "--record", file.to_str().unwrap()]);
    let mut following = Running::start(&mut command);
    following.wait_for("synced", |_| true);
    following.signal("TERM");
    assert_eq!(following.end().code, Some(130));
    assert_agrees(&replay(home.path(), &file, &[]), "complete");
    node.stop();
}

/// With `ANDON_KEEP_RECORDING`, the name of a file, the recording is kept there: that is how the one in
/// `protocol/bitcoin/tests/recordings` was made.
#[test]
fn a_reorganisation_that_was_followed_is_followed_again() {
    let home = tempfile::tempdir().unwrap();
    let node = Node::start(blocks(0..=280));
    let file = home.path().join("reorganisation.andonrec.gz");
    let more = ["--follow", "--birthday", "270", "--record", file.to_str().unwrap()];
    let mut running = Running::start(&mut sync(home.path(), node.address, &more));
    running.wait_for("synced", |object| object["height"] == 280);
    node.command(server::Command::Extend(common::stale_blocks()));
    running.wait_for("synced", |object| object["height"] == 287);
    node.command(server::Command::Reorganise { fork_height: 280, blocks: blocks(281..290) });
    running.wait_for("synced", |object| object["height"] == 289);
    running.signal("TERM");
    assert_eq!(running.end().code, Some(130));
    node.stop();

    let ended = replay(home.path(), &file, &["--break-on", "reorganised"]);
    let stopped = assert_agrees(&ended, "break");
    let whole = replay(home.path(), &file, &[]);
    let came_to = assert_agrees(&whole, "complete");
    assert!(stopped["turns"].as_u64() < came_to["turns"].as_u64());
    let taken_back = whole.stdout.matches("\"event\":\"TakenBack(").count();
    assert!(taken_back > 0, "{whole:?}");
    if let Some(kept) = std::env::var_os("ANDON_KEEP_RECORDING") {
        fs::copy(&file, kept).unwrap();
    }
}

#[test]
fn a_broadcast_is_recorded_too() {
    let (home, _) = recorded(&[]);
    let node = Node::start(blocks(0..290));
    let file = home.path().join("broadcast.andonrec");
    let spending = common::spending::spending().next().unwrap();
    let arguments = ["broadcast", "--json", "--network", "regtest", "--timeout", "2", "--peer"];
    let mut command = andon(home.path(), arguments);
    command.arg(node.address.to_string()).arg("--data-dir").arg(home.path().join("data"));
    command.arg("--record").arg(&file).arg(bitcoin::consensus::encode::serialize_hex(&spending));
    let ended = run(&mut command);
    assert!(ended.stdout.contains("\"broadcasts\""), "{ended:?}");
    let replayed = replay(home.path(), &file, &[]);
    assert_agrees(&replayed, "complete");
    assert!(replayed.stdout.contains("command Broadcast") || replayed.stdout.contains("Broadcast {"));
    node.stop();
}

/// Draws a number at each command, and panics at the third.
struct Fragile {
    rng: Rng,
    commands: u32,
}

impl Machine for Fragile {
    type Command = u64;
    type Event = u64;

    fn handle(&mut self, now: Now, input: Input<'_, u64>, out: &mut Outbox<u64>) {
        if let Input::Command(number) = input {
            self.commands += 1;
            assert!(self.commands < 3, "the third command was {number}");
            out.event(self.rng.u64() ^ number ^ now.unix.as_secs());
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl Recordable for Fragile {
    const NAME: &'static str = "fragile";
    const VERSION: &'static str = "0";

    type Construction = [u8; 32];

    fn build(seed: [u8; 32]) -> Self {
        Self { rng: Rng::new(seed), commands: 0 }
    }

    fn encode_construction(seed: &[u8; 32], out: &mut Vec<u8>) {
        out.extend_from_slice(seed);
    }

    fn decode_construction(bytes: &[u8]) -> Result<[u8; 32], String> {
        bytes.try_into().map_err(|_| "no seed".into())
    }

    fn encode_command(command: &u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&command.to_le_bytes());
    }

    fn decode_command(bytes: &[u8]) -> Result<u64, String> {
        bytes.try_into().map(u64::from_le_bytes).map_err(|_| "no number".into())
    }
}

fn a_panic_is_recorded_under<R: Runtime>() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("panic");
    let (file, monitor) = RecordingFile::create(&path, Compression::Gzip).unwrap();
    let machine = Recorded::<Fragile, _>::new([5; 32], file);
    let (handle, _) =
        R::start(machine, None, |_| Ok::<_, std::convert::Infallible>(MemoryStore::new())).unwrap();
    let mut drawn = Vec::new();
    for number in 0..2 {
        handle.command(number).unwrap();
        drawn.push(handle.recv().unwrap());
    }
    handle.command(2).unwrap();
    assert_eq!(handle.recv(), None);
    let error = handle.join().unwrap_err();
    assert!(matches!(error, DriverError::Panicked(_)), "{error}");
    assert_eq!(monitor.error(), None);

    let recording = Recording::open(RecordingReader::open(&path).unwrap()).unwrap();
    let mut replay = Replay::<Fragile, _>::new(recording).unwrap();
    let mut again = Vec::new();
    loop {
        let turn = replay.next_turn().unwrap().unwrap();
        if !turn.is_whole() {
            let run = || turn.run().verdict();
            let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), "the third command was 2");
            break;
        }
        let outcome = turn.run();
        assert_eq!(outcome.verdict(), Verdict::Agrees);
        for effect in outcome.effects() {
            let andon_kernel::Output::Event(event) = effect else { panic!("{effect:?}") };
            again.push(*event);
        }
    }
    assert!(replay.next_turn().unwrap().is_none());
    assert_eq!((again, replay.end()), (drawn, Some(RecordingEnd::Panicked)));
}

#[test]
fn a_panic_under_any_driver_panics_again_at_the_same_turn() {
    a_panic_is_recorded_under::<andon_mio::Driver>();
    a_panic_is_recorded_under::<andon_smol::Driver>();
    a_panic_is_recorded_under::<andon_tokio::Driver>();
}

#[test]
fn what_recording_costs_is_known() {
    // Time decides nothing here: the figures are for whoever reads them.
    let Ok(rounds) = std::env::var("ANDON_RECORDING_COST").map(|rounds| rounds.parse::<u32>().unwrap())
    else {
        println!("skipped: ANDON_RECORDING_COST is not set");
        return;
    };
    let node = Node::start(blocks(0..290));
    let mut times: [Vec<Duration>; 3] = Default::default();
    for round in 0..rounds {
        for (way, name) in ["", "run.andonrec", "run.andonrec.gz"].into_iter().enumerate() {
            let home = tempfile::tempdir().unwrap();
            let file = home.path().join(name);
            let more = ["--record", file.to_str().unwrap()];
            let synced = run(&mut sync(home.path(), node.address, if way == 0 { &[] } else { &more }));
            assert_eq!(synced.code, Some(0), "{synced:?}");
            if round > 0 {
                times[way].push(Duration::from_secs_f64(synced.last()["seconds"]["total"].as_f64().unwrap()));
            }
        }
    }
    for (times, what) in times.iter_mut().zip(["not recorded", "recorded", "recorded with gzip"]) {
        times.sort();
        println!("{what}: median {:?} of {}", times[times.len() / 2], times.len());
    }
    node.stop();
}
