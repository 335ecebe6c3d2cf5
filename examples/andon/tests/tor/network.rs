//! A Tor network of one's own: authorities that vote every twenty seconds, relays, and whoever uses them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use crate::common::daemon::{Daemon, free_ports};

const AUTHORITIES: usize = 3;
/// With the authorities seven, of which a service's and a client's circuits need six different ones.
const RELAYS: usize = 4;

pub(crate) struct TorNetwork {
    program: PathBuf,
    directory: PathBuf,
    /// What every configuration begins with.
    common: String,
    daemons: Vec<Daemon>,
}

impl TorNetwork {
    /// Starts authorities and relays, with all that they keep in this directory.
    pub(crate) fn start(program: PathBuf, directory: &Path) -> Self {
        let common = "TestingTorNetwork 1\nAddress 127.0.0.1\nAssumeReachable 1\nShutdownWaitLength 0\n\
                      PathsNeededToBuildCircuits 0.67\nDisableDebuggerAttachment 0\nV3AuthNIntervalsValid 2\n\
                      TestingDirAuthVoteExit *\nTestingDirAuthVoteHSDir *\nTestingDirAuthVoteGuard *\n";
        let directory = directory.to_owned();
        let mut network = Self { program, directory, common: common.into(), daemons: Vec::new() };
        let or_ports = free_ports::<AUTHORITIES>();
        let directory_ports = free_ports::<AUTHORITIES>();
        for number in 0..AUTHORITIES {
            let line = network.found_authority(number, or_ports[number], directory_ports[number]);
            network.common.push_str(&line);
        }
        for number in 0..AUTHORITIES {
            network.run(
                &format!("authority{number}"),
                &format!(
                    "ORPort 127.0.0.1:{}\nDirPort 127.0.0.1:{}\nAuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\n\
                     ContactInfo nobody@example.invalid\nExitPolicy reject *:*\n\
                     TestingV3AuthInitialVotingInterval 20\nTestingV3AuthInitialVoteDelay 4\n\
                     TestingV3AuthInitialDistDelay 4\nV3AuthVotingInterval 20\nV3AuthVoteDelay 4\nV3AuthDistDelay 4\n",
                    or_ports[number], directory_ports[number]
                ),
            );
        }
        for (number, port) in free_ports::<RELAYS>().into_iter().enumerate() {
            let more = format!("ORPort 127.0.0.1:{port}\nExitRelay 0\nExitPolicy reject *:*\n");
            network.run(&format!("relay{number}"), &more);
        }
        network
    }

    /// An onion service; its port 18444 and the one after it both lead to `target`. Returns its name.
    pub(crate) fn serve(&mut self, target: SocketAddr) -> String {
        let service = self.directory.join("service/onion");
        self.run(
            "service",
            &format!(
                "HiddenServiceDir {}\nHiddenServicePort 18444 {target}\nHiddenServicePort 18445 {target}\n",
                service.display()
            ),
        );
        let name = self.wait("the onion service's name", 60, |_| {
            fs::read_to_string(service.join("hostname")).ok().filter(|name| name.ends_with('\n'))
        });
        name.trim().to_owned()
    }

    /// A Tor for the program: where its SOCKS port is, and its control.
    pub(crate) fn client(&mut self) -> (SocketAddr, Control) {
        let [socks, control] = free_ports::<2>();
        let more = format!("SocksPort 127.0.0.1:{socks} ExtendedErrors\nControlPort 127.0.0.1:{control}\n");
        self.run("client", &more);
        let mut control =
            self.wait("the control port", 30, |_| Control::open((Ipv4Addr::LOCALHOST, control).into()));
        self.wait("a circuit", 120, |_| {
            let phase = control.ask("GETINFO status/bootstrap-phase");
            phase.iter().any(|line| line.contains("PROGRESS=100 ")).then_some(())
        });
        ((Ipv4Addr::LOCALHOST, socks).into(), control)
    }

