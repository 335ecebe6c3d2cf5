//! Nodes of Bitcoin's network, for worlds, and chains that they serve.

mod lazy_server;
pub mod mine;

pub use lazy_server::{LazyServer, Origin};
pub use mine::Mine;
