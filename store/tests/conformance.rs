//! What every store must do, run over the kernel's store in memory and over SQLite.

mod common;

use std::ops::Bound::{Excluded, Included, Unbounded};

use andon_kernel::{PAGE_BYTES, Space, Store};
use common::{Client, Done, OTHER, Query, Row, SPACE, rows};

macro_rules! suite {
    ($($test:ident)*) => {
        mod memory {
            $(#[test] fn $test() { super::$test(&mut super::common::memory()); })*
        }
        mod sqlite {
            $(#[test] fn $test() {
                let directory = tempfile::tempdir().unwrap();
                super::$test(&mut super::common::sqlite(directory.path()));
            })*
        }
    };
}

suite! {
    a_fresh_store_is_empty
    a_key_has_the_value_it_was_last_given
    deletes_are_ranges
    changes_apply_in_order
    a_space_is_apart_from_every_other
    scans_honour_both_bounds_and_both_orders
    a_page_ends_at_its_limit_and_says_whether_more_follows
    a_page_is_bounded_in_bytes
    a_large_range_is_read_page_by_page
    keys_are_ordered_as_unsigned_bytes
    keys_and_values_may_be_empty
    values_may_be_large
    a_scan_sees_what_was_submitted_before_it_and_nothing_after
    completions_come_in_order_of_submission
    an_empty_batch_is_stored
    every_name_of_a_space_works
    much_unfinished_work_is_finished
}

fn fill<S: Store>(client: &mut Client<S>, keys: &[&str]) {
    client.put(|batch| {
        for key in keys {
            batch.put(SPACE, key.as_bytes(), key.to_uppercase().as_bytes());
        }
    });
}

fn keys(rows: &[Row]) -> String {
    let keys: Vec<_> = rows.iter().map(|(key, _)| String::from_utf8_lossy(key).into_owned()).collect();
    keys.join(" ")
}

fn a_fresh_store_is_empty<S: Store>(client: &mut Client<S>) {
    assert_eq!(client.store.outstanding(), 0);
    assert!(!client.store.is_congested());
    assert_eq!(client.poll().unwrap_or_else(|error| panic!("{error}")), None);
    for query in [Query::all(SPACE), Query::all(SPACE).descending(), Query::all(SPACE).limit(0)] {
        assert_eq!(client.page(&query), (vec![], false), "{query:?}");
    }
}

fn a_key_has_the_value_it_was_last_given<S: Store>(client: &mut Client<S>) {
    client.put(|batch| {
        batch.put(SPACE, b"a", b"1");
        batch.put(SPACE, b"b", b"1");
    });
    client.put(|batch| batch.put(SPACE, b"a", b"a longer one"));
    client.put(|batch| {
        batch.put(SPACE, b"b", b"2");
        batch.put(SPACE, b"b", b"3");
    });
    assert_eq!(client.rows(SPACE), rows(&[("a", "a longer one"), ("b", "3")]));
}

fn deletes_are_ranges<S: Store>(client: &mut Client<S>) {
    let all = ["a", "b", "ba", "c", "d", "e"];
    let table: &[(&str, Option<&str>, &str)] = &[
        // from, to, what stays
        ("b", Some("d"), "a d e"),
        ("b", Some("b\0"), "a ba c d e"),
        ("b", Some("b"), "a b ba c d e"),
        ("d", Some("b"), "a b ba c d e"),
        ("bb", Some("bc"), "a b ba c d e"),
        ("x", Some("z"), "a b ba c d e"),
        ("", Some("b"), "b ba c d e"),
        ("", Some(""), "a b ba c d e"),
        ("c", Some("zzz"), "a b ba"),
        ("c", None, "a b ba"),
        ("cc", None, "a b ba c"),
        ("x", None, "a b ba c d e"),
        ("", None, ""),
    ];
    for (from, to, stays) in table {
        fill(client, &all);
        client.put(|batch| match to {
            Some(to) => batch.delete(SPACE, from.as_bytes(), to.as_bytes()),
            None => batch.delete_from(SPACE, from.as_bytes()),
        });
        assert_eq!(keys(&client.rows(SPACE)), *stays, "deleting from {from:?} to {to:?}");
    }
    // Of a space that holds nothing, and never did.
    client.put(|batch| {
        batch.delete(OTHER, b"a", b"z");
        batch.delete_from(OTHER, b"");
    });
    assert_eq!(client.rows(OTHER), []);
}

