//! What comes into a turn and what goes out of it, for people and for programs.

use andon_bitcoin::client::{Command, Event};
use andon_kernel::{Change, Input, Link, Output};
use bitcoin::Network;
use bitcoin::hex::DisplayHex;
use serde_json::{Value, json};

use crate::units::{bytes, counted};

/// Characters of a command that are shown unless all of it is asked for.
const SHORT: usize = 240;

/// What comes in.
pub(crate) fn input(input: &Input<'_, Command>, is_full: bool) -> (String, Value) {
    match input {
        Input::Start => ("start".into(), json!({"kind": "start"})),
        Input::Stop => ("stop".into(), json!({"kind": "stop"})),
        Input::Wake => ("wake".into(), json!({"kind": "wake"})),
        Input::Command(command) => {
            let text = shortened(format!("{command:?}"), is_full);
            (format!("command {text}"), json!({"kind": "command", "command": text}))
        }
        Input::Connected { conn, remote, link } => {
            let which = if *link == Link::Inbound { "from" } else { "to" };
            let (conn, remote) = (format!("{conn:?}"), remote.to_string());
            (
                format!("{conn} connected {which} {remote}"),
                json!({"kind": "connected", "conn": conn, "remote": remote}),
            )
        }
        Input::Received { conn, bytes } => {
            let conn = format!("{conn:?}");
            (format!("{conn} received {}", content(bytes, is_full)), sized("received", &conn, bytes, is_full))
        }
        Input::Drained { conn } => {
            let conn = format!("{conn:?}");
            (format!("{conn} drained"), json!({"kind": "drained", "conn": conn}))
        }
        Input::Disconnected { conn, reason } => {
            let (conn, reason) = (format!("{conn:?}"), reason.to_string());
            (
                format!("{conn} disconnected: {reason}"),
                json!({"kind": "disconnected", "conn": conn, "reason": reason}),
            )
        }
        Input::Datagram { from, bytes } => {
            let from = from.to_string();
            (
                format!("datagram from {from}: {}", content(bytes, is_full)),
                sized("datagram", &from, bytes, is_full),
            )
        }
        Input::Resolved { ticket, addrs } => {
            let ticket = format!("{ticket:?}");
            let addrs: Vec<String> = addrs.iter().map(ToString::to_string).collect();
            let text = if addrs.is_empty() { "nothing".into() } else { addrs.join(", ") };
            (
                format!("{ticket} resolved to {text}"),
                json!({"kind": "resolved", "ticket": ticket, "addrs": addrs}),
            )
        }
        Input::Loaded { ticket, rows, more } => {
            let ticket = format!("{ticket:?}");
            let size: usize = rows.iter().map(|(key, value)| key.len() + value.len()).sum();
            let behind = if *more { ", and there are more" } else { "" };
            let text = format!(
                "{ticket} loaded {}, {}{behind}",
                counted(rows.len() as u64, "row"),
                bytes(size as u64)
            );
            (
                text,
                json!({"kind": "loaded", "ticket": ticket, "rows": rows.len(), "bytes": size, "more": more}),
            )
        }
        Input::Stored { ticket } => {
            let ticket = format!("{ticket:?}");
            (format!("{ticket} stored"), json!({"kind": "stored", "ticket": ticket}))
        }
    }
}

