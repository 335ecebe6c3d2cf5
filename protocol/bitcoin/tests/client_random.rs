//! Random worlds: chains grow and are reorganised, servers lag behind each other and go away, the client is killed and
//! told to watch other scripts, all from one seed. Then the faults stop, and the client must know exactly what is true.
//!
//! In a third of them all is watched from the first block on; in the others scripts and outputs from any block, and no
//! longer, and once more, and spendings are searched for; in half of those scripts are searched for newest first.
//!
//! `ANDON_SEEDS` is how many worlds there are, `ANDON_FIRST_SEED` the first.

#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use andon_bitcoin::client::{
    Birthday, BlockId, Command, Config, Endpoint, Event, FilterCache, Touch, TouchKind, WatchedOutput,
};
use andon_bitcoin::server::{self, Chain, Server};
use andon_kernel::Rng;
use bitcoin::block::Version;
use bitcoin::hashes::Hash;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{Amount, Block, Network, OutPoint, PubkeyHash, ScriptBuf, ScriptHash, Txid};
use world::{World, address};

/// Worlds in which something went wrong once.
const KEPT: [u64; 4] = [1027, 5029, 20_146, 30_025];

/// Scripts that blocks pay; some of them are watched.
const SCRIPTS: u64 = 30;

/// What is done in a world, beside what is done in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Scripts are watched from the first block on.
    Plain,
    /// Any block is one from which to watch, and more is done than to watch scripts.
    Varied,
    /// The same, newest first.
    NewestFirst,
}

/// Where, in which transaction, and which way.
type Finding = (u32, Txid, TouchKind);

/// What the best chain has to do with what is watched.
#[derive(Default)]
struct Truth {
    /// What must be known in the end.
    found: BTreeSet<Finding>,
    /// What is true beside that, below the blocks from which it is watched.
    possible: BTreeSet<Finding>,
    /// What each finding came to.
    amounts: BTreeMap<Finding, Amount>,
}

struct Scene {
    rng: Rng,
    world: World,
    /// The best chain that there is.
    best: Vec<Block>,
    /// What each server has of it, or had.
    served: Vec<Vec<Block>>,
    /// Each from this height on.
    watched: BTreeMap<ScriptBuf, u32>,
    outputs: BTreeMap<OutPoint, (ScriptBuf, u32)>,
    kind: Kind,
    filter_cache: FilterCache,
    maker: Maker,
    restarts: u32,
}

/// Makes blocks.
#[derive(Debug)]
struct Maker {
    blocks: u64,
    /// A coinbase is spent so many blocks after its own, if it is.
    spent_after: usize,
}

/// The bytes that a script of this number has the hash of.
fn key(number: u64) -> PushBytesBuf {
    let mut bytes = [2; 33];
    bytes[25..].copy_from_slice(&number.to_be_bytes());
    bytes.into()
}

/// Scripts whose spendings show what they are, for odd numbers; others show nothing.
fn script(number: u64) -> ScriptBuf {
    match number % 4 {
        1 => ScriptBuf::new_p2sh(&ScriptHash::hash(key(number).as_bytes())),
        3 => ScriptBuf::new_p2pkh(&PubkeyHash::hash(key(number).as_bytes())),
        _ => common::script(number),
    }
}

/// What an input has that spends such a script.
fn signature(spent: &ScriptBuf) -> ScriptBuf {
    let number = (0..SCRIPTS).find(|number| script(*number) == *spent && number % 2 == 1);
    let pushes = Builder::new().push_slice([1; 9]);
    number.map_or(ScriptBuf::new(), |number| pushes.push_slice(key(number)).into_script())
}

fn config(servers: usize, filter_cache: FilterCache, newest_first: bool) -> Config {
    let mut config = Config::new(Network::Regtest, [4; 32]);
    config.discovery = None;
    config.peers = (0..servers).map(|server| Endpoint::Address(address(server))).collect();
    config.retry_delay = Duration::from_millis(300);
    config.filter_cache = filter_cache;
    config.newest_first = newest_first;
    config
}

