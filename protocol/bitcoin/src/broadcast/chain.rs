//! What the best chain says of transactions: that they are in it, or that they can't be any more.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use andon_kernel::{Instant, UnixTime};
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::{ScriptBuf, Transaction, Txid};

use super::entry::{Entry, Settled};
use super::limits::FINAL_DEPTH;
use super::{Outgoing, rows};
use crate::filter::scripts_told;
use crate::headers::BlockId;

/// What a transaction of a block is to those that are broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touch {
    txid: Txid,
    /// Whether it is one of them.
    is_ours: bool,
    /// Those that spend what it spends.
    rivals: BTreeSet<Txid>,
}

impl Outgoing {
    /// Whether a transaction of a block is one of them, or spends what one of them does. Nothing changes before
    /// [`settle`](Self::settle): a block may turn out not to be the one that was asked for.
    pub fn touch(&self, txid: Txid, transaction: &Transaction) -> Option<Touch> {
        let is_ours = self.entries.contains_key(&txid);
        let rivals = transaction.input.iter().filter_map(|input| self.spenders.get(&input.previous_output));
        let rivals: BTreeSet<Txid> = rivals.flatten().filter(|rival| **rival != txid).copied().collect();
        (is_ours || !rivals.is_empty()).then_some(Touch { txid, is_ours, rivals })
    }

    /// A block of the best chain has this.
    pub fn settle(&mut self, touch: &Touch, block: BlockId) {
        if touch.is_ours {
            self.settle_one(touch.txid, Settled::Confirmed { block });
            for parent in self.ancestors(&touch.txid) {
                let is_open =
                    self.entries[&parent].settled.is_none_or(|settled| settled.height() > block.height);
                if is_open {
                    self.settle_one(parent, Settled::Confirmed { block });
                }
            }
        }
        for rival in &touch.rivals {
            for gone in self.descendants(rival).into_iter().chain([*rival]) {
                self.settle_one(gone, Settled::Conflicted { by: touch.txid, block });
            }
        }
    }

    fn settle_one(&mut self, txid: Txid, settled: Settled) {
        let Some(entry) = self.entries.get_mut(&txid).filter(|entry| entry.settled != Some(settled)) else {
            return;
        };
        entry.settled = Some(settled);
        entry.stop();
        self.watched += 1;
        self.note(txid);
    }

    /// The first height whose block has not been looked through for them. `None`: none has.
    pub const fn searched(&self) -> Option<u32> {
        self.searched
    }

    /// When the oldest was given of those that are looked for in blocks: where the search begins if it is not known how far it
    /// came. The calendar's clock may have been wrong then. `None`: nothing is looked for.
    pub fn oldest_added(&self) -> Option<UnixTime> {
        self.entries.values().filter(|entry| entry.settled.is_none()).map(|entry| entry.added).min()
    }

    /// Blocks below this height have been looked through for them. It is stored with the rest.
    pub fn set_searched(&mut self, next: u32) {
        if self.searched != Some(next) {
            self.searched = Some(next);
            self.searched_changed = true;
        }
    }

    /// The blocks that are said to have one of them, or one that contradicts it.
    pub fn settled_in(&self) -> impl Iterator<Item = BlockId> {
        self.entries.values().filter_map(|entry| match entry.settled? {
            Settled::Confirmed { block } | Settled::Conflicted { block, .. } => Some(block),
        })
    }

    /// Blocks above this height are no longer in the best chain: what they had is broadcast again.
    pub fn rewind(&mut self, fork_height: u32, now: Instant) {
        if let Some(searched) = self.searched {
            self.set_searched(searched.min(fork_height.saturating_add(1)));
        }
        let undone = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.settled.is_some_and(|settled| settled.height() > fork_height));
        let undone: Vec<Txid> = undone.map(|(txid, _)| *txid).collect();
        for txid in &undone {
            let entry = self.entries.get_mut(txid).expect("it was found just now");
            entry.settled = None;
            entry.begin_again(now);
            self.watched += 1;
            self.note(*txid);
        }
        if !undone.is_empty() {
            self.calendar = now;
        }
    }

    /// Forgets what has come to its end so far below the tip that no reorganisation is expected to undo it, and all that
    /// spends it with it: those are found by its outputs.
    pub fn bury(&mut self, tip_height: u32) {
        let is_deep = |entry: &Entry| {
            let height = entry.settled.map(Settled::height);
            height.is_some_and(|height| height.saturating_add(FINAL_DEPTH) <= tip_height.saturating_add(1))
        };
        let buried = self.entries.iter().filter(|(txid, entry)| {
            is_deep(entry) && self.descendants(txid).iter().all(|child| is_deep(&self.entries[child]))
        });
        let buried: Vec<Txid> = buried.map(|(txid, _)| *txid).collect();
        for txid in buried {
            self.take_out(&txid);
            self.changed.insert(txid, rows::Changed { body: true });
            for peer in self.peers.values_mut() {
                peer.forget(&txid);
            }
        }
    }

    /// Changes whenever [`scripts`](Self::scripts) may have.
    pub const fn scripts_version(&self) -> u64 {
        self.watched
    }

    /// Scripts that the filter of a block holds if it has one of the transactions, or one that contradicts it.
    ///
    /// These are those of the outputs that they spend, as far as they were given, are outputs of one another, or are told
    /// by inputs; and where none is known the first output script, which finds the transaction itself only. Nothing finds one
    /// whose only outputs hold data and whose inputs tell nothing.
    pub fn scripts(&self) -> BTreeSet<ScriptBuf> {
        let mut scripts = BTreeSet::new();
        for entry in self.entries.values().filter(|entry| entry.settled.is_none()) {
            let mut found = self.spent_scripts(entry);
            if found.is_empty() {
                found.extend(paid_script(&entry.submission.transaction));
            }
            scripts.append(&mut found);
        }
        scripts
    }

    fn spent_scripts(&self, entry: &Entry) -> BTreeSet<ScriptBuf> {
        let mut scripts: BTreeSet<ScriptBuf> = entry.submission.spent_scripts.iter().cloned().collect();
        for input in &entry.submission.transaction.input {
            let outpoint = input.previous_output;
            let parent = self.entries.get(&outpoint.txid);
            let output =
                parent.and_then(|parent| parent.submission.transaction.output.get(outpoint.vout as usize));
            match output {
                Some(output) => drop(scripts.insert(output.script_pubkey.clone())),
                None => scripts.extend(scripts_told(input)),
            }
        }
        // Filters have no empty scripts.
        scripts.retain(|script| !script.is_empty());
        scripts
    }
}

/// A script of the outputs that filters have.
fn paid_script(transaction: &Transaction) -> Option<ScriptBuf> {
    let scripts = transaction.output.iter().map(|output| &output.script_pubkey);
    let mut scripts =
        scripts.filter(|script| !script.is_empty() && script.as_bytes()[0] != OP_RETURN.to_u8());
    scripts.next().cloned()
}
