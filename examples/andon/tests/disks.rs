//! Disks that are full or may not be written, directories in use, files of random bytes: each is told by its name, on each driver,
//! and when it is gone all that was there is there.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "it is a test")]

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use andon_bitcoin::server;
use common::{
    Ended, Node, PROGRAMS, Running, assert_found_everything, blocks, closed, program, run, sync_by, system,
};

/// A file system of its own on the directory `data`, as long as this is kept.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts on an existing directory; `None`, and a line that says so, without the right to.
    fn new(path: PathBuf, arguments: &[&str]) -> Option<Self> {
        let mut mount = Command::new("mount");
        if system(mount.args(arguments).arg(&path)).is_none() {
            println!("skipped: no right to mount");
            return None;
        }
        Some(Self(path))
    }

    fn small(home: &Path, size: &str) -> Option<Self> {
        let path = home.join("data");
        fs::create_dir(&path).unwrap();
        Self::new(path, &["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
    }

    fn remount(&self, options: &str) {
        let mut mount = Command::new("mount");
        assert!(
            system(mount.args(["-o", &format!("remount,{options}")]).arg(&self.0)).is_some(),
            "{options}"
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = system(Command::new("umount").arg(&self.0)).is_some();
        assert!(unmounted || std::thread::panicking(), "{} stays mounted", self.0.display());
    }
}

/// The files of a data directory, but for the lock and what SQLite shares with readers.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), path));
    let kept = named.filter(|(name, _)| name != "andon.lock" && !name.ends_with("-shm"));
    kept.map(|(name, path)| (name, fs::read(path).unwrap())).collect()
}

/// Payments as a run told them.
fn payments(ended: &Ended) -> Vec<String> {
    let told = ended.objects().into_iter().filter(|event| event["event"] == "received");
    told.map(|event| event.to_string()).collect()
}

/// A node of so much of the chain, and a data directory in `home` that has all of it; what was told.
fn synced_by(by: &str, home: &Path, last: u32) -> (Node, Vec<String>) {
    let node = Node::start(blocks(0..=last));
    let ended = run(&mut sync_by(by, home, node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let payments = payments(&ended);
    assert!(!payments.is_empty());
    (node, payments)
}

fn grow(node: &Node, from: u32) {
    node.command(server::Command::Extend(blocks(from..290)));
}

/// A run finds what was found before first, and then the rest.
#[track_caller]
fn assert_goes_on(by: &str, home: &Path, node: &Node, before: &[String]) {
    let ended = run(&mut sync_by(by, home, node.address, &[]));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(payments(&ended)[..before.len()], *before);
    assert_found_everything(&ended.last());
}

#[test]
fn a_disk_that_is_full_at_any_point_loses_nothing() {
    let sizes = ["16k", "32k", "48k", "64k", "80k", "96k", "112k", "128k", "160k", "192k", "256k", "512k"];
    let mut full = 0;
    for (by, size) in PROGRAMS.into_iter().cycle().zip(sizes) {
        let home = tempfile::tempdir().unwrap();
        let Some(disk) = Mounted::small(home.path(), size) else { return };
        let node = Node::start(blocks(0..290));
        let ended = run(&mut sync_by(by, home.path(), node.address, &[]));
        let mut told = Vec::new();
        if ended.code == Some(0) {
            assert_found_everything(&ended.last());
        } else {
            ended.failed(1, &["no room is left", "make room"]);
            ended.failed_as("full");
            full += 1;
            told = payments(&ended);
        }
        disk.remount("size=16m");
        assert_goes_on(by, home.path(), &node, &told);
    }
    println!("{full} of {} disks were too small", sizes.len());
    assert!((3..12).contains(&full));
}

#[test]
fn a_disk_that_others_fill_loses_nothing() {
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let Some(_disk) = Mounted::small(home.path(), "1m") else { return };
        let (node, before) = synced_by(by, home.path(), 200);
        let rest = home.path().join("data/rest");
        let mut file = File::create(&rest).unwrap();
        while file.write_all(&[1; 512]).is_ok() {}
        drop(file);
        let was = files(&home.path().join("data"));
        grow(&node, 201);
        for _ in 0..2 {
            let ended = run(&mut sync_by(by, home.path(), node.address, &[]));
            ended.failed(1, &["no room is left", "make room"]);
            ended.failed_as("full");
            assert_eq!(files(&home.path().join("data"))["andon.sqlite"], was["andon.sqlite"]);
        }
        fs::remove_file(rest).unwrap();
        assert_goes_on(by, home.path(), &node, &before);
    }
}

/// A limit on the length of a file, of the process or of its user, is no full disk, but looks like one in places.
#[test]
fn a_file_that_may_not_grow_loses_nothing() {
    for by in PROGRAMS {
        let mut refused = 0;
        // In 512 or 1024 bytes, as the shell has it.
        for limit in ["40", "90", "140"] {
            let home = tempfile::tempdir().unwrap();
            let (node, before) = synced_by(by, home.path(), 200);
            grow(&node, 201);
            let inner = sync_by(by, home.path(), node.address, &[]);
            // The signal that says so is not taken, as in a service that ignores it.
            let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$@\"");
            let mut limited = program("sh", home.path(), ["-c", &script, "sh", by]);
            limited.args(inner.get_args());
            let ended = run(&mut limited);
            if ended.code != Some(0) {
                ended.failed(1, &["run it again: it goes on from what was stored"]);
                let kind = ended.last()["kind"].clone();
                assert!(kind == "full" || kind == "data_dir", "{ended:?}");
                refused += 1;
            }
            assert_goes_on(by, home.path(), &node, &before);
        }
        assert!(refused > 0);
    }
}

#[test]
fn a_directory_that_may_only_be_read_is_left_as_it_is() {
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let (node, before) = synced_by(by, home.path(), 200);
        grow(&node, 201);
        let data = home.path().join("data");
        let was = files(&data);
        let name = data.to_str().unwrap();
        let Some(disk) = Mounted::new(data.clone(), &["--bind", name]) else { return };
        disk.remount("ro,bind");
        let mut show = program(by, home.path(), ["headers", "show", "--json", "--network", "regtest"]);
        let mut repair = program(by, home.path(), ["repair", "--json", "--network", "regtest"]);
        for command in [
            &mut sync_by(by, home.path(), node.address, &[]),
            show.arg("--data-dir").arg(name),
            repair.arg("--data-dir").arg(name),
        ] {
            let ended = run(command);
            ended.failed(1, &["no permission", "--data-dir"]);
            ended.failed_as("permission");
        }
        drop(disk);
        assert_eq!(files(&data), was);
        assert_goes_on(by, home.path(), &node, &before);
    }
}

