//! A node that another network leads to, and the program that gets to it through a program for that network. Nothing leads
//! out of where the test runs. Linux only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bitcoin::consensus::encode::serialize_hex;
use serde_json::Value;
use tempfile::TempDir;

use super::daemon::named_by;
use super::namespace::enter;
use super::spending::{assert_spread, spending};
use super::{Ended, Node, Running, andon, assert_found_everything, blocks, watch};

/// A node with the bundled chain in a namespace of its own, and all else that a test there begins with.
pub(crate) struct Behind {
    /// What brings the program into the other network.
    pub(crate) program: PathBuf,
    /// All files are in here.
    pub(crate) home: TempDir,
    pub(crate) node: Node,
}

impl Behind {
    /// Begins the test of this name. `variable` names the program, and the test may take so long. `None`: it is over or skipped.
    pub(crate) fn enter(variable: &str, test: &str, patience: Duration) -> Option<Self> {
        let program = named_by(variable)?;
        let home = enter(test, patience).then(|| tempfile::tempdir().unwrap())?;
        Some(Self { program, home, node: Node::start(blocks(0..290)) })
    }
}

/// `sync` from these peers, with all it keeps in `home`. `way` are the arguments that say who leads there.
pub(crate) fn sync(home: &Path, way: &[&str], peers: &[&str], more: &[&str]) -> Command {
    let mut command = andon(home, ["sync", "--json", "--network", "regtest"]);
    command.args(way).args(peers.iter().flat_map(|peer| ["--peer", peer]));
    command.args(watch()).arg("--data-dir").arg(home.join("data")).args(more);
    command
}

/// Demands that everything came over an encrypted connection to this peer.
#[track_caller]
pub(crate) fn assert_synced_from(ended: &Ended, peer: &str) {
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
    assert_found_everything(&ended.last());
    let objects = ended.objects();
    let connected: Vec<&Value> =
        objects.iter().filter(|object| object["event"] == "peer_connected").collect();
    assert!(!connected.is_empty(), "{ended:?}");
    for connected in connected {
        assert_eq!((&connected["transport"], &connected["peer"]), (&"v2".into(), &peer.into()), "{ended:?}");
    }
}

/// `broadcast` of transactions of their own to this peer, in both ways; `way` are the arguments that say who leads there.
#[track_caller]
#[allow(clippy::disallowed_methods, reason = "it says how long a real network took")]
pub(crate) fn assert_broadcasts_go_to(home: &Path, way: &[&str], peer: &str) {
    let mut transactions = spending();
    for more in [&[][..], &["--private"]] {
        let home = home.join(format!("broadcast{}", more.len()));
        std::fs::create_dir(&home).unwrap();
        let mut command = andon(&home, ["broadcast", "--json", "--network", "regtest", "--timeout", "240"]);
        command.args(way).args(["--peer", peer]).args(more).arg("--data-dir").arg(home.join("data"));
        command.arg(serialize_hex(&transactions.next().unwrap()));
        let begin = Instant::now();
        let ended = Running::start_within(&mut command, Duration::from_secs(250)).end();
        assert_spread(&ended);
        println!("{more:?}: a transaction is seen through {peer} after {:.1?}", begin.elapsed());
    }
}
