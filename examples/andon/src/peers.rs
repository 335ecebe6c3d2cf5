//! Which of the given peers are there, and what to say of those that are not; how many others were found.

use std::fmt::Write;

use andon_bitcoin::client::{Endpoint, Misbehaviour, Reason, default_port};
use bitcoin::Network;
use bitcoin::p2p::Magic;

use crate::arguments::network_name;
use crate::error::Error;

/// The peers that were given.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    network: Network,
    given: Vec<Given>,
    /// Whether others are looked for.
    discovers: bool,
    /// How many others are connected.
    found: usize,
    ever_connected: bool,
}

#[derive(Clone, Debug)]
struct Given {
    endpoint: Endpoint,
    connected: bool,
    /// Why it was gone the last time.
    reason: Option<Reason>,
}

impl Peers {
    /// None of them has been reached yet.
    pub(crate) fn new(
        network: Network,
        endpoints: impl IntoIterator<Item = Endpoint>,
        discovers: bool,
    ) -> Self {
        let given = |endpoint| Given { endpoint, connected: false, reason: None };
        let given = endpoints.into_iter().map(given).collect();
        Self { network, given, discovers, found: 0, ever_connected: false }
    }

    /// A peer finished the handshake.
    pub(crate) fn connected(&mut self, endpoint: &Endpoint) {
        self.ever_connected = true;
        match self.find(endpoint) {
            Some(given) => {
                given.connected = true;
                given.reason = None;
            }
            None => self.found += 1,
        }
    }

    /// A peer is gone, or could not be reached. A text: what to tell, if that is news and is not told otherwise.
    pub(crate) fn disconnected(
        &mut self,
        endpoint: &Endpoint,
        connected: bool,
        reason: &Reason,
    ) -> Option<String> {
        let network = self.network;
        let Some(given) = self.find(endpoint) else {
            // Others take its place: that is no news.
            self.found = self.found.saturating_sub(usize::from(connected));
            return None;
        };
        let known = given.reason.as_ref() == Some(reason);
        given.connected = false;
        given.reason = Some(reason.clone());
        if self.all_failed() || (known && !connected) {
            return None;
        }
        let reason = describe(reason, network);
        Some(if connected {
            format!("lost the peer {endpoint}: {reason}; it will be dialled again")
        } else {
            format!("no connection to {endpoint}: {reason}; it will be dialled again")
        })
    }

    /// How many are connected.
    pub(crate) fn count(&self) -> usize {
        self.given.iter().filter(|given| given.connected).count() + self.found
    }

    /// Whether a handshake was ever finished.
    pub(crate) fn ever_connected(&self) -> bool {
        self.ever_connected
    }

    /// Whether each of them has failed and none was ever reached: then something is wrong with what was given.
    pub(crate) fn all_failed(&self) -> bool {
        !self.ever_connected && !self.discovers && self.given.iter().all(|given| given.reason.is_some())
    }

    /// The error for when all have failed.
    pub(crate) fn error(&self) -> Error {
        let failures: Vec<(&Endpoint, &Reason)> =
            self.given.iter().filter_map(|given| Some((&given.endpoint, given.reason.as_ref()?))).collect();
        let mut kinds: Vec<&str> = failures.iter().map(|(_, reason)| reason_kind(reason)).collect();
        kinds.sort_unstable();
        kinds.dedup();
        let what = match failures[..] {
            [(endpoint, reason)] => {
                let unreached = matches!(
                    kinds[..],
                    ["unreachable" | "unresolved" | "proxy" | "no_proxy" | "i2p" | "no_i2p" | "no_cjdns"]
                );
                let verb = if unreached { "reached" } else { "used" };
                format!("the peer {endpoint} can't be {verb}: {}", describe(reason, self.network))
            }
            _ => failures.iter().fold(
                String::from("none of the peers can be used:"),
                |mut text, (endpoint, reason)| {
                    // Writing to a string does not fail.
                    let _ = write!(text, "\n    {endpoint}: {}", describe(reason, self.network));
                    text
                },
            ),
        };
        let advice: Vec<String> = kinds.iter().map(|kind| self.advice(kind)).collect();
        let kind = if let [kind] = kinds[..] { kind } else { "peers" };
        Error::new(kind, what).help(advice.join("\n        "))
    }