fn changes_apply_in_order<S: Store>(client: &mut Client<S>) {
    client.put(|batch| {
        batch.put(SPACE, b"a", b"1");
        batch.put(SPACE, b"b", b"1");
        batch.delete(SPACE, b"a", b"b");
        batch.put(SPACE, b"c", b"1");
        batch.delete_from(SPACE, b"b");
        batch.put(SPACE, b"b", b"2");
    });
    assert_eq!(client.rows(SPACE), rows(&[("b", "2")]));
}

fn a_space_is_apart_from_every_other<S: Store>(client: &mut Client<S>) {
    client.put(|batch| {
        batch.put(SPACE, b"key", b"here");
        batch.put(OTHER, b"key", b"there");
        batch.put(OTHER, b"only", b"there");
        batch.delete(SPACE, b"only", b"only\0");
    });
    assert_eq!(client.rows(SPACE), rows(&[("key", "here")]));
    assert_eq!(client.rows(OTHER), rows(&[("key", "there"), ("only", "there")]));
    client.put(|batch| batch.delete_from(SPACE, b""));
    assert_eq!(client.rows(SPACE), []);
    assert_eq!(client.rows(OTHER).len(), 2);
}

fn scans_honour_both_bounds_and_both_orders<S: Store>(client: &mut Client<S>) {
    fill(client, &["a", "b", "c", "d", "e"]);
    type Key = std::ops::Bound<&'static [u8]>;
    let table: &[(Key, Key, &str)] = &[
        (Unbounded, Unbounded, "a b c d e"),
        (Unbounded, Included(b"c"), "a b c"),
        (Unbounded, Excluded(b"c"), "a b"),
        (Unbounded, Included(b"cc"), "a b c"),
        (Unbounded, Excluded(b"a"), ""),
        (Unbounded, Excluded(b""), ""),
        (Included(b"c"), Unbounded, "c d e"),
        (Included(b"c"), Included(b"d"), "c d"),
        (Included(b"c"), Excluded(b"d"), "c"),
        (Included(b"c"), Included(b"c"), "c"),
        (Included(b"c"), Excluded(b"c"), ""),
        (Included(b""), Included(b"z"), "a b c d e"),
        (Included(b"bb"), Excluded(b"dd"), "c d"),
        (Included(b"f"), Unbounded, ""),
        (Excluded(b"c"), Unbounded, "d e"),
        (Excluded(b"c"), Included(b"e"), "d e"),
        (Excluded(b"c"), Excluded(b"e"), "d"),
        (Excluded(b"c"), Included(b"c"), ""),
        (Excluded(b"c"), Excluded(b"c"), ""),
        (Excluded(b"e"), Unbounded, ""),
        // The high end below the low one.
        (Included(b"d"), Included(b"b"), ""),
        (Included(b"d"), Excluded(b"b"), ""),
        (Excluded(b"d"), Included(b"b"), ""),
        (Excluded(b"d"), Excluded(b"b"), ""),
    ];
    for (from, to, expected) in table {
        let query = Query::range(*from, *to);
        let (found, more) = client.page(&query);
        assert_eq!((keys(&found).as_str(), more), (*expected, false), "{query:?}");
        assert!(found.iter().all(|(key, value)| value == &key.to_ascii_uppercase()), "{query:?}: {found:?}");

        let (mut reversed, more) = client.page(&query.clone().descending());
        reversed.reverse();
        assert_eq!((reversed, more), (found, false), "{query:?}, descending");
    }
}

fn a_page_ends_at_its_limit_and_says_whether_more_follows<S: Store>(client: &mut Client<S>) {
    fill(client, &["a", "b", "c", "d", "e"]);
    let middle = Query::range(Included(b"b"), Included(b"d"));
    let table = [
        (Query::all(SPACE).limit(1), "a", true),
        (Query::all(SPACE).limit(4), "a b c d", true),
        (Query::all(SPACE).limit(5), "a b c d e", false),
        (Query::all(SPACE).limit(6), "a b c d e", false),
        (Query::all(SPACE).limit(0), "", true),
        (Query::all(SPACE).descending().limit(2), "e d", true),
        (Query::all(SPACE).descending().limit(5), "e d c b a", false),
        (middle.clone().limit(2), "b c", true),
        (middle.clone().limit(3), "b c d", false),
        (middle.clone().descending().limit(2), "d c", true),
        (middle.descending().limit(3), "d c b", false),
    ];
    for (query, expected, more) in table {
        let (found, follows) = client.page(&query);
        assert_eq!((keys(&found).as_str(), follows), (expected, more), "{query:?}");
    }
}

