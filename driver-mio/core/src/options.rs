//! How a driver is set up.

use std::net::SocketAddr;
use std::time::Duration;

/// How a driver is set up: the same for every one.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to accept connections. With port 0 the system chooses one.
    pub listen: Vec<SocketAddr>,
    /// Where to bind a socket for datagrams, if the machine sends or expects any. Without it they are dropped.
    pub datagram: Option<SocketAddr>,
    /// How many connections there may be at once: those being opened and being closed count too.
    pub max_connections: usize,
    /// How many bytes may wait for one connection's socket; beyond that it ends.
    pub send_queue_bytes: usize,
    /// How long a dial may take.
    pub connect_timeout: Duration,
    /// How many commands may wait for the machine. At least one.
    pub command_queue: usize,
    /// How many events may wait for the application before the machine is given no more input but timers and
    /// commands. At least one.
    ///
    /// When as many again have come from these alone, they wait too.
    pub event_queue: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // A client dials and accepts nobody.
            listen: Vec::new(),
            datagram: None,
            // More than twice what a Bitcoin node has, and far below the usual limit on a process's files (1,024).
            max_connections: 256,
            // One 4 MB block more than the 4 MB that a server has under way before it waits for a `Drained`.
            send_queue_bytes: 8 << 20,
            // Twice what Bitcoin Core allows: a phone's radio takes its time to wake up. The system's own is minutes.
            connect_timeout: Duration::from_secs(10),
            // A person or a wallet gives commands one by one; this lets a start-up script give a list of them.
            command_queue: 64,
            // A busy block has some hundred payments for a large wallet: a few blocks' worth without a stop.
            event_queue: 1024,
        }
    }
}
