//! Pausing: a client that does nothing on the network, by order or because its budget is spent, and goes on where it was.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Answer, Birthday, Budget, Command, Config, Event, HeaderQuery, PauseReason, Reason, RequestId, SyncPhase,
};
use lab::chain::{filter_of, script};
use lab::{Asked, Chain, Lab, Peer, config, endpoint};

const TIP: u32 = 3000;

fn chain() -> Rc<Chain> {
    let mut chain = Chain::new();
    chain.grow_filters(TIP - 10, 1, &filter_of(400));
    chain.grow_blocks(10, 1, |height| script(u64::from(height)));
    Rc::new(chain)
}

fn lab(chain: &Rc<Chain>, config: Config) -> Lab {
    let peers = config.peers.len();
    let mut lab = Lab::new(config, (0..peers).map(|_| Peer::new(chain)).collect());
    lab.rate = Some(200_000);
    lab.command(Command::Watch { scripts: vec![script(u64::from(TIP))], from: Birthday::Height(0) });
    lab
}

fn pauses(lab: &Lab) -> Vec<(PauseReason, Option<u32>, u64)> {
    let pauses = lab.events.iter().filter_map(|event| match event {
        Event::Paused { reason, checked, bytes } => Some((*reason, *checked, *bytes)),
        _ => None,
    });
    pauses.collect()
}

fn found(lab: &Lab) -> usize {
    lab.events.iter().filter(|event| matches!(event, Event::Touched(_))).count()
}

/// The order to go on comes while what is stored is being read: who is dialled by the start is not dialled once more.
#[test]
fn going_on_before_the_start_is_over_dials_each_peer_once() {
    let chain = chain();
    for paused in [false, true] {
        let mut lab = Lab::new(Config { paused, ..config(2) }, vec![Peer::new(&chain), Peer::new(&chain)]);
        lab.disk_delay = Some(Duration::from_millis(50));
        if !paused {
            lab.command(Command::Pause);
        }
        lab.command(Command::Resume(None));
        lab.run_until("the start", |lab| lab.started().is_some());
        lab.run_for(Duration::from_secs(5));
        assert_eq!(lab.dialled.len(), 2, "paused: {paused}");
        lab.sync();
    }
}

#[test]
fn a_paused_client_has_no_connection_and_wakes_for_nothing() {
    let chain = chain();
    let mut lab = lab(&chain, config(2));
    lab.run_until("some filters", |lab| lab.progress.filters.done > 500);
    lab.command(Command::Pause);
    lab.let_the_disk_finish();
    assert_eq!(lab.farewells(), [(endpoint(0), Reason::Paused), (endpoint(1), Reason::Paused)]);
    let [(PauseReason::Asked, Some(checked), bytes)] = pauses(&lab)[..] else { panic!("{:?}", pauses(&lab)) };
    assert!(checked >= 200 && bytes > 100_000, "{checked} {bytes}");
    let (dials, asked) = (lab.dialled.len(), lab.asked.len());
    lab.run_for(Duration::from_secs(1));
    assert_eq!(lab.progress.phase, SyncPhase::Paused);
    assert_eq!(lab.deadline(), None, "nothing is due");
    lab.run_for(Duration::from_secs(7 * 24 * 3600));
    assert_eq!((lab.dialled.len(), lab.asked.len()), (dials, asked));
    // Once more is told once more, and changes nothing; what needs no network is done.
    lab.command(Command::Pause);
    lab.command(Command::FindHeader(HeaderQuery::Height(100)));
    lab.run_for(Duration::from_secs(1));
    assert_eq!(pauses(&lab).len(), 2);
    assert!(lab.events.iter().any(|event| matches!(event, Event::Header { found: Some(_), .. })));
    // A peer that is given meanwhile is dialled with the others.
    lab.command(Command::RemovePeer(endpoint(1)));
    lab.command(Command::AddPeer(endpoint(1)));
    lab.command(Command::Resume(None));
    lab.sync();
    assert_eq!(found(&lab), 1);
    assert_eq!(lab.progress.phase, SyncPhase::Following);
}

