//! `demo`: a node that serves a small real chain, and a client that syncs it over a real socket, on this machine alone.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use andon_bitcoin::client::{self, BlockId, Endpoint};
use andon_bitcoin::fixture::{self, Fixture};
use andon_bitcoin::server::{self, Chain, Server};
use andon_driver::{Handle, Received};
use andon_kernel::MemoryStore;
use andon_store::OpenError;
use bitcoin::{Block, Network, OutPoint};
use serde_json::json;

use crate::End;
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::output::Output;
use crate::recording::Recording;
use crate::runtime::{Runtime, StartError};
use crate::session::{Session, Turn};
use crate::units::{amount, counted};
use crate::watch::Watch;
use crate::{store, system};

/// The node begins with the blocks up to this height; the rest comes while the client is connected.
const FIRST_TIP: u32 = 275;
/// Between steps, where a person reads along.
const PAUSE: Duration = Duration::from_millis(250);
/// In the place of the node's data directory.
const MEMORY: &str = "the node's memory";
/// No step takes as long as this, even on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demonstration and checks what it found.
///
/// # Errors
/// If anything fails, or if what was found is not what is there.
pub(crate) fn run<R: Runtime>(output: &mut Output, interrupt: &Interrupt) -> Result<End, Error> {
    let fixture = fixture::regtest();
    let directory = tempfile::Builder::new().prefix("andon-demo-").tempdir().map_err(|error| {
        Error::new("data_dir", format!("no temporary directory can be made: {error}"))
            .help("name one that can be written by the environment variable TMPDIR")
    })?;
    let node = Node::start::<R>(&fixture, interrupt)?;
    output.headline("Andon demo: a light client, a node and a real socket between them");
    output.say(&format!(
        "A node on {} serves {} of a regtest chain\nthat Bitcoin Core {} made.",
        node.address,
        counted(FIRST_TIP + 1, "block"),
        core_version(fixture.made_by)
    ));
    output.say(&format!(
        "A client with an empty data directory watches {} and asks it.\n",
        counted(fixture.watch_scripts.len() as u64, "script")
    ));
    step(output, "first_sync");

    let mut config = client::Config::new(Network::Regtest, system::seed()?);
    config.discovery = None;
    config.peers = vec![Endpoint::Address(node.address)];
    let watch = Watch::of_scripts(fixture.watch_scripts.iter().map(|&script| script.to_owned()));
    let birthday = client::Birthday::Height(0);
    let mut session = Session::start::<R>(
        config,
        watch,
        birthday,
        directory.path(),
        &Recording::none(),
        output,
        interrupt,
    )?;
    let played = play(&mut session, &node, &fixture, interrupt);
    // In any case: nothing may be at work in the directory when it is removed.
    let ended = session.end().and(node.end());
    // Where the client ended by itself, its end says why.
    let end = ended.and(played)?;
    session.print_summary();
    let judged = if end == End::Done { judge(&mut session, &fixture) } else { Ok(()) };
    let path = directory.path().display().to_string();
    directory.close().map_err(|error| {
        Error::new("data_dir", format!("the temporary directory {path} can't be removed: {error}"))
            .help("remove it by hand")
    })?;
    judged.map(|()| end)
}

/// Everything between the first connection and the last block.
fn play(
    session: &mut Session<'_>,
    node: &Node,
    fixture: &Fixture,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let pause = if session.output().is_watched() { PAUSE } else { Duration::ZERO };
    let go_to = |session: &mut Session<'_>, height, block: &Block| {
        let id = BlockId { height, hash: block.block_hash() };
        reach(session, node, id, interrupt).and_then(|there| {
            rest(session, pause)?;
            Ok(there && !interrupt.is_requested())
        })
    };
    let fork = fixture.fork_height;
    let block = |height: u32| fixture.chain[height as usize].block();
    let real_tip = fixture.chain.len() as u32 - 1;

    if !go_to(session, FIRST_TIP, &block(FIRST_TIP))? {
        return Ok(End::Interrupted);
    }
    let found = counted(session.findings().received().len() as u64, "payment");
    let sum = amount(session.findings().received_sats());
    session.output().headline(&format!("\n{found} found in the first {} blocks: {sum}.", FIRST_TIP + 1));
    step(session.output(), "new_blocks");
    session.output().say("The client stays connected. The node gets new blocks, one by one:");
    let first_branch = (FIRST_TIP + 1..=fork).map(|height| (height, block(height)));
    let stale = fixture.stale.iter().map(|stale| (stale.height, stale.block()));
    for (height, block) in first_branch.chain(stale) {
        node.command(server::Command::Extend(vec![block.clone()]))?;
        if !go_to(session, height, &block)? {
            return Ok(End::Interrupted);
        }
    }
    step(session.output(), "reorganisation");
    session.output().headline(&format!(
        "\nA branch with more work appears: {} in the place of the last {}.",
        counted(real_tip - fork, "block"),
        fixture.stale.len()
    ));
    let branch: Vec<Block> = (fork + 1..=real_tip).map(block).collect();
    node.command(server::Command::Reorganise { fork_height: fork, blocks: branch })?;
    let there = go_to(session, real_tip, &block(real_tip))?;
    Ok(if there { End::Done } else { End::Interrupted })
}

