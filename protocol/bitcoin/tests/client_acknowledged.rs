//! An application that says what it has kept: after a crash at any write it hears what it had not acknowledged, in the order in
//! which it was told, and nothing that it had.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod lab;

use std::rc::Rc;
use std::time::Duration;

use andon_bitcoin::client::{Answer, Birthday, Command, Config, Event, RequestId, Touch};
use andon_kernel::Space;
use bitcoin::ScriptBuf;
use lab::chain::script;
use lab::{Chain, Lab, Peer, config};

/// Scripts that blocks pay by turns.
const PAYEES: u64 = 4;
const TIP: u32 = 60;

fn scripts() -> Vec<ScriptBuf> {
    (0..PAYEES).map(script).collect()
}

fn grow(chain: &mut Chain, blocks: u32, tag: u8) {
    chain.grow_blocks(blocks, tag, |height| script(u64::from(height) % (2 * PAYEES)));
}

fn chain() -> Chain {
    let mut chain = Chain::new();
    grow(&mut chain, TIP, 1);
    chain
}

fn acknowledging() -> Config {
    Config { acknowledged: true, ..config(1) }
}

/// What a wallet holds: what it was told, one after the other. What a mark has made sure outlives a crash.
#[derive(Clone, Debug, Default, PartialEq)]
struct Wallet {
    /// By the numbers under which it was told.
    kept: Vec<(u64, Event)>,
    mark: u64,
    /// What was told since the last mark.
    open: Vec<Event>,
    /// Events of this process that were heard.
    seen: usize,
}

impl Wallet {
    /// Takes in what has been told since it was asked last. Returns the number to acknowledge.
    fn hear(&mut self, lab: &Lab) -> Option<u64> {
        let mut mark = None;
        for event in &lab.events[self.seen..] {
            match event {
                Event::Touched(_) | Event::TakenBack(_) => self.open.push(event.clone()),
                Event::Mark(number) => {
                    assert!(*number > self.mark, "mark {number} after {}", self.mark);
                    let first = number - self.open.len() as u64 + 1;
                    self.kept.extend((first..).zip(self.open.drain(..)));
                    (self.mark, mark) = (*number, Some(*number));
                }
                _ => {}
            }
        }
        self.seen = lab.events.len();
        mark
    }

    fn crash(&mut self) {
        self.open.clear();
        self.seen = 0;
    }

    /// What stands, in the order of blocks.
    fn findings(&self) -> Vec<Touch> {
        let mut standing: Vec<Touch> = Vec::new();
        for (_, event) in &self.kept {
            match event {
                Event::Touched(touch) => {
                    assert!(!standing.contains(touch), "{touch:?} was told twice");
                    standing.push(touch.clone());
                }
                Event::TakenBack(touch) => {
                    let place = standing.iter().position(|standing| standing == touch);
                    let place = place.unwrap_or_else(|| panic!("{touch:?} was taken back and never told"));
                    standing.remove(place);
                }
                _ => {}
            }
        }
        standing.sort_by_key(|touch| (touch.block.height, touch.txid, touch.kind));
        standing
    }
}

fn watch(lab: &mut Lab) {
    lab.command(Command::Watch { scripts: scripts(), from: Birthday::Height(0) });
}

/// What one hears that acknowledges nothing and is never interrupted.
fn truth(chain: &Rc<Chain>) -> Vec<Touch> {
    let mut lab = Lab::new(config(1), vec![Peer::new(chain)]);
    watch(&mut lab);
    lab.sync();
    let wallet = Wallet { kept: (1..).zip(lab.events.clone()).collect(), ..Wallet::default() };
    let findings = wallet.findings();
    assert!(findings.len() > 10, "{} findings", findings.len());
    findings
}

