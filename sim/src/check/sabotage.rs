//! A client that is wrong on purpose, to see that each check can fail.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::str::FromStr;

use andon_bitcoin::client::{
    Answer, Endpoint, Event, Failure, Misbehaviour, PeerPurpose, Reason, RequestId, TouchKind,
};
use bitcoin::hashes::Hash;
use bitcoin::{Amount, BlockHash, Txid};

/// What a client does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// It tells of a payment that there is not.
    InventPayment,
    /// It tells another amount than a payment has.
    ChangeAmount,
    /// It names a block that there is not.
    InventBlock,
    /// It tells of the first payment twice.
    RepeatPayment,
    /// It keeps the third payment to itself.
    HidePayment,
    /// It takes nothing back.
    KeepVoid,
    /// It takes back what it has not told.
    TakeBackUnknown,
    /// It says that a peer misbehaved that did not.
    AccuseHonest,
    /// It bans a peer that did nothing.
    BanHonest,
    /// It answers what nobody asked.
    AnswerUnasked,
    /// It answers nothing.
    AnswerNothing,
    /// It gives up.
    GiveUp,
    /// It panics.
    Panic,
    /// From its fiftieth turn on it is told nothing.
    GoDeaf,
    /// It wants to be woken all the time.
    Spin,
    /// It dials a node again and again and lets go of no connection.
    HoardConnections,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::InventPayment,
        Self::ChangeAmount,
        Self::InventBlock,
        Self::RepeatPayment,
        Self::HidePayment,
        Self::KeepVoid,
        Self::TakeBackUnknown,
        Self::AccuseHonest,
        Self::BanHonest,
        Self::AnswerUnasked,
        Self::AnswerNothing,
        Self::GiveUp,
        Self::Panic,
        Self::GoDeaf,
        Self::Spin,
        Self::HoardConnections,
    ];

    /// What it is called on a command line: `keep-void`, and so on.
    pub fn name(self) -> String {
        let mut name = String::new();
        for letter in format!("{self:?}").chars() {
            if letter.is_uppercase() && !name.is_empty() {
                name.push('-');
            }
            name.push(letter.to_ascii_lowercase());
        }
        name
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|sabotage| sabotage.name() == text).ok_or_else(|| {
            let names: Vec<String> = Self::ALL.into_iter().map(Self::name).collect();
            format!("there are {}", names.join(", "))
        })
    }
}

/// Who changes what the application is told.
#[derive(Debug)]
pub(super) struct Saboteur {
    sabotage: Option<Sabotage>,
    /// Payments that were told.
    payments: u32,
    is_done: bool,
}

impl Saboteur {
    pub(super) const fn new(sabotage: Option<Sabotage>) -> Self {
        Self { sabotage, payments: 0, is_done: false }
    }

    /// Tells an event, or something else.
    pub(super) fn tamper(&mut self, event: Event, queue: &mut VecDeque<Event>) {
        let Some(sabotage) = self.sabotage else { return queue.push_back(event) };
        match (sabotage, event) {
            (Sabotage::InventPayment, Event::Touched(mut touch)) if !self.is_done => {
                self.is_done = true;
                touch.txid = Txid::all_zeros();
                queue.push_back(Event::Touched(touch));
            }
            (Sabotage::ChangeAmount, Event::Touched(mut touch)) => {
                touch.amount = touch.amount.map(|amount| amount + Amount::ONE_SAT);
                queue.push_back(Event::Touched(touch));
            }
            (Sabotage::InventBlock, Event::Checked(mut block)) => {
                block.hash = BlockHash::all_zeros();
                queue.push_back(Event::Checked(block));
            }
            (Sabotage::RepeatPayment, Event::Touched(touch)) if !self.is_done => {
                self.is_done = true;
                queue.extend([Event::Touched(touch.clone()), Event::Touched(touch)]);
            }
            (Sabotage::HidePayment, Event::Touched(touch)) => {
                self.payments += u32::from(matches!(touch.kind, TouchKind::Received { .. }));
                if self.payments != 3 {
                    queue.push_back(Event::Touched(touch));
                }
            }
            (Sabotage::KeepVoid, Event::TakenBack(_)) => {}
            (Sabotage::TakeBackUnknown, Event::Touched(touch)) => queue.push_back(Event::TakenBack(touch)),
            (Sabotage::AccuseHonest, Event::PeerConnected { endpoint, .. }) => {
                queue.push_back(accused(endpoint))
            }
            (Sabotage::BanHonest, Event::PeerConnected { endpoint, .. }) => {
                queue.push_back(banned(&endpoint))
            }
            (Sabotage::AnswerUnasked, Event::Synced(block)) => {
                queue.push_back(Event::Answered { id: RequestId(u64::MAX), answer: Answer::Done });
                queue.push_back(Event::Synced(block));
            }
            (Sabotage::AnswerNothing, Event::Answered { .. } | Event::SpendSearched { .. }) => {}
            (Sabotage::GiveUp, Event::Synced(_)) => {
                queue.push_back(Event::Failed(Failure::Damaged { what: "sabotage" }));
            }
            (Sabotage::Panic, Event::Synced(block)) => panic!("sabotage at {}", block.height),
            (_, event) => queue.push_back(event),
        }
    }
}

fn accused(endpoint: Endpoint) -> Event {
    Event::PeerDisconnected {
        endpoint,
        purpose: PeerPurpose::Configured,
        connected: true,
        reason: Reason::Misbehaved(Misbehaviour::WrongBlock),
    }
}

fn banned(endpoint: &Endpoint) -> Event {
    use andon_bitcoin::addresses::Subnet;
    use andon_bitcoin::wire::Host;
    let ip = match endpoint {
        Endpoint::Address(address) => address.ip(),
        Endpoint::Host { .. } => SocketAddr::from(([0, 0, 0, 0], 0)).ip(),
    };
    Event::Banned { subnet: Subnet::host(&Host::Ip(ip)), until: andon_kernel::UnixTime::from_secs(0) }
}
