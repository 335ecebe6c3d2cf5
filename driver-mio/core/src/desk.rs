//! What may stand in front of the queues, at the application's end of a driver.

use std::fmt::Debug;

/// Stands in front of the queues at the application's end of a driver: it has commands of its own for the machine, and takes
/// out of its events what they are answered with. Such as it are [set](crate::Application::set_desk) once.
///
/// The driver calls it, from its own thread, and holds no lock meanwhile. So it must not wait for anything that the driver does;
/// and a panic of it ends the driver as one of the machine's does.
pub trait Desk<C, E>: Debug + Send + Sync {
    /// Whether a command is here. When that has become so, [`Application::wake`](crate::Application::wake) has the driver look.
    fn has_command(&self) -> bool;

    /// The next command. Those in the queue come before it.
    fn take_command(&self) -> Option<C>;

    /// The driver takes no more commands, as it stops or has ended: hands out those that are here. Called more than once.
    fn close(&self) -> Vec<C>;

    /// Takes an event out, or gives it back to be queued.
    fn route(&self, event: E) -> Option<E>;

    /// The driver has ended, whatever brought that about: its sockets and its store are closed. Called before the
    /// [`Ending`](crate::Ending) is told, and before receivers of events are.
    fn ended(&self);
}
