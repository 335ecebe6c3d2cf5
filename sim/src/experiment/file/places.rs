//! Where in a file something stands, so that an error can say it.

use std::collections::BTreeMap;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::super::Error;

/// Where each key and each item of an array begins, by its path.
pub(super) struct Places<'a> {
    path: &'a Path,
    text: &'a str,
    /// By bytes from the start.
    begins: BTreeMap<String, usize>,
}

impl<'a> Places<'a> {
    pub(super) fn new(path: &'a Path, text: &'a str) -> Result<Self, Error> {
        let mut places = Self { path, text, begins: BTreeMap::new() };
        let table = DeTable::parse(text).map_err(|error| places.broken(&error))?;
        places.note_table("", table.get_ref());
        Ok(places)
    }

    fn note_table(&mut self, at: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            self.note(&join(at, key.get_ref()), key.span().start, value);
        }
    }

    fn note(&mut self, path: &str, begin: usize, value: &Spanned<DeValue<'_>>) {
        self.begins.insert(path.to_owned(), begin);
        match value.get_ref() {
            DeValue::Table(table) => self.note_table(path, table),
            DeValue::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.note(&join(path, &index.to_string()), item.span().start, item);
                }
            }
            _ => {}
        }
    }

    /// It is no TOML.
    pub(super) fn broken(&self, error: &toml::de::Error) -> Error {
        self.at(error.span().map(|span| span.start), error.message().to_owned())
    }

    /// What stands at `path` is wrong.
    pub(super) fn wrong(&self, path: &str, message: String) -> Error {
        self.at(self.nearest(path), message)
    }

    /// A value that was at `path` is not of the type it should be.
    pub(super) fn of_value(&self, path: &str, error: &toml::de::Error) -> Error {
        let (message, inside) = split(&error.to_string());
        let mut place = inside.map_or(path.to_owned(), |inside| join(path, &inside));
        if let Some(field) = unknown(&message) {
            // The key is known to be somewhere below; where the error doesn't say, the first of that name is it.
            let below = join(&place, field);
            place = if self.begins.contains_key(&below) {
                below
            } else {
                self.first(path, field).unwrap_or(place)
            };
        }
        self.wrong(&place, message)
    }

    /// A model did not take its settings, which are those of the file with what the cell sets: the `given`-th of those in the file, if it is one.
    pub(super) fn of_model(&self, cell: &str, given: Option<usize>, message: &str) -> Error {
        let (message, inside) = split(message);
        let inside = inside.unwrap_or_default();
        // The key that it complains of: serde's, or the first in quotes.
        let field = unknown(&message).or_else(|| message.split('`').nth(1)).unwrap_or_default();
        let own = given.and_then(|given| self.first(&format!("cell.{given}.set"), field));
        let exact =
            || [join(&inside, field), inside.clone()].into_iter().find(|path| self.begins.contains_key(path));
        let place =
            own.or_else(|| self.first("sweep", field)).or_else(exact).or_else(|| self.first("", field));
        let begin = place.and_then(|place| self.nearest(&place));
        self.at(begin, format!("in cell `{cell}`: {message}"))
    }

    /// The first path below `below` with this key in it.
    fn first(&self, below: &str, key: &str) -> Option<String> {
        let under = |path: &str| below.is_empty() || path.starts_with(&format!("{below}."));
        let found =
            self.begins.iter().filter(|(path, _)| under(path) && path.split('.').any(|part| part == key));
        found.min_by_key(|&(_, &begin)| begin).map(|(path, _)| path.clone())
    }

    /// Where the path begins, or what is nearest above it.
    fn nearest(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(&begin) = self.begins.get(path) {
                return Some(begin);
            }
            path = path.rsplit_once('.')?.0;
        }
    }

    fn at(&self, begin: Option<usize>, message: String) -> Error {
        let place = begin.and_then(|begin| self.text.get(..begin)).map(|before| {
            let line = before.rsplit('\n').next().unwrap_or_default();
            (before.matches('\n').count() + 1, line.chars().count() + 1)
        });
        Error::File { path: self.path.to_owned(), place, message: shortened(message) }
    }
}

/// What has room on a screen: a message may repeat a value that is as long as the file.
fn shortened(message: String) -> String {
    const LONGEST: usize = 1500;
    if message.chars().count() <= LONGEST {
        return message;
    }
    let (begin, end) = (message.chars().take(LONGEST / 2), message.chars().rev().take(LONGEST / 2));
    begin.chain([' ', '…', ' ']).chain(end.collect::<Vec<_>>().into_iter().rev()).collect()
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// What `toml` says of a value, and in which key.
fn split(error: &str) -> (String, Option<String>) {
    let error = error.trim_end();
    let Some((message, last)) = error.rsplit_once('\n') else { return (error.to_owned(), None) };
    match last.strip_prefix("in `").and_then(|last| last.strip_suffix('`')) {
        Some(path) => (format!("`{path}`: {message}"), Some(path.to_owned())),
        None => (error.to_owned(), None),
    }
}

/// The field that serde says is not known.
fn unknown(message: &str) -> Option<&str> {
    message.split_once("unknown field `")?.1.split_once('`').map(|(field, _)| field)
}
