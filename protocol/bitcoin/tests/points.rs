//! The blocks that are compiled in: that the tables are consistent in themselves, and that every fact in them is what
//! each independent list that has it says.
#![allow(clippy::unwrap_used, reason = "a test that can not go on has failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use andon_bitcoin::filter;
use andon_bitcoin::points::{
    StartPoint, TIME_MARGIN, before_height, before_time, known_blocks, known_filter_headers,
    minimum_chain_work, start_points,
};
use andon_kernel::UnixTime;
use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::constants::genesis_block;
use bitcoin::hashes::Hash;
use bitcoin::params::Params;
use bitcoin::{BlockHash, CompactTarget, FilterHeader, Network, ScriptBuf, Target, Work};

use common::{chain_data, framed_blocks, read};

const PUBLIC: [Network; 4] = [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet];
const ALL: [Network; 5] =
    [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];

/// Blocks of a difficulty period.
const PERIOD: u32 = 2016;

/// Blocks that the source code of other projects names.
const NAMED_ELSEWHERE: [(&str, Network, u32, &str); 24] = [
    ("core", Network::Bitcoin, 168_000, "000000000000099e61ea72015e79632f216fe6cb33d7899acb35b75c8303b763"),
    ("core", Network::Bitcoin, 210_000, "000000000000048b95347e83192f69cf0366076336c639f9b7228e9ba171342e"),
    ("core", Network::Bitcoin, 250_000, "000000000000003887df1f29024b06fc2200b55f8af8f35453d7be294df2d214"),
    ("core", Network::Bitcoin, 880_000, "000000000000000000010b17283c3c400507969a9c2afd1dcf2082ec5cca2880"),
    ("core", Network::Bitcoin, 910_000, "0000000000000000000108970acb9522ffd516eae17acddcb1bd16469194a821"),
    ("btcd", Network::Bitcoin, 400_000, "000000000000000004ec466ce4732fe6f1ed1cddc2ed4b328fff5224276e3f6f"),
    ("btcd", Network::Bitcoin, 430_000, "000000000000000001868b2bb3a285f3cc6b33ea234eb70facf4dcdf22186b87"),
    ("btcd", Network::Bitcoin, 460_000, "000000000000000000ef751bbce8e744ad303c47ece06c8d863e4d417efc258c"),
    ("btcd", Network::Bitcoin, 490_000, "000000000000000000de069137b17b8d5a3dfbd5b145b2dcfb203f15d0c4de90"),
    ("btcd", Network::Bitcoin, 520_000, "0000000000000000000d26984c0229c9f6962dc74db0a6d525f2f1640396f69c"),
    ("btcd", Network::Bitcoin, 550_000, "000000000000000000223b7a2298fb1c6c75fb0efc28a4c56853ff4112ec6bc9"),
    ("btcd", Network::Bitcoin, 560_000, "0000000000000000002c7b276daf6efb2b6aa68e2ce3be67ef925b3264ae7122"),
    ("btcd", Network::Bitcoin, 800_000, "00000000000000000002a7c4c1e48d76c5a37902165a270156b7a8d72728a054"),
    ("btcd", Network::Bitcoin, 810_000, "000000000000000000028028ca82b6aa81ce789e4eb9e0321b74c3cbaf405dd1"),
    ("kyoto", Network::Bitcoin, 880_000, "000000000000000000010b17283c3c400507969a9c2afd1dcf2082ec5cca2880"),
    ("kyoto", Network::Bitcoin, 890_000, "00000000000000000001f49fb5fb37753c06d78f1a811d707aebf6194bb147e5"),
    (
        "libbitcoin",
        Network::Bitcoin,
        900_000,
        "000000000000000000010538edbfd2d5b809a33dd83f284aeea41c6d0d96968a",
    ),
    ("btcd", Network::Testnet, 100_000, "00000000009e2958c15ff9290d571bf9459e93b19765c6801ddeccadbb160a1e"),
    ("btcd", Network::Testnet, 200_000, "0000000000287bffd321963ef05feab753ebe274e1d78b2fd4e2bfe9ad3aa6f2"),
    ("btcd", Network::Testnet, 700_000, "000000000000406178b12a4dea3b27e13b3c4fe4510994fd667d7c1e6a3f4dc1"),
    ("btcd", Network::Testnet, 900_000, "0000000000356f8d8924556e765b7a94aaebc6b5c8685dcfa2b1ee8b41acd89b"),
    ("btcd", Network::Testnet, 1_580_000, "00000000000000b7ab6ce61eb6d571003fbe5fe892da4c9b740c49a07542462d"),
    ("btcd", Network::Testnet, 2_010_000, "0000000000004ae2f3896ca8ecd41c460a35bf6184e145d91558cece1c688a76"),
    ("core", Network::Testnet, 2_500_000, "0000000000000093bcb68c03a9a168ae252572d348a2eaeba2cdf9231d73206f"),
];

