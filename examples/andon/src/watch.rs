//! What is watched: addresses, scripts and files of scripts, all turned into output scripts; and descriptors, whose scripts
//! the client derives.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use andon_bitcoin::client::{Descriptor, DescriptorError, Lookahead, Touch};
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Network, NetworkKind, ScriptBuf};

use crate::arguments::{WatchArguments, network_name};
use crate::error::Error;

/// No longer output script can be spent.
const MAX_SCRIPT_BYTES: usize = 10_000;
/// A file of scripts may be as long as this.
const MAX_FILE_BYTES: u64 = 64 << 20;
/// More scripts than this would make each filter's matching slow, and are hardly one wallet.
const MAX_SCRIPTS: usize = 1_000_000;

/// What to watch.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watch {
    scripts: BTreeSet<ScriptBuf>,
    descriptors: Vec<Descriptor>,
    /// The descriptors of each path.
    paths: BTreeSet<String>,
    lookahead: Lookahead,
}

impl Watch {
    /// Parses everything that the arguments name, for `network`.
    ///
    /// # Errors
    /// If anything is not what it should be, or of another network.
    pub(crate) fn parse(arguments: &WatchArguments, network: Network) -> Result<Self, Error> {
        let lookahead = Lookahead { gap: arguments.gap, first: arguments.range };
        let mut watch = Self { lookahead, ..Self::default() };
        for text in &arguments.addresses {
            watch.add(parse_address(text.trim(), network)?)?;
        }
        for text in &arguments.scripts {
            let script = parse_script(text.trim()).map_err(|why| {
                Error::usage(format!("invalid value '{text}' for '--script <HEX>': {why}"))
                    .help("give an output script (scriptPubKey) in hex; an address goes to --address")
            })?;
            watch.add(script)?;
        }
        for path in &arguments.script_files {
            watch.add_file(path)?;
        }
        for text in &arguments.descriptors {
            watch.add_descriptor(text.trim(), network)?;
        }
        if watch.scripts.is_empty() && watch.descriptors.is_empty() {
            return Err(Error::usage("there is nothing to watch: the files of scripts are empty").help(
                "put output scripts in hex into the file, one a line, or give --address or --descriptor",
            ));
        }
        Ok(watch)
    }

    /// The scripts alone.
    pub(crate) fn of_scripts(scripts: impl IntoIterator<Item = ScriptBuf>) -> Self {
        Self { scripts: scripts.into_iter().collect(), ..Self::default() }
    }

    /// The scripts that were given, each once.
    pub(crate) fn scripts(&self) -> impl ExactSizeIterator<Item = &ScriptBuf> {
        self.scripts.iter()
    }

    /// The descriptors that were given, and how far ahead their scripts are watched.
    pub(crate) fn descriptors(&self) -> (&[Descriptor], Lookahead) {
        (&self.descriptors, self.lookahead)
    }

    /// Whether a finding is of what is watched.
    pub(crate) fn contains(&self, touch: &Touch) -> bool {
        let derived = |paths: &BTreeSet<String>| {
            touch.derivation.as_ref().is_some_and(|derivation| paths.contains(&derivation.descriptor))
        };
        self.scripts.contains(&touch.script) || derived(&self.paths)
    }

    fn add(&mut self, script: ScriptBuf) -> Result<(), Error> {
        self.scripts.insert(script);
        if self.scripts.len() > MAX_SCRIPTS {
            return Err(Error::usage(format!("more than {MAX_SCRIPTS} scripts"))
                .help("split them over several runs, each with a --data-dir of its own"));
        }
        Ok(())
    }

