//! What peers are connected for, and why they are gone: words for the application.

use core::fmt;

use andon_kernel::Disconnect;
use bitcoin::p2p::ServiceFlags;

use super::Misbehaviour;
use crate::transport::{ProxyFailure, SamFailure};

/// What a peer is connected for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerPurpose {
    /// The client's work. It was given.
    Configured,
    /// The client's work. It was found in the address book.
    Found,
    /// To see whether there is a node where the address book has one. Nothing is asked of it.
    Feeler,
    /// To ask for addresses of others. Nothing else is asked of it.
    Addresses,
    /// To tell of transactions, or to hear of them. Nothing else is asked of it.
    Broadcast,
}

/// Why a peer is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The connection ended, or could not be opened.
    Connection(Disconnect),
    /// The host name has no address, or the look-up failed.
    Unresolved,
    /// The connection to the proxy ended before it stood, or could not be opened.
    ProxyUnreachable(Disconnect),
    /// The proxy did not connect.
    Proxy(ProxyFailure),
    /// An onion service can be reached through a proxy only.
    OnionWithoutProxy,
    /// A destination of I2P can be reached through a router of that network only
    /// ([`Config::i2p`](super::Config::i2p)).
    I2pWithoutRouter,
    /// The connection to the router of I2P ended before it stood, or could not be opened.
    I2pUnreachable(Disconnect),
    /// The router of I2P did not connect.
    I2p(SamFailure),
    /// Its address is one of CJDNS (`fc00::/8`), and [`Config::cjdns`](super::Config::cjdns) does not say that this machine is
    /// in that network.
    OutsideCjdns,
    /// It closed the encrypted connection without a word, and no other is allowed: it may not know encryption.
    EncryptionRefused,
    /// It closed the connection without a word: it may be of another network, full, or have banned us.
    ClosedBeforeVersion,
    /// It broke the protocol.
    Misbehaved(Misbehaviour),
    /// It lacks services that a light client needs.
    MissingServices(ServiceFlags),
    /// It speaks a version of the protocol from before 70013.
    ObsoleteVersion(u32),
    /// It is this client.
    SelfConnection,
    /// It did not finish the handshake in time.
    HandshakeTimeout,
    /// It went on with an encrypted handshake in a way that does not fit ours, and did not finish it in time: as a peer of
    /// another network does.
    ForeignHandshake,
    /// It did not answer a ping, and sent nothing else.
    PingTimeout,
    /// It did not answer a request for headers.
    HeadersTimeout,
    /// It serves a chain that branches off below the block that ours starts with.
    OtherChain,
    /// As many peers as the client takes were given before. It is not dialled.
    TooManyPeers,
    /// It was dialled to see whether there is a node, and there is.
    Tested,
    /// It was dialled to ask for addresses of others, and has told them or had the time for it.
    Asked,
    /// It was dialled because no block came, and now there is one connection more than there are to be.
    Surplus,
    /// It is in a subnet that was banned.
    Banned,
    /// It was connected for transactions, and has done its part.
    Told,
    /// It was connected for transactions, and takes none.
    TakesNone,
    /// It is not to be connected any more ([`Command::RemovePeer`](super::Command::RemovePeer)).
    Removed,
    /// The client [pauses](super::Command::Pause).
    Paused,
    /// Each byte costs, and there are enough without it ([`Command::SetMetered`](super::Command::SetMetered)).
    Spared,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(disconnect) => disconnect.fmt(f),
            Self::Unresolved => f.write_str("the host name has no address"),
            Self::ProxyUnreachable(disconnect) => write!(f, "the proxy can't be reached: {disconnect}"),
            Self::Proxy(failure) => write!(f, "the proxy did not connect: {failure}"),
            Self::OnionWithoutProxy => f.write_str("an onion service can be reached through a proxy only"),
            Self::I2pWithoutRouter => {
                f.write_str("a destination of I2P can be reached through a router of that network only")
            }
            Self::I2pUnreachable(disconnect) => {
                write!(f, "the router of I2P can't be reached: {disconnect}")
            }
            Self::I2p(failure) => write!(f, "the router of I2P did not connect: {failure}"),
            Self::OutsideCjdns => {
                f.write_str("its address is one of CJDNS, and this machine is not said to be in that network")
            }
            Self::EncryptionRefused => f.write_str(
                "it closed the encrypted connection without a word (it knows no encryption, is full, or banned us)",
            ),
            Self::ClosedBeforeVersion => f.write_str(
                "it closed the connection without a word (of another network, full, or it banned us)",
            ),
            Self::Misbehaved(misbehaviour) => misbehaviour.fmt(f),
            Self::MissingServices(services) => write!(f, "it lacks services: {services}"),
            Self::ObsoleteVersion(version) => {
                write!(f, "it speaks an obsolete version of the protocol: {version}")
            }
            Self::SelfConnection => f.write_str("it is ourselves"),
            Self::HandshakeTimeout => f.write_str("it did not finish the handshake in time"),
            Self::ForeignHandshake => {
                f.write_str("its encrypted handshake does not fit ours (it may be of another network)")
            }
            Self::PingTimeout => f.write_str("it did not answer a ping"),
            Self::HeadersTimeout => f.write_str("it did not answer a request for headers"),
            Self::OtherChain => f.write_str("it is on another chain, which branches off below our start"),
            Self::TooManyPeers => f.write_str("too many peers were given"),
            Self::Tested => f.write_str("it was tested, and is there"),
            Self::Asked => f.write_str("it was asked for addresses of others"),
            Self::Surplus => f.write_str("one connection more than is wanted"),
            Self::Banned => f.write_str("it is banned"),
            Self::Told => f.write_str("it was connected for transactions, and is not needed for them any more"),
            Self::TakesNone => f.write_str("it takes no transactions"),
            Self::Removed => f.write_str("it is not to be connected any more"),
            Self::Paused => f.write_str("the client pauses"),
            Self::Spared => f.write_str("each byte costs, and there are enough without it"),
        }
    }
}
