//! Trying a socket under an executor: what would block is waited for by the socket's own waker.

use std::io::{self, ErrorKind};
use std::task::{Context, Poll, Waker};

/// How often a socket is tried that says both that it is ready and that it is not.
const ATTEMPTS: usize = 4;

/// For a [`Reactor`](crate::Reactor) that wakes tasks: tries a socket until that gives something, or `ready` has promised to
/// wake `waker` when it will.
///
/// # Errors
/// As the attempt or `ready`; [`WouldBlock`](ErrorKind::WouldBlock) only after the promise.
pub fn attempt<T>(
    waker: &Waker,
    mut ready: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    mut attempt: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for _ in 0..ATTEMPTS {
        match attempt() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                match ready(&mut Context::from_waker(waker)) {
                    Poll::Pending => return Err(error),
                    Poll::Ready(ready) => ready?,
                }
            }
            done => return done,
        }
    }
    // In the next round, after the others.
    waker.wake_by_ref();
    Err(ErrorKind::WouldBlock.into())
}
