//! Nodes of Bitcoin's network, for worlds.

mod lazy_server;

pub use lazy_server::{LazyServer, Origin};