/// The minimum chain works of Bitcoin Core's releases, and the height that each is the work at.
const CORE_MINIMUM_WORKS: [(Network, u32, u128); 10] = [
    (Network::Bitcoin, 654_683, 0x1533_efd8_d716_a517_fe2c_5008),
    (Network::Bitcoin, 824_000, 0x63c4_ebd2_98db_40af_5754_1800),
    (Network::Bitcoin, 938_343, 0x1_1287_50f8_2f4c_3661_53a3_a030),
    (Network::Testnet, 1_864_000, 0x1db_6ec4_ac88_cf22_72c6),
    (Network::Testnet, 2_429_000, 0x977_edb0_2441_7085_8d07),
    (Network::Testnet, 2_550_000, 0xc59_b14e_264b_a6c1_5db9),
    (Network::Testnet, 4_842_348, 0x17dd_e1c6_49f3_708d_14b6),
    (Network::Testnet4, 123_613, 0x9a0_fe15_d017_7d08_6304),
    (Network::Signet, 9434, 0x19_fd16_269a),
    (Network::Signet, 180_000, 0x206_e86f_08e8),
];

fn number(work: Work) -> u128 {
    let bytes = work.to_be_bytes();
    assert_eq!(bytes[..16], [0; 16]);
    u128::from_be_bytes(bytes[16..].try_into().unwrap())
}

fn work_of(bits: CompactTarget) -> u128 {
    number(Target::from_compact(bits).to_work())
}

/// What is compared with a target: the bytes of a hash, the most significant first.
fn hash_as_number(hash: BlockHash) -> [u8; 32] {
    let mut bytes = hash.to_byte_array();
    bytes.reverse();
    bytes
}

fn own(start: &StartPoint) -> &Header {
    start.headers.last().unwrap()
}

// What needs no data.

#[test]
fn known_blocks_are_in_order_and_begin_with_the_first() {
    for network in ALL {
        let known: Vec<(u32, BlockHash)> = known_blocks(network).collect();
        assert_eq!(known[0], (0, genesis_block(Params::new(network)).block_hash()), "{network}");
        assert!(known.is_sorted_by(|lower, upper| lower.0 < upper.0), "{network}");
        assert_eq!(
            known.iter().map(|block| block.1).collect::<BTreeSet<_>>().len(),
            known.len(),
            "{network}"
        );
        // A hash that was cut or shifted does not meet even the least difficulty.
        let limit = Params::new(network).max_attainable_target;
        assert!(known.iter().all(|block| limit.is_met_by(block.1)), "{network}");
        assert_eq!(known_blocks(network).len(), known.len());
        assert!(known_blocks(network).rev().eq(known.into_iter().rev()));
    }
    let counts = ALL.map(|network| known_blocks(network).len());
    assert_eq!(counts, [467, 569, 36, 82, 1]);
}

#[test]
fn start_points_stand_on_their_headers() {
    for network in ALL {
        let params = Params::new(network);
        let genesis = genesis_block(&params).header;
        let starts = start_points(network);
        let known: BTreeMap<u32, BlockHash> = known_blocks(network).collect();
        let first = StartPoint { height: 0, work: genesis.work(), headers: vec![genesis] };
        assert_eq!(starts[0], first, "{network}");
        for start in &starts {
            assert!(start.height.is_multiple_of(PERIOD), "{network} {}", start.height);
            assert_eq!(start.headers.len(), 1);
            let header = own(start);
            let hash = header.validate_pow(header.target()).unwrap();
            assert!(header.target() <= params.max_attainable_target);
            assert_eq!(known.get(&start.height), Some(&hash), "{network} {}", start.height);
        }
    }
    let heights = |network| start_points(network).iter().map(|start| start.height).collect::<Vec<u32>>();
    let every = |periods: u32, count: u32, newest: u32| -> Vec<u32> {
        let above = (0..count).rev().map(|back| newest - back * periods * PERIOD);
        std::iter::once(0).chain(above).collect()
    };
    assert_eq!(heights(Network::Bitcoin), every(26, 18, 951_552));
    assert_eq!(heights(Network::Testnet), every(52, 35, 3_612_672));
    assert_eq!(heights(Network::Signet), every(26, 4, 229_824));
    assert_eq!(heights(Network::Testnet4), [0]);
    assert_eq!(heights(Network::Regtest), [0]);
}

