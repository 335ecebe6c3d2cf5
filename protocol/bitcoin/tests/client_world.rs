//! The client against servers in a small world: it finds what there is, follows the chain, and takes back what goes.

mod common;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use andon_bitcoin::client::{
    self, Birthday, BlockId, Command, Config, Endpoint, Event, Reason, Touch, TouchKind, TransportVersion,
};
use andon_bitcoin::fixture::{Fixture, FixtureBlock, regtest};
use andon_bitcoin::server::{self, Chain, Server};
use bitcoin::block::{Header, Version};
use bitcoin::{Amount, Block, Network, OutPoint};
use world::{World, address};

type Output = (u32, OutPoint, Amount);

fn config(servers: usize) -> Config {
    let mut config = Config::new(Network::Regtest, [1; 32]);
    config.discovery = None;
    config.peers = (0..servers).map(|server| Endpoint::Address(address(server))).collect();
    config
}

fn blocks(blocks: &[FixtureBlock]) -> Vec<Block> {
    blocks.iter().map(FixtureBlock::block).collect()
}

fn server(index: u8, chain: Vec<Block>, adjust: impl FnOnce(&mut server::Config)) -> Server {
    let mut config = server::Config::new(Network::Regtest, [index + 100; 32]);
    adjust(&mut config);
    Server::new(config, Chain::new(chain).expect("the fixture is a chain"))
}

fn watch(fixture: &Fixture) -> Command {
    let scripts = fixture.watch_scripts.iter().map(|script| (*script).into()).collect();
    Command::Watch { scripts, from: Birthday::Height(0) }
}

fn expected(fixture: &Fixture) -> BTreeSet<Output> {
    fixture.expected.iter().map(|output| (output.height, output.outpoint, output.amount)).collect()
}

/// What an application that believes every event holds at the end; each is told once.
fn received(events: &[Event]) -> BTreeSet<Output> {
    let mut found = BTreeSet::new();
    let key = |touch: &Touch| match touch.kind {
        TouchKind::Received { output } => {
            Some((touch.block.height, OutPoint { txid: touch.txid, vout: output }, touch.amount?))
        }
        TouchKind::Spent { .. } => None,
    };
    for event in events {
        match event {
            Event::Touched(touch) => {
                let Some(key) = key(touch) else { continue };
                assert!(found.insert(key), "{touch:?} was told twice");
            }
            Event::TakenBack(touch) => {
                let Some(key) = key(touch) else { continue };
                assert!(found.remove(&key), "{touch:?} was taken back and had not been told");
            }
            Event::Started { .. } => found.clear(),
            _ => {}
        }
    }
    found
}

fn synced(world: &World) -> Option<BlockId> {
    world.client.events.iter().rev().find_map(|event| match event {
        Event::Synced(block) => Some(*block),
        _ => None,
    })
}

fn is_synced_to(world: &World, height: u32) -> bool {
    synced(world).is_some_and(|block| block.height == height)
}