/// Runs until the client is at the tip or the process ends; each mark is acknowledged if `acknowledges` says so.
fn run(lab: &mut Lab, wallet: &mut Wallet, mut acknowledges: impl FnMut(u64) -> bool) {
    let tip = lab.peers[0].chain.tip();
    while !lab.has_crashed() && lab.synced != Some(tip) {
        lab.run_for(Duration::from_millis(10));
        if let Some(mark) = wallet.hear(lab)
            && acknowledges(mark)
            && !lab.has_crashed()
        {
            lab.command(Command::Acknowledge(mark));
        }
    }
    wallet.hear(lab);
}

#[test]
fn what_is_acknowledged_is_not_told_again() {
    let chain = Rc::new(chain());
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| true);
    lab.let_the_disk_finish();
    assert_eq!(wallet.findings(), truth(&chain));
    lab.restart();
    lab.run_for(Duration::from_secs(30));
    let again = lab.events.iter().filter(|event| {
        matches!(event, Event::Touched(_) | Event::TakenBack(_) | Event::Mark(_) | Event::Matched(_))
    });
    assert_eq!(again.count(), 0, "{:?}", lab.events);
    assert!(lab.synced.is_some());
    assert_eq!(lab.rows("told").len(), 1, "the number of the last remains");
}

#[test]
fn what_is_not_acknowledged_is_told_again_as_it_was_told_first() {
    let chain = Rc::new(chain());
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| false);
    for _ in 0..3 {
        lab.restart();
        let mut again = Wallet::default();
        run(&mut lab, &mut again, |_| false);
        assert_eq!((again.kept, again.mark), (wallet.kept.clone(), wallet.mark));
    }
    // A part of it.
    let half = wallet.mark / 2;
    lab.command(Command::Acknowledge(half));
    lab.let_the_disk_finish();
    lab.restart();
    let mut rest = Wallet::default();
    run(&mut lab, &mut rest, |_| false);
    assert_eq!(rest.kept, wallet.kept[half as usize..]);
    assert_eq!(rest.mark, wallet.mark);
    // More than was told is all that was told.
    lab.command(Command::Acknowledge(u64::MAX));
    lab.let_the_disk_finish();
    lab.restart();
    let mut none = Wallet::default();
    run(&mut lab, &mut none, |_| false);
    assert_eq!(none.kept, []);
}

#[test]
fn numbers_go_on_after_all_was_acknowledged() {
    let mut longer = chain();
    let chain = Rc::new(longer.clone());
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| true);
    lab.let_the_disk_finish();
    let before = wallet.mark;
    wallet.crash();
    lab.restart();
    grow(&mut longer, 20, 2);
    let longer = Rc::new(longer);
    lab.peers[0] = Peer::new(&longer);
    run(&mut lab, &mut wallet, |_| true);
    assert!(wallet.mark > before, "{} after {before}", wallet.mark);
    assert_eq!(wallet.findings(), truth(&longer));
}

/// A branch that leaves the chain at a height, and is longer.
fn branch(chain: &Chain, fork: u32) -> Chain {
    let mut branch = chain.cut(fork);
    grow(&mut branch, TIP - fork + 5, 77);
    branch
}

