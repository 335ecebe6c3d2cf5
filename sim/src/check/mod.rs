//! Is the light client safe, and does it get there? Random worlds in which anything can go wrong, each from one number.
//!
//! A world has the client that wallets run, an application that believes what it is told, nodes that serve a chain, some of which may
//! lie, and a list of what goes wrong when ([`Scenario`]). After every turn of the client is asked what must never be so ([`Kind`]): a
//! payment that is in no honest chain, one that is told twice, an honest peer that is accused, anything that grows without bound. Then
//! the faults stop, though not the lies, and the client has a bounded time in which to come to know exactly what is true.
//!
//! - [`draw`]: a scenario from a seed. [`file`](mod@file): one in a file, which replays exactly.
//! - [`run`]: plays one. [`many`]: plays many, on all cores; what comes of it doesn't depend on how many there are.
//! - [`shrink`]: the shortest scenario that fails as a given one.
//! - [`Seen`]: what a world has come to. A check that never sees a reorganisation checks none.
//! - [`Show`]: a run, written down turn by turn. [`Cause`]: how one peer came to be dialled.
//! - [`Sabotage`]: a client that is wrong on purpose, to see that each check can fail.

mod draw;
mod explain;
mod failure;
pub mod file;
mod many;
mod member;
mod play;
mod quiet;
mod sabotage;
mod scenario;
mod seen;
mod show;
mod shrink;
mod stage;
mod wallet;

pub use draw::draw;
pub use explain::Cause;
pub use failure::{Failure, Kind};
pub use many::{Summary, many};
pub use play::{Options, Outcome, Until, Watcher, run};
pub use sabotage::Sabotage;
pub use scenario::{
    Cache, ClientPart, Crash, Encryption, Given, Happening, LinksPart, PeerPart, Scenario, What,
};
pub use seen::{Seen, Sight};
pub use show::Show;
pub use shrink::{Shrunk, shrink};