#[test]
fn a_pause_survives_whatever_was_under_way() {
    let chain = chain();
    // At each turn of a sync.
    for millis in (0..6000).step_by(230) {
        let mut lab = lab(&chain, config(2));
        lab.disk_delay = Some(Duration::from_millis(3));
        lab.run_for(Duration::from_millis(millis));
        lab.command(Command::Pause);
        lab.run_for(Duration::from_secs(2));
        assert_eq!(lab.deadline(), None, "after {millis} ms");
        assert_eq!(pauses(&lab).len(), 1, "after {millis} ms");
        lab.command(Command::Resume(None));
        lab.sync();
        assert_eq!(found(&lab), 1, "after {millis} ms");
    }
}

#[test]
fn a_client_may_begin_paused() {
    let chain = chain();
    let mut lab = lab(&chain, Config { paused: true, ..config(2) });
    lab.run_for(Duration::from_secs(3600));
    assert_eq!((lab.dialled.len(), lab.deadline()), (0, None));
    lab.command(Command::Resume(None));
    lab.sync();
    assert_eq!(found(&lab), 1);
}

fn sync_once(lab: &mut Lab, id: u64, budget: Budget) -> (PauseReason, Option<u32>, u64) {
    lab.command(Command::Request {
        id: RequestId(id),
        command: Box::new(Command::Resume(Some(budget))),
        within: None,
    });
    let answer = |lab: &Lab| {
        lab.events.iter().find_map(|event| match event {
            Event::Answered { id: RequestId(answered), answer: Answer::Event(event) } if *answered == id => {
                Some((**event).clone())
            }
            _ => None,
        })
    };
    lab.run_until("the end of the budget", |lab| answer(lab).is_some());
    match answer(lab) {
        Some(Event::Paused { reason, checked, bytes }) => (reason, checked, bytes),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_budget_of_bytes_is_kept_to_one_read_and_all_of_it_counts() {
    let chain = chain();
    let mut lab = lab(&chain, Config { paused: true, ..config(1) });
    let most = 700_000;
    let budget = Budget { bytes: Some(most), until_synced: true, ..Budget::default() };
    let mut rounds = 0;
    let mut checked = None;
    loop {
        rounds += 1;
        let (reason, now, bytes) = sync_once(&mut lab, rounds, budget);
        assert!(bytes <= most + 64 * 1024, "{bytes} in round {rounds}");
        assert!(now >= checked, "{now:?} after {checked:?}");
        checked = now;
        // A process of its own for each, as in the background of a phone.
        lab.let_the_disk_finish();
        if reason == PauseReason::Synced {
            break;
        }
        assert_eq!(reason, PauseReason::Bytes);
        assert!(bytes >= most);
        if rounds % 2 == 0 {
            lab.restart();
        }
        assert!(rounds < 12, "nothing is kept from round to round: {checked:?}");
    }
    assert!(rounds > 2, "{rounds}");
    assert_eq!((checked, found(&lab)), (Some(TIP), 1));
    // Again, with nothing new: it costs next to nothing.
    let (reason, _, bytes) = sync_once(&mut lab, 100, budget);
    assert_eq!(reason, PauseReason::Synced);
    assert!(bytes < 5000, "{bytes} bytes for nothing new");
}

#[test]
fn a_budget_of_time_is_kept() {
    let chain = chain();
    let mut lab = lab(&chain, Config { paused: true, ..config(1) });
    let time = Duration::from_secs(3);
    lab.run_for(Duration::from_secs(1));
    let began = lab.now;
    let budget = Budget { time: Some(time), until_synced: true, ..Budget::default() };
    let (reason, ..) = sync_once(&mut lab, 1, budget);
    assert_eq!((reason, lab.now.since(began)), (PauseReason::Time, time));
    // Nobody is there: it ends all the same.
    lab.peers.clear();
    let began = lab.now;
    let (reason, ..) = sync_once(&mut lab, 2, budget);
    assert_eq!((reason, lab.now.since(began)), (PauseReason::Time, time));
}

#[test]
fn a_later_order_takes_the_place_of_an_earlier_budget() {
    let chain = chain();
    let mut lab = lab(&chain, Config { paused: true, ..config(1) });
    let budget = Budget { time: Some(Duration::from_secs(2)), ..Budget::default() };
    let request = |lab: &mut Lab, id: u64, command: Command| {
        lab.command(Command::Request { id: RequestId(id), command: Box::new(command), within: None });
    };
    request(&mut lab, 1, Command::Resume(Some(budget)));
    request(&mut lab, 2, Command::Resume(None));
    let answered = |lab: &Lab, id: u64, answer: Answer| {
        lab.events.contains(&Event::Answered { id: RequestId(id), answer })
    };
    lab.sync();
    assert!(answered(&lab, 1, Answer::Cancelled) && answered(&lab, 2, Answer::Done));
    assert_eq!(pauses(&lab), []);
    // One that is cancelled ends what it was for.
    request(&mut lab, 3, Command::Resume(Some(budget)));
    lab.command(Command::Cancel(RequestId(3)));
    lab.run_for(Duration::from_secs(1));
    assert!(answered(&lab, 3, Answer::Cancelled));
    assert_eq!(pauses(&lab).len(), 1);
    // A pause ends it too, and answers it.
    request(&mut lab, 4, Command::Resume(Some(budget)));
    lab.command(Command::Pause);
    lab.run_for(Duration::from_secs(1));
    let answers = lab.events.iter().filter(|event| {
        matches!(event, Event::Answered { id: RequestId(4), answer: Answer::Event(event) }
            if matches!(**event, Event::Paused { reason: PauseReason::Asked, .. }))
    });
    assert_eq!(answers.count(), 1);
}

#[test]
fn progress_says_how_fast_it_goes_and_how_long_it_takes() {
    let chain = chain();
    let mut lab = lab(&chain, config(1));
    lab.run_until("half of the filters", |lab| lab.progress.filters.done > TIP / 2);
    let progress = lab.progress;
    assert_eq!(progress.phase, SyncPhase::Filters);
    let rate = progress.rate.unwrap();
    assert!((150_000..=220_000).contains(&rate), "{rate} bytes a second over a link of 200,000");
    let began = lab.now;
    let expected = progress.time_left.unwrap();
    lab.sync();
    let took = lab.now.since(began);
    assert!(expected < took * 3 / 2 && took < expected * 3 / 2, "{expected:?} was expected, {took:?} it was");
    assert_eq!((lab.progress.time_left, lab.progress.phase), (Some(Duration::ZERO), SyncPhase::Following));
}

#[test]
fn where_each_byte_costs_nothing_is_asked_twice_and_no_decoys_are_fetched() {
    let mut whole = Chain::new();
    whole.bulk = 3000;
    whole.grow_blocks(1500, 1, |height| script(u64::from(height)));
    let chain = Rc::new(whole);
    let asked = |metered: bool| {
        let mut lab = Lab::new(
            Config { metered, decoy_blocks: std::num::NonZeroU32::new(20), ..config(3) },
            (0..3).map(|_| Peer::new(&chain)).collect(),
        );
        lab.rate = Some(200_000);
        // What it owes is asked of the others too, where speed is worth it.
        lab.peers[0].rate = Some(2_000);
        lab.command(Command::Watch { scripts: vec![script(1500)], from: Birthday::Height(0) });
        lab.sync();
        assert_eq!(found(&lab), 1);
        let (mut filters, mut blocks) = (0, 0);
        for (.., asked) in &lab.asked {
            match asked {
                Asked::Filters(first, last) => filters += last + 1 - first,
                Asked::Blocks(heights) => blocks += heights.len(),
                _ => {}
            }
        }
        (filters, blocks)
    };
    let (filters, blocks) = asked(false);
    assert!(filters > 1501 && blocks > 30, "{filters} filters, {blocks} blocks");
    assert_eq!(asked(true), (1501, 1));
}