/// The second one is of another driver: the lock is the directory's.
#[test]
fn a_directory_in_use_is_left_to_its_user() {
    for (first, second) in PROGRAMS.into_iter().zip(PROGRAMS.into_iter().cycle().skip(1)) {
        let home = tempfile::tempdir().unwrap();
        let (node, _) = synced_by(first, home.path(), 200);
        let mut running = Running::start(&mut sync_by(first, home.path(), node.address, &["--follow"]));
        running.wait_for("synced", |_| true);
        let name = home.path().join("data").display().to_string();
        let command = |words: &[&str]| {
            let mut command = program(second, home.path(), words);
            command.args(["--json", "--network", "regtest", "--data-dir", &name]);
            command
        };
        let commands = [
            sync_by(second, home.path(), node.address, &[]),
            command(&["repair"]),
            command(&["headers", "show"]),
            command(&["headers", "export", home.path().join("file").to_str().unwrap()]),
        ];
        for mut command in commands {
            let ended = run(&mut command);
            ended.failed(1, &["in use by another process", "--data-dir"]);
            ended.failed_as("locked");
        }
        grow(&node, 201);
        running.wait_for("synced", |event| event["height"] == 289);
        running.signal("TERM");
        assert_found_everything(&running.end().last());
    }
}

#[test]
fn files_of_random_bytes_do_no_harm() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut noise = |len: usize| -> Vec<u8> { (0..len).map(|_| rng.u8(..)).collect() };
    // SQLite takes a file of a single byte for an empty one.
    for (by, len) in PROGRAMS.into_iter().cycle().zip([2, 100, 512, 4096, 50_000]) {
        let home = tempfile::tempdir().unwrap();
        let (node, before) = synced_by(by, home.path(), 200);
        grow(&node, 201);
        let data = home.path().join("data");
        let was = files(&data);
        let restore = || {
            fs::remove_dir_all(&data).unwrap();
            fs::create_dir(&data).unwrap();
            was.iter().for_each(|(name, bytes)| fs::write(data.join(name), bytes).unwrap());
        };
        // The database: refused, and left as it is; what had been there, put back, is there.
        let bytes = noise(len);
        fs::write(data.join("andon.sqlite"), &bytes).unwrap();
        let ended = run(&mut sync_by(by, home.path(), closed(), &[]));
        ended.failed(1, &["is not an SQLite database", "stays as it is", "repair"]);
        ended.failed_as("foreign");
        assert_eq!(fs::read(data.join("andon.sqlite")).unwrap(), bytes);
        restore();
        assert_goes_on(by, home.path(), &node, &before);
        restore();
        // What lies beside it: none of it is the database's, so it changes nothing.
        for name in [
            "andon.sqlite-wal",
            "andon.sqlite-shm",
            "andon.sqlite-journal",
            "andon.lock",
            "andon.sqlite.new",
            "andon.sqlite.damaged",
        ] {
            fs::write(data.join(name), noise(len)).unwrap();
            assert_goes_on(by, home.path(), &node, &before);
            restore();
        }
        // One in the place of what a repair left is refused: it would take the database's.
        fs::write(data.join("andon.sqlite.salvaged"), noise(len)).unwrap();
        let ended = run(&mut sync_by(by, home.path(), closed(), &[]));
        ended.failed(1, &["andon.sqlite.salvaged is not an SQLite database", "stays as it is"]);
        assert_eq!(files(&data)["andon.sqlite"], was["andon.sqlite"]);
        fs::remove_file(data.join("andon.sqlite.salvaged")).unwrap();
        assert_goes_on(by, home.path(), &node, &before);
    }
}

/// The log of a process that was killed has what the database has not. With random bytes in its place that is lost, by nobody
/// here; and all of it is found again.
#[test]
fn a_log_of_random_bytes_costs_what_it_held() {
    let mut rng = fastrand::Rng::with_seed(8);
    for by in PROGRAMS {
        let home = tempfile::tempdir().unwrap();
        let (node, before) = synced_by(by, home.path(), 200);
        let mut running = Running::start(&mut sync_by(by, home.path(), node.address, &["--follow"]));
        running.wait_for("synced", |_| true);
        grow(&node, 201);
        running.wait_for("synced", |event| event["height"] == 289);
        drop(running);
        let data = home.path().join("data");
        let len = fs::metadata(data.join("andon.sqlite-wal")).unwrap().len() as usize;
        assert!(len > 4096);
        fs::write(data.join("andon.sqlite-wal"), (0..len).map(|_| rng.u8(..)).collect::<Vec<_>>()).unwrap();
        assert_goes_on(by, home.path(), &node, &before);
    }
}
