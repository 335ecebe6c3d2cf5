//! Which policies there are, and what experiments can change of each.

/// A flag's name, with what it changes in a line.
pub type Flag = (&'static str, &'static str);

/// A policy that experiments can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
    /// What experiments can change of it.
    pub flags: &'static [Flag],
}

/// All of them.
pub const ALL: &[Known] = &[
    known("core-0.9.3", "Bitcoin Core 0.9.3, but for the eviction, which is as it was meant", CORE),
    known("core-0.10.1", "Bitcoin Core 0.10.1: countermeasures 1, 2 and 6 of Heilman et al.", CORE),
    known("core-28", "Bitcoin Core 28", CORE),
    known("own", "Andon's own client", &[]),
    known("kyoto-0.1", "Kyoto, with its address book of version 0.1", KYOTO),
    known("kyoto-0.2", "Kyoto, with its address book of version 0.2", KYOTO),
    known("btcd", "Neutrino, with btcd's address book", &[]),
    known("nakamoto", "Nakamoto", &[]),
];

const fn known(name: &'static str, about: &'static str, flags: &'static [Flag]) -> Known {
    Known { name, about, flags }
}

/// Those of Bitcoin Core's releases.
const CORE: &[Flag] = &[
    ("eviction", "\"oldest_of_4\", \"as_coded_0.9\", \"random\" or \"deterministic\" (countermeasure 1)"),
    ("selection", "\"fresh\", \"fresh_entries\" or \"random\" (countermeasure 2)"),
    ("test_before_evict", "whether a tried node is tested before it gives way (countermeasure 3)"),
    ("feelers", "whether there are connections that only test (countermeasure 4)"),
    ("anchors", "connections that are remembered over a restart, up to 125 (countermeasure 5)"),
    ("tried_buckets", "buckets of the tried, up to 1024 (countermeasure 6)"),
    ("tried_buckets_per_group", "over how many of them one group is spread"),
    ("new_buckets", "buckets of the new, up to 1024 (countermeasure 6)"),
    ("new_buckets_per_source_group", "over how many of them one group of sources is spread"),
    ("outgoing", "connections for everything, 1 to 125 (countermeasure 7)"),
    ("block_relay", "connections for blocks alone, up to 125"),
    ("address_limit", "whether a peer may tell a tenth of an address a second unasked (countermeasure 8)"),
    ("inbound_enters_tried", "whether who connects, and says that he listens, counts as reached"),
    ("distinct_groups", "whether no two connections go to the same group"),
    ("new_table", "\"sets\", buckets of any 64, or \"cells\", a place for each address"),
    ("max_references", "places of one address among the new, 1 to 8"),
    ("as_map", "the path of a map of autonomous systems, by which nodes are then grouped"),
];

const KYOTO: &[Flag] = &[("outgoing", "connections, 1 to 15")];

/// The flags, each set with the names of those policies that have it.
pub fn flags() -> Vec<(Vec<&'static str>, &'static [Flag])> {
    let mut sets: Vec<(Vec<&str>, &[Flag])> = Vec::new();
    for policy in ALL.iter().filter(|policy| !policy.flags.is_empty()) {
        match sets.iter_mut().find(|(_, flags)| *flags == policy.flags) {
            Some((names, _)) => names.push(policy.name),
            None => sets.push((vec![policy.name], policy.flags)),
        }
    }
    sets
}

/// Whether a policy has all of these flags.
///
/// # Errors
/// Which it has not.
pub(super) fn check(name: &str, flags: &toml::Table) -> Result<(), String> {
    let Some(policy) = ALL.iter().find(|policy| policy.name == name) else { return Ok(()) };
    let known = || policy.flags.iter().map(|(flag, _)| *flag);
    match flags.keys().find(|flag| known().all(|known| known != **flag)) {
        None => Ok(()),
        Some(flag) if policy.flags.is_empty() => {
            Err(format!("`{name}` has no flags, and so no `{}`", crate::nearest::short(flag)))
        }
        Some(flag) => {
            let names: Vec<_> = known().collect();
            let hint = crate::nearest::hint(flag, known());
            let flag = crate::nearest::short(flag);
            Err(format!("`{name}` has no flag `{flag}`, but {}{hint}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "what fails fails the test")]

    use super::*;
    use crate::policy::load;

    /// What is listed is there, and what is there is listed: an unknown flag's error names those that are read.
    #[test]
    fn what_is_listed_is_what_there_is() {
        for policy in ALL {
            load(policy.name, toml::Table::new()).map(drop).unwrap();
            let error = load(policy.name, "colour = 1".parse().unwrap()).err().unwrap();
            assert!(error.contains("`colour`"), "{error}");
            for (flag, _) in policy.flags {
                // Of a type that none has: the flag is known, and its value is not.
                let error = load(policy.name, format!("{flag} = 1979-05-27").parse().unwrap()).err().unwrap();
                assert!(!error.contains("no flag"), "{}: {error}", policy.name);
            }
        }
        let read = "no_flag = 1".parse::<toml::Table>().unwrap().try_into::<crate::policy::core::Flags>();
        let error = read.unwrap_err().to_string();
        let fields: Vec<_> = error.split('`').skip(3).step_by(2).collect();
        let mut listed: Vec<_> =
            CORE.iter().map(|(flag, _)| *flag).filter(|flag| *flag != "as_map").collect();
        let mut read: Vec<_> = fields;
        listed.sort_unstable();
        read.sort_unstable();
        assert_eq!(listed, read);
        assert_eq!(flags().len(), 2);
    }

    #[test]
    fn what_there_is_not_is_an_error_with_what_is_nearest() {
        for (name, flags, expected) in [
            ("core-29", "", "there is no policy `core-29`, but core-0.9.3, "),
            ("core-29", "", "nakamoto: did you mean `core-28`?"),
            ("core-28", "feeler = true", "no flag `feeler`, but "),
            ("core-28", "feeler = true", "as_map: did you mean `feelers`?"),
            ("own", "feelers = true", "`own` has no flags, and so no `feelers`"),
            ("kyoto-0.1", "outgoings = 1", "did you mean `outgoing`?"),
            ("kyoto-0.1", "outgoing = 16", "`outgoing` is 1 to 15"),
        ] {
            let error = load(name, flags.parse().unwrap()).err().unwrap();
            assert!(error.contains(expected), "{error}");
        }
        let long = format!("'{}' = 1", "x".repeat(1 << 20));
        assert!(load("core-28", long.parse().unwrap()).err().unwrap().len() < 1000);
    }
}
