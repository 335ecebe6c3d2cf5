//! Runs a machine of [`andon_kernel`] over [`tokio`]: one task with the sockets, the clock and the wait.
//!
//! ```no_run
//! # use andon_kernel::{Machine, MemoryStore};
//! # async fn run<M>(machine: M) -> Result<(), Box<dyn std::error::Error>>
//! # where M: Machine + Send + 'static, M::Command: Send, M::Event: Send + std::fmt::Debug {
//! let driver = andon_tokio::Driver::new(andon_tokio::Options::default())?;
//! let handle = driver.spawn_on(&tokio::runtime::Handle::current(), machine, MemoryStore::new())?;
//! let (application, ending) = handle.split();
//! while let Some(event) = application.recv_async().await {
//!     println!("{event:?}");
//! }
//! ending.await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Driver::spawn`] runs it on a thread of its own instead, for a program that is not async. The application's end is
//! the same and has nothing of tokio in it: it works from plain threads and under any executor.
//!
//! - **One task.** No task and no channel for a peer: each socket has a waker of its own that says which it is, and the
//!   one task looks at those.
//! - **Timers first.** The machine is woken before anything else in each round, and again before each piece of work
//!   for a socket; such a piece is bounded. So no socket starves the timers, or another socket. After each round the
//!   task gives way to the others of the runtime, and to its sockets.
//! - **No ticks.** The task sleeps until a socket, the store, the application or the machine's deadline wakes it: one
//!   timer is set to that, and none if there is no deadline.
//! - **Bounded.** Send queues, commands, events, look-ups, connections: each has a cap. While the application does not
//!   take events, or the store lags, nothing is read or accepted, and the other side's TCP window closes.
//! - **Names** are looked up by the system on threads that do nothing else, a few for all drivers of a process, and not on the
//!   runtime's.
//!
//! It knows socket addresses and host names, and no protocol: a proxy is the machine's business.

mod driver;
mod sockets;
mod timer;

pub use andon_driver::{
    Application, CommandError, DriverError, Ending, EventStream, Handle, Options, Receive, Received, Stopper,
    Waker,
};
pub use driver::Driver;