#[test]
fn work_grows_as_the_difficulty_says() {
    for network in PUBLIC {
        let easiest = work_of(Params::new(network).max_attainable_target.to_compact_lossy());
        for pair in start_points(network).windows(2) {
            let [lower, upper] = [&pair[0], &pair[1]];
            let grown = number(upper.work) - number(lower.work);
            let blocks = u128::from(upper.height - lower.height);
            let place = format!("{network} {} to {}", lower.height, upper.height);
            assert!(own(lower).time < own(upper).time, "{place}");
            assert!(grown > blocks * easiest, "{place}");
            // Testnet3's difficulty falls and rises by a thousandfold within its periods.
            if network != Network::Testnet {
                let (at_lower, at_upper) = (work_of(own(lower).bits), work_of(own(upper).bits));
                let each = grown / blocks;
                let (least, most) = (at_lower.min(at_upper), at_lower.max(at_upper));
                assert!(each >= least / 2 && each <= most * 2, "{place}: {each} of {least} to {most}");
            }
        }
    }
}

#[test]
fn a_known_block_follows_each_start_point() {
    for network in PUBLIC {
        for start in start_points(network) {
            let above = known_blocks(network).find(|block| block.0 > start.height);
            assert!(
                above.is_some_and(|block| block.0 - start.height <= 2 * PERIOD),
                "{network} {}",
                start.height
            );
        }
    }
}

#[test]
fn the_start_point_before_a_height() {
    for network in ALL {
        let starts = start_points(network);
        for (index, start) in starts.iter().enumerate() {
            assert_eq!(before_height(network, start.height), *start);
            assert_eq!(before_height(network, start.height + 1), *start);
            if let Some(below) = index.checked_sub(1) {
                assert_eq!(before_height(network, start.height - 1), starts[below]);
            }
        }
        assert_eq!(before_height(network, u32::MAX), *starts.last().unwrap());
    }
    let cases =
        [(0, 0), (60_479, 0), (60_480, 60_480), (481_824, 479_808), (951_551, 899_136), (951_552, 951_552)];
    for (height, expected) in cases {
        assert_eq!(before_height(Network::Bitcoin, height).height, expected, "{height}");
    }
}

#[test]
fn the_start_point_before_a_time() {
    assert!(TIME_MARGIN.as_secs() >= 2 * 60 * 60);
    for network in ALL {
        let starts = start_points(network);
        let before = |seconds| before_time(network, UnixTime::from_secs(seconds));
        for (index, start) in starts.iter().enumerate().skip(1) {
            let reached = u64::from(own(start).time) + TIME_MARGIN.as_secs();
            assert_eq!(before(reached), *start);
            assert_eq!(before(reached + 1), *start);
            assert_eq!(before(reached - 1), starts[index - 1]);
            assert_eq!(before(own(start).time.into()), starts[index - 1]);
        }
        assert_eq!(before(0), starts[0]);
        assert_eq!(before(own(&starts[0]).time.into()), starts[0]);
        assert_eq!(before(u64::MAX), *starts.last().unwrap());
    }
    // Block 479,808 is of the 9th of August 2017, block 899,136 of the 31st of May 2025.
    let cases =
        [(1_503_539_857, 479_808), (1_748_649_690 + 86_399, 846_720), (1_748_649_690 + 86_400, 899_136)];
    for (time, expected) in cases {
        assert_eq!(before_time(Network::Bitcoin, UnixTime::from_secs(time)).height, expected, "{time}");
    }
}

