//! Scenarios in files, in TOML. A key that nobody knows is an error, and so is a scenario that makes no sense.

use std::collections::BTreeSet;
use std::path::Path;

use super::scenario::{Encryption, Given, Scenario, What};
use super::stage::GROUPS;
use crate::chain::{LENGTHS, SCRIPTS};
use crate::experiment::Error;

/// The version of the format.
pub const SCHEMA: u32 = 1;

/// How large a file may be, in bytes.
const LARGEST: u64 = 1 << 20;
/// A year.
const LONGEST: u64 = 365 * 24 * 60 * 60 * 1000;
/// Blocks of one event.
const MOST_BLOCKS: u32 = 1000;
const MOST_EVENTS: usize = 1000;
const MOST_PEERS: usize = 32;

/// Reads one.
///
/// # Errors
/// If it can't be read, or anything in it is not as it should be.
pub fn read(path: &Path) -> Result<Scenario, Error> {
    let size = std::fs::metadata(path).map_err(Error::storage(path))?.len();
    let wrong = |message| Error::File { path: path.to_owned(), place: None, message };
    if size > LARGEST {
        return Err(wrong(format!("it has {size} bytes, and a scenario at most {LARGEST}")));
    }
    parse(path, &std::fs::read_to_string(path).map_err(Error::storage(path))?)
}

/// As [`read`], of a text; the path is for errors.
///
/// # Errors
/// If anything in it is not as it should be.
pub fn parse(path: &Path, text: &str) -> Result<Scenario, Error> {
    let wrong = |place, message| Error::File { path: path.to_owned(), place, message };
    let scenario: Scenario = toml::from_str(text).map_err(|error| {
        let place = error.span().map(|span| {
            let before = &text[..span.start];
            let line = before.matches('\n').count() + 1;
            (line, before.rsplit('\n').next().unwrap_or_default().chars().count() + 1)
        });
        wrong(place, error.message().to_owned())
    })?;
    check(&scenario).map_err(|message| wrong(None, message))?;
    Ok(scenario)
}

/// What a file of a scenario has in it.
///
/// # Panics
/// If its seed is beyond what TOML can write: [`check`] says so.
pub fn write(scenario: &Scenario) -> String {
    toml::to_string(scenario).expect("a sound scenario is plain numbers and names")
}

/// Says what makes no sense in a scenario.
///
/// # Errors
/// If anything does not.
pub fn check(scenario: &Scenario) -> Result<(), String> {
    let Scenario { schema, seed, trunk, age, ends, within, client, links, peers, events } = scenario;
    let say = |holds: bool, message: &dyn Fn() -> String| if holds { Ok(()) } else { Err(message()) };
    say(*schema == SCHEMA, &|| format!("`schema` is {schema}, and this program reads {SCHEMA}"))?;
    say(i64::try_from(*seed).is_ok(), &|| format!("`seed` is at most {}", i64::MAX))?;
    say(LENGTHS.contains(trunk), &|| format!("`trunk` is one of {LENGTHS:?}"))?;
    say(*age <= 1_000_000_000, &|| "`age` is at most 1000000000 seconds".to_owned())?;
    say(*ends <= LONGEST && *within <= LONGEST / 1000, &|| "nothing takes longer than a year".to_owned())?;
    say((1..=100_000).contains(&client.room), &|| "`room` is from 1 to 100000".to_owned())?;
    say(client.discovery <= 64, &|| "`discovery` is at most 64".to_owned())?;
    say(links.loss <= 5000, &|| "at most 5000 of 10000 packets are lost".to_owned())?;
    say(peers.len() <= MOST_PEERS, &|| format!("there are at most {MOST_PEERS} peers"))?;
    let numbers: BTreeSet<u8> = peers.iter().map(|peer| peer.number).collect();
    say(numbers.len() == peers.len(), &|| "two peers have the same number".to_owned())?;
    for peer in peers {
        let number = peer.number;
        say(peer.group < GROUPS, &|| format!("peer {number}: there are groups from 0 to {}", GROUPS - 1))?;
        say(peer.hides.iter().all(|script| *script < SCRIPTS), &|| {
            format!("peer {number}: there are scripts from 0 to {}", SCRIPTS - 1)
        })?;
        say(peer.region < 5, &|| format!("peer {number}: there are regions from 0 to 4"))?;
    }
    let serves = |peer: &super::PeerPart| {
        peer.is_whole()
            && peer.given != Given::No
            && (peer.encrypts || client.encryption != Encryption::Required)
    };
    say(peers.iter().any(serves), &|| {
        "no honest peer with all filters is given that the client can talk to: it can't come to know what is true"
            .to_owned()
    })?;
    say(events.len() <= MOST_EVENTS, &|| format!("there are at most {MOST_EVENTS} events"))?;
    say(events.is_sorted_by_key(|event| event.at), &|| "events are in the order of time".to_owned())?;
    for event in events {
        let at = event.at;
        let (blocks, time) = match &event.what {
            What::Blocks { depth, count, .. } => (depth.saturating_add(*count), 0),
            What::Rival { count, .. } => (*count, 0),
            What::PeerDown { time, .. }
            | What::Unreachable { time, .. }
            | What::Divide { time, .. }
            | What::Slow { time, .. }
            | What::Skew { time, .. }
            | What::NoNames { time }
            | What::SlowDisk { time }
            | What::Stall { time }
            | What::Crash { time, .. }
            | What::Ask { time, .. }
            | What::Pause { time }
            | What::Forget { time, .. } => (0, *time),
            What::Weather { links, time } => {
                say(links.loss <= 5000, &|| "at most 5000 of 10000 packets are lost".to_owned())?;
                (0, *time)
            }
            _ => (0, 0),
        };
        say(blocks <= MOST_BLOCKS, &|| format!("event at {at}: at most {MOST_BLOCKS} blocks"))?;
        say(time <= LONGEST, &|| format!("event at {at}: nothing takes longer than a year"))?;
        if let What::Watch { script, .. } | What::Unwatch { script } = &event.what {
            say(*script < SCRIPTS, &|| {
                format!("event at {at}: there are scripts from 0 to {}", SCRIPTS - 1)
            })?;
        }
    }
    Ok(())
}
