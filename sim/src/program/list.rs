//! `andon-sim list`.

use super::{Ending, print};
use crate::experiment::file::{self, Overrides};
use crate::experiment::{Error, Kinds, catalogue};
use crate::nearest::{hint, short};
use crate::policy::catalogue as policies;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Print the file of this experiment, to begin one's own with
    #[arg(value_name = "NAME")]
    experiment: Option<String>,
}

pub(super) fn run(arguments: &Arguments, kinds: &Kinds) -> Result<Ending, Error> {
    if let Some(name) = &arguments.experiment {
        let text = catalogue::find(name).ok_or_else(|| {
            let names: Vec<_> = catalogue::ALL.iter().map(|(name, _)| *name).collect();
            let hint = hint(name, names.iter().copied());
            Error::Usage(format!(
                "no experiment `{}` comes with the program, but {}{hint}",
                short(name),
                names.join(", ")
            ))
        })?;
        return print::text(text).map(|()| Ending::Fine);
    }
    let experiments = catalogue::ALL.iter().map(|(name, text)| {
        let experiment = match file::parse(name.as_ref(), text, kinds, Overrides::default()) {
            Ok(runnable) => runnable.experiment,
            // It is there all the same.
            Err(error) if error.to_string().contains("no chain data") => {
                return Ok((
                    *name,
                    "(needs real data, in the folder that ANDON_CHAIN_DATA names)".to_owned(),
                ));
            }
            Err(error) => return Err(error),
        };
        let (cells, trials) = (experiment.cells.len(), experiment.trials);
        Ok((*name, format!("{} ({cells} cells of {trials} trials)", experiment.title)))
    });
    let experiments = experiments.collect::<Result<Vec<_>, Error>>()?;
    let mut text = "Kinds of models:\n".to_owned();
    kinds.names().for_each(|(name, about)| text.push_str(&format!("  {name:<24}{about}\n")));
    text.push_str("\nExperiments, for `andon-sim run NAME`:\n");
    experiments.iter().for_each(|(name, about)| text.push_str(&format!("  {name:<24}{about}\n")));
    text.push_str("\nPolicies, for `policy = \"NAME\"` and, of light clients, `book = \"NAME\"`:\n");
    policies::ALL
        .iter()
        .for_each(|policy| text.push_str(&format!("  {:<24}{}\n", policy.name, policy.about)));
    for (names, flags) in policies::flags() {
        text.push_str(&format!("\nFlags of {}, for `flags = {{ FLAG = VALUE }}`:\n", names.join(", ")));
        flags.iter().for_each(|(flag, about)| text.push_str(&format!("  {flag:<32}{about}\n")));
    }
    print::text(&text)?;
    Ok(Ending::Fine)
}
