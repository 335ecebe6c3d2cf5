//! What a world has come to: a check that never sees a state says nothing about it.

/// A state that worlds should come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Sight {
    /// A payment was found.
    Payment,
    /// A spending was found.
    Spending,
    /// A branch took the best chain's place.
    Reorganisation,
    /// A finding was void, and taken back.
    TakenBack,
    /// A watched script was searched for once more.
    Rescan,
    /// The client's process died.
    ProcessCrash,
    /// The client's power failed.
    PowerCrash,
    /// The client was stopped in order.
    Stop,
    /// A process that had died left something unwritten.
    LostWrite,
    /// The client came back otherwise configured.
    Changed,
    /// An honest peer went down.
    PeerDown,
    /// Some peers could not be reached.
    Partition,
    /// No peer could be reached.
    Offline,
    /// A peer was connected, encrypted.
    Encrypted,
    /// A peer was connected, in the clear.
    Unencrypted,
    /// A peer was connected that had been found.
    Discovered,
    /// A peer was tested, and was there.
    Feeler,
    /// A name led to a peer.
    Named,
    /// A name led nowhere.
    NoName,
    /// A dial came to nothing.
    DialFailed,
    /// Two honest peers had different chains of the same length.
    Rival,
    /// A peer claimed more than it showed.
    Withheld,
    /// A peer left a filter out.
    LeftOut,
    /// Peers named different filter headers.
    Dispute,
    /// A filter was proven false.
    FalseFilter,
    /// What was believed of filter headers was dropped.
    Replaced,
    /// A liar was let go for what it did.
    LiarCaught,
    /// A liar was banned.
    LiarBanned,
    /// All peers but one lied.
    OneHonest,
    /// No block came for long.
    StaleTip,
    /// The application took nothing for so long that its queue was full.
    Full,
    /// The disk was so slow that nothing was read from peers.
    Congested,
    /// The client paused.
    Paused,
    /// What was told was told again, since it had not been acknowledged.
    ToldAgain,
    /// A search for a spending ended.
    SpendSearched,
    /// A block was fetched.
    Fetched,
    /// A question was not answered in time.
    TimedOut,
    /// Filters were fetched.
    Filters,
    /// The client's calendar was hours off.
    Skewed,
}

impl Sight {
    /// All of them, with what they are called.
    pub const ALL: [(Self, &'static str); 39] = [
        (Self::Payment, "a payment found"),
        (Self::Spending, "a spending found"),
        (Self::Reorganisation, "a reorganisation"),
        (Self::TakenBack, "a finding taken back"),
        (Self::Rescan, "a search begun again"),
        (Self::ProcessCrash, "the client's process died"),
        (Self::PowerCrash, "the client's power failed"),
        (Self::Stop, "the client was stopped"),
        (Self::LostWrite, "a crash lost what was not written"),
        (Self::Changed, "another configuration after a restart"),
        (Self::PeerDown, "an honest peer went down"),
        (Self::Partition, "some peers out of reach"),
        (Self::Offline, "all peers out of reach"),
        (Self::Encrypted, "an encrypted connection"),
        (Self::Unencrypted, "an unencrypted connection"),
        (Self::Discovered, "a peer found by its address"),
        (Self::Feeler, "an address tested"),
        (Self::Named, "a name that led to a peer"),
        (Self::NoName, "a name that led nowhere"),
        (Self::DialFailed, "a dial that came to nothing"),
        (Self::Rival, "honest peers on different branches"),
        (Self::Withheld, "a peer that claimed more than it showed"),
        (Self::LeftOut, "a filter left out"),
        (Self::Dispute, "a dispute about filter headers"),
        (Self::FalseFilter, "a filter proven false"),
        (Self::Replaced, "filter headers replaced"),
        (Self::LiarCaught, "a liar let go for its lie"),
        (Self::LiarBanned, "a liar banned"),
        (Self::OneHonest, "all peers but one lied"),
        (Self::StaleTip, "a stale tip"),
        (Self::Full, "an application's queue that was full"),
        (Self::Congested, "a disk that held everything up"),
        (Self::Paused, "a pause"),
        (Self::ToldAgain, "told again after a crash"),
        (Self::SpendSearched, "a search for a spending"),
        (Self::Fetched, "a block fetched"),
        (Self::TimedOut, "a question given up"),
        (Self::Filters, "filters fetched"),
        (Self::Skewed, "a calendar that was off"),
    ];
}

/// What one world has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen(u64);

impl Seen {
    /// It has come to this.
    pub const fn note(&mut self, sight: Sight) {
        self.0 |= 1 << sight as u8;
    }

    /// Whether it has.
    pub const fn has(self, sight: Sight) -> bool {
        self.0 & 1 << sight as u8 != 0
    }

    /// It has come to all that another has.
    pub(super) const fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// All bits.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}
