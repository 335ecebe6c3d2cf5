//! A world for machines of [`andon_kernel`]: virtual time, links, disks, faults and adversaries, from one seed.
//!
//! The code that runs in it is the code that wallets run. The same seed gives the same run, bit for bit, on every
//! machine, in debug and release, with any number of threads.
//!
//! - [`nodes`]: nodes of Bitcoin's network for such worlds.
//! - [`policy`]: books of addresses and the rules by which nodes dial, of several clients and of several years, behind
//!   one trait.
//! - [`check`]: random worlds with the light client in them: is it safe, and does it get there?
//! - [`chain`]: random chains of which everything is known.
//! - [`world`]: virtual time, nodes, links, disks and faults.
//! - [`experiment`]: what a trial is, and what comes of it: files, many trials, statistics, figures.
//! - `program`: the program `andon-sim`, for other models as well.
//! - [`adversary`]: peers that lie to light clients, as nodes, and one who controls them.
//! - [`ablation`]: what single rules of a node are worth.
//! - [`books`]: what an attacker gets of light clients' books of addresses.
//! - [`erebus`]: an attacker on the route, who tells of addresses for weeks.
//! - [`sybil`]: an attacker who runs nodes, and waits to be dialled.
//! - [`liars`]: light clients among liars, in worlds.
//! - [`random`]: the world's generator. Nothing in the world is secret; machines draw from their own.
//! - [`eclipse`]: attacks on one node's connections, at the level of books.

pub mod ablation;
pub mod adversary;
pub mod books;
#[cfg(test)]
mod cells_for_tests;
pub mod chain;
pub mod check;
pub mod eclipse;
pub mod erebus;
pub mod experiment;
pub mod liars;
mod nearest;
pub mod nodes;
pub mod policy;
#[cfg(feature = "program")]
pub mod program;
pub mod random;
mod settings;
pub mod sybil;
pub mod world;
