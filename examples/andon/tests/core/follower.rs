//! Our program at work for as long as a test goes on: what it prints is read by a thread of its own, so that a test can
//! look at it while it deals with nodes, and can kill it at any moment.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use serde_json::Value;

use crate::bitcoind::PATIENCE;

/// A program that follows. Killed when dropped.
pub(crate) struct Follower {
    child: Child,
    heard: Arc<(Mutex<Heard>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

/// What a program has printed.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// All objects but those on progress.
    pub(crate) objects: Vec<Value>,
    /// The block up to which everything is checked, if it is the tip.
    pub(crate) synced: Option<String>,
    ended: bool,
}

impl Heard {
    fn take(&mut self, object: Value) {
        match object["event"].as_str() {
            Some("progress") => return,
            Some("synced") => self.synced = object["block"].as_str().map(str::to_owned),
            Some("reorganised" | "rescan") => self.synced = None,
            Some("checked") if self.synced.as_deref() != object["block"].as_str() => self.synced = None,
            _ => {}
        }
        self.objects.push(object);
    }
}

impl Follower {
    /// Starts a command. What it says on standard error goes into `errors`.
    pub(crate) fn start(command: &mut Command, errors: File) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let heard = Arc::new((Mutex::new(Heard::default()), Condvar::new()));
        let for_reader = Arc::clone(&heard);
        let reader = Some(thread::spawn(move || read(lines, &for_reader)));
        Self { child, heard, reader }
    }

    /// What has been printed up to now.
    pub(crate) fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.0.lock().unwrap()
    }

    /// Waits until what has been printed satisfies a condition.
    #[track_caller]
    pub(crate) fn wait_until(&self, what: &str, condition: impl Fn(&Heard) -> bool) {
        let (heard, changed) = &*self.heard;
        let waiting = |heard: &mut Heard| !heard.ended && !condition(heard);
        let (heard, _) = changed.wait_timeout_while(heard.lock().unwrap(), PATIENCE, waiting).unwrap();
        let (done, ended) = (condition(&heard), heard.ended);
        let last: Vec<String> = heard.objects.iter().rev().take(20).map(Value::to_string).collect();
        drop(heard);
        assert!(done, "waited in vain for {what}; ended: {ended}; last: {last:#?}");
    }

    /// Waits until it has checked everything up to this tip.
    #[track_caller]
    pub(crate) fn wait_until_synced(&self, tip: &str) {
        self.wait_until(&format!("being synced to {tip}"), |heard| heard.synced.as_deref() == Some(tip));
    }

    /// Ends it in order; gives all that it printed.
    #[track_caller]
    pub(crate) fn interrupt(mut self) -> Vec<Value> {
        let pid = self.child.id();
        let sent = Command::new("sh").args(["-c", &format!("kill -INT {pid}")]).status().unwrap();
        assert!(sent.success());
        self.wait_until("its end", |heard| heard.ended);
        let status = self.child.wait().unwrap();
        let objects = self.all();
        assert_eq!(status.code(), Some(130), "{:?}", objects.last());
        objects
    }

    /// Kills it, wherever it is; gives all that it printed.
    pub(crate) fn kill(mut self) -> Vec<Value> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.all()
    }

    fn all(&mut self) -> Vec<Value> {
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.heard().objects)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(mut lines: BufReader<ChildStdout>, heard: &(Mutex<Heard>, Condvar)) {
    let (heard, changed) = heard;
    loop {
        let mut line = String::new();
        let read = lines.read_line(&mut line);
        let whole = matches!(read, Ok(length) if length > 0) && line.ends_with('\n');
        let mut heard = heard.lock().unwrap();
        if whole {
            heard.take(serde_json::from_str(&line).unwrap());
        } else {
            // Whoever is killed may leave half a line.
            heard.ended = true;
        }
        changed.notify_all();
        if !whole {
            return;
        }
    }
}
