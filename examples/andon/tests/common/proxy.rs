//! A SOCKS5 proxy on loopback that knows some names, for the program to go through.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A proxy at work. Its threads end with their connections, and with the program.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    met: Arc<Mutex<Met>>,
}

/// What it was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Met {
    pub(crate) targets: Vec<String>,
    pub(crate) logins: Vec<(String, String)>,
}

impl Proxy {
    /// One that connects to these, by name or by an address with its port, and to whatever on this machine.
    pub(crate) fn start(names: &[(&str, SocketAddr)]) -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), names)
    }

    /// One that listens there. Addresses without a port may be among the names, and lead elsewhere then.
    pub(crate) fn start_at(address: SocketAddr, names: &[(&str, SocketAddr)]) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let met = Arc::new(Mutex::new(Met::default()));
        let names: Arc<BTreeMap<String, SocketAddr>> =
            Arc::new(names.iter().map(|(name, address)| ((*name).to_owned(), *address)).collect());
        let shared = Arc::clone(&met);
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let (met, names) = (Arc::clone(&shared), Arc::clone(&names));
                // Either end may go at any moment.
                thread::spawn(move || serve(client, &names, &met));
            }
        });
        Self { address, met }
    }

    pub(crate) fn met(&self) -> Met {
        self.met.lock().unwrap().clone()
    }
}

fn serve(mut client: TcpStream, names: &BTreeMap<String, SocketAddr>, met: &Mutex<Met>) -> Option<()> {
    let [5, 1, method] = take(&mut client)? else { return None };
    client.write_all(&[5, method]).ok()?;
    if method == 2 {
        let [1] = take(&mut client)? else { return None };
        let login = (text(&mut client)?, text(&mut client)?);
        met.lock().unwrap().logins.push(login);
        client.write_all(&[1, 0]).ok()?;
    }
    let [5, 1, 0, kind] = take(&mut client)? else { return None };
    let (name, found) = match kind {
        1 => {
            let address = Ipv4Addr::from(take::<4>(&mut client)?);
            (address.to_string(), Some(IpAddr::from(address)))
        }
        3 => (text(&mut client)?, None),
        4 => {
            let address = Ipv6Addr::from(take::<16>(&mut client)?);
            (address.to_string(), Some(IpAddr::from(address)))
        }
        _ => return None,
    };
    let port = u16::from_be_bytes(take(&mut client)?);
    met.lock().unwrap().targets.push(format!("{name}:{port}"));
    let local = found.filter(IpAddr::is_loopback).map(|address| SocketAddr::new(address, port));
    let place = format!("{name}:{port}");
    let found = names.get(&place).or_else(|| names.get(&name)).copied().or(local);
    let peer = found.and_then(|address| TcpStream::connect(address).ok());
    let reply = if peer.is_some() { 0 } else { 4 };
    client.write_all(&[5, reply, 0, 1, 0, 0, 0, 0, 0, 0]).ok()?;
    let peer = peer?;
    let back = (peer.try_clone().ok()?, client.try_clone().ok()?);
    thread::spawn(move || carry(back.0, back.1));
    carry(client, peer);
    Some(())
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // An end by error is an end.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn take<const N: usize>(stream: &mut TcpStream) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

fn text(stream: &mut TcpStream) -> Option<String> {
    let [length] = take(stream)?;
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).ok()?;
    String::from_utf8(bytes).ok()
}
