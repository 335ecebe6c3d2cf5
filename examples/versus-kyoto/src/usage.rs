//! What a search costs over links of several speeds: for each of them one run of each client.

use std::fmt;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use bitcoin::BlockHash;
use clap::Args;

use crate::chain::Plan;
use crate::child::Server;
use crate::findings::Sum;
use crate::lines::Done;
use crate::links::Link;
use crate::start::{LOWEST, Start};
use crate::task::{Task, Unfinished};
use crate::{Client, Error, costs, system};

/// Kyoto's table of what it uses, for both clients, over links of several speeds.
#[derive(Debug, Args)]
pub(crate) struct Usage {
    /// Blocks from the start point on
    #[arg(long, value_name = "N", default_value_t = 65_000, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    blocks: u32,
    /// Elements of each filter, and of each block that is paid in
    #[arg(long, value_name = "E", default_value_t = 8800, value_parser = clap::value_parser!(u32).range(3..=9500))]
    elements: u32,
    /// How many scripts they look for
    #[arg(long, value_name = "S", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    scripts: u32,
    /// The links, separated by commas: megabytes a second; `a+b` is two peers, each behind a link of its own; `unlimited`
    #[arg(long, value_name = "SPEEDS", default_value = "unlimited,8,2,0.5,8+2+0.5", value_delimiter = ',')]
    links: Vec<Speeds>,
    /// How long the filters may take over a link. Where all would take longer, a run has as many blocks as do not
    #[arg(long, value_name = "SECONDS", default_value = "3600", value_parser = crate::seconds)]
    link_time: Duration,
    /// Run all links that have a limit at the same time: they share the processors, and the longest of them is all the time
    #[arg(long)]
    at_once: bool,
    /// After how long a run is ended and what it reached is told
    #[arg(long, value_name = "SECONDS", default_value = "14400", value_parser = crate::seconds)]
    time_limit: Duration,
    /// Run this client only
    #[arg(long, value_enum)]
    only: Option<Client>,
}

/// The speeds of the links to all peers, in bytes a second; none: one peer, and no limit.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Speeds(Vec<f64>);

/// What came of one run.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    pub(crate) outcome: Result<Done, Unfinished>,
    /// Bytes that the client received.
    pub(crate) received: u64,
    /// Connections that it made over links.
    pub(crate) connections: Option<u64>,
}

/// What was measured over one link, or several at once.
#[derive(Clone, Debug)]
pub(crate) struct Column {
    pub(crate) speeds: Speeds,
    /// What is served, and where the search begins.
    pub(crate) plan: Plan,
    pub(crate) start: Start,
    /// What there is to be found from there on.
    pub(crate) truth: Sum,
    pub(crate) andon: Option<Cost>,
    pub(crate) kyoto: Option<Cost>,
}

