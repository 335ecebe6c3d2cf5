//! A Bitcoin Core node of our own, on regtest and on loopback alone. It is killed when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Block, BlockHash};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::rpc::{Rpc, RpcError};

/// Nothing takes as long as this, unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Between looks whether something has happened.
pub(crate) const POLL: Duration = Duration::from_millis(5);

/// The arguments of a node that serves filters.
pub(crate) const FILTERS: [&str; 2] = ["-blockfilterindex=1", "-peerblockfilters=1"];

/// A node at work.
#[derive(Debug)]
pub(crate) struct Bitcoind {
    executable: PathBuf,
    directory: TempDir,
    arguments: Vec<String>,
    rpc: Rpc,
    /// Where it takes connections of peers.
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Bitcoind {
    /// A node with an empty chain that serves filters; `None`, and a word about it, where there is no Bitcoin Core.
    pub(crate) fn start() -> Option<Self> {
        Self::start_with(&FILTERS)
    }

    /// The same with these arguments in the place of those for filters.
    pub(crate) fn start_with(arguments: &[&str]) -> Option<Self> {
        let Some(executable) = std::env::var_os("BITCOIND_EXE") else {
            println!("skipped: BITCOIND_EXE is not set");
            return None;
        };
        // The free ports that are drawn may be taken by others before the node has them.
        for _ in 0..5 {
            if let Some(node) = Self::try_start(executable.clone().into(), arguments) {
                return Some(node);
            }
        }
        panic!("{} does not start", executable.display());
    }

    fn try_start(executable: PathBuf, arguments: &[&str]) -> Option<Self> {
        let directory = tempfile::Builder::new().prefix("andon-core-").tempdir().unwrap();
        let (address, rpc) = (free_address(), free_address());
        let mut all: Vec<String> = [
            "-regtest",
            "-listen=1",
            "-dnsseed=0",
            "-fixedseeds=0",
            "-discover=0",
            "-natpmp=0",
            "-listenonion=0",
            "-server=1",
            "-printtoconsole=0",
            "-persistmempool=0",
            "-par=1",
            // Its own checks of all that it knows, after each block, take longer the longer its chain is.
            "-checkblockindex=0",
            "-checkmempool=0",
        ]
        .map(str::to_owned)
        .into();
        all.push(format!("-datadir={}", directory.path().display()));
        all.push(format!("-bind={address}"));
        all.push(format!("-rpcport={}", rpc.port()));
        all.extend(arguments.iter().map(|&argument| argument.to_owned()));
        if !all.iter().any(|argument| argument.starts_with("-connect=")) {
            all.push("-connect=0".into());
        }
        let mut child = spawn(&executable, &all, &directory);
        let rpc = wait_until_up(&mut child, &directory, rpc)?;
        Some(Self { executable, directory, arguments: all, rpc, address, child })
    }

    /// What it has logged, of which much depends on its arguments.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("regtest/debug.log")).unwrap()
    }

    /// Ends the node in order.
    pub(crate) fn stop(&mut self) {
        self.call("stop", json!([]));
        wait_for("the node's end", || self.child.try_wait().unwrap());
    }

