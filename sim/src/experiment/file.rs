//! Experiment files, in TOML.
//!
//! ```toml
//! schema = 1
//! name = "heads"                    # also the name of the folder of its results: a-z, 0-9 and hyphens
//! title = "All coins show heads"    # optional, as the description
//! kind = "coins"                    # `andon-sim list` tells which there are
//! seed = 1
//! trials = 10000                    # of each cell
//! stop = { metric = "all", half_width = 0.01 }    # optional: a cell has enough once its interval is as narrow
//!
//! chance = 0.5                      # every other key is the model's
//!
//! [sweep]                           # optional: a cell for each combination
//! "coins" = [4, 8, 12]              # paths are keys and places in arrays: "adversary.0.groups"
//!
//! [[cell]]                          # optional: cells by name. With a sweep: each of them for each combination
//! name = "fair"
//! set = { "chance" = 0.5 }
//! expect = { share = { value = 0.5, standard_errors = 3, source = "by definition" } }
//!
//! [expect]                          # of every cell, unless it expects something else of the same measure
//! heads = { at_least = 0, source = "they are counted" }
//!
//! [figures]                         # optional
//! x = "coins"
//! measures = ["all"]
//! ```
//!
//! A key that nobody knows is an error, wherever it stands. What can be expected says [`Expectation`].

mod places;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use self::places::Places;
use super::expectation::Expectation;
use super::plan::is_name;
use super::{Cell, Error, Experiment, Figures, Kinds, Runnable, Stop, paths};

/// How large a file may be, in bytes.
const LARGEST: usize = 1 << 20;
/// How many cells an experiment may have.
const MOST_CELLS: usize = 10_000;
/// How many values the settings of all cells may have together: each cell has its own copy of what they have in common.
const MOST_VALUES: usize = 4_000_000;
/// The keys that are every experiment's.
const COMMON: [&str; 12] = [
    "schema",
    "name",
    "title",
    "description",
    "kind",
    "seed",
    "trials",
    "stop",
    "figures",
    "sweep",
    "cell",
    "expect",
];

/// What is said elsewhere than in the file, and counts.
#[derive(Clone, Copy, Debug, Default)]
pub struct Overrides {
    /// The seed.
    pub seed: Option<u64>,
    /// How many trials each cell has.
    pub trials: Option<u64>,
}

/// A cell as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CellText {
    name: String,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    expect: BTreeMap<String, Expectation>,
}

/// Reads an experiment's file, and loads its models.
///
/// # Errors
/// If it can't be read, or anything in it is not as it should be.
pub fn read(path: &Path, kinds: &Kinds, overrides: Overrides) -> Result<Runnable, Error> {
    let text = std::fs::read_to_string(path).map_err(Error::storage(path))?;
    parse(path, &text, kinds, overrides)
}

/// As [`read`], of a text; the path is for errors.
///
/// # Errors
/// If anything in it is not as it should be.
pub fn parse(path: &Path, text: &str, kinds: &Kinds, overrides: Overrides) -> Result<Runnable, Error> {
    Reader::new(path, text)?.experiment(kinds, overrides)
}

struct Reader<'a> {
    places: Places<'a>,
    /// What has not been read yet.
    rest: Table,
}

impl<'a> Reader<'a> {
    fn new(path: &'a Path, text: &'a str) -> Result<Self, Error> {
        if text.len() > LARGEST {
            let message = format!("it has {} bytes, and an experiment at most {LARGEST}", text.len());
            return Err(Error::File { path: path.to_owned(), place: None, message });
        }
        let places = Places::new(path, text)?;
        let rest = toml::from_str(text).map_err(|error| places.broken(&error))?;
        Ok(Self { places, rest })
    }

