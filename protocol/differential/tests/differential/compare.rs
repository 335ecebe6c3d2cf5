//! Tells both sides the same and finds where they differ.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use andon_bitcoin::headers::WINDOW;
use bitcoin::block::Header;

use crate::case::{Case, REGTEST_BITS};
use crate::tree::{Answer, HeaderTree, Refusal};

/// Where the sides went apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) kind: Kind,
    /// In which message.
    pub(crate) message: usize,
    /// What each side said.
    pub(crate) detail: String,
}

/// In what they differ. Two cases of one kind are taken for the same difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// What a header is refused for, if at all: by the engine, by the other side.
    Verdict(Option<Refusal>, Option<Refusal>),
    /// The best block.
    Tip,
    /// Whether a header is there, and at which height.
    Known,
    /// The other side panicked.
    Panic,
}

/// What the engine said, how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) messages: u64,
    /// Headers that were judged: those after a refused one in a message are not.
    pub(crate) headers: u64,
    pub(crate) taken: u64,
    /// Among the taken: were there already.
    pub(crate) known: u64,
    pub(crate) refused: BTreeMap<Refusal, u64>,
    /// Told by the other side under a name that is as true as the engine's.
    pub(crate) renamed: BTreeMap<(Refusal, Refusal), u64>,
    /// The best block changed to one that does not follow from it.
    pub(crate) reorganisations: u64,
    /// A header with as much work as the best block's did not take its place.
    pub(crate) ties: u64,
    /// Blocks between a new header's parent and the best block, at most.
    pub(crate) deepest_fork: u32,
}

/// Tells a case to both, which have nothing but the network's first block.
pub(crate) fn compare(
    case: &Case,
    reference: &mut impl HeaderTree,
    subject: &mut impl HeaderTree,
    tally: &mut Tally,
) -> Result<(), Difference> {
    let headers = case.headers();
    for (place, message) in case.messages.iter().enumerate() {
        let told: Vec<Header> = message.nodes.iter().map(|&node| headers[node]).collect();
        let result =
            catch_unwind(AssertUnwindSafe(|| compare_message(&told, message.now, reference, subject, tally)));
        let (kind, detail) = match result {
            Ok(Ok(())) => continue,
            Ok(Err(found)) => found,
            Err(_) => (Kind::Panic, "one of them panicked".to_owned()),
        };
        return Err(Difference { kind, message: place, detail });
    }
    let kept_from = reference.tip().height.saturating_sub(WINDOW);
    for (node, header) in headers.iter().enumerate() {
        let hash = header.block_hash();
        let [theirs, ours] = [reference.find(&hash), subject.find(&hash)];
        let let_go = ours.is_none() && theirs.is_some_and(|height| height < kept_from);
        if theirs != ours && !let_go {
            let detail =
                format!("header {node} in the end: the engine has it at {theirs:?}, the other at {ours:?}");
            return Err(Difference { kind: Kind::Known, message: case.messages.len(), detail });
        }
    }
    Ok(())
}

fn compare_message(
    told: &[Header],
    now: u64,
    reference: &mut impl HeaderTree,
    subject: &mut impl HeaderTree,
    tally: &mut Tally,
) -> Result<(), (Kind, String)> {
    let before = reference.tip();
    let known = told.iter().take_while(|header| reference.find(&header.block_hash()).is_some()).count();
    let parent = told.get(known).and_then(|header| reference.find(&header.prev_blockhash));
    let theirs = reference.take(told, now);
    let ours = subject.take(told, now);
    let refused = told.get(theirs.taken).filter(|_| theirs.refused.is_some());
    match refused {
        Some(header) => {
            let connected = theirs.taken > 0 || reference.find(&header.prev_blockhash).is_some();
            if !agree(theirs, ours, header, connected, tally) {
                let detail = format!("the engine: {theirs:?}, the other: {ours:?}");
                return Err((Kind::Verdict(theirs.refused, ours.refused), detail));
            }
        }
        None if theirs == ours => {}
        None => {
            let detail = format!("the engine: {theirs:?}, the other: {ours:?}");
            return Err((Kind::Verdict(None, ours.refused), detail));
        }
    }
    let [best, our_best] = [reference.tip(), subject.tip()];
    if best != our_best {
        return Err((Kind::Tip, format!("the engine's tip: {best:?}, the other's: {our_best:?}")));
    }
    for header in told {
        let hash = header.block_hash();
        let [theirs, ours] = [reference.find(&hash), subject.find(&hash)];
        if theirs != ours {
            let detail = format!("{hash}: the engine has it at {theirs:?}, the other at {ours:?}");
            return Err((Kind::Known, detail));
        }
    }

    tally.messages += 1;
    tally.headers += theirs.taken as u64 + u64::from(theirs.refused.is_some());
    tally.taken += theirs.taken as u64;
    tally.known += known as u64;
    if let Some(refusal) = theirs.refused {
        *tally.refused.entry(refusal).or_default() += 1;
    }
    if theirs.taken > known {
        let parent = parent.expect("what was taken has a parent");
        tally.deepest_fork = tally.deepest_fork.max(before.height.saturating_sub(parent));
        let last = &told[theirs.taken - 1];
        let height = reference.find(&last.block_hash());
        tally.ties += u64::from(height == Some(best.height) && last.block_hash() != best.hash);
        // The headers of a message follow each other: if they are the best chain now and do not begin at the block
        // that was the best, that one was left.
        let began_at_best = told[known].prev_blockhash == before.hash;
        tally.reorganisations += u64::from(best != before && !began_at_best);
    }
    Ok(())
}

/// Whether the sides say the same of a refused header. Of two breaches either may be named in two cases, in each of
/// which both are there.
fn agree(theirs: Answer, ours: Answer, header: &Header, connected: bool, tally: &mut Tally) -> bool {
    if theirs == ours {
        return true;
    }
    let (Some(their), Some(our)) = (theirs.refused, ours.refused) else { return false };
    let both = match (their, our) {
        (Refusal::ProofOfWork, Refusal::Unconnected) => !connected,
        (Refusal::ProofOfWork, Refusal::Difficulty) => header.bits.to_consensus() != REGTEST_BITS,
        _ => false,
    };
    let same = both && theirs.taken == ours.taken;
    if same {
        *tally.renamed.entry((their, our)).or_default() += 1;
    }
    same
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} messages, {} headers", self.messages, self.headers)?;
        writeln!(f, "  taken {}, of which known before {}", self.taken, self.known)?;
        for (refusal, count) in &self.refused {
            writeln!(f, "  refused for {refusal:?} {count}")?;
        }
        for ((their, our), count) in &self.renamed {
            writeln!(f, "  of which told by the other side as {our:?} instead of {their:?} {count}")?;
        }
        write!(
            f,
            "  reorganisations {}, ties {}, deepest fork {}",
            self.reorganisations, self.ties, self.deepest_fork
        )
    }
}
