//! Views: what is stored, as tables for people, in SQL that any program runs which reads SQLite's databases.
//!
//! A store of rows and columns makes them beside its tables of keys and values (`andon_store::Options::views`); the client
//! never reads them, so they cost it nothing. `record` and the rows of `addresses` and `broadcast` say what the
//! bytes mean; here it is said once more, in SQL, and a test compares the two.
//!
//! SQL has no SHA-256, and a header's hash is stored with the first header of the next sixteen. So `headers.hash`
//! is known of every sixteenth block and of the tip, and elsewhere `NULL`: any explorer of blocks, or `headers show`, has it by its
//! height. Of an onion service the key is stored, and the last five characters of its name follow from a hash of another kind: they are
//! left out. Checksums are not looked at.
//!
//! Plain SQL of SQLite 3.8.3 (2014) or newer: numbers are computed from hexadecimal digits, as SQL reads no bytes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::record::ROW;

/// The views of what a client stores: the name of each, and its `SELECT`, in which `{space}` stands for the table of a space.
///
/// | view | a row for each |
/// |---|---|
/// | `headers` | block header of the best chain, the last one first. While the client switches to another branch, some are of that |
/// | `matches` | input and output that touches what is watched, in the order of the chain. What a reorganisation has made void, or what is no longer watched, stands there until the client has taken it back |
/// | `watched` | script that is watched |
/// | `watched_outputs` | output that is watched for its spending alone |
/// | `descriptors` | output descriptor |
/// | `peers` | node of the address book |
/// | `bans` | address or subnet that is not to be dialled |
/// | `broadcasts` | transaction that is broadcast |
///
/// Their text takes 60 kB of a database, and SQLite some milliseconds to read whenever it opens one; no row costs more for
/// them. A view is computed when it is read. Of the main network's headers one by its height, or the last ones, take a second; all of
/// them, or the first of them by an order of one's own, a minute or two.
///
/// Times are in UTC, amounts in satoshis, hashes in the order of bytes in which they are shown, scripts and transactions in
/// hexadecimal digits. What is not known is `NULL`.
pub fn views() -> Vec<(String, String)> {
    let views = [
        ("headers", headers()),
        ("matches", matches()),
        ("watched", watched()),
        ("watched_outputs", watched_outputs()),
        ("descriptors", descriptors()),
        ("peers", peers()),
        ("bans", bans()),
        ("broadcasts", broadcasts()),
    ];
    views.into_iter().map(|(name, sql)| (name.into(), sql)).collect()
}

fn headers() -> String {
    // A row's headers follow the hash before them, and the work before them where there is some: 32 bytes, or twice as many,
    // and a header has 48. The limit keeps SQLite from computing what a row says for each of its headers again.
    let rows = format!(
        "SELECT {first} AS first, value, 33 + (length(value) - 36) % 48 AS base, (length(value) - 36) / 48 AS count, \
         (SELECT substr(value, 1, 32) FROM {{headers}} AS following WHERE following.key > stored.key \
         ORDER BY following.key LIMIT 1) AS next_hash FROM {{headers}} AS stored ORDER BY key DESC LIMIT -1",
        first = big("key", "1", 4),
    );
    let places: Vec<String> = (0..ROW - 1).rev().map(|place| format!(" UNION ALL SELECT {place}")).collect();
    let places = format!("SELECT {} AS place{}", ROW - 1, places.concat());
    let tip = |what: &str| format!("(SELECT {what} FROM {{meta}} WHERE key = x'746970')");
    let column = |at: u32| format!("base + 48 * place + {at}");
    format!(
        "SELECT first + place AS height, \
         CASE WHEN place + 1 < count THEN NULL WHEN next_hash IS NOT NULL THEN {hash} \
         WHEN first + place = {tip_height} THEN {tip_hash} END AS hash, \
         CASE WHEN place = 0 THEN {previous} END AS previous_hash, {merkle_root} AS merkle_root, \
         datetime({time}, 'unixepoch') AS time, {version} AS version, {bits} AS bits, {nonce} AS nonce \
         FROM ({rows}) CROSS JOIN ({places}) WHERE place < count",
        hash = shown("next_hash", "1", 32),
        tip_height = tip(&big("value", "1", 4)),
        tip_hash = tip(&shown("value", "5", 32)),
        previous = shown("value", "1", 32),
        merkle_root = shown("value", &column(4), 32),
        time = little("value", &column(36), 4),
        version = signed("value", &column(0)),
        bits = shown("value", &column(40), 4),
        nonce = little("value", &column(44), 4),
    )
}

