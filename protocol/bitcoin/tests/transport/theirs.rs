//! Our side of BIP324 with another's at the other end: the crate `bip324`.

#![allow(clippy::unwrap_used, reason = "it is a test")]

use andon_bitcoin::transport::{TransportVersion, initiate, respond};
use andon_bitcoin::wire::Message;
use andon_kernel::Rng;
use bip324::{
    CipherSession, GarbageResult, Handshake, InboundCipher, Initialized, NUM_LENGTH_BYTES, OutboundCipher,
    PacketType, Role, SentVersion, VersionResult,
};
use bitcoin::Network;
use bitcoin::secp256k1::Secp256k1;

use crate::pair::{MAGIC, Side, by, named, shaped};

/// Our generator, as that crate takes one.
struct Drawn(Rng);

impl rand::RngCore for Drawn {
    fn next_u32(&mut self) -> u32 {
        self.0.u64() as u32
    }

    fn next_u64(&mut self) -> u64 {
        self.0.u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

/// Shakes hands with `ours` and goes on with what has come behind the handshake.
fn shake_hands(ours: &mut Side, role: Role, number: u64, garbage: &[u8], decoys: &[&[u8]]) -> CipherSession {
    let mut rng = Drawn(by(1000 + number));
    let curve = Secp256k1::signing_only();
    let theirs = Handshake::new_with_rng(Network::Regtest, role, &mut rng, &curve).unwrap();
    let mut key = vec![0; Handshake::<Initialized>::send_key_len(Some(garbage))];
    let theirs = theirs.send_key(Some(garbage), &mut key).unwrap();
    if role == Role::Initiator {
        assert_eq!(ours.receive_in(&key, 0), None);
    }
    let mut came = std::mem::take(&mut ours.sent);
    let rest = came.split_off(64);
    let theirs = theirs.receive_key(came.try_into().unwrap()).unwrap();
    let decoys = (!decoys.is_empty()).then_some(decoys);
    let mut version = vec![0; Handshake::<bip324::ReceivedKey<'_>>::send_version_len(decoys)];
    let theirs = theirs.send_version(&mut version, decoys).unwrap();
    if role == Role::Responder {
        version = [key, version].concat();
    }
    assert_eq!(ours.receive_in(&version, 0), None);
    let mut came = [rest, std::mem::take(&mut ours.sent)].concat();
    finish(theirs, &mut came)
}

fn finish(theirs: Handshake<SentVersion>, came: &mut [u8]) -> CipherSession {
    let before = came.to_vec();
    let (mut theirs, consumed) = match theirs.receive_garbage(&before).unwrap() {
        GarbageResult::FoundGarbage { handshake, consumed_bytes } => (handshake, consumed_bytes),
        GarbageResult::NeedMoreData(_) => panic!("our terminator has come"),
    };
    let mut rest = &mut came[consumed..];
    loop {
        let (length, after) = rest.split_at_mut(NUM_LENGTH_BYTES);
        let length = theirs.decrypt_packet_len((&*length).try_into().unwrap()).unwrap();
        let (packet, after) = after.split_at_mut(length);
        rest = after;
        match theirs.receive_version(packet).unwrap() {
            VersionResult::Complete { cipher } => {
                assert!(rest.is_empty(), "nothing was sent behind it");
                return cipher;
            }
            VersionResult::Decoy(handshake) => theirs = handshake,
        }
    }
}

fn read(inbound: &mut InboundCipher, mut bytes: &[u8]) -> Vec<(PacketType, Vec<u8>)> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_at(NUM_LENGTH_BYTES);
        let length = inbound.decrypt_packet_len(length.try_into().unwrap());
        let (packet, rest) = rest.split_at(length);
        bytes = rest;
        let mut plain = vec![0; InboundCipher::decryption_buffer_len(length)];
        let kind = inbound.decrypt(packet, &mut plain, None).unwrap();
        packets.push((kind, plain.split_off(1)));
    }
    packets
}

fn write(outbound: &mut OutboundCipher, contents: &[u8], kind: PacketType, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + OutboundCipher::encryption_buffer_len(contents.len()), 0);
    outbound.encrypt(contents, &mut out[start..], kind, None).unwrap();
}

#[test]
fn we_understand_each_other() {
    let garbage: Vec<u8> = (0..4095).map(|number| (number % 251) as u8).collect();
    let decoys: [&[&[u8]]; 3] = [&[], &[&[1, 2, 3]], &[&[], &[7; 500], &[8; 5000]]];
    for (number, length) in [0, 1, 15, 16, 17, 63, 64, 1000, 4095].into_iter().enumerate() {
        for role in [Role::Initiator, Role::Responder] {
            let mut sent = Vec::new();
            let shape = shaped(length as u16);
            let halves = match role {
                Role::Initiator => respond(MAGIC, by(number as u64), shape),
                Role::Responder => initiate(MAGIC, by(number as u64), shape, &mut sent),
            };
            let mut ours = Side::new(halves, sent);
            let garbage = &garbage[..garbage.len() - length];
            let mut session = shake_hands(&mut ours, role, number as u64, garbage, decoys[number % 3]);
            assert_eq!(ours.version(), Some(TransportVersion::V2));

            // More than two keys' worth each way.
            let mut rng = by(500);
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for index in 0..600u64 {
                let payload = vec![index as u8; rng.below(300) as usize];
                if rng.below(4) == 0 {
                    write(session.outbound(), &payload, PacketType::Decoy, &mut bytes);
                }
                write(
                    session.outbound(),
                    &[&[2], payload.as_slice()].concat(),
                    PacketType::Genuine,
                    &mut bytes,
                );
                expected.push(named(&Message::Block(&payload)));
            }
            assert_eq!(ours.receive_in(&bytes, 0), None);
            assert_eq!(ours.read, expected);

            for index in 0..600 {
                if index % 5 == 0 {
                    ours.decoy(index);
                }
                ours.write(&Message::Ping(index as u64));
            }
            let packets = read(session.inbound(), &std::mem::take(&mut ours.sent));
            let pings = packets.iter().filter(|(kind, _)| *kind == PacketType::Genuine);
            let pings: Vec<_> = pings.map(|(_, contents)| contents.clone()).collect();
            let expected: Vec<_> =
                (0..600u64).map(|index| [&[18], &index.to_le_bytes()[..]].concat()).collect();
            assert_eq!(pings, expected);
            assert_eq!(packets.len(), 720);
        }
    }
}
