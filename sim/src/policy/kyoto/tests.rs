use std::collections::BTreeMap;

use super::*;

const NOW: UnixTime = UnixTime::from_secs(1_700_000_000);

fn record(stream: &mut Stream) -> Record {
    let address = Address { ip: stream.u64() as u32, port: 8333 };
    Record { address, source: [stream.below(200) as u8 + 1, 7, 0, 1], serves: stream.below(2) == 0 }
}

/// Every answer of the crate is compared as it comes: `add` panics where it is not the mirror's.
#[test]
fn the_mirror_shows_what_the_crate_does() {
    for version in [Version::V0_1, Version::V0_2] {
        let mut stream = Stream::new(1);
        let mut kyoto = Kyoto::new(version, Stream::new(2));
        let (mut added, mut refused) = (0, 0);
        for _ in 0..30_000 {
            let record = record(&mut stream);
            let table = if stream.below(2) == 0 { Table::New } else { Table::Tried };
            if stream.below(8) == 0 {
                kyoto.remove(table, &record);
            } else if kyoto.add(table, record).is_none() {
                added += 1;
            } else {
                refused += 1;
            }
            kyoto.is_empty();
        }
        assert!(added > 1000 && refused > 1000, "{added} {refused}");
        // All that the mirror has is found in the crate's tables, each once.
        for (table, mirror) in [(Table::New, &kyoto.new), (Table::Tried, &kyoto.tried)] {
            for held in mirror.held() {
                assert_eq!(kyoto.shipped.count(table, &held.record), 1);
            }
        }
    }
}

/// The crate draws by the clock, so only frequencies can be compared: the two differ by what two samples of one thing do.
#[test]
fn the_mirror_draws_as_the_crate_does() {
    for version in [Version::V0_1, Version::V0_2] {
        let mut kyoto = Kyoto::new(version, Stream::new(3));
        let mut stream = Stream::new(4);
        // Sparse, so that gaps matter.
        for _ in 0..40 {
            kyoto.add(Table::New, record(&mut stream));
        }
        let draws = 20_000;
        let (mut theirs, mut ours) = (BTreeMap::new(), BTreeMap::new());
        for _ in 0..draws {
            *theirs.entry(kyoto.shipped.draw(Table::New).expect("some were added")).or_insert(0i64) += 1;
            let drawn = kyoto.new.draw(NOW, &mut stream).expect("some were added");
            *ours.entry(drawn.record.address).or_insert(0i64) += 1;
        }
        assert!(ours.keys().eq(theirs.keys()), "each one is drawn by both");
        let most = *ours.values().max().expect("some were drawn");
        let least = *ours.values().min().expect("some were drawn");
        assert!(most > 4 * least, "gaps matter: {most} and {least}");
        for (address, count) in &ours {
            let (count, other) = (*count, theirs[address]);
            // Six standard deviations of the difference.
            let difference = count - other;
            assert!(
                difference * difference < 36 * (count + other),
                "{version:?} {address:?}: {count} {other}"
            );
        }
    }
}

/// Who was dialled a moment ago is passed over by 0.2 as long as there is another in the bucket, and not by 0.1.
#[test]
fn a_recent_dial_counts_in_one_version() {
    for (version, is_passed_over) in [(Version::V0_1, false), (Version::V0_2, true)] {
        let mut kyoto = Kyoto::new(version, Stream::new(5));
        let mut stream = Stream::new(6);
        for _ in 0..200 {
            kyoto.add(Table::Tried, record(&mut stream));
        }
        let held = *kyoto.tried.held().next().expect("there are some");
        kyoto.drawn.insert(held.record.address, held);
        kyoto.failed(NOW, held.record.address);
        for (later, is_drawn) in [(60, !is_passed_over), (61, true)] {
            let later = UnixTime::from_secs(NOW.as_secs() + later);
            let mut draws = (0..2000).filter_map(|_| kyoto.tried.draw(later, &mut stream));
            assert_eq!(
                draws.any(|drawn| drawn.record.address == held.record.address),
                is_drawn,
                "{version:?}"
            );
        }
    }
}

/// Placement has no secret: this is where these stand in every client. It changes with the standard library's hash.
#[test]
fn placement_is_the_same_everywhere() {
    let parts: Vec<u32> = [[1, 1, 1, 1], [8, 8, 8, 8], [9, 9, 9, 9]].map(|ip| Kyoto::part(ip.into())).into();
    assert_eq!(parts, PARTS);
}
const PARTS: [u32; 3] = [3, 3, 0];
