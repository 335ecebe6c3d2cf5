//! What packets take of memory. Alone in its program, since all that is allocated counts.

#[path = "transport/pair.rs"]
mod pair;

use andon_bitcoin::transport::{Incoming, initiate, respond};
use pair::{MAGIC, Side, by, shaped};
use peak_alloc::PeakAlloc;

#[global_allocator]
static PEAK: PeakAlloc = PeakAlloc;

/// A message of four megabytes that comes in pieces takes the memory of what has come; one that came whole takes none.
#[test]
fn what_a_packet_claims_takes_no_memory() {
    let mut sent = Vec::new();
    let halves = initiate(MAGIC, by(2), shaped(0), &mut sent);
    let mut ours = Side::new(halves, sent);
    let mut theirs = Side::new(respond(MAGIC, by(3), shaped(0)), Vec::new());
    pair::exchange(&mut ours, &mut theirs, usize::MAX);
    theirs.decoy(4_000_013);
    let mut bytes = std::mem::take(&mut theirs.sent);
    let measured = |ours: &mut Side, bytes: &mut [u8]| {
        PEAK.reset_peak_usage();
        let before = PEAK.current_usage();
        let mut input = Incoming::new(bytes);
        assert!(ours.reader.next(&mut input).expect("it is sound").is_none());
        PEAK.peak_usage() - before
    };
    assert!(measured(&mut ours, &mut bytes[..10_000]) < 20_000);
    assert!(measured(&mut ours, &mut bytes[10_000..60_000]) < 120_000);
    assert!(measured(&mut ours, &mut bytes[60_000..]) < 4_100_000);
    theirs.decoy(4_000_013);
    let mut bytes = std::mem::take(&mut theirs.sent);
    assert_eq!(measured(&mut ours, &mut bytes), 0);
}
