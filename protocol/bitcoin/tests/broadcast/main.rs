//! Transactions that are broadcast, as tables: who is told, what is served, and what state they come to.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod chain;
#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod identities;
mod packages;
mod private;
mod random;
mod restarts;
mod rounds;
mod rows;
mod submitting;
mod table;
