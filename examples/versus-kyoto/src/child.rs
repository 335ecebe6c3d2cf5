//! Processes that this program makes of itself: starting them, listening to them, ending them in time.

use std::env;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::iter;
use std::net::SocketAddr;
use std::process::{self, ChildStdin, Command, Stdio};
use std::str::FromStr;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use bitcoin::BlockHash;

use crate::chain::Plan;
use crate::lines::Served;
use crate::{Error, system};

/// A process, which ends with this value.
#[derive(Debug)]
pub(crate) struct Child {
    process: process::Child,
    lines: Receiver<String>,
}

/// What was heard of a process.
#[derive(Debug)]
pub(crate) enum Heard<T> {
    Line(T),
    Ended,
    TimedOut,
}

impl Child {
    /// Starts this program with other arguments. Its standard error is ours.
    ///
    /// # Errors
    /// If the system has no room for it.
    pub(crate) fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self, Error> {
        let mut process = Command::new(env::current_exe()?)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().ok_or("standard output is a pipe")?;
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Ok(Self { process, lines })
    }

    /// Its name under `/proc`.
    pub(crate) fn id(&self) -> String {
        self.process.id().to_string()
    }

    /// Waits for its next line, until `deadline` at most.
    ///
    /// # Errors
    /// If the line can't be read as what it should be.
    pub(crate) fn hear<T: FromStr<Err = Error>>(&self, deadline: Instant) -> Result<Heard<T>, Error> {
        match self.lines.recv_timeout(deadline.saturating_duration_since(system::now())) {
            Ok(line) => Ok(Heard::Line(line.parse()?)),
            Err(RecvTimeoutError::Timeout) => Ok(Heard::TimedOut),
            Err(RecvTimeoutError::Disconnected) => Ok(Heard::Ended),
        }
    }

    /// Waits until it has ended, and says whether it had been successful.
    ///
    /// # Errors
    /// If the system can't wait for it.
    pub(crate) fn wait(mut self) -> Result<bool, Error> {
        Ok(self.process.wait()?.success())
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail if it has ended and was waited for.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The process that serves the chain.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    stdin: ChildStdin,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The last block that it serves.
    pub(crate) tip: BlockHash,
}

/// How long a million blocks, or some gigabytes of filters, may take to be made on a slow machine.
const PATIENCE: Duration = Duration::from_secs(1200);

impl Server {
    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// If it doesn't get that far.
    pub(crate) fn start(plan: Plan) -> Result<Self, Error> {
        let mut child = Child::start(iter::once("serve".into()).chain(plan.arguments()))?;
        let stdin = child.process.stdin.take().ok_or("standard input is a pipe")?;
        match child.hear(system::now() + PATIENCE)? {
            Heard::Line(Served::Ready { address, tip }) => Ok(Self { child, stdin, address, tip }),
            heard => Err(format!("the server does not serve: {heard:?}").into()),
        }
    }

    /// What it has sent and received since its start, in bytes.
    ///
    /// # Errors
    /// If it has ended.
    pub(crate) fn traffic(&mut self) -> Result<(u64, u64), Error> {
        writeln!(self.stdin)?;
        match self.child.hear(system::now() + PATIENCE)? {
            Heard::Line(Served::Traffic { sent, received }) => Ok((sent, received)),
            heard => Err(format!("the server does not say what it has sent: {heard:?}").into()),
        }
    }

    /// The processor time that it has taken since its start.
    ///
    /// # Errors
    /// If the system doesn't tell.
    pub(crate) fn processor_time(&self) -> Result<Duration, Error> {
        system::processor_time(&self.child.id())
    }
}
