//! Taking findings back: those at or above the first height that is to be searched are void, whether the chain left
//! their blocks or the search begins again. Highest first, page by page, each told when its removal is durable.

use alloc::vec::Vec;
use core::ops::Bound;

use andon_kernel::{Order, Rows, Ticket};

use super::api::Event;
use super::{Client, Then, Turn, record};

/// Findings that are taken back in one batch.
const PAGE: u32 = 500;

/// How far the taking back is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TakingBack {
    No,
    /// A batch that makes it necessary is not durable yet, or one that does a part of it.
    Storing,
    /// The page from this height on is being loaded.
    Loading(Ticket, u32),
}

impl Client {
    /// Loads the highest findings at or above the first height that is to be searched: they are void.
    pub(super) fn take_back_page(&mut self, turn: &mut Turn<'_>) {
        let Some(next) = self.search.next else { return };
        if matches!(self.search.taking_back, TakingBack::Loading(..)) {
            // Under way already; it looks again when its page has come.
            return;
        }
        let ticket = self.names.ticket();
        let low = record::height_key(next);
        turn.out.load(
            ticket,
            record::TOUCH,
            (Bound::Included(&low), Bound::Unbounded),
            Order::Descending,
            PAGE,
        );
        self.search.taking_back = TakingBack::Loading(ticket, next);
    }

    /// Takes back a page that was loaded from the height `from` on.
    pub(super) fn take_back(&mut self, turn: &mut Turn<'_>, rows: Rows<'_>, from: u32) {
        self.search.taking_back = TakingBack::Storing;
        let mut events = Vec::new();
        let mut lowest = None;
        for (key, value) in rows.iter() {
            lowest = Some(key);
            // One that is unreadable goes like the others. What it was can't be told.
            let Ok(touch) = record::read_touch(key, value) else { continue };
            self.search.findings.take_back(&touch);
            if self.search.void_from.is_none_or(|void| touch.block.height < void) {
                events.push(Event::TakenBack(touch));
            }
        }
        match lowest {
            // The page was the highest there is: what is above its lowest row went with it.
            Some(lowest) => {
                self.store(turn, events, Then::TakeBack, |batch| batch.delete_from(record::TOUCH, lowest))
            }
            None if self.search.next == Some(from) => {
                self.search.taking_back = TakingBack::No;
                self.search.void_from = None;
            }
            None => self.take_back_page(turn),
        }
    }
}
