//! Our server and Bitcoin Core serve the same chain, and are asked the same: their answers must be the same bytes.

use andon_bitcoin::wire::{
    FilterRequest, INV_BLOCK, INV_TX, INV_WITNESS_BLOCK, INV_WITNESS_FLAG, INV_WTX, Inventory, Message,
    write_compact_size,
};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash;

use crate::comparison::{Cases, Pair, frame, headers, unknown, zero};
use crate::raw_peer::{bytes, version};

#[test]
fn headers_are_answered_as_by_core() {
    let Some(pair) = Pair::start() else { return };
    let hash = |height| pair.hash(height);
    let (tip, stale) = (Pair::TIP, &pair.stale);
    let mut cases = Cases::default();
    let mut add = |name: &str, locator: &[BlockHash], stop| {
        cases.steps(name, vec![headers(locator, stop)]);
    };
    add("from the genesis block", &[hash(0)], zero());
    for height in [1, 50, 104, 105, 106, 1000, tip - 1, tip] {
        add(&format!("from {height}"), &[hash(height)], zero());
    }
    add("from an unknown block", &[unknown()], zero());
    add("from an unknown block and 7", &[unknown(), hash(7)], zero());
    add("from 7 and the tip", &[hash(7), hash(tip)], zero());
    add("from the tip and 7", &[hash(tip), hash(7)], zero());
    add("from the stale tip", &[stale[2]], zero());
    add("from the stale tip and its parents", &[stale[2], stale[1], stale[0], hash(140)], zero());
    add("from the stale tip and 5", &[stale[2], hash(5)], zero());
    add("from zeros", &[zero()], zero());
    add("to 3", &[hash(0)], hash(3));
    add("to its own start", &[hash(3)], hash(3));
    add("to a block before it", &[hash(100)], hash(50));
    add("to a stale block", &[hash(100)], stale[1]);
    add("to an unknown block", &[hash(2000)], unknown());
    add("to the tip", &[hash(tip - 3)], hash(tip));
    add("to 2000", &[hash(0)], hash(2000));
    add("to 2001", &[hash(0)], hash(2001));
    add("to 1999", &[hash(0)], hash(1999));
    add("one, without a locator", &[], hash(1234));
    add("the genesis block, without a locator", &[], hash(0));
    add("the tip, without a locator", &[], hash(tip));
    add("a stale one, without a locator", &[], stale[0]);
    add("an unknown one, without a locator", &[], unknown());
    add("zeros, without a locator", &[], zero());
    add("a locator of 101", &[vec![unknown(); 100], vec![hash(2000)]].concat(), zero());
    add("a locator of 102", &[vec![unknown(); 101], vec![hash(2000)]].concat(), zero());
    add("a locator of 102 known ones", &vec![hash(2000); 102], zero());

    let whole = headers(&[hash(2100)], zero());
    let payload = &whole[24..];
    cases.raw("cut off in the stop hash", "getheaders", &payload[..payload.len() - 1]);
    cases.raw("cut off in the locator", "getheaders", &payload[..20]);
    cases.raw("nothing", "getheaders", &[]);
    cases.raw("with more behind it", "getheaders", &[payload, &[1, 2, 3]].concat());
    let mut other_version = payload.to_vec();
    other_version[..4].fill(0);
    cases.raw("of version 0", "getheaders", &other_version);
    let mut long_count = vec![0, 0, 0, 0, 0xfd, 1, 0];
    long_count.extend_from_slice(&payload[5..]);
    cases.raw("with a count that is not in its shortest form", "getheaders", &long_count);
    let mut huge_count = vec![0, 0, 0, 0, 0xff];
    huge_count.extend_from_slice(&[0xff; 8]);
    cases.raw("with a count of 2^64 - 1", "getheaders", &huge_count);
    cases.steps("one after another", vec![headers(&[hash(0)], zero()), headers(&[hash(2000)], zero())]);
    cases.compare(&pair);
}

