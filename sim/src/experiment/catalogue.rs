//! The experiments that come with the simulator, by name.

/// An experiment's name, and its file.
pub type Shipped = (&'static str, &'static str);

macro_rules! shipped {
    ($name:literal) => {
        ($name, include_str!(concat!("../../experiments/", $name, ".toml")))
    };
}

/// All of them, each under the name that it has in its file.
pub const ALL: &[Shipped] = &[
    shipped!("coins"),
    shipped!("e1-figure-2"),
    shipped!("e1-selection"),
    shipped!("e10-disputes"),
    shipped!("e10-liars"),
    shipped!("e10-stale-tip"),
    shipped!("e11-churn"),
    shipped!("e11-seeds"),
    shipped!("e2-fill"),
    shipped!("e3-table-2-model"),
    shipped!("e3-table-2"),
    shipped!("e4-countermeasures-core"),
    shipped!("e4-countermeasures"),
    shipped!("e5-test-before-evict"),
    shipped!("e6-erebus-fill"),
    shipped!("e6-erebus-trickle"),
    shipped!("e7-ablation"),
    shipped!("e8-sybil-homogeneous"),
    shipped!("e8-sybil-real"),
    shipped!("e9-book-cells"),
    shipped!("e9-book-share"),
];

/// The file of the experiment of this name.
pub fn find(name: &str) -> Option<&'static str> {
    ALL.iter().find(|(own, _)| *own == name).map(|(_, text)| *text)
}

#[cfg(test)]
mod tests {
    use super::super::{Kinds, file};
    use super::*;

    #[test]
    fn all_are_sound_and_called_as_they_are_listed() {
        for (name, text) in ALL {
            let overrides = file::Overrides::default();
            let runnable = file::parse(name.as_ref(), text, &Kinds::default(), overrides);
            match runnable {
                // Real data lies beside the project, if it is there at all.
                Err(error) if error.to_string().contains("skipped: no chain data") => println!("{error}"),
                runnable => {
                    assert_eq!(runnable.map(|runnable| runnable.experiment.name).unwrap(), *name)
                }
            }
            assert_eq!(find(name), Some(*text));
        }
        assert_eq!(find("none"), None);
    }
}
