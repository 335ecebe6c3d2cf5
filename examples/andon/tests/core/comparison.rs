//! Asks our server and Bitcoin Core, which serve the same chain, the same, and holds the answers side by side.
//!
//! What is left out of the comparison is what no two nodes have in common: clocks, nonces, names, fee rates.

use std::net::SocketAddr;

use andon_bitcoin::server::{Command, Config};
use andon_bitcoin::wire::{CommandName, GetHeaders, Message, write_frame};
use bitcoin::hashes::Hash;
use bitcoin::hex::DisplayHex;
use bitcoin::{BlockHash, Network};
use serde_json::json;

use crate::bitcoind::{Bitcoind, FILTERS, wait_for};
use crate::common::Node;
use crate::miner::{Lock, Miner};
use crate::raw_peer::{Answer, MAGIC, RawPeer, bytes, version};

/// The newest version of the protocol that both speak. Core's newer ones say 70017 or more; they may add messages only
/// for peers that say so too.
const NEWEST: u32 = 70016;

/// Two nodes with the same chain and the same branch that was left.
pub(crate) struct Pair {
    pub(crate) core: Bitcoind,
    pub(crate) ours: Node,
    /// By height.
    pub(crate) hashes: Vec<BlockHash>,
    /// The branch that was left, from the height after [`FORK`](Pair::FORK).
    pub(crate) stale: Vec<BlockHash>,
}

impl Pair {
    pub(crate) const FORK: u64 = 140;
    pub(crate) const TIP: u64 = 2105;

    pub(crate) fn start() -> Option<Self> {
        let core = Bitcoind::start_with(&[&FILTERS[..], &["-v2transport=0"]].concat())?;
        let watched = Lock::series(12, 10);
        let mut miner = Miner::new(&core);
        miner.history((Self::FORK - core.height()) as u32, &watched);
        miner.history(5, &watched);
        let first = core.hash_at(Self::FORK + 1);
        core.call("invalidateblock", json!([first]));
        // The transactions that are valid again would be mined with the next blocks.
        miner.history(3, &watched);
        let stale = core.blocks_from(Self::FORK + 1);
        assert_eq!(stale.len(), 3);
        core.call("reconsiderblock", json!([first]));
        miner.empty((Self::TIP - core.height()) as u32);
        core.wait_for_filters();

        let blocks = core.blocks_from(0);
        let hashes = blocks.iter().map(|block| block.block_hash()).collect();
        let (common, best) = blocks.split_at(Self::FORK as usize + 1);
        let mut config = Config::new(Network::Regtest, [6; 32]);
        config.encryption = false;
        let ours = Node::start_with(config, [common, &stale].concat());
        ours.command(Command::Reorganise { fork_height: Self::FORK as u32, blocks: best.to_vec() });
        // The version that it answers with tells when it has done so.
        wait_for("our server's tip", || {
            let mut peer = RawPeer::connect(ours.address);
            peer.send(&bytes(&version(70016, true)));
            let answers = peer.read_until(|answer| answer.command == CommandName::new("version"));
            match Message::decode(answers[0].command, &answers[0].payload).unwrap() {
                Message::Version(version) => (version.start_height == Self::TIP as i32).then_some(()),
                other => panic!("{other:?}"),
            }
        });
        let stale = stale.iter().map(|block| block.block_hash()).collect();
        Some(Self { core, ours, hashes, stale })
    }

    pub(crate) fn hash(&self, height: u64) -> BlockHash {
        self.hashes[height as usize]
    }
}

/// What is sent on one connection, step by step, and which steps there are.
struct Case {
    name: String,
    /// Whether a handshake comes before it, and whether that asks for transactions.
    introduction: Option<bool>,
    steps: Vec<Vec<u8>>,
}

#[derive(Default)]
pub(crate) struct Cases(Vec<Case>);

impl Cases {
    pub(crate) fn add(&mut self, name: impl Into<String>, message: Message<'_>) {
        self.steps(name, vec![bytes(&message)]);
    }

    pub(crate) fn raw(&mut self, name: impl Into<String>, command: &str, payload: &[u8]) {
        self.steps(name, vec![frame(command, payload)]);
    }

    pub(crate) fn steps(&mut self, name: impl Into<String>, steps: Vec<Vec<u8>>) {
        self.0.push(Case { name: name.into(), introduction: Some(true), steps });
    }

