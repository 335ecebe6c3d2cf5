//! The light client.

mod api;
mod misbehaviour;

pub use api::*;
pub use misbehaviour::Misbehaviour;
