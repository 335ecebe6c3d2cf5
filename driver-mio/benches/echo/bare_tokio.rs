//! A bare loop on tokio: one future for each connection, all in one task of one thread.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Notify;
use tokio::task::unconstrained;

use crate::Echo;

/// More than is under way on one connection.
const BUFFER_BYTES: usize = 4096;

pub(crate) fn start() -> Echo {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build().unwrap();
    let listener = std::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    let stopped = Arc::new(Notify::new());
    let stopping = Arc::clone(&stopped);
    let thread = thread::spawn(move || {
        // As the driver: it counts its own steps.
        runtime.block_on(unconstrained(run(listener, stopping)));
    });
    let stop = move || {
        stopped.notify_one();
        thread.join().unwrap();
    };
    Echo { addr, stop: Box::new(stop) }
}

async fn run(listener: std::net::TcpListener, stopped: Arc<Notify>) {
    let listener = TcpListener::from_std(listener).unwrap();
    let mut connections = FuturesUnordered::new();
    let mut stopped = std::pin::pin!(stopped.notified());
    loop {
        // Ends with a new connection; those that are there go on meanwhile.
        let next = std::future::poll_fn(|context| {
            use std::task::Poll;
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(Some(accepted.unwrap().0));
            }
            while let Poll::Ready(Some(())) = connections.poll_next_unpin(context) {}
            Poll::Pending
        });
        let Some(stream) = next.await else { return };
        stream.set_nodelay(true).unwrap();
        connections.push(echo(stream));
    }
}

async fn echo(mut stream: TcpStream) {
    let mut buffer = [0; BUFFER_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
