//! A Bitcoin light client (BIP157, BIP158) and a node that serves a chain, as pure state machines.
//!
//! [`Client`](client::Client) finds what touches the watched scripts; [`Server`](server::Server) serves a chain it is
//! given, as Bitcoin Core would. Both are [`Machine`](andon_kernel::Machine)s: any driver runs them.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod addresses;
pub mod block;
pub mod broadcast;
pub mod client;
pub mod fees;
pub mod filter;
#[cfg(feature = "fixture")]
pub mod fixture;
pub mod headers;
pub mod points;
mod rows;
pub mod server;
pub mod transport;
pub mod wire;
