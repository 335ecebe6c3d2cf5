//! Tests in a network namespace of their own, from which no packet can get out. Linux only.

use std::env;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// Says to a test program that it has been started in a namespace.
const INSIDE: &str = "ANDON_TEST_NAMESPACE";

/// How often it is looked whether a test is over.
const PAUSE: Duration = Duration::from_millis(20);

/// What a test here needs to be allowed, tried before it begins: interfaces, and files in the place of the system's.
const TRIAL: &str = "mount -t tmpfs none /run && ip link set lo up && touch /run/trial && unshare --net=/run/trial true \
                     && ip link add here type veth peer name there netns /run/trial \
                     && nsenter --net=/run/trial ip link set there up && mount --bind /run/trial /etc/resolv.conf";

/// Runs the test of this name of this program once more, in a namespace in which nothing but loopback is up, and where
/// `/run` is empty. True: this is that run. False: it is over, and has passed; or no namespace can be made here, which has
/// been said.
pub(crate) fn enter(test: &str, patience: Duration) -> bool {
    if env::var_os(INSIDE).is_some() {
        shell("mount -t tmpfs none /run && ip link set lo up");
        return true;
    }
    let Some(namespace) = find() else {
        println!("skipped: no network namespace can be made here");
        return false;
    };
    let mut command = Command::new("unshare");
    command.args(namespace).arg(env::current_exe().unwrap()).args([test, "--exact", "--nocapture"]);
    let mut child = command.env(INSIDE, "1").stdin(Stdio::null()).spawn().unwrap();
    for _ in 0..patience.as_millis() / PAUSE.as_millis() {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{test} failed in its namespace");
            return false;
        }
        thread::sleep(PAUSE);
    }
    // With `--kill-child` all that runs there ends.
    let _ = child.kill();
    let _ = child.wait();
    panic!("{test} is not over after {patience:?}");
}

/// How a namespace is made here: by anybody, if the system lets them, or by root.
fn find() -> Option<&'static [&'static str]> {
    let ways: [&[&str]; 2] = [
        &["--user", "--map-root-user", "--net", "--mount", "--pid", "--mount-proc", "--kill-child"],
        &["--net", "--mount", "--pid", "--mount-proc", "--kill-child"],
    ];
    ways.into_iter().find(|way| {
        let mut command = Command::new("unshare");
        command.args(*way).args(["sh", "-c", TRIAL]).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

/// Runs lines of shell, and demands that they succeed.
#[track_caller]
pub(crate) fn shell(script: &str) {
    let mut command = Command::new("sh");
    command.args(["-e", "-c", script]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{script}: {said}");
}
