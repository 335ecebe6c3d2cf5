//! What liars say that nobody asked for: chains of little work, branches, announcements, addresses, garbage; and drips.

use andon_bitcoin::wire::{INV_BLOCK, Inventory, MAX_ADDRESSES, MAX_HEADERS, Message, NodeAddress};
use andon_kernel::{ConnId, Now};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, TxMerkleNode};

use super::{Lie, LyingServer};
use crate::nodes::mine;
use crate::world::Port;

/// How far below the tip's work a chain stays: the distance up to which Bitcoin Core, and a light client, keep branches.
const BELOW_TIP: u32 = 146;

/// Announcements that are made at a stroke.
const AT_A_STROKE: usize = 20;

impl LyingServer {
    /// Says what is due.
    pub(super) fn speak_unasked(&mut self, now: Now, port: &mut Port<'_>) {
        while let Some(conn) = self.unasked.expire(now.instant) {
            self.speak(now, conn, port);
        }
    }

    fn speak(&mut self, now: Now, conn: ConnId, port: &mut Port<'_>) {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| !line.is_closed) else { return };
        if !line.dripping.is_empty() {
            let all = line.dripping.len();
            // Who is told to drip no more sends the rest.
            let count = if self.does(Lie::SlowDrip) { self.means.drip.clamp(1, all) } else { all };
            let Some(line) = self.lines.get_mut(&conn) else { return };
            let drip: Vec<u8> = line.dripping.drain(..count).collect();
            let goes_on = !line.dripping.is_empty();
            self.told.drips += 1;
            self.put_out(now, conn, &drip, port);
            if goes_on {
                self.unasked.set(conn, now.instant + self.means.pace);
            }
            return;
        }
        let Some(lie) = self.now_does.filter(|lie| lie.is_unasked()) else { return };
        if line.unasked >= self.means.most {
            return;
        }
        line.unasked += 1;
        let number = line.unasked;
        match lie {
            Lie::AddressFlood => self.tell_addresses(now, conn, number, port),
            Lie::Garbage => self.talk_garbage(now, conn, port),
            Lie::LowWorkFlood => {
                let headers = self.cheap_headers(None, number);
                self.told.cheap_headers += headers.len() as u64;
                self.send(now, conn, &Message::Headers(headers.as_slice().into()), port);
            }
            Lie::ReorganisationStorm => self.announce_branch(now, conn, number, port),
            Lie::RepeatedAnnouncements => self.repeat_announcements(now, conn, number, port),
            _ => return,
        }
        if self.lines.get(&conn).is_some_and(|line| !line.is_closed) {
            self.unasked.set(conn, now.instant + self.means.pace);
        }
    }

    fn tell_addresses(&mut self, now: Now, conn: ConnId, number: u64, port: &mut Port<'_>) {
        let all = &self.means.tells;
        let skipped = (number - 1).wrapping_mul(MAX_ADDRESSES as u64) % (all.len() as u64).max(1);
        let told = all.iter().cycle().skip(skipped as usize).take(MAX_ADDRESSES.min(all.len()));
        // Seen just now.
        let time = u32::try_from(now.unix.as_secs()).unwrap_or(u32::MAX);
        let told: Vec<NodeAddress> = told.map(|address| NodeAddress { time, ..*address }).collect();
        if !told.is_empty() {
            self.told.addresses += told.len() as u64;
            self.send(now, conn, &Message::AddrV2(told), port);
        }
    }

    fn talk_garbage(&mut self, now: Now, conn: ConnId, port: &mut Port<'_>) {
        let Some(line) = self.lines.get_mut(&conn) else { return };
        let garbage = line.garbage;
        let bytes = garbage.piece(self.magic, &self.chain, &mut self.own, line);
        if !bytes.is_empty() {
            self.told.garbage += 1;
            self.send_bytes(now, conn, &bytes, port);
        }
    }

