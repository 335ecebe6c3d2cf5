//! `headers show`: a header of the best chain, by the block's height or hash.

use andon_bitcoin::client::{BlockId, HeaderQuery, Start};
use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{FilterHeader, Network};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::End;
use crate::arguments::{DataArguments, Which, network_name};
use crate::error::Error;
use crate::interrupt::Interrupt;
use crate::offline::{self, Halt, Offline};
use crate::output::Output;
use crate::runtime::Runtime;
use crate::units::grouped;

/// Runs the command.
///
/// # Errors
/// If there is no such block, or the data can't be used.
pub(crate) fn run<R: Runtime>(
    which: Option<Which>,
    data: &DataArguments,
    output: &mut Output,
    interrupt: &Interrupt,
) -> Result<End, Error> {
    let (network, data_dir) = offline::existing(data)?;
    let looked_up = offline::run::<R, _>(network, Start::Genesis, &data_dir, output, interrupt, |chain| {
        look_up(chain, which)
    });
    match looked_up {
        Ok(shown) => {
            output.extra(&shown.object());
            output.say(&shown.text());
            Ok(End::Done)
        }
        Err(halt) => halt.end(),
    }
}

fn look_up(chain: &mut Offline<'_>, which: Option<Which>) -> Result<Shown, Halt> {
    let query = match which {
        None => HeaderQuery::Height(chain.tip().height),
        Some(Which::Height(height)) => HeaderQuery::Height(height),
        Some(Which::Hash(hash)) => HeaderQuery::Hash(hash),
    };
    let Some((block, header)) = chain.find(query)? else { return Err(not_found(chain, query)?) };
    let (_, filter_headers) = chain.export(block.height, 1)?;
    Ok(Shown { network: chain.network(), block, header, filter_header: filter_headers.first().copied() })
}

fn not_found(chain: &mut Offline<'_>, query: HeaderQuery) -> Result<Halt, Halt> {
    let (first, tip) = (chain.first()?.0.height, chain.tip().height);
    let what = match query {
        HeaderQuery::Height(height) if (first..=tip).contains(&height) => {
            return Ok(chain.unreadable(height));
        }
        HeaderQuery::Height(height) => format!("block {} is not kept here", grouped(height)),
        HeaderQuery::Hash(hash) => format!("no block of the chain that is kept here has the hash {hash}"),
    };
    let kept =
        format!("blocks {} to {} are kept in {}", grouped(first), grouped(tip), chain.data_dir().display());
    Ok(Error::new("not_found", what).help(kept).into())
}

/// What is shown.
struct Shown {
    network: Network,
    block: BlockId,
    header: Header,
    filter_header: Option<FilterHeader>,
}

impl Shown {
    fn text(&self) -> String {
        let Self { network, block, header, filter_header } = self;
        let time = Timestamp::from_second(header.time.into()).expect("32 bits of seconds end in 2106");
        let lines = [
            ("Hash", block.hash.to_string()),
            ("Previous", header.prev_blockhash.to_string()),
            ("Merkle root", header.merkle_root.to_string()),
            ("Time", time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()),
            ("Version", format!("0x{:08x}", header.version.to_consensus())),
            ("Bits", format!("0x{:08x}", header.bits.to_consensus())),
            ("Nonce", header.nonce.to_string()),
            ("Filter header", filter_header.map_or_else(|| "not known".into(), |header| header.to_string())),
        ];
        let mut text = format!("Block {} of {}", grouped(block.height), network_name(*network));
        for (name, value) in lines {
            text.push_str(&format!("\n  {name:<13} {value}"));
        }
        text
    }

    fn object(&self) -> Value {
        let Self { network, block, header, filter_header } = self;
        json!({
            "event": "header",
            "network": network_name(*network),
            "height": block.height,
            "block": block.hash.to_string(),
            "previous": header.prev_blockhash.to_string(),
            "merkle_root": header.merkle_root.to_string(),
            "time": header.time,
            "version": header.version.to_consensus(),
            "bits": header.bits.to_consensus(),
            "nonce": header.nonce,
            "hex": serialize_hex(header),
            "filter_header": filter_header.map(|header| header.to_string()),
        })
    }
}
