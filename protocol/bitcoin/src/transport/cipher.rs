//! The ciphers of BIP324: ChaCha20 for lengths, ChaCha20 with Poly1305 (RFC 8439) for packets, both with a new key after
//! each 224 packets; and where their first keys come from.
//!
//! Written over the bare primitives, since these use the processor's vector instructions where it has them: packets then
//! cost a quarter of what they cost by the ciphers that are made for this protocol.

use bitcoin::hashes::{Hash, HashEngine, Hmac, HmacEngine, sha256};
use bitcoin::secp256k1::ellswift::{ElligatorSwift, ElligatorSwiftParty};
use bitcoin::secp256k1::{Secp256k1, SecretKey};
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use core::fmt;
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};

use andon_kernel::Rng;

/// Packets that are sealed with one key.
const REKEY_INTERVAL: u32 = 224;

/// The bytes behind a packet that authenticate it.
pub(super) const TAG: usize = 16;

/// An encoded public key, indistinguishable from random bytes.
pub(super) const KEY: usize = 64;

/// The bytes that end the garbage.
pub(super) const TERMINATOR: usize = 16;

/// Which side opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Initiator,
    Responder,
}

/// A key of one connection.
pub(super) struct KeyPair {
    secret: SecretKey,
    public: ElligatorSwift,
}

/// What both sides have derived.
pub(super) struct Session {
    /// Ends what we send as garbage.
    pub(super) our_terminator: [u8; TERMINATOR],
    /// Ends what the peer sends as garbage.
    pub(super) their_terminator: [u8; TERMINATOR],
    /// For what we send.
    pub(super) sealer: Cipher,
    /// For what the peer sends.
    pub(super) opener: Cipher,
    /// The same on both sides, and on no other connection.
    #[cfg(test)]
    pub(super) id: [u8; 32],
}

impl KeyPair {
    /// A new one.
    pub(super) fn draw(rng: &mut Rng) -> Self {
        // All but one in 2^128 numbers of 32 bytes are keys.
        let secret = loop {
            if let Ok(secret) = SecretKey::from_slice(&rng.bytes::<32>()) {
                break secret;
            }
        };
        let mut context = Secp256k1::verification_only();
        context.seeded_randomize(&rng.bytes());
        Self { secret, public: ElligatorSwift::from_seckey(&context, secret, Some(rng.bytes())) }
    }

    #[cfg(test)]
    pub(super) fn of(secret: [u8; 32], public: [u8; KEY]) -> Self {
        let secret = SecretKey::from_slice(&secret).expect("a vector has a key");
        Self { secret, public: ElligatorSwift::from_array(public) }
    }

    /// What the peer is sent.
    pub(super) fn public(&self) -> [u8; KEY] {
        self.public.to_array()
    }

    /// Derives all that follows from the two keys, on the network with these four bytes.
    pub(super) fn agree(&self, theirs: [u8; KEY], role: Role, magic: [u8; 4]) -> Session {
        let theirs = ElligatorSwift::from_array(theirs);
        let (initiator, responder, party) = match role {
            Role::Initiator => (self.public, theirs, ElligatorSwiftParty::A),
            Role::Responder => (theirs, self.public, ElligatorSwiftParty::B),
        };
        let shared = ElligatorSwift::shared_secret(initiator, responder, self.secret, party, None);
        let mut salt = *b"bitcoin_v2_shared_secret\0\0\0\0";
        salt[24..].copy_from_slice(&magic);
        let extracted = hmac(&salt, &[shared.as_secret_bytes()]);
        // One block of HKDF (RFC 5869) is as long as each key.
        let expand = |info: &str| hmac(&extracted, &[info.as_bytes(), &[1]]);
        let cipher = |length: &str, packet: &str| Cipher {
            lengths: Lengths::new(expand(length)),
            packets: Packets::new(expand(packet)),
        };
        let initiators = cipher("initiator_L", "initiator_P");
        let responders = cipher("responder_L", "responder_P");
        let terminators = expand("garbage_terminators");
        let (first, second) = terminators.split_at(TERMINATOR);
        let [first, second] = [first, second].map(|half| half.try_into().expect("it is half of 32 bytes"));
        let (our_terminator, their_terminator, sealer, opener) = match role {
            Role::Initiator => (first, second, initiators, responders),
            Role::Responder => (second, first, responders, initiators),
        };
        Session {
            our_terminator,
            their_terminator,
            sealer,
            opener,
            #[cfg(test)]
            id: expand("session_id"),
        }
    }
}

impl fmt::Debug for KeyPair {
    /// Shows nothing: it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyPair")
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut engine = HmacEngine::<sha256::Hash>::new(key);
    parts.iter().for_each(|part| engine.input(part));
    Hmac::from_engine(engine).to_byte_array()
}

