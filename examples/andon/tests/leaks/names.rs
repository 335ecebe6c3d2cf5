//! A server of names (DNS) that knows none, and remembers who asked for what.

use std::net::{SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

pub(crate) struct Names(Arc<Mutex<Vec<String>>>);

impl Names {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&asked);
        thread::spawn(move || {
            let mut query = [0; 1024];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let query = &mut query[..length];
                shared.lock().unwrap().push(name(query).unwrap_or_else(|| format!("{query:02x?}")));
                if let [_, _, flags, more, ..] = query {
                    // An answer, and there is no such name.
                    *flags |= 0x80;
                    *more = 0x80 | 3;
                }
                let _ = socket.send_to(query, from);
            }
        });
        Self(asked)
    }

    /// The names that were asked for since this was called last.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// The name in the first question, behind twelve bytes.
fn name(query: &[u8]) -> Option<String> {
    let mut rest = query.get(12..)?;
    let mut labels = Vec::new();
    loop {
        let (&length, after) = rest.split_first()?;
        if length == 0 {
            return Some(labels.join("."));
        }
        let (label, after) = after.split_at_checked(length.into())?;
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
}