/// The minimum is the work at a height at which, or above which, a block is known: an honest chain has it.
#[test]
fn the_best_chain_has_the_minimum_work() {
    for network in PUBLIC {
        let minimum = number(minimum_chain_work(network));
        let newest = start_points(network).pop().unwrap();
        let at = match network {
            Network::Testnet4 => {
                let (_, height, work) = CORE_MINIMUM_WORKS.into_iter().find(|row| row.0 == network).unwrap();
                assert_eq!(minimum, work);
                height
            }
            _ => {
                assert_eq!(minimum, number(newest.work), "{network}");
                newest.height
            }
        };
        assert!(known_blocks(network).next_back().unwrap().0 > at, "{network}");
        assert!(minimum >= number(newest.work), "{network}");
        // Less at a lower height, more at a higher one.
        for (_, height, work) in CORE_MINIMUM_WORKS.into_iter().filter(|row| row.0 == network) {
            assert_eq!(work.cmp(&minimum), height.cmp(&at), "{network} {height}");
        }
        for start in start_points(network) {
            for (_, height, work) in CORE_MINIMUM_WORKS.into_iter().filter(|row| row.0 == network) {
                assert_eq!(work.cmp(&number(start.work)), height.cmp(&start.height), "{network} {height}");
            }
        }
    }
    assert_eq!(number(minimum_chain_work(Network::Regtest)), 0);
}

#[test]
fn other_projects_name_the_same_blocks() {
    for (project, network, height, hash) in NAMED_ELSEWHERE {
        let known = known_blocks(network).find(|block| block.0 == height).map(|block| block.1.to_string());
        assert_eq!(known.as_deref(), Some(hash), "{project} {network} {height}");
    }
}

// What is compared with the data.