    /// Why those that are gone are, for when none is left: a text that follows another.
    pub(crate) fn last_reasons(&self) -> String {
        self.given.iter().fold(String::new(), |mut text, given| {
            if let Some(reason) = &given.reason {
                let _ = write!(text, "\n    {}: {}", given.endpoint, describe(reason, self.network));
            }
            text
        })
    }

    fn advice(&self, kind: &str) -> String {
        let name = network_name(self.network);
        match kind {
            "unreachable" => format!(
                "check the address and the port ({name}'s is {}), that the node runs, listens and has room, and that no \
                 firewall is between",
                default_port(self.network)
            ),
            "unresolved" => {
                "check the spelling of the host name, and that this machine can look names up".into()
            }
            "proxy" => {
                "check the --proxy: its address, that it runs, its name and password, and that it can reach the peer"
                    .into()
            }
            "no_proxy" => "give the --proxy of a Tor that runs, such as 127.0.0.1:9050".into(),
            "i2p" => {
                "check the --i2p-sam: its address, that the router runs and is in its network, and that SAM is on there"
                    .into()
            }
            "no_i2p" => "give the --i2p-sam of a router that runs, such as 127.0.0.1:7656".into(),
            "no_cjdns" => "give --cjdns, if this machine is in that network".into(),
            "unencrypted" => {
                "let it be reached without encryption, by --transport prefer-v2, or give another --peer".into()
            }
            "other_network" => format!(
                "check that the node is of {name}, or give the --network that it is of; each network has a port of its \
                 own"
            ),
            "missing_services" => {
                "start the node with -blockfilterindex=1 -peerblockfilters=1 (Bitcoin Core) and let it \
                                   build its index, or give another --peer"
                    .into()
            }
            "other_chain" => {
                "give another --peer; or --from-genesis, if the chain that is kept may be the wrong one: it \
                              begins anew and takes the one with the most work"
                    .into()
            }
            _ => "give another --peer".into(),
        }
    }

    fn find(&mut self, endpoint: &Endpoint) -> Option<&mut Given> {
        self.given.iter_mut().find(|given| given.endpoint == *endpoint)
    }
}

/// A reason for a peer's going, as the error about it is named.
fn reason_kind(reason: &Reason) -> &'static str {
    match reason {
        Reason::Connection(_) | Reason::HandshakeTimeout => "unreachable",
        Reason::Unresolved => "unresolved",
        Reason::ProxyUnreachable(_) | Reason::Proxy(_) => "proxy",
        Reason::OnionWithoutProxy => "no_proxy",
        Reason::I2pUnreachable(_) | Reason::I2p(_) => "i2p",
        Reason::I2pWithoutRouter => "no_i2p",
        Reason::OutsideCjdns => "no_cjdns",
        Reason::EncryptionRefused => "unencrypted",
        Reason::ClosedBeforeVersion
        | Reason::ForeignHandshake
        | Reason::Misbehaved(Misbehaviour::WrongNetwork(_)) => "other_network",
        Reason::MissingServices(_) => "missing_services",
        Reason::OtherChain | Reason::Misbehaved(Misbehaviour::ContradictsKnownBlock(_)) => "other_chain",
        _ => "peer",
    }
}

/// A reason in words, with what the network's four bytes say.
fn describe(reason: &Reason, network: Network) -> String {
    if let Reason::Misbehaved(Misbehaviour::WrongNetwork(magic)) = reason
        && let Some(found) = Network::from_magic(Magic::from_bytes(*magic))
    {
        return format!(
            "it is of another network: of {}, not of {}",
            network_name(found),
            network_name(network)
        );
    }
    reason.to_string()
}
