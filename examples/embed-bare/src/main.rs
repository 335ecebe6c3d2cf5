//! A light client without any of the drivers: it prints what touches an address until all is found. What it knows is
//! stored, so Ctrl-C may end it anywhere. All that it takes from the system is in `blocking.rs`.

mod blocking;

use std::{env, error::Error, process, thread};

use andon_bitcoin::client::{Birthday, Client, Command, Config, Endpoint, Event, Start};
use andon_kernel::Input;
use andon_store::SqliteStore;
use bitcoin::{Address, Network};
use blocking::Blocking;

const USAGE: &str = "usage: embed-bare NETWORK PEER DIRECTORY ADDRESS HEIGHT";

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Err(error) = run(&arguments) {
        eprintln!("error: {error}");
        process::exit(1);
    }
}

fn parse(arguments: &[String]) -> Result<(Config, Command), Box<dyn Error>> {
    let [network, peer, _, address, height] = arguments else { return Err("not five arguments".into()) };
    let network: Network = network.parse()?;
    let script = address.parse::<Address<_>>()?.require_network(network)?.script_pubkey();
    let from = Birthday::Height(height.parse()?);
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?; // every random choice of the client comes from here
    let mut config = Config::new(network, seed);
    config.peers.push(Endpoint::Address(peer.parse()?));
    config.discovery = None; // this peer, and nobody else
    config.start = Start::Before(from); // headers from the last known block before it, not from the first of all
    Ok((config, Command::Watch { scripts: vec![script], from }))
}

fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (config, watch) = parse(arguments).map_err(|error| format!("{error}\n{USAGE}"))?;
    let this = thread::current();
    let store = SqliteStore::open(&arguments[2], move || this.unpark())?;
    let mut client = Blocking::new(Client::new(config), store);
    client.give(Input::Command(watch));
    while let Some(event) = client.next()? {
        match event {
            Event::Touched(it) => println!("block {}: {:?}, {:?}", it.block.height, it.kind, it.amount),
            Event::TakenBack(it) => println!("gone: block {}: {:?}", it.block.height, it.kind),
            Event::Failed(failure) => return Err(failure.to_string().into()),
            Event::Synced(tip) => {
                println!("synced up to block {}", tip.height);
                client.give(Input::Stop); // or go on, and hear of new blocks
            }
            other => println!("{other:?}"),
        }
    }
    Ok(()) // the connection is closed, and everything is stored
}
