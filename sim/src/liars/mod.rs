//! Light clients among liars: the client that wallets run, in worlds.
//!
//! - `fooled` ([`Fooled`]): peers of which some lie about filters, headers or blocks: whether a payment stays hidden.
//! - `dispute` ([`Dispute`]): what it costs to find out who lies about filter headers.
//! - `stale-tip` ([`StaleTip`]): how often no block comes for so long that the client looks for another peer.
//! - `newborn` ([`Newborn`]): a client with an empty book of addresses, poisoned DNS seeds, and nodes that come and go.

mod dispute;
mod fooled;
mod log;
mod member;
mod newborn;
mod stale;

pub use dispute::Dispute;
pub use fooled::Fooled;
pub use newborn::Newborn;
pub use stale::StaleTip;

use crate::experiment::Model;

/// The kinds of models here, with what each is in a line.
pub const KINDS: [(&str, &str); 4] = [
    ("fooled", "a light client and peers of which some lie: whether a payment stays hidden"),
    ("dispute", "what it costs a light client to find out who lies about filter headers"),
    ("stale-tip", "how often a light client finds its tip stale, by chance or cut off"),
    ("newborn", "a light client's first days: poisoned DNS seeds, and nodes that come and go"),
];

/// Loads a model of these kinds. `None`: the kind is another's.
pub fn load(kind: &str, settings: toml::Table) -> Option<Result<Box<dyn Model>, String>> {
    fn read<S: serde::de::DeserializeOwned, M: Model + 'static>(
        settings: toml::Table,
        model: impl FnOnce(S) -> Result<M, String>,
    ) -> Result<Box<dyn Model>, String> {
        let settings: S = settings.try_into().map_err(|error: toml::de::Error| error.to_string())?;
        Ok(Box::new(model(settings)?))
    }
    Some(match kind {
        "fooled" => read(settings, Fooled::new),
        "dispute" => read(settings, Dispute::new),
        "stale-tip" => read(settings, StaleTip::new),
        "newborn" => read(settings, Newborn::new),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
