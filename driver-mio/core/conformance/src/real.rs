//! Cases that only a real driver can be put to, each for its reason:
//!
//! - [`the_handle_can_be_shared`]: of the types that applications hold. A simulated host has none of them.
//! - [`a_stopper_works_from_another_thread_while_one_waits`]: of several threads that wait at the same time. A world has one.
//! - [`running_out_of_files_does_not_spin`]: of a limit that systems have. A world has no files.
//! - [`an_idle_process_sleeps`]: of what the system's scheduler counts. In a world time passes for nobody's work.
//! - [`drivers_that_have_ended_keep_no_files`]: of the system's files, as well.
//! - [`a_store_that_fails_later_ends_the_driver_though_nobody_takes_events`]: of a store that fails on a thread of its own. A
//!   simulated host hears its store when it may give the machine what that completes.
//! - All of [`awaiting`](crate::awaiting): of futures, executors and threads at the application's end. A simulated host tells its
//!   application each event in the turn that makes it.

use std::io::Write;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use andon_driver::{Handle, Options, Received, Stopper, Waker};
use andon_kernel::{Checked, MemoryStore};

use crate::Driver;
use crate::puppet::*;
use crate::system::System;

pub fn the_handle_can_be_shared<D: Driver + 'static>() {
    fn shared<T: Send + Sync + 'static>() {}
    fn cloned<T: Clone>() {}
    shared::<Handle<Command, Event>>();
    shared::<Stopper>();
    shared::<Waker>();
    cloned::<Stopper>();
    cloned::<Waker>();
}

pub fn a_stopper_works_from_another_thread_while_one_waits<D: Driver + 'static>() {
    let (run, _) = start(&System::<D>::default(), Options::default(), Puppet::default());
    let run = Arc::new(run);
    let stopper = run.stopper();
    let receivers: Vec<_> = (0..3)
        .map(|_| {
            let run = run.clone();
            std::thread::spawn(move || std::iter::from_fn(|| run.recv()).count())
        })
        .collect();
    std::thread::spawn(move || stopper.stop()).join().unwrap();
    run.stopper().stop();
    let taken: usize = receivers.into_iter().map(|receiver| receiver.join().unwrap()).sum();
    assert_eq!(taken, 1);
    Arc::into_inner(run).unwrap().join().unwrap();
}

pub fn a_store_that_fails_later_ends_the_driver_though_nobody_takes_events<D: Driver + 'static>() {
    crate::faults::a_store_that_fails_later_ends_the_driver_though_nobody_takes_events(
        &System::<D>::default(),
    );
}

/// Runs itself again under a small limit on files. `path` is what the test is called, as `module_path!` has it.
#[cfg(unix)]
pub fn running_out_of_files_does_not_spin<D: Driver + 'static>(path: &str) {
    if !alone(path, "ANDON_DRIVER_TEST_FEW_FILES", "40") {
        return;
    }
    let puppet = Puppet::default();
    let counts = puppet.counts.clone();
    let driver = D::new(listening()).unwrap();
    let addr = driver.local_addresses()[0];
    // All files but five are taken; those who connected wait in the backlog.
    let spare: Vec<_> = (0..5).map(|_| std::fs::File::open("/dev/null").unwrap()).collect();
    let mut peers = Vec::new();
    while let Ok(peer) = TcpStream::connect(addr) {
        peers.push(peer);
    }
    drop(spare);
    let run = driver.spawn(Checked::new(puppet), MemoryStore::new()).unwrap();
    let mut open = 0;
    while let Received::Event(event) = run.recv_timeout(Duration::from_millis(500)) {
        assert!(matches!(event, Event::Connected(..)));
        open += 1;
    }
    assert!(0 < open && open < peers.len(), "{open} of {} were accepted", peers.len());
    let before = count(&counts.deadlines);
    std::thread::sleep(Duration::from_secs(1));
    let looks = count(&counts.deadlines) - before;
    assert!(looks < 1_000, "{looks} looks at the deadline in a second of waiting for files");
    // When the first have gone, there are files for as many others.
    let _waiting = peers.split_off(open);
    drop(peers);
    let mut accepted = 0;
    while accepted < open {
        accepted += usize::from(matches!(next(&run), Event::Connected(..)));
    }
    stop(run);
}

