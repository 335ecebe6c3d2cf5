//! A node that serves a chain as Bitcoin Core does, and that a test can have do otherwise.

use std::rc::Rc;

use andon_bitcoin::client::BlockId;
use andon_bitcoin::wire::{
    FILTER_TYPE_BASIC, FilterRequest, INV_BLOCK, INV_TX, INV_WTX, Inventory, Message, NodeAddress,
    PROTOCOL_VERSION, Version,
};
use bitcoin::block::Header;
use bitcoin::hashes::Hash;
use bitcoin::p2p::ServiceFlags;
use bitcoin::{BlockHash, FilterHash, FilterHeader};

use super::MAGIC;
use super::chain::Chain;

pub(crate) struct Peer {
    pub(crate) chain: Rc<Chain>,
    /// The height that it claims in its handshake; `None`: its tip's.
    pub(crate) claims: Option<i32>,
    /// Whether it can be reached.
    pub(crate) up: bool,
    /// Whether it takes encrypted connections beside others.
    pub(crate) knows_encryption: bool,
    /// Bytes a second that it sends, if it is slower than the others: what takes longer than a second comes in pieces.
    pub(crate) rate: Option<usize>,
    /// Heights whose filters it leaves out.
    pub(crate) leaves_out: Vec<u32>,
    /// Blocks that it says it does not have.
    pub(crate) lacks: Vec<u32>,
    /// Blocks that it sends with a changed transaction.
    pub(crate) mutates: Vec<u32>,
    /// Blocks that it says nothing about.
    pub(crate) keeps_back: Vec<u32>,
    /// Whether it has only the last blocks (BIP159).
    pub(crate) is_pruned: bool,
    /// Filters that it has sent.
    pub(crate) filters_sent: u64,
    /// What it does when it is asked for headers.
    pub(crate) conduct: Conduct,
    /// Each request for headers that came: the first hash of its locator, and the last that is wanted.
    pub(crate) asked: Vec<(BlockHash, BlockHash)>,
    /// The whole of the first request's locator since this was emptied.
    pub(crate) first_locator: Vec<BlockHash>,
    /// Headers that it has sent.
    pub(crate) headers_sent: u64,
    /// Its chain's headers that it has sent at least once more than once are waste: how often each was sent.
    pub(crate) connections: u32,
    /// The height up to which its filter index has come: of what lies above it says nothing.
    pub(crate) indexed: u32,
    /// Whether it has no answer to requests for filters.
    pub(crate) withholds_filters: bool,
    /// What it serves, if that is not what its chain says.
    pub(crate) serves: Option<ServiceFlags>,
    /// Of whom it tells when it is asked for addresses.
    pub(crate) tells: Vec<NodeAddress>,
    /// Of whom it was told.
    pub(crate) heard: Vec<NodeAddress>,
    /// Whether it takes addresses of every kind (BIP155).
    pub(crate) takes_addrv2: bool,
    /// How often it was asked for them.
    pub(crate) asked_for_addresses: u32,
    /// Whether it takes transactions, and the lowest fee rate that it takes, if it names one.
    pub(crate) relays: bool,
    pub(crate) fee_filter: Option<u64>,
    /// Whether it says anything to pings.
    pub(crate) answers_pings: bool,
    /// Transactions that it was told of, by their ids.
    pub(crate) told: Vec<[u8; 32]>,
    /// What it names at every thousandth block up to a height, when it is asked for that.
    pub(crate) names: Names,
    /// What it does when it is asked for filter headers, from one height to another.
    pub(crate) gives: Gives,
}

/// What a peer says about a request for checkpoints. `None`: nothing.
pub(crate) type Names = Box<dyn FnMut(&Chain, u32) -> Option<Vec<FilterHeader>>>;

/// What a peer does about a request for filter headers, beside what its chain and its index say.
pub(crate) type Gives = Box<dyn FnMut(&Chain, u32, u32) -> Given>;

pub(crate) enum Given {
    /// As its chain has it.
    Whole,
    /// The filter header before the first, and filter hashes.
    These(FilterHeader, Vec<FilterHash>),
    Nothing,
    Stall,
    HangUp,
}

/// What a peer does about a request for headers.
pub(crate) type Conduct = Box<dyn FnMut(&Chain, &[BlockHash], BlockHash) -> Reply>;

