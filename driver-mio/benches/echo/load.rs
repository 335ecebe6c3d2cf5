//! Who talks to an echo: one thread, which is the same for a driver and for a bare loop.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::MESSAGE_BYTES;

/// How long nothing is counted, at first.
const WARM_UP: Duration = Duration::from_millis(150);

/// How much there is to say, and for how long.
pub(crate) struct Load {
    pub(crate) connections: usize,
    /// How many messages of each connection are on their way at any time.
    pub(crate) under_way: usize,
    pub(crate) time: Duration,
}

/// What came back.
pub(crate) struct Measured {
    pub(crate) messages_per_second: f64,
    /// Processor time of all other threads for each message.
    pub(crate) microseconds: f64,
}

impl Load {
    /// Has this many messages on their way, and another for each that comes back.
    pub(crate) fn run(&self, addr: SocketAddr) -> Measured {
        let mut poll = Poll::new().unwrap();
        let mut streams: Vec<TcpStream> = (0..self.connections).map(|_| connect(addr)).collect();
        for (index, stream) in streams.iter_mut().enumerate() {
            poll.registry().register(stream, Token(index), Interest::READABLE).unwrap();
        }
        let mut buffer = vec![0; 64 * 1024];
        let first = vec![7; MESSAGE_BYTES * self.under_way];
        for stream in &mut streams {
            stream.write_all(&first).unwrap();
        }
        let mut events = Events::with_capacity(1024);
        let began = now();
        let mut counted_from = None;
        let mut bytes = 0;
        loop {
            poll.poll(&mut events, None).unwrap();
            for event in &events {
                bytes += answer(&mut streams[event.token().0], &mut buffer);
            }
            let at = now();
            match counted_from {
                None if at - began >= WARM_UP => {
                    counted_from = Some((at, others_time()));
                    bytes = 0;
                }
                Some((from, processor)) if at - from >= self.time => {
                    let messages = bytes as f64 / MESSAGE_BYTES as f64;
                    let spent = (others_time() - processor).as_secs_f64();
                    return Measured {
                        messages_per_second: messages / (at - from).as_secs_f64(),
                        microseconds: spent * 1e6 / messages,
                    };
                }
                _ => {}
            }
        }
    }
}

fn connect(addr: SocketAddr) -> TcpStream {
    let stream = std::net::TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream)
}

/// Sends back as much as came. How much it was.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> usize {
    let mut bytes = 0;
    loop {
        match stream.read(buffer) {
            Ok(0) => panic!("the echo has closed a connection"),
            Ok(count) => {
                // What is under way fits into the socket.
                stream.write_all(&buffer[..count]).unwrap();
                bytes += count;
                // There was no more, and what comes from here on is told.
                if count < buffer.len() {
                    return bytes;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return bytes,
            Err(error) => panic!("{error}"),
        }
    }
}

/// The processor time of every thread of this process but this one.
fn others_time() -> Duration {
    let own = fs::read_link("/proc/thread-self").unwrap();
    let mut time = 0;
    for thread in fs::read_dir("/proc/self/task").unwrap() {
        let thread = thread.unwrap();
        if Some(&*thread.file_name()) != own.file_name() {
            // Nanoseconds that it ran come first. A thread that has ended meanwhile does not count.
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            time += text.split(' ').next().and_then(|number| number.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(time)
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}
