//! The sockets. What would block is asked for by the socket's own waker, so that the task knows which it was.

use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use andon_driver::{AsyncReactor, Direction, Reactor, Signals, Stream, attempt};
use andon_kernel::Instant;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::timer::Timer;

/// Everything that is bound or open.
#[derive(Debug)]
pub(crate) struct Sockets {
    signals: Signals,
    listeners: Vec<(TcpListener, Waker)>,
    datagrams: Option<Datagrams>,
    timer: Timer,
}

/// The socket for datagrams.
#[derive(Debug)]
struct Datagrams {
    receiving: UdpSocket,
    /// The same socket: tokio sends nothing before it has heard that it may, and what is not sent at once is lost.
    sending: StdUdpSocket,
    waker: Waker,
}

impl Sockets {
    /// Takes over what is bound. Needs to be called within a runtime.
    pub(crate) fn new(
        signals: Signals,
        listeners: Vec<std::net::TcpListener>,
        datagrams: Option<StdUdpSocket>,
    ) -> io::Result<Self> {
        let listener = |(number, socket): (usize, std::net::TcpListener)| {
            socket.set_nonblocking(true)?;
            Ok((TcpListener::from_std(socket)?, signals.listener(number)))
        };
        let listeners = listeners.into_iter().enumerate().map(listener).collect::<io::Result<_>>()?;
        let datagrams = datagrams.map(|sending| -> io::Result<Datagrams> {
            sending.set_nonblocking(true)?;
            let receiving = UdpSocket::from_std(sending.try_clone()?)?;
            Ok(Datagrams { receiving, sending, waker: signals.datagrams() })
        });
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
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let mut connection = self.connection(slot, State::Dialling(Box::pin(socket.connect(addr))));
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
        match listener.poll_accept(&mut Context::from_waker(waker)) {
            Poll::Ready(accepted) => accepted,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn open(&mut self, slot: usize, accepted: TcpStream) -> io::Result<Connection> {
        Ok(self.connection(slot, State::Open(accepted)))
    }

    fn close(&mut self, stream: Connection) {
        drop(stream);
    }

    fn close_listeners(&mut self) {
        self.listeners.clear();
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let Datagrams { receiving, waker, .. } = self.datagrams.as_ref().ok_or(ErrorKind::WouldBlock)?;
        let poll = |context: &mut Context<'_>| receiving.poll_recv_ready(context);
        attempt(waker, poll, || receiving.try_recv_from(buffer))
    }

    fn send(&mut self, to: SocketAddr, bytes: &[u8]) {
        if let Some(datagrams) = &self.datagrams {
            let _ = datagrams.sending.send_to(bytes, to);
        }
    }
}

impl AsyncReactor for Sockets {
    fn set_timer(&mut self, context: &mut Context<'_>, timer: Option<(Instant, Duration)>) -> Poll<()> {
        self.timer.set(context, timer)
    }

    fn give_way(&mut self, context: &mut Context<'_>) {
        // It wakes the task, later than a waker would: after the runtime has looked at its sockets and timers.
        if pin!(tokio::task::yield_now()).poll(context).is_ready() {
            context.waker().wake_by_ref();
        }
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
    Dialling(Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>),
    Open(TcpStream),
}

impl Connection {
    fn open(&self) -> io::Result<&TcpStream> {
        match &self.state {
            State::Open(stream) => Ok(stream),
            State::Dialling(_) => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// The socket, and whom to wake when it is worth trying again.
    fn polled(&mut self, direction: Direction) -> io::Result<(Pin<&mut TcpStream>, Context<'_>)> {
        let State::Open(stream) = &mut self.state else { return Err(ErrorKind::NotConnected.into()) };
        let waker = match direction {
            Direction::Read => &self.reading,
            Direction::Write => &self.writing,
        };
        Ok((Pin::new(stream), Context::from_waker(waker)))
    }
}

impl Stream for Connection {
    fn poll_dial(&mut self) -> Poll<io::Result<()>> {
        let State::Dialling(dial) = &mut self.state else { return Poll::Ready(Ok(())) };
        let dialled = dial.as_mut().poll(&mut Context::from_waker(&self.writing));
        dialled.map_ok(|stream| self.state = State::Open(stream))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.open()?.local_addr()
    }

    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.open()?.peer_addr()
    }

    fn set_nodelay(&self) -> io::Result<()> {
        self.open()?.set_nodelay(true)
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        let (stream, mut context) = self.polled(Direction::Read)?;
        // After a read that left room tokio knows that there is no more, and asks the system only when there is.
        match stream.poll_read(&mut context, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (stream, mut context) = self.polled(Direction::Write)?;
        match stream.poll_write(&mut context, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(ErrorKind::WouldBlock.into()),
        }
    }

    fn shut(&mut self) -> io::Result<()> {
        let (stream, mut context) = self.polled(Direction::Write)?;
        // Of a socket it is done at once.
        match stream.poll_shutdown(&mut context) {
            Poll::Ready(done) => done,
            Poll::Pending => Ok(()),
        }
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
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn small_writes_are_sent_at_once() {
        let runtime = Builder::new_current_thread().enable_io().build().unwrap();
        let _within = runtime.enter();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        let peer = thread::spawn(move || listener.accept().unwrap());
        let mut sockets = Sockets::new(Signals::new(), Vec::new(), None).unwrap();
        let mut connection = sockets.dial(0, addr).unwrap();
        assert!(connection.set_nodelay().is_err());
        runtime
            .block_on(std::future::poll_fn(|context| {
                let dialled = connection.poll_dial();
                context.waker().wake_by_ref();
                dialled
            }))
            .unwrap();
        connection.set_nodelay().unwrap();
        assert!(connection.open().unwrap().nodelay().unwrap());
        peer.join().unwrap();
    }
}
