//! Our program as a person runs it: a directory that lasts from run to run, and a file with the watched scripts.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::bitcoind::Bitcoind;
use crate::common::{Ended, Running, andon, run};
use crate::follower::Follower;
use crate::miner::Lock;

/// A user's home.
#[derive(Debug)]
pub(crate) struct Ours {
    home: TempDir,
}

impl Ours {
    /// With an empty data directory.
    pub(crate) fn new(watched: &[Lock]) -> Self {
        let home = tempfile::Builder::new().prefix("andon-core-home-").tempdir().unwrap();
        let ours = Self { home };
        ours.watch(watched);
        ours
    }

    /// Where it is.
    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// Watches these from the next run on, and nothing else.
    pub(crate) fn watch(&self, watched: &[Lock]) {
        let lines: String = watched.iter().map(|lock| lock.script.to_hex_string() + "\n").collect();
        fs::write(self.home.path().join("scripts"), lines).unwrap();
    }

    /// `sync` from a peer.
    pub(crate) fn command(&self, network: &str, peer: SocketAddr, more: &[&str]) -> Command {
        let peer = peer.to_string();
        let mut command = andon(self.home.path(), ["sync", "--json", "--network", network, "--peer", &peer]);
        command.arg("--scripts").arg(self.home.path().join("scripts"));
        command.arg("--data-dir").arg(self.home.path().join("data")).args(more);
        command
    }

    /// Runs `sync` to its end.
    pub(crate) fn run(&self, node: &Bitcoind) -> Ended {
        run(&mut self.command("regtest", node.address, &[]))
    }

    /// Runs `sync` to its end, which must be a good one; gives all that it printed.
    #[track_caller]
    pub(crate) fn succeed(&self, node: &Bitcoind) -> Vec<Value> {
        let ended = self.run(node);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{}", ended.stdout);
        ended.objects()
    }

    /// Starts `sync` that goes on at the tip.
    pub(crate) fn follow(&self, node: &Bitcoind) -> Running {
        Running::start(&mut self.command("regtest", node.address, &["--follow"]))
    }

    /// The same with several nodes as peers and with more arguments, for as long as the test likes.
    pub(crate) fn follower_with(&self, nodes: &[&Bitcoind], more: &[&str]) -> Follower {
        let addresses: Vec<String> = nodes.iter().map(|node| node.address.to_string()).collect();
        let others = addresses[1..].iter().flat_map(|address| ["--peer", address]);
        let more: Vec<&str> = ["--follow"].into_iter().chain(others).chain(more.iter().copied()).collect();
        let errors = File::options().create(true).append(true).open(self.home.path().join("stderr")).unwrap();
        Follower::start(&mut self.command("regtest", nodes[0].address, &more), errors)
    }

    /// The same without more.
    pub(crate) fn follower(&self, nodes: &[&Bitcoind]) -> Follower {
        self.follower_with(nodes, &[])
    }
}

/// Waits until the program has checked everything up to this block.
#[track_caller]
pub(crate) fn wait_until_synced(running: &mut Running, hash: &str) {
    running.wait_for("synced", |object| object["block"] == hash);
}

/// Ends a program that follows; gives all that it printed.
#[track_caller]
pub(crate) fn interrupt(running: Running) -> Vec<Value> {
    running.signal("INT");
    let ended = running.end();
    assert_eq!(ended.code, Some(130), "{ended:?}");
    ended.objects()
}