#[test]
fn a_crash_at_any_write_loses_nothing_and_repeats_nothing_that_was_acknowledged() {
    let first = Rc::new(chain());
    let second = Rc::new(branch(&first, TIP - 20));
    let expected = truth(&second);
    let mut crashes = 0;
    for delay in [1, 7, 40] {
        let mut crash = 1;
        loop {
            let mut lab = Lab::new(acknowledging(), vec![Peer::new(&first)]);
            lab.disk_delay = Some(Duration::from_millis(delay));
            lab.crash_after = Some(crash);
            let mut wallet = Wallet::default();
            let mut order = 0u32;
            // By turns an application that is quick to acknowledge and one that is slow.
            let mut acknowledges = |_| {
                order += 1;
                crash % 2 == 0 || order.is_multiple_of(3)
            };
            let mut has_crashed = false;
            watch(&mut lab);
            run(&mut lab, &mut wallet, &mut acknowledges);
            if !lab.has_crashed() {
                lab.switch(0, &second);
                run(&mut lab, &mut wallet, &mut acknowledges);
            }
            if lab.has_crashed() {
                has_crashed = true;
                crashes += 1;
                // The application's own disk has what the marks made sure, and those it acknowledged or did not.
                wallet.crash();
                lab.restart();
                lab.peers[0] = Peer::new(&second);
                let mut again = Wallet::default();
                watch(&mut lab);
                run(&mut lab, &mut again, |_| true);
                // What is told again is what was kept and not acknowledged; the rest goes on from there.
                if let Some((first, _)) = again.kept.first() {
                    assert!(*first <= wallet.mark + 1, "crash {crash}: {first} after {}", wallet.mark);
                }
                let known = |number: u64| wallet.kept.iter().find(|(kept, _)| *kept == number);
                for told in again.kept.iter().filter(|(number, _)| *number <= wallet.mark) {
                    assert_eq!(Some(told), known(told.0), "crash {crash}");
                }
                let mark = wallet.mark;
                wallet.kept.extend(again.kept.into_iter().filter(|(number, _)| *number > mark));
            }
            let numbers = wallet.kept.iter().map(|(number, _)| *number);
            assert!(numbers.eq(1..=wallet.kept.len() as u64), "crash {crash}");
            assert_eq!(wallet.findings(), expected, "crash {crash}");
            if !has_crashed {
                break;
            }
            crash += 1;
        }
    }
    assert!(crashes > 40, "{crashes} crashes");
}

#[test]
fn an_answer_to_an_acknowledgement_means_that_it_is_durable() {
    let chain = Rc::new(chain());
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    lab.disk_delay = Some(Duration::from_millis(50));
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| false);
    let id = RequestId(7);
    let command = Box::new(Command::Acknowledge(wallet.mark));
    lab.command(Command::Request { id, command, within: None });
    let answered = |lab: &Lab| lab.events.contains(&Event::Answered { id, answer: Answer::Done });
    assert!(!answered(&lab));
    lab.run_until("the answer", answered);
    lab.restart();
    let mut none = Wallet::default();
    run(&mut lab, &mut none, |_| false);
    assert_eq!(none.kept, []);
}

#[test]
fn who_does_not_acknowledge_hears_all_at_each_start_and_nothing_is_kept_for_it() {
    let chain = Rc::new(chain());
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| false);
    assert!(lab.rows("told").len() > 10);
    lab.config.acknowledged = false;
    wallet.crash();
    lab.restart();
    lab.sync();
    lab.let_the_disk_finish();
    assert_eq!(lab.rows("told").len(), 1, "the count remains");
    assert!(!lab.events.iter().any(|event| matches!(event, Event::Mark(_))));
    let touched = lab.events.iter().filter(|event| matches!(event, Event::Touched(_))).count();
    assert_eq!(touched, truth(&chain).len());
    // Who begins to acknowledge later hears all of it once more, whatever cuts that short.
    for crash in [None, Some(1), Some(2), None] {
        lab.config.acknowledged = true;
        lab.disk_delay = Some(Duration::from_millis(5));
        lab.restart();
        lab.crash_after = crash.map(|count| lab.batches() + count);
        let mut wallet = Wallet::default();
        run(&mut lab, &mut wallet, |_| false);
        if !lab.has_crashed() {
            assert_eq!(wallet.findings(), truth(&chain), "{crash:?}");
        }
    }
}

