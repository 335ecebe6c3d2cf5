//! What Linux knows of this process and of its threads.

use std::fs::{read_dir, read_to_string};
use std::time::Duration;

/// What threads of one name have done so far.
#[derive(Default)]
pub(crate) struct Threads {
    pub(crate) count: usize,
    /// How often they went to sleep: as often as they were woken.
    pub(crate) switches: u64,
    pub(crate) time: Duration,
}

/// All threads of a name.
pub(crate) fn threads(name: &str) -> Threads {
    let mut all = Threads::default();
    for thread in read_dir("/proc/self/task").unwrap() {
        let path = thread.unwrap().path();
        if read_to_string(path.join("comm")).unwrap().trim_end() != name {
            continue;
        }
        let status = read_to_string(path.join("status")).unwrap();
        let schedule = read_to_string(path.join("schedstat")).unwrap();
        all.count += 1;
        all.switches += field(&status, "voluntary_ctxt_switches:");
        all.time += Duration::from_nanos(schedule.split(' ').next().unwrap().parse().unwrap());
    }
    all
}

/// Bytes of memory that this process has in use.
pub(crate) fn memory() -> u64 {
    field(&read_to_string("/proc/self/status").unwrap(), "VmRSS:") * 1024
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

/// A number from the environment.
pub(crate) fn number(variable: &str, otherwise: u32) -> u32 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().expect("a number"))
}
