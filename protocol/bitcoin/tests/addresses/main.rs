//! The address book: its places beside Bitcoin Core's, its rules one by one, and what holds whatever happens.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod as_map;
mod barred;
#[path = "../common/mod.rs"]
mod common;
mod disk;
mod gossip;
mod names;
mod networks;
mod outbound;
mod people;
mod placement;
mod random;
mod rows;
mod rules;
mod seeds;
mod snapshot;
mod trie;
