//! Requests: each is answered exactly once, whatever becomes of it.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Answer, Birthday, BroadcastOptions, Command, Descriptor, Event, Failure, HeaderQuery, Import, Lookahead,
    PeerPurpose, PeerStage, Reason, Refusal, RequestId, Submission,
};
use andon_kernel::UnixTime;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::{Block, Network, OutPoint, Transaction, Txid};
use lab::chain::script;
use lab::{Asked, Chain, Lab, Peer, config, endpoint};

const TIP: u32 = 100;

fn chain() -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_blocks(TIP, 1, |height| script(u64::from(height)));
    Rc::new(chain)
}

fn descriptor() -> Descriptor {
    const XPUB: &str = "tpubD6NzVbkrYhZ4XgiXtGrdW5XDAPFCL9h7we1vwNCpn8tGbBcgfVYjXyhWo4E1xkh56hjod1RhGjxbaTLV3X4FyWuejifB9jusQ46QzG87VKp";
    Descriptor::parse(&format!("wpkh({XPUB}/<0;1>/*)"), Network::Regtest).unwrap()
}

fn synced(peers: usize) -> (Lab, Rc<Chain>) {
    let chain = chain();
    let mut lab = Lab::new(config(peers), (0..peers).map(|_| Peer::new(&chain)).collect());
    lab.sync();
    lab.run_for(Duration::from_secs(2));
    (lab, chain)
}

fn request(lab: &mut Lab, id: u64, command: Command) {
    lab.command(Command::Request { id: RequestId(id), command: Box::new(command), within: None });
}

fn answers(lab: &Lab, id: u64) -> Vec<Answer> {
    let answers = lab.events.iter().filter_map(|event| match event {
        Event::Answered { id: RequestId(answered), answer } if *answered == id => Some(answer.clone()),
        _ => None,
    });
    answers.collect()
}

/// The one answer to a request that has just been made.
fn answer(lab: &mut Lab, id: u64, command: Command) -> Answer {
    request(lab, id, command);
    lab.run_until("the answer", |lab| !answers(lab, id).is_empty());
    lab.run_for(Duration::from_secs(5));
    match &answers(lab, id)[..] {
        [answer] => answer.clone(),
        answers => panic!("{answers:?}"),
    }
}

