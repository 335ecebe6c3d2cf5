//! However a driver ends, each open request completes, and says so.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use andon_bitcoin::client::{self, Birthday, Command, Event};
use andon_client::{Client, Request, RequestError};
use andon_driver::{DriverError, Options};
use andon_kernel::{
    Batch, Completion, Input, Instant, Machine, MemoryStore, Now, Outbox, Scan, Store, Ticket,
};
use bitcoin::{Block, Network};
use common::{Driver, Node, config, execute, fixture, scripts, start, until_synced};

over_each_driver! {
    a_stop_completes_what_is_open
    what_was_asked_before_a_stop_is_carried_out
    what_is_asked_of_a_client_that_has_not_started_is_done_or_said_not_to_be
    a_store_that_fails_completes_what_is_open
    a_machine_that_panics_completes_what_is_open
    the_driver_stops_with_the_last_end
    a_client_of_a_driver_that_has_ended_says_so
}

type Found = Option<(client::BlockId, Block)>;

/// Requests that nobody answers, and that the driver has taken.
fn open(client: &Client) -> Vec<Request<Found>> {
    let open = (0..100).map(|_| client.block_at(0).started()).collect();
    client.tip().wait().unwrap();
    open
}

/// Every one of these, waited for here or there, completes as the end says.
fn all_end(client: Client, requests: Vec<Request<Found>>, end: impl FnOnce()) {
    let mut life = client.follow(fixture().chain[0].block().txdata[0].compute_txid());
    let mut requests = requests.into_iter();
    let waiting: Vec<_> = requests
        .by_ref()
        .take(20)
        .enumerate()
        .map(|(number, request)| {
            thread::spawn(move || if number < 10 { request.wait() } else { execute(request) })
        })
        .collect();
    end();
    for thread in waiting {
        assert_eq!(thread.join().unwrap(), Err(RequestError::Ended));
    }
    for request in requests {
        assert_eq!(request.wait(), Err(RequestError::Ended));
    }
    assert_eq!(life.wait_changed(), None);
    drop(life);
    assert!(!client.is_running());
    assert_eq!(client.tip().wait(), Err(RequestError::Ended));
    assert_eq!((client.open_requests(), client.waiting_commands()), (0, 0));
}

fn a_stop_completes_what_is_open<D: Driver>() {
    let (client, mut events, ending) = start::<D>(config([]));
    let requests = open(&client);
    let stopper = client.stopper();
    all_end(client, requests, || {
        stopper.stop();
        ending.join().unwrap();
    });
    assert!(events.blocking_iter().any(|event| matches!(event, Event::Started { .. })));
    assert_eq!(events.recv(), None);
}

fn what_was_asked_before_a_stop_is_carried_out<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    let (client, mut events, ending) = start::<D>(config([node.address]));
    until_synced(&mut events, fixture.chain.len() - 1);
    let watch = client.watch(scripts(&fixture), Birthday::Height(0)).started();
    let tips: Vec<_> = (0..200).map(|_| client.tip().started()).collect();
    client.shutdown();
    assert_eq!(watch.wait(), Ok(()));
    for tip in tips {
        assert_eq!(tip.wait().unwrap().work, fixture.chain_work);
    }
    ending.join().unwrap();
    assert_eq!(client.open_requests(), 0);
}

/// Whether the client has read what is stored when it is told to stop, each request completes, as done or as not done.
fn what_is_asked_of_a_client_that_has_not_started_is_done_or_said_not_to_be<D: Driver>() {
    let fixture = fixture();
    let node = Node::whole(&fixture);
    for pause in [0, 1, 20, 200] {
        let (client, _events, ending) = start::<D>(config([node.address]));
        let watch = client.watch(scripts(&fixture), Birthday::Height(0)).started();
        let tips: Vec<_> = (0..200).map(|_| client.tip().started()).collect();
        thread::sleep(Duration::from_millis(pause));
        client.shutdown();
        let watched = watch.wait();
        assert!(matches!(watched, Ok(()) | Err(RequestError::Ended)), "{watched:?}");
        for tip in tips {
            let tip = tip.wait();
            assert!(matches!(tip, Ok(_) | Err(RequestError::Ended)), "{tip:?}");
        }
        ending.join().unwrap();
        assert_eq!(client.open_requests(), 0);
    }
}

/// A store that fails when it is told to.
struct Failing {
    store: MemoryStore,
    fails: Arc<AtomicBool>,
}

