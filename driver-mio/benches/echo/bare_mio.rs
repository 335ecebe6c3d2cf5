//! A bare loop on mio: a socket, a read, a write.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};

use crate::Echo;

const WAKER: Token = Token(0);
const LISTENER: Token = Token(1);
const FIRST: usize = 2;

/// One connection, and what its socket has not taken.
struct Connection {
    stream: TcpStream,
    rest: VecDeque<u8>,
}

pub(crate) fn start() -> Echo {
    let poll = Poll::new().unwrap();
    let waker = Arc::new(Waker::new(poll.registry(), WAKER).unwrap());
    let mut listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let addr = listener.local_addr().unwrap();
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE).unwrap();
    let thread = thread::spawn(move || run(poll, listener));
    let stop = move || {
        waker.wake().unwrap();
        thread.join().unwrap();
    };
    Echo { addr, stop: Box::new(stop) }
}

fn run(mut poll: Poll, listener: TcpListener) {
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 * 1024];
    let mut connections: Vec<Option<Connection>> = Vec::new();
    loop {
        poll.poll(&mut events, None).unwrap();
        for event in &events {
            match event.token() {
                WAKER => return,
                LISTENER => {
                    while let Ok((mut stream, _)) = listener.accept() {
                        let token = Token(FIRST + connections.len());
                        stream.set_nodelay(true).unwrap();
                        poll.registry()
                            .register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)
                            .unwrap();
                        connections.push(Some(Connection { stream, rest: VecDeque::new() }));
                    }
                }
                Token(token) => {
                    let place = &mut connections[token - FIRST];
                    if let Some(connection) = place
                        && (connection.write_rest().is_err()
                            || connection.echo(&mut buffer, event.is_read_closed()).is_err())
                    {
                        *place = None;
                    }
                }
            }
        }
    }
}

impl Connection {
    fn write_rest(&mut self) -> io::Result<()> {
        while !self.rest.is_empty() {
            match self.stream.write(self.rest.as_slices().0) {
                Ok(count) => drop(self.rest.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads as long as there is something and the socket takes what is written.
    fn echo(&mut self, buffer: &mut [u8], closed: bool) -> io::Result<()> {
        while self.rest.is_empty() {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            let mut written = 0;
            while written < count {
                match self.stream.write(&buffer[written..count]) {
                    Ok(more) => written += more,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        self.rest.extend(&buffer[written..count]);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            // There was no more, and what comes from here on is told.
            if count < buffer.len() && !closed {
                return Ok(());
            }
        }
        Ok(())
    }
}