pub(crate) enum Reply {
    Headers(Vec<Header>),
    /// Headers, and in the same breath the announcement of a block.
    HeadersAndNews(Vec<Header>, BlockId),
    /// It says nothing to this, and answers what comes after.
    Nothing,
    /// From now on it says nothing to anything, pings among it, on this connection.
    Stall,
    /// It ends the connection.
    HangUp,
}

/// What comes of a message.
pub(crate) enum Answer {
    Send(Vec<u8>),
    Stall,
    HangUp,
}

/// As Bitcoin Core.
pub(crate) fn honest() -> Conduct {
    Box::new(|chain, locator, stop| Reply::Headers(chain.answer(locator, stop)))
}

impl Peer {
    pub(crate) fn new(chain: &Rc<Chain>) -> Self {
        Self {
            chain: chain.clone(),
            claims: None,
            up: true,
            knows_encryption: true,
            rate: None,
            leaves_out: Vec::new(),
            lacks: Vec::new(),
            mutates: Vec::new(),
            keeps_back: Vec::new(),
            is_pruned: false,
            filters_sent: 0,
            conduct: honest(),
            asked: Vec::new(),
            first_locator: Vec::new(),
            headers_sent: 0,
            connections: 0,
            indexed: u32::MAX,
            withholds_filters: false,
            serves: None,
            tells: Vec::new(),
            heard: Vec::new(),
            takes_addrv2: false,
            asked_for_addresses: 0,
            relays: true,
            fee_filter: None,
            answers_pings: true,
            told: Vec::new(),
            names: Box::new(|chain, height| Some(chain.checkpoints(height))),
            gives: Box::new(|_, _, _| Given::Whole),
        }
    }

    /// One that claims another height than its tip's.
    pub(crate) fn claiming(mut self, height: i32) -> Self {
        self.claims = Some(height);
        self
    }

    /// One that answers requests for headers in its own way.
    pub(crate) fn acting(
        mut self,
        conduct: impl FnMut(&Chain, &[BlockHash], BlockHash) -> Reply + 'static,
    ) -> Self {
        self.conduct = Box::new(conduct);
        self
    }

