//! How nodes are found beside the given ones.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use andon_bitcoin::addresses::limits::MAX_AS_MAP;
use andon_bitcoin::addresses::{AddressNetworks, AsMap, Grouping};
use andon_bitcoin::client::{Discovery, Endpoint};
use bitcoin::Network;
use clap::Args;

use crate::error::Error;

#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct DiscoveryArguments {
    /// Find nodes beside those of --peer too; without --peer they are found in any case
    ///
    /// The address book is kept in the data directory. It is filled by what nodes tell of others, and at first by DNS seeds,
    /// or by nodes that this program knows.
    #[arg(long)]
    pub(crate) discover: bool,
    /// How many nodes that were found are connected at a time, each of another group of addresses
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(crate) connections: u8,
    /// Ask no DNS seeds: nodes come from the address book, from the peers, and at last from those that this program knows
    #[arg(long)]
    pub(crate) no_dns_seeds: bool,
    /// A map from addresses to autonomous systems, as Bitcoin Core reads it (asmap.dat): nodes of one system count as one
    #[arg(long, value_name = "FILE")]
    pub(crate) as_map: Option<PathBuf>,
}

impl DiscoveryArguments {
    /// As a client is configured.
    ///
    /// # Errors
    /// If nobody is given and there is nobody to find.
    pub(crate) fn parse(
        &self,
        peers: &[Endpoint],
        network: Network,
        networks: AddressNetworks,
    ) -> Result<Option<Discovery>, Error> {
        let discovers = self.discover || peers.is_empty();
        // Nobody knows of a regtest network, unless the address book does.
        if peers.is_empty() && network == Network::Regtest && !self.discover {
            return Err(Error::usage("no peer was given").help(
                "name a node that serves compact block filters: --peer HOST[:PORT] (nobody else knows of a regtest network)",
            ));
        }
        Ok(discovers.then(|| Discovery {
            connections: self.connections.into(),
            networks,
            dns_seeds: !self.no_dns_seeds,
            ..Discovery::default()
        }))
    }

    /// What counts as one owner's of addresses.
    ///
    /// # Errors
    /// If the map can't be read, or is none.
    pub(crate) fn grouping(&self) -> Result<Grouping, Error> {
        let Some(path) = &self.as_map else { return Ok(Grouping::by_prefix()) };
        let unreadable = |why: String| {
            Error::usage(format!("the AS map {} can't be used: {why}", path.display()))
                .help("give a map as Bitcoin Core reads it (-asmap), or no --as-map")
        };
        let mut bytes = Vec::new();
        let limit = MAX_AS_MAP as u64 + 1;
        File::open(path)
            .and_then(|file| file.take(limit).read_to_end(&mut bytes))
            .map_err(|error| unreadable(error.to_string()))?;
        if bytes.len() > MAX_AS_MAP {
            return Err(unreadable(format!("it has more than {MAX_AS_MAP} bytes")));
        }
        let map = AsMap::new(bytes).map_err(|error| unreadable(error.to_string()))?;
        Ok(Grouping::by_map(map))
    }
}