#[test]
fn a_mark_of_long_ago_acknowledges_nothing_that_came_since() {
    let chain = Rc::new(chain());
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| true);
    lab.let_the_disk_finish();
    let mark = wallet.mark;
    // For a while nobody acknowledges.
    lab.config.acknowledged = false;
    lab.restart();
    lab.sync();
    lab.let_the_disk_finish();
    // Then somebody does who holds nothing, and whose last acknowledgement comes once more.
    lab.config.acknowledged = true;
    lab.restart();
    let mut anew = Wallet::default();
    lab.command(Command::Acknowledge(mark));
    run(&mut lab, &mut anew, |_| false);
    assert_eq!(anew.findings(), truth(&chain));
    assert!(anew.kept[0].0 > mark);
    lab.let_the_disk_finish();
    lab.restart();
    let mut again = Wallet::default();
    run(&mut lab, &mut again, |_| false);
    assert_eq!(again.kept, anew.kept);
    // What is acknowledged while the journal is read is not told again.
    lab.let_the_disk_finish();
    lab.disk_delay = Some(Duration::from_millis(5));
    lab.restart();
    lab.command(Command::Acknowledge(anew.kept[4].0));
    let mut rest = Wallet::default();
    run(&mut lab, &mut rest, |_| false);
    assert_eq!(rest.kept, anew.kept[5..]);
}

#[test]
fn many_are_told_again_in_several_turns() {
    let mut long = Chain::new();
    long.grow_blocks(1800, 1, |height| script(u64::from(height) % PAYEES));
    let long = Rc::new(long);
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&long)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |_| false);
    assert_eq!(wallet.kept.len(), 1800);
    lab.restart();
    let mut again = Wallet::default();
    run(&mut lab, &mut again, |_| false);
    assert_eq!(again.kept, wallet.kept);
    let marks: Vec<u64> = lab
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Mark(number) => Some(*number),
            _ => None,
        })
        .collect();
    assert_eq!(marks, [499, 999, 1499, 1800]);
}

#[test]
fn damage_is_told_and_spoils_nothing_else() {
    let chain = Rc::new(chain());
    let truth = truth(&chain);
    let mut lab = Lab::new(acknowledging(), vec![Peer::new(&chain)]);
    let mut wallet = Wallet::default();
    watch(&mut lab);
    run(&mut lab, &mut wallet, |mark| mark < 20);
    lab.let_the_disk_finish();
    let told = |lab: &Lab| lab.rows("told");
    let harmed = |lab: &Lab, space: &'static str, place: usize| {
        let (key, mut value) = lab.rows(space)[place].clone();
        value[0] ^= 0xff;
        let mut harmed = lab.store().clone();
        lab::damage::change(&mut harmed, |batch| batch.put(Space::new(space), &key, &value));
        harmed
    };
    // How far all is acknowledged is lost: what is not acknowledged is there.
    let first = told(&lab).len();
    let mut after = Lab::on(harmed(&lab, "told", 0), acknowledging(), vec![Peer::new(&chain)]);
    let mut again = Wallet::default();
    run(&mut after, &mut again, |_| false);
    assert_eq!(again.kept.len(), first - 1);
    assert_eq!(again.kept, wallet.kept[wallet.kept.len() + 1 - first..]);
    assert!(after.events.iter().any(|event| matches!(event, Event::Repaired { .. })));
    // A finding is lost that the application holds: it and what lies above it are searched for again, and nothing is told twice.
    lab.command(Command::Acknowledge(wallet.mark));
    lab.let_the_disk_finish();
    let mut after = Lab::on(harmed(&lab, "touches", 10), acknowledging(), vec![Peer::new(&chain)]);
    let lost = wallet.findings()[10].clone();
    let mut held = wallet_of(&wallet, &lost);
    run(&mut after, &mut held, |_| true);
    assert_eq!(held.findings(), truth);
}

/// A wallet that holds what another does, but for one finding.
fn wallet_of(wallet: &Wallet, lost: &Touch) -> Wallet {
    let kept =
        wallet.kept.iter().filter(|(_, event)| !matches!(event, Event::Touched(touch) if touch == lost));
    Wallet { kept: kept.cloned().collect(), ..Wallet::default() }
}