    /// Answers a request for headers by some of a chain of little work. False: it is done with that, or has none.
    pub(super) fn show_cheap_headers(
        &mut self,
        now: Now,
        conn: ConnId,
        first: Option<BlockHash>,
        port: &mut Port<'_>,
    ) -> bool {
        let Some(line) = self.lines.get_mut(&conn).filter(|line| line.unasked < self.means.most) else {
            return false;
        };
        line.unasked += 1;
        let number = line.unasked;
        let goes_on = line.cheap.filter(|(tip, ..)| Some(*tip) == first);
        let headers = self.cheap_headers(goes_on, number);
        let Some(last) = headers.last() else { return false };
        let height = goes_on.map_or(0, |(_, height, _)| height) + headers.len() as u32;
        let shown = (last.block_hash(), height, last.time);
        if let Some(line) = self.lines.get_mut(&conn) {
            line.cheap = Some(shown);
        }
        self.told.cheap_headers += headers.len() as u64;
        self.send(now, conn, &Message::Headers(headers.as_slice().into()), port);
        true
    }

    /// Headers from the first block on, or of a chain that is being shown, as many as a message has and as few as keep its work below
    /// the tip's.
    fn cheap_headers(&self, shown: Option<(BlockHash, u32, u32)>, number: u64) -> Vec<Header> {
        let (Some(first), height) = (self.chain.header_at(0), self.chain.height()) else { return Vec::new() };
        // Of a short chain every branch is near the tip: it is one that is not the best, then.
        let limit = if height > 2 * BELOW_TIP { height - BELOW_TIP } else { height.saturating_sub(1) };
        let from = shown.filter(|(_, height, _)| *height < limit);
        let (mut parent, below, mut time) = from.unwrap_or((first.block_hash(), 0, first.time));
        let count = limit.saturating_sub(below).min(MAX_HEADERS as u32);
        let mut stream = self.common.fork_indexed("cheap headers", number);
        (0..count)
            .map(|_| {
                time += 1;
                let header = mine::header(parent, TxMerkleNode::from_byte_array(stream.seed()), time);
                parent = header.block_hash();
                header
            })
            .collect()
    }

    /// Announces a branch with as much work as the chain.
    fn announce_branch(&mut self, now: Now, conn: ConnId, number: u64, port: &mut Port<'_>) {
        let height = self.chain.height();
        let deepest = self.means.depth.clamp(1, height.max(1));
        // Of the same number and on the same tip a camp announces the same one.
        let mut stream = self.common.fork_indexed("branch", number).fork_indexed("height", height.into());
        let fork = height.saturating_sub(1 + stream.below(deepest.into()) as u32);
        let Some(below) = self.chain.header_at(fork) else { return };
        let mut parent = below.block_hash();
        let headers: Vec<Header> = (fork + 1..=height)
            .filter_map(|height| self.chain.header_at(height))
            .map(|honest| {
                let root = TxMerkleNode::from_byte_array(stream.seed());
                let header = mine::header(parent, root, honest.time);
                parent = header.block_hash();
                header
            })
            .collect();
        if !headers.is_empty() {
            self.told.branches += 1;
            self.send(now, conn, &Message::Headers(headers.as_slice().into()), port);
        }
    }

    fn repeat_announcements(&mut self, now: Now, conn: ConnId, number: u64, port: &mut Port<'_>) {
        let height = self.chain.height();
        let Some(header) = self.chain.header_at(height) else { return };
        for round in 0..AT_A_STROKE {
            // In turn by its hash, by its header, and by a hash that nobody knows yet.
            match (round as u64 + number) % 3 {
                0 => {
                    let news = [Inventory::block(INV_BLOCK, header.block_hash())];
                    self.send(now, conn, &Message::Inv(news.as_slice().into()), port);
                }
                1 => self.send(now, conn, &Message::Headers([header].as_slice().into()), port),
                _ => {
                    let hash = BlockHash::from_byte_array(self.own.seed());
                    let news = [Inventory::block(INV_BLOCK, hash)];
                    self.send(now, conn, &Message::Inv(news.as_slice().into()), port);
                }
            }
            self.told.announcements += 1;
        }
    }
}
