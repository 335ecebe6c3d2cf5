//! Maps from addresses to autonomous systems, in the format that Bitcoin Core reads: a tree over the address's bits, as a
//! program of four instructions.
//!
//! A program is checked once, when it is read: it then ends for every address, within as many steps as that has bits
//! and twice that. Reading one that was not checked would end too, and find nothing.

#[cfg(feature = "record")]
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::Ipv6Addr;

use bitcoin::hashes::{Hash, sha256d};

use super::limits::MAX_AS_MAP;

/// A map from addresses to autonomous systems. Clones share it.
#[derive(Clone)]
#[cfg_attr(feature = "record", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "record", serde(try_from = "String", into = "String"))]
pub struct AsMap {
    bytes: Arc<[u8]>,
    version: [u8; 32],
}

/// Why bytes are no map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsMapError {
    /// More bytes than [`MAX_AS_MAP`](super::limits::MAX_AS_MAP).
    TooLarge,
    /// It ends within an instruction, or before every path through it has ended.
    CutOff,
    /// It goes on after its end, or has instructions that nothing leads to.
    Surplus,
    /// A jump leads beyond the end, or into the middle of what another one leads to.
    Jump,
    /// It asks for more bits than an address has.
    TooDeep,
    /// It says something in more instructions than that takes: no program that writes maps does.
    Wasteful,
}

impl fmt::Display for AsMapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the AS map is too large",
            Self::CutOff => "the AS map is cut off",
            Self::Surplus => "the AS map has bytes that mean nothing",
            Self::Jump => "the AS map has a jump that leads nowhere",
            Self::TooDeep => "the AS map asks for more bits than an address has",
            Self::Wasteful => "the AS map is not in its shortest form",
        })
    }
}

impl core::error::Error for AsMapError {}

/// Bits of an address; IPv4 is looked up as what it is mapped to in IPv6.
const ADDRESS_BITS: u32 = 128;

/// Bits that a number of each class has: those of the instructions, of systems, of what is matched, and of jumps.
const KIND: &[u8] = &[0, 0, 1];
const SYSTEM: &[u8] = &[15, 16, 17, 18, 19, 20, 21, 22, 23, 24];
const MATCH: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];
const JUMP: &[u8] =
    &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];

enum Instruction {
    /// The answer. Zero: none.
    Return(u32),
    /// Takes a bit; if it is one, goes on so many bits further.
    Jump(usize),
    /// Takes so many bits (at most eight); if they are not these, the answer is the default.
    Match { bits: u32, pattern: u32 },
    /// Sets the default.
    Default(u32),
}

/// Reads instructions, bit by bit: of a byte the lowest bit first.
#[derive(Clone, Copy)]
struct Program<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Program<'_> {
    const fn end(&self) -> usize {
        self.bytes.len() * 8
    }

    fn bit(&mut self) -> Option<u32> {
        let bit = self.bytes.get(self.at / 8)? >> (self.at % 8) & 1;
        self.at += 1;
        Some(bit.into())
    }

    /// A number from `least` on: as many ones as its class, a zero unless that is the last, then its bits, highest first.
    fn number(&mut self, least: u32, classes: &[u8]) -> Option<u32> {
        let mut value = least;
        for (index, &bits) in classes.iter().enumerate() {
            let is_last = index + 1 == classes.len();
            if !is_last && self.bit()? == 1 {
                value += 1 << bits;
                continue;
            }
            for place in (0..bits).rev() {
                value += self.bit()? << place;
            }
            return Some(value);
        }
        None
    }

    fn next(&mut self) -> Option<Instruction> {
        Some(match self.number(0, KIND)? {
            0 => Instruction::Return(self.number(1, SYSTEM)?),
            1 => Instruction::Jump(self.number(17, JUMP)? as usize),
            2 => {
                let number = self.number(2, MATCH)?;
                let bits = number.ilog2();
                Instruction::Match { bits, pattern: number - (1 << bits) }
            }
            _ => Instruction::Default(self.number(1, SYSTEM)?),
        })
    }
}

