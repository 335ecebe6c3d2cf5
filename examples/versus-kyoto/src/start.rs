//! Where a client begins: at a block of the served chain, which it is told, and not at the first one.

use std::fmt;
use std::str::FromStr;

use andon_bitcoin::points::StartPoint;
use bitcoin::Work;
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};

use crate::Error;
use crate::chain::Plan;

/// Blocks between two changes of difficulty: what a client must know of a start reaches down to the last one.
const PERIOD: u32 = 2016;

/// Headers that a start has at least: the rule for a block's time looks at eleven blocks before it.
const HEADERS: u32 = 11;

/// A block to begin at: what lies below is known, or of no interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start(pub(crate) StartPoint);

/// The lowest block that one can begin at.
pub(crate) const LOWEST: u32 = PERIOD + HEADERS - 1;

impl Start {
    /// The lowest start from which `count` blocks or fewer lie before the end, among those of which little must be known:
    /// eleven headers.
    pub(crate) fn before(plan: Plan, count: u32) -> Option<Self> {
        let least = plan.blocks.saturating_sub(count).max(LOWEST);
        let height = LOWEST + (least - LOWEST).div_ceil(PERIOD) * PERIOD;
        if height >= plan.blocks {
            return None;
        }
        let headers: Vec<Header> =
            plan.blocks().take(height as usize + 1).map(|block| block.header).collect();
        let work = headers.iter().map(Header::work).reduce(|sum, work| sum + work)?;
        let headers = headers[(height + 1 - HEADERS) as usize..].to_vec();
        Some(Self(StartPoint { height, work, headers }))
    }
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{:x},{}", self.0.height, self.0.work, serialize_hex(&self.0.headers))
    }
}

impl FromStr for Start {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, ',');
        let mut part = || parts.next().ok_or("a start is a height, the work and headers");
        Ok(Self(StartPoint {
            height: part()?.parse()?,
            work: Work::from_unprefixed_hex(part()?)?,
            headers: deserialize_hex(part()?)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_lies_right_above_a_change_of_difficulty() -> Result<(), Error> {
        let plan =
            Plan { blocks: 7000, below: LOWEST, elements: 0, scripts: 0, full: false, end: 1_700_000_000 };
        for (count, height) in [
            (u32::MAX, Some(2026)),
            (4974, Some(2026)),
            (4973, Some(4042)),
            (2958, Some(4042)),
            (2957, Some(6058)),
            (942, Some(6058)),
            (941, None),
        ] {
            let start = Start::before(plan, count);
            assert_eq!(start.as_ref().map(|start| start.0.height), height, "{count}");
            let Some(start) = start else { continue };
            let blocks: Vec<Header> = plan.blocks().map(|block| block.header).collect();
            let height = start.0.height as usize;
            assert_eq!(start.0.headers, blocks[height - 10..=height]);
            assert_eq!(start.to_string().parse::<Start>()?, start);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_start_is_an_error() {
        for text in ["", "5", "5,ff", "x,ff,00", "5,x,00", "5,ff,01"] {
            assert!(text.parse::<Start>().is_err(), "{text:?}");
        }
    }
}