    /// Asks once more until there is an answer. Fails after so many seconds, or when a Tor has ended.
    #[track_caller]
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        seconds: u64,
        mut ask: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            self.daemons.iter_mut().for_each(Daemon::assert_running);
            assert!(Instant::now() < deadline, "after {seconds} s there is not {what}");
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Makes an authority's keys. Returns the line by which all others know it.
    fn found_authority(&self, number: usize, or_port: u16, directory_port: u16) -> String {
        let name = format!("authority{number}");
        let home = self.directory.join(&name);
        let keys = home.join("keys");
        fs::create_dir_all(&keys).unwrap();
        let beside = self.program.with_file_name("tor-gencert");
        let mut gencert = Command::new(if beside.exists() { beside } else { "tor-gencert".into() });
        gencert.args(["--create-identity-key", "-m", "12", "--passphrase-fd", "0"]);
        gencert.args(["-a", &format!("127.0.0.1:{directory_port}")]);
        gencert.arg("-i").arg(keys.join("authority_identity_key"));
        gencert.arg("-s").arg(keys.join("authority_signing_key"));
        gencert.arg("-c").arg(keys.join("authority_certificate"));
        gencert.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = gencert.spawn().unwrap_or_else(|error| panic!("{gencert:?}: {error}"));
        child.stdin.take().unwrap().write_all(b"a passphrase\n").unwrap();
        assert!(child.wait().unwrap().success(), "{gencert:?}");
        let certificate = fs::read_to_string(keys.join("authority_certificate")).unwrap();
        let identity = certificate.lines().find_map(|line| line.strip_prefix("fingerprint ")).unwrap();

        let mut list = Command::new(&self.program);
        list.args(["--list-fingerprint", "--hush", "--SocksPort", "0", "--Nickname", &name]);
        list.args(["--ORPort", &or_port.to_string(), "--DataDirectory"]).arg(&home);
        list.arg("-f").arg(self.nothing()).arg("--defaults-torrc").arg(self.nothing());
        let listed = list.stdin(Stdio::null()).output().unwrap();
        assert!(listed.status.success(), "{list:?}: {listed:?}");
        let fingerprint = fs::read_to_string(home.join("fingerprint")).unwrap();
        let fingerprint = fingerprint.split_once(' ').unwrap().1.trim();
        format!(
            "DirAuthority {name} orport={or_port} no-v2 v3ident={identity} 127.0.0.1:{directory_port} {fingerprint}\n"
        )
    }

    /// An empty file, in the place of the system's own configuration.
    fn nothing(&self) -> PathBuf {
        let path = self.directory.join("nothing");
        fs::write(&path, "").unwrap();
        path
    }

    fn run(&mut self, name: &str, more: &str) {
        let home = self.directory.join(name);
        fs::create_dir_all(&home).unwrap();
        let mut text = format!("{}Nickname {name}\nDataDirectory {}\n", self.common, home.display());
        text += &format!("Log notice file {}\n", home.join("log").display());
        if !more.contains("SocksPort") {
            text += "SocksPort 0\n";
        }
        let file = home.join("torrc");
        fs::write(&file, text + more).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("--quiet").arg("--defaults-torrc").arg(self.nothing()).arg("-f").arg(file);
        // What it might find of the user's own is out of its sight.
        command.env("HOME", &home).env_remove("TOR_PT_STATE_LOCATION").current_dir(env::temp_dir());
        self.daemons.push(Daemon::start(&mut command, &home, &["log"]));
    }
}

/// The control port of a Tor.
pub(crate) struct Control(BufReader<TcpStream>);

impl Control {
    fn open(address: SocketAddr) -> Option<Self> {
        let stream = TcpStream::connect(address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut control = Self(BufReader::new(stream));
        assert_eq!(control.ask("AUTHENTICATE"), ["250 OK"]);
        Some(control)
    }

    /// The lines of an answer.
    pub(crate) fn ask(&mut self, request: &str) -> Vec<String> {
        self.0.get_mut().write_all(format!("{request}\r\n").as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "Tor closed its control port: {lines:?}");
            let line = line.trim_end().to_owned();
            let last = line.len() > 3
                && line.as_bytes()[..3].iter().all(u8::is_ascii_digit)
                && line[3..].starts_with(' ');
            lines.push(line);
            if last {
                return lines;
            }
        }
    }

    /// The circuits that stand between this Tor and onion services, by their numbers, each with its login.
    pub(crate) fn circuits(&mut self) -> BTreeMap<String, String> {
        let lines = self.ask("GETINFO circuit-status");
        let open =
            lines.iter().filter(|line| line.contains(" BUILT ") && line.contains("PURPOSE=HS_CLIENT_REND"));
        let joined = open.filter(|line| line.contains("HS_STATE=HSCR_JOINED"));
        let circuit = |line: &String| {
            // The last number before the state: what says what this is an answer to may stand before it.
            let before = line.split(" BUILT ").next().unwrap_or_default();
            let number = before.rsplit(|letter: char| !letter.is_ascii_digit()).next();
            let login = line.split(' ').find_map(|word| word.strip_prefix("SOCKS_USERNAME="));
            (number.unwrap_or_default().to_owned(), login.unwrap_or_default().to_owned())
        };
        joined.map(circuit).collect()
    }
}
