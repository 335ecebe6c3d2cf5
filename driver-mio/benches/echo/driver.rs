//! An echo machine under each driver, on a thread of its own.

use std::net::{Ipv4Addr, SocketAddr};

use andon_kernel::{Input, Instant, Machine, MemoryStore, Now, Outbox};

use crate::Echo;

/// Sends back what it receives.
struct Machinery;

impl Machine for Machinery {
    type Command = ();
    type Event = ();

    fn handle(&mut self, _: Now, input: Input<'_, ()>, out: &mut Outbox<()>) {
        if let Input::Received { conn, bytes } = input {
            out.send(conn, |buffer| buffer.extend_from_slice(bytes));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

macro_rules! echo {
    ($name:ident, $driver:ident) => {
        pub(crate) fn $name() -> Echo {
            let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
            let options = $driver::Options { listen, max_connections: 1024, ..Default::default() };
            let driver = $driver::Driver::new(options).unwrap();
            let addr = driver.local_addresses()[0];
            let handle = driver.spawn(Machinery, MemoryStore::new()).unwrap();
            let stop = move || {
                handle.stop();
                handle.join().unwrap();
            };
            Echo { addr, stop: Box::new(stop) }
        }
    };
}

echo!(mio, andon_mio);
echo!(smol, andon_smol);
echo!(tokio, andon_tokio);
