//! The suite that every driver passes, over the simulator's: a machine in a `Host`, and the other side's sockets as nodes beside it. Time is
//! the world's, so none of it waits, and each case runs the same every time.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod application;
mod sockets;
mod stage;
mod turns;

/// Over lines that carry 100 MB a second.
mod smooth {
    andon_driver_conformance::conformance!(on crate::stage::Simulated<0>);
}

/// The same with jitter, and with bytes that come in pieces of up to 10,000.
mod rough {
    andon_driver_conformance::conformance!(on crate::stage::Simulated<10_000>);
}

/// A case and what is done beside it take turns as the world says, whatever the system does with their threads.
#[test]
fn a_case_runs_the_same_every_time() {
    use andon_driver_conformance::{application, receiving};

    use crate::stage::Simulated;

    type Stage = Simulated<10_000>;
    let cases: [fn(&Stage); 3] = [
        application::a_busy_driver_stops_and_tells_each_end,
        application::a_dial_for_each_of_many_is_answered_under_a_small_event_queue,
        receiving::a_flood_on_one_connection_starves_no_other,
    ];
    let run = |case: &fn(&Stage)| {
        let stage = Stage::default();
        case(&stage);
        stage.digest()
    };
    let digests = cases.each_ref().map(run);
    assert_eq!(cases.each_ref().map(run), digests);
    assert_ne!(digests[0], digests[1]);
}
