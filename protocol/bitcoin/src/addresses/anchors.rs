//! Nodes to dial first after a restart.
//!
//! Whoever has filled a client's book wins when it restarts: all its connections are chosen anew. Two that it had are not.
//! They are written down while they serve and not at the end of a run: a phone ends it without asking.

use alloc::vec::Vec;

use andon_kernel::BatchWriter;
use bitcoin::p2p::ServiceFlags;

use super::limits::ANCHORS as MAX_ANCHORS;
use super::location::Location;
use super::network::is_routable;
use super::rows::{
    ANCHORS, RowError, VERSION, delete, put, read_location, read_version, unseal, write_location,
};
use crate::wire::Reader;

/// A node to dial first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Where it listens.
    pub location: Location,
    /// What it served.
    pub services: ServiceFlags,
}

/// The nodes to dial first after a restart, two at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anchors {
    anchors: Vec<Anchor>,
    /// As many rows as there are.
    stored: usize,
    has_changed: bool,
}

impl Anchors {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Those that there are.
    pub fn get(&self) -> &[Anchor] {
        &self.anchors
    }

    /// Puts others in their place: those of [`Outbound::best`](super::Outbound::best), as long as there are some.
    pub fn set(&mut self, anchors: &[Anchor]) {
        let anchors = &anchors[..anchors.len().min(MAX_ANCHORS)];
        if self.anchors != anchors {
            self.anchors = anchors.into();
            self.has_changed = true;
        }
    }

    /// Takes out one that could not be reached, or did not serve: it is not dialled first again.
    pub fn remove(&mut self, location: &Location) {
        let before = self.anchors.len();
        self.anchors.retain(|anchor| anchor.location != *location);
        self.has_changed |= self.anchors.len() < before;
    }

    /// Whether something has changed since the last time it was put into a batch.
    pub const fn is_changed(&self) -> bool {
        self.has_changed
    }

    /// Puts what has changed since the last time into a batch.
    pub fn store(&mut self, batch: &mut BatchWriter<'_>) {
        if !core::mem::take(&mut self.has_changed) {
            return;
        }
        for (number, anchor) in self.anchors.iter().enumerate() {
            let mut value = Vec::with_capacity(48);
            value.push(VERSION);
            write_location(&anchor.location, &mut value);
            value.extend_from_slice(&anchor.services.to_u64().to_le_bytes());
            put(batch, ANCHORS, &[number as u8], value);
        }
        for number in self.anchors.len()..self.stored {
            delete(batch, ANCHORS, [number as u8].into());
        }
        self.stored = self.anchors.len();
    }

    /// Takes a row; in the order of their keys.
    ///
    /// # Errors
    /// If it is no anchor, or one too many.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        let taken = self.take_row(key, value);
        // It goes when the others are stored, and they are soon.
        self.has_changed |= taken.is_err();
        taken
    }

    fn take_row(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        // Whatever it is, it is there, and goes when others are stored.
        self.stored = MAX_ANCHORS;
        let mut reader = Reader::new(unseal(key, value)?);
        read_version(&mut reader)?;
        let location = read_location(&mut reader)?;
        let services = ServiceFlags::from(reader.u64()?);
        let is_placed = matches!(key, [number] if usize::from(*number) < MAX_ANCHORS);
        if !is_placed || !reader.rest().is_empty() {
            return Err(RowError::Damaged);
        }
        let is_known = self.anchors.iter().any(|anchor| anchor.location == location);
        if is_known || self.anchors.len() >= MAX_ANCHORS || !is_routable(&location.host) {
            return Err(RowError::Impossible);
        }
        self.anchors.push(Anchor { location, services });
        Ok(())
    }
}