#[test]
fn filters_are_answered_as_by_core() {
    let Some(pair) = Pair::start() else { return };
    let hash = |height| pair.hash(height);
    let tip = Pair::TIP;
    let mut cases = Cases::default();
    let request =
        |filter_type, start_height, stop_hash| FilterRequest { filter_type, start_height, stop_hash };
    let mut both = |name: String, filter_type, start_height, stop_hash| {
        let request = request(filter_type, start_height, stop_hash);
        cases.add(format!("filters {name}"), Message::GetCFilters(request));
        cases.add(format!("filter headers {name}"), Message::GetCFHeaders(request));
    };
    for (start, stop) in [
        (0, 0),
        (0, 1),
        (1, 1),
        (1, 0),
        (2, 0),
        (100, 140),
        (141, 143),
        (0, 998),
        (0, 999),
        (0, 1000),
        (1, 999),
        (1, 1000),
        (1, 1001),
        (0, 1998),
        (0, 1999),
        (0, 2000),
        (1, 1999),
        (1, 2000),
        (1, 2001),
        (106, tip),
        (105, tip),
        (1105, tip),
        (1106, tip),
        (tip, tip),
        (tip + 1, tip),
        (u64::from(u32::MAX), tip),
    ] {
        both(format!("{start} to {stop}"), 0, start as u32, hash(stop));
    }
    for (number, &stop) in pair.stale.iter().enumerate() {
        both(format!("to stale block {number}"), 0, 139, stop);
    }
    both("of the stale branch alone".into(), 0, 141, pair.stale[2]);
    both("of more than the stale branch".into(), 0, 144, pair.stale[2]);
    both("to an unknown block".into(), 0, 0, unknown());
    both("to zeros".into(), 0, 0, zero());
    for filter_type in [1, 2, 255] {
        both(format!("of type {filter_type}"), filter_type, 0, hash(3));
    }
    for height in [0, 1, 999, 1000, 1001, 1999, 2000, 2001, tip] {
        let stop_hash = hash(height);
        cases.add(format!("checkpoints to {height}"), Message::GetCFCheckpt { filter_type: 0, stop_hash });
    }
    for (name, filter_type, stop_hash) in [
        ("a stale block", 0, pair.stale[2]),
        ("an unknown block", 0, unknown()),
        ("zeros", 0, zero()),
        ("the tip, of type 1", 1, hash(tip)),
    ] {
        cases.add(format!("checkpoints to {name}"), Message::GetCFCheckpt { filter_type, stop_hash });
    }
    for command in ["getcfilters", "getcfheaders", "getcfcheckpt"] {
        let mut payload = vec![0];
        if command != "getcfcheckpt" {
            payload.extend_from_slice(&2100_u32.to_le_bytes());
        }
        payload.extend_from_slice(hash(2101).as_byte_array());
        cases.raw(format!("{command} cut off"), command, &payload[..payload.len() - 1]);
        cases.raw(format!("{command} without anything"), command, &[]);
        cases.raw(format!("{command} with more behind it"), command, &[&payload[..], &[0; 9]].concat());
    }
    let ask = |start, stop| bytes(&Message::GetCFilters(request(0, start, stop)));
    // What is asked for behind a long answer is answered after it.
    let burst = [
        ask(0, hash(900)),
        bytes(&Message::Ping(5)),
        bytes(&Message::GetCFHeaders(request(0, 3, hash(9)))),
        ask(901, hash(1800)),
        headers(&[hash(2000)], zero()),
    ];
    cases.steps("several at once", vec![burst.concat()]);
    cases.compare(&pair);
}

