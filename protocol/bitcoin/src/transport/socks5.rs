//! A connection through a SOCKS5 proxy (RFC 1928, with user name and password by RFC 1929): what is said to the proxy before
//! the bytes are those of the other end.

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use super::Incoming;

const VERSION: u8 = 5;
const CONNECT: u8 = 1;
/// The version of what is said about user name and password.
const LOGIN_VERSION: u8 = 1;
const METHOD_NONE: u8 = 0;
const METHOD_PASSWORD: u8 = 2;
const METHOD_REFUSED: u8 = 0xff;
const IPV4: u8 = 1;
const HOST: u8 = 3;
const IPV6: u8 = 4;

/// The longest host name, user name or password, in bytes.
const LONGEST: usize = 255;

/// Where a proxy is to connect to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyTarget<'a> {
    /// This address.
    Address(SocketAddr),
    /// A name that the proxy looks up, or knows, as Tor does those that end with `.onion`; and a port.
    Host(&'a str, u16),
}

/// Why a proxy did not connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProxyFailure {
    /// It answers in another protocol, beginning with this byte.
    NotSocks5(u8),
    /// It wants to know who we are in another way than we offer.
    NoMethod,
    /// It chose a way that was not offered.
    UnofferedMethod(u8),
    /// It does not take the user name and the password.
    LoginRefused,
    /// The user name or the password is empty, or longer than 255 bytes.
    UnusableLogin,
    /// The host name is empty, or longer than 255 bytes.
    UnusableName,
    /// Its answer is none of SOCKS5.
    Malformed,
    /// It closed the connection before it had answered.
    Closed,
    /// It failed, and does not say why.
    General,
    /// Its rules do not allow it.
    NotAllowed,
    /// There is no way to the network.
    NetworkUnreachable,
    /// There is no way to the host, or its name has no address.
    HostUnreachable,
    /// The host refused the connection.
    Refused,
    /// It took too long.
    Expired,
    /// It opens no connections.
    CommandNotSupported,
    /// It knows no addresses of this kind.
    AddressNotSupported,
    /// Tor: there is no such onion service now.
    OnionNotFound,
    /// Tor: what the onion service publishes is invalid.
    OnionInvalid,
    /// Tor: the onion service could not be introduced to.
    OnionNotIntroduced,
    /// Tor: the onion service could not be met.
    OnionNotMet,
    /// Tor: the onion service wants to know its clients.
    OnionWantsLogin,
    /// Tor: the onion service does not know this client.
    OnionRefusesLogin,
    /// Tor: no onion service can have this address.
    OnionAddress,
    /// Tor: introducing to the onion service took too long.
    OnionExpired,
    /// It failed with a number that has no meaning here.
    Unknown(u8),
}

impl ProxyFailure {
    const fn of_reply(reply: u8) -> Self {
        match reply {
            1 => Self::General,
            2 => Self::NotAllowed,
            3 => Self::NetworkUnreachable,
            4 => Self::HostUnreachable,
            5 => Self::Refused,
            6 => Self::Expired,
            7 => Self::CommandNotSupported,
            8 => Self::AddressNotSupported,
            0xf0 => Self::OnionNotFound,
            0xf1 => Self::OnionInvalid,
            0xf2 => Self::OnionNotIntroduced,
            0xf3 => Self::OnionNotMet,
            0xf4 => Self::OnionWantsLogin,
            0xf5 => Self::OnionRefusesLogin,
            0xf6 => Self::OnionAddress,
            0xf7 => Self::OnionExpired,
            other => Self::Unknown(other),
        }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotSocks5(byte) => {
                return write!(f, "it does not speak SOCKS5 (its answer begins with {byte:#04x})");
            }
            Self::UnofferedMethod(method) => {
                return write!(f, "it chose authentication method {method}, which was not offered");
            }
            Self::Unknown(reply) => return write!(f, "it failed with code {reply:#04x}"),
            Self::NoMethod => "it takes none of the authentication methods that are offered",
            Self::LoginRefused => "it does not take the user name and the password",
            Self::UnusableLogin => "the user name and the password must have 1 to 255 bytes each",
            Self::UnusableName => "the host name must have 1 to 255 bytes",
            Self::Malformed => "its answer is malformed",
            Self::Closed => "it closed the connection before it had answered",
            Self::General => "it failed, and does not say why",
            Self::NotAllowed => "its rules do not allow the connection",
            Self::NetworkUnreachable => "the network is unreachable from there",
            Self::HostUnreachable => "the host is unreachable from there, or its name has no address",
            Self::Refused => "the host refused the connection",
            Self::Expired => "connecting from there took too long",
            Self::CommandNotSupported => "it opens no connections",
            Self::AddressNotSupported => "it knows no addresses of this kind",
            Self::OnionNotFound => "the onion service can't be found",
            Self::OnionInvalid => "the onion service's descriptor is invalid",
            Self::OnionNotIntroduced => "the introduction to the onion service failed",
            Self::OnionNotMet => "the rendezvous with the onion service failed",
            Self::OnionWantsLogin => "the onion service wants its clients to be authorised",
            Self::OnionRefusesLogin => "the onion service does not take this client",
            Self::OnionAddress => "the onion address is invalid",
            Self::OnionExpired => "the introduction to the onion service took too long",
        })
    }
}