    pub(super) fn on(&mut self, message: &Message<'_>, answers: &mut Vec<Answer>) {
        let mut send = |message: &Message<'_>| {
            let mut bytes = Vec::new();
            message.write(&mut bytes, MAGIC);
            answers.push(Answer::Send(bytes));
        };
        match message {
            Message::Version(_) => {
                self.connections += 1;
                send(&Message::Version(self.version()));
                if self.takes_addrv2 {
                    send(&Message::SendAddrV2);
                }
                send(&Message::Verack);
                if let Some(least) = self.fee_filter {
                    send(&Message::FeeFilter(least));
                }
            }
            Message::Addr(told) => {
                assert!(!self.takes_addrv2);
                self.heard.extend(told);
            }
            Message::AddrV2(told) => {
                assert!(self.takes_addrv2);
                self.heard.extend(told);
            }
            Message::GetAddr => {
                self.asked_for_addresses += 1;
                send(&Message::AddrV2(self.tells.clone()));
            }
            Message::Ping(nonce) if self.answers_pings => send(&Message::Pong(*nonce)),
            Message::Inv(inventory) => {
                let told = inventory.iter().filter(|told| [INV_TX, INV_WTX].contains(&told.kind));
                self.told.extend(told.map(|told| told.hash));
            }
            Message::GetHeaders(request) => {
                let locator: Vec<BlockHash> = request.locator.iter().collect();
                if self.first_locator.is_empty() {
                    self.first_locator.clone_from(&locator);
                }
                self.asked.push((locator[0], request.stop_hash));
                match (self.conduct)(&self.chain, &locator, request.stop_hash) {
                    Reply::Headers(headers) => {
                        self.headers_sent += headers.len() as u64;
                        send(&Message::Headers(headers.as_slice().into()));
                    }
                    Reply::HeadersAndNews(headers, news) => {
                        self.headers_sent += headers.len() as u64;
                        let mut bytes = self::headers(&headers);
                        bytes.extend(inv(news));
                        answers.push(Answer::Send(bytes));
                    }
                    Reply::Nothing => {}
                    Reply::Stall => answers.push(Answer::Stall),
                    Reply::HangUp => answers.push(Answer::HangUp),
                }
            }
            Message::GetCFHeaders(request) => {
                // Bitcoin Core ends the connection of who asks for a block that it does not know.
                let Some(range) = self.range(request) else { return answers.push(Answer::HangUp) };
                if *range.end() > self.indexed {
                    return;
                }
                let (previous, hashes) = match (self.gives)(&self.chain, *range.start(), *range.end()) {
                    Given::Whole => self.chain.filter_range(*range.start(), *range.end()),
                    Given::These(previous, hashes) => (previous, hashes),
                    Given::Nothing => return,
                    Given::Stall => return answers.push(Answer::Stall),
                    Given::HangUp => return answers.push(Answer::HangUp),
                };
                send(&Message::CFHeaders {
                    filter_type: FILTER_TYPE_BASIC,
                    stop_hash: request.stop_hash,
                    previous_filter_header: previous,
                    filter_hashes: hashes.as_slice().into(),
                });
            }
            Message::GetCFCheckpt { stop_hash, .. } => {
                let Some(stop) = self.chain.height_of(stop_hash) else { return answers.push(Answer::HangUp) };
                if stop / 1000 * 1000 > self.indexed {
                    return;
                }
                let Some(headers) = (self.names)(&self.chain, stop) else { return };
                send(&Message::CFCheckpt {
                    filter_type: FILTER_TYPE_BASIC,
                    stop_hash: *stop_hash,
                    filter_headers: headers.as_slice().into(),
                });
            }
            Message::GetCFilters(request) => {
                let Some(range) = self.range(request) else { return answers.push(Answer::HangUp) };
                if *range.end() > self.indexed || self.withholds_filters {
                    return;
                }
                for height in range.filter(|height| !self.leaves_out.contains(height)) {
                    self.filters_sent += 1;
                    let body = self.chain.body(height).expect("a block whose filter is asked for is whole");
                    send(&Message::CFilter {
                        filter_type: FILTER_TYPE_BASIC,
                        block_hash: self.chain.hash(height),
                        filter: &body.filter,
                    });
                }
            }
            Message::GetData(wanted) => {
                for item in wanted.iter() {
                    let height = self.chain.height_of(&BlockHash::from_byte_array(item.hash));
                    if height.is_some_and(|height| self.keeps_back.contains(&height)) {
                        continue;
                    }
                    if height.is_none_or(|height| self.lacks.contains(&height)) {
                        send(&Message::NotFound([item].as_slice().into()));
                        continue;
                    }
                    let body = height.and_then(|height| self.chain.body(height));
                    let mut block = body.expect("a block that is asked for is whole").block.clone();
                    if height.is_some_and(|height| self.mutates.contains(&height)) {
                        *block.last_mut().expect("a block is not empty") ^= 1;
                    }
                    send(&Message::Block(&block));
                }
            }
            _ => {}
        }
    }

    fn range(&self, request: &FilterRequest) -> Option<std::ops::RangeInclusive<u32>> {
        let stop = self.chain.height_of(&request.stop_hash)?;
        Some(request.start_height..=stop)
    }

    fn services(&self) -> ServiceFlags {
        if let Some(serves) = self.serves {
            return serves;
        }
        let blocks = if self.is_pruned { ServiceFlags::NETWORK_LIMITED } else { ServiceFlags::NETWORK };
        blocks | ServiceFlags::WITNESS | ServiceFlags::COMPACT_FILTERS
    }

    fn version(&self) -> Version<'static> {
        Version {
            protocol: PROTOCOL_VERSION,
            services: self.services(),
            time: 0,
            nonce: 77,
            user_agent: b"/lab:1/",
            start_height: self.claims.unwrap_or(self.chain.height() as i32),
            relay: self.relays,
        }
    }
}

/// An announcement by hash.
pub(super) fn inv(block: BlockId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let news = [Inventory::block(INV_BLOCK, block.hash)];
    Message::Inv(news.as_slice().into()).write(&mut bytes, MAGIC);
    bytes
}

/// An announcement by headers.
pub(super) fn headers(headers: &[Header]) -> Vec<u8> {
    let mut bytes = Vec::new();
    Message::Headers(headers.into()).write(&mut bytes, MAGIC);
    bytes
}