/// What goes out.
pub(crate) fn effect(effect: &Output<'_, &Event>, is_full: bool) -> (String, Value) {
    match effect {
        Output::Connect { conn, addr } => {
            let (conn, addr) = (format!("{conn:?}"), addr.to_string());
            (format!("{conn} connect to {addr}"), json!({"kind": "connect", "conn": conn, "addr": addr}))
        }
        Output::Send { conn, bytes } => {
            let conn = format!("{conn:?}");
            (format!("{conn} send {}", content(bytes, is_full)), sized("send", &conn, bytes, is_full))
        }
        Output::Pause { conn, paused } => {
            let conn = format!("{conn:?}");
            let what = if *paused { "pause" } else { "go on" };
            (format!("{conn} {what}"), json!({"kind": "pause", "conn": conn, "paused": paused}))
        }
        Output::Flush { conn } => {
            let conn = format!("{conn:?}");
            (format!("{conn} flush"), json!({"kind": "flush", "conn": conn}))
        }
        Output::Close { conn, flush } => {
            let conn = format!("{conn:?}");
            let how = if *flush { ", after what was sent" } else { "" };
            (format!("{conn} close{how}"), json!({"kind": "close", "conn": conn, "flush": flush}))
        }
        Output::Datagram { to, bytes } => {
            let to = to.to_string();
            (format!("datagram to {to}: {}", content(bytes, is_full)), sized("datagram", &to, bytes, is_full))
        }
        Output::Resolve { ticket, host, port } => {
            let ticket = format!("{ticket:?}");
            let object = json!({"kind": "resolve", "ticket": ticket, "host": host, "port": port});
            (format!("{ticket} resolve {}:{port}", host.escape_debug()), object)
        }
        Output::Load(scan) => {
            let ticket = format!("{:?}", scan.ticket);
            let space = scan.space.name();
            let object = json!({"kind": "load", "ticket": ticket, "space": space, "limit": scan.limit});
            (format!("{ticket} load {} of {space}", counted(scan.limit, "row")), object)
        }
        Output::Store { ticket, batch } => {
            let ticket = format!("{ticket:?}");
            let mut spaces: Vec<&str> = Vec::new();
            for change in batch.changes() {
                let (Change::Put { space, .. } | Change::Delete { space, .. }) = change;
                if !spaces.contains(&space.name()) {
                    spaces.push(space.name());
                }
            }
            let (changes, size) = (batch.changes().len(), batch.size());
            let text = match changes {
                0 => format!("{ticket} store nothing more"),
                _ => format!(
                    "{ticket} store {} in {}, {}",
                    counted(changes as u64, "change"),
                    spaces.join(", "),
                    bytes(size as u64)
                ),
            };
            (
                text,
                json!({"kind": "store", "ticket": ticket, "changes": changes, "spaces": spaces, "bytes": size}),
            )
        }
        Output::Event(event) => {
            let text = format!("{event:?}");
            (format!("event {text}"), json!({"kind": "event", "event": text}))
        }
    }
}

fn sized(kind: &str, whom: &str, content: &[u8], is_full: bool) -> Value {
    let mut object = json!({"kind": kind, "conn": whom, "bytes": content.len()});
    if is_full {
        object["hex"] = content.to_lower_hex_string().into();
    }
    object
}

/// How many bytes, and the messages that begin there if they are not encrypted.
fn content(content: &[u8], is_full: bool) -> String {
    let mut text = bytes(content.len() as u64);
    let names = messages(content);
    if !names.is_empty() {
        text.push_str(&format!(" ({})", names.join(", ")));
    }
    if is_full {
        text.push_str(": ");
        text.push_str(&content.to_lower_hex_string());
    }
    text
}

/// The names of messages of version 1 of the transport, from the first byte on.
fn messages(mut content: &[u8]) -> Vec<String> {
    /// More are not named.
    const MOST: usize = 8;
    let mut names = Vec::new();
    while let Some((head, rest)) = content.split_first_chunk::<24>() {
        let magics =
            [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest];
        if !magics.iter().any(|network| head.starts_with(&network.magic().to_bytes())) {
            break;
        }
        if names.len() == MOST {
            names.push("…".into());
            break;
        }
        let name = head[4..16].split(|byte| *byte == 0).next().unwrap_or_default();
        names.push(name.escape_ascii().to_string());
        let length = u32::from_le_bytes([head[16], head[17], head[18], head[19]]);
        let Some(behind) = rest.get(length as usize..) else { break };
        content = behind;
    }
    names
}

fn shortened(text: String, is_full: bool) -> String {
    match text.char_indices().nth(SHORT) {
        Some((end, _)) if !is_full => format!("{}… ({} characters)", &text[..end], text.chars().count()),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_named_as_far_as_they_can_be_read() {
        let message = |name: &str, length: u32, there: usize| {
            let mut bytes = Network::Regtest.magic().to_bytes().to_vec();
            bytes.extend_from_slice(name.as_bytes());
            bytes.resize(16, 0);
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.resize(24 + there, 7);
            bytes
        };
        let whole = message("ping", 8, 8);
        assert_eq!(messages(&whole), ["ping"]);
        let several = [whole.clone(), message("verack", 0, 0), message("a\u{7}\n", u32::MAX, 3)].concat();
        assert_eq!(messages(&several), ["ping", "verack", "a\\x07\\n"]);
        assert_eq!(messages(&several[..several.len() - 10]), ["ping", "verack"]);
        assert_eq!(messages(&whole.repeat(20)).len(), 9);
        let none: [&[u8]; 3] = [&[], &[0xfa, 0xbf], &[0; 100]];
        for bytes in none {
            assert!(messages(bytes).is_empty());
        }
    }

    #[test]
    fn long_commands_are_cut_off_between_characters() {
        let long = "é".repeat(1000);
        assert_eq!(shortened(long.clone(), true), long);
        assert_eq!(shortened(long, false), format!("{}… (1000 characters)", "é".repeat(SHORT)));
        assert_eq!(shortened("short".into(), false), "short");
    }
}
