//! Events and the summary as JSON objects. The fields are listed in the program's long help; they only grow.

use std::time::Duration;

use andon_bitcoin::client::{
    BlockId, BroadcastState, Count, Decision, Derivation, Event, PeerPurpose, Progress, SyncPhase, Touch,
    TouchKind,
};
use bitcoin::Network;
use serde_json::{Value, json};

use crate::arguments::network_name;
use crate::error::Error;
use crate::progress::Part;
use crate::summary::Summary;
use crate::watch::address;

const fn purpose_name(purpose: PeerPurpose) -> &'static str {
    match purpose {
        PeerPurpose::Configured => "configured",
        PeerPurpose::Found => "found",
        PeerPurpose::Feeler => "feeler",
        PeerPurpose::Addresses => "addresses",
        PeerPurpose::Broadcast => "broadcast",
        _ => "other",
    }
}

/// An event as an object; `None` for what is told in another way (failures end the program).
pub(crate) fn event(event: &Event, network: Network) -> Option<Value> {
    Some(match event {
        Event::Started { tip, checked } => {
            json!({"event": "started", "network": network_name(network), "tip": block(tip), "checked": checked})
        }
        Event::Failed(_) => return None,
        Event::PeerConnected { endpoint, purpose, user_agent, height, transport, .. } => json!({
            "event": "peer_connected",
            "peer": endpoint.to_string(),
            "purpose": purpose_name(*purpose),
            "user_agent": user_agent,
            "height": height,
            "transport": transport.to_string(),
        }),
        Event::PeerDisconnected { endpoint, purpose, connected, reason } => json!({
            "event": "peer_disconnected",
            "peer": endpoint.to_string(),
            "purpose": purpose_name(*purpose),
            "connected": connected,
            "reason": reason.to_string(),
        }),
        Event::PeerWithholds { endpoint, claimed } => {
            json!({"event": "peer_withholds", "peer": endpoint.to_string(), "claimed_height": claimed})
        }
        Event::FilterLeftOut { endpoint, block: left_out } => {
            json!({"event": "filter_left_out", "peer": endpoint.to_string(), "block": block(left_out)})
        }
        Event::Banned { subnet, until } => {
            json!({"event": "banned", "subnet": subnet.to_string(), "until": until.as_secs()})
        }
        Event::BanRefused { subnet } => json!({"event": "ban_refused", "subnet": subnet.to_string()}),
        Event::CommandRefused(why) => json!({"event": "command_refused", "reason": why.to_string()}),
        Event::BanLifted { subnet } => json!({"event": "ban_lifted", "subnet": subnet.to_string()}),
        Event::Repaired { what, kept } => json!({"event": "repaired", "what": what, "kept": block(kept)}),
        Event::Migrated { from } => json!({"event": "migrated", "from": from}),
        Event::HeavierBelowStart { endpoint, height, work } => json!({
            "event": "heavier_below_start",
            "peer": endpoint.to_string(),
            "height": height,
            "work": format!("{work:x}"),
        }),
        Event::BirthdayBelowStart { birthday, first } => {
            json!({"event": "birthday_below_start", "birthday": birthday, "first": first})
        }
        Event::FalseFilter { endpoint, block: id, filter_hash, omission } => json!({
            "event": "false_filter",
            "peer": endpoint.to_string(),
            "block": block(id),
            "filter_hash": filter_hash.to_string(),
            "omits": omission.as_ref().map(|omission| json!({
                "txid": omission.txid.to_string(),
                "script": omission.script.to_hex_string(),
            })),
        }),
        Event::FilterHeadersDisputed { height, ours, theirs, decision } => json!({
            "event": "filter_headers_disputed",
            "height": height,
            "ours": ours,
            "theirs": theirs,
            "decision": match decision {
                Decision::Open => "open",
                Decision::Kept => "kept",
                Decision::Replaced => "replaced",
            },
        }),
        Event::FilterHeadersReplaced { from } => json!({"event": "filter_headers_replaced", "from": from}),
        Event::Broadcast { txid, wtxid, state } => {
            let mut object = broadcast_state(*state);
            object["event"] = "broadcast".into();
            object["txid"] = txid.to_string().into();
            object["wtxid"] = wtxid.to_string().into();
            object
        }
        Event::BroadcastSkipped { txid, endpoint, reason } => json!({
            "event": "broadcast_skipped",
            "txid": txid.to_string(),
            "peer": endpoint.to_string(),
            "reason": reason.to_string(),
        }),
        Event::BroadcastRefused { txids, error } => json!({
            "event": "broadcast_refused",
            "txids": txids.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "reason": error.to_string(),
        }),
        Event::StaleTip { tip } => json!({"event": "stale_tip", "tip": block(tip)}),
        // Answers to what the program asks for by itself.
        Event::Header { .. }
        | Event::Exported { .. }
        | Event::Imported { .. }
        | Event::SpendSearched { .. }
        | Event::Block { .. }
        | Event::Answered { .. }
        | Event::Mark(_)
        | Event::Paused { .. }
        | Event::Tip(_)
        | Event::Peers(_)
        | Event::Filters { .. }
        | Event::Fees(_) => return None,
        Event::DescriptorDerived { descriptor, scripts } => {
            json!({"event": "derived", "descriptor": descriptor, "scripts": scripts})
        }
        Event::Progress(progress) => progress_object(progress),
        Event::Reorganised { fork, old_tip, new_tip } => json!({
            "event": "reorganised",
            "fork": block(fork),
            "old_tip": block(old_tip),
            "new_tip": block(new_tip),
        }),
        Event::Rescan { from } => json!({"event": "rescan", "from": from}),
        Event::Matched(id) => at("matched", id),
        Event::Touched(touch) => {
            let name = kind(touch);
            tagged(name, touch_object(touch, network))
        }
        Event::TakenBack(touch) => {
            let mut object = tagged("taken_back", touch_object(touch, network));
            object["kind"] = kind(touch).into();
            object
        }
        Event::Checked(id) => at("checked", id),
        Event::Synced(id) => at("synced", id),
    })
}

