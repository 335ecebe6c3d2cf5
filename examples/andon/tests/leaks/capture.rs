//! Every frame that the program's machine sends, read from the wire beside it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use std::{fs, thread};

use rustix::net::{AddressFamily, RecvFlags, SocketType, eth, recv, socket, sockopt};

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Packet {
    /// The system looks for its neighbours on the wire (ARP, neighbour discovery, multicast listeners).
    Neighbours,
    Tcp(SocketAddr),
    Udp(SocketAddr),
    /// Another protocol of IP, to there.
    Ip(u8, IpAddr),
    /// No IP at all.
    Other(u16),
}

/// A wire under observation.
pub(crate) struct Capture {
    interface: &'static str,
    seen: Arc<Mutex<Vec<Packet>>>,
    taken: usize,
    marks: Receiver<[u8; 8]>,
    marked: u64,
    /// What is sent from here to itself comes by, and tells how far the reading is.
    pen: UdpSocket,
}

impl Capture {
    /// Reads what comes to an interface from the machine with this address on the wire, from now on. The sender must not
    /// have sent before.
    pub(crate) fn start(interface: &'static str, sender: [u8; 6]) -> Self {
        let wire = socket(AddressFamily::PACKET, SocketType::RAW, Some(eth::ALL)).unwrap();
        // Room for far more than a test sends, since what does not fit is not seen; or as much as is allowed.
        let room = 16 << 20;
        sockopt::set_socket_recv_buffer_size_force(&wire, room)
            .or_else(|_| sockopt::set_socket_recv_buffer_size(&wire, room))
            .unwrap();
        let pen = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        pen.connect(pen.local_addr().unwrap()).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (to_marks, marks) = channel();
        let shared = Arc::clone(&seen);
        thread::spawn(move || read(&wire, sender, &shared, &to_marks));
        Self { interface, seen, taken: 0, marks, marked: 0, pen }
    }

    /// What was sent since this was asked last, and by nobody but the system's search for neighbours. All of it: there are
    /// as many frames as the interface has counted.
    pub(crate) fn take(&mut self) -> Vec<Packet> {
        // A frame is on its way for a moment.
        thread::sleep(Duration::from_millis(50));
        let counted = received(self.interface);
        self.marked += 1;
        let mark = self.marked.to_le_bytes();
        self.pen.send(&mark).unwrap();
        while self.marks.recv_timeout(Duration::from_secs(10)).expect("the mark comes by") != mark {}
        let packets = std::mem::take(&mut *self.seen.lock().unwrap());
        self.taken += packets.len();
        assert!(self.taken >= counted, "{counted} frames came, and {} were seen", self.taken);
        packets.into_iter().filter(|packet| *packet != Packet::Neighbours).collect()
    }
}

/// How many frames have come to an interface.
fn received(interface: &str) -> usize {
    let table = fs::read_to_string("/proc/net/dev").unwrap();
    let line = table.lines().find_map(|line| line.trim().strip_prefix(interface)?.strip_prefix(':'));
    line.unwrap().split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn read(wire: &OwnedFd, sender: [u8; 6], seen: &Mutex<Vec<Packet>>, marks: &Sender<[u8; 8]>) {
    let mut buffer = [0; 1 << 16];
    while let Ok((_, length)) = recv(wire, &mut buffer, RecvFlags::empty()) {
        let frame = &buffer[..length.min(buffer.len())];
        let Some((ethernet, contents)) = frame.split_first_chunk::<14>() else { continue };
        if ethernet[6..12] == sender {
            let packet = classify(u16::from_be_bytes([ethernet[12], ethernet[13]]), contents);
            seen.lock().unwrap().push(packet);
        } else if ethernet[..12] == [0; 12]
            && let [.., a, b, c, d, e, f, g, h] = *contents
            // Over loopback, with nothing before it but the headers of IPv4 and UDP.
            && contents.len() == 20 + 8 + 8
        {
            // The test may have ended.
            let _ = marks.send([a, b, c, d, e, f, g, h]);
        }
    }
}

const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

fn classify(kind: u16, contents: &[u8]) -> Packet {
    let packet = match kind {
        ARP => Some(Packet::Neighbours),
        IPV4 => read_ipv4(contents),
        IPV6 => read_ipv6(contents),
        _ => None,
    };
    packet.unwrap_or(Packet::Other(kind))
}

fn read_ipv4(packet: &[u8]) -> Option<Packet> {
    let header = packet.first_chunk::<20>()?;
    let to = Ipv4Addr::from(*header.last_chunk::<4>()?);
    let contents = packet.get(usize::from(header[0] & 0xf) * 4..)?;
    Some(read_ip(header[9], to.into(), contents))
}

fn read_ipv6(packet: &[u8]) -> Option<Packet> {
    let (header, contents) = packet.split_first_chunk::<40>()?;
    let to = Ipv6Addr::from(*header.last_chunk::<16>()?);
    // Before multicast listeners' reports stands an option of eight bytes for routers.
    let (protocol, contents) = match (header[6], contents) {
        (0, [next, 0, _, _, _, _, _, _, rest @ ..]) => (*next, rest),
        (protocol, contents) => (protocol, contents),
    };
    match (protocol, contents.first()) {
        (ICMPV6, Some(130..=137 | 143)) => Some(Packet::Neighbours),
        _ => Some(read_ip(protocol, to.into(), contents)),
    }
}

fn read_ip(protocol: u8, to: IpAddr, contents: &[u8]) -> Packet {
    let port = contents.get(2..4).map(|port| u16::from_be_bytes([port[0], port[1]]));
    match (protocol, port) {
        (TCP, Some(port)) => Packet::Tcp(SocketAddr::new(to, port)),
        (UDP, Some(port)) => Packet::Udp(SocketAddr::new(to, port)),
        _ => Packet::Ip(protocol, to),
    }
}
