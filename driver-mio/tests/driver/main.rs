//! The driver over real sockets on loopback. Each test's machine is wrapped in `Checked`, which holds the driver to the
//! contract; the other side is a plain blocking socket in the test. Time limits only keep a failure from hanging.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod application;
mod closing;
mod connecting;
mod datagrams;
mod faults;
mod names;
mod puppet;
mod receiving;
mod sending;
mod timers;
