//! Taking findings back: those that do not stand. The chain has left their blocks, the search has begun again below them,
//! or nobody watches their scripts any more. Highest first, page by page, each told when its removal is durable.

use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Order, Rows, Ticket};

use super::api::Event;
use super::{Client, Then, Turn, record};

/// Findings that are looked at in one batch.
const PAGE: u32 = 500;

/// How far the taking back is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum TakingBack {
    #[default]
    No,
    /// A batch that makes it necessary is not durable yet, or one that does a part of it.
    Storing(Rest),
    /// A page is being loaded.
    Loading(Ticket, Rest),
}

/// What is left to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rest {
    /// The lowest height.
    low: u32,
    /// The key of the lowest finding that has been looked at. `None`: none has, since the last one that made it necessary.
    below: Option<Vec<u8>>,
}

impl TakingBack {
    /// Findings from a height on may not stand.
    pub(super) fn begin(&mut self, height: u32) {
        match self {
            Self::No => *self = Self::Storing(Rest { low: height, below: None }),
            Self::Storing(rest) | Self::Loading(_, rest) => {
                rest.low = rest.low.min(height);
                rest.below = None;
            }
        }
    }

    /// Whether a page comes under this ticket.
    pub(super) fn is_loading(&self, ticket: Ticket) -> bool {
        matches!(self, Self::Loading(asked, _) if *asked == ticket)
    }
}

impl Client {
    /// Loads the highest findings that have not been looked at, if any are to be.
    pub(super) fn take_back_page(&mut self, turn: &mut Turn<'_>) {
        // If a page is under way already it is looked at again when that has come.
        let TakingBack::Storing(rest) = &mut self.search.taking_back else { return };
        let low = record::height_key(rest.low);
        let high = match &rest.below {
            Some(below) => Bound::Excluded(&below[..]),
            None => Bound::Unbounded,
        };
        let ticket = self.names.ticket();
        turn.out.load(ticket, record::TOUCH, (Bound::Included(&low), high), Order::Descending, PAGE);
        // Where a page ends is known when it has come, unless it is to begin again.
        let below = Some(rest.below.take().unwrap_or_default());
        self.search.taking_back = TakingBack::Loading(ticket, Rest { low: rest.low, below });
    }

    /// Loads it anew, for a page that was under way does not come.
    pub(super) fn take_back_anew(&mut self, turn: &mut Turn<'_>) {
        if let TakingBack::Loading(_, Rest { low, .. }) = self.search.taking_back {
            self.search.taking_back = TakingBack::Storing(Rest { low, below: None });
        }
        self.take_back_page(turn);
    }

    /// Takes back what does not stand of a page.
    pub(super) fn take_back(&mut self, turn: &mut Turn<'_>, rows: Rows<'_>, more: bool) {
        let TakingBack::Loading(_, rest) = core::mem::take(&mut self.search.taking_back) else { return };
        let mut events = Vec::new();
        let mut void = Vec::new();
        let mut last = None;
        for (key, value) in rows.iter() {
            last = Some(key);
            // One that is unreadable goes like the others. What it was can't be told.
            let touch = record::read_touch(key, value).ok();
            if touch.as_ref().is_some_and(|touch| self.search.watches.stands(touch)) {
                continue;
            }
            void.push(key);
            if let Some(mut touch) = touch {
                self.search.descriptors.note_derivation(&mut touch, &self.search.watches);
                self.search.findings.take_back(&touch, &self.search.watches);
                events.push(Event::TakenBack(touch));
            }
        }
        let begins_again = rest.below.is_none();
        let rest = match last.filter(|_| more) {
            _ if begins_again => Some(rest),
            Some(last) => Some(Rest { low: rest.low, below: Some(last.into()) }),
            None => None,
        };
        self.search.taking_back = rest.map_or(TakingBack::No, TakingBack::Storing);
        let goes_on = self.search.taking_back != TakingBack::No;
        if void.is_empty() {
            return self.take_back_page(turn);
        }
        let then = if goes_on { Then::TakeBack } else { Then::Nothing };
        self.store(turn, events, then, |batch| {
            void.iter().for_each(|key| record::delete(batch, record::TOUCH, key));
        });
    }
}