    fn experiment(mut self, kinds: &Kinds, overrides: Overrides) -> Result<Runnable, Error> {
        let schema: u32 = self.need("schema", "the version of the format, `schema = 1`")?;
        self.check("schema", schema == 1, || format!("this program reads schema 1, not {schema}"))?;
        let name: String = self.need("name", "what it is called, `name = \"…\"`")?;
        self.check("name", is_name(&name), || {
            "a name has 1 to 64 of a-z, 0-9 and hyphens, and doesn't begin with a hyphen".to_owned()
        })?;
        let title: String = self.take("title")?.unwrap_or_else(|| name.clone());
        self.check("title", is_line(&title), || "a title is a line".to_owned())?;
        let description: String = self.take("description")?.unwrap_or_default();
        let printable = !description.contains(|c: char| c.is_control() && c != '\n');
        self.check("description", printable, || "a description is text".to_owned())?;
        let kind: String =
            self.need("kind", "what the models are of, `kind = \"…\"`: see `andon-sim list`")?;
        let seed: u64 = self.need("seed", "where randomness begins, `seed = 1`")?;
        let trials: u64 = self.need("trials", "how many trials each cell has, `trials = 1000`")?;
        let trials = overrides.trials.unwrap_or(trials);
        self.check("trials", (1..=Experiment::MOST_TRIALS).contains(&trials), || {
            format!("a cell has 1 to {} trials", Experiment::MOST_TRIALS)
        })?;
        let stop: Option<Stop> = self.take("stop")?;
        let narrow = stop.as_ref().is_none_or(|stop| stop.half_width.is_finite() && stop.half_width > 0.0);
        self.check("stop.half_width", narrow, || "`half_width` is more than 0".to_owned())?;
        let figures: Figures = self.take("figures")?.unwrap_or_default();
        let sweep = self.sweep()?;
        let swept = figures.x.as_ref().is_none_or(|path| sweep.contains_key(path));
        self.check("figures.x", swept, || "`x` is a path that is swept".to_owned())?;
        let expect = self.expect()?;
        let given = self.cells()?;
        let (cells, tables) = self.expand(&sweep, &given, &expect)?;
        let each = cells.len() / given.len().max(1);
        let load = |(index, table): (usize, Table)| {
            let given = (!given.is_empty()).then_some(index / each);
            let wrong = |message: String| self.places.of_model(&cells[index].name, given, &message);
            kinds.load(&kind, table).map_err(wrong)
        };
        let models = tables.into_iter().enumerate().map(load).collect::<Result<_, _>>()?;
        let json = |values: &[Value]| {
            values.iter().map(|value| self.json("sweep", value)).collect::<Result<Vec<_>, _>>()
        };
        let sweep = sweep.iter().map(|(path, values)| Ok((path.clone(), json(values)?)));
        let sweep = sweep.collect::<Result<_, Error>>()?;
        let seed = overrides.seed.unwrap_or(seed);
        let experiment =
            Experiment { schema, name, title, description, kind, seed, trials, stop, figures, sweep, cells };
        Ok(Runnable { experiment, models })
    }

    /// A cell for each combination of what is given and swept, with the settings for its model.
    fn expand(
        &self,
        sweep: &BTreeMap<String, Vec<Value>>,
        given: &[CellText],
        expect: &BTreeMap<String, Expectation>,
    ) -> Result<(Vec<Cell>, Vec<Table>), Error> {
        let count = sweep
            .values()
            .try_fold(given.len().max(1), |count, values| count.checked_mul(values.len()))
            .filter(|&count| count <= MOST_CELLS);
        let Some(count) = count else {
            return Err(self.places.wrong("sweep", format!("that makes more than {MOST_CELLS} cells")));
        };
        let combinations = count / given.len().max(1);
        let every = values(self.rest.values()) + expect.len();
        let sets = given.iter().map(|given| values(given.set.values()) + given.expect.len()).sum::<usize>();
        let all = every.saturating_mul(count).saturating_add(sets.saturating_mul(combinations));
        self.check("", all <= MOST_VALUES, || {
            format!(
                "that makes {count} cells with {all} settings together, and there are at most {MOST_VALUES}"
            )
        })?;
        let (mut cells, mut tables, mut names) = (vec![], vec![], BTreeSet::new());
        for index in 0..count {
            // The last path that is swept changes fastest, and the cells that are given slowest.
            let (mut left, mut at) = (index, BTreeMap::new());
            for (path, values) in sweep.iter().rev() {
                at.insert(path.as_str(), &values[left % values.len()]);
                left /= values.len();
            }
            let (cell, table) = self.cell(left, given.get(left), &at, expect)?;
            if !names.insert(cell.name.clone()) {
                return Err(self.places.wrong("cell", format!("two cells are called `{}`", cell.name)));
            }
            cells.push(cell);
            tables.push(table);
        }
        Ok((cells, tables))
    }

    fn cell(
        &self,
        index: usize,
        given: Option<&CellText>,
        at: &BTreeMap<&str, &Value>,
        expect: &BTreeMap<String, Expectation>,
    ) -> Result<(Cell, Table), Error> {
        let mut table = self.rest.clone();
        if let Some(given) = given {
            let place = format!("cell.{index}.set");
            for (path, value) in &given.set {
                self.set(&mut table, &place, path, value)?;
                let both = at.contains_key(path.as_str());
                self.check(&format!("{place}.{path}"), !both, || format!("`{path}` is swept as well"))?;
            }
        }
        for (path, value) in at {
            self.set(&mut table, "sweep", path, value)?;
        }
        let swept = at.iter().map(|(path, value)| format!("{path}={}", label(value)));
        let name =
            given.map(|given| given.name.clone()).into_iter().chain(swept).collect::<Vec<_>>().join(", ");
        let settings = self.json("", &Value::Table(table.clone()))?;
        let at = at.iter().map(|(path, value)| Ok(((*path).to_owned(), self.json("sweep", value)?)));
        let mut expect = expect.clone();
        expect.extend(given.map(|given| given.expect.clone()).unwrap_or_default());
        let cell = Cell {
            name: if name.is_empty() { "all".to_owned() } else { name },
            given: given.map(|given| given.name.clone()),
            at: at.collect::<Result<_, Error>>()?,
            settings,
            expect,
        };
        Ok((cell, table))
    }

