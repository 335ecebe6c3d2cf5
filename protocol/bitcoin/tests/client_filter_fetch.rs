//! Filters for an application that matches by itself: those that filter headers commit to, from whoever has them.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{
    Answer, Birthday, BlockId, Command, Config, Event, FetchedFilter, FilterCache, Misbehaviour, Reason,
    RequestId,
};
use lab::chain::script;
use lab::{Asked, Chain, Lab, Peer, config, endpoint};

const TIP: u32 = 300;

fn chain() -> Chain {
    let mut chain = Chain::new();
    chain.grow_blocks(TIP, 1, |height| script(u64::from(height)));
    chain
}

fn synced_with(config: Config, chain: &Rc<Chain>) -> Lab {
    let peers = config.peers.len();
    let mut lab = Lab::new(config, (0..peers).map(|_| Peer::new(chain)).collect());
    lab.sync();
    lab.run_for(Duration::from_secs(2));
    lab
}

fn fetch(lab: &mut Lab, id: u64, from: u32, count: u32) {
    let command = Box::new(Command::FetchFilters { from, count });
    lab.command(Command::Request { id: RequestId(id), command, within: None });
}

fn answer(lab: &Lab, id: u64) -> Option<Vec<FetchedFilter>> {
    let mut answers = lab.events.iter().filter_map(|event| match event {
        Event::Answered { id: RequestId(answered), answer: Answer::Event(event) } if *answered == id => {
            match &**event {
                Event::Filters { filters, .. } => Some(filters.clone()),
                other => panic!("{other:?}"),
            }
        }
        _ => None,
    });
    let first = answers.next();
    assert!(answers.next().is_none(), "it was answered twice");
    first
}

fn fetched(lab: &mut Lab, id: u64, from: u32, count: u32) -> Vec<FetchedFilter> {
    fetch(lab, id, from, count);
    lab.run_until("the filters", |lab| answer(lab, id).is_some());
    answer(lab, id).unwrap()
}

fn expected(chain: &Chain, from: u32, to: u32) -> Vec<FetchedFilter> {
    let filter = |height| FetchedFilter {
        block: BlockId { height, hash: chain.hash(height) },
        filter: chain.body(height).unwrap().filter.clone(),
    };
    (from..=to).map(filter).collect()
}

fn requests(lab: &Lab) -> Vec<(usize, u32, u32)> {
    let requests = lab.asked.iter().filter_map(|(_, peer, asked)| match asked {
        Asked::Filters(first, last) => Some((*peer, *first, *last)),
        _ => None,
    });
    requests.collect()
}

#[test]
fn filters_are_fetched_by_their_heights() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(2), &chain);
    assert_eq!(requests(&lab), [], "nothing is watched");
    assert_eq!(fetched(&mut lab, 1, 0, 10), expected(&chain, 0, 9));
    assert_eq!(fetched(&mut lab, 2, 42, 1), expected(&chain, 42, 42));
    // No more than a hundred, none above the tip.
    assert_eq!(fetched(&mut lab, 3, 100, 5000), expected(&chain, 100, 199));
    assert_eq!(fetched(&mut lab, 4, TIP - 3, 50), expected(&chain, TIP - 3, TIP));
    for (id, from, count) in [(5, TIP + 1, 10), (6, 7, 0), (7, u32::MAX, u32::MAX)] {
        assert_eq!(fetched(&mut lab, id, from, count), []);
    }
    let asked: Vec<(u32, u32)> = requests(&lab).iter().map(|(_, first, last)| (*first, *last)).collect();
    assert_eq!(asked, [(0, 9), (42, 42), (100, 199), (TIP - 3, TIP)]);
    assert_eq!(lab.farewells(), []);
}

#[test]
fn one_is_worked_on_at_a_time_and_each_is_answered_in_order() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(3), &chain);
    for id in 0..10 {
        fetch(&mut lab, id, id as u32 * 20, 20);
    }
    lab.run_until("the last", |lab| answer(lab, 9).is_some());
    let order: Vec<u64> = lab
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Answered { id, .. } => Some(id.0),
            _ => None,
        })
        .collect();
    assert_eq!(order, (0..10).collect::<Vec<u64>>());
    for id in 0..10 {
        assert_eq!(answer(&lab, id).unwrap(), expected(&chain, id as u32 * 20, id as u32 * 20 + 19));
    }
}

#[test]
fn those_that_are_kept_are_asked_of_nobody() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(1), &chain);
    lab.config.filter_cache = FilterCache::All;
    lab.restart();
    lab.command(Command::Watch { scripts: vec![script(9999)], from: Birthday::Height(100) });
    lab.sync();
    lab.let_the_disk_finish();
    let before = requests(&lab).len();
    assert_eq!(fetched(&mut lab, 1, 150, 100), expected(&chain, 150, 249));
    assert_eq!(requests(&lab).len(), before);
    // A part of them is.
    assert_eq!(fetched(&mut lab, 2, 80, 40), expected(&chain, 80, 119));
    assert_eq!(requests(&lab)[before..], [(0, 80, 99)]);
    // Without any peer.
    lab.peers.clear();
    lab.restart();
    lab.run_for(Duration::from_secs(1));
    assert_eq!(fetched(&mut lab, 3, 200, 100), expected(&chain, 200, 299));
}

