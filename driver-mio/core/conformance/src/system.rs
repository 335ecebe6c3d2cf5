//! The stage of real drivers: sockets of the standard library on loopback, and threads.

use std::io;
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use andon_driver::{CommandError, DriverError, Handle, Options, Received, Waker};
use andon_kernel::{Checked, Store};
use socket2::{Domain, SockRef, Socket, Type};

use crate::Driver;
use crate::puppet::{Command, Event, LOOPBACK, Puppet};
use crate::stage::{Application, Bound, Datagrams, LIMIT, Listener, Stage, Stream, Work};

/// The system that this runs on, and a real driver.
#[derive(Debug)]
pub struct System<D>(PhantomData<fn() -> D>);

impl<D> Default for System<D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<D> Clone for System<D> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl<D: Driver + 'static> Stage for System<D> {
    type Bound = D;
    type Application = Handle<Command, Event>;
    type Listener = TcpListener;
    type Stream = TcpStream;
    type Datagrams = UdpSocket;
    type Silence = (Socket, Vec<TcpStream>);
    type Work = JoinHandle<()>;

    fn driver(&self, options: Options) -> io::Result<D> {
        D::new(options)
    }

    fn listen(&self, at: SocketAddr) -> io::Result<TcpListener> {
        TcpListener::bind(at)
    }

    fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(to).map(limited)
    }

    fn datagrams(&self) -> io::Result<UdpSocket> {
        let socket = UdpSocket::bind(LOOPBACK)?;
        socket.set_read_timeout(Some(LIMIT))?;
        Ok(socket)
    }

    /// Who connects to a socket with a full backlog gets no answer (on Linux).
    fn silent(&self) -> Option<(SocketAddr, Self::Silence)> {
        let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        silent.bind(&LOOPBACK.into()).unwrap();
        silent.listen(1).unwrap();
        let addr = silent.local_addr().unwrap().as_socket().unwrap();
        let mut waiting = Vec::new();
        let full = (0..16).any(|_| {
            let connected = TcpStream::connect_timeout(&addr, Duration::from_millis(300));
            let hangs = connected.is_err();
            waiting.extend(connected);
            hangs
        });
        full.then_some((addr, (silent, waiting)))
    }

    fn sleep(&self, time: Duration) {
        thread::sleep(time);
    }

    fn hesitate(&self, steps: u32) {
        (0..steps).for_each(|_| std::hint::spin_loop());
    }

    fn work(&self, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
        thread::spawn(work)
    }
}

impl<D: Driver> Bound for D {
    type Application = Handle<Command, Event>;

    fn local_addresses(&self) -> &[SocketAddr] {
        Driver::local_addresses(self)
    }

    fn datagram_address(&self) -> Option<SocketAddr> {
        Driver::datagram_address(self)
    }

    fn waker(&self) -> Waker {
        Driver::waker(self)
    }

    fn run<S>(self, machine: Checked<Puppet>, store: S) -> Handle<Command, Event>
    where
        S: Store + Send + 'static,
        S::Error: Send + Sync,
    {
        self.spawn(machine, store).unwrap()
    }
}

impl Application for Handle<Command, Event> {
    fn command(&self, command: Command) -> Result<(), CommandError<Command>> {
        self.command(command)
    }

    fn recv(&self) -> Option<Event> {
        self.recv()
    }

    fn recv_timeout(&self, timeout: Duration) -> Received<Event> {
        self.recv_timeout(timeout)
    }

    fn stop(&self) {
        self.stop();
    }

    fn join(self) -> Result<(), DriverError> {
        self.join()
    }

    fn rest(&self) {
        thread::sleep(Duration::from_millis(1));
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    fn local_addr(&self) -> SocketAddr {
        self.local_addr().unwrap()
    }

    fn accept(&self) -> io::Result<TcpStream> {
        self.accept().map(|(stream, _)| limited(stream))
    }
}

/// Makes a test fail instead of hang.
fn limited(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

impl Stream for TcpStream {
    fn twin(&self) -> Self {
        self.try_clone().unwrap()
    }

    fn shut(&self) {
        self.shutdown(Shutdown::Write).unwrap();
    }

    fn reset(self) {
        SockRef::from(&self).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn set_receive_buffer(&self, bytes: usize) {
        SockRef::from(self).set_recv_buffer_size(bytes).unwrap();
    }

    fn set_send_buffer(&self, bytes: usize) {
        SockRef::from(self).set_send_buffer_size(bytes).unwrap();
    }

    fn set_nodelay(&self) {
        self.set_nodelay(true).unwrap();
    }
}

impl Datagrams for UdpSocket {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr().unwrap()
    }

    fn send(&self, bytes: &[u8], to: SocketAddr) {
        self.send_to(bytes, to).unwrap();
    }

    fn receive(&self) -> (Vec<u8>, SocketAddr) {
        let mut buffer = vec![0; 65_536];
        let (count, from) = self.recv_from(&mut buffer).unwrap();
        buffer.truncate(count);
        (buffer, from)
    }
}

impl Work for JoinHandle<()> {
    fn join(self) {
        self.join().unwrap();
    }
}
