//! What somebody may have meant who wrote a name that there is not.

/// Names that are longer are compared with none, and not repeated as a whole.
const LONGEST: usize = 64;
/// So many names are offered at most.
const MOST: usize = 3;

/// `: did you mean …?` with those of the known names that are written most alike; empty if none is alike.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    if name.is_empty() || name.len() > LONGEST {
        return String::new();
    }
    let mut alike: Vec<(usize, &str)> =
        known.into_iter().filter_map(|known| Some((distance(name, known)?, known))).collect();
    alike.sort_unstable();
    alike.dedup();
    // What is as near as twice the nearest, and no more.
    let Some(&(nearest, _)) = alike.first() else { return String::new() };
    let names: Vec<String> = alike
        .iter()
        .take_while(|(far, _)| *far <= nearest * 2 + 1)
        .take(MOST)
        .map(|(_, name)| format!("`{name}`"))
        .collect();
    format!(": did you mean {}?", names.join(" or "))
}

/// A name as an error repeats it: what is as long as a file is cut off.
pub(crate) fn short(name: &str) -> String {
    if name.len() <= LONGEST {
        return name.to_owned();
    }
    name.chars().take(LONGEST / 2).chain(['…']).collect()
}

/// How unlike two names are; `None` if nobody means one who writes the other.
fn distance(name: &str, known: &str) -> Option<usize> {
    // Who begins a name, or knows a part of it, means all that go on so.
    if name.len() > 1 && known.starts_with(name) {
        return Some(0);
    }
    if name.len() > 2 && known.contains(name) {
        return Some(1);
    }
    let edits = edits(name.as_bytes(), known.as_bytes());
    (edits <= known.len().div_ceil(3)).then_some(edits)
}

/// How many bytes are put in, left out or changed to make one of the other (Levenshtein).
fn edits(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.iter().enumerate() {
        let mut diagonal = at;
        row[0] = at + 1;
        for (place, wanted) in other.iter().enumerate() {
            let changed = diagonal + usize::from(!byte.eq_ignore_ascii_case(wanted));
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offers_what_is_alike_and_nothing_else() {
        let known = ["core-0.9.3", "core-0.10.1", "core-28", "kyoto-0.1", "kyoto-0.2", "btcd", "own"];
        for (name, expected) in [
            ("core-0.93", ": did you mean `core-0.9.3`?"),
            ("core-29", ": did you mean `core-28`?"),
            ("core", ": did you mean `core-0.10.1` or `core-0.9.3` or `core-28`?"),
            ("kyoto", ": did you mean `kyoto-0.1` or `kyoto-0.2`?"),
            ("Kyoto-0.2", ": did you mean `kyoto-0.2` or `kyoto-0.1`?"),
            ("btc", ": did you mean `btcd`?"),
            ("btdc", ": did you mean `btcd`?"),
            ("nakamoto", ""),
            ("", ""),
            ("ownn", ": did you mean `own`?"),
        ] {
            assert_eq!(hint(name, known), expected, "{name}");
        }
        assert_eq!(hint(&"core-28".repeat(100_000), known), "");
        assert_eq!(hint("é", ["e"]), "");
    }
}
