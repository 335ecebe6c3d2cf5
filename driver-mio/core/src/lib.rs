//! What every driver of machines of [`andon_kernel`] has in common, so that a driver is only sockets and a wait.
//!
//! For applications, the same types whatever drives the machine, and no async runtime in any of them:
//!
//! - [`Handle`], a running driver, which splits into [`Application`] (commands in, events out; `Clone + Send + Sync`,
//!   for plain threads and for any executor) and [`Ending`] (why the driver ended).
//! - [`Stopper`], for a handler of Ctrl-C, and [`Waker`], for a store with a thread of its own.
//! - [`Options`].
//! - With the feature `recording`, `RecordingFile`: where a machine's run is written down, to be run again.
//! - [`Desk`], for what stands between these and an application: numbered requests, say.
//!
//! For drivers: a [`Reactor`] is sockets that never block, and [`Rounds`] does everything else, in rounds of bounded
//! work. [`Task`] is a whole driver as one future, for what runs futures: [`AsyncReactor`] adds its timer, and [`Signals`]
//! say which of its sockets was woken, for which
//! it was asked by [`attempt`].
//!
//! - **Timers first.** The machine is woken before anything else in each round, and again before each piece of work
//!   for a socket; such a piece is bounded. So no socket starves the timers, or another socket.
//! - **No ticks.** A driver sleeps until a socket, the store, the application or the machine's deadline wakes it.
//! - **Bounded.** Send queues, commands, events, look-ups, connections: each has a cap. While the application does not
//!   take events, or the store lags, nothing is read or accepted, and the other side's TCP window closes. Timers go on,
//!   and so do commands while the store does not lag, until what they tell has filled the queue of events once more.
//! - **Edge-triggered.** A socket is read until it has no more; what a round leaves is remembered.
//!
//! It knows socket addresses and host names, and no protocol: a proxy is the machine's business.

mod application;
mod attempt;
mod bound;
mod buffer;
mod clock;
mod closing;
mod connection;
mod desk;
mod ending;
mod engine;
mod error;
mod handle;
mod held;
mod listener;
mod network;
mod options;
mod queue;
mod reactor;
#[cfg(feature = "recording")]
mod recording;
mod resolver;
mod rounds;
mod running;
mod shared;
mod signals;
mod slots;
mod stopper;
mod task;
mod waker;

pub use application::{Application, EventStream, Receive};
pub use attempt::attempt;
pub use bound::Bound;
pub use buffer::Buffer;
pub use desk::Desk;
pub use ending::{DriverEnd, Ending, ends};
pub use error::{CommandError, DriverError, Received};
pub use handle::Handle;
pub use options::Options;
pub use reactor::{Reactor, Source, Stream};
#[cfg(feature = "recording")]
pub use recording::{Compression, RecordedMachine, RecordingFile, RecordingMonitor, RecordingReader};
pub use rounds::{Next, Rounds};
pub use running::Running;
pub use signals::{Direction, Signals};
pub use stopper::Stopper;
pub use task::{AsyncReactor, Task};
pub use waker::{Waker, wake_task};
