//! Runs a machine of [`andon_kernel`] over [`mio`]: one thread with the sockets, the clock and the wait.
//!
//! ```no_run
//! # use andon_kernel::{Machine, MemoryStore};
//! # fn run<M>(machine: M) -> Result<(), Box<dyn std::error::Error>>
//! # where M: Machine + Send + 'static, M::Command: Send, M::Event: Send + std::fmt::Debug {
//! let driver = andon_mio::Driver::new(andon_mio::Options::default())?;
//! let handle = driver.spawn(machine, MemoryStore::new())?;
//! let stopper = handle.stopper(); // goes into a handler for Ctrl-C
//! while let Some(event) = handle.recv() {
//!     println!("{event:?}");
//! }
//! handle.join()?;
//! # Ok(())
//! # }
//! ```
//!
//! - **Timers first.** The machine is woken before anything else in each round, and again before each piece of work
//!   for a socket; such a piece is bounded. So no socket starves the timers, or another socket.
//! - **No ticks.** The thread sleeps until a socket, the store, the application or the machine's deadline wakes it.
//! - **Bounded.** Send queues, commands, events, look-ups, connections: each has a cap. While the application does not
//!   take events, or the store lags, nothing is read or accepted, and the other side's TCP window closes.
//! - **Edge-triggered.** A socket is read until it has no more; what a round leaves is remembered.
//!
//! A [`Group`] runs many machines on one such thread.
//!
//! It knows socket addresses and host names, and no protocol: a proxy is the machine's business.

mod driver;
mod group;
mod sockets;
mod tokens;
mod wait;

pub use andon_driver::{
    Application, CommandError, DriverError, Ending, EventStream, Handle, Options, Receive, Received, Stopper,
    Waker,
};
pub use driver::Driver;
pub use group::Group;
