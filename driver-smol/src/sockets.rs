//! The sockets. What would block is asked for by the socket's own waker, so that the future knows which it was.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon_driver::{AsyncReactor, Direction, Reactor, Signals, Stream, attempt};
use andon_kernel::Instant;
use async_io::Async;

use crate::timer::Timer;

/// Everything that is bound or open.
#[derive(Debug)]
pub(crate) struct Sockets {
    signals: Signals,
    listeners: Vec<(Async<TcpListener>, Waker)>,
    datagrams: Option<(Async<UdpSocket>, Waker)>,
    timer: Timer,
}

impl Sockets {
    /// Takes over what is bound.
    pub(crate) fn new(
        signals: Signals,
        listeners: Vec<TcpListener>,
        datagrams: Option<UdpSocket>,
    ) -> io::Result<Self> {
        let listener = |(number, socket)| Ok((Async::new(socket)?, signals.listener(number)));
        let listeners = listeners.into_iter().enumerate().map(listener).collect::<io::Result<_>>()?;
        let datagrams = datagrams.map(|socket| io::Result::Ok((Async::new(socket)?, signals.datagrams())));
        Ok(Self { listeners, datagrams: datagrams.transpose()?, timer: Timer::default(), signals })
    }

    fn connection(&self, slot: usize, state: State) -> Connection {
        let reading = self.signals.connection(slot, Direction::Read);
        let writing = self.signals.connection(slot, Direction::Write);
        Connection { state, reading, writing }
    }
}

impl Reactor for Sockets {
    type Accepted = TcpStream;
    type Stream = Connection;

    fn dial(&mut self, slot: usize, addr: SocketAddr) -> io::Result<Connection> {
        let dial = Box::pin(Async::<TcpStream>::connect(addr));
        let mut connection = self.connection(slot, State::Dialling(dial));
        match connection.poll_dial() {
            Poll::Ready(Err(error)) => Err(error),
            Poll::Pending => Ok(connection),
            Poll::Ready(Ok(())) => {
                // Open already: whoever dialled is to hear of it in a later round, as of any other.
                connection.writing.wake_by_ref();
                Ok(connection)
            }
        }
    }

    fn accept(&mut self, listener: usize) -> io::Result<(TcpStream, SocketAddr)> {
        let (listener, waker) = self.listeners.get(listener).ok_or(ErrorKind::WouldBlock)?;
        attempt(waker, |context| listener.poll_readable(context), || listener.get_ref().accept())
    }

    fn open(&mut self, slot: usize, accepted: TcpStream) -> io::Result<Connection> {
        Ok(self.connection(slot, State::Open(Async::new(accepted)?)))
    }

    fn close(&mut self, stream: Connection) {
        drop(stream);
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (socket, waker) = self.datagrams.as_ref().ok_or(ErrorKind::WouldBlock)?;
        attempt(waker, |context| socket.poll_readable(context), || socket.get_ref().recv_from(buffer))
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Some((socket, _)) = &self.datagrams {
            let _ = socket.get_ref().send_to(bytes, to);
        }
    }
}

impl AsyncReactor for Sockets {
    fn set_timer(&mut self, context: &mut Context<'_>, timer: Option<(Instant, Duration)>) -> Poll<()> {
        self.timer.set(context, timer)
    }

    fn give_way(&mut self, context: &mut Context<'_>) {
        // Executors put who is woken behind those that wait, and the sockets are looked at by a thread that has nothing
        // else to do, or by `async_io::block_on` between two polls.
        context.waker().wake_by_ref();
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    state: State,
    reading: Waker,
    writing: Waker,
}

enum State {
    Dialling(Pin<Box<dyn Future<Output = io::Result<Async<TcpStream>>> + Send>>),
    Open(Async<TcpStream>),
}

impl Connection {
    fn open(&self) -> io::Result<&Async<TcpStream>> {
        match &self.state {
            State::Open(stream) => Ok(stream),
            State::Dialling(_) => Err(ErrorKind::NotConnected.into()),
        }
    }
}

impl Stream for Connection {
    fn poll_dial(&mut self) -> Poll<io::Result<()>> {
        let State::Dialling(dial) = &mut self.state else { return Poll::Ready(Ok(())) };
        let dialled = dial.as_mut().poll(&mut Context::from_waker(&self.writing));
        dialled.map_ok(|stream| self.state = State::Open(stream))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.open()?.get_ref().local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.open()?.get_ref().peer_addr()
    }

    fn set_nodelay(&self) -> io::Result<()> {
        self.open()?.get_ref().set_nodelay(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stream = self.open()?;
        attempt(&self.reading, |context| stream.poll_readable(context), || stream.get_ref().read(buffer))
    }

    /// Asks to be told at once, which has to be asked for in any case.
    fn is_emptied(&mut self) -> bool {
        let mut context = Context::from_waker(&self.reading);
        self.open().is_ok_and(|stream| stream.poll_readable(&mut context).is_pending())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stream = self.open()?;
        attempt(&self.writing, |context| stream.poll_writable(context), || stream.get_ref().write(bytes))
    }

    fn shut(&mut self) -> io::Result<()> {
        self.open()?.get_ref().shutdown(Shutdown::Write)
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialling(_) => f.write_str("Dialling"),
            Self::Open(stream) => stream.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use super::*;

    #[test]
    fn small_writes_are_sent_at_once() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let peer = thread::spawn(move || listener.accept().unwrap());
        let mut sockets = Sockets::new(Signals::new(), Vec::new(), None).unwrap();
        let mut connection = sockets.dial(0, addr).unwrap();
        let dialled = async_io::block_on(std::future::poll_fn(|context| {
            let dialled = connection.poll_dial();
            context.waker().wake_by_ref();
            dialled
        }));
        dialled.unwrap();
        connection.set_nodelay().unwrap();
        assert!(connection.open().unwrap().get_ref().nodelay().unwrap());
        peer.join().unwrap();
    }
}
