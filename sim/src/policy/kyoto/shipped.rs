//! The crate's own tables, of either version, with the sizes that Kyoto gives them.

use core::fmt::Debug;
use core::net::IpAddr;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::AddrV2;

use super::{Record, Table, Version};
use crate::policy::{Address, book};

/// A record is added if it is found less often than this. It is found once at most, since its place follows from it.
pub(super) const MAX_COUNT: usize = 4;
/// A record that failed more often is terrible.
const MAX_ATTEMPTS: u8 = 2;
/// The same, within a week.
const MAX_WEEKLY_ATTEMPTS: u8 = 1;

/// The crate's tables.
pub(super) trait Shipped: Debug {
    /// Adds a record if its place is free. Returns who has it otherwise.
    fn add(&mut self, table: Table, record: &Record) -> Option<Address>;
    /// Whether who has the place of a record is not worth it.
    fn is_conflict_terrible(&mut self, table: Table, record: &Record) -> bool;
    fn remove(&mut self, table: Table, record: &Record);
    fn count(&self, table: Table, record: &Record) -> usize;
    fn is_empty(&self, table: Table) -> bool;
    fn succeeded(&mut self, record: &Record);
    fn failed(&mut self, record: &Record);
    /// By the wall clock: no seed repeats it.
    #[cfg(test)]
    fn draw(&self, table: Table) -> Option<Address>;
}

pub(super) fn new(version: Version) -> Box<dyn Shipped> {
    match version {
        Version::V0_1 => Box::new(v0_1::Tables::default()),
        Version::V0_2 => Box::new(v0_2::Tables::default()),
    }
}

fn services(record: &Record) -> ServiceFlags {
    let node = ServiceFlags::NETWORK | ServiceFlags::WITNESS;
    if record.serves { node | ServiceFlags::COMPACT_FILTERS } else { node }
}

fn address(host: AddrV2, port: u16) -> Address {
    let AddrV2::Ipv4(ip) = host else { panic!("only IPv4 addresses were added") };
    Address { ip: ip.to_bits(), port }
}

/// The two versions' types are different ones of the same names.
macro_rules! version {
    ($name:ident, $library:ident) => {
        mod $name {
            use super::*;

            #[derive(Debug, Default)]
            pub(super) struct Tables {
                new: $library::Table<16, 16, 8>,
                tried: $library::Table<4, 16, 2>,
                /// Failures since the last success, all places together: the crate counts those of one in eight bits, and stops
                /// where overflows are looked for. Nothing depends on how many they are among the tried.
                failures: u8,
            }

            fn theirs(record: &Record) -> $library::Record {
                let host = AddrV2::Ipv4(book::ip(record.address));
                let source = IpAddr::from(record.source);
                $library::Record::new(host, record.address.port, services(record), &source)
            }

            impl Shipped for Tables {
                fn add(&mut self, table: Table, record: &Record) -> Option<Address> {
                    let record = theirs(record);
                    let conflict = match table {
                        Table::New => self.new.add(&record),
                        Table::Tried => self.tried.add(&record),
                    };
                    conflict.map(|conflict| {
                        let (host, port) = conflict.network_addr();
                        address(host, port)
                    })
                }

                fn is_conflict_terrible(&mut self, table: Table, record: &Record) -> bool {
                    let record = theirs(record);
                    let conflict = match table {
                        Table::New => self.new.add(&record),
                        Table::Tried => self.tried.add(&record),
                    };
                    conflict.is_some_and(|conflict| conflict.is_terrible(MAX_ATTEMPTS, MAX_WEEKLY_ATTEMPTS))
                }

                fn remove(&mut self, table: Table, record: &Record) {
                    match table {
                        Table::New => self.new.remove(&theirs(record)),
                        Table::Tried => self.tried.remove(&theirs(record)),
                    }
                }

                fn count(&self, table: Table, record: &Record) -> usize {
                    match table {
                        Table::New => self.new.count(&theirs(record)),
                        Table::Tried => self.tried.count(&theirs(record)),
                    }
                }

                fn is_empty(&self, table: Table) -> bool {
                    match table {
                        Table::New => self.new.is_empty(),
                        Table::Tried => self.tried.is_empty(),
                    }
                }

                fn succeeded(&mut self, record: &Record) {
                    self.tried.successful_connection(&theirs(record));
                }

                fn failed(&mut self, record: &Record) {
                    if self.failures < u8::MAX {
                        self.failures += 1;
                        self.tried.failed_connection(&theirs(record));
                    }
                }

                #[cfg(test)]
                fn draw(&self, table: Table) -> Option<Address> {
                    let record = match table {
                        Table::New => self.new.select(),
                        Table::Tried => self.tried.select(),
                    };
                    record.map(|record| {
                        let (host, port) = record.network_addr();
                        address(host, port)
                    })
                }
            }
        }
    };
}

version!(v0_1, address_book_0_1);
version!(v0_2, address_book_0_2);
