//! Host names. None of these looks anything up outside of this machine.

use andon_driver::Options;

use crate::puppet::*;
use crate::stage::*;

fn resolved<A: Application>(run: &A) -> Vec<std::net::SocketAddr> {
    match next(run) {
        Event::Resolved(addrs) => addrs,
        other => panic!("{other:?} instead of addresses"),
    }
}

pub fn localhost_has_loopback_addresses<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    tell(&run, Command::Resolve("localhost".into(), 8333));
    let addrs = resolved(&run);
    assert!(!addrs.is_empty());
    assert!(addrs.iter().all(|addr| addr.ip().is_loopback() && addr.port() == 8333), "{addrs:?}");
    tell(&run, Command::Resolve("127.0.0.1".into(), 1));
    assert_eq!(resolved(&run), ["127.0.0.1:1".parse().unwrap()]);
    stop(run);
}

pub fn what_is_no_host_name_has_no_address<S: Stage>(stage: &S) {
    let (run, _) = start(stage, Options::default(), Puppet::default());
    // No resolver can put these into a question: a zero byte, and a label of more than 63 bytes.
    for host in ["nul\0byte".to_owned(), "x".repeat(300)] {
        tell(&run, Command::Resolve(host, 1));
        assert_eq!(resolved(&run), []);
    }
    stop(run);
}

pub fn each_of_many_look_ups_is_answered<S: Stage>(stage: &S) {
    // More than the resolver takes at once: some fail, all are answered, and nothing is lost after them.
    let (run, _) = start(stage, Options { command_queue: 1_000, ..Options::default() }, Puppet::default());
    for _ in 0..500 {
        tell(&run, Command::Resolve("127.0.0.1".into(), 1));
    }
    let answers = (0..500).filter(|_| !resolved(&run).is_empty()).count();
    assert!(answers >= 64, "{answers}");
    tell(&run, Command::Resolve("127.0.0.1".into(), 2));
    assert_eq!(resolved(&run).len(), 1);
    assert_eq!(stop(run), [Event::Stopped]);
}
