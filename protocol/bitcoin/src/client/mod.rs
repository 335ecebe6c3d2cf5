//! The light client.

mod api;

pub use api::*;