fn a_page_is_bounded_in_bytes<S: Store>(client: &mut Client<S>) {
    // Rows of 1/4 page: three and a bit fit under the bound, so four are taken. The fifth is one too many.
    let value = vec![7; PAGE_BYTES / 4];
    client.put(|batch| {
        for key in *b"abcdefghi" {
            batch.put(SPACE, &[key], &value);
        }
    });
    for (query, expected) in [(Query::all(SPACE), "a b c d"), (Query::all(SPACE).descending(), "i h g f")] {
        let (found, more) = client.page(&query);
        assert_eq!((keys(&found).as_str(), more), (expected, true));
        assert!(found.iter().all(|(_, found)| *found == value));
    }
    let (found, more) = client.page(&Query::range(Included(b"f"), Unbounded));
    assert_eq!((keys(&found).as_str(), more), ("f g h i", false), "a full page may be the last");

    // One row larger than any page comes, alone.
    client.put(|batch| batch.put(SPACE, b"b", &vec![8; 3 * PAGE_BYTES]));
    let (found, more) = client.page(&Query::range(Included(b"b"), Unbounded));
    assert_eq!((keys(&found).as_str(), more), ("b", true));
    assert_eq!(found[0].1.len(), 3 * PAGE_BYTES);
}

fn a_large_range_is_read_page_by_page<S: Store>(client: &mut Client<S>) {
    let row = |index: u32| (index.to_be_bytes().to_vec(), vec![index as u8; 500]);
    for start in (0..6000).step_by(1000) {
        client.put(|batch| {
            for index in start..start + 1000 {
                let (key, value) = row(index);
                batch.put(SPACE, &key, &value);
            }
        });
    }
    assert_eq!(client.rows(SPACE), (0..6000).map(row).collect::<Vec<_>>());
}

fn keys_are_ordered_as_unsigned_bytes<S: Store>(client: &mut Client<S>) {
    let ordered: [&[u8]; 12] = [
        b"\0",
        b"\0\0",
        b"\0\xff",
        b"\x01",
        b"A",
        b"a",
        b"a\0",
        b"a\0b",
        b"ab",
        b"\x7f",
        b"\x80",
        b"\xff\xff",
    ];
    client.put(|batch| {
        for key in ordered.iter().rev() {
            batch.put(SPACE, key, b"");
        }
    });
    let found: Vec<_> = client.rows(SPACE).into_iter().map(|(key, _)| key).collect();
    assert_eq!(found, ordered);
    let (found, _) = client.page(&Query::range(Excluded(b"a"), Excluded(b"\x80")));
    assert_eq!(found.len(), 4);
    client.put(|batch| batch.delete(SPACE, b"\x01", b"\xff"));
    assert_eq!(client.rows(SPACE).len(), 4);
}

fn keys_and_values_may_be_empty<S: Store>(client: &mut Client<S>) {
    client.put(|batch| {
        batch.put(SPACE, b"", b"of the empty key");
        batch.put(SPACE, b"a", b"");
    });
    assert_eq!(client.rows(SPACE), rows(&[("", "of the empty key"), ("a", "")]));
    let (found, _) = client.page(&Query::range(Included(b""), Included(b"")));
    assert_eq!(found, rows(&[("", "of the empty key")]));
    let (found, _) = client.page(&Query::range(Excluded(b""), Unbounded));
    assert_eq!(found, rows(&[("a", "")]));
    client.put(|batch| batch.delete(SPACE, b"", b"a"));
    assert_eq!(client.rows(SPACE), rows(&[("a", "")]));
}