fn matches() -> String {
    // An input has the outpoint before the script.
    let script = "CASE WHEN substr(key, 9, 1) = x'00' THEN 109 ELSE 73 END";
    let spent = |text: &str| format!("CASE WHEN substr(key, 9, 1) = x'00' THEN {text} END");
    let received = |text: &str| format!("CASE WHEN substr(key, 9, 1) = x'01' THEN {text} END");
    format!(
        "SELECT {height} AS height, {block} AS block, {txid} AS txid, \
         CASE WHEN substr(key, 9, 1) = x'00' THEN 'spent' ELSE 'received' END AS kind, \
         {vin} AS vin, {vout} AS vout, {satoshis} AS satoshis, {script} AS script, \
         {spends_txid} AS spends_txid, {spends_vout} AS spends_vout, {position} AS position FROM {{touches}}",
        height = big("key", "1", 4),
        block = shown("value", "1", 32),
        txid = shown("value", "33", 32),
        vin = spent(&big("key", "10", 4)),
        vout = received(&big("key", "10", 4)),
        satoshis = amount("value", 65),
        script = rest("value", script),
        spends_txid = spent(&shown("value", "73", 32)),
        spends_vout = spent(&little("value", "105", 4)),
        position = big("key", "5", 4),
    )
}

fn watched() -> String {
    // Of a script that was derived there are four numbers or five, before the checksum.
    let derived = "length(value) >= 20";
    format!(
        "SELECT lower(hex(key)) AS script, {since} AS since_height, \
         CASE WHEN {derived} THEN {descriptor} END AS descriptor, \
         CASE WHEN {derived} THEN {index} END AS derivation_index FROM {{watched}}",
        since = big("value", "1", 4),
        descriptor = big("value", "9", 4),
        index = big("value", "13", 4),
    )
}

fn watched_outputs() -> String {
    format!(
        "SELECT {txid} AS txid, {vout} AS vout, {since} AS since_height, {satoshis} AS satoshis, {script} AS script \
         FROM {{outputs}}",
        txid = shown("key", "1", 32),
        vout = little("key", "33", 4),
        since = big("value", "1", 4),
        satoshis = amount("value", 9),
        script = rest("value", "17"),
    )
}

fn descriptors() -> String {
    format!(
        "SELECT {number} AS number, CAST(substr(value, 17, length(value) - 20) AS TEXT) AS descriptor, \
         {since} AS since_height, {gap} AS gap, {derived} AS scripts FROM {{descriptors}}",
        number = big("key", "1", 4),
        since = big("value", "1", 4),
        gap = big("value", "5", 4),
        derived = big("value", "13", 4),
    )
}

fn peers() -> String {
    let network = "CASE substr(key, 2, 1) WHEN x'01' THEN 'ipv4' WHEN x'02' THEN 'ipv6' WHEN x'04' THEN 'onion' \
                   WHEN x'05' THEN 'i2p' WHEN x'06' THEN 'cjdns' END";
    // The services, and a source of as many bytes as its network has, end before the places.
    let places = "27 + CASE substr(value, 26, 1) WHEN x'00' THEN 10 WHEN x'01' THEN 4 ELSE \
                  CASE WHEN substr(value, 26, 1) IN (x'02', x'06') THEN 16 ELSE 32 END END";
    let is_tried = format!("substr(value, {places}, 1) = x'ff'");
    let time = |at: &str| time(&little("value", at, 4));
    format!(
        "SELECT {network} AS network, {address} AS address, {port} AS port, {services} AS services, \
         CASE WHEN {is_tried} THEN 'tried' ELSE 'new' END AS place, {heard} AS heard_of, {reached} AS reached, \
         {dialled} AS dialled, {attempts} AS attempts FROM {{addresses}} WHERE substr(key, 1, 1) = x'01'",
        address = host("key", "substr(key, 2, 1)", 3),
        port = big("key", "length(key) - 1", 2),
        services = services("value"),
        heard = time("9"),
        reached = time("13"),
        dialled = time("17"),
        attempts = big("value", "25", 1),
    )
}