impl AsMap {
    /// Reads a map. The work is linear in its size.
    ///
    /// # Errors
    /// If it is not one that Bitcoin Core would take: then some address could have no answer.
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Self, AsMapError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_AS_MAP {
            return Err(AsMapError::TooLarge);
        }
        check(&bytes)?;
        let version = sha256d::Hash::hash(&bytes).to_byte_array();
        Ok(Self { bytes, version })
    }

    /// What tells maps apart: their hash.
    pub const fn version(&self) -> [u8; 32] {
        self.version
    }

    /// The number of the autonomous system that an address is in; IPv4 as what it is mapped to. `None`: the map does not
    /// know.
    pub fn lookup(&self, address: Ipv6Addr) -> Option<u32> {
        interpret(&self.bytes, address)
    }
}

#[cfg(feature = "record")]
impl From<AsMap> for String {
    /// In hex.
    fn from(map: AsMap) -> Self {
        use bitcoin::hex::DisplayHex;
        map.bytes.to_lower_hex_string()
    }
}

#[cfg(feature = "record")]
impl TryFrom<String> for AsMap {
    type Error = String;

    fn try_from(hex: String) -> Result<Self, String> {
        use bitcoin::hex::FromHex;
        let bytes = Vec::from_hex(&hex).map_err(|error| error.to_string())?;
        Self::new(bytes).map_err(|error| error.to_string())
    }
}

impl fmt::Debug for AsMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AsMap({} bytes)", self.bytes.len())
    }
}

/// Runs a program. It ends for every program: each step takes instructions further on, and none leads back.
pub(super) fn interpret(bytes: &[u8], address: Ipv6Addr) -> Option<u32> {
    let mut program = Program { bytes, at: 0 };
    let address = address.to_bits();
    let mut left = ADDRESS_BITS;
    let mut default = 0;
    let mut take = |bits: u32| {
        left = left.checked_sub(bits)?;
        Some((address >> left) as u32 & ((1 << bits) - 1))
    };
    let answer = loop {
        match program.next()? {
            Instruction::Return(system) => break system,
            Instruction::Jump(distance) => {
                if take(1)? == 1 {
                    program.at = program.at.checked_add(distance)?;
                }
            }
            Instruction::Match { bits, pattern } => {
                if take(bits)? != pattern {
                    break default;
                }
            }
            Instruction::Default(system) => default = system,
        }
    };
    (answer != 0).then_some(answer)
}

/// Goes through a program once, along every path.
fn check(bytes: &[u8]) -> Result<(), AsMapError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Before {
        Jump,
        Match,
        Default,
    }
    let mut program = Program { bytes, at: 0 };
    let mut left = ADDRESS_BITS;
    // Where jumps lead to, nearest last, and how many bits are left there: one for each bit at most.
    let mut targets: Vec<(usize, u32)> = Vec::new();
    let mut before = Before::Jump;
    let mut had_short_match = false;
    loop {
        if targets.last().is_some_and(|&(target, _)| program.at >= target) {
            return Err(AsMapError::Jump);
        }
        match program.next().ok_or(AsMapError::CutOff)? {
            Instruction::Return(_) => {
                if before == Before::Default {
                    return Err(AsMapError::Wasteful);
                }
                let Some((target, bits)) = targets.pop() else { break };
                if program.at != target {
                    return Err(AsMapError::Surplus);
                }
                left = bits;
                before = Before::Jump;
            }
            Instruction::Jump(distance) => {
                let target = program.at + distance;
                let nearest = targets.last().map_or(program.end() + 1, |&(target, _)| target);
                if target >= nearest {
                    return Err(AsMapError::Jump);
                }
                left = left.checked_sub(1).ok_or(AsMapError::TooDeep)?;
                targets.push((target, left));
                before = Before::Jump;
            }
            Instruction::Match { bits, .. } => {
                // Of several in a row all but one take eight bits.
                had_short_match &= before == Before::Match;
                if bits < 8 && had_short_match {
                    return Err(AsMapError::Wasteful);
                }
                had_short_match = bits < 8;
                left = left.checked_sub(bits).ok_or(AsMapError::TooDeep)?;
                before = Before::Match;
            }
            Instruction::Default(_) => {
                if before == Before::Default {
                    return Err(AsMapError::Wasteful);
                }
                before = Before::Default;
            }
        }
    }
    // The last byte is filled up with zeros.
    if program.end() - program.at > 7 {
        return Err(AsMapError::Surplus);
    }
    while let Some(bit) = program.bit() {
        if bit == 1 {
            return Err(AsMapError::Surplus);
        }
    }
    Ok(())
}