impl Scene {
    fn new(seed: u64, kind: Kind) -> Self {
        let mut rng = Rng::new([7; 32]).fork_indexed("world", seed);
        let filter_cache = match seed % 3 {
            0 if kind != Kind::Plain => FilterCache::All,
            // A filter here has some ten bytes.
            1 if kind != Kind::Plain => FilterCache::Bytes(3000),
            _ => FilterCache::Off,
        };
        let genesis = bitcoin::constants::genesis_block(Network::Regtest);
        let (spent_after, count) = match kind {
            Kind::NewestFirst => ([10, 170][seed as usize % 2], 700),
            _ => (10, 5),
        };
        let mut maker = Maker { blocks: 0, spent_after };
        let best = maker.branch(&mut rng, &[genesis], count);
        let servers = rng.below(3) as usize + 1;
        let served = vec![best.clone(); servers];
        // The last of several may have an index that got no further.
        let lagging = (servers > 1 && rng.below(3) == 0).then(|| (servers - 1, rng.below(400) as u32));
        let machines = (0..servers).map(|server| {
            let mut config = server::Config::new(Network::Regtest, [server as u8 + 50; 32]);
            config.filter_index_height =
                lagging.filter(|(lagging, _)| *lagging == server).map(|(_, height)| height);
            Server::new(config, Chain::new(best.clone()).expect("it is a chain"))
        });
        let mut world =
            World::new(seed, config(servers, filter_cache, kind == Kind::NewestFirst), machines.collect());
        world.disk_delay =
            [None, Some(Duration::from_millis(5)), Some(Duration::from_millis(300))][rng.below(3) as usize];
        world.piece = [1, 100, 3000, 100_000][rng.below(4) as usize];
        let (watched, outputs) = (BTreeMap::new(), BTreeMap::new());
        let restarts = 0;
        Self { rng, world, best, served, watched, outputs, kind, filter_cache, maker, restarts }
    }

    fn act(&mut self) {
        match self.rng.below(16) {
            0..=3 => self.grow(),
            4 | 5 => self.reorganise(),
            6 | 7 => self.update(),
            8 => {
                let server = self.any_server();
                self.world.cut(server);
            }
            9 => self.restart(),
            10 | 11 if self.kind != Kind::Plain => self.vary(),
            10 | 11 => self.watch(),
            12 => {
                let server = self.any_server();
                if !self.world.down.remove(&server) {
                    self.world.down.insert(server);
                }
            }
            _ => {
                let pause = Duration::from_millis(self.rng.below(2500));
                self.world.run_for(pause);
            }
        }
        let pause = Duration::from_millis(self.rng.below(150));
        self.world.run_for(pause);
    }

    fn any_server(&mut self) -> usize {
        self.rng.below(self.served.len() as u64) as usize
    }

    fn grow(&mut self) {
        let count = [1, 2, 8, 9, 30, 300][self.rng.below(6) as usize];
        self.best = self.maker.branch(&mut self.rng, &self.best, count);
        self.update();
    }

    fn reorganise(&mut self) {
        let depth = (self.rng.below(20) as usize + 1).min(self.best.len() - 1);
        let count = depth as u32 + 1 + self.rng.below(4) as u32;
        let trunk = &self.best[..self.best.len() - depth];
        self.best = self.maker.branch(&mut self.rng, trunk, count);
        self.update();
    }

    /// Some server learns of the best chain.
    fn update(&mut self) {
        let server = self.any_server();
        self.bring_up_to_date(server);
    }

    fn bring_up_to_date(&mut self, server: usize) {
        let served = &self.served[server];
        let common =
            served.iter().zip(&self.best).take_while(|(left, right)| left.header == right.header).count();
        let blocks = self.best[common..].to_vec();
        if !blocks.is_empty() {
            let fork_height = common as u32 - 1;
            self.world.server_command(server, server::Command::Reorganise { fork_height, blocks });
            self.served[server] = self.best.clone();
        }
    }