fn bans() -> String {
    // Whoever bans one address bans all of its bits.
    let bits =
        "CASE substr(key, 3, 1) WHEN x'01' THEN 32 WHEN x'02' THEN 128 WHEN x'06' THEN 128 ELSE 256 END";
    let prefix = big("key", "1", 2);
    format!(
        "SELECT {host} || CASE WHEN {prefix} < {bits} THEN '/' || ({prefix}) ELSE '' END AS subnet, \
         {since} AS since, {until} AS until FROM {{bans}}",
        host = host("key", "substr(key, 3, 1)", 4),
        since = time(&little("value", "2", 7)),
        until = time(&little("value", "10", 7)),
    )
}

fn broadcasts() -> String {
    // The first row of a transaction has it after its scripts, whose lengths only counting finds; the second its state.
    let by = |at: &str| {
        format!(
            "CASE WHEN substr(state.value, {at}, 32) <> zeroblob(32) THEN {} END",
            shown("state.value", at, 32)
        )
    };
    let settled = "substr(state.value, 60, 1)";
    let in_block = |text: &str| format!("CASE WHEN {settled} <> x'00' THEN {text} END");
    format!(
        "SELECT {txid} AS txid, \
         CASE {settled} WHEN x'01' THEN 'confirmed' WHEN x'02' THEN 'conflicted' ELSE \
         CASE substr(state.value, 3, 1) WHEN x'00' THEN 'waiting' WHEN x'01' THEN 'announced' WHEN x'02' THEN 'sent' \
         WHEN x'03' THEN 'seen' END END AS state, \
         substr(state.value, 2, 1) = x'01' AS private, {fee} AS fee, {added} AS added, {expires} AS expires, \
         {round} AS last_round, {height} AS height, {block} AS block, \
         CASE WHEN {settled} = x'02' THEN {conflict} END AS conflicts_with, {replaced} AS replaced_by \
         FROM {{broadcasts}} AS state LEFT JOIN {{broadcasts}} AS body ON body.key = CAST(substr(state.key, 1, 32) || x'00' AS BLOB) \
         WHERE length(state.key) = 33 AND substr(state.key, 33, 1) = x'01'",
        txid = shown("state.key", "1", 32),
        fee = amount("body.value", 2),
        added = time(&little("state.value", "4", 7)),
        expires = time(&little("state.value", "12", 7)),
        round = time(&little("state.value", "20", 7)),
        replaced = by("28"),
        height = in_block(&little("state.value", "61", 4)),
        block = in_block(&shown("state.value", "65", 32)),
        conflict = shown("state.value", "97", 32),
    )
}

/// The number in bytes of a column from a place on (the first is 1), the highest byte first. Up to 7 bytes.
fn big(column: &str, at: &str, bytes: u32) -> String {
    let digits = format!("hex(substr({column}, {at}, {bytes}))");
    let places = 2 * bytes;
    let digit = |index: u32| {
        format!(
            "instr('0123456789ABCDEF', substr({digits}, {}, 1)) * {}",
            index + 1,
            1u64 << (4 * (places - 1 - index))
        )
    };
    sum((0..places).map(digit).collect(), places)
}

/// As [`big`], the lowest byte first.
fn little(column: &str, at: &str, bytes: u32) -> String {
    let digits = format!("hex(substr({column}, {at}, {bytes}))");
    let places = 2 * bytes;
    // The two digits of a byte stand the other way round.
    let digit = |index: u32| {
        format!(
            "instr('0123456789ABCDEF', substr({digits}, {}, 1)) * {}",
            index + 1,
            1u64 << (4 * (index ^ 1))
        )
    };
    sum((0..places).map(digit).collect(), places)
}

