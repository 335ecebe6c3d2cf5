//! What the runs of one life told, and what must hold of it, run by run.

use std::collections::BTreeSet;

use serde_json::Value;

use super::chain::{Finding, Mined};

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By a kill, or just before it.
    Killed,
    /// With everything checked.
    Complete,
}

/// What stands by what was told so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    told: BTreeSet<Finding>,
    was_synced: bool,
}

/// What one run told, in figures.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// It said nothing at all.
    pub(crate) is_silent: bool,
    pub(crate) is_synced: bool,
    pub(crate) told_again: usize,
    pub(crate) new: usize,
    pub(crate) taken_back: usize,
}

impl History {
    pub(crate) fn was_synced(&self) -> bool {
        self.was_synced
    }

    /// Takes in what a run told, and checks it:
    ///
    /// - no run finds anything to repair, or warns of what is stored;
    /// - within a run nothing is told twice, but after it was taken back, and nothing is taken back that was not told;
    /// - a run that has got beyond what is stored has told all again that stood when the run before was killed, but for
    ///   what is in blocks that were left since.
    pub(crate) fn take(&mut self, output: &[u8], mined: &Mined, how: How) -> Run {
        let mut run = Run { is_silent: output.is_empty(), ..Run::default() };
        let mut stands: BTreeSet<Finding> = BTreeSet::new();
        let mut is_replayed = false;
        // A line that was cut short was not told.
        let whole = output.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = str::from_utf8(&output[..whole]).unwrap();
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            match event["event"].as_str().unwrap() {
                "repaired" | "migrated" | "error" | "failed" => panic!("{line}"),
                "received" | "spent" => {
                    let finding = finding(&event, event["event"].as_str().unwrap());
                    if self.told.contains(&finding) {
                        run.told_again += 1
                    } else {
                        run.new += 1
                    }
                    assert!(stands.insert(finding), "told twice: {line}");
                }
                "taken_back" => {
                    run.taken_back += 1;
                    let finding = finding(&event, event["kind"].as_str().unwrap());
                    assert!(stands.remove(&finding), "taken back and not told: {line}");
                    assert!(mined.was_left(&finding.1), "taken back, and its block is in the chain: {line}");
                    self.told.remove(&finding);
                }
                // What is stored is told before the first peer is dialled.
                "peer_connected" | "checked" | "synced" if !is_replayed => {
                    is_replayed = true;
                    self.assert_told_again(&stands, mined);
                }
                _ => {}
            }
            run.is_synced |= event["event"] == "synced";
        }
        if is_replayed {
            self.told = stands;
        } else {
            // What stands is what was told by either: the replay was cut short.
            self.told.extend(stands);
        }
        self.was_synced |= run.is_synced;
        assert!(how == How::Killed || run.is_synced, "{text}");
        run
    }

    /// At the end it is known what is in the chain, and nothing else.
    pub(crate) fn assert_is(&self, mined: &Mined) {
        let truth = mined.findings();
        let missed: Vec<_> = truth.difference(&self.told).collect();
        let made_up: Vec<_> = self.told.difference(&truth).collect();
        assert!(missed.is_empty() && made_up.is_empty(), "missed {missed:?}, made up {made_up:?}");
    }

    fn assert_told_again(&self, stands: &BTreeSet<Finding>, mined: &Mined) {
        let lost: Vec<_> = self.told.difference(stands).filter(|lost| !mined.was_left(&lost.1)).collect();
        assert!(lost.is_empty(), "told before a kill and not after it: {lost:?}");
    }
}

fn finding(event: &Value, kind: &str) -> Finding {
    let text = |field: &str| event[field].as_str().unwrap().to_owned();
    let index = event[if kind == "spent" { "vin" } else { "vout" }].as_u64().unwrap();
    (kind.into(), text("block"), text("txid"), index)
}