/// What independent lists say of one network's blocks, by height.
#[derive(Default)]
struct Lists {
    hashes: BTreeMap<u32, Vec<(&'static str, BlockHash)>>,
    headers: BTreeMap<u32, Vec<(&'static str, Header)>>,
    /// Of the chain up to and with the block.
    works: BTreeMap<u32, Vec<(&'static str, u128)>>,
}

impl Lists {
    /// The lists of a network; read once, since several tests need them.
    fn of(network: Network, folder: &Path) -> &'static Self {
        static READ: [OnceLock<Lists>; PUBLIC.len()] = [const { OnceLock::new() }; PUBLIC.len()];
        let index = PUBLIC.into_iter().position(|public| public == network).unwrap();
        READ[index].get_or_init(|| Self::read(network, folder))
    }

    fn read(network: Network, folder: &Path) -> Self {
        let mut lists = Self::default();
        let anchors = folder.join("anchors");
        match network {
            Network::Bitcoin => {
                lists.add_table(&anchors.join("main-blockhash-every-1000.csv"));
                lists.add_electrum(&anchors.join("electrum-mainnet-checkpoints.json"));
                lists.add_bitcoinj(&anchors.join("bitcoinj-production.checkpoints.txt"));
                lists.add_periods(&anchors.join("mainnet-epochs.csv"));
                lists.add_boundaries(&folder.join("headers/mainnet-epoch-boundary-headers.bin"));
                lists.add_runs(folder, "main-");
                lists.add_blocks(folder, "main-");
            }
            Network::Testnet => {
                lists.add_table(&anchors.join("testnet3-blockhash-every-1000.csv.xz"));
                lists.add_electrum(&anchors.join("electrum-testnet-checkpoints.json.xz"));
                lists.add_bitcoinj(&anchors.join("bitcoinj-test.checkpoints.txt.xz"));
                lists.add_runs(folder, "testnet3-");
                lists.add_blocks(folder, "testnet3-");
            }
            Network::Testnet4 => {
                lists.add_electrum(&anchors.join("electrum-testnet4-checkpoints.json"));
                lists.add_blocks(folder, "testnet4-");
            }
            Network::Signet => {
                lists.add_electrum(&anchors.join("electrum-signet-checkpoints.json"));
                lists.add_bitcoinj(&anchors.join("bitcoinj-signet.checkpoints.txt"));
                lists.add_runs(folder, "signet-");
                lists.add_blocks(folder, "signet-");
            }
            Network::Regtest => {}
        }
        lists
    }

    fn add_hash(&mut self, list: &'static str, height: u32, hash: BlockHash) {
        self.hashes.entry(height).or_default().push((list, hash));
    }

    fn add_work(&mut self, list: &'static str, height: u32, work: u128) {
        self.works.entry(height).or_default().push((list, work));
    }

    fn add_header(&mut self, list: &'static str, height: u32, header: Header) {
        self.headers.entry(height).or_default().push((list, header));
    }

    /// The hashes that are listed at a height. A header lists its own and its parent's.
    fn hashes(&self, height: u32) -> impl Iterator<Item = (&'static str, BlockHash)> {
        let headers = |height: u32| self.headers.get(&height).into_iter().flatten();
        let listed = self.hashes.get(&height).into_iter().flatten().copied();
        let own = headers(height).map(|(list, header)| (*list, header.block_hash()));
        let parents = headers(height + 1).map(|(list, header)| (*list, header.prev_blockhash));
        listed.chain(own).chain(parents)
    }

    /// Lines of a height and a hash.
    fn add_table(&mut self, path: &Path) {
        for line in text(path).lines().skip(1) {
            let (height, hash) = line.split_once(',').unwrap();
            self.add_hash("every 1000th", height.parse().unwrap(), hash.parse().unwrap());
        }
    }

    /// Pairs of the hash of a period's last block and the target of the next period, where it is given.
    fn add_electrum(&mut self, path: &Path) {
        let text = text(path);
        let mut fields = text.split(['[', ']', ',', '"']).map(str::trim).filter(|field| !field.is_empty());
        let mut height = PERIOD - 1;
        while let Some(hash) = fields.next() {
            self.add_hash("Electrum", height, hash.parse().unwrap());
            fields.next().unwrap();
            height += PERIOD;
        }
        for (height, work) in works_at_starts(&electrum_works(path)) {
            self.add_work("Electrum", height, work);
        }
    }

    /// Lines of base64: work (12 bytes), height (4), header (80).
    fn add_bitcoinj(&mut self, path: &Path) {
        for line in text(path).lines().skip(3) {
            let row = base64(line);
            let mut work = [0; 16];
            work[4..].copy_from_slice(&row[..12]);
            let height = u32::from_be_bytes(row[12..16].try_into().unwrap());
            self.add_header("bitcoinj", height, deserialize(&row[16..]).unwrap());
            self.add_work("bitcoinj", height, u128::from_be_bytes(work));
        }
    }

    /// Lines of a difficulty period: its number, then the height, hash, time and bits of its first block, then of its
    /// last the hash; the last ones without.
    fn add_periods(&mut self, path: &Path) {
        let mut works = Vec::new();
        for line in text(path).lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let height: u32 = fields[1].parse().unwrap();
            self.add_hash("periods", height, fields[2].parse().unwrap());
            if !fields[5].is_empty() {
                self.add_hash("periods", height + PERIOD - 1, fields[5].parse().unwrap());
            }
            if works.len() as u32 * PERIOD == height {
                works.push(work_of(CompactTarget::from_unprefixed_hex(fields[4]).unwrap()));
            }
        }
        for (height, work) in works_at_starts(&works) {
            self.add_work("periods", height, work);
        }
    }

    /// Heights (4 bytes, little-endian), each with its header.
    fn add_boundaries(&mut self, path: &Path) {
        for row in read(path).chunks_exact(84) {
            let height = u32::from_le_bytes(row[..4].try_into().unwrap());
            self.add_header("boundary headers", height, deserialize(&row[4..]).unwrap());
        }
    }

    /// Runs of real headers; the first height is in each file's name. Another file has the work before and after most.
    fn add_runs(&mut self, folder: &Path, prefix: &str) {
        let folder = folder.join("headers");
        let works: Vec<(String, String, String)> =
            serde_json::from_slice(&read(&folder.join("chainwork.json"))).unwrap();
        for name in names(&folder, prefix) {
            let first: u32 = name.split('-').nth(1).unwrap().parse().unwrap();
            let mut sum = works.iter().find(|row| name.starts_with(&row.0)).map(|(_, before, after)| {
                [before, after].map(|hex| u128::from_str_radix(&hex[2..], 16).unwrap())
            });
            for (height, header) in (first..).zip(read(&folder.join(&name)).chunks_exact(80).map(header)) {
                self.add_header("headers", height, header);
                if let Some([work, _]) = &mut sum {
                    *work += work_of(header.bits);
                    self.add_work("headers", height, *work);
                }
            }
            assert!(sum.is_none_or(|[work, after]| work == after), "{name}");
        }
    }

    /// Single blocks, and runs of blocks from the first on. Where it is one, the height is in the file's name.
    fn add_blocks(&mut self, folder: &Path, prefix: &str) {
        for part in ["blocks/individual", "blocks/with-prevouts"] {
            let blocks = |name: &String| name.contains(".blk");
            for name in names(&folder.join(part), prefix).filter(blocks) {
                let height = name[prefix.len()..].split(['-', '.']).next().unwrap().parse().unwrap();
                self.add_header("blocks", height, header(&read(&folder.join(part).join(&name))));
            }
        }
        for name in names(&folder.join("blocks"), prefix).filter(|name| name.contains("blocks-0-")) {
            for (height, block) in (0..).zip(framed_blocks(&folder.join("blocks").join(&name))) {
                self.add_header("blocks", height, header(&block));
            }
        }
    }
}

fn text(path: &Path) -> String {
    String::from_utf8(read(path)).unwrap()
}

fn header(bytes: &[u8]) -> Header {
    deserialize(&bytes[..80]).unwrap()
}

/// The files of a folder whose names begin so, in order.
fn names(folder: &Path, prefix: &str) -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(prefix)).collect::<BTreeSet<_>>().into_iter()
}

