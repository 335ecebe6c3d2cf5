//! How peers are reached: the transport, and a proxy.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use andon_bitcoin::addresses::{AddressNetwork, AddressNetworks};
use andon_bitcoin::client::{Encryption, Proxy, ProxyLogin};
use clap::{Args, ValueEnum};

use crate::error::Error;

/// Ports on which Tor listens: as a service, and of its browser. It leads connections with different logins apart.
const TOR_PORTS: [u16; 2] = [9050, 9150];

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ConnectionArguments {
    /// Whether connections to peers are encrypted (BIP324)
    #[arg(long, value_enum, default_value_t = TransportName::PreferV2)]
    pub(crate) transport: TransportName,
    /// A SOCKS5 proxy that all connections go through, by its IP address: Tor's is 127.0.0.1:9050
    ///
    /// Nothing goes around it, and host names are looked up there. Peers can be onion services then.
    #[arg(long, value_name = "[USER:PASSWORD@]HOST:PORT", value_parser = parse_proxy)]
    pub(crate) proxy: Option<ProxyName>,
    /// Whether to log in to the proxy with a new random name for each connection, so that Tor leads each over other nodes
    ///
    /// Default: on for a proxy without a password on port 9050 or 9150, where Tor listens; else off.
    #[arg(long, value_enum, value_name = "on|off", num_args = 0..=1, default_missing_value = "on", requires = "proxy")]
    pub(crate) proxy_isolation: Option<Switch>,
    /// A router of I2P, by the IP address where it speaks SAM (7656 is the usual port): peers can be in I2P then
    ///
    /// They are reached by it alone, each from a destination of its own, and nothing else goes there. A router takes a minute
    /// or so to make one.
    #[arg(long, value_name = "HOST:PORT", value_parser = |text: &str| parse_address(text, "127.0.0.1:7656"))]
    pub(crate) i2p_sam: Option<SocketAddr>,
    /// This machine is in CJDNS: nodes there (fc00::/8) are dialled too
    ///
    /// Through a --proxy if there is one, which then must be in CJDNS itself.
    #[arg(long)]
    pub(crate) cjdns: bool,
}

impl ConnectionArguments {
    /// The networks in which nodes may be found.
    pub(crate) fn networks(&self) -> AddressNetworks {
        let is_tor = self.proxy.as_ref().is_some_and(|proxy| TOR_PORTS.contains(&proxy.address.port()));
        let more = [
            (is_tor, AddressNetwork::TorV3),
            (self.i2p_sam.is_some(), AddressNetwork::I2p),
            (self.cjdns, AddressNetwork::Cjdns),
        ];
        let more = more.into_iter().filter(|(is_there, _)| *is_there);
        more.fold(AddressNetworks::CLEAR, |networks, (_, network)| networks.with(network))
    }

    /// As a client is configured.
    ///
    /// # Errors
    /// If the proxy is to be given a password and random ones.
    pub(crate) fn parse(&self) -> Result<(Encryption, Option<Proxy>), Error> {
        let encryption = self.transport.into();
        let Some(ProxyName { address, login }) = &self.proxy else { return Ok((encryption, None)) };
        let login = match (login, self.proxy_isolation) {
            (Some(_), Some(Switch::On)) => {
                return Err(Error::usage(
                    "--proxy-isolation gives the proxy random names, and --proxy has one already: leave one of them out",
                )
                .help("give a --proxy without a name and a password, or no --proxy-isolation"));
            }
            (Some((username, password)), _) => {
                ProxyLogin::Password { username: username.clone(), password: password.clone() }
            }
            (None, Some(Switch::On)) => ProxyLogin::Isolate,
            (None, None) if TOR_PORTS.contains(&address.port()) => ProxyLogin::Isolate,
            (None, _) => ProxyLogin::None,
        };
        Ok((encryption, Some(Proxy { address: *address, login })))
    }
}

/// A proxy as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProxyName {
    address: SocketAddr,
    login: Option<(String, String)>,
}

fn parse_proxy(text: &str) -> Result<ProxyName, String> {
    let (login, address) = match text.rsplit_once('@') {
        Some((login, address)) => (Some(login), address),
        None => (None, text),
    };
    let login = login.map(|login| {
        let (username, password) = login.split_once(':')?;
        let sound = [username, password].iter().all(|word| (1..=255).contains(&word.len()));
        sound.then(|| (username.to_owned(), password.to_owned()))
    });
    let login = match login {
        Some(None) => {
            return Err(
                "before the @ stand a name and a password of 1 to 255 bytes each, and a : between".into()
            );
        }
        Some(login) => login,
        None => None,
    };
    Ok(ProxyName { address: parse_address(address, "127.0.0.1:9050")?, login })
}

/// Where something listens. No name: looking it up would ask somebody else. `example` is told if it is no such address.
fn parse_address(text: &str, example: &str) -> Result<SocketAddr, String> {
    let local = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    let local = local.map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    let address = local.or_else(|| SocketAddr::from_str(text).ok()).filter(|address| address.port() != 0);
    address.ok_or_else(|| format!("no IP address with a port, such as {example}"))
}

/// A transport by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TransportName {
    /// Not encrypted
    V1,
    /// Encrypted, and with no other peers
    V2,
    /// Encrypted where the peer can
    PreferV2,
}

impl From<TransportName> for Encryption {
    fn from(name: TransportName) -> Self {
        match name {
            TransportName::V1 => Self::Off,
            TransportName::V2 => Self::Required,
            TransportName::PreferV2 => Self::Preferred,
        }
    }
}

/// Yes or no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(proxy: &str, isolation: Option<Switch>) -> Result<Option<Proxy>, Error> {
        let proxy = Some(parse_proxy(proxy).expect("it is a proxy"));
        let arguments = ConnectionArguments {
            transport: TransportName::V2,
            proxy,
            proxy_isolation: isolation,
            i2p_sam: None,
            cjdns: false,
        };
        arguments.parse().map(|(encryption, proxy)| {
            assert_eq!(encryption, Encryption::Required);
            proxy
        })
    }

    #[test]
    fn proxies_are_read_and_tor_is_known_by_its_port() {
        let password = || ProxyLogin::Password { username: "user".into(), password: "a:b@c".into() };
        let table = [
            ("127.0.0.1:9050", None, "127.0.0.1:9050", ProxyLogin::Isolate),
            ("localhost:9150", None, "127.0.0.1:9150", ProxyLogin::Isolate),
            ("[::1]:9050", Some(Switch::Off), "[::1]:9050", ProxyLogin::None),
            ("127.0.0.1:1080", None, "127.0.0.1:1080", ProxyLogin::None),
            ("127.0.0.1:1080", Some(Switch::On), "127.0.0.1:1080", ProxyLogin::Isolate),
            ("user:a:b@c@127.0.0.1:9050", None, "127.0.0.1:9050", password()),
            ("user:a:b@c@127.0.0.1:9050", Some(Switch::Off), "127.0.0.1:9050", password()),
        ];
        for (text, isolation, address, login) in table {
            let address = address.parse().expect("it is an address");
            let proxy = configured(text, isolation).expect("it can be configured");
            assert_eq!(proxy, Some(Proxy { address, login }), "{text} {isolation:?}");
        }
        assert!(configured("user:word@127.0.0.1:9050", Some(Switch::On)).is_err());
        let long = format!("{}:b@127.0.0.1:1", "a".repeat(256));
        for text in
            ["", "127.0.0.1", "127.0.0.1:0", "tor.example:9050", "user@127.0.0.1:1", ":b@127.0.0.1:1", &long]
        {
            assert!(parse_proxy(text).is_err(), "{text}");
        }
    }
}