impl Failing {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) { Err(io::Error::other("the disk is full")) } else { Ok(()) }
    }
}

impl Store for Failing {
    type Error = io::Error;

    fn load(&mut self, scan: Scan<'_>) -> io::Result<()> {
        self.check()?;
        self.store.load(scan).map_err(io::Error::other)
    }

    fn store(&mut self, ticket: Ticket, batch: Batch<'_>) -> io::Result<()> {
        self.check()?;
        self.store.store(ticket, batch).map_err(io::Error::other)
    }

    fn complete(&mut self) -> io::Result<Option<Completion<'_>>> {
        self.check()?;
        self.store.complete().map_err(io::Error::other)
    }

    fn outstanding(&self) -> usize {
        self.store.outstanding()
    }

    fn is_congested(&self) -> bool {
        self.store.is_congested()
    }
}

fn a_store_that_fails_completes_what_is_open<D: Driver>() {
    let fails = Arc::new(AtomicBool::new(false));
    let store = Failing { store: MemoryStore::new(), fails: Arc::clone(&fails) };
    let handle = D::spawn(Options::default(), client::Client::new(config([])), |_| store);
    let (client, _events, ending) = Client::new(handle, Network::Regtest);
    let requests = open(&client);
    let watcher = client.clone();
    all_end(client, requests, || {
        fails.store(true, Ordering::SeqCst);
        let watch = watcher.watch(scripts(&fixture()), Birthday::Height(0)).wait();
        assert_eq!(watch, Err(RequestError::Ended));
        let ended = ending.join();
        assert!(
            matches!(&ended, Err(DriverError::Store(error)) if error.to_string() == "the disk is full"),
            "{ended:?}"
        );
    });
}

/// The client, with a fault.
struct Faulty(client::Client);

impl Machine for Faulty {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        if let Input::Command(Command::Request { command, .. }) = &input {
            assert!(!matches!(**command, Command::SetMetered(true)), "a fault of the machine");
        }
        self.0.handle(now, input, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline()
    }
}

fn a_machine_that_panics_completes_what_is_open<D: Driver>() {
    let machine = Faulty(client::Client::new(config([])));
    let handle = D::spawn(Options::default(), machine, |_| MemoryStore::new());
    let (client, _events, ending) = Client::new(handle, Network::Regtest);
    let requests = open(&client);
    let other = client.clone();
    all_end(client, requests, || {
        // What waits behind it ends with it.
        let behind: Vec<_> =
            [other.set_metered(true), other.resume(), other.pause()].map(Request::started).into();
        for request in behind {
            assert_eq!(request.wait(), Err(RequestError::Ended));
        }
        let ended = ending.join();
        assert!(
            matches!(&ended, Err(DriverError::Panicked(why)) if why == "a fault of the machine"),
            "{ended:?}"
        );
    });
}

fn the_driver_stops_with_the_last_end<D: Driver>() {
    // Whichever is dropped last.
    for last in 0..3 {
        let (client, events, ending) = start::<D>(config([]));
        let request = client.tip().started();
        let mut ends: Vec<Box<dyn std::any::Any>> =
            vec![Box::new(client), Box::new(events), Box::new(request)];
        ends.swap(0, last);
        ends.truncate(1);
        drop(ends);
        ending.join().unwrap();
    }
}

#[test]
fn a_runtime_that_is_shut_down_completes_what_is_open() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let driver = andon_tokio::Driver::new(Options::default()).unwrap();
    let machine = client::Client::new(config([]));
    let handle = driver.spawn_on(runtime.handle(), machine, MemoryStore::new()).unwrap();
    let (client, _events, ending) = Client::new(handle, Network::Regtest);
    let requests = open(&client);
    all_end(client, requests, || {
        runtime.shutdown_background();
        assert!(matches!(ending.join(), Err(DriverError::Abandoned)));
    });
}

fn a_client_of_a_driver_that_has_ended_says_so<D: Driver>() {
    let handle = D::spawn(Options::default(), client::Client::new(config([])), |_| MemoryStore::new());
    handle.stop();
    // The driver has ended when all that it told has been taken.
    while handle.recv().is_some() {}
    let (client, mut events, ending) = Client::new(handle, Network::Regtest);
    assert_eq!(client.tip().wait(), Err(RequestError::Ended));
    assert!(!client.is_running());
    assert!(events.recv().is_none());
    ending.join().unwrap();
}
