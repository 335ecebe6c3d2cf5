//! Host names and who answers for them: DNS seeds among others, honest and poisoned.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::random::{Chance, Stream};

/// What a name leads to.
#[derive(Clone, Debug)]
pub struct Name {
    /// Its addresses; ports are replaced by the one that is asked for.
    pub addresses: Vec<SocketAddr>,
    /// How many of them an answer has at most, drawn anew each time, as DNS seeds do.
    pub answer: usize,
    /// How often there is no answer.
    pub fails: Chance,
    /// How long an answer takes.
    pub takes: Duration,
}

impl Name {
    /// A name with these addresses, of which each answer has up to 25.
    pub const fn of(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, answer: 25, fails: Chance::NEVER, takes: Duration::from_millis(50) }
    }
}

/// What names there are.
#[derive(Debug, Default)]
pub(super) struct Names {
    names: BTreeMap<String, Name>,
}

/// How long it takes to learn that there is no such name, or nobody who answers.
const NO_NAME: Duration = Duration::from_millis(50);
/// How many addresses of one name are passed on, as by a driver.
const MOST: usize = 256;
const NO_ANSWER: Duration = Duration::from_secs(10);

impl Names {
    pub(super) fn set(&mut self, host: &str, name: Option<Name>) {
        match name {
            Some(name) => self.names.insert(host.to_ascii_lowercase(), name),
            None => self.names.remove(&host.to_ascii_lowercase()),
        };
    }

    /// The answer and how long it takes. An address is its own name.
    pub(super) fn look_up(&self, host: &str, port: u16, stream: &mut Stream) -> (Vec<SocketAddr>, Duration) {
        if let Ok(ip) = host.parse() {
            return (vec![SocketAddr::new(ip, port)], Duration::ZERO);
        }
        let Some(name) = self.names.get(&host.to_ascii_lowercase()) else { return (Vec::new(), NO_NAME) };
        if stream.happens(name.fails) {
            return (Vec::new(), NO_ANSWER);
        }
        let mut addresses = name.addresses.clone();
        if addresses.len() > name.answer {
            stream.shuffle(&mut addresses);
            addresses.truncate(name.answer);
        }
        addresses.truncate(MOST);
        for address in &mut addresses {
            address.set_port(port);
        }
        (addresses, name.takes)
    }
}
