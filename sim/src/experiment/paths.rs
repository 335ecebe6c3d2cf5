//! Settings by their path, as `adversary.0.groups`: keys and places in arrays, with dots between.

use toml::{Table, Value};

/// How long a path may be. No settings are as deep.
const DEEPEST: usize = 32;

/// Sets what is at `path`. A table is merged into what is there, key by key; everything else replaces it.
///
/// # Errors
/// If the path is empty in part, leads through what is no table, or to an array's item that there is not.
pub(super) fn set(settings: &mut Table, path: &str, value: &Value) -> Result<(), String> {
    let keys: Vec<&str> = path.split('.').collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(format!("`{path}` is no path: keys and places in arrays, with dots between"));
    }
    if keys.len() > DEEPEST {
        return Err(format!("a path has at most {DEEPEST} keys"));
    }
    let (first, rest) = keys.split_first().ok_or("a path has at least one key")?;
    descend(settings.entry(*first).or_insert(empty()), rest, value, first)
}

fn descend(at: &mut Value, path: &[&str], value: &Value, before: &str) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else { return merge(at, value, before) };
    let below = format!("{before}.{key}");
    match at {
        Value::Table(table) => descend(table.entry(*key).or_insert(empty()), rest, value, &below),
        Value::Array(items) => {
            let length = items.len();
            let item = key.parse().ok().and_then(|place: usize| items.get_mut(place));
            let item =
                item.ok_or_else(|| format!("`{before}` has {length} items, counted from 0, and no `{key}`"))?;
            descend(item, rest, value, &below)
        }
        _ => Err(format!("`{before}` is a value, so there is no `{below}`")),
    }
}

fn merge(at: &mut Value, value: &Value, path: &str) -> Result<(), String> {
    match value {
        // What has been made for it on the way, or was there.
        Value::Table(table) if at.is_table() || at.is_array() => {
            table.iter().try_for_each(|(key, value)| descend(at, &[key.as_str()], value, path))
        }
        _ => {
            *at = value.clone();
            Ok(())
        }
    }
}

fn empty() -> Value {
    Value::Table(Table::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(path: &str, value: &str) -> Result<String, String> {
        let mut settings: Table = toml::from_str("a = { b = 1 }\nlist = [{ c = 2 }, 3]").unwrap();
        let value: Table = toml::from_str(&format!("value = {value}")).unwrap();
        set(&mut settings, path, &value["value"]).map(|()| settings.to_string())
    }

    #[test]
    fn sets_keys_and_items() {
        for (path, value, expected) in [
            ("a.b", "2", "a = { b = 2 }\nlist = [{ c = 2 }, 3]"),
            ("a.new.deep", "'x'", "a = { b = 1, new = { deep = 'x' } }\nlist = [{ c = 2 }, 3]"),
            ("list.0.c", "5", "a = { b = 1 }\nlist = [{ c = 5 }, 3]"),
            ("list.1", "[]", "a = { b = 1 }\nlist = [{ c = 2 }, []]"),
            ("a", "{ d = 4 }", "a = { b = 1, d = 4 }\nlist = [{ c = 2 }, 3]"),
            // The path without quotes, which TOML reads as tables.
            ("list", "{ 0.c = 7 }", "a = { b = 1 }\nlist = [{ c = 7 }, 3]"),
        ] {
            let expected: Table = toml::from_str(expected).unwrap();
            assert_eq!(after(path, value).unwrap().parse::<Table>().unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn refuses_paths_that_lead_nowhere() {
        for (path, expected) in [
            ("", "`` is no path"),
            ("a..b", "`a..b` is no path"),
            (&"a.".repeat(200_000), "is no path"),
            (&"a.".repeat(200_000)[..399_999], "at most 32 keys"),
            ("a.b.c", "`a.b` is a value, so there is no `a.b.c`"),
            ("list.2.c", "`list` has 2 items, counted from 0, and no `2`"),
            ("list.first", "`list` has 2 items, counted from 0, and no `first`"),
        ] {
            let message = after(path, "1").unwrap_err();
            assert!(message.contains(expected), "{path}: {message}");
        }
    }
}
