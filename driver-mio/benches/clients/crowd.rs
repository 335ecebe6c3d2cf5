//! Many clients in one group, and what they cost when they are idle.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::Duration;

use andon_bitcoin::client::{Birthday, Client, Command, Config, Endpoint, Event};
use andon_kernel::{Input, Instant, Machine, MemoryStore, Now, Outbox};
use andon_mio::{Group, Handle, Options};
use andon_store::SqliteStore;
use bitcoin::Network;

use crate::blocks::script;
use crate::system::{memory, number, threads};

/// Scripts that each client watches.
const SCRIPTS: u32 = 10;

/// What a process of clients is to do.
pub(crate) struct Crowd {
    count: u32,
    tip: u32,
    on_disk: bool,
    peers: Vec<Endpoint>,
}

impl Crowd {
    /// Of how many, the tip's height, the store and the nodes.
    pub(crate) fn parse(plan: &str) -> Self {
        let fields: Vec<&str> = plan.split(' ').collect();
        Self {
            count: fields[0].parse().unwrap(),
            tip: fields[1].parse().unwrap(),
            on_disk: fields[2] == "sqlite",
            peers: fields[3..].iter().map(|address| Endpoint::Address(address.parse().unwrap())).collect(),
        }
    }

    /// Runs them. The rest of a line of the table.
    pub(crate) fn run(&self) -> String {
        let directory = std::env::var_os("ANDON_DIRECTORY").map_or_else(std::env::temp_dir, PathBuf::from);
        let directory = tempfile::tempdir_in(directory).unwrap();
        let turns = Arc::new(AtomicU64::new(0));
        let group = Group::new().unwrap();
        let before = memory();
        let clients: Vec<Handle<Command, Event>> = (0..self.count)
            .map(|index| {
                let driver = group.driver(Options::default()).unwrap();
                let client = Counted { client: Client::new(self.config(index)), turns: Arc::clone(&turns) };
                let client = if self.on_disk {
                    let waker = driver.waker();
                    let own = directory.path().join(index.to_string());
                    driver.spawn(client, SqliteStore::open(own, move || waker.wake()).unwrap()).unwrap()
                } else {
                    driver.spawn(client, MemoryStore::new()).unwrap()
                };
                let scripts = (0..SCRIPTS).map(|script_| script(index * SCRIPTS + script_)).collect();
                client.command(Command::Watch { scripts, from: Birthday::Height(self.tip) }).unwrap();
                client
            })
            .collect();
        for client in &clients {
            let mut connected = 0;
            let mut synced = false;
            while connected < self.peers.len() || !synced {
                match client.recv().expect("clients go on") {
                    Event::PeerConnected { .. } => connected += 1,
                    Event::Synced(block) => synced = block.height == self.tip,
                    Event::Failed(failure) => panic!("{failure}"),
                    _ => {}
                }
            }
        }
        // New databases wait for two seconds before they have their logs.
        sleep(Duration::from_secs(5));
        let seconds = number("ANDON_SECONDS", 240);
        let (turns_before, thread_before, stores_before) =
            (turns.load(Ordering::SeqCst), threads("andon-mio"), threads("andon-store"));
        sleep(Duration::from_secs(seconds.into()));
        let (turns, thread, stores) =
            (turns.load(Ordering::SeqCst), threads("andon-mio"), threads("andon-store"));
        let memory = memory() - before;
        let hourly = |value: f64| value * 3600.0 / f64::from(seconds) / f64::from(self.count);
        let line = format!(
            "| {:.0} KiB | {} | {:.1} | {:.1} | {:.1} | {:.1} ms |",
            memory as f64 / f64::from(self.count) / 1024.0,
            thread.count + stores.count,
            hourly((thread.switches - thread_before.switches) as f64),
            hourly((turns - turns_before) as f64),
            hourly((stores.switches - stores_before.switches) as f64),
            hourly((thread.time + stores.time - thread_before.time - stores_before.time).as_secs_f64() * 1e3),
        );
        clients.iter().for_each(Handle::stop);
        clients.into_iter().for_each(|client| client.join().unwrap());
        line
    }

    fn config(&self, index: u32) -> Config {
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&index.to_le_bytes());
        let mut config = Config::new(Network::Regtest, seed);
        config.discovery = None;
        config.peers.clone_from(&self.peers);
        config
    }
}

/// A client whose turns are counted.
struct Counted {
    client: Client,
    turns: Arc<AtomicU64>,
}

impl Machine for Counted {
    type Command = Command;
    type Event = Event;

    fn handle(&mut self, now: Now, input: Input<'_, Command>, out: &mut Outbox<Event>) {
        self.turns.fetch_add(1, Ordering::Relaxed);
        self.client.handle(now, input, out);
    }

    fn deadline(&self) -> Option<Instant> {
        self.client.deadline()
    }
}