/// The work of a block of each period, from the first on; empty, where the list has none.
fn electrum_works(path: &Path) -> Vec<u128> {
    let text = text(path);
    let fields = text.split(['[', ']', ',', '"']).map(str::trim).filter(|field| !field.is_empty());
    let targets: Vec<Target> = fields.skip(1).step_by(2).map(target).collect();
    if targets.iter().all(|target| *target == Target::ZERO) {
        return Vec::new();
    }
    let works = targets.into_iter().map(|target| number(target.to_work()));
    std::iter::once(work_of(CompactTarget::from_consensus(0x1d00_ffff))).chain(works).collect()
}

/// A decimal number.
fn target(digits: &str) -> Target {
    let mut bytes = [0; 32];
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
        assert_eq!(carry, 0);
    }
    Target::from_be_bytes(bytes)
}

/// The work of a block of each period, summed up to and with a block. `None` above the last period.
fn work_at(works: &[u128], height: u32) -> Option<u128> {
    let (period, blocks) = ((height / PERIOD) as usize, u128::from(height % PERIOD) + 1);
    Some(works.get(..period)?.iter().sum::<u128>() * u128::from(PERIOD) + blocks * works.get(period)?)
}

fn works_at_starts(works: &[u128]) -> impl Iterator<Item = (u32, u128)> {
    let heights = (0..works.len() as u32).map(|period| period * PERIOD);
    heights.map(|height| (height, work_at(works, height).unwrap()))
}

fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |character| DIGITS.iter().position(|&digit| digit == character).unwrap() as u32;
    let group = |group: &[u8]| group.iter().fold(0, |number, &character| number << 6 | digit(character));
    text.as_bytes().chunks_exact(4).flat_map(|four| group(four).to_be_bytes().into_iter().skip(1)).collect()
}

#[test]
fn every_fact_is_in_every_list_that_has_its_height() {
    let Some(folder) = chain_data() else { return };
    // How often a list has a block that is known; how many blocks more than one list has; those that none has.
    let beyond = [880_000, 890_000, 900_000, 910_000, 920_000, 930_000, 940_000, 950_000, 951_552];
    let expected: [(Network, usize, usize, &[u32]); 4] = [
        (Network::Bitcoin, 700, 175, &beyond),
        (Network::Testnet, 715, 145, &[]),
        (Network::Testnet4, 35, 0, &[0]),
        (Network::Signet, 140, 58, &[]),
    ];
    for (network, least, least_agreed, alone) in expected {
        let lists = Lists::of(network, &folder);
        let (mut confirmed, mut agreed, mut unlisted) = (BTreeMap::<&str, usize>::new(), 0, Vec::new());
        for (height, hash) in known_blocks(network) {
            let mut names = BTreeSet::new();
            for (list, listed) in lists.hashes(height) {
                assert_eq!(listed, hash, "{network} {height}: {list}");
                names.insert(list);
            }
            for list in &names {
                *confirmed.entry(list).or_default() += 1;
            }
            match names.len() {
                0 => unlisted.push(height),
                1 => {}
                _ => agreed += 1,
            }
        }
        let count: usize = confirmed.values().sum();
        println!(
            "{network}: {} known blocks, {confirmed:?}, {agreed} in several lists",
            known_blocks(network).len()
        );
        println!("{network}: in no list here: {unlisted:?}");
        assert!(count >= least && agreed >= least_agreed, "{network}: {count} {agreed}");
        assert_eq!(unlisted, alone, "{network}");
    }
}