    fn add_file(&mut self, path: &Path) -> Result<(), Error> {
        let shown = path.display();
        let unreadable = |error: std::io::Error| {
            Error::usage(format!("the file of scripts {shown} can't be read: {error}"))
                .help("check the path and its permissions")
        };
        let mut text = String::new();
        File::open(path)
            .and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text))
            .map_err(unreadable)?;
        if text.len() as u64 > MAX_FILE_BYTES {
            return Err(Error::usage(format!(
                "the file of scripts {shown} is longer than {MAX_FILE_BYTES} bytes"
            ))
            .help("split it over several runs, each with a --data-dir of its own"));
        }
        for (index, line) in text.lines().enumerate() {
            let line = line.split_once('#').map_or(line, |(before, _)| before).trim();
            if line.is_empty() {
                continue;
            }
            let script = parse_script(line).map_err(|why| {
                Error::usage(format!("{shown}, line {}: {why}", index + 1))
                    .help("each line holds one output script (scriptPubKey) in hex; a # begins a comment")
            })?;
            self.add(script)?;
        }
        Ok(())
    }

    fn add_descriptor(&mut self, text: &str, network: Network) -> Result<(), Error> {
        let wrong = |why: &dyn std::fmt::Display| {
            Error::usage(format!("invalid value '{}' for '--descriptor <DESCRIPTOR>': {why}", shorten(text)))
        };
        let descriptor = Descriptor::parse(text, network).map_err(|error| match &error {
            // The text is not repeated: it is a secret.
            DescriptorError::PrivateKey => Error::usage("the descriptor has a private key in it").help(
                "give the public one (bitcoin-cli listdescriptors without true): watching needs no secret, and a \
                 command line is no place for one",
            ),
            DescriptorError::OtherNetwork => {
                let keys = if NetworkKind::from(network) == NetworkKind::Main { "xpub" } else { "tpub" };
                wrong(&format!("its keys are of another network than {}", network_name(network)))
                    .help(format!("give a descriptor whose keys begin with {keys}, or another --network"))
            }
            DescriptorError::Underivable(_) => wrong(&error)
                .help("hardened steps (') can't follow an extended public key; give the key after them"),
            _ => wrong(&error).help(
                "check it for typing errors; extended keys are xpub or tpub, the checksum may be left out",
            ),
        })?;
        self.paths.extend(descriptor.paths().iter().cloned());
        self.descriptors.push(descriptor);
        Ok(())
    }
}

/// The address that a script has on a network, if it has one.
pub(crate) fn address(script: &ScriptBuf, network: Network) -> Option<String> {
    Address::from_script(script, network).ok().map(|address| address.to_string())
}

fn parse_address(text: &str, network: Network) -> Result<ScriptBuf, Error> {
    let address = Address::<NetworkUnchecked>::from_str(text).map_err(|error| {
        Error::usage(format!("invalid value '{text}' for '--address <ADDRESS>': {error}")).help(
            "check it for typing errors; a script goes to --script, an extended key into a --descriptor",
        )
    })?;
    if address.is_valid_for_network(network) {
        return Ok(address.assume_checked().script_pubkey());
    }
    let others: Vec<&str> =
        [Network::Bitcoin, Network::Testnet, Network::Testnet4, Network::Signet, Network::Regtest]
            .into_iter()
            .filter(|&other| address.is_valid_for_network(other))
            .map(network_name)
            .collect();
    let (wanted, others) = (network_name(network), others.join(", "));
    Err(Error::usage(format!("the address {text} is not of {wanted}, but of {others}"))
        .help(format!("give an address of {wanted}, or the --network that is meant")))
}

fn parse_script(text: &str) -> Result<ScriptBuf, String> {
    let script = ScriptBuf::from_hex(text).map_err(|error| format!("no hex: {error}"))?;
    if script.is_empty() {
        return Err("an empty script".into());
    }
    if script.len() > MAX_SCRIPT_BYTES {
        return Err(format!(
            "a script of {} bytes; more than {MAX_SCRIPT_BYTES} can't be spent",
            script.len()
        ));
    }
    if script.is_op_return() {
        return Err("an OP_RETURN script, which filters leave out".into());
    }
    Ok(script)
}