    pub(crate) fn steps_without_transactions(&mut self, name: impl Into<String>, steps: Vec<Vec<u8>>) {
        self.0.push(Case { name: name.into(), introduction: Some(false), steps });
    }

    pub(crate) fn handshake(&mut self, name: impl Into<String>, steps: Vec<Vec<u8>>) {
        self.0.push(Case { name: name.into(), introduction: None, steps });
    }

    /// Runs each case on both sides; tells of all differences at once.
    #[track_caller]
    pub(crate) fn compare(&self, pair: &Pair) {
        let mut differences = Vec::new();
        let mut closed = 0;
        let last = headers(&[], pair.hash(1));
        for case in &self.0 {
            let core = play(case, pair.core.address, &last);
            let ours = play(case, pair.ours.address, &last);
            closed += usize::from(core.ends_with("closed"));
            if core != ours {
                let sent: Vec<_> = case.steps.iter().map(|step| shortened(step)).collect();
                differences.push(format!(
                    "{}\n  sent: {}\n  Core:\n{core}\n  ours:\n{ours}",
                    case.name,
                    sent.join("\n        ")
                ));
            }
        }
        println!("{} sequences compared; Core ended the connection after {closed} of them", self.0.len());
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n\n"));
    }
}

pub(crate) fn frame(command: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(&mut bytes, MAGIC, CommandName::new(command), |out| out.extend_from_slice(payload));
    bytes
}

fn shortened(bytes: &[u8]) -> String {
    let shown = bytes[..bytes.len().min(200)].to_lower_hex_string();
    if bytes.len() > 200 { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}

/// All that one side says, as text. `last` asks for headers in a way that is always answered.
fn play(case: &Case, address: SocketAddr, last: &[u8]) -> String {
    let mut peer = match case.introduction {
        Some(relay) => RawPeer::introduced(address, relay),
        None => RawPeer::connect(address),
    };
    let mut lines = Vec::new();
    for step in &case.steps {
        peer.send(step);
        if case.introduction.is_some() {
            let answers = peer.answers();
            lines.extend(answers.messages.iter().map(describe));
            lines.push(if answers.closed { "closed".into() } else { "open".into() });
            if answers.closed {
                break;
            }
        }
    }
    if case.introduction.is_none() {
        // Whatever has been said so far, this completes the handshake and asks for headers, which any peer may do.
        peer.send(&[bytes(&version(70016, true)), bytes(&Message::Verack), last.to_vec()].concat());
        let answers = peer.read_until(|answer| answer.command == CommandName::new("headers"));
        lines.extend(answers.iter().filter(|answer| !is_for_ancient_peers(answer)).map(describe));
    }
    lines.join("\n")
}

/// What our server leaves out on purpose. Core warns peers from before 70013 of an old fault, with a fixed message that
/// nobody else can sign, and pings those from before 60001, which can't answer.
fn is_for_ancient_peers(answer: &Answer) -> bool {
    let Answer { command, payload } = answer;
    *command == CommandName::new("alert") || (*command == CommandName::new("ping") && payload.is_empty())
}

/// Everything but what no two nodes have in common.
pub(crate) fn describe(answer: &Answer) -> String {
    let Answer { command, payload } = answer;
    match Message::decode(*command, payload) {
        Ok(Message::Version(version)) => format!(
            "version {} {:?} {} relay {} addresses {}",
            version.protocol.min(NEWEST),
            version.services,
            version.start_height,
            version.relay,
            payload[20..72].to_lower_hex_string()
        ),
        Ok(Message::Ping(_) | Message::FeeFilter(_)) => format!("{command} of {} bytes", payload.len()),
        _ if payload.len() <= 400 => format!("{command} {}", payload.to_lower_hex_string()),
        _ => {
            format!("{command} of {} bytes, {}", payload.len(), bitcoin::hashes::sha256::Hash::hash(payload))
        }
    }
}

pub(crate) fn zero() -> BlockHash {
    BlockHash::all_zeros()
}

pub(crate) fn unknown() -> BlockHash {
    BlockHash::from_byte_array([0x2a; 32])
}

pub(crate) fn headers(locator: &[BlockHash], stop_hash: BlockHash) -> Vec<u8> {
    bytes(&Message::GetHeaders(GetHeaders { locator: locator.into(), stop_hash }))
}
