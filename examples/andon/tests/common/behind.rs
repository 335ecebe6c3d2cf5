//! A node that another network leads to, and the program that gets to it through a program for that network. Nothing leads
//! out of where the test runs. Linux only.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::daemon::named_by;
use super::namespace::enter;
use super::{Ended, Node, andon, assert_found_everything, blocks, watch};

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
