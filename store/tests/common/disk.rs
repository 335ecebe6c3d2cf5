//! A disk that is soon full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A disk of two MiB, as long as this is kept.
pub(crate) struct SmallDisk {
    /// Where it is mounted.
    pub(crate) path: PathBuf,
}

/// Mounts a small disk in a directory; `None`, and a line that says so, without the right to.
pub(crate) fn small(parent: &Path) -> Option<SmallDisk> {
    let path = parent.join("disk");
    fs::create_dir(&path).expect("the directory takes another one");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&path).output();
    if mounted.is_ok_and(|output| output.status.success()) {
        return Some(SmallDisk { path });
    }
    println!("skipped: no right to mount a small disk");
    None
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        // A test that is failing has files open on it, perhaps, and has failed already.
        if !std::thread::panicking() {
            assert!(unmounted.is_ok_and(|status| status.success()), "the small disk stays mounted");
        }
    }
}
