//! The server, as tables: inputs, and the effects expected of them. Both sides of the contract are checked all along.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod announce;
mod answers;
#[path = "../common/mod.rs"]
mod common;
mod encrypted;
mod flow;
mod handshake;
mod hostile;
mod orphans;
#[path = "../transport/pair.rs"]
mod pair;
mod relay;
mod table;