    fn set(&self, table: &mut Table, place: &str, path: &str, value: &Value) -> Result<(), Error> {
        let place = format!("{place}.{path}");
        let first = path.split('.').next().unwrap_or_default();
        let own = !COMMON.contains(&first);
        self.check(&place, own, || format!("`{first}` is the experiment's: only the model's settings vary"))?;
        paths::set(table, path, value).map_err(|message| self.places.wrong(&place, message))
    }

    fn sweep(&mut self) -> Result<BTreeMap<String, Vec<Value>>, Error> {
        let sweep: BTreeMap<String, Vec<Value>> = self.take("sweep")?.unwrap_or_default();
        for (path, values) in &sweep {
            let place = format!("sweep.{path}");
            self.check(&place, is_line(path), || "a path is a line".to_owned())?;
            self.check(&place, !values.is_empty(), || format!("`{path}` is swept over no value"))?;
            let labels: BTreeSet<_> = values.iter().map(label).collect();
            self.check(&place, labels.len() == values.len(), || format!("`{path}` has a value twice"))?;
            self.check(&place, labels.iter().all(|label| is_line(label)), || "a value is a line".to_owned())?;
        }
        Ok(sweep)
    }

    fn expect(&mut self) -> Result<BTreeMap<String, Expectation>, Error> {
        let expect: BTreeMap<String, Expectation> = self.take("expect")?.unwrap_or_default();
        self.check_expectations("expect", &expect)?;
        Ok(expect)
    }

    fn cells(&mut self) -> Result<Vec<CellText>, Error> {
        let values: Vec<Value> = self.take("cell")?.unwrap_or_default();
        let cell = |(index, value): (usize, Value)| {
            let wrong = |error| self.places.of_value(&format!("cell.{index}"), &error);
            value.try_into().map_err(wrong)
        };
        let cells: Vec<CellText> = values.into_iter().enumerate().map(cell).collect::<Result<_, _>>()?;
        for (index, cell) in cells.iter().enumerate() {
            let fine = is_line(&cell.name) && cell.name.chars().count() <= 200;
            self.check(&format!("cell.{index}.name"), fine, || "a cell's name is a short line".to_owned())?;
            self.check_expectations(&format!("cell.{index}.expect"), &cell.expect)?;
        }
        Ok(cells)
    }

    fn check_expectations(&self, place: &str, all: &BTreeMap<String, Expectation>) -> Result<(), Error> {
        all.iter().try_for_each(|(measure, expectation)| {
            let place = format!("{place}.{measure}");
            expectation
                .check()
                .map_err(|message| self.places.wrong(&place, format!("`{measure}`: {message}")))
        })
    }

    fn need<T: DeserializeOwned>(&mut self, key: &str, what: &str) -> Result<T, Error> {
        self.take(key)?.ok_or_else(|| self.places.wrong("", format!("there is no `{key}`: {what}")))
    }

    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, Error> {
        let Some(value) = self.rest.remove(key) else { return Ok(None) };
        value.try_into().map(Some).map_err(|error| self.places.of_value(key, &error))
    }

    fn check(&self, place: &str, holds: bool, message: impl FnOnce() -> String) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(self.places.wrong(place, message())) }
    }

    /// A value as it is written out; keys in order, whatever the maps of either crate keep.
    fn json(&self, place: &str, value: &Value) -> Result<serde_json::Value, Error> {
        let below = |key: &str| if place.is_empty() { key.to_owned() } else { format!("{place}.{key}") };
        Ok(match value {
            Value::String(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) if number.is_finite() => (*number).into(),
            Value::Boolean(whether) => (*whether).into(),
            Value::Array(items) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.json(&below(&index.to_string()), item))
                .collect::<Result<_, _>>()?,
            Value::Table(table) => {
                let sorted: BTreeMap<_, _> = table.iter().collect();
                let entries =
                    sorted.into_iter().map(|(key, value)| Ok((key.clone(), self.json(&below(key), value)?)));
                serde_json::Value::Object(entries.collect::<Result<_, Error>>()?)
            }
            Value::Float(_) => return Err(self.places.wrong(place, "numbers are finite".to_owned())),
            Value::Datetime(_) => {
                return Err(self.places.wrong(place, "dates are written as strings".to_owned()));
            }
        })
    }
}

/// How many values there are, with all that are in others; a long text counts as many.
fn values<'a>(all: impl Iterator<Item = &'a Value>) -> usize {
    let count = |value: &'a Value| match value {
        Value::Array(items) => values(items.iter()),
        Value::Table(table) => values(table.values()),
        Value::String(text) => text.len() / 64,
        _ => 0,
    };
    all.map(|value| 1 + count(value)).sum()
}

fn label(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn is_line(text: &str) -> bool {
    !text.is_empty() && !text.contains(char::is_control)
}

#[cfg(test)]
mod tests;