    fn restart(&mut self) {
        self.restarts += 1;
        // Which way to search is the application's to choose anew.
        let newest_first = self.kind == Kind::NewestFirst && self.rng.below(4) > 0;
        self.world.restart(config(self.served.len(), self.filter_cache, newest_first));
        // As an application would, it says again what it wants.
        let scripts = self.watched.keys().cloned().collect();
        if self.kind == Kind::Plain {
            return self.world.command(Command::WatchOnly { scripts, from: Birthday::Height(0) });
        }
        // What is watched already from below is not touched by this.
        let from = Birthday::Height(self.best.len() as u32);
        self.world.command(Command::WatchOnly { scripts, from });
        for (script, from) in self.watched.clone() {
            let from = Birthday::Height(from);
            self.world.command(Command::Watch { scripts: vec![script], from });
        }
        let coinbases = self.best.iter().map(|block| OutPoint::new(block.txdata[0].compute_txid(), 0));
        let outputs = coinbases.filter(|outpoint| !self.outputs.contains_key(outpoint)).collect();
        self.world.command(Command::Unwatch { scripts: Vec::new(), outputs });
        for (outpoint, (script, from)) in self.outputs.clone() {
            self.watch_output(outpoint, script, from);
        }
    }

    fn watch_output(&mut self, outpoint: OutPoint, script: ScriptBuf, from: u32) {
        let outputs = vec![WatchedOutput { outpoint, script, amount: None }];
        self.world.command(Command::WatchOutputs { outputs, from: Birthday::Height(from) });
    }

    fn any_height(&mut self) -> u32 {
        self.rng.below(self.best.len() as u64 + 3) as u32
    }

    /// Does something about what is watched.
    fn vary(&mut self) {
        let from = self.any_height();
        let number = self.rng.below(SCRIPTS);
        let script = script(number);
        // Scripts of odd numbers are watched as such, of even ones only their outputs: what is told both ways is told twice.
        let is_script = number % 2 == 1;
        match self.rng.below(8) {
            0..=2 if is_script => {
                let since = self.watched.entry(script.clone()).or_insert(from);
                *since = from.min(*since);
                let from = Birthday::Height(from);
                self.world.command(Command::Watch { scripts: vec![script], from });
            }
            0..=2 => {
                let paid = |block: &&Block| block.txdata[0].output[0].script_pubkey == script;
                let Some(block) = self.best.iter().rev().find(paid) else { return };
                let outpoint = OutPoint::new(block.txdata[0].compute_txid(), 0);
                let (_, since) = self.outputs.entry(outpoint).or_insert((script.clone(), from));
                *since = from.min(*since);
                self.watch_output(outpoint, script, from);
            }
            3 => {
                self.watched.remove(&script);
                let outputs: Vec<OutPoint> = self.outputs.keys().take(2).copied().collect();
                self.outputs.retain(|outpoint, _| !outputs.contains(outpoint));
                self.world.command(Command::Unwatch { scripts: vec![script], outputs });
            }
            4 => self.world.command(Command::Rescan { from: Birthday::Height(from) }),
            _ => {
                self.find_spend(from);
            }
        }
    }

    /// Searches for what spends the coinbase of a block, if there is one at a height, from that on.
    fn find_spend(&mut self, height: u32) -> Option<OutPoint> {
        let coinbase = &self.best.get(height as usize)?.txdata[0];
        let outpoint = OutPoint::new(coinbase.compute_txid(), 0);
        let (script, from) = (coinbase.output[0].script_pubkey.clone(), Birthday::Height(height));
        self.world.command(Command::FindSpend { outpoint, script, from });
        Some(outpoint)
    }

