//! Crashes, power failures, divisions and resets at the moments at which they are hard to get right.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_process_can_die_while_its_connections_are_closing() {
    let mut net = Net::connected(Links::default());
    net.world.set_bandwidth(NodeId(0), (1_000_000, 0));
    net.act(0, |port| {
        port.send(DIALLED, &vec![1; 6_000_000]);
        port.close(DIALLED, true);
    });
    net.act(1, |port| port.close(ACCEPTED, true));
    net.run(Duration::from_millis(200));
    net.world.crash(NodeId(0), Crash::Process);
    net.run(60 * SECOND);
    assert_eq!(net.told(1), [Told::Disconnected(ACCEPTED, Disconnect::Closed)]);
    assert_eq!(net.world.connections(), 0);
    // Nothing is left over that counts towards the next process's limits.
    net.world.restart(NodeId(0), Puppet::default());
    net.act(0, |port| port.connect(DIALLED, address(1)));
    net.run(SECOND);
    assert!(matches!(net.told(0)[..], [Told::Start(_), Told::Connected(DIALLED, ..)]));
}