#[test]
fn data_is_answered_as_by_core() {
    let Some(pair) = Pair::start() else { return };
    let hash = |height| pair.hash(height);
    let tip = Pair::TIP;
    let block = |kind, height| Inventory::block(kind, hash(height));
    let stale = |kind, index: usize| Inventory::block(kind, pair.stale[index]);
    let other = |kind| Inventory { kind, hash: [3; 32] };
    const WITNESS_TX: u32 = INV_TX | INV_WITNESS_FLAG;
    const FILTERED: u32 = 3;
    const COMPACT: u32 = 4;
    let mut lists: Vec<(String, Vec<Inventory>)> = vec![("nothing".into(), vec![])];
    for (name, kind) in [("stripped", INV_BLOCK), ("whole", INV_WITNESS_BLOCK)] {
        lists.push((format!("{name} blocks"), (100..140).map(|height| block(kind, height)).collect()));
        for height in [0, 1, tip] {
            lists.push((format!("{name} block {height}"), vec![block(kind, height)]));
        }
        lists.push((format!("{name} stale blocks"), (0..3).map(|index| stale(kind, index)).collect()));
        lists.push((format!("an unknown {name} block"), vec![other(kind)]));
        lists.push((
            format!("{name} blocks, known and not"),
            vec![block(kind, 5), other(kind), block(kind, 4)],
        ));
        lists.push((format!("the same {name} block twice"), vec![block(kind, 9); 2]));
    }
    for (name, list) in [
        ("a filtered block", vec![block(FILTERED, 5)]),
        ("a filtered block with witnesses", vec![block(FILTERED | INV_WITNESS_FLAG, 5)]),
        ("an old compact block", vec![block(COMPACT, 5)]),
        ("a kind that is not known", vec![block(77, 5), block(INV_BLOCK, 6)]),
        ("kind 0", vec![block(0, 5), block(INV_BLOCK, 6)]),
        ("kind 0 with witnesses", vec![block(INV_WITNESS_FLAG, 5), block(INV_BLOCK, 6)]),
        ("kind wtx with witnesses", vec![block(INV_WTX | INV_WITNESS_FLAG, 5), block(INV_BLOCK, 6)]),
        ("a transaction", vec![other(INV_TX)]),
        ("transactions of all kinds", vec![other(INV_TX), other(INV_WTX), other(WITNESS_TX)]),
        (
            "transactions around a block",
            vec![other(INV_TX), block(INV_BLOCK, 3), other(WITNESS_TX), other(INV_TX)],
        ),
        ("transactions around an unknown block", vec![other(INV_TX), other(INV_BLOCK), other(INV_TX)]),
        ("transactions around an unknown kind", vec![other(INV_TX), other(77), other(INV_TX)]),
        (
            "a transaction between blocks",
            vec![block(INV_BLOCK, 3), other(INV_TX), block(INV_WITNESS_BLOCK, 4)],
        ),
        ("50,000 transactions", vec![other(INV_WTX); 50_000]),
        ("50,001 transactions", vec![other(INV_WTX); 50_001]),
        ("50,001 unknown blocks", vec![other(INV_BLOCK); 50_001]),
        ("2,000 unknown blocks and one", [vec![other(INV_BLOCK); 2000], vec![block(INV_BLOCK, 1)]].concat()),
    ] {
        lists.push((name.into(), list));
    }
    let mut cases = Cases::default();
    for (name, list) in &lists {
        let request = bytes(&Message::GetData(list.as_slice().into()));
        cases.steps(format!("{name}, wanting transactions"), vec![request.clone()]);
        cases.steps_without_transactions(format!("{name}, wanting none"), vec![request]);
    }
    let whole = bytes(&Message::GetData([block(INV_BLOCK, 5), block(INV_BLOCK, 6)].as_slice().into()));
    let payload = &whole[24..];
    cases.raw("cut off", "getdata", &payload[..payload.len() - 1]);
    cases.raw("without anything", "getdata", &[]);
    cases.raw("with more behind it", "getdata", &[payload, &[1]].concat());
    cases.steps("requests one after another", vec![whole.clone(), headers(&[hash(2100)], zero()), whole]);
    cases.compare(&pair);
}

