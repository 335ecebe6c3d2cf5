//! What can go wrong with peers and data directories: each is told with what to do, and does no harm.

#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::fs;

use andon_bitcoin::server;
use bitcoin::Network;
use common::{
    Node, PROGRAMS, Running, andon, assert_found_everything, blocks, closed, node_without_filters, run, sync,
    sync_by,
};

fn node() -> Node {
    Node::start(blocks(0..290))
}

#[test]
fn a_peer_without_filters_is_named_as_such() {
    let node = node_without_filters();
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let ended = run(&mut sync_by(by, home.path(), node.address, &[]));
        ended.failed(1, &[&node.address.to_string(), "services", "-blockfilterindex=1 -peerblockfilters=1"]);
        ended.failed_as("missing_services");
    }
}

#[test]
fn a_peer_of_another_network_is_named_as_such() {
    let home = tempfile::tempdir().unwrap();
    let config = server::Config::new(Network::Signet, [9; 32]);
    let node = Node::start_with(config, blocks(0..290));
    // Without encryption its first bytes say so, with it that it does not come to an end.
    for transport in ["v1", "v2"] {
        let ended = run(&mut sync(home.path(), node.address, &["--transport", transport]));
        ended.failed(1, &[&node.address.to_string(), "another network", "--network"]);
        ended.failed_as("other_network");
    }
}

#[test]
fn a_peer_that_lags_is_given_up_after_a_while() {
    let home = tempfile::tempdir().unwrap();
    let mut config = server::Config::new(Network::Regtest, [10; 32]);
    config.filter_index_height = Some(100);
    let node = Node::start_with(config, blocks(0..290));
    let ended = run(&mut sync(home.path(), node.address, &["--timeout", "4"]));
    ended.failed(1, &["nothing new has come for 4 seconds from 1 connected peer", "--timeout"]);
    ended.failed_as("stalled");
    let objects = ended.objects();
    let summary = &objects[objects.len() - 2];
    assert_eq!((&summary["event"], &summary["complete"]), (&"summary".into(), &false.into()));
}

#[test]
fn a_peer_that_syncs_itself_is_warned_of() {
    let home = tempfile::tempdir().unwrap();
    let mut config = server::Config::new(Network::Regtest, [11; 32]);
    config.minimum_height = 1000;
    let node = Node::start_with(config, blocks(0..290));
    let mut running = Running::start(&mut sync(home.path(), node.address, &["--timeout", "4"]));
    let withholds = running.wait_for("peer_withholds", |_| true);
    assert_eq!(withholds["claimed_height"], 289);
    running.end().failed_as("stalled");
}

#[test]
fn losing_the_only_peer_ends_a_run_after_a_while() {
    let home = tempfile::tempdir().unwrap();
    let mut config = server::Config::new(Network::Regtest, [12; 32]);
    config.filter_index_height = Some(100);
    let node = Node::start_with(config, blocks(0..290));
    let mut running = Running::start(&mut sync(home.path(), node.address, &["--timeout", "4"]));
    running.wait_for("peer_connected", |_| true);
    node.stop();
    running.wait_for("warning", |warning| warning["what"].as_str().unwrap().contains("lost the peer"));
    let ended = running.end();
    ended.failed(1, &["no peer has been connected for 4 seconds", "kept"]);
    ended.failed_as("no_peer");
}

#[test]
fn a_directory_in_use_is_left_alone() {
    let node = node();
    // One program keeps the others out, and itself.
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let mut first = Running::start(&mut sync_by(by, home.path(), node.address, &["--follow"]));
        first.wait_for("synced", |_| true);
        let second = run(&mut sync(home.path(), node.address, &[]));
        second.failed(
            1,
            &[&home.path().join("data").display().to_string(), "in use by another process", "--data-dir"],
        );
        second.failed_as("locked");
        first.signal("TERM");
        assert_eq!(first.end().code, Some(130));
    }
}

