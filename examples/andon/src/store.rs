//! The data directory's errors in words for a person.

use std::path::Path;

use andon_bitcoin::client::Failure;
use andon_driver::DriverError;
use andon_store::{OpenError, StoreError};
use bitcoin::Network;

use crate::arguments::network_name;
use crate::error::Error;
use crate::runtime::StartError;

const AGAIN: &str =
    "everything in it can be downloaded again: remove or rename the directory, or give another --data-dir";

/// Why a client or server could not be started.
pub(crate) fn start_error(error: StartError<OpenError>, network: Network, data_dir: &Path) -> Error {
    match error {
        StartError::Driver(error) => Error::new(
            "system",
            format!("the system refuses what the program needs: {error}"),
        )
        .help(
            "it may have too many open files or threads: close some programs, or raise the limit (ulimit -n)",
        ),
        StartError::Store(error) => open_error(&error, network, data_dir),
    }
}

/// Why a data directory can't be opened, or salvaged.
pub(crate) fn open_error(error: &OpenError, network: Network, data_dir: &Path) -> Error {
    let what = format!("the data directory can't be opened: {error}");
    let (kind, help) = match error {
        OpenError::Locked { .. } => (
            "locked",
            "another andon is at work there: wait for it or stop it, or give this one another --data-dir"
                .into(),
        ),
        OpenError::NoPermission { .. } => {
            ("permission", "give yourself the right to read and write there, or another --data-dir".into())
        }
        OpenError::NotADirectory { .. } => {
            ("not_a_directory", "give the path of a directory as --data-dir".into())
        }
        OpenError::NotADatabase { .. } => (
            "foreign",
            format!(
                "something else is in there, and stays as it is: give another --data-dir; or, if it was this program's \
                 and is damaged: {}",
                repair(network, data_dir)
            ),
        ),
        OpenError::Foreign { .. } => {
            ("foreign", "something else is in there, and stays as it is: give another --data-dir".into())
        }
        OpenError::Newer { .. } => ("newer", format!("use the newer version of this program; or {AGAIN}")),
        OpenError::Damaged { .. } => ("damaged", format!("{}; or {AGAIN}", repair(network, data_dir))),
        OpenError::Full { .. } => ("full", FULL.into()),
        _ => ("data_dir", "check the path and the disk, or give another --data-dir".into()),
    };
    Error::new(kind, what).help(help)
}

const FULL: &str =
    "make room on the disk and run it again: it goes on from what was stored; or give another --data-dir";

/// What to do about a damaged database.
fn repair(network: Network, data_dir: &Path) -> String {
    let (network, data_dir) = (network_name(network), data_dir.display());
    format!(
        "`repair --network {network} --data-dir {data_dir}` saves what can be saved, and the next sync fetches the rest"
    )
}

/// The error for data of which a part can't be read.
pub(crate) fn damaged(what: &str, network: Network, data_dir: &Path) -> Error {
    let what = format!("the data in {} is damaged: {what}", data_dir.display());
    Error::new("damaged", what).help(format!("{}; or {AGAIN}", repair(network, data_dir)))
}

/// Why a driver ended.
pub(crate) fn run_error(error: DriverError, network: Network, data_dir: &Path) -> Error {
    let shown = data_dir.display();
    match error {
        DriverError::Store(error) => {
            let what = format!("the data in {shown} can't be kept: {error}");
            let mut source = Some(&*error as &(dyn std::error::Error + 'static));
            let found = std::iter::from_fn(|| {
                let current = source?;
                source = current.source();
                Some(current)
            })
            .find_map(|error| error.downcast_ref::<StoreError>());
            match found {
                Some(StoreError::Full) => Error::new("full", what).help(FULL),
                Some(StoreError::NoPermission) => Error::new("permission", what)
                    .help("give yourself the right to write there, or another --data-dir; it goes on from what was stored"),
                Some(StoreError::Busy) => Error::new("locked", what)
                    .help("end the program that has the database open (such as a sqlite3 shell), and run it again"),
                Some(StoreError::Damaged { detail }) => damaged(detail, network, data_dir),
                _ => Error::new("data_dir", what).help("check the disk, and run it again: it goes on from what was stored"),
            }
        }
        DriverError::Io(error) => Error::new("system", format!("the system's network failed: {error}"))
            .help("run it again: it goes on from what was stored"),
        DriverError::Panicked(message) => Error::new("fault", format!("a fault in the program: {message}"))
            .help("please report this, with what you did before; what was stored is still good"),
        other => {
            Error::new("system", other.to_string()).help("run it again: it goes on from what was stored")
        }
    }
}

/// Why the client can't work with what is stored.
pub(crate) fn failure(failure: &Failure, network: Network, data_dir: &Path) -> Error {
    let shown = data_dir.display();
    let wanted = network_name(network);
    match failure {
        Failure::OtherNetwork { found } => {
            let found = network_name(*found);
            Error::new(
                "other_network_data",
                format!("the data directory {shown} is of {found}, not of {wanted}"),
            )
            .help(format!("give each network a --data-dir of its own, or --network {found} if that is meant"))
        }
        Failure::OtherVersion { found, expected } => Error::new(
            "other_version_data",
            format!("the data in {shown} is in format {found}, and this program reads format {expected}"),
        )
        .help(format!("use the version of this program that wrote it; or {AGAIN}")),
        Failure::UnusableStart { why } => Error::new(
            "unusable_start",
            format!("the chain can't begin with the block that was given: {why}"),
        )
        .help("begin with the network's first block: --from-genesis"),
        // What the client can't repair by itself, `repair` can't either: the database is sound.
        Failure::Damaged { what } => {
            Error::new("damaged", format!("the data in {shown} is damaged: {what}")).help(AGAIN)
        }
        other => Error::new("data_dir", format!("the data in {shown} can't be used: {other}")).help(AGAIN),
    }
}
