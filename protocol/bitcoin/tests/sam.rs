//! SAM: what is said to a router of I2P, whatever the pieces, and a name for everything that it may say instead.

use andon_bitcoin::transport::{Incoming, Sam, SamFailure};
use andon_kernel::Rng;

/// The longest answer, in bytes.
const LONGEST: usize = 16 * 1024;

const NAME: &str = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p";

/// Has a bridge say this, in pieces of so many bytes; returns the outcome, what was said to it, and what is left.
fn play(mut sam: Sam, said: &str, piece: usize) -> (Result<bool, SamFailure>, String, usize) {
    let (mut out, mut outcome, mut left) = (Vec::new(), Ok(false), 0);
    for bytes in said.as_bytes().chunks(piece) {
        let mut bytes = bytes.to_vec();
        let mut input = Incoming::new(&mut bytes);
        if outcome == Ok(false) {
            outcome = sam.received(&mut input, &mut out);
        }
        left += input.rest().len();
    }
    (outcome, String::from_utf8(out).expect("it is text"), left)
}

fn session() -> Sam {
    let mut out = Vec::new();
    let sam = Sam::session("abc", &mut out);
    assert_eq!(out, b"HELLO VERSION MIN=3.1 MAX=3.1\n");
    sam
}

fn stream() -> Sam {
    let mut out = Vec::new();
    let sam = Sam::stream("abc", &NAME.to_uppercase(), &mut out).expect("it is a name");
    assert_eq!(out, b"HELLO VERSION MIN=3.1 MAX=3.1\n");
    sam
}

#[test]
fn sessions_and_streams() {
    let destination = "Ab-~".repeat(129);
    for piece in [1, 3, 100_000] {
        let said = "HELLO REPLY RESULT=OK VERSION=3.1\nSESSION STATUS RESULT=OK DESTINATION=secret\n";
        let (outcome, told, left) = play(session(), said, piece);
        let expected = "SESSION CREATE STYLE=STREAM ID=abc DESTINATION=TRANSIENT SIGNATURE_TYPE=7 \
                        i2cp.leaseSetEncType=4,0 inbound.quantity=1 outbound.quantity=1\n";
        assert_eq!((outcome, told.as_str(), left), (Ok(true), expected, 0));

        // The order of words does not matter, nor what else is there; and the other end may speak at once.
        let said = format!(
            "HELLO REPLY VERSION=3.1 RESULT=OK\r\nNAMING REPLY NAME={NAME} MESSAGE=\"VALUE=x RESULT=\\\"y\" \
             RESULT=OK VALUE={destination}\nSTREAM STATUS RESULT=OK\nbytes\nof the other end"
        );
        let (outcome, told, left) = play(stream(), &said, piece);
        let expected = format!(
            "NAMING LOOKUP NAME={NAME}\nSTREAM CONNECT ID=abc DESTINATION={destination} SILENT=false\n"
        );
        assert_eq!((outcome, told, left), (Ok(true), expected, 22));
    }
}