/// A descriptor short enough for a message.
fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.into();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn arguments() -> WatchArguments {
        WatchArguments {
            addresses: vec![],
            scripts: vec![],
            script_files: vec![],
            descriptors: vec![],
            range: 5,
            gap: 20,
        }
    }

    fn parse(arguments: &WatchArguments, network: Network) -> Result<Vec<String>, String> {
        Watch::parse(arguments, network)
            .map(|watch| watch.scripts().map(|script| script.to_hex_string()).collect())
            .map_err(|error| error.what)
    }

    fn descriptor(text: &str, network: Network) -> Result<Vec<String>, String> {
        parse(&WatchArguments { descriptors: vec![text.into()], ..arguments() }, network)
    }

    #[test]
    fn descriptors_of_another_network_or_with_secrets_are_refused() {
        let public = "xpub6CatWdiZiodmUeTDp8LT5or8nmbKNcuyvz7WyksVFkKB4RHwCD3XyuvPEbvqAQY3rAPshWcMLoP2fMFMKHPJ4ZeZXYVUhLv1VMrjPC7PW6V";
        let why = descriptor(&format!("wpkh({public}/0/*)"), Network::Signet).unwrap_err();
        assert!(why.contains("another network than signet"), "{why}");
        let secret = "xprv9s21ZrQH143K3GJpoapnV8SFfukcVBSfeCficPSGfubmSFDxo1kuHnLisriDvSnRRuL2Qrg5ggqHKNVpxR86QEC8w35uxmGoggxtQTPvfUu";
        for text in [
            format!("wpkh({secret}/0/*)"),
            format!("wpkh([00000000/84h]{secret}/0/*)"),
            "wpkh(KwDiBf89QgGbjEhKnhXJuH7LrciVrZi3qYjgd9M7rFU73sVHnoWn)".into(),
        ] {
            let why = descriptor(&text, Network::Bitcoin).unwrap_err();
            assert_eq!(why, "the descriptor has a private key in it");
        }
        for text in [
            "",
            "wpkh()",
            "nonsense",
            &format!("wpkh({public}/0'/*)"),
            &format!("wpkh({public}/0/*)#aaaaaaaa"),
        ] {
            descriptor(text, Network::Bitcoin).unwrap_err();
        }
    }

    #[test]
    fn addresses_are_of_the_network() {
        let of = |address: &str, network| {
            parse(&WatchArguments { addresses: vec![address.into()], ..arguments() }, network)
        };
        let script = "0014751e76e8199196d454941c45d1b3a323f1433bd6";
        assert_eq!(
            of("bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4", Network::Bitcoin),
            Ok(vec![script.into()])
        );
        assert_eq!(
            of("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", Network::Signet),
            Ok(vec![script.into()])
        );
        assert_eq!(
            of("tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx", Network::Bitcoin).unwrap_err(),
            "the address tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx is not of mainnet, but of testnet, testnet4, signet"
        );
        for text in ["", "1", "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t5", "0014aa"] {
            of(text, Network::Bitcoin).unwrap_err();
        }
    }

    #[test]
    fn files_of_scripts_have_comments_and_errors_have_lines() {
        let of = |text: &str| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            let path = file.path().to_path_buf();
            parse(&WatchArguments { script_files: vec![path.clone()], ..arguments() }, Network::Regtest)
                .map_err(|why| why.replace(&path.display().to_string(), "FILE"))
        };
        assert_eq!(of("# mine\n\n 0014aa  # first\r\n51\n0014aa\n"), Ok(vec!["0014aa".into(), "51".into()]));
        assert!(of("51\n\n0x51\n").unwrap_err().starts_with("FILE, line 3: no hex"));
        assert!(of("51\n6a0101\n").unwrap_err().starts_with("FILE, line 2: an OP_RETURN script"));
        assert!(of(&"51".repeat(10_001)).unwrap_err().starts_with("FILE, line 1: a script of 10001 bytes"));
        assert!(of("# none\n").unwrap_err().starts_with("there is nothing to watch"));
        let missing = WatchArguments { script_files: vec!["/nowhere/at/all".into()], ..arguments() };
        assert!(parse(&missing, Network::Regtest).unwrap_err().contains("can't be read"));
    }
}
