//! `usage`, on few blocks: both clients find what there is over each link, and the table says what it took.

use std::error::Error;
use std::process::{Command, Output};

fn usage(arguments: &[&str]) -> Result<Output, Box<dyn Error>> {
    Ok(Command::new(env!("CARGO_BIN_EXE_versus-kyoto")).arg("usage").args(arguments).output()?)
}

/// The numbers of a row, once for each client that has it.
fn rows(table: &str, name: &str) -> Vec<Vec<f64>> {
    let rows = table.lines().filter_map(|line| line.trim_start().strip_prefix(name));
    rows.map(|row| row.split_whitespace().filter_map(|word| word.replace(',', "").parse().ok()).collect())
        .collect()
}

#[test]
fn both_clients_find_the_truth_over_each_link() -> Result<(), Box<dyn Error>> {
    let arguments =
        ["--blocks", "2500", "--elements", "600", "--links", "unlimited,2,3+1", "--link-time", "1"];
    let Output { status, stdout, stderr } = usage(&arguments)?;
    let (table, stderr) = (String::from_utf8(stdout)?, String::from_utf8(stderr)?);
    assert!(status.success(), "{table}{stderr}");
    // A second is enough for about 1,260 filters at 2 MB/s and for 2,520 at 4 MB/s.
    assert_eq!(rows(&table, "blocks"), [[2500.0, 484.0, 2500.0]], "{table}");
    assert_eq!(rows(&table, "payments to be found"), [[20.0, 3.0, 20.0]], "{table}");
    assert!(
        table.contains("\nNot with all blocks, for the time that takes: 2 MB/s with 484 blocks."),
        "{table}"
    );
    for name in ["received", "time", "processor time", "of one processor", "peak memory"] {
        let rows = rows(&table, name);
        let is_measured = |row: &Vec<f64>| row.len() == 3 && row.iter().all(|&number| number > 0.0);
        assert!(rows.len() == 2 && rows.iter().all(is_measured), "{name}: {rows:?} of {table}");
    }
    // No link lets more through than it may, but for what it makes up.
    for (time, alone) in rows(&table, "time").iter().zip(rows(&table, "the link alone")) {
        assert_eq!(alone.len(), 2);
        assert!(time[1..].iter().zip(alone).all(|(time, alone)| time + 0.06 >= alone), "{table}");
    }
    Ok(())
}

#[test]
fn a_client_runs_alone() -> Result<(), Box<dyn Error>> {
    for (only, other) in [("andon", "Kyoto"), ("kyoto", "Andon")] {
        let arguments = ["--blocks", "30", "--elements", "20", "--links", "unlimited", "--only", only];
        let Output { status, stdout, stderr } = usage(&arguments)?;
        let table = String::from_utf8(stdout)?;
        assert!(status.success(), "{table}{}", String::from_utf8(stderr)?);
        assert!(rows(&table, "received").len() == 1 && !table.contains(other), "{table}");
    }
    Ok(())
}

#[test]
fn what_can_not_be_measured_is_said() -> Result<(), Box<dyn Error>> {
    for arguments in [
        &["--blocks", "0"][..],
        &["--elements", "9501"],
        &["--links", "fast"],
        &["--links", "8+"],
        &["--link-time", "0"],
    ] {
        assert_eq!(usage(arguments)?.status.code(), Some(2), "{arguments:?}");
    }
    // Not a filter goes through in a second.
    let Output { status, stderr, .. } =
        usage(&["--blocks", "30", "--elements", "9000", "--links", "0.01", "--link-time", "1"])?;
    assert_eq!(status.code(), Some(1));
    assert!(String::from_utf8(stderr)?.contains("takes more than --link-time for any of it"));
    Ok(())
}