/// How far a transaction is: the fields that `broadcast` and `broadcasts` have.
pub(crate) fn broadcast_state(state: BroadcastState) -> Value {
    let mut object = json!({"state": state_name(state)});
    if let BroadcastState::Confirmed { block } | BroadcastState::Conflicted { block, .. } = state {
        object["height"] = block.height.into();
        object["block"] = block.hash.to_string().into();
    }
    if let BroadcastState::Conflicted { by, .. } | BroadcastState::Replaced { by } = state {
        object["by"] = by.to_string().into();
    }
    object
}

/// The name of a state.
pub(crate) const fn state_name(state: BroadcastState) -> &'static str {
    match state {
        BroadcastState::Waiting => "waiting",
        BroadcastState::Announced => "announced",
        BroadcastState::Sent => "sent",
        BroadcastState::Seen => "seen",
        BroadcastState::Confirmed { .. } => "confirmed",
        BroadcastState::Conflicted { .. } => "conflicted",
        BroadcastState::Replaced { .. } => "replaced",
        BroadcastState::Expired => "expired",
        BroadcastState::Withdrawn => "withdrawn",
    }
}

/// A payment: the fields that `received` and `spent` have.
pub(crate) fn touch_object(touch: &Touch, network: Network) -> Value {
    let mut object = json!({
        "height": touch.block.height,
        "block": touch.block.hash.to_string(),
        "txid": touch.txid.to_string(),
    });
    match touch.kind {
        TouchKind::Received { output } => object["vout"] = output.into(),
        TouchKind::Spent { input, outpoint } => {
            object["vin"] = input.into();
            object["spends_txid"] = outpoint.txid.to_string().into();
            object["spends_vout"] = outpoint.vout.into();
        }
    }
    object["script"] = touch.script.to_hex_string().into();
    object["address"] = address(&touch.script, network).into();
    object["sats"] = touch.amount.map(|amount| amount.to_sat()).into();
    if let Some(Derivation { descriptor, index }) = &touch.derivation {
        object["descriptor"] = descriptor.as_str().into();
        object["index"] = (*index).into();
    }
    object
}

