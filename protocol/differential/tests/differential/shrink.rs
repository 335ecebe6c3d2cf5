//! Makes a case smaller for as long as it shows the same difference.

use crate::case::{Case, FIRST_BLOCK, Message, Parent, REGTEST_BITS};
use crate::compare::Kind;

/// The smallest case of the same kind that leaving out and evening out leads to. `differs` tries one.
pub(crate) fn shrink(case: Case, kind: Kind, mut differs: impl FnMut(&Case) -> Option<Kind>) -> Case {
    let mut smallest = case;
    let mut try_instead = |smallest: &mut Case, candidate: Case| {
        let smaller = candidate != *smallest && differs(&candidate) == Some(kind);
        if smaller {
            *smallest = candidate;
        }
        smaller
    };
    loop {
        let mut changed = false;
        // Ever smaller runs of messages, then of headers, from the end on.
        let mut size = smallest.messages.len().max(1);
        while size > 0 {
            let mut end = smallest.messages.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut candidate = smallest.clone();
                candidate.messages.drain(start..end);
                changed |= try_instead(&mut smallest, candidate);
                end = start.min(smallest.messages.len());
            }
            size /= 2;
        }
        let mut size = smallest.nodes.len();
        while size > 0 {
            let mut end = smallest.nodes.len();
            while end > FIRST_BLOCK + 1 {
                let start = end.saturating_sub(size).max(FIRST_BLOCK + 1);
                let candidate = (start..end).rev().fold(smallest.clone(), without);
                changed |= try_instead(&mut smallest, candidate);
                end = start.min(smallest.nodes.len());
            }
            size /= 2;
        }
        for place in (0..smallest.messages.len()).rev() {
            for header in (0..smallest.messages[place].nodes.len()).rev() {
                // Only from the ends: the rest must follow each other.
                let length = smallest.messages[place].nodes.len();
                if header < length && (header == 0 || header + 1 == length) {
                    let mut candidate = smallest.clone();
                    candidate.messages[place].nodes.remove(header);
                    candidate.messages.retain(|message| !message.nodes.is_empty());
                    changed |= try_instead(&mut smallest, candidate);
                    if place >= smallest.messages.len() {
                        break;
                    }
                }
            }
        }
        for node in FIRST_BLOCK + 1..smallest.nodes.len() {
            let plain: [fn(&mut Case, usize); 3] = [
                |case, node| case.nodes[node].version = 4,
                |case, node| case.nodes[node].bits = REGTEST_BITS,
                |case, node| case.nodes[node].mined = true,
            ];
            for make_plain in plain {
                let mut candidate = smallest.clone();
                make_plain(&mut candidate, node);
                changed |= try_instead(&mut smallest, candidate);
            }
        }
        if !changed {
            return smallest;
        }
    }
}

/// The case without a header: what follows from it follows from its parent instead.
fn without(mut case: Case, gone: usize) -> Case {
    let parent = case.nodes.remove(gone).parent;
    let moved = |node: usize| if node > gone { node - 1 } else { node };
    for node in &mut case.nodes[FIRST_BLOCK + 1..] {
        match node.parent {
            Parent::Node(of) if of == gone => node.parent = parent,
            Parent::Node(of) => node.parent = Parent::Node(moved(of)),
            Parent::Unknown(_) => {}
        }
    }
    case.messages = case
        .messages
        .into_iter()
        .map(|message| {
            let nodes = message.nodes.into_iter().filter(|&node| node != gone).map(moved).collect();
            Message { nodes, ..message }
        })
        .filter(|message| !message.nodes.is_empty())
        .collect();
    case
}
