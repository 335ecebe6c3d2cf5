//! A store of the first format.

use bitcoin::ScriptBuf;
use bitcoin::consensus::serialize;
use bitcoin::hashes::Hash;

use super::{Ledger, SEAL, Shelf, key};

/// What the first format would hold of a chain.
#[derive(Clone)]
pub(crate) struct Old {
    pub(crate) headers: u32,
    pub(crate) filter_headers: u32,
    pub(crate) next: Option<u32>,
}

impl Old {
    /// As a client of that time wrote it, that watched `scripts`.
    pub(crate) fn shelf(&self, ledger: &Ledger, scripts: &[ScriptBuf], present: &Shelf) -> Shelf {
        let mut shelf = Shelf::new();
        let mut format = vec![0, 0, 0, 1];
        format.extend_from_slice(&ledger.network.magic().to_bytes());
        shelf.put("meta", b"format", &format);
        if let Some(last) = self.headers.checked_sub(1) {
            let mut tip = key(last).to_vec();
            tip.extend_from_slice(ledger.block(last).hash.as_byte_array());
            tip.extend_from_slice(&ledger.work(last).to_be_bytes());
            shelf.put("meta", b"tip", &tip);
        }
        let rows = (0..self.headers).map(|height| (key(height).into(), serialize(&ledger.header(height))));
        shelf.put_all("header", rows);
        let filter_headers = ledger.filter_headers.iter().map(|header| header.as_byte_array().to_vec());
        let rows = (0..self.filter_headers).zip(filter_headers);
        shelf.put_all("filter_header", rows.map(|(height, value)| (key(height).into(), value)));
        if let Some(next) = self.next {
            shelf.put("meta", b"next", &key(next));
            shelf.put_all("watch", scripts.iter().map(|script| (script.to_bytes(), key(0).into())));
            let touches = present.rows("touches").into_iter().filter(|(at, _)| at[..4] < key(next)[..]);
            let old = touches.map(|(at, value)| (at, value[..value.len() - SEAL].to_vec()));
            shelf.put_all("touch", old);
        }
        shelf
    }
}
