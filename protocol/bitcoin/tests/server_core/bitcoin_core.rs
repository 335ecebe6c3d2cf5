//! A real Bitcoin Core on loopback, that has loaded given blocks.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use andon_bitcoin::wire::{CommandName, FilterRequest, Message};
use bitcoin::consensus::serialize;
use bitcoin::{Block, BlockHash};

use crate::node::{Answer, MAGIC, Node, Received, Stream, ask, bytes, is_announcement, is_pong, version};

/// Only against waiting for ever.
const PATIENCE: Duration = Duration::from_secs(120);

const OPTIONS: [&str; 12] = [
    "-regtest",
    "-server=0",
    "-listen=1",
    "-connect=0",
    "-listenonion=0",
    "-dnsseed=0",
    "-fixedseeds=0",
    "-natpmp=0",
    "-blockfilterindex=1",
    "-peerblockfilters=1",
    "-maxtipage=2000000000",
    "-printtoconsole=0",
];

pub(crate) struct Core {
    process: Child,
    address: SocketAddr,
    stream: Option<TcpStream>,
    cut: Stream,
    queue: VecDeque<Received>,
}

impl Core {
    pub(crate) fn start(program: &OsString, best: &[Block], stale: &[Block]) -> Self {
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("server-core-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let run = |name: &str, blocks: &[Block], last: &[&str]| {
            let mut framed = Vec::new();
            for block in blocks.iter().map(serialize) {
                framed.extend(MAGIC);
                framed.extend((block.len() as u32).to_le_bytes());
                framed.extend(block);
            }
            let file = folder.join(name);
            std::fs::write(&file, framed).unwrap();
            let mut command = std::process::Command::new(program);
            command.arg(format!("-datadir={}", folder.display()));
            command.arg(format!("-loadblock={}", file.display()));
            command.arg(format!("-bind={address}")).args(OPTIONS).args(last);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
        };
        // The stale branch in a run of its own: Core serves it only if it was the best one once.
        let first = [&best[..281], stale].concat();
        let status = run("first.dat", &first, &["-stopafterblockimport"]).wait().unwrap();
        assert!(status.success(), "bitcoind: {status}");
        let process = run("second.dat", &best[281..], &[]);
        Self { process, address, stream: None, cut: Stream::new(), queue: VecDeque::new() }
    }

    /// Waits until the chain is loaded, and all filters are there.
    pub(crate) fn wait_for(&mut self, height: u32, tip: BlockHash) {
        for _ in 0..600 {
            std::thread::sleep(Duration::from_millis(200));
            assert!(self.process.try_wait().unwrap().is_none(), "bitcoind ended");
            if TcpStream::connect(self.address).is_err() {
                continue;
            }
            self.connect();
            self.say(&[bytes(&version(false)), bytes(&Message::Verack)].concat());
            let request = FilterRequest { filter_type: 0, start_height: height, stop_hash: tip };
            let (messages, _) = ask(self, &bytes(&Message::GetCFilters(request)), 9);
            if messages.iter().any(|message| message.0 == CommandName::new("cfilter")) {
                return;
            }
        }
        panic!("bitcoind did not load its blocks");
    }

    fn next(&mut self) -> Option<Received> {
        let mut buffer = [0; 65536];
        while self.queue.is_empty() {
            match self.stream.as_mut().unwrap().read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.queue.extend(self.cut.cut(&buffer[..count])),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("bitcoind does not answer: {error}"),
            }
        }
        self.queue.pop_front()
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let folder = format!("server-core-{}", std::process::id());
        let _ = std::fs::remove_dir_all(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(folder));
    }
}

impl Node for Core {
    fn connect(&mut self) {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        self.stream = Some(stream);
        self.cut = Stream::new();
        self.queue.clear();
    }

    fn say(&mut self, bytes: &[u8]) {
        // It may have closed the connection already.
        let _ = self.stream.as_mut().unwrap().write_all(bytes);
    }

    fn hear(&mut self, nonce: u64) -> Answer {
        let mut messages = Vec::new();
        while let Some(message) = self.next() {
            if is_pong(&message, nonce) {
                return (messages, false);
            }
            messages.push(message);
        }
        (messages, true)
    }

    fn adopt(&mut self, _: u32, blocks: &[Block]) -> Received {
        // Another peer brings the blocks.
        let mut other = TcpStream::connect(self.address).unwrap();
        let mut sent = [bytes(&version(false)), bytes(&Message::Verack)].concat();
        blocks.iter().for_each(|block| sent.extend(bytes(&Message::Block(&serialize(block)))));
        other.write_all(&sent).unwrap();
        loop {
            let message = self.next().unwrap();
            if is_announcement(&message) {
                return message;
            }
        }
    }
}
