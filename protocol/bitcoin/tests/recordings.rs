//! Every recording in the folder `recordings` is run again: no panic, and the client keeps its side of the contract. To make a
//! failure a test, copy its recording there. What the client does may come to differ from what it did when it was recorded, and
//! is printed then; it fails the test where the file's name has `exact` in it.

#![allow(clippy::unwrap_used, reason = "a test fails so")]

use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use andon_bitcoin::client::Client;
use andon_kernel::Checked;
use andon_kernel::recording::{Recording, RecordingEnd, Replay, Verdict};

/// A file's bytes, decompressed if they are compressed.
fn contents(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return bytes;
    }
    let mut plain = Vec::new();
    let read = flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain);
    // What is cut off replays as far as it goes.
    assert!(read.is_ok() || !plain.is_empty(), "{}: {read:?}", path.display());
    plain
}

#[test]
fn every_recording_replays() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = contents(&path);
        let recording = Recording::open(bytes.as_slice()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let version = recording.version().to_owned();
        let mut replay = Replay::wrapped::<Client>(recording, Checked::machine_alone)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        loop {
            let turn = match replay.next_turn() {
                Ok(Some(turn)) => turn,
                Ok(None) => break,
                Err(error) => panic!("{name}: {error}"),
            };
            let (number, now) = (turn.number(), turn.now().instant);
            let is_first = catch_unwind(AssertUnwindSafe(|| turn.run().verdict() == Verdict::Differs))
                .unwrap_or_else(|_| panic!("{name} panics in turn {number}, at {now:?}"));
            assert!(!(is_first && name.contains("exact")), "{name} differs in turn {number}, at {now:?}");
        }
        let replayed = replay.replayed();
        let end = replay.end().unwrap();
        println!("{name} (recorded by version {version}): {replayed:?}, {end:?}");
        assert!(replayed.turns > 0);
        // A panic that was recorded and is none any more: its turn ran above.
        assert!(replayed.unknown == 0 || matches!(end, RecordingEnd::Panicked | RecordingEnd::CutOff));
    }
}
