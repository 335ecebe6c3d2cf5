//! The peers that were given: what each one's connection is at, and when to try again.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::time::Duration;

use andon_kernel::{Instant, Ticket};

use super::api::Reason;
use super::config::Endpoint;

/// Peers that can be given at most.
const MAX_TARGETS: usize = 256;

/// Addresses of one host name that are tried at most.
const MAX_ADDRESSES: usize = 16;

/// After this many failures in a row the delay grows no more: a hundredfold and a bit.
const MAX_DOUBLINGS: u32 = 7;

/// A peer that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TargetId(u32);

impl TargetId {
    pub(super) const fn number(self) -> u32 {
        self.0
    }
}

/// How long a peer that does not encrypt is remembered: it may learn to.
const UNENCRYPTED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// Peers that are remembered not to encrypt, at most. The oldest is forgotten.
const MAX_UNENCRYPTED: usize = 2048;

/// Where peers are that closed encrypted connections without a word and took unencrypted ones, and until when that is
/// remembered.
#[derive(Debug, Default)]
pub(super) struct Unencrypted(BTreeMap<Endpoint, Instant>);

impl Unencrypted {
    pub(super) fn has(&self, remote: &Endpoint, now: Instant) -> bool {
        self.0.get(remote).is_some_and(|until| now < *until)
    }

    pub(super) fn remember(&mut self, remote: Endpoint, now: Instant) {
        self.0.insert(remote, now + UNENCRYPTED_FOR);
        if self.0.len() > MAX_UNENCRYPTED
            && let Some((oldest, _)) = self.0.iter().min_by_key(|(_, until)| **until)
        {
            let oldest = oldest.clone();
            self.0.remove(&oldest);
        }
    }
}

/// The peers that were given, in order.
#[derive(Debug, Default)]
pub(super) struct Targets {
    targets: BTreeMap<TargetId, Target>,
    /// The number of the next: of one that was removed it is not used again.
    next: u32,
}

#[derive(Debug)]
struct Target {
    endpoint: Endpoint,
    at: Stage,
    /// Of the host name, those that have not been tried.
    untried: VecDeque<SocketAddr>,
    failures: u32,
    /// Why it is not connected.
    reason: Option<Reason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Dialled, connected, or waiting for either.
    Known,
    Resolving(Ticket),
}

/// Whether a peer was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    New(TargetId),
    Known,
    /// There are as many as there can be.
    Full,
}

/// What to do about a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Dial this address.
    Dial(SocketAddr),
    /// It has failed for now. Try it again after this time.
    Wait(Duration),
}

impl Targets {
    /// Adds a peer, unless it is there already.
    pub(super) fn add(&mut self, endpoint: &Endpoint) -> Added {
        if self.targets.values().any(|target| target.endpoint == *endpoint) {
            return Added::Known;
        }
        if self.targets.len() >= MAX_TARGETS {
            return Added::Full;
        }
        let id = TargetId(self.next);
        self.next += 1;
        let endpoint = endpoint.clone();
        let target =
            Target { endpoint, at: Stage::Known, untried: VecDeque::new(), failures: 0, reason: None };
        self.targets.insert(id, target);
        Added::New(id)
    }

    /// Removes a peer, if it is there.
    pub(super) fn remove(&mut self, endpoint: &Endpoint) -> Option<TargetId> {
        let (id, _) = self.targets.iter().find(|(_, target)| target.endpoint == *endpoint)?;
        let id = *id;
        self.targets.remove(&id);
        Some(id)
    }

    /// Whether a peer has not been removed.
    pub(super) fn contains(&self, id: TargetId) -> bool {
        self.targets.contains_key(&id)
    }

    /// How often in a row a peer could not be reached or was lost, and why it was last.
    pub(super) fn failures(&self, id: TargetId) -> (u32, Option<&Reason>) {
        let target = self.target(id);
        (target.failures, target.reason.as_ref())
    }

    /// Notes why a peer is not connected.
    pub(super) fn failed(&mut self, id: TargetId, reason: Reason) {
        self.target_mut(id).reason = Some(reason);
    }

    /// Notes that past failures count no more.
    pub(super) fn forget_failures(&mut self, id: TargetId) {
        self.target_mut(id).failures = 0;
    }

    /// All of them, in order.
    pub(super) fn ids(&self) -> Vec<TargetId> {
        self.targets.keys().copied().collect()
    }

    /// Where a peer is.
    pub(super) fn endpoint(&self, id: TargetId) -> &Endpoint {
        &self.target(id).endpoint
    }

    /// Notes that a peer's name is being looked up.
    pub(super) fn resolving(&mut self, id: TargetId, ticket: Ticket) {
        self.target_mut(id).at = Stage::Resolving(ticket);
    }

    /// Notes that a handshake was finished: past failures count no more.
    pub(super) fn succeeded(&mut self, id: TargetId) {
        self.forget_failures(id);
        self.forget_addresses(id);
    }

    /// Notes that a peer's other addresses would do no better.
    pub(super) fn forget_addresses(&mut self, id: TargetId) {
        self.target_mut(id).untried.clear();
    }

    /// Notes that a peer broke the protocol: it is left alone for as long as one that failed many times.
    pub(super) fn misbehaved(&mut self, id: TargetId) {
        self.target_mut(id).failures = MAX_DOUBLINGS;
        self.forget_addresses(id);
    }

    /// Takes the addresses of a name in. `None`: nobody asked.
    pub(super) fn resolved(&mut self, ticket: Ticket, addrs: &[SocketAddr]) -> Option<TargetId> {
        let (id, target) =
            self.targets.iter_mut().find(|(_, target)| target.at == Stage::Resolving(ticket))?;
        target.at = Stage::Known;
        target.untried = addrs.iter().copied().take(MAX_ADDRESSES).collect();
        Some(*id)
    }

    /// What comes next for a peer whose attempt or connection has ended, or whose name was looked up.
    pub(super) fn next(&mut self, id: TargetId, retry_delay: Duration) -> Next {
        let target = self.target_mut(id);
        target.at = Stage::Known;
        if let Some(addr) = target.untried.pop_front() {
            return Next::Dial(addr);
        }
        let doublings = target.failures.min(MAX_DOUBLINGS);
        target.failures += 1;
        Next::Wait((retry_delay * (1 << doublings)).min(retry_delay * 100))
    }

    fn target(&self, id: TargetId) -> &Target {
        self.targets.get(&id).expect("whoever knows a target asks whether it is there")
    }

    fn target_mut(&mut self, id: TargetId) -> &mut Target {
        self.targets.get_mut(&id).expect("whoever knows a target asks whether it is there")
    }
}

/// Whether another address of the same host may do better after a failure of this kind.
pub(super) fn is_of_the_address(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::Connection(_)
            | Reason::ClosedBeforeVersion
            | Reason::EncryptionRefused
            | Reason::HandshakeTimeout
            | Reason::ForeignHandshake
    )
}
