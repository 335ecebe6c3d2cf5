//! Random chains of blocks of which everything is known: what is paid to whom, what spends it, and on which branch.
//!
//! Blocks have regtest's proof of work, which costs two hashes each; transactions are not signed, since neither a light client nor
//! [`server`](andon_bitcoin::server) checks scripts. Coinbases are spent when a block likes, for the same reason.
//!
//! - [`Mined`]: a block, and what there is to know of it. [`Maker`] makes them.
//! - [`Trunk`]: a chain that many worlds begin with.
//! - [`History`]: a chain as it grows and is reorganised, and every block that ever was in it.
//! - [`Truth`]: what a chain has to do with what somebody watches.

mod history;
mod maker;
mod scripts;
mod trunk;
mod truth;

pub use history::History;
pub use maker::{Maker, Mined};
pub use scripts::{SCRIPTS, script};
pub use trunk::{LENGTHS, Trunk};
pub use truth::{Finding, Truth, Watched};
