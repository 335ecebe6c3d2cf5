//! Everything that can be asked of a client: one method for each, with what it completes with.

use andon_bitcoin::addresses::Subnet;
use andon_bitcoin::client::{
    Answer, Birthday, BlockId, BroadcastOptions, Budget, ChainTip, Command, Descriptor, Endpoint, Event,
    Fees, FetchedFilter, HeaderQuery, Import, Lookahead, PeerStatus, Submission, WatchedOutput,
};
use andon_bitcoin::fees::BlockFees;
use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::{Block, BlockHash, FeeRate, OutPoint, ScriptBuf, Transaction, Txid};

use crate::answers;
use crate::{Client, Exported, Imported, Request, RequestError, SpendSearch, SyncOutcome};

/// The chain.
impl Client {
    /// The best chain's end: height, hash, header, work, target.
    pub fn tip(&self) -> Request<ChainTip> {
        self.event(Command::TellTip, |event| match event {
            Event::Tip(tip) => Some(tip),
            _ => None,
        })
    }

    /// The header at a height of the best chain. `None`: the chain does not have that height, or begins above it.
    pub fn header_at(&self, height: u32) -> Request<Option<(BlockId, Header)>> {
        self.find_header(HeaderQuery::Height(height))
    }

    /// The header with this hash. `None`: it is not in the best chain, or below its start.
    pub fn header(&self, hash: BlockHash) -> Request<Option<(BlockId, Header)>> {
        self.find_header(HeaderQuery::Hash(hash))
    }

    /// The height of the block with this hash. `None`: it is not in the best chain, or below its start.
    pub fn height_of(&self, hash: BlockHash) -> Request<Option<u32>> {
        self.event(Command::FindHeader(HeaderQuery::Hash(hash)), |event| match event {
            Event::Header { found, .. } => Some(found.map(|(block, _)| block.height)),
            _ => None,
        })
    }

    /// The block with this hash, with witnesses, from a peer: this may take as long as none has it. `None`: it is not in the
    /// best chain, or below its start.
    pub fn block(&self, hash: BlockHash) -> Request<Option<(BlockId, Block)>> {
        self.fetch(HeaderQuery::Hash(hash))
    }

    /// As [`block`](Self::block), the one at a height of the best chain.
    pub fn block_at(&self, height: u32) -> Request<Option<(BlockId, Block)>> {
        self.fetch(HeaderQuery::Height(height))
    }

    /// Headers and filter headers of the best chain: at most 2000 at once.
    pub fn export(&self, from: u32, count: u32) -> Request<Exported> {
        self.event(Command::Export { from, count }, |event| match event {
            Event::Exported { from, headers, filter_headers } => {
                Some(Exported { from, headers, filter_headers })
            }
            _ => None,
        })
    }

    /// Brings in headers and filter headers from elsewhere than a peer. They are checked as a peer's are.
    pub fn import(&self, import: Import) -> Request<Imported> {
        self.event(Command::Import(import), |event| match event {
            Event::Imported { tip, filter_headers, stopped } => {
                Some(Imported { tip, filter_headers, stopped })
            }
            _ => None,
        })
    }

    fn find_header(&self, query: HeaderQuery) -> Request<Option<(BlockId, Header)>> {
        self.event(Command::FindHeader(query), |event| match event {
            Event::Header { found, .. } => Some(found),
            _ => None,
        })
    }

    fn fetch(&self, query: HeaderQuery) -> Request<Option<(BlockId, Block)>> {
        self.event(Command::FetchBlock(query), fetched)
    }
}

/// What is watched. Each of these is durable when it is complete; what is found is told by events.
impl Client {
    /// Watches these scripts too, in blocks from `from` on ([`Command::Watch`]).
    pub fn watch(&self, scripts: impl IntoIterator<Item = ScriptBuf>, from: Birthday) -> Request<()> {
        self.done(Command::Watch { scripts: scripts.into_iter().collect(), from })
    }

    /// Watches these scripts and no others, but for those of descriptors ([`Command::WatchOnly`]).
    pub fn watch_only(&self, scripts: impl IntoIterator<Item = ScriptBuf>, from: Birthday) -> Request<()> {
        self.done(Command::WatchOnly { scripts: scripts.into_iter().collect(), from })
    }

    /// Watches these outputs too, for their spending alone ([`Command::WatchOutputs`]).
    pub fn watch_outputs(
        &self,
        outputs: impl IntoIterator<Item = WatchedOutput>,
        from: Birthday,
    ) -> Request<()> {
        self.done(Command::WatchOutputs { outputs: outputs.into_iter().collect(), from })
    }

    /// Watches the scripts of these output descriptors too, as far ahead as is wanted, and further as they are used
    /// ([`Command::WatchDescriptors`]).
    pub fn watch_descriptors(
        &self,
        descriptors: impl IntoIterator<Item = Descriptor>,
        lookahead: Lookahead,
        from: Birthday,
    ) -> Request<()> {
        let descriptors = descriptors.into_iter().collect();
        self.done(Command::WatchDescriptors { descriptors, lookahead, from, only: false })
    }

