//! The program itself, on a short chain.

use std::error::Error;
use std::process::{Command, Output};

fn versus(arguments: &[&str]) -> Result<Output, Box<dyn Error>> {
    Ok(Command::new(env!("CARGO_BIN_EXE_versus-kyoto")).args(arguments).output()?)
}

#[test]
fn both_clients_reach_the_tip() -> Result<(), Box<dyn Error>> {
    // More than a message of headers and one of filter headers, and not a multiple of either.
    let Output { status, stdout, stderr } = versus(&["--blocks", "1,4321", "--runs", "2"])?;
    let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    assert!(status.success(), "{stdout}{stderr}");
    for blocks in ["1", "4,321"] {
        let title = format!("{blocks} blocks over loopback");
        let line = stdout.lines().find(|line| line.starts_with(&title));
        let line = line.ok_or_else(|| format!("no table of {blocks} blocks in {stdout}"))?;
        assert!(line.contains("Andon 2 runs, Kyoto 0.8.1 2 runs"), "{line}");
    }
    for row in ["every filter header known", "peak memory", "received"] {
        let ratios = stdout.lines().filter(|line| line.starts_with(row)).filter_map(|line| {
            let ratio: f64 = line.split_whitespace().last()?.parse().ok()?;
            Some(ratio)
        });
        let ratios: Vec<f64> = ratios.collect();
        assert!(
            ratios.len() == 2 && ratios.iter().all(|&ratio| ratio > 0.0),
            "{row}: {ratios:?} of {stdout}"
        );
    }
    Ok(())
}

#[test]
fn a_client_runs_alone() -> Result<(), Box<dyn Error>> {
    for (only, expected) in
        [("andon", "Andon 1 runs, Kyoto 0.8.1 0 runs"), ("kyoto", "Andon 0 runs, Kyoto 0.8.1 1 runs")]
    {
        let Output { status, stdout, .. } = versus(&["--blocks", "50", "--runs", "1", "--only", only])?;
        assert!(status.success());
        assert!(String::from_utf8(stdout)?.contains(expected), "{only}");
    }
    Ok(())
}

#[test]
fn a_client_that_does_not_reach_the_tip_is_no_success() -> Result<(), Box<dyn Error>> {
    // Nobody listens there, and the tip is another network's first block.
    let tip = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f";
    let plan = ["--blocks", "5", "--elements", "0", "--scripts", "0", "--end", "1700000000"];
    let goal = [&plan[..], &["--peer", "127.0.0.1:1", "--tip", tip]].concat();
    let directory = std::env::temp_dir().join(format!("versus-kyoto-test-{}", std::process::id()));
    let directory_text = directory.to_str().ok_or("the temporary directory has an odd name")?;
    let andon = [&["andon"], &goal[..], &["--directory", directory_text]].concat();
    let kyoto = [&["kyoto"], &goal[..]].concat();
    for arguments in [andon, kyoto] {
        let Output { status, stdout, stderr } = versus(&arguments)?;
        let (stdout, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
        assert!(!status.success(), "{arguments:?}: {stdout}");
        assert!(stderr.contains("error: "), "{arguments:?}: {stderr}");
        assert!(!stdout.contains("done"), "{arguments:?}: {stdout}");
    }
    std::fs::remove_dir_all(directory)?;
    Ok(())
}

#[test]
fn wrong_arguments_are_said() -> Result<(), Box<dyn Error>> {
    for arguments in [
        &["--blocks", "0"][..],
        &["--blocks", "1000001"],
        &["--elements", "100001"],
        &["--scripts", "0"],
        &["--runs", "0"],
        &["--time-limit", "0"],
        &["--only", "nobody"],
    ] {
        let output = versus(arguments)?;
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    Ok(())
}
