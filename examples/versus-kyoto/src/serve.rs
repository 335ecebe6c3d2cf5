//! The process that serves the chain: Andon's server under its own driver, with a count of the bytes that go by.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use andon_bitcoin::server::{Chain, Command, Config, Event, Server};
use andon_kernel::{Input, Instant, Machine, MemoryStore, Now, Outbox, Output};
use bitcoin::Network;

use crate::lines::Served;
use crate::{Error, chain, system};

/// The served chain ends at the last full hour: a client may find nothing odd about it.
const HOUR: u32 = 60 * 60;

/// Makes the chain, serves it on loopback, says where, and answers each line on standard input by what went over the
/// wire since the start; until standard input ends.
///
/// # Errors
/// If the system has no room for it.
pub(crate) fn run(blocks: u32, elements: u32) -> Result<(), Error> {
    let now = system::unix_time()?;
    let blocks = (0..).zip(chain::blocks(blocks, now - now % HOUR));
    let chain = Chain::with_filters(blocks.map(|(height, block)| {
        let filter = (elements > 0).then(|| chain::filter(&block, height, elements));
        (block, filter)
    }))?;
    let tip = chain.tip();
    let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
    let driver = andon_mio::Driver::new(andon_mio::Options { listen, ..Default::default() })?;
    let address = driver.local_addresses()[0];
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    let traffic = Arc::new(Traffic::default());
    let server = Server::new(Config::new(Network::Regtest, seed), chain);
    let handle =
        driver.spawn(Metered { machine: server, traffic: Arc::clone(&traffic) }, MemoryStore::new())?;
    let stopper = handle.stopper();
    let answers = thread::spawn(move || {
        println!("{}", Served::Ready { address, tip });
        for _ in io::stdin().lines().map_while(Result::ok) {
            let [sent, received] =
                [&traffic.sent, &traffic.received].map(|count| count.load(Ordering::SeqCst));
            println!("{}", Served::Traffic { sent, received });
        }
        stopper.stop();
    });
    // The events are of no interest, but somebody must take them.
    while handle.recv().is_some() {}
    handle.join()?;
    answers.join().map_err(|_| "standard output can't be written")?;
    Ok(())
}

/// What went over the wire, in bytes.
#[derive(Debug, Default)]
struct Traffic {
    sent: AtomicU64,
    received: AtomicU64,
}

/// A server whose bytes are counted.
struct Metered {
    machine: Server,
    traffic: Arc<Traffic>,
}

impl Machine for Metered {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        if let Input::Received { bytes, .. } = &input {
            self.traffic.received.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
        let before = out.len();
        self.machine.handle(now, input, out);
        let sent: usize = out
            .peek_from(before)
            .map(|output| if let Output::Send { bytes, .. } = output { bytes.len() } else { 0 })
            .sum();
        self.traffic.sent.fetch_add(sent as u64, Ordering::SeqCst);
    }

    fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }
}
