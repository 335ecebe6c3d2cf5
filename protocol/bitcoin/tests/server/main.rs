//! The server, as tables: inputs, and the effects expected of them. Both sides of the contract are checked all along.

mod announce;
mod answers;
#[path = "../common/mod.rs"]
mod common;
mod flow;
mod handshake;
mod hostile;
mod table;
