//! What was found: received outputs are remembered, so that their spending is noticed.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, Txid};

use super::api::{BlockId, Spend, Touch, TouchKind};
use super::descents::Remembered;
use super::record::{TouchKey, outpoint_hash};
use super::watches::{GroupId, Watches};
use crate::broadcast::Outgoing;
use crate::fees::BlockFees;

/// The outputs that watched scripts received and that are not spent.
#[derive(Debug, Default)]
pub(super) struct Findings {
    outputs: BTreeMap<OutPoint, (ScriptBuf, Amount)>,
}

/// What a block may have to do with what is watched: what it pays watched scripts, and everything it spends.
///
/// Which of that had been received is known only when all blocks before it have been looked at. Digests wait for that, so
/// theirs is little memory: three lists, whatever the number of transactions.
#[derive(Debug, Default)]
pub(super) struct Digest {
    transactions: Vec<Part>,
    /// What the transactions spend, one after the other.
    spent: Vec<OutPoint>,
    received: Vec<Receipt>,
    /// Those that spend an output whose spending is searched for, by their position.
    whole: BTreeMap<u32, Transaction>,
    /// While anything is searched for newest first: the inputs that may spend it, by their places in `spent`.
    open: Vec<u32>,
    /// What its transactions paid, if it says.
    pub(super) fees: Option<BlockFees>,
    /// What concerns transactions that are broadcast.
    pub(super) broadcast: Vec<crate::broadcast::Touch>,
}

/// A transaction of a digest.
#[derive(Debug)]
struct Part {
    txid: Txid,
    inputs: u32,
}

/// What a watched script may have received.
#[derive(Debug)]
struct Receipt {
    /// Of the transaction in its block.
    position: u32,
    output: u32,
    script: ScriptBuf,
    amount: Amount,
}

/// What a block came to.
#[derive(Debug, Default)]
pub(super) struct Settled {
    pub(super) touches: Vec<(TouchKey, Touch)>,
    pub(super) spends: Vec<(OutPoint, Spend)>,
    /// What may spend outputs that are not known yet.
    pub(super) remembered: Vec<Remembered>,
}

impl Findings {
    /// The script of an output that was received and is not spent yet.
    pub(super) fn script_of(&self, outpoint: &OutPoint) -> Option<&[u8]> {
        self.outputs.get(outpoint).map(|(script, _)| script.as_bytes())
    }

    /// The script and the amount of an output that was received and is not spent yet.
    pub(super) fn output(&self, outpoint: &OutPoint) -> Option<(&ScriptBuf, Amount)> {
        self.outputs.get(outpoint).map(|(script, amount)| (script, *amount))
    }

    /// Finds what touched what a group watches in a block, after all blocks before it, and takes it in.
    pub(super) fn settle(
        &mut self,
        block: BlockId,
        digest: Digest,
        group: GroupId,
        watches: &Watches,
    ) -> Settled {
        let mut settled = Settled::default();
        let mut remembered = Vec::new();
        let height = block.height;
        let is_ours = |script: &ScriptBuf| {
            watches.scripts().get(script).is_some_and(|watch| watch.is_of(group, height))
        };
        let mut all_spent = (0..).zip(digest.spent);
        let mut open = digest.open.into_iter().peekable();
        let mut all_received = digest.received.into_iter().peekable();
        for (position, Part { txid, inputs }) in (0..).zip(digest.transactions) {
            let mut add = |kind, script, amount| {
                let touch = Touch { block, txid, kind, script, amount, derivation: None };
                settled.touches.push((TouchKey::new(block.height, position, kind), touch));
            };
            for (input, (place, outpoint)) in (0..inputs).zip(&mut all_spent) {
                let is_open = open.next_if_eq(&place).is_some();
                let kind = TouchKind::Spent { input, outpoint };
                let known = self.outputs.get(&outpoint);
                let is_known = known.is_some();
                let received = known.filter(|(script, _)| is_ours(script));
                let watched = watches.outpoints().get(&outpoint);
                if let Some((script, amount)) = received {
                    // Those that watch the output have heard of it if they were there before.
                    if !watched.is_some_and(|watched| watches.has_searched(&watched.watch, height)) {
                        add(kind, script.clone(), Some(*amount));
                    }
                    self.outputs.remove(&outpoint);
                } else if let Some(watched) = watched.filter(|watched| watched.watch.group == group) {
                    add(kind, watched.script.clone(), watched.amount);
                }
                if is_open && !is_known {
                    let hash = outpoint_hash(&block.hash, &outpoint);
                    remembered.push(Remembered { txid, position, input, hash });
                }
                if let Some(whole) = digest.whole.get(&position)
                    && watches.spends().iter().any(|spend| spend.is_for(&outpoint, group))
                {
                    settled.spends.push((outpoint, Spend { block, input, transaction: whole.clone() }));
                }
            }
            while let Some(receipt) = all_received.next_if(|receipt| receipt.position == position) {
                let Receipt { output, script, amount, .. } = receipt;
                if is_ours(&script) {
                    self.outputs.insert(OutPoint { txid, vout: output }, (script.clone(), amount));
                    add(TouchKind::Received { output }, script, Some(amount));
                }
            }
        }
        settled.remembered = remembered;
        settled
    }

