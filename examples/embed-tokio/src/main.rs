//! A light client as a task of a program on tokio: it prints what touches an address until all is found, or Ctrl-C.

use std::{env, error::Error, process};

use andon_bitcoin::client::{Birthday, Client, Command, Config, Endpoint, Event, Start};
use andon_store::SqliteStore;
use andon_tokio::{Driver, Options};
use bitcoin::{Address, Network};
use tokio::runtime;

const USAGE: &str = "usage: embed-tokio NETWORK PEER DIRECTORY ADDRESS HEIGHT";

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Err(error) = run(&arguments).await {
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
    config.peers.push(Endpoint::parse(peer, network)?);
    config.discovery = None; // this peer, and nobody else
    config.start = Start::Before(from); // headers from the last known block before it, not from the first of all
    Ok((config, Command::Watch { scripts: vec![script], from }))
}

async fn run(arguments: &[String]) -> Result<(), Box<dyn Error>> {
    let (config, watch) = parse(arguments).map_err(|error| format!("{error}\n{USAGE}"))?;
    let driver = Driver::new(Options::default())?;
    let waker = driver.waker();
    let store = SqliteStore::open(&arguments[2], move || waker.wake())?;
    let handle = driver.spawn_on(&runtime::Handle::current(), Client::new(config), store)?;
    let (client, ending) = handle.split();
    let stopper = client.stopper();
    ctrlc::set_handler(move || stopper.stop())?;
    client.command(watch)?;
    while let Some(event) = client.recv_async().await {
        match event {
            Event::Touched(it) => println!("block {}: {:?}, {:?}", it.block.height, it.kind, it.amount),
            Event::TakenBack(it) => println!("gone: block {}: {:?}", it.block.height, it.kind),
            Event::Failed(failure) => return Err(failure.to_string().into()),
            Event::Synced(tip) => {
                println!("synced up to block {}", tip.height);
                client.stop(); // or go on, and hear of new blocks
            }
            other => println!("{other:?}"),
        }
    }
    Ok(ending.await?) // all connections are closed, and everything is stored
}