    /// Each search for a spending is answered, and truly.
    fn search_for_spends(&mut self) {
        for height in [self.any_height(), self.any_height(), self.any_height()] {
            let before = self.world.client.events.len();
            let Some(outpoint) = self.find_spend(height) else { continue };
            self.world.run_for(Duration::from_secs(30));
            let answers = self.world.client.events[before..].iter().filter_map(|event| match event {
                Event::SpendSearched { outpoint: answered, spend, checked } if *answered == outpoint => {
                    Some((spend, *checked))
                }
                _ => None,
            });
            let answers: Vec<_> = answers.collect();
            let [(spend, checked)] = answers.as_slice() else { panic!("{outpoint}: {answers:?}") };
            let spends = (0..).zip(&self.best).find_map(|(height, block)| {
                let spending = block.txdata.iter().find_map(|transaction| {
                    let input =
                        transaction.input.iter().position(|input| input.previous_output == outpoint)?;
                    Some((input as u32, transaction.clone()))
                });
                spending.map(|(input, transaction)| (height, block.block_hash(), input, transaction))
            });
            match (spend, spends) {
                (None, None) => {
                    let height = self.best.len() as u32 - 1;
                    assert_eq!(*checked, BlockId { height, hash: self.best[height as usize].block_hash() });
                }
                (Some(found), Some((height, hash, input, transaction))) => {
                    assert_eq!((found.block, *checked), (BlockId { height, hash }, BlockId { height, hash }));
                    assert_eq!((found.input, &found.transaction), (input, &transaction));
                }
                (found, spends) => panic!("{outpoint}: found {found:?}, and there is {spends:?}"),
            }
        }
    }

    fn watch(&mut self) {
        // Where outputs are watched those have even numbers.
        let numbers = (0..=self.rng.below(3)).map(|_| self.rng.below(SCRIPTS));
        let scripts: Vec<ScriptBuf> =
            numbers.map(|number| script(number | u64::from(self.kind != Kind::Plain))).collect();
        if self.rng.below(4) == 0 {
            self.watched = scripts.iter().map(|script| (script.clone(), 0)).collect();
            self.world.command(Command::WatchOnly { scripts, from: Birthday::Height(0) });
        } else {
            self.watched.extend(scripts.iter().map(|script| (script.clone(), 0)));
            self.world.command(Command::Watch { scripts, from: Birthday::Height(0) });
        }
    }

    /// The faults stop, and everything must come to rest in the right place.
    fn settle(&mut self) {
        self.world.down.clear();
        if self.watched.is_empty() {
            self.watch();
        }
        for server in 0..self.served.len() {
            self.bring_up_to_date(server);
        }
        let tip = self.best.last().expect("a chain is not empty").block_hash();
        self.world.run_until("the last sync", |world| {
            world.client.events.iter().rev().find_map(|event| match event {
                Event::Synced(block) => Some(block.hash == tip),
                Event::Rescan { .. } | Event::Reorganised { .. } => Some(false),
                _ => None,
            }) == Some(true)
        });
        self.world.run_for(Duration::from_secs(200));
        let truth = self.truth();
        let view = view(&self.world.client.events, &truth);
        let missed: Vec<_> = truth.found.difference(&view).collect();
        let wrong: Vec<_> = view.difference(&truth.found).collect();
        assert!(missed.is_empty(), "missed: {missed:?}");
        assert!(wrong.iter().all(|finding| truth.possible.contains(finding)), "wrong: {wrong:?}");
        if self.kind != Kind::Plain {
            self.search_for_spends();
        }
        for event in &self.world.client.events {
            if let Event::PeerDisconnected { reason, .. } = event {
                assert!(
                    !matches!(reason, andon_bitcoin::client::Reason::Misbehaved(_)),
                    "{reason} of an honest peer"
                );
            }
        }
    }

    /// What the best chain has to do with what is watched.
    fn truth(&self) -> Truth {
        let mut received = BTreeMap::new();
        let mut truth = Truth::default();
        for (height, block) in (0..).zip(&self.best) {
            for transaction in &block.txdata {
                let txid = transaction.compute_txid();
                for (input, spent) in (0..).zip(&transaction.input) {
                    let outpoint = spent.previous_output;
                    let finding = (height, txid, TouchKind::Spent { input, outpoint });
                    if let Some((amount, is_found)) = received.remove(&outpoint) {
                        truth.add(finding, is_found, Some(amount));
                    }
                    if let Some((_, from)) = self.outputs.get(&outpoint) {
                        truth.add(finding, *from <= height, None);
                    }
                }
                for (output, paid) in (0..).zip(&transaction.output) {
                    if let Some(from) = self.watched.get(&paid.script_pubkey) {
                        let is_found = *from <= height;
                        received.insert(OutPoint { txid, vout: output }, (paid.value, is_found));
                        truth.add((height, txid, TouchKind::Received { output }), is_found, Some(paid.value));
                    }
                }
            }
        }
        truth
    }
}