#[test]
fn a_directory_of_another_network_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    let node = node();
    assert_eq!(run(&mut sync(home.path(), node.address, &[])).code, Some(0));
    let ended = run(&mut sync(home.path(), node.address, &["--network", "signet"]));
    assert_eq!(ended.code, Some(2), "--network twice: {ended:?}");
    let mut command = andon(home.path(), ["sync", "--json", "--network", "signet", "--script", "51"]);
    command.args(["--peer", &node.address.to_string(), "--data-dir"]).arg(home.path().join("data"));
    let ended = run(&mut command);
    ended.failed(1, &["is of regtest, not of signet", "--data-dir"]);
    ended.failed_as("other_network_data");
    assert_found_everything(&run(&mut sync(home.path(), node.address, &[])).last());
}

#[test]
fn a_file_in_the_place_of_the_directory_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("data"), "mine").unwrap();
    let ended = run(&mut sync(home.path(), closed(), &[]));
    ended.failed(1, &["is not a directory", "--data-dir"]);
    ended.failed_as("not_a_directory");
    assert_eq!(fs::read(home.path().join("data")).unwrap(), b"mine");
    fs::remove_file(home.path().join("data")).unwrap();
    fs::create_dir(home.path().join("data")).unwrap();
    fs::write(home.path().join("data/andon.sqlite"), "this is no database, but something else that is long")
        .unwrap();
    run(&mut sync(home.path(), closed(), &[])).failed_as("foreign");
}

#[cfg(unix)]
#[test]
fn a_directory_without_permission_is_named_as_such() {
    use std::os::unix::fs::PermissionsExt;
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o500)).unwrap();
    let mut command = sync(home.path(), closed(), &[]);
    if fs::write(data.join("probe"), "").is_ok() {
        // The superuser may write everywhere: so as nobody, if nobody may run the program.
        let program = PROGRAMS[0];
        let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
        let mut version = std::process::Command::new("setpriv");
        if common::system(version.args(nobody).args([program, "--version"])).is_none() {
            println!("skipped: this user may write everywhere");
            return;
        }
        fs::remove_file(data.join("probe")).unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let mut other = std::process::Command::new("setpriv");
        other.args(nobody).arg(program).args(command.get_args());
        command = other;
    }
    let ended = run(&mut command);
    ended.failed(1, &["no permission", "--data-dir"]);
    ended.failed_as("permission");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_as_such() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    fs::create_dir(&data).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(&data);
    if common::system(&mut mount).is_none() {
        println!("skipped: no right to mount a small file system");
        return;
    }
    let node = node();
    let ended = run(&mut sync(home.path(), node.address, &[]));
    let unmounted = common::system(std::process::Command::new("umount").arg(&data));
    assert!(unmounted.is_some());
    ended.failed(1, &["no room is left", "make room"]);
    ended.failed_as("full");
}

#[test]
fn an_unreachable_peer_is_named_as_such() {
    let (one, other) = (closed(), closed());
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let ended = run(&mut sync_by(by, home.path(), one, &[]));
        ended.failed(1, &[&one.to_string(), "connection refused", "check the address and the port"]);
        ended.failed_as("unreachable");
        let ended = run(&mut sync_by(by, home.path(), one, &["--peer", &other.to_string()]));
        ended.failed(1, &["none of the peers can be used", &one.to_string(), &other.to_string()]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_unknown_host_is_named_as_such() {
    // In a network of its own, that leads nowhere: no look-up leaves this machine.
    if common::system(std::process::Command::new("unshare").args(["-rn", "true"])).is_none() {
        println!("skipped: no right to a network of its own");
        return;
    }
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let mut command = std::process::Command::new("unshare");
        command.args(["-rn", by, "sync", "--json", "--network", "regtest", "--script", "51"]);
        command.args(["--peer", "no-such-host.invalid"]).arg("--data-dir").arg(home.path().join("data"));
        let ended = run(&mut command);
        ended.failed(1, &["no-such-host.invalid:18444", "host name"]);
        ended.failed_as("unresolved");
    }
}