    /// Takes in a finding that had been stored. In the chain's order.
    pub(super) fn restore(&mut self, touch: &Touch, watches: &Watches) {
        match touch.kind {
            TouchKind::Received { output } => {
                self.receive(OutPoint { txid: touch.txid, vout: output }, touch, watches);
            }
            TouchKind::Spent { outpoint, .. } => {
                self.outputs.remove(&outpoint);
            }
        }
    }

    /// Takes a finding back. Against the chain's order.
    pub(super) fn take_back(&mut self, touch: &Touch, watches: &Watches) {
        match touch.kind {
            TouchKind::Received { output } => {
                self.outputs.remove(&OutPoint { txid: touch.txid, vout: output });
            }
            TouchKind::Spent { outpoint, .. } => self.receive(outpoint, touch, watches),
        }
    }

    fn receive(&mut self, outpoint: OutPoint, touch: &Touch, watches: &Watches) {
        if let Some(amount) = touch.amount.filter(|_| watches.scripts().contains_key(&touch.script)) {
            self.outputs.insert(outpoint, (touch.script.clone(), amount));
        }
    }

    /// Forgets what scripts received that are no longer watched.
    pub(super) fn forget_unwatched(&mut self, watches: &Watches) {
        self.outputs.retain(|_, (script, _)| watches.scripts().contains_key(script));
    }
}

impl Digest {
    /// Takes from a block's next transaction what may matter.
    pub(super) fn add(
        &mut self,
        txid: Txid,
        transaction: Transaction,
        watches: &Watches,
        outgoing: &Outgoing,
    ) {
        self.broadcast.extend(outgoing.touch(txid, &transaction));
        let position = self.transactions.len() as u32;
        let inputs = transaction.input.len() as u32;
        let spent = transaction.input.iter().map(|input| input.previous_output);
        let is_searched = |outpoint| watches.spends().iter().any(|spend| spend.outpoint == outpoint);
        let is_whole = spent.clone().any(is_searched);
        self.transactions.push(Part { txid, inputs });
        if !watches.descents.is_empty() && !transaction.is_coinbase() {
            let inputs = (self.spent.len() as u32..).zip(&transaction.input);
            self.open.extend(inputs.filter(|(_, input)| watches.may_spend(input)).map(|(place, _)| place));
        }
        self.spent.extend(spent);
        let outputs = (0..).zip(&transaction.output);
        let received = outputs.filter(|(_, output)| watches.scripts().contains_key(&output.script_pubkey));
        self.received.extend(received.map(|(index, output)| Receipt {
            position,
            output: index,
            script: output.script_pubkey.clone(),
            amount: output.value,
        }));
        if is_whole {
            self.whole.insert(position, transaction);
        }
    }

    /// Gives back the memory that was reserved for more transactions.
    pub(super) fn shrink(&mut self) {
        self.transactions.shrink_to_fit();
        self.spent.shrink_to_fit();
        self.received.shrink_to_fit();
        self.open.shrink_to_fit();
    }
}