/// A sum of digits, each of which is found one place too far.
fn sum(digits: Vec<String>, places: u32) -> String {
    let ones = (0..places).fold(0u64, |number, _| number << 4 | 1);
    format!("({} - {ones})", digits.join(" + "))
}

/// Four bytes as a number with a sign, the lowest first.
fn signed(column: &str, at: &str) -> String {
    format!("(({} + 2147483648) % 4294967296 - 2147483648)", little(column, at, 4))
}

/// Bytes in hexadecimal digits, the last one first.
fn shown(column: &str, at: &str, bytes: u32) -> String {
    let byte = |index: u32| format!("hex(substr({column}, {at} + {index}, 1))");
    format!("lower({})", (0..bytes).rev().map(byte).collect::<Vec<_>>().join(" || "))
}

/// Everything from a place on but the checksum, in hexadecimal digits.
fn rest(column: &str, at: &str) -> String {
    format!("lower(hex(substr({column}, {at}, length({column}) - 3 - ({at}))))")
}

/// Eight bytes with an amount, or all ones. More than 2^56 satoshis there are not.
fn amount(column: &str, at: u32) -> String {
    let amount = little(column, &format!("{at}"), 7);
    format!("CASE WHEN substr({column}, {at}, 8) <> x'ffffffffffffffff' THEN {amount} END")
}

/// Seconds since 1970 as text; never, if there are none.
fn time(seconds: &str) -> String {
    format!("datetime(nullif({seconds}, 0), 'unixepoch')")
}

/// The names of services, as Bitcoin Core has them.
fn services(column: &str) -> String {
    let bits = [
        (0, "NETWORK"),
        (2, "BLOOM"),
        (3, "WITNESS"),
        (6, "COMPACT_FILTERS"),
        (10, "NETWORK_LIMITED"),
        (11, "P2P_V2"),
    ];
    let number = little(column, "1", 2);
    let name =
        |(bit, name): (u32, &str)| format!("CASE WHEN {number} & {} THEN ' {name}' ELSE '' END", 1 << bit);
    format!("ltrim({})", bits.map(name).join(" || "))
}

/// An address as text, of a network whose number is known.
fn host(column: &str, network: &str, at: u32) -> String {
    let byte = |index: u32| format!("({})", big(column, &format!("{}", at + index), 1));
    let ipv4 = (0..4).map(byte).collect::<Vec<_>>().join(" || '.' || ");
    // As long as it is: which zeros to leave out is more than an expression can say.
    let group = |index: u32| {
        format!("coalesce(nullif(ltrim(lower(hex(substr({column}, {}, 2))), '0'), ''), '0')", at + 2 * index)
    };
    let ipv6 = (0..8).map(group).collect::<Vec<_>>().join(" || ':' || ");
    format!(
        "CASE {network} WHEN x'01' THEN {ipv4} WHEN x'04' THEN {} || '?????.onion' \
         WHEN x'05' THEN {} || '.b32.i2p' ELSE {ipv6} END",
        base32(column, at, 51),
        base32(column, at, 52),
    )
}

/// So many characters of 32 bytes in base 32: each is five bits of two bytes, the 52nd one bit of the last.
fn base32(column: &str, at: u32, characters: u32) -> String {
    let bytes = big(column, &format!("{at} + place * 5 / 8"), 2);
    format!(
        "(WITH RECURSIVE base32 (place, text) AS (SELECT 0, '' UNION ALL SELECT place + 1, \
         text || substr('abcdefghijklmnopqrstuvwxyz234567', \
         1 + (({bytes} >> (11 - place * 5 % 8)) & CASE place WHEN 51 THEN 16 ELSE 31 END), 1) \
         FROM base32 WHERE place < {characters}) SELECT text FROM base32 WHERE place = {characters})"
    )
}
