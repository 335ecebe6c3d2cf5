//! What a client found, and what there is to be found.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use bitcoin::hashes::{Hash, HashEngine, sha256};
use bitcoin::{Amount, Block, OutPoint, ScriptBuf};

use crate::Error;

/// Payments, in the order in which they were told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings(Vec<(u32, OutPoint, u64)>);

impl Findings {
    /// Another payment: the block's height, the output, and what it pays.
    pub(crate) fn add(&mut self, height: u32, output: OutPoint, amount: Amount) {
        self.0.push((height, output, amount.to_sat()));
    }

    /// What a block at `height` pays to these scripts.
    pub(crate) fn read(&mut self, height: u32, block: &Block, watched: &BTreeSet<ScriptBuf>) {
        for transaction in &block.txdata {
            for (vout, output) in (0..).zip(&transaction.output) {
                if watched.contains(&output.script_pubkey) {
                    self.add(height, OutPoint { txid: transaction.compute_txid(), vout }, output.value);
                }
            }
        }
    }

    /// All of another's.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }

    /// What tells these from any others: what is told twice counts twice, and the order counts for nothing.
    pub(crate) fn sum(mut self) -> Sum {
        self.0.sort_unstable();
        let mut engine = sha256::Hash::engine();
        for (height, output, amount) in &self.0 {
            engine.input(&height.to_le_bytes());
            engine.input(output.txid.as_byte_array());
            engine.input(&output.vout.to_le_bytes());
            engine.input(&amount.to_le_bytes());
        }
        Sum { count: self.0.len() as u32, digest: sha256::Hash::from_engine(engine) }
    }
}

/// How many findings there are, and a digest of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) count: u32,
    digest: sha256::Hash,
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.count, self.digest)
    }
}

impl FromStr for Sum {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let (count, digest) = text.split_once(':').ok_or("a number, a colon and a digest")?;
        Ok(Self { count: count.parse()?, digest: digest.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_finding_counts_and_their_order_does_not() {
        let sum = |all: &[(u32, u32, u64)]| {
            let mut findings = Findings::default();
            for &(height, vout, amount) in all {
                findings.add(height, OutPoint { vout, ..OutPoint::null() }, Amount::from_sat(amount));
            }
            findings.sum()
        };
        let (one, other) = ((1, 2, 3), (4, 5, 6));
        assert_eq!(sum(&[one, other]), sum(&[other, one]));
        let all = [&[][..], &[one], &[one, one], &[one, other], &[(4, 2, 3)], &[(1, 5, 3)], &[(1, 2, 6)]];
        for (index, these) in all.iter().enumerate() {
            assert_eq!(sum(these).count as usize, these.len());
            assert!(all[..index].iter().all(|those| sum(those) != sum(these)), "{these:?}");
        }
    }

    #[test]
    fn a_sum_is_read_as_it_is_written() -> Result<(), Error> {
        let sum = Findings::default().sum();
        assert_eq!(sum.to_string().parse::<Sum>()?, sum);
        for text in ["", "5", "5:", "x:00", &sum.to_string()[1..]] {
            assert!(text.parse::<Sum>().is_err(), "{text:?}");
        }
        Ok(())
    }
}
