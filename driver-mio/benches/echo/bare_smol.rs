//! A bare loop on async-io: one future for each connection, all in one task of one thread.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use async_io::Async;
use futures_lite::{AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::Echo;

/// More than is under way on one connection.
const BUFFER_BYTES: usize = 4096;

pub(crate) fn start() -> Echo {
    let listener = Async::<TcpListener>::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let addr = listener.get_ref().local_addr().unwrap();
    let stopped = Arc::new(AtomicBool::new(false));
    let stopping = Arc::clone(&stopped);
    let thread = thread::spawn(move || async_io::block_on(run(listener, stopping)));
    let stop = move || {
        stopped.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(addr).unwrap());
        thread.join().unwrap();
    };
    Echo { addr, stop: Box::new(stop) }
}

async fn run(listener: Async<TcpListener>, stopped: Arc<AtomicBool>) {
    let mut connections = FuturesUnordered::new();
    loop {
        let accept = async { Some(listener.accept().await.unwrap().0) };
        // Ends with a new connection; those that are there go on meanwhile.
        let serve = async {
            while connections.next().await.is_some() {}
            std::future::pending().await
        };
        if let Some(stream) = accept.or(serve).await {
            if stopped.load(Ordering::SeqCst) {
                return;
            }
            stream.get_ref().set_nodelay(true).unwrap();
            connections.push(echo(stream));
        }
    }
}

async fn echo(mut stream: Async<TcpStream>) {
    let mut buffer = [0; BUFFER_BYTES];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
