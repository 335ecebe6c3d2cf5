//! For tests: the experiments that come with the simulator, read as far as it takes to load their models.

#![allow(clippy::unwrap_used, reason = "a test that can't read its file has failed")]

use toml::{Table, Value};

use crate::experiment::{Measure, Model};

type Load = fn(&str, Table) -> Option<Result<Box<dyn Model>, String>>;

/// The model of each cell, by the cell's name. A sweep's first combination stands for all.
pub(crate) fn models(text: &str, load: Load) -> Vec<(String, Box<dyn Model>)> {
    let mut settings: Table = text.parse().unwrap();
    let kind = settings.remove("kind").unwrap();
    let cells = settings.remove("cell");
    let mut sweep = Table::new();
    for common in
        ["schema", "name", "title", "description", "seed", "trials", "stop", "sweep", "expect", "figures"]
    {
        if let (Some(Value::Table(found)), "sweep") = (settings.remove(common), common) {
            sweep = found
                .into_iter()
                .map(|(path, values)| (path, values.as_array().unwrap()[0].clone()))
                .collect();
        }
    }
    let cells = cells.map_or_else(Vec::new, |cells| cells.as_array().unwrap().clone());
    let named = |cell: &Value| (cell["name"].as_str().unwrap().to_owned(), cell.get("set").cloned());
    let mut named: Vec<(String, Option<Value>)> = cells.iter().map(named).collect();
    if named.is_empty() {
        named.push((String::new(), None));
    }
    named
        .into_iter()
        .map(|(name, set)| {
            let mut settings = settings.clone();
            let set = set.map_or_else(Table::new, |set| set.as_table().unwrap().clone());
            for (path, value) in sweep.clone().into_iter().chain(set) {
                let mut parts: Vec<&str> = path.split('.').collect();
                let last = parts.pop().unwrap().to_owned();
                let table = parts.into_iter().fold(&mut settings, |table, part| {
                    table.entry(part).or_insert_with(|| Table::new().into()).as_table_mut().unwrap()
                });
                table.insert(last, value);
            }
            let model = load(kind.as_str().unwrap(), settings).unwrap();
            (name.clone(), model.map_err(|error| format!("{name}: {error}")).unwrap())
        })
        .collect()
}

/// The mean of a measure over so many trials.
pub(crate) fn mean(model: &dyn Model, measure: &str, trials: u64) -> f64 {
    let value = |seed| match model.trial(seed).measures[measure] {
        Measure::Happened(happened) => f64::from(u8::from(happened)),
        Measure::Count(count) => count as f64,
        Measure::Millionths(millionths) => millionths as f64 / 1e6,
    };
    (0..trials).map(value).sum::<f64>() / trials as f64
}
