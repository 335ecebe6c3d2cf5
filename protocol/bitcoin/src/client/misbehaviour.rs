//! What a peer can do wrong. Each ends its connection, and has a name that the application sees.

use core::fmt;

use crate::headers::HeaderError;
use crate::wire::CommandName;

/// A breach of the protocol by a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// A message began with another network's four bytes.
    WrongNetwork([u8; 4]),
    /// A message claims more than 4,000,000 bytes.
    MessageTooLong(u32),
    /// A message's checksum is not that of its contents.
    WrongChecksum(CommandName),
    /// A message's contents are not what its name says.
    Malformed(CommandName),
    /// A message came where the handshake has no place for it.
    OutOfTurn(CommandName),
    /// An answer came to a question that was not asked, or not to this peer.
    Unrequested(CommandName),
    /// An answer does not fit the question.
    WrongAnswer(CommandName),
    /// More headers than a message may have.
    TooManyHeaders,
    /// Headers of one message that do not follow each other.
    HeadersDiscontinuous,
    /// Header after header whose parents are unknown.
    HeadersUnconnected,
    /// A header that breaks this rule.
    InvalidHeader(HeaderError),
    /// Branches without end, none of them the best.
    TooManyBranches,
    /// A chain that goes on and on, or is shown again and again, and never has the work that a chain must have.
    LowWorkChain,
    /// A chain that had enough work when it was first shown, and is another one the second time.
    ChangedChain,
    /// Headers that do not lead to a block that is known to be in the best chain.
    ContradictsKnownBlock(u32),
    /// Filter headers that do not follow from those before them.
    FilterHeadersDiscontinuous,
    /// Filter headers that are not the one that the peer has named itself at this height.
    ContradictsOwnFilterHeader(u32),
    /// Filter headers that are not those that are known beforehand, at this height or below.
    ContradictsKnownFilterHeader(u32),
    /// Filter headers that commit to a filter which the block at this height proves false. An
    /// [`Event::FalseFilter`](super::Event::FalseFilter) before it has the evidence.
    FalseFilterHeader(u32),
    /// A filter that is not the one its header names.
    WrongFilter,
    /// A filter that its header names and that can't be decoded.
    UndecodableFilter,
    /// A block whose transactions are not those its header names.
    WrongBlock,
    /// More bytes without being asked than a peer may send; decoys of encrypted connections are among them.
    Flooding,
    /// No end of the garbage in the encrypted handshake (BIP324), within the 4095 bytes that it may have.
    EndlessGarbage,
    /// An encrypted packet that is not what its sender sealed.
    ForgedPacket,
    /// An unencrypted answer to an encrypted handshake.
    UnencryptedAnswer,
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongNetwork([a, b, c, d]) => {
                write!(f, "it is of another network (its messages begin with {a:02x}{b:02x}{c:02x}{d:02x})")
            }
            Self::MessageTooLong(length) => write!(f, "it announced a message of {length} bytes"),
            Self::WrongChecksum(command) => write!(f, "a {command} message has a wrong checksum"),
            Self::Malformed(command) => write!(f, "a {command} message is malformed"),
            Self::OutOfTurn(command) => write!(f, "a {command} message came out of turn"),
            Self::Unrequested(command) => write!(f, "a {command} message came that was not asked for"),
            Self::WrongAnswer(command) => write!(f, "a {command} message does not answer what was asked"),
            Self::TooManyHeaders => f.write_str("it sent more than 2000 headers in a message"),
            Self::HeadersDiscontinuous => f.write_str("it sent headers that do not follow each other"),
            Self::HeadersUnconnected => f.write_str("it kept sending headers whose parents are unknown"),
            Self::InvalidHeader(error) => write!(f, "it sent an invalid header: {error}"),
            Self::LowWorkChain => f.write_str("it kept showing chains of too little work"),
            Self::ChangedChain => f.write_str("it sent another chain than the one whose work it had shown"),
            Self::ContradictsKnownBlock(height) => {
                write!(f, "its chain does not have the block that is known at height {height}")
            }
            Self::TooManyBranches => f.write_str("it sent too many branches of too little work"),
            Self::FilterHeadersDiscontinuous => {
                f.write_str("it sent filter headers that do not follow from those before")
            }
            Self::ContradictsOwnFilterHeader(height) => {
                write!(f, "it sent filter headers that are not the one it had named at height {height}")
            }
            Self::ContradictsKnownFilterHeader(height) => {
                write!(f, "it does not have the filter header that is known at height {height}")
            }
            Self::FalseFilterHeader(height) => {
                write!(f, "its filter header at height {height} is of a filter that its block proves false")
            }
            Self::WrongFilter => f.write_str("it sent a filter that its filter header does not name"),
            Self::UndecodableFilter => f.write_str("it sent a filter that can't be decoded"),
            Self::WrongBlock => {
                f.write_str("it sent a block whose transactions are not those its header names")
            }
            Self::Flooding => f.write_str("it sent too much that was not asked for"),
            Self::EndlessGarbage => f.write_str("its encrypted handshake has no end"),
            Self::ForgedPacket => f.write_str("an encrypted packet was changed"),
            Self::UnencryptedAnswer => f.write_str("it answered an encrypted handshake without encryption"),
        }
    }
}
