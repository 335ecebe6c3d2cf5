//! What a client is built from and what it is asked, as recordings keep it: JSON, which says what each value is called. So a
//! recording that was kept as a test is still read when a setting or a command has come to be.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use andon_kernel::recording::Recordable;
use bitcoin::Network;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, Command, Config};

/// What a configuration can't do without.
#[derive(Deserialize)]
struct Basis {
    network: Network,
    seed: [u8; 32],
}

impl Recordable for Client {
    const NAME: &'static str = "andon-bitcoin/client";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");

    type Construction = Config;

    fn build(config: Config) -> Self {
        Self::new(config)
    }

    fn encode_construction(config: &Config, out: &mut Vec<u8>) {
        write(config, out);
    }

    /// What is not there is as [`Config::new`] has it.
    fn decode_construction(bytes: &[u8]) -> Result<Config, String> {
        let given: Map<String, Value> = read(bytes)?;
        let basis: Basis = from_value(Value::Object(given.clone()))?;
        let defaults = serde_json::to_value(Config::new(basis.network, basis.seed));
        let Ok(Value::Object(mut whole)) = defaults else {
            unreachable!("a configuration is written as an object of its fields");
        };
        whole.extend(given);
        from_value(Value::Object(whole))
    }

    fn encode_command(command: &Command, out: &mut Vec<u8>) {
        write(command, out);
    }

    fn decode_command(bytes: &[u8]) -> Result<Command, String> {
        read(bytes)
    }
}

fn write(value: &impl Serialize, out: &mut Vec<u8>) {
    // Nothing in them has keys that are no texts, and nothing refuses to be written.
    out.extend_from_slice(&serde_json::to_vec(value).expect("configurations and commands can be written"));
}

fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

fn from_value<T: for<'a> Deserialize<'a>>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| error.to_string())
}