    /// As [`watch_descriptors`](Self::watch_descriptors), and forgets every other descriptor.
    pub fn watch_only_descriptors(
        &self,
        descriptors: impl IntoIterator<Item = Descriptor>,
        lookahead: Lookahead,
        from: Birthday,
    ) -> Request<()> {
        let descriptors = descriptors.into_iter().collect();
        self.done(Command::WatchDescriptors { descriptors, lookahead, from, only: true })
    }

    /// Watches these scripts no more, and forgets what was found for them: an [`Event::TakenBack`] tells of each finding.
    pub fn unwatch(&self, scripts: impl IntoIterator<Item = ScriptBuf>) -> Request<()> {
        self.done(Command::Unwatch { scripts: scripts.into_iter().collect(), outputs: Vec::new() })
    }

    /// Watches these outputs no more, as [`unwatch`](Self::unwatch) does scripts.
    pub fn unwatch_outputs(&self, outputs: impl IntoIterator<Item = OutPoint>) -> Request<()> {
        self.done(Command::Unwatch { scripts: Vec::new(), outputs: outputs.into_iter().collect() })
    }

    /// Watches the scripts of these descriptors no more.
    pub fn unwatch_descriptors(&self, descriptors: impl IntoIterator<Item = Descriptor>) -> Request<()> {
        self.done(Command::UnwatchDescriptors { descriptors: descriptors.into_iter().collect() })
    }

    /// Searches once more for all that is watched, from a height or a date on. Complete when that is noted durably; an
    /// [`Event::Checked`] or [`Event::Synced`] tells when it is done. A birthday in time waits until all headers are here.
    pub fn rescan_from(&self, from: Birthday) -> Request<()> {
        self.done(Command::Rescan { from })
    }

    /// Searches once more for all that is watched, each from where it is watched.
    pub fn rescan(&self) -> Request<()> {
        self.rescan_from(Birthday::Height(0))
    }

    /// Finds the transaction that spends an output of this script, in blocks from `from` on. Complete when it is found, or
    /// everything up to the tip has been searched.
    pub fn find_spend(&self, outpoint: OutPoint, script: ScriptBuf, from: Birthday) -> Request<SpendSearch> {
        self.event(Command::FindSpend { outpoint, script, from }, |event| match event {
            Event::SpendSearched { outpoint, spend, checked } => {
                Some(SpendSearch { outpoint, spend, checked })
            }
            _ => None,
        })
    }

    /// Everything that was told up to the [`Event::Mark`] with this number is kept: it is not told again after a restart.
    /// Complete when that is durable; whoever reads the events [lets it go](Request::detach), for it
    /// [must not wait](crate#events-must-be-read-or-let-go). Where [nothing is to be acknowledged](andon_bitcoin::client::Config::acknowledged) it changes nothing.
    pub fn acknowledge(&self, mark: u64) -> Request<()> {
        self.done(Command::Acknowledge(mark))
    }
}

/// Transactions and fees.
impl Client {
    /// Broadcasts a transaction, or several that belong together, until each is in a block, contradicted by one, or 14 days old.
    /// Complete with their ids, in the order given, when they are stored: they go on after a restart.
    /// [`follow`](Self::follow) tells how far each is.
    pub fn broadcast(&self, transactions: impl IntoIterator<Item = Transaction>) -> Request<Vec<Txid>> {
        let transactions = transactions.into_iter().map(Submission::new);
        self.broadcast_with(transactions, BroadcastOptions::default())
    }

    /// As [`broadcast`](Self::broadcast), with what is known of the transactions, and privately or for another time.
    pub fn broadcast_with(
        &self,
        transactions: impl IntoIterator<Item = Submission>,
        options: BroadcastOptions,
    ) -> Request<Vec<Txid>> {
        let transactions: Vec<Submission> = transactions.into_iter().collect();
        let txids = transactions.iter().map(|one| one.transaction.compute_txid()).collect();
        let command = Command::Broadcast { transactions, options };
        Request::new(self, command, move |answer| match answers::carried(answer)? {
            None => Ok(txids),
            Some(Event::BroadcastRefused { error, .. }) => Err(RequestError::BroadcastRefused(error)),
            Some(other) => unreachable!("a broadcast is not answered by {other:?}"),
        })
    }

    /// Broadcasts a transaction no more, nor those that spend it. Complete when that is durable.
    pub fn withdraw(&self, txid: Txid) -> Request<()> {
        self.done(Command::WithdrawBroadcast { txid })
    }

    /// Fetches filters (BIP158), for an application that matches by itself: of at most `count` blocks from a height on, and of a
    /// hundred at once. Fewer, or none, where the chain ends. Asking for the next ones when these have been looked at is all
    /// that there is to flow control.
    pub fn filters(&self, from: u32, count: u32) -> Request<Vec<FetchedFilter>> {
        self.event(Command::FetchFilters { from, count }, |event| match event {
            Event::Filters { filters, .. } => Some(filters),
            _ => None,
        })
    }

    /// What is known of fees ([`andon_bitcoin::fees`] says what that is worth): what peers take at least, and what those of
    /// the last `blocks` blocks paid that were read.
    pub fn fees(&self, blocks: u32) -> Request<Fees> {
        self.event(Command::TellFees { blocks }, |event| match event {
            Event::Fees(fees) => Some(fees),
            _ => None,
        })
    }