fn values_may_be_large<S: Store>(client: &mut Client<S>) {
    // A full block, and a key longer than any page of a database.
    let value: Vec<u8> =
        (0..4_000_000u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let key = vec![b'k'; 100_000];
    client.put(|batch| {
        batch.put(SPACE, &key, &value);
        batch.put(SPACE, b"l", &value[1..]);
    });
    assert_eq!(client.rows(SPACE), [(key.clone(), value.clone()), (b"l".to_vec(), value[1..].to_vec())]);
    client.put(|batch| batch.put(SPACE, &key, b"small again"));
    assert_eq!(client.page(&Query::all(SPACE).limit(1)).0, [(key, b"small again".to_vec())]);
}

fn a_scan_sees_what_was_submitted_before_it_and_nothing_after<S: Store>(client: &mut Client<S>) {
    let mut asked = Vec::new();
    for count in 0..50u8 {
        asked.push((client.load(&Query::all(SPACE)), usize::from(count)));
        client.put(|batch| {
            // Both rows or neither: the batch is one.
            batch.put(SPACE, &[0], &[count]);
            batch.put(SPACE, &[count + 1], &[count]);
        });
    }
    let mut answers = client.settle().into_iter();
    for (asked, before) in asked {
        let Some(Done::Loaded { ticket, rows, more }) = answers.next() else {
            panic!("no answer to {asked:?}")
        };
        assert_eq!((ticket, more), (asked, false));
        let expected: Vec<Row> = match before.checked_sub(1) {
            None => vec![],
            Some(last) => {
                let each = (0..before as u8).map(|count| (vec![count + 1], vec![count]));
                std::iter::once((vec![0], vec![last as u8])).chain(each).collect()
            }
        };
        assert_eq!(rows, expected, "after {before} batches");
        assert!(matches!(answers.next(), Some(Done::Stored(_))));
    }
}

fn completions_come_in_order_of_submission<S: Store>(client: &mut Client<S>) {
    let mut asked = Vec::new();
    for index in 0..600u32 {
        asked.push(match index % 5 {
            0 | 2 => client.load(&Query::all(SPACE).limit(3)),
            _ => client.put(|batch| batch.put(SPACE, &index.to_be_bytes(), b"value")),
        });
        assert!(client.store.outstanding() <= asked.len());
    }
    let answered: Vec<_> = client
        .settle()
        .into_iter()
        .map(|done| match done {
            Done::Stored(ticket) => ticket,
            Done::Loaded { ticket, .. } => ticket,
        })
        .collect();
    assert_eq!(answered, asked);
    assert_eq!(client.store.outstanding(), 0);
    assert!(!client.store.is_congested());
}

fn an_empty_batch_is_stored<S: Store>(client: &mut Client<S>) {
    let ticket = client.put(|_| {});
    assert_eq!(client.store.outstanding(), 1);
    assert_eq!(client.settle(), [Done::Stored(ticket)]);
}

fn every_name_of_a_space_works<S: Store>(client: &mut Client<S>) {
    // Words of SQL, names that SQLite keeps to itself, and names that differ by what sets those apart.
    const NAMES: [&str; 14] = [
        "a",
        "_",
        "__",
        "table",
        "select",
        "index",
        "key",
        "value",
        "rowid",
        "sqlite_schema",
        "_sqlite_schema",
        "__sqlite_schema",
        "pragma_table_info",
        "abcdefghijklmnopqrstuvwxyz_abcde",
    ];
    for (index, name) in NAMES.iter().enumerate() {
        client.put(|batch| batch.put(Space::new(name), &[index as u8], name.as_bytes()));
    }
    for (index, name) in NAMES.iter().enumerate() {
        assert_eq!(client.rows(Space::new(name)), [(vec![index as u8], name.as_bytes().to_vec())], "{name}");
        client.put(|batch| batch.delete_from(Space::new(name), b""));
        assert_eq!(client.rows(Space::new(name)), [], "{name}");
    }
}

fn much_unfinished_work_is_finished<S: Store>(client: &mut Client<S>) {
    // Far more than a store holds before it says that it is congested, by a driver that does not listen; and then far
    // more pages than it may gather before they are collected.
    let value = vec![1; 100_000];
    for index in 0..300u32 {
        client.put(|batch| batch.put(SPACE, &index.to_be_bytes(), &value));
    }
    for _ in 0..40 {
        client.load(&Query::all(SPACE));
    }
    client.put(|batch| batch.delete_from(SPACE, b""));
    let done = client.settle();
    assert_eq!(done.len(), 341);
    let pages =
        done.iter().filter(|done| matches!(done, Done::Loaded { rows, more: true, .. } if rows.len() == 11));
    assert_eq!(pages.count(), 40);
    assert_eq!(client.rows(SPACE), []);
}