/// Waits until everything up to a block has been checked. `false`: interrupted.
fn reach(
    session: &mut Session<'_>,
    node: &Node,
    block: BlockId,
    interrupt: &Interrupt,
) -> Result<bool, Error> {
    let deadline = system::now() + PATIENCE;
    while session.synced() != Some(block) {
        if interrupt.is_requested() {
            return Ok(false);
        }
        node.check()?;
        if session.peers().all_failed() {
            return Err(session.peers().error());
        }
        let left = deadline.saturating_duration_since(system::now());
        if left.is_zero() {
            return Err(Error::new(
                "demo",
                format!(
                    "the client did not get to block {} within {} seconds",
                    block.height,
                    PATIENCE.as_secs()
                ),
            ));
        }
        if session.turn(left)? == Turn::Ended && !interrupt.is_requested() {
            return Err(Error::new("fault", "the client has ended before its work was done"));
        }
    }
    Ok(true)
}

/// Lets a person read; the client works on.
fn rest(session: &mut Session<'_>, pause: Duration) -> Result<(), Error> {
    let until = system::now() + pause;
    while let Some(left) = until.checked_duration_since(system::now()).filter(|left| !left.is_zero()) {
        if session.turn(left)? == Turn::Ended {
            break;
        }
    }
    Ok(())
}

/// Compares what was found with what is in the chain.
fn judge(session: &mut Session<'_>, fixture: &Fixture) -> Result<(), Error> {
    let findings = session.findings();
    let mut found: Vec<_> = findings
        .received()
        .map(|touch| {
            let andon_bitcoin::client::TouchKind::Received { output } = touch.kind else {
                unreachable!("what was received is kept apart from what was spent")
            };
            let outpoint = OutPoint::new(touch.txid, output);
            (touch.block.height, touch.block.hash, outpoint, touch.script.as_script(), touch.amount)
        })
        .collect();
    let mut expected: Vec<_> = fixture
        .expected
        .iter()
        .map(|output| {
            let hash = fixture.chain[output.height as usize].hash();
            (output.height, hash, output.outpoint, output.script, Some(output.amount))
        })
        .collect();
    found.sort_unstable();
    expected.sort_unstable();
    let missed = expected.iter().filter(|output| found.binary_search(output).is_err()).count();
    let wrong = found.iter().filter(|output| expected.binary_search(output).is_err()).count();
    let spent: std::collections::BTreeSet<OutPoint> =
        expected.iter().map(|&(_, _, outpoint, _, _)| outpoint).collect();
    let mut spendings: Vec<_> = fixture
        .chain
        .iter()
        .flat_map(|block| block.block().txdata)
        .flat_map(|transaction| {
            let txid = transaction.compute_txid();
            transaction.input.into_iter().map(move |input| (txid, input.previous_output))
        })
        .filter(|(_, outpoint)| spent.contains(outpoint))
        .collect();
    let mut seen: Vec<_> = findings
        .spent()
        .filter_map(|touch| match touch.kind {
            andon_bitcoin::client::TouchKind::Spent { outpoint, .. } => Some((touch.txid, outpoint)),
            andon_bitcoin::client::TouchKind::Received { .. } => None,
        })
        .collect();
    spendings.sort_unstable();
    seen.sort_unstable();
    if missed > 0 || wrong > 0 || seen != spendings {
        return Err(Error::new(
            "demo",
            format!("the client missed {missed} payments, found {wrong} that are not there, and {} spendings of {}",
                seen.len(), spendings.len()),
        )
        .help("this is a fault in the program: please report it"));
    }
    let text = format!(
        "Found all {} that Bitcoin Core lists: none missed, none made up.",
        counted(expected.len() as u64, "payment"),
    );
    session.output().say("");
    session.output().headline(&text);
    Ok(())
}

/// The version in a user agent such as `/Satoshi:28.1.0(comment)/`.
fn core_version(user_agent: &str) -> &str {
    let version = user_agent.split_once(':').map_or(user_agent, |(_, version)| version);
    version.split(['/', '(']).next().unwrap_or(version)
}

fn step(output: &mut Output, name: &str) {
    output.extra(&json!({"event": "step", "step": name}));
}

/// The node that serves the chain.
struct Node {
    server: Handle<server::Command, server::Event>,
    address: SocketAddr,
}

impl Node {
    fn start<R: Runtime>(fixture: &Fixture, interrupt: &Interrupt) -> Result<Self, Error> {
        let blocks = fixture.chain[..=FIRST_TIP as usize].iter().map(|block| block.block());
        let chain =
            Chain::new(blocks).map_err(|error| Error::new("demo", format!("the bundled chain: {error}")))?;
        let config = server::Config::new(Network::Regtest, system::seed()?);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (server, listening) =
            R::start(Server::new(config, chain), Some(listen), |_| Ok::<_, Infallible>(MemoryStore::new()))
                .map_err(|error| match error {
                StartError::Driver(error) => {
                    let error = StartError::<OpenError>::Driver(error);
                    store::start_error(error, Network::Regtest, Path::new(MEMORY))
                }
                StartError::Store(never) => match never {},
            })?;
        interrupt.on_request(server.stopper());
        let address = listening.ok_or_else(|| Error::new("demo", "the node listens nowhere"))?;
        Ok(Self { server, address })
    }

    fn command(&self, command: server::Command) -> Result<(), Error> {
        self.server.command(command).map_err(|_| Error::new("demo", "the node takes no more blocks"))
    }

    /// Takes in what the node says.
    fn check(&self) -> Result<(), Error> {
        while let Received::Event(event) = self.server.recv_timeout(Duration::ZERO) {
            log::debug!("node: {event:?}");
            if let server::Event::Rejected(why) = event {
                return Err(Error::new("demo", format!("the node does not take the new blocks: {why}")));
            }
        }
        Ok(())
    }

    fn end(self) -> Result<(), Error> {
        self.server.stop();
        self.server.join().map_err(|error| store::run_error(error, Network::Regtest, Path::new(MEMORY)))
    }
}