    /// The least rate at which peers take transactions: the median of groups of peers, so that no single one can set it. `None`:
    /// none has said.
    pub fn broadcast_min_feerate(&self) -> Request<Option<FeeRate>> {
        self.event(Command::TellFees { blocks: 0 }, |event| match event {
            Event::Fees(fees) => Some(fees.least.map(|(rate, _)| rate)),
            _ => None,
        })
    }

    /// What the transactions of a block paid: fetches it, and reads its coinbase.
    ///
    /// It fails as [`RequestError::UnknownBlock`] or [`RequestError::NoFees`].
    pub fn block_fees(&self, hash: BlockHash) -> Request<BlockFees> {
        self.read_fees(hash, |fees| fees)
    }

    /// What the transactions of a block paid on average, each counted by its weight: as [`block_fees`](Self::block_fees).
    pub fn average_fee_rate(&self, hash: BlockHash) -> Request<FeeRate> {
        self.read_fees(hash, |fees| fees.average())
    }

    fn read_fees<T: 'static>(&self, hash: BlockHash, take: fn(BlockFees) -> T) -> Request<T> {
        let network = self.network();
        let command = Command::FetchBlock(HeaderQuery::Hash(hash));
        Request::new(self, command, move |answer| {
            let Some(found) = fetched(answers::event(answer)?) else {
                unreachable!("what is fetched is a block")
            };
            let (id, block) = found.ok_or(RequestError::UnknownBlock)?;
            BlockFees::of(&block, id.height, network).map(take).map_err(RequestError::NoFees)
        })
    }
}

/// Peers, and what the network may cost.
impl Client {
    /// The peers, with what is known of each: connected ones in the order in which they were dialled, then given ones that are
    /// not connected, with why.
    pub fn peers(&self) -> Request<Vec<PeerStatus>> {
        self.event(Command::TellPeers, |event| match event {
            Event::Peers(peers) => Some(peers),
            _ => None,
        })
    }

    /// Connects to one more peer. Of more than 256 each is refused ([`Refusal::TooManyPeers`](andon_bitcoin::client::Refusal::TooManyPeers)).
    pub fn add_peer(&self, peer: Endpoint) -> Request<()> {
        self.done(Command::AddPeer(peer))
    }

    /// Connects no more to a peer that was given, and lets it go.
    pub fn remove_peer(&self, peer: Endpoint) -> Request<()> {
        self.done(Command::RemovePeer(peer))
    }

    /// Dials no nodes of a subnet until a time, and lets those go that are connected. It is refused ([`Refusal::NoBan`](andon_bitcoin::client::Refusal::NoBan)) if there are
    /// 10,000 already, or no nodes are found beside those that are given.
    pub fn ban(&self, subnet: Subnet, until: UnixTime) -> Request<()> {
        self.done(Command::Ban { subnet, until })
    }

    /// Lifts the ban of exactly this subnet.
    pub fn lift_ban(&self, subnet: Subnet) -> Request<()> {
        self.done(Command::LiftBan { subnet })
    }

    /// Closes all connections and dials nobody. Complete when what was learnt is stored.
    pub fn pause(&self) -> Request<()> {
        self.done(Command::Pause)
    }

    /// Goes on, with no limit.
    pub fn resume(&self) -> Request<()> {
        self.done(Command::Resume(None))
    }

    /// Goes on until a budget is spent; complete when the client is paused again. Dropping the request pauses, and so does its
    /// deadline. A later order to go on completes it as [`RequestError::Cancelled`].
    pub fn resume_within(&self, budget: Budget) -> Request<SyncOutcome> {
        self.event(Command::Resume(Some(budget)), |event| match event {
            Event::Paused { reason, checked, bytes } => Some(SyncOutcome { reason, checked, bytes }),
            _ => None,
        })
    }

    /// Goes on until everything up to the tip has been searched and every transaction sent, or a budget of bytes or time is
    /// spent, and pauses then: what a phone does in the background. As [`resume_within`](Self::resume_within).
    pub fn sync_once(&self, budget: Budget) -> Request<SyncOutcome> {
        self.resume_within(Budget { until_synced: true, ..budget })
    }

    /// Whether each byte costs: nothing is done then that the result does not need.
    pub fn set_metered(&self, metered: bool) -> Request<()> {
        self.done(Command::SetMetered(metered))
    }
}

impl Client {
    fn done(&self, command: Command) -> Request<()> {
        Request::new(self, command, answers::done)
    }

    /// A request that is answered by the event that `read` knows.
    fn event<T: 'static>(&self, command: Command, read: fn(Event) -> Option<T>) -> Request<T> {
        Request::new(self, command, move |answer: Answer| {
            let event = answers::event(answer)?;
            let Some(value) = read(event) else { unreachable!("each command is answered by its own event") };
            Ok(value)
        })
    }
}

fn fetched(event: Event) -> Option<Option<(BlockId, Block)>> {
    match event {
        Event::Block { found, .. } => Some(found),
        _ => None,
    }
}