fn event(answer: Answer) -> Event {
    match answer {
        Answer::Event(event) => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_command_has_its_answer() {
    let (mut lab, chain) = synced(2);
    let transaction = deserialize::<Block>(&chain.body(1).unwrap().block).unwrap().txdata[0].clone();
    let subnet = "203.0.113.0/24".parse().unwrap();
    let done = [
        Command::Watch { scripts: vec![script(7)], from: Birthday::Height(0) },
        Command::Watch { scripts: vec![script(7)], from: Birthday::Height(0) },
        Command::WatchOnly { scripts: vec![script(8)], from: Birthday::Height(0) },
        Command::WatchOutputs { outputs: Vec::new(), from: Birthday::Height(5) },
        Command::Unwatch { scripts: vec![script(8)], outputs: Vec::new() },
        Command::Rescan { from: Birthday::Height(50) },
        Command::Rescan { from: Birthday::Time(UnixTime::from_secs(1_300_000_000)) },
        Command::AddPeer(endpoint(1)),
        Command::RemovePeer(endpoint(9)),
        Command::LiftBan { subnet },
        Command::WatchDescriptors {
            descriptors: vec![descriptor()],
            lookahead: Lookahead { gap: 5, first: 5 },
            from: Birthday::Height(0),
            only: false,
        },
        Command::UnwatchDescriptors { descriptors: vec![descriptor()] },
        Command::SetMetered(true),
        Command::Acknowledge(9),
        Command::WithdrawBroadcast { txid: Txid::all_zeros() },
        Command::Pause,
        Command::Resume(None),
    ];
    for (id, command) in (100..).zip(done) {
        assert_eq!(answer(&mut lab, id, command.clone()), Answer::Done, "{command:?}");
    }
    // There are no nodes beside those that are given.
    let ban = Command::Ban { subnet, until: UnixTime::from_secs(2_000_000_000) };
    assert_eq!(answer(&mut lab, 50, ban), Answer::Refused(Refusal::NoBan));
    let header = HeaderQuery::Height(3);
    let Event::Header { found: Some((block, _)), .. } =
        event(answer(&mut lab, 1, Command::FindHeader(header)))
    else {
        panic!("the header was found")
    };
    assert_eq!(block, chain.block(3));
    let Event::Block { found: Some((block, _)), .. } =
        event(answer(&mut lab, 2, Command::FetchBlock(header)))
    else {
        panic!("the block was found")
    };
    assert_eq!(block, chain.block(3));
    assert!(matches!(event(answer(&mut lab, 3, Command::TellFees { blocks: 5 })), Event::Fees(_)));
    let exported = event(answer(&mut lab, 4, Command::Export { from: 0, count: 10 }));
    assert!(matches!(exported, Event::Exported { headers, .. } if headers.len() == 10));
    let imported = event(answer(&mut lab, 5, Command::Import(Import::default())));
    assert!(matches!(imported, Event::Imported { tip, .. } if tip == chain.tip()));
    let outpoint = OutPoint { txid: transaction.compute_txid(), vout: 0 };
    let find = Command::FindSpend { outpoint, script: script(1), from: Birthday::Height(1) };
    let searched = event(answer(&mut lab, 6, find));
    assert_eq!(searched, Event::SpendSearched { outpoint, spend: None, checked: chain.tip() });
    // A coinbase can't be broadcast.
    let submission = Submission::new(transaction);
    let broadcast =
        Command::Broadcast { transactions: vec![submission], options: BroadcastOptions::default() };
    assert!(matches!(event(answer(&mut lab, 7, broadcast)), Event::BroadcastRefused { .. }));
    // Nothing of that was told beside the answers.
    let beside = lab.events.iter().filter(|event| {
        matches!(
            event,
            Event::Header { .. }
                | Event::Block { .. }
                | Event::Fees(_)
                | Event::Exported { .. }
                | Event::Imported { .. }
                | Event::SpendSearched { .. }
                | Event::BroadcastRefused { .. }
                | Event::BanRefused { .. }
                | Event::CommandRefused(_)
        )
    });
    assert_eq!(beside.count(), 0);
}

#[test]
fn a_transaction_is_taken_when_it_is_durable() {
    let (mut lab, _) = synced(1);
    lab.disk_delay = Some(Duration::from_millis(100));
    let transaction = Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: vec![bitcoin::TxIn {
            previous_output: OutPoint { txid: Txid::from_byte_array([5; 32]), vout: 1 },
            ..bitcoin::TxIn::default()
        }],
        output: vec![bitcoin::TxOut { value: bitcoin::Amount::from_sat(5000), script_pubkey: script(3) }],
    };
    let transactions = vec![Submission::new(transaction.clone())];
    request(&mut lab, 1, Command::Broadcast { transactions, options: BroadcastOptions::default() });
    assert!(answers(&lab, 1).is_empty());
    lab.run_until("the answer", |lab| !answers(lab, 1).is_empty());
    assert_eq!(answers(&lab, 1), [Answer::Done]);
    lab.restart();
    let txid = transaction.compute_txid();
    lab.run_until("its state", |lab| {
        lab.events.iter().any(|event| matches!(event, Event::Broadcast { txid: told, .. } if *told == txid))
    });
}

#[test]
fn what_is_asked_before_the_start_waits_for_it() {
    let chain = chain();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.disk_delay = Some(Duration::from_millis(30));
    request(&mut lab, 1, Command::TellTip);
    request(&mut lab, 2, Command::Watch { scripts: vec![script(5)], from: Birthday::Height(0) });
    assert_eq!(lab.events, []);
    lab.sync();
    assert!(matches!(&answers(&lab, 1)[..], [Answer::Event(event)] if matches!(**event, Event::Tip(_))));
    assert_eq!(answers(&lab, 2), [Answer::Done]);
    assert!(lab.events.iter().any(|event| matches!(event, Event::Touched(_))));
}

#[test]
fn a_cancelled_request_is_answered_at_once_and_what_comes_is_told_to_nobody() {
    let (mut lab, chain) = synced(1);
    lab.latency = Duration::from_millis(500);
    let asked = |lab: &Lab| lab.asked.iter().filter(|(.., asked)| matches!(asked, Asked::Blocks(_))).count();
    request(&mut lab, 1, Command::FetchBlock(HeaderQuery::Height(9)));
    lab.run_for(Duration::from_millis(600));
    assert_eq!(asked(&lab), 1);
    lab.command(Command::Cancel(RequestId(1)));
    assert_eq!(answers(&lab, 1), [Answer::Cancelled]);
    // Once more is nothing, as is one that never was.
    lab.command(Command::Cancel(RequestId(1)));
    lab.command(Command::Cancel(RequestId(2)));
    // The block comes all the same, and is no fault of the peer's.
    lab.run_for(Duration::from_secs(10));
    assert_eq!(answers(&lab, 1), [Answer::Cancelled]);
    assert_eq!(lab.farewells(), []);
    // One that two want is fetched for the other.
    request(&mut lab, 3, Command::FetchBlock(HeaderQuery::Height(10)));
    request(&mut lab, 4, Command::FetchBlock(HeaderQuery::Hash(chain.hash(10))));
    lab.run_for(Duration::from_millis(600));
    lab.command(Command::Cancel(RequestId(3)));
    lab.run_until("the other", |lab| !answers(lab, 4).is_empty());
    assert_eq!(answers(&lab, 3), [Answer::Cancelled]);
    assert!(matches!(&answers(&lab, 4)[..], [Answer::Event(_)]));
    // A number may be used again.
    assert!(matches!(answer(&mut lab, 5, Command::TellTip), Answer::Event(_)));
    let before = lab.events.len();
    request(&mut lab, 5, Command::TellTip);
    assert_eq!(lab.events.len(), before + 1);
}

#[test]
fn a_request_that_takes_too_long_is_given_up() {
    let (mut lab, _) = synced(1);
    lab.latency = Duration::from_secs(5);
    let fetch = |id: u64, within: Duration| Command::Request {
        id: RequestId(id),
        command: Box::new(Command::FetchBlock(HeaderQuery::Height(9))),
        within: Some(within),
    };
    let began = lab.now;
    lab.command(fetch(1, Duration::from_secs(3)));
    lab.command(fetch(2, Duration::from_secs(30)));
    lab.run_until("the first", |lab| !answers(lab, 1).is_empty());
    assert_eq!((answers(&lab, 1), lab.now.since(began)), (vec![Answer::TimedOut], Duration::from_secs(3)));
    lab.run_until("the second", |lab| !answers(lab, 2).is_empty());
    lab.run_for(Duration::from_secs(60));
    assert!(matches!(&answers(&lab, 2)[..], [Answer::Event(_)]));
    assert_eq!(answers(&lab, 1), [Answer::TimedOut]);
    // The time runs from the order on, also for what waits for the start.
    lab.restart();
    lab.peers.clear();
    lab.command(fetch(3, Duration::from_secs(2)));
    lab.run_for(Duration::from_secs(3));
    assert_eq!(answers(&lab, 3), [Answer::TimedOut]);
}

#[test]
fn a_search_that_is_cancelled_ends() {
    let (mut lab, chain) = synced(1);
    let txid = deserialize::<Block>(&chain.body(1).unwrap().block).unwrap().txdata[0].compute_txid();
    lab.latency = Duration::from_secs(1);
    let outpoint = OutPoint { txid, vout: 0 };
    let find = Command::FindSpend { outpoint, script: script(1), from: Birthday::Height(1) };
    request(&mut lab, 1, find.clone());
    request(&mut lab, 2, find);
    lab.run_for(Duration::from_millis(100));
    lab.command(Command::Cancel(RequestId(1)));
    assert_eq!(answers(&lab, 1), [Answer::Cancelled]);
    lab.run_until("the other answer", |lab| !answers(lab, 2).is_empty());
    lab.run_for(Duration::from_secs(20));
    assert_eq!((answers(&lab, 1).len(), answers(&lab, 2).len()), (1, 1));
}

#[test]
fn a_request_that_can_not_be_one_is_refused() {
    let (mut lab, _) = synced(1);
    lab.latency = Duration::from_secs(1);
    request(&mut lab, 1, Command::Cancel(RequestId(5)));
    request(
        &mut lab,
        2,
        Command::Request { id: RequestId(3), command: Box::new(Command::TellTip), within: None },
    );
    let fetch = || Command::FetchBlock(HeaderQuery::Height(1));
    request(&mut lab, 4, fetch());
    request(&mut lab, 4, fetch());
    assert_eq!(answers(&lab, 1), [Answer::Refused(Refusal::NoRequest)]);
    assert_eq!(answers(&lab, 2), [Answer::Refused(Refusal::NoRequest)]);
    assert_eq!(answers(&lab, 4), [Answer::Refused(Refusal::NumberInUse)]);
    for id in 1000..1000 + 4095 {
        request(&mut lab, id, fetch());
    }
    request(&mut lab, 9999, fetch());
    assert_eq!(answers(&lab, 9999), [Answer::Refused(Refusal::TooMany)]);
    lab.run_until("all the others", |lab| answers(lab, 1000 + 4094).len() == 1);
    assert_eq!(answers(&lab, 4).len(), 2);
    assert!((1000..1000 + 4095).all(|id| answers(&lab, id).len() == 1));
}

#[test]
fn a_client_that_fails_refuses_all_requests() {
    let (lab, _) = synced(1);
    let mut other = config(1);
    other.network = Network::Signet;
    let mut failed = Lab::on(lab.store().clone(), other, vec![]);
    failed.disk_delay = Some(Duration::from_millis(10));
    request(&mut failed, 1, Command::TellTip);
    failed.run_for(Duration::from_secs(1));
    let failure = Event::Failed(Failure::OtherNetwork { found: Network::Regtest });
    assert!(failed.events.contains(&failure), "{:?}", failed.events);
    assert_eq!(answers(&failed, 1), [Answer::Refused(Refusal::Failed)]);
    request(&mut failed, 2, Command::TellTip);
    assert_eq!(answers(&failed, 2), [Answer::Refused(Refusal::Failed)]);
}

#[test]
fn the_tip_is_told_with_its_work_and_its_target() {
    let (mut lab, chain) = synced(1);
    let Event::Tip(tip) = event(answer(&mut lab, 1, Command::TellTip)) else { panic!("it is a tip") };
    assert_eq!(tip.block, chain.tip());
    assert_eq!(tip.header, chain.headers(TIP, TIP)[0]);
    assert_eq!(tip.work, chain.work(TIP));
    assert_eq!(tip.target, tip.header.target());
    assert!(tip.header.validate_pow(tip.target).is_ok() && tip.is_current);
    assert_eq!(tip.checked, None, "nothing is watched");
    request(&mut lab, 2, Command::Watch { scripts: vec![script(5)], from: Birthday::Height(0) });
    lab.run_for(Duration::from_secs(10));
    let Event::Tip(tip) = event(answer(&mut lab, 3, Command::TellTip)) else { panic!("it is a tip") };
    assert_eq!(tip.checked, Some(TIP));
}

#[test]
fn peers_are_told_with_what_is_known_of_them() {
    let chain = chain();
    let mut config = config(2);
    // Nobody is there.
    config.peers.push(endpoint(7));
    let mut lab = Lab::new(config, (0..2).map(|_| Peer::new(&chain)).collect());
    lab.command(Command::Watch { scripts: vec![script(5)], from: Birthday::Height(0) });
    lab.sync();
    lab.run_for(Duration::from_secs(2));
    let Event::Peers(peers) = event(answer(&mut lab, 1, Command::TellPeers)) else { panic!("it is a list") };
    assert_eq!(peers.len(), 3);
    let (mut received, mut sent) = (0, 0);
    for (index, peer) in peers[..2].iter().enumerate() {
        assert_eq!((&peer.endpoint, peer.purpose), (&endpoint(index), PeerPurpose::Configured));
        let PeerStage::Connected(statistics) = &peer.stage else { panic!("{peer:?}") };
        assert_eq!((statistics.claimed, statistics.shown), (TIP, Some(chain.tip())));
        assert_eq!(statistics.latency, Some(Duration::from_millis(40)), "there and back");
        assert!(statistics.elapsed > Duration::from_secs(2) && statistics.silent < statistics.elapsed);
        assert_eq!((statistics.owed_bytes, statistics.is_passed_over), (0, false));
        received += statistics.bytes_received;
        sent += statistics.bytes_sent;
    }
    assert_eq!((received, sent), (lab.progress.bytes_received, lab.progress.bytes_sent));
    let PeerStage::Waiting { dialled_in: Some(due), reason: Some(Reason::Connection(_)), failures: 1.. } =
        peers[2].stage
    else {
        panic!("{:?}", peers[2])
    };
    assert_eq!(peers[2].endpoint, endpoint(7));
    assert!(due <= Duration::from_secs(60), "{due:?}");
}

#[test]
fn a_peer_that_is_removed_is_gone_for_good() {
    let (mut lab, _) = synced(2);
    let mut config = config(2);
    config.peers.push(endpoint(7));
    assert_eq!(answer(&mut lab, 1, Command::RemovePeer(endpoint(0))), Answer::Done);
    assert_eq!(lab.farewells(), [(endpoint(0), Reason::Removed)]);
    lab.run_for(Duration::from_secs(24 * 3600));
    let dials =
        lab.dialled.iter().filter(|addr| endpoint(0) == andon_bitcoin::client::Endpoint::Address(**addr));
    assert_eq!(dials.count(), 1);
    let Event::Peers(peers) = event(answer(&mut lab, 2, Command::TellPeers)) else { panic!("it is a list") };
    assert_eq!(peers.len(), 1);
    // It may be given again; who waits to be dialled can be removed too.
    lab.command(Command::AddPeer(endpoint(0)));
    lab.command(Command::AddPeer(endpoint(7)));
    lab.run_for(Duration::from_secs(3));
    assert_eq!(answer(&mut lab, 3, Command::RemovePeer(endpoint(7))), Answer::Done);
    assert_eq!(lab.farewells().last(), Some(&(endpoint(7), Reason::Removed)));
    let Event::Peers(peers) = event(answer(&mut lab, 4, Command::TellPeers)) else { panic!("it is a list") };
    let there: Vec<_> = peers.iter().map(|peer| peer.endpoint.clone()).collect();
    assert_eq!(there, [endpoint(1), endpoint(0)]);
    let before = lab.dialled.len();
    lab.run_for(Duration::from_secs(24 * 3600));
    assert_eq!(lab.dialled.len(), before);
}

#[test]
fn a_descriptor_is_taken_when_each_of_its_paths_is_durable() {
    let chain = chain();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.sync();
    lab.disk_delay = Some(Duration::from_millis(50));
    let watch = Command::WatchDescriptors {
        descriptors: vec![descriptor()],
        lookahead: Lookahead { gap: 300, first: 300 },
        from: Birthday::Height(0),
        only: true,
    };
    request(&mut lab, 1, watch);
    lab.run_until("the answer", |lab| !answers(lab, 1).is_empty());
    // The process ends at once.
    lab.restart();
    lab.sync();
    lab.run_for(Duration::from_secs(5));
    let derived =
        lab.events.iter().filter(|event| matches!(event, Event::DescriptorDerived { scripts: 300, .. }));
    assert_eq!(derived.count(), 2, "{:?}", lab.events);
}

#[test]
fn a_number_that_is_used_again_gets_its_own_answer() {
    let (mut lab, chain) = synced(1);
    lab.disk_delay = Some(Duration::from_millis(50));
    // The look-up in the index of hashes is under way.
    request(&mut lab, 1, Command::FindHeader(HeaderQuery::Hash(bitcoin::BlockHash::all_zeros())));
    lab.command(Command::Cancel(RequestId(1)));
    request(&mut lab, 1, Command::FindHeader(HeaderQuery::Height(9)));
    request(&mut lab, 2, Command::AddPeer(endpoint(0)));
    lab.command(Command::Cancel(RequestId(2)));
    request(&mut lab, 2, Command::FetchBlock(HeaderQuery::Height(7)));
    lab.run_for(Duration::from_secs(5));
    let found = |answers: &[Answer]| match answers {
        [Answer::Cancelled, Answer::Event(event)] => match &**event {
            Event::Header { found, .. } => found.map(|(block, _)| block),
            Event::Block { found, .. } => found.as_ref().map(|(block, _)| *block),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(found(&answers(&lab, 1)), Some(chain.block(9)));
    assert_eq!(found(&answers(&lab, 2)), Some(chain.block(7)));
}

#[test]
fn what_is_ordered_before_the_start_is_done_in_order() {
    let chain = chain();
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.disk_delay = Some(Duration::from_millis(30));
    let from = Birthday::Height(0);
    request(&mut lab, 1, Command::WatchOnly { scripts: vec![script(5)], from });
    lab.command(Command::Watch { scripts: vec![script(6)], from });
    request(&mut lab, 2, Command::Unwatch { scripts: vec![script(5)], outputs: Vec::new() });
    lab.command(Command::TellTip);
    lab.command(Command::Watch { scripts: vec![script(5)], from });
    lab.sync();
    let touched = lab.events.iter().filter_map(|event| match event {
        Event::Touched(touch) => Some(touch.script.clone()),
        _ => None,
    });
    assert_eq!(touched.collect::<Vec<_>>(), [script(5), script(6)]);
    assert_eq!((answers(&lab, 1), answers(&lab, 2)), (vec![Answer::Done], vec![Answer::Done]));
}

#[test]
fn a_date_that_is_given_up_is_nobodys() {
    // Long enough for blocks that are not at hand.
    let mut long = Chain::new();
    long.spacing = 600;
    long.grow(3900, 1);
    long.grow_blocks(1105, 1, |height| script(u64::from(height)));
    let chain = Rc::new(long);
    let mut lab = Lab::new(config(1), vec![Peer::new(&chain)]);
    lab.sync();
    lab.disk_delay = Some(Duration::from_millis(50));
    let time =
        |height: u32| Birthday::Time(UnixTime::from_secs(u64::from(chain.headers(height, height)[0].time)));
    let find = |height: u32| Command::FindSpend {
        outpoint: OutPoint { txid: Txid::from_byte_array([9; 32]), vout: 0 },
        script: script(77),
        from: time(height),
    };
    request(&mut lab, 1, find(4000));
    lab.run_for(Duration::from_millis(60));
    lab.command(Command::Cancel(RequestId(1)));
    lab.asked.clear();
    request(&mut lab, 2, find(5000));
    lab.run_until("its answer", |lab| !answers(lab, 2).is_empty());
    let lowest = lab.asked.iter().filter_map(|(.., asked)| match asked {
        Asked::Filters(first, _) => Some(*first),
        _ => None,
    });
    // Two hours before the time, and no more.
    assert_eq!(lowest.min(), Some(4988));
}

/// What nobody can give is asked for without end: so much waits, and the rest is refused. Requests are counted apart.
#[test]
fn commands_that_wait_are_bounded() {
    const WAITING: usize = 8192;
    let (mut lab, _) = synced(1);
    lab.peers[0].up = false;
    lab.cut(0);
    lab.run_for(Duration::from_secs(1));
    let refused = |lab: &Lab| {
        lab.events.iter().filter(|event| **event == Event::CommandRefused(Refusal::TooMany)).count()
    };
    for _ in 0..WAITING + 10 {
        lab.command(Command::FetchBlock(HeaderQuery::Height(5)));
    }
    assert_eq!(refused(&lab), 10);
    lab.command(Command::FetchFilters { from: 1, count: 1 });
    lab.command(Command::Watch { scripts: vec![script(3)], from: Birthday::Height(0) });
    assert_eq!(refused(&lab), 12);
    // What concerns the network itself is carried out, and so is a request.
    lab.command(Command::SetMetered(true));
    assert_eq!(refused(&lab), 12);
    assert!(matches!(answer(&mut lab, 1, Command::TellTip), Answer::Event(_)));
    // Each that waits has its answer when there is a peer again.
    lab.peers[0].up = true;
    let blocks = |lab: &Lab| lab.events.iter().filter(|event| matches!(event, Event::Block { .. })).count();
    lab.run_until("the blocks", |lab| blocks(lab) == WAITING);
}

/// While what is stored is read, whatever is asked waits.
#[test]
fn commands_that_wait_for_the_start_are_bounded() {
    let (mut lab, _) = synced(1);
    lab.disk_delay = Some(Duration::from_secs(1));
    lab.restart();
    for _ in 0..10_000 {
        lab.command(Command::TellTip);
    }
    let count =
        |lab: &Lab, wanted: fn(&Event) -> bool| lab.events.iter().filter(|event| wanted(event)).count();
    assert_eq!(count(&lab, |event| *event == Event::CommandRefused(Refusal::TooMany)), 10_000 - 8192);
    lab.run_until("the tips", |lab| count(lab, |event| matches!(event, Event::Tip(_))) == 8192);
}