    /// Starts the node again, after [`stop`](Self::stop), at the same address.
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.executable, &self.arguments, &self.directory);
        let address = self.rpc.address();
        self.rpc = wait_until_up(&mut self.child, &self.directory, address).expect("the node starts again");
    }

    /// Calls a method that must succeed.
    #[track_caller]
    pub(crate) fn call(&self, method: &str, parameters: Value) -> Value {
        self.rpc.call(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Calls a method that must succeed once for each of these parameters, in few requests.
    #[track_caller]
    pub(crate) fn call_each(&self, method: &str, parameters: &[Value]) -> Vec<Value> {
        /// Answers of this many calls fit into memory, whatever they are.
        const AT_ONCE: usize = 200;
        let answers = parameters.chunks(AT_ONCE).flat_map(|parameters| {
            self.rpc.batch(method, parameters).unwrap_or_else(|error| panic!("{method}: {error}"))
        });
        answers.collect()
    }

    /// Blocks before the tip.
    pub(crate) fn height(&self) -> u64 {
        self.call("getblockcount", json!([])).as_u64().unwrap()
    }

    /// The hash of the tip.
    pub(crate) fn tip(&self) -> String {
        self.call("getbestblockhash", json!([])).as_str().unwrap().to_owned()
    }

    /// The hash of a block of the best chain.
    pub(crate) fn hash_at(&self, height: u64) -> String {
        self.call("getblockhash", json!([height])).as_str().unwrap().to_owned()
    }

    /// The hashes of the best chain, from the first block on.
    pub(crate) fn hashes(&self) -> Vec<String> {
        let heights: Vec<Value> = (0..=self.height()).map(|height| json!([height])).collect();
        let hashes = self.call_each("getblockhash", &heights);
        hashes.iter().map(|hash| hash.as_str().unwrap().to_owned()).collect()
    }

    /// A block that the node has.
    pub(crate) fn block(&self, hash: &str) -> Block {
        deserialize_hex(self.call("getblock", json!([hash, 0])).as_str().unwrap()).unwrap()
    }

    /// The blocks of the best chain from a height on.
    pub(crate) fn blocks_from(&self, height: u64) -> Vec<Block> {
        (height..=self.height()).map(|height| self.block(&self.hash_at(height))).collect()
    }

    /// Gives the node a block. It need not become part of the best chain.
    pub(crate) fn submit(&self, block: &Block) {
        let answer = self.call("submitblock", json!([serialize_hex(block)]));
        assert!(answer.is_null() || answer == "inconclusive", "{answer}");
    }

    /// Gives the node the blocks of another one's best chain, up to a height.
    pub(crate) fn take_from(&self, other: &Self, height: u64) {
        let hashes: Vec<Value> =
            other.hashes()[1..=height as usize].iter().map(|hash| json!([hash, 0])).collect();
        let blocks: Vec<Value> =
            other.call_each("getblock", &hashes).into_iter().map(|block| json!([block])).collect();
        let answers = self.call_each("submitblock", &blocks);
        let known = |answer: &Value| answer.is_null() || answer == "duplicate" || answer == "inconclusive";
        assert!(answers.iter().all(known), "{answers:?}");
    }

    /// Connects the node to another one: each takes what the other has, if that has more work.
    pub(crate) fn connect(&self, other: &Self) {
        self.call("addnode", json!([other.address.to_string(), "onetry"]));
    }

    /// Waits until the node has this tip.
    #[track_caller]
    pub(crate) fn wait_for_tip(&self, hash: BlockHash) {
        let hash = hash.to_string();
        wait_for("a tip of the node", || (self.tip() == hash).then_some(()));
    }

    /// Waits until every peer has answered what the node had to say up to now, and the node has answered that in turn.
    ///
    /// Peers answer in order, so an answered ping says that what was sent before it has been read. What the node says of
    /// its chain goes out behind the ping of the same moment; what a peer asks for in return is sent before the next one.
    #[track_caller]
    pub(crate) fn wait_until_answered(&self) {
        self.call("syncwithvalidationinterfacequeue", json!([]));
        for _ in 0..4 {
            let before = self.pongs();
            self.call("ping", json!([]));
            wait_for("an answer to a ping", || {
                let now = self.pongs();
                before.iter().zip(&now).all(|(before, now)| now > before).then_some(())
            });
        }
    }

    /// How many bytes of answers to pings each peer has sent.
    fn pongs(&self) -> Vec<u64> {
        let peers = self.call("getpeerinfo", json!([]));
        let peers = peers.as_array().unwrap().iter();
        peers.map(|peer| peer["bytesrecv_per_msg"]["pong"].as_u64().unwrap_or(0)).collect()
    }

    /// Waits until there is a filter for the tip: the index follows the chain in a thread of its own.
    #[track_caller]
    pub(crate) fn wait_for_filters(&self) {
        wait_for("filters up to the tip", || {
            let index = self.call("getindexinfo", json!(["basic block filter index"]));
            let index = &index["basic block filter index"];
            let done = index["synced"] == true && index["best_block_height"].as_u64() == Some(self.height());
            done.then_some(())
        });
    }
}

impl Drop for Bitcoind {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks until there is something.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let looks = PATIENCE.as_millis() / POLL.as_millis();
    for _ in 0..looks {
        if let Some(found) = look() {
            return found;
        }
        thread::sleep(POLL);
    }
    panic!("waited in vain for {what}");
}

fn spawn(executable: &PathBuf, arguments: &[String], directory: &TempDir) -> Child {
    let log = File::options().create(true).append(true).open(directory.path().join("stderr")).unwrap();
    let mut command = Command::new(executable);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().unwrap_or_else(|error| panic!("{}: {error}", executable.display()))
}

/// `None`: it ended.
fn wait_until_up(child: &mut Child, directory: &TempDir, address: SocketAddr) -> Option<Rpc> {
    wait_for("the node's start", || {
        if child.try_wait().unwrap().is_some() {
            let errors = fs::read_to_string(directory.path().join("stderr")).unwrap_or_default();
            println!("the node ended at once: {errors}");
            return Some(None);
        }
        let cookie = fs::read_to_string(directory.path().join("regtest/.cookie")).ok()?;
        let rpc = Rpc::new(address, &cookie);
        match rpc.call("getblockcount", json!([])) {
            Ok(_) => Some(Some(rpc)),
            // It is not listening yet, still warming up, or the cookie is one of the time before.
            Err(RpcError::Connection(_) | RpcError::Refused(-28, _)) => None,
            Err(error) => panic!("the node refuses to be called: {error}"),
        }
    })
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
