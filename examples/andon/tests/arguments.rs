//! Wrong arguments: each is told with what to do, and nothing is touched.

mod common;

use std::fs;

use common::{PROGRAMS, andon, program, run};

#[test]
fn wrong_arguments_are_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("scripts");
    fs::write(&file, "51\nzz\n").unwrap();
    let file = file.to_str().unwrap();
    let long = "x".repeat(257);
    // The last of what is longer is a device that does not end, as far as a program can read.
    let endless = "/dev/zero";
    let script = ["--script", "51"];
    let peer = ["--peer", "127.0.0.1:1"];
    let cases: &[(&[&str], &str)] = &[
        (&["--nonsense"], "unexpected argument '--nonsense'"),
        (&["sink"], "unrecognized subcommand 'sink'"),
        (&[&["sync"][..], &peer].concat(), "required arguments were not provided"),
        // On another network nodes would be looked for: no test does that.
        (&[&["sync", "--network", "regtest"][..], &script].concat(), "no peer was given"),
        (&[&["broadcast", "00"][..], &peer].concat(), "the transaction can't be read"),
        (&[&["broadcast"][..], &peer].concat(), "required arguments were not provided"),
        (&[&["broadcast", "--until", "never", "00"][..], &peer].concat(), "invalid value 'never'"),
        (&[&["broadcast", "/nowhere/at/all"][..], &peer].concat(), "can't be read"),
        (&[&["sync", "--network", "moonnet"][..], &script, &peer].concat(), "invalid value 'moonnet'"),
        (&[&["sync", "--peer", "a b"][..], &script].concat(), "invalid value 'a b' for '--peer"),
        (&[&["sync", "--peer", "host:0"][..], &script].concat(), "the port is not a number from 1 to 65535"),
        (&[&["sync", "--script", "5"][..], &peer].concat(), "invalid value '5' for '--script"),
        (&[&["sync", "--script", ""][..], &peer].concat(), "an empty script"),
        (&[&["sync", "--script", "6a0101"][..], &peer].concat(), "OP_RETURN"),
        (&[&["sync", "--scripts", file][..], &peer].concat(), "line 2: no hex"),
        (&[&["sync", "--scripts", "/nowhere/at/all"][..], &peer].concat(), "can't be read"),
        (
            &[&["sync", "--address", "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx"][..], &peer].concat(),
            "not of mainnet",
        ),
        (
            &[&["sync", "--address", "bc1nonsense"][..], &peer].concat(),
            "invalid value 'bc1nonsense' for '--address",
        ),
        (&[&["sync", "--descriptor", "wpkh(nonsense)"][..], &peer].concat(), "for '--descriptor"),
        (
            &[&["sync", "--birthday", "2023-02-29"][..], &script, &peer].concat(),
            "neither a block height nor a day",
        ),
        (&[&["sync", "--range", "0"][..], &script, &peer].concat(), "invalid value '0' for '--range"),
        (
            &[&["sync", "--minimum-work", "much"][..], &script, &peer].concat(),
            "invalid value 'much' for '--minimum-work",
        ),
        (&[&["sync", "--peer", "short.onion"][..], &script].concat(), "no onion address"),
        (&[&["sync", "--peer", "node.i2p"][..], &script].concat(), "no address of I2P"),
        (&[&["sync", "--i2p-sam", "router:7656"][..], &script, &peer].concat(), "such as 127.0.0.1:7656"),
        (
            &[&["sync", "--transport", "v3"][..], &script, &peer].concat(),
            "invalid value 'v3' for '--transport",
        ),
        (
            &[&["sync", "--proxy", "tor.example:9050"][..], &script, &peer].concat(),
            "no IP address with a port, such as 127.0.0.1:9050",
        ),
        (
            &[&["sync", "--proxy", "me@127.0.0.1:1"][..], &script, &peer].concat(),
            "a name and a password of 1 to 255 bytes",
        ),
        (
            &[&["sync", "--proxy", "me:x@127.0.0.1:1", "--proxy-isolation"][..], &script, &peer].concat(),
            "leave one of them out",
        ),
        (&[&["sync", "--proxy-isolation"][..], &script, &peer].concat(), "--proxy <"),
        (&[&["sync", "--user-agent", &long][..], &script, &peer].concat(), "it has 257 bytes"),
        (&[&["sync", "--as-map", endless][..], &script, &peer].concat(), "it has more than"),
        (&[&["sync", "--as-map", "/nowhere/at/all"][..], &script, &peer].concat(), "can't be used"),
        (&[&["broadcast", endless][..], &peer].concat(), "bytes"),
        (&[&["fees", "--blocks", "0"][..], &peer].concat(), "invalid value '0' for '--blocks"),
        (&[&["fees", "--blocks", "145"][..], &peer].concat(), "invalid value '145' for '--blocks"),
        (&["fees", "--network", "regtest"], "no peer was given"),
        (&["headers"], "requires a subcommand"),
        (&["headers", "shred"], "unrecognized subcommand 'shred'"),
        (&["headers", "show", "tip"], "neither a block height nor a block hash of 64 hex digits"),
        (&["headers", "export"], "required arguments were not provided"),
        (&["headers", "import"], "required arguments were not provided"),
        (&["repair", "everything"], "unexpected argument 'everything'"),
        (
            &[&["sync", "--timeout", "soon"][..], &script, &peer].concat(),
            "invalid value 'soon' for '--timeout",
        ),
    ];
    for (arguments, text) in cases {
        let ended = run(&mut andon(home.path(), *arguments));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{arguments:?}: {ended:?}");
        assert!(
            ended.stderr.starts_with("error: ") && ended.stderr.contains(text),
            "{arguments:?}: {}",
            ended.stderr
        );
        let ended = run(andon(home.path(), *arguments).arg("--json"));
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
        ended.failed_as("arguments");
        assert!(ended.last()["what"].as_str().unwrap().contains(text), "{arguments:?}: {}", ended.stdout);
    }
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "something was made beside the file");
}

#[test]
fn help_and_version_are_no_errors() {
    let home = tempfile::tempdir().unwrap();
    for (arguments, text) in [
        (&["--help"][..], "Exit codes:"),
        (&["--help"], "peak_memory_bytes"),
        (&["sync", "--help"], "--birthday <HEIGHT|DATE>"),
        (&["sync", "--help"], "--from-genesis"),
        (&["headers", "--help"], "export"),
        (&["headers", "import", "--help"], "--no-filter-headers"),
        (&["repair", "--help"], "andon.sqlite.damaged"),
        (&["--help"], "headers_not_kept"),
    ] {
        let ended = run(&mut andon(home.path(), arguments));
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{arguments:?}");
        assert!(ended.stdout.contains(text), "{arguments:?}: {}", ended.stdout);
    }
}

#[test]
fn each_program_says_which_it_is() {
    let home = tempfile::tempdir().unwrap();
    for (by, name) in PROGRAMS.into_iter().zip(["andon-mio", "andon-smol", "andon-tokio"]) {
        let ended = run(&mut program(by, home.path(), ["--version"]));
        let version = format!("{name} {}\n", env!("CARGO_PKG_VERSION"));
        assert_eq!((ended.code, ended.stdout, ended.stderr.as_str()), (Some(0), version, ""));
        let ended = run(&mut program(by, home.path(), ["headers", "--help"]));
        assert!(ended.stdout.contains(&format!("Usage: {name} headers ")), "{}", ended.stdout);
    }
}
