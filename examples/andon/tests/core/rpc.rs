//! Bitcoin Core's JSON-RPC over HTTP, as far as these tests need it: one request for each connection.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// No call takes as long as this, unless the node hangs: it may have to leave thousands of blocks.
const PATIENCE: Duration = Duration::from_secs(300);

/// Where to call a node, and with what right.
#[derive(Clone, Debug)]
pub(crate) struct Rpc {
    address: SocketAddr,
    authorization: String,
}

/// Why a call gave no result.
#[derive(Debug)]
pub(crate) enum RpcError {
    /// The node could not be reached, or said nothing that can be read.
    Connection(io::Error),
    /// The node refused, with a code and a text.
    Refused(i64, String),
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection(error) => error.fmt(f),
            Self::Refused(code, text) => write!(f, "{text} ({code})"),
        }
    }
}

impl Rpc {
    /// With the contents of the node's cookie file, `USER:PASSWORD`.
    pub(crate) fn new(address: SocketAddr, cookie: &str) -> Self {
        Self { address, authorization: base64(cookie.as_bytes()) }
    }

    /// Where the node is called.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Calls a method with its parameters, by position.
    pub(crate) fn call(&self, method: &str, parameters: Value) -> Result<Value, RpcError> {
        result_of(self.exchange(&request(method, &parameters))?)
    }

    /// Calls a method several times in one request: the results, in order.
    pub(crate) fn batch(&self, method: &str, parameters: &[Value]) -> Result<Vec<Value>, RpcError> {
        let requests: Vec<Value> = parameters.iter().map(|parameters| request(method, parameters)).collect();
        let Value::Array(answers) = self.exchange(&requests.into())? else {
            return Err(RpcError::Connection(io::ErrorKind::InvalidData.into()));
        };
        if answers.len() != parameters.len() {
            return Err(RpcError::Connection(io::ErrorKind::InvalidData.into()));
        }
        answers.into_iter().map(result_of).collect()
    }

    fn exchange(&self, request: &Value) -> Result<Value, RpcError> {
        let body = self.post(&request.to_string()).map_err(RpcError::Connection)?;
        serde_json::from_slice(&body).map_err(|error| RpcError::Connection(error.into()))
    }

    fn post(&self, body: &str) -> io::Result<Vec<u8>> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let Self { address, authorization } = self;
        let length = body.len();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: Basic {authorization}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut length = None;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
        }
        let length: usize = length.ok_or(io::ErrorKind::InvalidData)?;
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        Ok(body)
    }
}

fn request(method: &str, parameters: &Value) -> Value {
    json!({"jsonrpc": "1.0", "id": 0, "method": method, "params": parameters})
}

fn result_of(mut answer: Value) -> Result<Value, RpcError> {
    match &answer["error"] {
        Value::Null => Ok(answer["result"].take()),
        error => {
            let text = error["message"].as_str().unwrap_or_default().to_owned();
            Err(RpcError::Refused(error["code"].as_i64().unwrap_or_default(), text))
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
        let group = at(0) << 16 | at(1) << 8 | at(2);
        for digit in 0..4 {
            let is_filled = digit <= chunk.len();
            let value = (group >> (18 - 6 * digit)) & 63;
            text.push(if is_filled { DIGITS[value as usize].into() } else { '=' });
        }
    }
    text
}

#[test]
fn base64_is_as_in_its_standard() {
    for (bytes, text) in [
        ("", ""),
        ("f", "Zg=="),
        ("fo", "Zm8="),
        ("foo", "Zm9v"),
        ("foob", "Zm9vYg=="),
        ("fooba", "Zm9vYmE="),
    ] {
        assert_eq!(base64(bytes.as_bytes()), text);
    }
}