#[test]
fn every_start_point_is_in_every_list_that_has_its_height() {
    let Some(folder) = chain_data() else { return };
    let expected = [
        (Network::Bitcoin, [("headers", 35), ("parents", 90), ("works", 55)]),
        (Network::Testnet, [("headers", 35), ("parents", 35), ("works", 35)]),
        (Network::Testnet4, [("headers", 0), ("parents", 0), ("works", 0)]),
        (Network::Signet, [("headers", 4), ("parents", 4), ("works", 4)]),
    ];
    for (network, least) in expected {
        let lists = Lists::of(network, &folder);
        let (mut headers, mut parents, mut works) = (0, 0, 0);
        for start in start_points(network).into_iter().skip(1) {
            let place = format!("{network} {}", start.height);
            for (list, header) in lists.headers.get(&start.height).into_iter().flatten() {
                assert_eq!(header, own(&start), "{place}: {list}");
                headers += 1;
            }
            for (list, hash) in lists.hashes(start.height - 1) {
                assert_eq!(hash, own(&start).prev_blockhash, "{place}: {list}");
                parents += 1;
            }
            for (list, work) in lists.works.get(&start.height).into_iter().flatten() {
                assert_eq!(*work, number(start.work), "{place}: {list}");
                works += 1;
            }
        }
        println!("{network}: equal headers {headers}, parents {parents}, works {works}");
        let found = [headers, parents, works];
        assert!(
            found.iter().zip(least).all(|(found, least)| *found >= least.1),
            "{network}: {found:?} {least:?}"
        );
    }
}

#[test]
fn mainnets_work_is_the_sum_of_its_difficulties() {
    let Some(folder) = chain_data() else { return };
    let anchors = folder.join("anchors");
    let works = electrum_works(&anchors.join("electrum-mainnet-checkpoints.json"));
    assert_eq!(works.len(), 474);
    let starts = start_points(Network::Bitcoin);
    for start in &starts {
        assert_eq!(work_at(&works, start.height), Some(number(start.work)), "{}", start.height);
        assert_eq!(work_of(own(start).bits), works[(start.height / PERIOD) as usize], "{}", start.height);
    }
    for (height, hash) in known_blocks(Network::Bitcoin) {
        let difficulty = number(Target::from_be_bytes(hash_as_number(hash)).to_work());
        assert!(difficulty >= works[(height / PERIOD) as usize], "{height}");
    }
    let mut compared = 0;
    for (_, height, work) in CORE_MINIMUM_WORKS.into_iter().filter(|row| row.0 == Network::Bitcoin) {
        assert_eq!(work_at(&works, height), Some(work), "{height}");
        compared += 1;
    }
    let lists = Lists::of(Network::Bitcoin, &folder);
    for (height, listed) in &lists.works {
        for (list, work) in listed {
            assert_eq!(work_at(&works, *height), Some(*work), "{height}: {list}");
            compared += 1;
        }
    }
    let (highest, _) = known_blocks(Network::Bitcoin).next_back().unwrap();
    assert!(number(minimum_chain_work(Network::Bitcoin)) < work_at(&works, highest).unwrap());
    println!("mainnet: work at {compared} heights is that of the periods before them");
    assert!(compared > 250_000);
}

#[test]
fn signets_work_is_the_sum_of_its_difficulties() {
    let Some(folder) = chain_data() else { return };
    let lists = Lists::of(Network::Signet, &folder);
    let headers = lists.headers.iter().filter(|(height, _)| height.is_multiple_of(PERIOD));
    let works: Vec<u128> = headers.map(|(_, headers)| work_of(headers[0].1.bits)).collect();
    assert_eq!(works.len(), 115);
    for (height, listed) in &lists.works {
        assert_eq!(listed[..], [("bitcoinj", work_at(&works, *height).unwrap())]);
    }
    for (_, height, work) in CORE_MINIMUM_WORKS.into_iter().filter(|row| row.0 == Network::Signet) {
        assert_eq!(work_at(&works, height), Some(work), "{height}");
    }
    println!("signet: work at {} heights is that of the periods before them", lists.works.len());
    assert_eq!(lists.works.len(), 114);
}