#[test]
fn every_failure_has_a_name() {
    let hello = "HELLO REPLY RESULT=OK VERSION=3.1\n";
    let naming = |rest: &str| format!("{hello}NAMING REPLY {rest}\n");
    let found = naming(&format!("RESULT=OK VALUE={}", "A".repeat(516)));
    let long = format!("HELLO REPLY {}", "x".repeat(LONGEST));
    let sessions = [
        ("", Ok(false)),
        ("HELLO REPLY RESULT=", Ok(false)),
        ("HTTP/1.1 400 Bad Request", Err(SamFailure::NotSam)),
        ("\u{5}\0", Err(SamFailure::NotSam)),
        ("\n", Err(SamFailure::NotSam)),
        ("HELLO REPLY \n", Err(SamFailure::NotSam)),
        ("HELLO REPLY VERSION=3.1\n", Err(SamFailure::NotSam)),
        ("HELLO REPLY RESULT=\"OK\n", Err(SamFailure::Unknown)),
        ("HELLO REPLY RESULT=NOVERSION\n", Err(SamFailure::NoVersion)),
        (&long, Err(SamFailure::TooLong)),
        (&format!("{hello}SESSION STATUS RESULT=DUPLICATED_ID\n"), Err(SamFailure::DuplicatedId)),
        (&format!("{hello}SESSION STATUS RESULT=DUPLICATED_DEST\n"), Err(SamFailure::DuplicatedDestination)),
        (
            &format!("{hello}SESSION STATUS RESULT=I2P_ERROR MESSAGE=\"no RESULT=OK\"\n"),
            Err(SamFailure::Router),
        ),
        (&format!("{hello}STREAM STATUS RESULT=OK\n"), Err(SamFailure::NotSam)),
    ];
    let streams = [
        (naming("RESULT=KEY_NOT_FOUND"), Err(SamFailure::NotFound)),
        (naming("RESULT=INVALID_KEY"), Err(SamFailure::NotFound)),
        (format!("{found}STREAM STATUS RESULT=INVALID_KEY\n"), Err(SamFailure::InvalidKey)),
        (naming("RESULT=OK"), Err(SamFailure::NotSam)),
        (naming("RESULT=OK VALUE=short"), Err(SamFailure::NotSam)),
        // It is said back, and would end a word there.
        (naming(&format!("RESULT=OK VALUE=\"{} ID=x\"", "A".repeat(516))), Err(SamFailure::NotSam)),
        (format!("{found}STREAM STATUS RESULT=CANT_REACH_PEER MESSAGE=x\n"), Err(SamFailure::Unreachable)),
        (format!("{found}STREAM STATUS RESULT=TIMEOUT\n"), Err(SamFailure::Expired)),
        (format!("{found}STREAM STATUS RESULT=INVALID_ID\n"), Err(SamFailure::InvalidId)),
        (format!("{found}STREAM STATUS RESULT=SOMETHING\n"), Err(SamFailure::Unknown)),
        (format!("{found}STREAM STATUS"), Ok(false)),
    ];
    for piece in [1, 7, 100_000] {
        for (said, expected) in sessions {
            assert_eq!(play(session(), said, piece).0, expected, "{said:.80}");
        }
        for (said, expected) in &streams {
            assert_eq!(play(stream(), said, piece).0, *expected, "{said:.80}");
        }
    }
    for name in ["", "node.i2p", "short.b32.i2p", &NAME[1..], "a\n.b32.i2p", &NAME.replace(".b32", "")] {
        assert_eq!(Sam::stream("abc", name, &mut Vec::new()).err(), Some(SamFailure::UnusableName), "{name}");
    }
}

/// Whatever comes, it waits for the end of the line or says what is wrong, and keeps no more than a line.
#[test]
fn anything_may_come() {
    let mut rng = Rng::new([7; 32]);
    let words = [
        "HELLO REPLY ",
        "RESULT=OK",
        "RESULT=",
        "VALUE=",
        "\n",
        " ",
        "\"",
        "\\",
        "NAMING REPLY ",
        "AAAA",
        "\0",
        "é",
    ];
    let mut outcomes = [0; 3];
    for _ in 0..20_000 {
        // As a bridge would begin, half of the time.
        let mut said = if rng.below(2) == 0 { "HELLO REPLY RESULT=OK\n".to_owned() } else { String::new() };
        for _ in 0..rng.below(12) {
            said.push_str(words[rng.below(words.len() as u64) as usize]);
        }
        let piece = 1 + rng.below(8) as usize;
        let (whole, told, _) = play(stream(), &said, usize::MAX);
        let (in_pieces, told_in_pieces, _) = play(stream(), &said, piece);
        assert_eq!((in_pieces, told_in_pieces), (whole, told.clone()), "{said:?}");
        // One line is said for each answer, and never what would be two.
        assert!(told.matches('\n').count() <= said.matches('\n').count(), "{said:?}: {told:?}");
        outcomes[match whole {
            Ok(true) => 0,
            Ok(false) => 1,
            Err(_) => 2,
        }] += 1;
    }
    assert!(outcomes[0] == 0 && outcomes[1] > 1000 && outcomes[2] > 1000, "{outcomes:?}");
    // An end that never comes.
    let (mut sam, mut outcome, mut taken) = (stream(), Ok(false), 0);
    while outcome == Ok(false) {
        let mut bytes = b"HELLO REPLY ".repeat(200);
        let mut input = Incoming::new(&mut bytes);
        outcome = sam.received(&mut input, &mut Vec::new());
        taken += 2400 - input.rest().len();
    }
    assert_eq!((outcome, taken), (Err(SamFailure::TooLong), LONGEST + 1));
}