/// Runs it all, prints each run as it ends and the table of all. Fails if a client did not get to the end.
///
/// # Errors
/// If a process can't be run, or a client found anything but the truth.
pub(crate) fn run(usage: &Usage) -> Result<ExitCode, Error> {
    let Usage { blocks, elements, scripts, .. } = *usage;
    let end = system::last_hour()?;
    let plan = Plan { blocks: LOWEST + blocks, below: LOWEST, elements, scripts, full: true, end };
    eprintln!("making {blocks} blocks, with filters of {elements} elements");
    let mut server = Server::start(plan)?;
    // Each as large as any other.
    let filter = plan.blocks().nth(plan.blocks as usize).and_then(|block| plan.filter(&block, plan.blocks));
    let filter = filter.ok_or("the last block has a filter")?.len();
    let mut columns = Vec::new();
    for speeds in &usage.links {
        let most = speeds.rate().map_or(f64::INFINITY, |rate| rate * usage.link_time.as_secs_f64());
        let start = Start::before(plan, (most / filter as f64) as u32)
            .ok_or_else(|| format!("a link of {speeds} takes more than --link-time for any of it"))?;
        let truth = plan.truth(start.0.height);
        if truth.count == 0 {
            let what = "leaves no payment to be found: give it more --link-time";
            return Err(format!("a link of {speeds} {what}").into());
        }
        columns.push(Column { speeds: speeds.clone(), plan, start, truth, andon: None, kyoto: None });
    }
    let clients = [Client::Andon, Client::Kyoto].into_iter();
    let clients: Vec<Client> =
        clients.filter(|client| usage.only.is_none_or(|only| only == *client)).collect();
    let (peer, tip, limit) = (server.address, server.tip, usage.time_limit);
    // Runs without a limit are measured by what the server sent: one at a time. Those that are not to be at once as well.
    let is_alone = |column: &Column| !usage.at_once || column.speeds.rate().is_none();
    let (alone, at_once): (Vec<_>, Vec<_>) = (0..columns.len())
        .flat_map(|index| clients.iter().map(move |&client| (index, client)))
        .partition(|&(index, _)| is_alone(&columns[index]));
    for (index, client) in alone {
        let before = server.traffic()?.0;
        let mut cost = columns[index].run(client, peer, tip, limit)?;
        if columns[index].speeds.rate().is_none() {
            cost.received = server.traffic()?.0 - before;
        }
        columns[index].take(client, cost);
    }
    let costs: Result<Vec<_>, Error> = thread::scope(|scope| {
        let start = |(index, client)| {
            let column: &Column = &columns[index];
            scope.spawn(move || Ok((index, client, column.run(client, peer, tip, limit)?)))
        };
        let threads: Vec<_> = at_once.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().map_err(|_| "a run has panicked")?).collect()
    });
    for (index, client, cost) in costs? {
        columns[index].take(client, cost);
    }
    println!("{}", costs::table(usage.at_once, elements, scripts, filter, &columns));
    let mut costs = columns.iter().flat_map(|column| [&column.andon, &column.kyoto]).flatten();
    let complete = costs.all(|cost| cost.outcome.is_ok());
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Column {
    /// Has a client search over the links of this column, opened for it alone.
    fn run(
        &self,
        client: Client,
        server: SocketAddr,
        tip: BlockHash,
        time_limit: Duration,
    ) -> Result<Cost, Error> {
        let directory = tempfile::Builder::new().prefix("versus-kyoto-").tempdir()?;
        let speeds = &self.speeds.0;
        let links: Vec<Link> =
            speeds.iter().map(|&speed| Link::open(server, speed)).collect::<Result<_, _>>()?;
        let mut peers: Vec<SocketAddr> = links.iter().map(|link| link.address).collect();
        if peers.is_empty() {
            peers.push(server);
        }
        let task = Task {
            client,
            plan: self.plan,
            tip,
            peers: &peers,
            dials: DIALS,
            start: Some(&self.start),
            truth: self.truth,
            directory: directory.path(),
            time_limit,
        };
        let outcome = task.run()?;
        eprintln!("{}, {} blocks, {}", self.speeds, self.blocks(), costs::line(client, &outcome));
        Ok(Cost {
            outcome,
            // What the server has sent may still stand before the link.
            received: links.iter().map(Link::passed).sum(),
            connections: (!links.is_empty()).then(|| links.iter().map(Link::connections).sum()),
        })
    }

    fn take(&mut self, client: Client, cost: Cost) {
        *(if client == Client::Andon { &mut self.andon } else { &mut self.kyoto }) = Some(cost);
    }

    /// Blocks above the start.
    pub(crate) fn blocks(&self) -> u32 {
        self.plan.blocks - self.start.0.height
    }
}

impl Speeds {
    /// All of them together, in bytes a second, if there is a limit.
    pub(crate) fn rate(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.iter().sum())
    }
}

/// How often Kyoto may dial each peer: it lets one go that keeps it waiting, 5 seconds for an answer or 20 for a thousand
/// filters. On a network there would be another one, as slow; here it is the same again.
const DIALS: usize = 1000;

/// The least and the most that a link may let through, in megabytes a second.
const LEAST: f64 = 0.01;
const MOST: f64 = 10_000.0;

/// Peers at most: what Kyoto can be connected to.
const PEERS: usize = 15;

impl FromStr for Speeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "unlimited" {
            return Ok(Self(Vec::new()));
        }
        let speed = |text: &str| text.parse().ok().filter(|speed| (LEAST..=MOST).contains(speed));
        let speeds: Option<Vec<f64>> = text.split('+').map(|text| Some(speed(text)? * 1e6)).collect();
        speeds
            .filter(|speeds| speeds.len() <= PEERS)
            .map(Self)
            .ok_or_else(|| format!("megabytes a second from {LEAST} to {MOST}, joined by +, or `unlimited`"))
    }
}

impl fmt::Display for Speeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("unlimited");
        }
        let speeds: Vec<String> = self.0.iter().map(|speed| (speed / 1e6).to_string()).collect();
        write!(f, "{} MB/s", speeds.join("+"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_are_read_as_they_are_written() {
        for (text, speeds, shown) in [
            ("unlimited", vec![], "unlimited"),
            ("8", vec![8e6], "8 MB/s"),
            ("0.5", vec![0.5e6], "0.5 MB/s"),
            ("8+2+0.5", vec![8e6, 2e6, 0.5e6], "8+2+0.5 MB/s"),
        ] {
            let read = text.parse::<Speeds>();
            assert_eq!(read.as_ref().map(|speeds| &speeds.0), Ok(&speeds));
            assert_eq!(read.map(|speeds| speeds.to_string()).as_deref(), Ok(shown));
        }
        for text in ["", "+", "8+", "0", "-1", "x", "NaN", "inf", "1e9", "unlimited+8", "8 MB/s"] {
            assert!(text.parse::<Speeds>().is_err(), "{text:?}");
        }
        assert!(vec!["1"; 16].join("+").parse::<Speeds>().is_err());
    }
}