fn disconnects(world: &World) -> Vec<Reason> {
    let reasons = world.client.events.iter().filter_map(|event| match event {
        Event::PeerDisconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    reasons.collect()
}

#[test]
fn finds_every_payment_of_the_fixture() {
    let fixture = regtest();
    for piece in [1, 7, 100_000] {
        let servers = vec![server(0, blocks(&fixture.chain), |_| {})];
        let mut world = World::new(3, config(1), servers);
        world.piece = piece;
        world.command(watch(&fixture));
        world.run_until("the sync", |world| synced(world).is_some());
        assert_eq!(synced(&world).map(|block| block.hash), Some(fixture.chain[289].hash()));
        assert_eq!(received(&world.client.events), expected(&fixture), "in pieces of {piece} bytes");
        assert_eq!(expected(&fixture).len(), 76);
        assert_eq!(disconnects(&world), []);
    }
}

/// Whatever the transport, everything is found; and what goes over the links are other bytes.
#[test]
fn each_transport_carries_the_fixture() {
    use client::Encryption::{Off, Preferred, Required};
    let fixture = regtest();
    for (encryption, knows, version) in [
        (Preferred, true, TransportVersion::V2),
        (Required, true, TransportVersion::V2),
        (Preferred, false, TransportVersion::V1),
        (Off, true, TransportVersion::V1),
        (Off, false, TransportVersion::V1),
    ] {
        for piece in [1, 100, 100_000] {
            let one = server(0, blocks(&fixture.chain), |config| config.encryption = knows);
            let mut config = config(1);
            config.encryption = encryption;
            let mut world = World::new(3, config, vec![one]);
            world.piece = piece;
            world.command(watch(&fixture));
            world.run_until("the sync", |world| synced(world).is_some());
            assert_eq!(received(&world.client.events), expected(&fixture));
            assert_eq!(disconnects(&world), []);
            let told = world.client.events.iter().find_map(|event| match event {
                Event::PeerConnected { transport, .. } => Some(*transport),
                _ => None,
            });
            let heard = world.servers[0].events.iter().find_map(|event| match event {
                server::Event::PeerConnected { transport, .. } => Some(*transport),
                _ => None,
            });
            assert_eq!((told, heard), (Some(version), Some(version)), "{encryption:?}, {knows}");
        }
    }
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let fixture = regtest();
    let run = |seed| {
        let servers = (0..3).map(|index| server(index, blocks(&fixture.chain), |_| {})).collect();
        let mut world = World::new(seed, config(3), servers);
        world.piece = 1000;
        world.command(watch(&fixture));
        world.run_until("the sync", |world| synced(world).is_some());
        (world.trace, world.client.events)
    };
    let first = run(5);
    assert_eq!(first, run(5));
    assert_ne!(first.0, run(6).0, "the seed changes nothing");
}

#[test]
fn follows_blocks_and_a_reorganisation_and_takes_back_what_goes() {
    let fixture = regtest();
    let fork = fixture.fork_height as usize;
    let mut world = World::new(7, config(1), vec![server(0, blocks(&fixture.chain[..=fork - 5]), |_| {})]);
    world.command(watch(&fixture));
    world.run_until("the first sync", |world| is_synced_to(world, fork as u32 - 5));

    for block in &fixture.chain[fork - 4..=fork] {
        world.server_command(0, server::Command::Extend(blocks(&[*block])));
        let height = block.height;
        world.run_until("a new block", |world| is_synced_to(world, height));
    }
    // Seven at once are announced by their headers.
    world.server_command(0, server::Command::Extend(blocks(&fixture.stale)));
    world.run_until("the stale branch", |world| is_synced_to(world, 287));
    let before = received(&world.client.events);

    let branch = blocks(&fixture.chain[fork + 1..]);
    world.server_command(0, server::Command::Reorganise { fork_height: fork as u32, blocks: branch });
    world.run_until("the reorganisation", |world| is_synced_to(world, 289));
    assert_eq!(received(&world.client.events), expected(&fixture));
    assert!(before.iter().any(|(height, ..)| *height > fork as u32), "the stale branch pays nobody");
    let told = world.client.events.iter().any(|event| {
        matches!(event, Event::Reorganised { fork, old_tip, new_tip }
            if (fork.height, old_tip.height, new_tip.height) == (280, 287, 289))
    });
    assert!(told, "the reorganisation was not told");
    assert_eq!(disconnects(&world), []);
}

#[test]
fn a_burst_is_announced_by_inv_and_followed() {
    let fixture = regtest();
    let servers = vec![server(0, blocks(&fixture.chain[..250]), |_| {})];
    let mut world = World::new(7, config(1), servers);
    world.command(watch(&fixture));
    world.run_until("the first sync", |world| is_synced_to(world, 249));
    world.server_command(0, server::Command::Extend(blocks(&fixture.chain[250..])));
    world.run_until("the burst", |world| is_synced_to(world, 289));
    assert_eq!(received(&world.client.events), expected(&fixture));
}

#[test]
fn a_restart_at_any_moment_loses_and_repeats_nothing() {
    let fixture = regtest();
    for pause in (0..60).map(|step| Duration::from_millis(step * 23)) {
        let servers = vec![server(0, blocks(&fixture.chain), |_| {})];
        let mut world = World::new(9, config(1), servers);
        world.piece = 5000;
        world.disk_delay = Some(Duration::from_millis(30));
        world.command(watch(&fixture));
        world.run_for(pause);
        world.restart(config(1));
        world.command(watch(&fixture));
        world.run_until("the sync", |world| synced(world).is_some());
        assert_eq!(received(&world.client.events), expected(&fixture), "killed after {pause:?}");
        assert_eq!(disconnects(&world), []);
    }
}

#[test]
fn a_restart_on_a_stale_tip_takes_the_branch_back() {
    let fixture = regtest();
    let fork = fixture.fork_height as usize;
    let stale = [blocks(&fixture.chain[..=fork]), blocks(&fixture.stale)].concat();
    // Stopped between any two moments of the reorganisation too.
    for pause in (0..40).map(|step| Duration::from_millis(step * 17)) {
        let servers = vec![server(0, stale.clone(), |_| {})];
        let mut world = World::new(11, config(1), servers);
        world.disk_delay = Some(Duration::from_millis(30));
        world.command(watch(&fixture));
        world.run_until("the stale branch", |world| is_synced_to(world, 287));
        let branch = blocks(&fixture.chain[fork + 1..]);
        world.server_command(0, server::Command::Reorganise { fork_height: fork as u32, blocks: branch });
        world.run_for(pause);
        let told = received(&world.client.events);
        world.restart(config(1));
        world.command(watch(&fixture));
        world.run_until("the other branch", |world| is_synced_to(world, 289));
        assert_eq!(
            received(&world.client.events),
            expected(&fixture),
            "killed after {pause:?}, with {told:?}"
        );
    }
}

#[test]
fn a_second_run_asks_for_no_more_than_it_must() {
    let fixture = regtest();
    let servers = vec![server(0, blocks(&fixture.chain), |_| {})];
    // Garbage of a random length would count.
    let config = Config { encryption: client::Encryption::Off, ..config(1) };
    let mut world = World::new(13, config.clone(), servers);
    world.command(watch(&fixture));
    world.run_until("the sync", |world| synced(world).is_some());
    world.restart(config);
    world.command(watch(&fixture));
    world.run_until("the second sync", |world| synced(world).is_some());
    let bytes = world.client.events.iter().rev().find_map(|event| match event {
        Event::Progress(progress) => Some(progress.bytes_received),
        _ => None,
    });
    assert!(bytes.is_some_and(|bytes| bytes < 1000), "{bytes:?}");
    assert_eq!(received(&world.client.events), expected(&fixture));
}

#[test]
fn earlier_scripts_are_searched_for_and_others_forgotten() {
    let fixture = regtest();
    let servers = vec![server(0, blocks(&fixture.chain), |_| {})];
    let mut world = World::new(15, config(1), servers);
    let half: Vec<_> = fixture.watch_scripts[..10].iter().map(|script| (*script).into()).collect();
    world.command(Command::Watch { scripts: half.clone(), from: Birthday::Height(150) });
    world.run_until("the sync", |world| synced(world).is_some());
    assert!(received(&world.client.events).iter().all(|(height, ..)| *height >= 150));
    // More scripts, from earlier on: the search goes back.
    world.client.events.retain(|event| !matches!(event, Event::Synced(_)));
    world.command(watch(&fixture));
    world.run_until("the second sync", |world| synced(world).is_some());
    assert!(world.client.events.contains(&Event::Rescan { from: 0 }));
    assert_eq!(received(&world.client.events), expected(&fixture));
    // Only some: the others' findings are forgotten, also by a later run, and nothing is searched again.
    world.client.events.retain(|event| !matches!(event, Event::Synced(_) | Event::Rescan { .. }));
    world.command(Command::WatchOnly { scripts: half.clone(), from: Birthday::Height(0) });
    world.run_until("the third sync", |world| synced(world).is_some());
    let of_half: BTreeSet<Output> = fixture
        .expected
        .iter()
        .filter(|output| fixture.watch_scripts[..10].contains(&output.script))
        .map(|output| (output.height, output.outpoint, output.amount))
        .collect();
    assert_eq!(received(&world.client.events), of_half);
    assert!(!world.client.events.iter().any(|event| matches!(event, Event::Rescan { .. })));
    world.restart(config(1));
    world.command(Command::WatchOnly { scripts: half, from: Birthday::Height(0) });
    world.run_until("the fourth sync", |world| synced(world).is_some());
    assert_eq!(received(&world.client.events), of_half);
}

#[test]
fn a_birthday_by_date_is_a_height_two_hours_before() {
    let fixture = regtest();
    let time = fixture.chain[200].block().header.time;
    let servers = vec![server(0, blocks(&fixture.chain), |_| {})];
    let mut world = World::new(15, config(1), servers);
    let scripts = fixture.watch_scripts.iter().map(|script| (*script).into()).collect();
    let from = Birthday::Time(andon_kernel::UnixTime::from_secs(u64::from(time) + 2 * 60 * 60));
    world.command(Command::Watch { scripts, from });
    world.run_until("the sync", |world| synced(world).is_some());
    let first =
        fixture.chain.iter().position(|block| block.block().header.time >= time).expect("there is one");
    let later = expected(&fixture).into_iter().filter(|(height, ..)| *height as usize >= first).collect();
    assert_eq!(received(&world.client.events), later);
}

#[test]
fn an_index_that_lags_is_waited_for_and_passed_over() {
    let fixture = regtest();
    let lagging =
        |index| server(index, blocks(&fixture.chain), |config| config.filter_index_height = Some(100));
    let servers = vec![lagging(0), server(1, blocks(&fixture.chain), |_| {})];
    let mut world = World::new(17, config(2), servers);
    world.command(watch(&fixture));
    world.run_until("the sync", |world| synced(world).is_some());
    assert_eq!(received(&world.client.events), expected(&fixture));
    assert_eq!(disconnects(&world), []);
}

#[test]
fn peers_that_come_and_go_do_not_matter() {
    let fixture = regtest();
    let servers = (0..3).map(|index| server(index, blocks(&fixture.chain), |_| {})).collect();
    let mut world = World::new(19, config(3), servers);
    world.piece = 3000;
    world.down.insert(2);
    world.command(watch(&fixture));
    for round in 0..8 {
        world.run_for(Duration::from_millis(180));
        world.cut(round % 2);
    }
    world.down.clear();
    world.run_until("the sync", |world| synced(world).is_some());
    assert_eq!(received(&world.client.events), expected(&fixture));
}

#[test]
fn a_peer_that_shows_less_than_it_claims_is_no_proof_of_being_done() {
    let fixture = regtest();
    // A node below its own minimum of work answers with no headers.
    let syncing = server(0, blocks(&fixture.chain), |config| config.minimum_height = 1000);
    let mut world = World::new(21, config(1), vec![syncing]);
    world.command(watch(&fixture));
    world.run_for(Duration::from_secs(100));
    assert_eq!(synced(&world), None);
    assert!(
        world.client.events.iter().any(|event| matches!(event, Event::PeerWithholds { claimed: 289, .. }))
    );
}

/// A block after `parent` with regtest's proof of work.
fn mine(parent: &Header, delay: u32, number: u64) -> Block {
    let pays = common::coinbase(number, common::script(number));
    let mut block = common::block(parent.block_hash(), parent.time + delay, vec![pays]);
    block.header.version = Version::from_consensus(0x2000_0000);
    while block.header.validate_pow(block.header.target()).is_err() {
        block.header.nonce += 1;
    }
    block
}

/// Blocks after `parent`, a minute apart. Each pays a script of its own.
fn mined(parent: &Block, height: u32, count: u32) -> Vec<Block> {
    let mut parent = parent.header;
    (height..height + count)
        .map(|height| {
            let block = mine(&parent, 60, height.into());
            parent = block.header;
            block
        })
        .collect()
}

/// A chain of twice the window's length: most of it is read back from the store when it is needed.
#[test]
fn a_chain_longer_than_memory_is_searched_from_the_store() {
    const TIP: u32 = 14_000;
    let fixture = regtest();
    let mut chain = blocks(&fixture.chain);
    chain.extend(mined(&chain[289], 290, TIP - 289));
    let servers = vec![server(0, chain.clone(), |_| {}), server(1, chain.clone(), |_| {})];
    let mut world = World::new(23, config(2), servers);
    world.command(watch(&fixture));
    world.run_until("the sync", |world| is_synced_to(world, TIP));
    assert_eq!(received(&world.client.events), expected(&fixture));

    // More scripts, from the beginning on, and one from a date in the middle.
    let heights = [300, 1999, 2000, 2001, 7_777, 13_999];
    let scripts: Vec<_> = heights.iter().map(|&height| common::script(u64::from(height))).collect();
    world.client.events.retain(|event| !matches!(event, Event::Synced(_)));
    world.command(Command::Watch { scripts, from: Birthday::Height(1) });
    world.run_until("the second sync", |world| is_synced_to(world, TIP));
    let new: BTreeSet<u32> =
        received(&world.client.events).difference(&expected(&fixture)).map(|(height, ..)| *height).collect();
    assert_eq!(new, heights.into());

    world.restart(config(2));
    let from = Birthday::Time(andon_kernel::UnixTime::from_secs(u64::from(chain[5000].header.time) + 7200));
    let scripts = vec![common::script(4999), common::script(5000), common::script(13_000)];
    world.command(Command::WatchOnly { scripts, from });
    world.run_until("the third sync", |world| is_synced_to(world, TIP));
    let found: Vec<u32> = received(&world.client.events).iter().map(|(height, ..)| *height).collect();
    assert_eq!(found, [5000, 13_000]);
    assert_eq!(disconnects(&world), []);
}

/// A branch of 2,500 blocks, so that its headers do not fit in one message, replaces one of 2,400.
#[test]
fn a_long_branch_comes_in_several_messages() {
    let fixture = regtest();
    let trunk = blocks(&fixture.chain);
    let old = mined(&trunk[289], 290, 2400);
    let mut branch = vec![mine(&trunk[289].header, 61, 1)];
    branch.extend(mined(&branch[0], 291, 2499));
    let servers = vec![server(0, [trunk, old].concat(), |_| {})];
    let mut world = World::new(25, config(1), servers);
    let scripts = [1, 290, 291, 2689, 2789].into_iter().map(common::script).collect();
    world.command(Command::Watch { scripts, from: Birthday::Height(0) });
    world.run_until("the sync", |world| is_synced_to(world, 2689));
    let heights =
        |world: &World| received(&world.client.events).iter().map(|found| found.0).collect::<Vec<_>>();
    assert_eq!(heights(&world), [290, 291, 2689]);
    world.server_command(0, server::Command::Reorganise { fork_height: 289, blocks: branch });
    world.run_until("the other branch", |world| is_synced_to(world, 2789));
    assert_eq!(heights(&world), [290, 291, 2689, 2789]);
    assert_eq!(disconnects(&world), []);
}
