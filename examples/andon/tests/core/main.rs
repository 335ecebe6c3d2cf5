//! The program and the server against a real Bitcoin Core node on regtest.
//!
//! The node is the program that the environment variable `BITCOIND_EXE` names; without it each test prints so and
//! passes. It needs no wallet. Every connection is on loopback: a node listens there and dials nobody, except where a
//! test tells it to dial our own server.

#![allow(clippy::unwrap_used, reason = "it is a test")]
#![allow(clippy::disallowed_methods, reason = "these tests wait for real nodes, and say how long that took")]

#[path = "../common/mod.rs"]
mod common;

mod bitcoind;
mod broadcast;
mod checkpoints;
mod comparison;
mod deep;
mod differential;
mod fees;
mod filters;
mod follow;
mod follower;
mod gate;
mod gossip;
mod ledger;
mod miner;
mod news;
mod nodes;
mod ours;
mod raw_peer;
mod refusals;
mod reorganisations;
mod rpc;
mod served;
mod storms;
mod sync;
mod transport;
mod view;
