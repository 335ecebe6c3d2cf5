//! Slow links: what stands between a client and the server, and lets through so many bytes a second.
//!
//! What the server sends waits in the system's buffers, as before a real bottleneck, and goes on at the link's rate; what
//! a client sends goes on at once. All connections over a link share its rate. A link adds no delay of its own.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::system;

/// Bytes that go on at once: a hundredth of a second's at 1.6 MB/s.
const PIECE: usize = 16 << 10;

/// How much of an idle time may be made up for: what a thread oversleeps is no part of a link.
const SLACK: Duration = Duration::from_millis(50);

/// A link, open as long as the process is there.
#[derive(Debug)]
pub(crate) struct Link {
    /// Where it takes connections for the server.
    pub(crate) address: SocketAddr,
    flow: Arc<Flow>,
}

impl Link {
    /// Opens a link to `server` for `rate` bytes a second.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn open(server: SocketAddr, rate: f64) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let flow = Arc::new(Flow {
            rate,
            free: Mutex::new(system::now()),
            passed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        });
        let shared = Arc::clone(&flow);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // Whoever can't be connected finds that the connection ends.
                let Ok(server) = TcpStream::connect(server) else { continue };
                let _ = connect(client, server, &shared);
            }
        });
        Ok(Self { address, flow })
    }

    /// Bytes that have gone on to clients.
    pub(crate) fn passed(&self) -> u64 {
        self.flow.passed.load(Ordering::SeqCst)
    }

    /// Connections that clients have made.
    pub(crate) fn connections(&self) -> u64 {
        self.flow.connections.load(Ordering::SeqCst)
    }
}

/// Both ways, each on a thread of its own that ends with the connection.
fn connect(client: TcpStream, server: TcpStream, flow: &Arc<Flow>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down) = ((client.try_clone()?, server.try_clone()?), (server, client));
    let flow = Arc::clone(flow);
    thread::spawn(move || {
        let _ = io::copy(&mut up.0, &mut up.1);
        let _ = up.1.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = flow.carry(&mut down.0, &mut down.1);
        let _ = down.1.shutdown(Shutdown::Both);
        let _ = down.0.shutdown(Shutdown::Both);
    });
    Ok(())
}

/// What goes through a link, and when the next of it may.
#[derive(Debug)]
struct Flow {
    /// Bytes a second.
    rate: f64,
    free: Mutex<Instant>,
    passed: AtomicU64,
    connections: AtomicU64,
}

impl Flow {
    fn carry(&self, from: &mut TcpStream, to: &mut TcpStream) -> io::Result<()> {
        let mut piece = vec![0; PIECE];
        loop {
            let count = from.read(&mut piece)?;
            if count == 0 {
                return Ok(());
            }
            let due = self.take(count, system::now());
            thread::sleep(due.saturating_duration_since(system::now()));
            to.write_all(&piece[..count])?;
            self.passed.fetch_add(count as u64, Ordering::SeqCst);
        }
    }

    /// When `count` bytes will have gone through that are there `now`.
    fn take(&self, count: usize, now: Instant) -> Instant {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        *free = (*free).max(earliest) + Duration::from_secs_f64(count as f64 / self.rate);
        *free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_at_the_rate() {
        let start = system::now();
        let flow = Flow {
            rate: 1e6,
            free: Mutex::new(start),
            passed: AtomicU64::new(0),
            connections: AtomicU64::new(0),
        };
        let after = |now: u64, count| {
            let due = flow.take(count, start + Duration::from_millis(now));
            due.duration_since(start).as_millis()
        };
        // One after the other, from two connections or one.
        assert_eq!([after(0, 10_000), after(0, 10_000), after(15, 10_000)], [10, 20, 30]);
        // Half a second of nothing is not made up for, but for the slack.
        assert_eq!([after(530, 20_000), after(530, 60_000)], [500, 560]);
    }

    #[test]
    fn what_is_sent_arrives_whole_and_not_too_early() -> io::Result<()> {
        const BYTES: usize = 200_000;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let link = Link::open(listener.local_addr()?, 1e6)?;
        let sent: Vec<u8> = (0..BYTES).map(|index| (index % 251) as u8).collect();
        let expected = sent.clone();
        let server = thread::spawn(move || -> io::Result<()> {
            let (mut connection, _) = listener.accept()?;
            let mut question = [0; 4];
            connection.read_exact(&mut question)?;
            assert_eq!(&question, b"all?");
            connection.write_all(&sent)
        });
        let mut client = TcpStream::connect(link.address)?;
        let started = system::now();
        client.write_all(b"all?")?;
        let mut received = Vec::new();
        client.read_to_end(&mut received)?;
        assert!(received == expected);
        assert!(started.elapsed() >= Duration::from_millis(150 - 1), "{:?}", started.elapsed());
        assert_eq!((link.passed(), link.connections()), (BYTES as u64, 1));
        assert!(server.join().is_ok_and(|served| served.is_ok()));
        Ok(())
    }
}
