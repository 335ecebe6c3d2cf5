//! Which nodes are connected to, and how.

use andon_bitcoin::client::{Config, Endpoint};
use bitcoin::Network;
use clap::Args;

use crate::connection::ConnectionArguments;
use crate::discovery::DiscoveryArguments;
use crate::error::Error;
use crate::system;

/// The program calls itself so to its peers, on every driver: which one that is, is nobody's business.
const USER_AGENT: &str = concat!("/andon:", env!("CARGO_PKG_VERSION"), "/");

/// Bytes of a user agent.
const MAX_USER_AGENT: usize = 256;

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct NodeArguments {
    /// A node to connect to, and nobody else unless --discover is given; repeat it, or separate several by commas
    ///
    /// The node must serve compact block filters (Bitcoin Core: -blockfilterindex=1 -peerblockfilters=1). Without a port
    /// it is the network's: 8333, testnet 18333, testnet4 48333, signet 38333, regtest 18444. Through a --proxy it can be an
    /// onion service, and through an --i2p-sam a destination of I2P, which has no port.
    #[arg(long = "peer", value_name = "HOST[:PORT]", value_delimiter = ',')]
    peers: Vec<String>,
    #[command(flatten)]
    discovery: DiscoveryArguments,
    #[command(flatten)]
    connection: ConnectionArguments,
    /// What the program calls itself to nodes (BIP14); without it /andon:VERSION/
    ///
    /// Whoever says what others say is not told from them by that.
    #[arg(long, value_name = "TEXT", value_parser = parse_user_agent)]
    user_agent: Option<String>,
}

impl NodeArguments {
    /// A client that connects to these nodes, and is otherwise as clients are.
    ///
    /// # Errors
    /// If they name nobody, or contradict each other, or the system has no random numbers.
    pub(crate) fn configure(&self, network: Network) -> Result<Config, Error> {
        let peers = parse_peers(&self.peers, network)?;
        let discovery = self.discovery.parse(&peers, network, self.connection.networks())?;
        let grouping = self.discovery.grouping()?;
        let (encryption, proxy) = self.connection.parse()?;
        let mut config = Config::new(network, system::seed()?);
        (config.peers, config.discovery, config.grouping) = (peers, discovery, grouping);
        (config.encryption, config.proxy) = (encryption, proxy);
        (config.i2p, config.cjdns) = (self.connection.i2p_sam, self.connection.cjdns);
        config.user_agent = self.user_agent.clone().unwrap_or_else(|| USER_AGENT.into());
        Ok(config)
    }
}

/// Nodes take no longer one, and end the connection.
fn parse_user_agent(text: &str) -> Result<String, String> {
    match text.len() {
        0..=MAX_USER_AGENT => Ok(text.into()),
        length => Err(format!("it has {length} bytes, and at most {MAX_USER_AGENT} are taken")),
    }
}

fn parse_peers(texts: &[String], network: Network) -> Result<Vec<Endpoint>, Error> {
    let mut peers = Vec::new();
    for text in texts.iter().map(|text| text.trim()).filter(|text| !text.is_empty()) {
        let peer = Endpoint::parse(text, network).map_err(|error| {
            Error::usage(format!("invalid value '{text}' for '--peer <HOST[:PORT]>': {error}"))
                .help("give HOST, HOST:PORT, or [IPv6]:PORT")
        })?;
        if !peers.contains(&peer) {
            peers.push(peer);
        }
    }
    Ok(peers)
}
