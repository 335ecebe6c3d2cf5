//! Peers that lie to light clients, as nodes of a [world](crate::world), and one who controls them.
//!
//! - [`Lie`]: the ways of lying. [`Told`] counts what was told, [`Asked`] what was asked.
//! - [`LyingServer`]: a node that is a [`Server`](andon_bitcoin::server::Server) at heart, which answers as Bitcoin Core does;
//!   what it says is changed on the way, left out, or drowned in what nobody asked for.
//! - [`Camp`]: liars that say the same. Nobody who asks only them finds a contradiction.
//! - [`Controller`], [`Budget`]: one will behind all attackers of a world, with a global view, and what it has to spend: addresses,
//!   groups of them, bytes, hours.
//! - [`Squatter`]: takes the places that a node has for who dials it. [`poison`] has DNS seeds answer for an attacker.
//!
//! What an attacker gets of a node's book of addresses over weeks is asked one level higher, of policies alone:
//! [`eclipse`](crate::eclipse) (botnets and infrastructure), [`erebus`](crate::erebus) (an attacker on the route),
//! [`sybil`](crate::sybil) (nodes that wait), [`ablation`](crate::ablation) (floods of addresses).

mod answers;
mod budget;
mod camp;
mod forged;
mod garbage;
mod liar;
mod lie;
mod line;
mod requests;
mod seeds;
mod squatter;
mod told;
mod unasked;

pub use budget::{Budget, Controller, Exhausted, Spent};
pub use camp::{Camp, Means};
pub use garbage::Garbage;
pub use liar::LyingServer;
pub use lie::Lie;
pub use seeds::poison;
pub use squatter::Squatter;
pub use told::{Asked, Told};
