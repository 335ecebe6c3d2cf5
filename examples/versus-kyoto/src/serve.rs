//! The process that serves the chain: Andon's server under its own driver, with a count of the bytes that go by.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use andon_bitcoin::server::{Chain, Command, Config, Event, Server};
use andon_kernel::{Input, Instant, Machine, MemoryStore, Now, Outbox, Output};
use bitcoin::{Block, Network};

use crate::Error;
use crate::chain::Plan;
use crate::lines::Served;

/// Makes the chain, serves it on loopback, says where, and answers each line on standard input by what went over the
/// wire since the start; until standard input ends.
///
/// # Errors
/// If the system has no room for it.
pub(crate) fn run(plan: Plan) -> Result<(), Error> {
    let chain =
        Chain::with_filters(Filtered { plan, blocks: plan.blocks(), height: 0, made: VecDeque::new() })?;
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

/// Blocks whose filters are made at a time, by as many threads as there are processors.
const BATCH: usize = 512;

/// Blocks and their filters: these take most of the time, each alone.
struct Filtered<B> {
    plan: Plan,
    blocks: B,
    /// Of the next block.
    height: u32,
    made: VecDeque<(Block, Option<Vec<u8>>)>,
}

impl<B: Iterator<Item = Block>> Iterator for Filtered<B> {
    type Item = (Block, Option<Vec<u8>>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.made.is_empty() {
            let plan = self.plan;
            let mut batch: Vec<(u32, Self::Item)> =
                (self.height..).zip(self.blocks.by_ref().take(BATCH).map(|block| (block, None))).collect();
            self.height += batch.len() as u32;
            let threads = thread::available_parallelism().map_or(1, NonZero::get);
            thread::scope(|scope| {
                for share in batch.chunks_mut(BATCH.div_ceil(threads)) {
                    scope.spawn(move || {
                        for (height, (block, filter)) in share {
                            *filter = plan.filter(block, *height);
                        }
                    });
                }
            });
            self.made.extend(batch.into_iter().map(|(_, item)| item));
        }
        self.made.pop_front()
    }
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