#[test]
fn what_one_leaves_out_or_changes_comes_from_another() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(2), &chain);
    lab.peers[0].leaves_out = vec![55, 59];
    lab.peers[1].leaves_out = vec![52];
    assert_eq!(fetched(&mut lab, 1, 50, 10), expected(&chain, 50, 59));
    assert_eq!(lab.farewells(), [], "it is no fault");
    // A filter that is not the one that both have named.
    let liar = Rc::new(chain.with_filter(70, chain.body(71).unwrap().filter.clone()));
    for peer in [0, 1] {
        let mut lab = synced_with(config(2), &chain);
        lab.peers[peer].chain = liar.clone();
        for id in 0..4 {
            assert_eq!(fetched(&mut lab, id, 65, 10), expected(&chain, 65, 74));
        }
        let wrong = Reason::Misbehaved(Misbehaviour::WrongFilter);
        assert!(lab.farewells().iter().all(|farewell| *farewell == (endpoint(peer), wrong.clone())));
    }
}

#[test]
fn a_peer_that_falls_silent_is_replaced() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(2), &chain);
    lab.rate = Some(2000);
    fetch(&mut lab, 1, 10, 90);
    lab.run_for(Duration::from_millis(350));
    let (peer, ..) = *requests(&lab).last().unwrap();
    lab.fall_silent(peer);
    lab.run_until("the filters", |lab| answer(lab, 1).is_some());
    assert_eq!(answer(&lab, 1).unwrap(), expected(&chain, 10, 99));
    let asked: Vec<usize> = requests(&lab).iter().map(|(peer, ..)| *peer).collect();
    assert_eq!(asked, [peer, 1 - peer]);
}

#[test]
fn connections_that_end_hold_nothing_up() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(2), &chain);
    lab.latency = Duration::from_millis(300);
    fetch(&mut lab, 1, 10, 90);
    lab.run_for(Duration::from_millis(100));
    // Whoever was asked has not heard of it.
    assert_eq!(requests(&lab), []);
    lab.cut(0);
    lab.cut(1);
    lab.run_until("the filters", |lab| answer(lab, 1).is_some());
    assert_eq!(answer(&lab, 1).unwrap(), expected(&chain, 10, 99));
}

#[test]
fn after_a_reorganisation_they_are_those_of_the_best_chain() {
    let first = Rc::new(chain());
    let mut second = first.cut(TIP - 10);
    second.grow_blocks(20, 9, |height| script(u64::from(height) + 1000));
    let second = Rc::new(second);
    for wait in (0..1500).step_by(100) {
        let mut lab = synced_with(config(1), &first);
        lab.latency = Duration::from_millis(200);
        lab.disk_delay = Some(Duration::from_millis(20));
        lab.switch(0, &second);
        lab.run_for(Duration::from_millis(wait));
        fetch(&mut lab, 1, TIP - 20, 50);
        lab.run_until("the filters", |lab| answer(lab, 1).is_some());
        let filters = answer(&lab, 1).unwrap();
        let last = TIP - 21 + filters.len() as u32;
        let is_of = |chain: &Rc<Chain>| last <= chain.height() && filters == expected(chain, TIP - 20, last);
        assert!(is_of(&first) || is_of(&second), "after {wait} ms: {} filters", filters.len());
        lab.sync();
        assert_eq!(fetched(&mut lab, 2, TIP - 20, 50), expected(&second, TIP - 20, second.height()));
    }
}

#[test]
fn beside_a_search_each_gets_what_it_asked_for() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(2), &chain);
    lab.rate = Some(20_000);
    lab.command(Command::Watch {
        scripts: (1..=TIP).map(|n| script(n.into())).collect(),
        from: Birthday::Height(0),
    });
    for id in 0..20 {
        fetch(&mut lab, id, id as u32 * 15, 15);
    }
    let touched = |lab: &Lab| lab.events.iter().filter(|event| matches!(event, Event::Touched(_))).count();
    lab.run_until("all of both", |lab| answer(lab, 19).is_some() && touched(lab) == TIP as usize);
    for id in 0..20 {
        assert_eq!(answer(&lab, id).unwrap(), expected(&chain, id as u32 * 15, id as u32 * 15 + 14));
    }
    assert_eq!(lab.farewells(), []);
}

/// What the search had asked for before comes in the middle of what is fetched: the rest of that still comes, and is not asked for twice.
#[test]
fn what_a_search_has_asked_for_may_come_in_between() {
    let chain = Rc::new(chain());
    for wait in (0..900).step_by(20) {
        let mut lab = synced_with(config(1), &chain);
        lab.latency = Duration::from_millis(300);
        lab.command(Command::Watch { scripts: vec![script(9999)], from: Birthday::Height(50) });
        lab.run_for(Duration::from_millis(wait));
        fetch(&mut lab, 1, 40, 50);
        lab.run_until("the filters", |lab| answer(lab, 1).is_some());
        assert_eq!(answer(&lab, 1).unwrap(), expected(&chain, 40, 89));
        lab.run_for(Duration::from_secs(10));
        assert_eq!(lab.farewells(), [], "fetched {wait} ms after the search began");
    }
}

#[test]
fn what_is_given_up_holds_nobody_up() {
    let chain = Rc::new(chain());
    let mut lab = synced_with(config(1), &chain);
    lab.latency = Duration::from_millis(400);
    for id in 0..3 {
        fetch(&mut lab, id, 10 * id as u32, 10);
    }
    lab.run_for(Duration::from_millis(500));
    lab.command(Command::Cancel(RequestId(0)));
    lab.command(Command::Cancel(RequestId(1)));
    lab.run_until("the third", |lab| {
        lab.events.iter().filter(|event| matches!(event, Event::Answered { .. })).count() == 3
    });
    assert_eq!(answer(&lab, 2).unwrap(), expected(&chain, 20, 29));
    lab.run_for(Duration::from_secs(30));
    assert_eq!(lab.farewells(), [], "what comes late is no fault");
}