/// Runs itself again, alone in its process. `path` is what the test is called, as `module_path!` has it.
#[cfg(target_os = "linux")]
pub fn an_idle_process_sleeps<D: Driver + 'static>(path: &str) {
    if !alone(path, "ANDON_DRIVER_TEST_IDLE", "unlimited") {
        return;
    }
    let stage = System::<D>::default();
    let (run, addr) = start(&stage, listening(), Puppet { echo: true, ..Puppet::default() });
    let (_, mut peer) = accepted(&stage, &run, addr);
    for _ in 0..100 {
        peer.write_all(b"1").unwrap();
        assert_eq!(read(&mut peer, 1), b"1");
    }
    // No thread of the process was let run, whatever it would have done then.
    let runs = |time| {
        let before = runs_of_other_threads();
        std::thread::sleep(time);
        runs_of_other_threads() - before
    };
    wait_until(&stage, "rest", || runs(Duration::from_millis(300)) == 0);
    assert_eq!(runs(Duration::from_secs(2)), 0);
    let before = runs_of_other_threads();
    peer.write_all(b"1").unwrap();
    assert_eq!(read(&mut peer, 1), b"1");
    wait_until(&stage, "a run", || runs_of_other_threads() > before);
    stop(run);
}

/// Runs itself again, alone in its process. `path` is what the test is called, as `module_path!` has it.
#[cfg(target_os = "linux")]
pub fn drivers_that_have_ended_keep_no_files<D: Driver + 'static>(path: &str) {
    if !alone(path, "ANDON_DRIVER_TEST_ENDED", "unlimited") {
        return;
    }
    let stage = System::<D>::default();
    let mut kept = Vec::new();
    let mut play = || {
        let driver = D::new(listening()).unwrap();
        let (addr, waker) = (driver.local_addresses()[0], driver.waker());
        let run = driver.spawn(Checked::new(Puppet::default()), MemoryStore::new()).unwrap();
        let (conn, mut peer) = accepted(&stage, &run, addr);
        peer.write_all(b"heard").unwrap();
        assert_eq!(received(&run, conn, 5), b"heard");
        let (application, ending) = run.split();
        application.stop();
        while application.recv().is_some() {}
        ending.join().unwrap();
        // What an application may hold for as long as it likes.
        kept.push((application.stopper(), application, waker));
    };
    let files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    // The first may bring what all share.
    play();
    wait_until(&stage, "rest", || {
        let before = files();
        std::thread::sleep(Duration::from_millis(200));
        files() == before
    });
    let before = files();
    (0..50).for_each(|_| play());
    // A thread that has told of the end may have something left to drop.
    let mut last = 0;
    for _ in 0..50 {
        last = files();
        if last <= before {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(last <= before, "{before} files after one driver, and {last} after fifty more");
    for (stopper, application, waker) in kept {
        stopper.stop();
        waker.wake();
        assert!(application.command(Command::Mark(1)).is_err());
    }
}

/// How often the system has switched away from each other thread of this process, which it does after each run.
#[cfg(target_os = "linux")]
fn runs_of_other_threads() -> u64 {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let mut runs = 0;
    for thread in std::fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap();
        if Some(&*thread.file_name()) == own.file_name() {
            continue;
        }
        // One that has ended meanwhile does not count.
        let status = std::fs::read_to_string(thread.path().join("status")).unwrap_or_default();
        let lines = status.lines().filter_map(|line| line.split_once("ctxt_switches:"));
        runs += lines.map(|(_, number)| number.trim().parse::<u64>().unwrap()).sum::<u64>();
    }
    runs
}

/// Runs the test of this path again, alone in a process that is marked by a variable and has a limit on its files, which
/// can't be set from within without unsafe code. Whether this is that process.
#[cfg(unix)]
fn alone(path: &str, mark: &str, files: &str) -> bool {
    if std::env::var_os(mark).is_some() {
        return true;
    }
    let (_program, name) = path.split_once("::").unwrap();
    let status = std::process::Command::new("sh")
        .arg("-c")
        .arg(r#"{ [ "$2" = unlimited ] || ulimit -n "$2"; } && exec "$0" --exact "$1""#)
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .arg(files)
        .env(mark, "1")
        .status()
        .unwrap();
    assert!(status.success());
    false
}