impl Truth {
    fn add(&mut self, finding: Finding, is_found: bool, amount: Option<Amount>) {
        if is_found {
            self.found.insert(finding);
        }
        self.possible.insert(finding);
        self.amounts.extend(amount.map(|amount| (finding, amount)));
    }
}

/// What an application that believes every event holds at the end. Nothing is told twice, nothing taken back that had
/// not been told.
fn view(events: &[Event], truth: &Truth) -> BTreeSet<Finding> {
    let mut view: BTreeMap<Finding, Option<Amount>> = BTreeMap::new();
    let key = |touch: &Touch| (touch.block.height, touch.txid, touch.kind);
    for event in events {
        match event {
            Event::Started { .. } => view.clear(),
            Event::Touched(touch) => {
                assert!(view.insert(key(touch), touch.amount).is_none(), "told twice: {touch:?}");
            }
            Event::TakenBack(touch) => {
                assert_eq!(view.remove(&key(touch)), Some(touch.amount), "never told: {touch:?}");
            }
            _ => {}
        }
    }
    for (finding, amount) in &view {
        assert_eq!(truth.amounts.get(finding), amount.as_ref(), "{finding:?}");
    }
    view.into_keys().collect()
}

impl Maker {
    /// `trunk` with `count` blocks after it. Each pays some script, and some spend what an earlier one paid.
    fn branch(&mut self, rng: &mut Rng, trunk: &[Block], count: u32) -> Vec<Block> {
        let mut chain = trunk.to_vec();
        for _ in 0..count {
            self.blocks += 1;
            let parent = chain.last().expect("a chain is not empty").header;
            let mut transactions = vec![common::coinbase(self.blocks, script(rng.below(SCRIPTS)))];
            // The coinbase of a block that nothing has spent from yet: each is spent so many blocks after it, if at all.
            let earlier = chain.len().checked_sub(self.spent_after);
            if let Some(earlier) = earlier.filter(|&height| height > 0 && rng.below(2) == 0) {
                let coinbase = &chain[earlier].txdata[0];
                let outpoint = OutPoint { txid: coinbase.compute_txid(), vout: 0 };
                let mut spend = common::spend(outpoint, script(rng.below(SCRIPTS)));
                spend.input[0].script_sig = signature(&coinbase.output[0].script_pubkey);
                transactions.push(spend);
            }
            let mut block = common::block(parent.block_hash(), parent.time + 60, transactions);
            block.header.version = Version::from_consensus(0x2000_0000);
            while block.header.validate_pow(block.header.target()).is_err() {
                block.header.nonce += 1;
            }
            chain.push(block);
        }
        chain
    }
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

fn try_worlds(kind: Kind, kept: &[u64]) {
    let first = number("ANDON_FIRST_SEED", 0);
    let (mut restarts, mut findings) = (0, 0);
    let seeds = first..first + number("ANDON_SEEDS", 20);
    for seed in seeds.chain(if first == 0 { kept } else { &[] }.iter().copied()) {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut scene = Scene::new(seed, kind);
            for _ in 0..40 {
                scene.act();
            }
            scene.settle();
            (scene.restarts, scene.truth().found.len())
        }));
        match run {
            Ok((killed, found)) => {
                restarts += killed;
                findings += found;
            }
            Err(_) => panic!("run it again by ANDON_FIRST_SEED={seed} ANDON_SEEDS=1"),
        }
    }
    println!("{restarts} restarts, {findings} findings");
    assert!(findings > 0);
}

#[test]
fn what_is_true_is_known_in_the_end() {
    try_worlds(Kind::Plain, &KEPT);
}

#[test]
fn what_is_watched_from_any_block_is_known_in_the_end() {
    try_worlds(Kind::Varied, &[]);
}

#[test]
fn what_is_searched_for_newest_first_is_known_in_the_end() {
    try_worlds(Kind::NewestFirst, &[]);
}