impl core::error::Error for ProxyFailure {}

/// What is said to a proxy, until it has connected.
#[derive(Debug)]
pub struct Socks5 {
    stage: Stage,
    /// What is said once a way to log in is chosen: user name and password, if any, and where to connect to.
    login: Option<Vec<u8>>,
    request: Vec<u8>,
    /// What has come of the present answer: 262 bytes at most.
    answer: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Method,
    Login,
    Reply,
}

impl Socks5 {
    /// A connection to `target`; with a user name and a password the proxy must take these. Appends what is said first.
    ///
    /// # Errors
    /// If the name, the user name or the password can't be said.
    pub fn open(
        target: ProxyTarget<'_>,
        login: Option<(&str, &str)>,
        out: &mut Vec<u8>,
    ) -> Result<Self, ProxyFailure> {
        let login = login.map(write_login).transpose()?;
        let request = write_request(target)?;
        // Who has a password has it for a reason: without it Tor would not keep connections apart.
        let method = if login.is_some() { METHOD_PASSWORD } else { METHOD_NONE };
        out.extend_from_slice(&[VERSION, 1, method]);
        Ok(Self { stage: Stage::Method, login, request, answer: Vec::new() })
    }

    /// Takes what the proxy says from the front of `input`, and appends what is said next. True: the proxy has connected,
    /// and what is left of `input`, and comes from now on, is the other end's.
    ///
    /// # Errors
    /// If the proxy did not connect.
    pub fn received(&mut self, input: &mut Incoming<'_>, out: &mut Vec<u8>) -> Result<bool, ProxyFailure> {
        loop {
            let wanted = self.wanted();
            self.answer.extend_from_slice(input.take_up_to(wanted - self.answer.len()));
            let expected = if self.stage == Stage::Login { LOGIN_VERSION } else { VERSION };
            match self.answer.first() {
                Some(&version) if version != expected => return Err(ProxyFailure::NotSocks5(version)),
                _ if self.answer.len() < wanted => return Ok(false),
                _ => {}
            }
            match (self.stage, self.answer.as_slice()) {
                (Stage::Method, &[_, method]) => match (method, &self.login) {
                    (METHOD_NONE, None) => self.ask(out),
                    (METHOD_PASSWORD, Some(login)) => {
                        out.extend_from_slice(login);
                        self.stage = Stage::Login;
                        self.answer.clear();
                    }
                    (METHOD_REFUSED, _) => return Err(ProxyFailure::NoMethod),
                    (other, _) => return Err(ProxyFailure::UnofferedMethod(other)),
                },
                (Stage::Login, &[_, 0]) => self.ask(out),
                (Stage::Login, _) => return Err(ProxyFailure::LoginRefused),
                // A proxy that has failed may say no more than that.
                (_, &[_, reply, ..]) if reply != 0 => return Err(ProxyFailure::of_reply(reply)),
                (_, &[_, _, reserved, ..]) if reserved != 0 => return Err(ProxyFailure::Malformed),
                (_, &[_, _, _, kind, ..]) if ![IPV4, HOST, IPV6].contains(&kind) => {
                    return Err(ProxyFailure::Malformed);
                }
                (_, answer) if answer.len() == self.wanted() => return Ok(true),
                _ => {}
            }
        }
    }

    fn ask(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.request);
        self.stage = Stage::Reply;
        self.answer.clear();
    }

    /// How long the present answer is, as far as what has come of it says.
    fn wanted(&self) -> usize {
        match (self.stage, self.answer.as_slice()) {
            (Stage::Method | Stage::Login, _) => 2,
            // Four bytes, the address that the proxy connects from, its port.
            (Stage::Reply, &[_, _, _, IPV4, ..]) => 4 + 4 + 2,
            (Stage::Reply, &[_, _, _, IPV6, ..]) => 4 + 16 + 2,
            (Stage::Reply, &[_, _, _, HOST, length, ..]) => 4 + 1 + usize::from(length) + 2,
            (Stage::Reply, &[_, _, _, _]) => 5,
            (Stage::Reply, &[_, _, ..]) => 4,
            (Stage::Reply, _) => 2,
        }
    }
}

fn write_login((username, password): (&str, &str)) -> Result<Vec<u8>, ProxyFailure> {
    let mut login = Vec::from([LOGIN_VERSION]);
    for text in [username, password] {
        write_text(text, &mut login).ok_or(ProxyFailure::UnusableLogin)?;
    }
    Ok(login)
}

fn write_request(target: ProxyTarget<'_>) -> Result<Vec<u8>, ProxyFailure> {
    let mut request = Vec::from([VERSION, CONNECT, 0]);
    let port = match target {
        ProxyTarget::Address(SocketAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.ip().octets());
            address.port()
        }
        ProxyTarget::Address(SocketAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.ip().octets());
            address.port()
        }
        ProxyTarget::Host(name, port) => {
            request.push(HOST);
            write_text(name, &mut request).ok_or(ProxyFailure::UnusableName)?;
            port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

/// Appends a text of 1 to 255 bytes, its length first.
fn write_text(text: &str, out: &mut Vec<u8>) -> Option<()> {
    if !(1..=LONGEST).contains(&text.len()) {
        return None;
    }
    out.push(text.len() as u8);
    out.extend_from_slice(text.as_bytes());
    Some(())
}