#[test]
fn everything_else_is_answered_as_by_core() {
    let Some(pair) = Pair::start() else { return };
    let other = |kind| Inventory { kind, hash: [3; 32] };
    let mut cases = Cases::default();
    cases.steps("nothing", vec![vec![]]);
    cases.add("a ping", Message::Ping(9));
    cases.add("a ping of zero", Message::Ping(0));
    cases.raw("a ping of 7 bytes", "ping", &[1; 7]);
    cases.raw("a ping of 9 bytes", "ping", &[1; 9]);
    cases.raw("a ping of nothing", "ping", &[]);
    cases.add("a pong that nobody asked for", Message::Pong(1));
    cases.raw("a pong of nothing", "pong", &[]);
    cases.steps("addresses, twice", vec![bytes(&Message::GetAddr), bytes(&Message::GetAddr)]);
    cases.raw("getaddr with contents", "getaddr", &[1, 2, 3]);
    for command in ["mempool", "filterload", "filteradd", "filterclear"] {
        cases.raw(command, command, &[]);
    }
    let early = headers(&[pair.hash(2100)], zero());
    cases.steps("headers, and the mempool at once", vec![[early, frame("mempool", &[])].concat()]);
    cases.raw("a filter that is well-formed", "filterload", &[1, 0xff, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    for command in
        ["xyzzy", "alert", "reject", "GETHEADERS", "sendtxrcncl", "sendpackages", "x", "twelve_bytes"]
    {
        cases.raw(format!("an unknown message {command}"), command, &[7; 40]);
    }
    for (name, command) in [
        ("a gap in it", *b"pi\0ng\0\0\0\0\0\0\0"),
        ("a control character", *b"ping\x07\0\0\0\0\0\0\0"),
        ("letters that are not ASCII", *b"pin\xe7\0\0\0\0\0\0\0\0"),
        ("nothing", [0; 12]),
    ] {
        let mut message = frame("ping", &[1; 8]);
        message[4..16].copy_from_slice(&command);
        cases.steps(format!("a name with {name}"), vec![message, bytes(&Message::Ping(3))]);
    }
    cases.add("verack again", Message::Verack);
    cases.add("version again", version(70016, true));
    cases.steps("sendheaders, twice", vec![bytes(&Message::SendHeaders), bytes(&Message::SendHeaders)]);
    cases.add("sendaddrv2 too late", Message::SendAddrV2);
    cases.add("wtxidrelay too late", Message::WtxidRelay);
    for (high_bandwidth, version) in [(false, 1), (false, 2), (true, 2), (true, 3)] {
        cases.add(
            format!("sendcmpct {high_bandwidth} {version}"),
            Message::SendCmpct { high_bandwidth, version },
        );
    }
    cases.raw("sendcmpct that is neither true nor false", "sendcmpct", &[2, 2, 0, 0, 0, 0, 0, 0, 0]);
    cases.raw("sendcmpct that is neither, cut off", "sendcmpct", &[2, 2, 0, 0, 0, 0, 0, 0]);
    cases.raw("sendcmpct of one byte", "sendcmpct", &[1]);
    cases.raw("sendcmpct of nothing", "sendcmpct", &[]);
    cases.add("a fee rate", Message::FeeFilter(1000));
    cases.raw("a fee rate of nothing", "feefilter", &[]);
    cases.raw("a fee rate of more than there is", "feefilter", &[0xff; 8]);
    for count in [0, 1000, 1001] {
        for (command, entry) in [
            ("addr", [vec![1; 12], vec![0; 10], vec![0xff, 0xff, 10, 1, 2, 3, 0x20, 0x8d]].concat()),
            ("addrv2", vec![1, 2, 3, 4, 0, 1, 4, 10, 1, 2, 3, 0x20, 0x8d]),
        ] {
            let mut payload = Vec::new();
            write_compact_size(&mut payload, count);
            payload.extend(entry.repeat(count as usize));
            cases.raw(format!("{command} of {count}"), command, &payload);
        }
    }
    cases.raw("addr of 1001, cut off", "addr", &[0xfd, 0xe9, 0x03]);
    cases.raw("addr of 1000, cut off", "addr", &[0xfd, 0xe8, 0x03]);
    cases.add("inv of nothing", Message::Inv([].as_slice().into()));
    for count in [1, 50_000, 50_001] {
        let list = vec![other(INV_WTX); count];
        cases.add(format!("inv of {count}"), Message::Inv(list.as_slice().into()));
        cases.add(format!("notfound of {count}"), Message::NotFound(list.as_slice().into()));
    }
    cases.add("headers of nothing", Message::Headers([].as_slice().into()));
    let header = pair.core.block(&pair.core.hash_at(7)).header;
    cases.add("headers of 2001", Message::Headers(vec![header; 2001].as_slice().into()));
    cases.raw("headers of 2001, cut off", "headers", &[0xfd, 0xd1, 0x07]);
    cases.raw("headers of 2000, cut off", "headers", &[0xfd, 0xd0, 0x07]);
    cases.raw("a block of nothing", "block", &[]);
    cases.raw("a transaction of nothing", "tx", &[]);

    let ping = bytes(&Message::Ping(8));
    let mut wrong_checksum = ping.clone();
    wrong_checksum[20] ^= 1;
    cases.steps("a wrong checksum, then a ping", vec![[wrong_checksum, ping.clone()].concat()]);
    let mut wrong_contents = frame("getheaders", &[0; 37]);
    *wrong_contents.last_mut().unwrap() ^= 1;
    cases.steps("contents that are not those of the checksum", vec![wrong_contents]);
    for index in 0..4 {
        let mut wrong_magic = ping.clone();
        wrong_magic[index] ^= 1;
        cases.steps(format!("wrong magic in byte {index}"), vec![wrong_magic]);
    }
    let header = |length: u32| {
        let mut header = ping[..24].to_vec();
        header[16..20].copy_from_slice(&length.to_le_bytes());
        header
    };
    cases.steps("a message of 4,000,001 bytes", vec![header(4_000_001)]);
    cases.steps("a message of 2^32 - 1 bytes", vec![header(u32::MAX)]);
    let longest = frame("xyzzy", &vec![0; 4_000_000]);
    cases.steps("an unknown message of 4,000,000 bytes", vec![longest]);
    cases.compare(&pair);
}

#[test]
fn handshakes_are_answered_as_by_core() {
    let Some(pair) = Pair::start() else { return };
    let verack = || bytes(&Message::Verack);
    let ping = || bytes(&Message::Ping(4));
    let mut cases = Cases::default();
    for protocol in
        [70016, 70015, 70014, 70013, 70012, 70002, 60002, 60001, 60000, 31800, 31799, 209, 0, 80000]
    {
        for relay in [true, false] {
            let version = bytes(&version(protocol, relay));
            let name = format!("version {protocol}, relay {relay}");
            cases.handshake(format!("{name}, and a ping"), vec![version.clone(), verack(), ping()]);
            cases.handshake(name, vec![version]);
        }
    }
    for protocol in [1 << 31, u32::MAX] {
        cases.handshake(
            format!("version {protocol}"),
            vec![bytes(&version(protocol, true)), verack(), ping()],
        );
    }
    let first = || bytes(&version(70016, true));
    cases.handshake("no version but a verack", vec![verack()]);
    cases.handshake("no version but a ping", vec![ping()]);
    cases.handshake("a ping first", vec![ping(), first(), verack(), ping()]);
    cases.handshake("a verack first", vec![verack(), first(), verack(), ping()]);
    cases.handshake("a ping before verack", vec![first(), ping(), verack(), ping()]);
    let early = headers(&[], pair.hash(5));
    cases.handshake("getheaders before verack", vec![first(), early, verack(), ping()]);
    let early_mempool = frame("mempool", &[]);
    cases.handshake("mempool before verack", vec![first(), early_mempool, verack(), ping()]);
    cases
        .handshake("an unknown message before verack", vec![first(), frame("xyzzy", &[1]), verack(), ping()]);
    cases.handshake("two versions", vec![first(), first(), verack(), ping()]);
    cases.handshake("two veracks", vec![first(), verack(), verack(), ping()]);
    for message in [Message::WtxidRelay, Message::SendAddrV2, Message::SendHeaders] {
        let name = message.command();
        cases.handshake(format!("{name} before verack"), vec![first(), bytes(&message), verack(), ping()]);
        let twice = vec![first(), bytes(&message), bytes(&message), verack(), ping()];
        cases.handshake(format!("{name} twice before verack"), twice);
        cases.handshake(format!("{name} before version"), vec![bytes(&message), first(), verack(), ping()]);
        cases.handshake(format!("{name} after verack"), vec![first(), verack(), bytes(&message), ping()]);
    }
    let whole = first();
    let payload = &whole[24..];
    for length in [0, 4, 19, 20, 45, 46, 47, 72, 79, 80, 81, 86, 87, 90, 91, 92] {
        if let Some(part) = payload.get(..length) {
            cases.handshake(
                format!("a version of {length} bytes"),
                vec![frame("version", part), verack(), ping()],
            );
        }
    }
    cases
        .handshake("a long version", vec![frame("version", &[payload, &[0; 50]].concat()), verack(), ping()]);
    for length in [0_usize, 255, 256, 257, 1000] {
        let mut payload = payload[..80].to_vec();
        write_compact_size(&mut payload, length as u64);
        payload.extend(vec![b'a'; length]);
        payload.extend_from_slice(&[0, 0, 0, 0, 1]);
        cases.handshake(
            format!("a user agent of {length} bytes"),
            vec![frame("version", &payload), verack(), ping()],
        );
    }
    let mut relay = payload.to_vec();
    *relay.last_mut().unwrap() = 2;
    cases.handshake(
        "a relay that is neither true nor false",
        vec![frame("version", &relay), verack(), ping()],
    );
    let mut strange = payload.to_vec();
    strange[81..87].copy_from_slice(b"\xff\0\n\x1b[1");
    cases.handshake("a user agent that is no text", vec![frame("version", &strange), verack(), ping()]);
    let mut wrong_checksum = first();
    wrong_checksum[20] ^= 1;
    cases.handshake("a version with a wrong checksum", vec![wrong_checksum, first(), verack(), ping()]);
    cases.handshake("nothing at all", vec![]);
    cases.compare(&pair);
}