/// One direction of a connection.
pub(super) struct Cipher {
    lengths: Lengths,
    packets: Packets,
}

impl Cipher {
    /// Encrypts the length of the next packet's contents, or decrypts it.
    pub(super) fn length(&mut self, bytes: &mut [u8; 3]) {
        self.lengths.apply(bytes);
    }

    /// Encrypts a packet where it lies; returns its tag, which vouches for `unencrypted` too.
    pub(super) fn seal(&mut self, unencrypted: &[u8], bytes: &mut [u8]) -> [u8; TAG] {
        self.packets.seal(unencrypted, bytes)
    }

    /// Decrypts a packet where it lies. False: it, or `unencrypted`, is not what was sealed; nothing is decrypted.
    #[must_use]
    pub(super) fn open(&mut self, unencrypted: &[u8], bytes: &mut [u8], tag: &[u8; TAG]) -> bool {
        self.packets.open(unencrypted, bytes, tag)
    }
}

impl fmt::Debug for Cipher {
    /// Shows nothing: it is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cipher")
    }
}

/// A stream of key bytes, three for each length.
struct Lengths {
    stream: ChaCha20,
    count: u32,
    epoch: u64,
}

impl Lengths {
    fn new(key: [u8; 32]) -> Self {
        Self { stream: stream(&key, nonce(0, 0)), count: 0, epoch: 0 }
    }

    fn apply(&mut self, bytes: &mut [u8; 3]) {
        self.stream.apply_keystream(bytes);
        self.count += 1;
        if self.count == REKEY_INTERVAL {
            let mut key = [0; 32];
            self.stream.apply_keystream(&mut key);
            self.count = 0;
            self.epoch += 1;
            self.stream = stream(&key, nonce(0, self.epoch));
        }
    }
}

/// A key, and how many packets it has been used for.
struct Packets {
    key: [u8; 32],
    count: u32,
    epoch: u64,
}

impl Packets {
    const fn new(key: [u8; 32]) -> Self {
        Self { key, count: 0, epoch: 0 }
    }

    fn seal(&mut self, unencrypted: &[u8], bytes: &mut [u8]) -> [u8; TAG] {
        let (mut stream, poly) = self.begin();
        stream.apply_keystream(bytes);
        let tag = authenticate(poly, unencrypted, bytes).finalize().into();
        self.advance();
        tag
    }

    fn open(&mut self, unencrypted: &[u8], bytes: &mut [u8], tag: &[u8; TAG]) -> bool {
        let (mut stream, poly) = self.begin();
        if authenticate(poly, unencrypted, bytes).verify(&(*tag).into()).is_err() {
            return false;
        }
        stream.apply_keystream(bytes);
        self.advance();
        true
    }

    /// The next packet's stream, past the block that gives the authenticator its key.
    fn begin(&self) -> (ChaCha20, Poly1305) {
        let mut stream = stream(&self.key, nonce(self.count, self.epoch));
        let mut block = [0; 64];
        stream.apply_keystream(&mut block);
        let key: [u8; 32] = *block.first_chunk().expect("a block has 64 bytes");
        (stream, Poly1305::new(&key.into()))
    }

    fn advance(&mut self) {
        self.count += 1;
        if self.count == REKEY_INTERVAL {
            // What 32 zeros are encrypted to: the second block's first half.
            let mut blocks = [0; 96];
            stream(&self.key, nonce(u32::MAX, self.epoch)).apply_keystream(&mut blocks);
            self.key = blocks[64..].try_into().expect("32 bytes are left");
            self.count = 0;
            self.epoch += 1;
        }
    }
}

fn stream(key: &[u8; 32], nonce: [u8; 12]) -> ChaCha20 {
    ChaCha20::new(&(*key).into(), &nonce.into())
}

fn nonce(count: u32, epoch: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[..4].copy_from_slice(&count.to_le_bytes());
    nonce[4..].copy_from_slice(&epoch.to_le_bytes());
    nonce
}

fn authenticate(mut poly: Poly1305, unencrypted: &[u8], encrypted: &[u8]) -> Poly1305 {
    poly.update_padded(unencrypted);
    poly.update_padded(encrypted);
    let mut lengths = [0; 16];
    lengths[..8].copy_from_slice(&(unencrypted.len() as u64).to_le_bytes());
    lengths[8..].copy_from_slice(&(encrypted.len() as u64).to_le_bytes());
    poly.update_padded(&lengths);
    poly
}

#[cfg(test)]
#[path = "vectors.rs"]
mod vectors;
