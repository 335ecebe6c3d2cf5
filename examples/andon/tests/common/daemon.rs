//! Programs that are none of ours, which run beside a test until it ends.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, thread};

/// A program at work. Killed when dropped; if the test has failed then the end of what it said is shown.
pub(crate) struct Daemon {
    child: Child,
    logs: Vec<PathBuf>,
}

impl Daemon {
    /// Starts a program; what it prints goes into the file `printed` in a directory of its own. `logs` names the files
    /// there that it writes itself.
    pub(crate) fn start(command: &mut Command, directory: &Path, logs: &[&str]) -> Self {
        let printed = directory.join("printed");
        let file = File::create(&printed).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let own = logs.iter().map(|name| directory.join(name));
        Self { child, logs: own.chain([printed]).collect() }
    }

    /// Demands that it still runs.
    #[track_caller]
    pub(crate) fn assert_running(&mut self) {
        let status = self.child.try_wait().unwrap();
        assert!(status.is_none(), "{:?} ended: {status:?}", self.logs);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            for path in &self.logs {
                let text = fs::read(path).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let lines: Vec<&str> = text.lines().collect();
                let last = lines.len().saturating_sub(15);
                eprintln!("-- {}\n{}", path.display(), lines[last..].join("\n"));
            }
        }
    }
}

/// The program that an environment variable names; else it is said that the test is skipped.
pub(crate) fn named_by(variable: &str) -> Option<PathBuf> {
    let path = env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

/// So many ports of this machine that nobody uses.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