/// Each block of testnet3 has its period's difficulty, but slow ones the least. So the work of a period is one of 2016
/// numbers: a wrong one is unlikely to be among them.
#[test]
fn testnet3s_work_grows_as_its_rules_allow() {
    let Some(folder) = chain_data() else { return };
    let lists = Lists::of(Network::Testnet, &folder);
    let easy = work_of(CompactTarget::from_consensus(0x1d00_ffff));
    let bits = |height: u32| lists.headers[&height].first().unwrap().1.bits;
    let works: Vec<(u32, u128)> = lists.works.iter().map(|(height, works)| (*height, works[0].1)).collect();
    for pair in works.windows(2) {
        let [(lower, before), (upper, after)] = [pair[0], pair[1]];
        assert_eq!(upper, lower + PERIOD);
        let others = u128::from(PERIOD - 1);
        let more = after - before - work_of(bits(upper)) - others * easy;
        let regular = work_of(bits(lower)) - easy;
        // Where the period is itself as easy as can be, zero is its only multiple.
        assert!(more.is_multiple_of(regular) && more <= others * regular, "{lower}");
    }
    let mut between = 0;
    for (_, height, work) in CORE_MINIMUM_WORKS.into_iter().filter(|row| row.0 == Network::Testnet) {
        let below = works.iter().rfind(|row| row.0 <= height).unwrap();
        assert!(below.1 <= work, "{height}");
        if let Some(above) = works.iter().find(|row| row.0 > height) {
            assert!(work < above.1, "{height}");
            between += 1;
        }
    }
    println!(
        "testnet3: work grows as allowed over {} periods; {between} of Bitcoin Core's fit",
        works.len() - 1
    );
    assert_eq!((works.len(), between), (1792, 3));
}

/// What branched off the best chain is not taken for it.
#[test]
fn no_stale_block_is_known() {
    let Some(folder) = chain_data() else { return };
    let known: BTreeSet<BlockHash> = known_blocks(Network::Bitcoin).map(|block| block.1).collect();
    let mut stale = 0;
    for name in ["bip66-363730-invalid-v2-7.bin", "stale-0823226.bin", "stale-0829613.bin"] {
        for bytes in read(&folder.join("headers/forks").join(name)).chunks_exact(80) {
            assert!(!known.contains(&header(bytes).block_hash()), "{name}");
            stale += 1;
        }
    }
    assert_eq!(stale, 9);
}

#[test]
fn known_filter_headers_are_in_order() {
    for (network, count, last) in [
        (Network::Bitcoin, 46, Some(960_000)),
        (Network::Testnet, 74, Some(1_900_000)),
        (Network::Testnet4, 2, Some(50_000)),
        (Network::Signet, 0, None),
        (Network::Regtest, 0, None),
    ] {
        let known: Vec<_> = known_filter_headers(network).collect();
        assert_eq!(known.len(), count, "{network}");
        assert_eq!(known.last().map(|(height, _)| *height), last, "{network}");
        assert!(known.windows(2).all(|pair| pair[0].0 < pair[1].0), "{network}");
        let different: BTreeSet<_> = known.iter().map(|(_, header)| header).collect();
        assert_eq!(different.len(), count, "{network}");
    }
}

/// The first block spends nothing: its filter is computed from it alone.
#[test]
fn known_filter_headers_begin_with_the_first_blocks() {
    for network in [Network::Bitcoin, Network::Testnet] {
        let filter = filter::basic(&genesis_block(Params::new(network)), |_| None::<ScriptBuf>).unwrap();
        let header = filter::header(filter::hash(&filter), FilterHeader::all_zeros());
        assert_eq!(known_filter_headers(network).next(), Some((0, header)), "{network}");
    }
}

/// The lists and the table have the same rows, and the published filter headers of the first blocks are among them.
#[test]
fn every_known_filter_header_is_in_the_public_lists() {
    let Some(folder) = chain_data() else { return };
    let list = text(&folder.join("cfheaders/filter-header-anchors.csv"));
    for (network, name) in
        [(Network::Bitcoin, "main"), (Network::Testnet, "testnet3"), (Network::Testnet4, "testnet4")]
    {
        let listed: Vec<(u32, FilterHeader)> = list
            .lines()
            .map(|line| line.split(',').collect::<Vec<_>>())
            .filter(|row| row[0] == name)
            .map(|row| (row[1].parse().unwrap(), row[3].parse().unwrap()))
            .collect();
        assert_eq!(known_filter_headers(network).collect::<Vec<_>>(), listed, "{network}");
    }
    let all = read(&folder.join("cfheaders/main-basic-filter-headers-0-99999.bin.xz"));
    let mut compared = 0;
    for (height, header) in known_filter_headers(Network::Bitcoin).filter(|(height, _)| *height < 100_000) {
        let at = height as usize * 32;
        assert_eq!(header.as_byte_array(), &all[at..at + 32], "{height}");
        compared += 1;
    }
    assert_eq!(compared, 4);
}