/// The last line of a run.
pub(crate) fn summary(summary: &Summary<'_>) -> Value {
    let touches = |touches: &mut dyn Iterator<Item = &Touch>| -> Vec<Value> {
        touches.map(|touch| touch_object(touch, summary.network)).collect()
    };
    let findings = summary.findings;
    let seconds = |time: Option<Duration>| time.map(self::seconds);
    json!({
        "event": "summary",
        "complete": summary.complete,
        "network": network_name(summary.network),
        "tip_height": summary.tip.map(|tip| tip.height),
        "tip_hash": summary.tip.map(|tip| tip.hash.to_string()),
        "heights_matched": findings.heights_matched(),
        "false_matches": findings.false_matches(),
        "payments": touches(&mut findings.received()),
        "payment_count": findings.received().len(),
        "received_sats": sats(findings.received_sats()),
        "spent": touches(&mut findings.spent()),
        "spent_count": findings.spent().len(),
        "spent_sats": sats(findings.spent_sats()),
        "bytes_received": summary.progress.bytes_received,
        "bytes_sent": summary.progress.bytes_sent,
        "seconds": {
            "headers": seconds(summary.times.headers),
            "filter_headers": seconds(summary.times.filter_headers),
            "filters": seconds(summary.times.filters),
            "blocks": seconds(summary.times.blocks),
            "total": seconds(Some(summary.times.total)),
        },
        "peak_memory_bytes": summary.peak_memory_bytes,
    })
}

/// To the millisecond.
pub(crate) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

/// Something the user should know though the run goes on.
pub(crate) fn warning(what: &str) -> Value {
    json!({"event": "warning", "what": what})
}

/// Why the run failed.
pub(crate) fn error(error: &Error) -> Value {
    json!({"event": "error", "kind": error.kind, "what": error.what, "help": error.help})
}

/// How far a command without a network is.
pub(crate) fn parts(parts: &[Part]) -> Value {
    let mut object = json!({"event": "progress"});
    for part in parts {
        let name = part.name.to_lowercase().replace(' ', "_");
        object[name] = json!({"done": part.done, "total": part.total});
    }
    object
}

fn tagged(name: &str, fields: Value) -> Value {
    let mut object = json!({"event": name});
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields) {
        object.extend(fields);
    }
    object
}

fn at(name: &str, id: &BlockId) -> Value {
    json!({"event": name, "height": id.height, "block": id.hash.to_string()})
}

/// A block: an object of height and hash.
pub(crate) fn block(id: &BlockId) -> Value {
    json!({"height": id.height, "hash": id.hash.to_string()})
}

fn kind(touch: &Touch) -> &'static str {
    match touch.kind {
        TouchKind::Received { .. } => "received",
        TouchKind::Spent { .. } => "spent",
    }
}

fn progress_object(progress: &Progress) -> Value {
    let count = |count: Count| json!({"done": count.done, "total": count.total});
    json!({
        "event": "progress",
        "headers": count(progress.headers),
        "filter_headers": count(progress.filter_headers),
        "filters": count(progress.filters),
        "blocks": count(progress.blocks),
        "bytes_received": progress.bytes_received,
        "bytes_sent": progress.bytes_sent,
        "phase": phase_name(progress.phase),
        "bytes_per_second": progress.rate,
        "seconds_left": progress.time_left.map(|left| left.as_secs()),
    })
}

fn phase_name(phase: SyncPhase) -> &'static str {
    match phase {
        SyncPhase::Connecting => "connecting",
        SyncPhase::Headers => "headers",
        SyncPhase::FilterHeaders => "filter_headers",
        SyncPhase::Filters => "filters",
        SyncPhase::Following => "following",
        SyncPhase::Paused => "paused",
        _ => "other",
    }
}

/// As an integer. More than 2^64 satoshis is more than there are; a sum over spent and spent-again coins of a whole
/// chain stays far below it too.
fn sats(sats: u128) -> u64 {
    u64::try_from(sats).unwrap_or(u64::MAX)
}
