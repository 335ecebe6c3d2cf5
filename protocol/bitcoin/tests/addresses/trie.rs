//! Writes AS maps: a tree over the bits of addresses, and the program that looks it up.

use std::net::Ipv6Addr;

use andon_kernel::Rng;

/// A part of the address space.
#[derive(Clone, Debug)]
pub(crate) enum Trie {
    /// In no system.
    Unknown,
    /// All of it in one system.
    System(u32),
    /// By the next bit.
    Split(Box<[Self; 2]>),
}

impl Trie {
    /// Puts the addresses that begin with the first `length` bits of `prefix` into a system.
    pub(crate) fn insert(&mut self, prefix: Ipv6Addr, length: u32, system: u32) {
        self.put(prefix.to_bits(), length, system);
    }

    fn put(&mut self, bits: u128, length: u32, system: u32) {
        if length == 0 {
            *self = Self::System(system);
            return;
        }
        if !matches!(self, Self::Split(_)) {
            *self = Self::Split(Box::new([self.clone(), self.clone()]));
        }
        let Self::Split(halves) = self else { unreachable!() };
        halves[(bits >> 127) as usize].put(bits << 1, length - 1, system);
    }

    /// The system of an address, zero for none.
    pub(crate) fn lookup(&self, address: Ipv6Addr) -> u32 {
        let mut bits = address.to_bits();
        let mut node = self;
        loop {
            match node {
                Self::Unknown => return 0,
                Self::System(system) => return *system,
                Self::Split(halves) => node = &halves[(bits >> 127) as usize],
            }
            bits <<= 1;
        }
    }

    /// A random one, of at most so many bits, with something in it.
    pub(crate) fn random(rng: &mut Rng, depth: u32) -> Self {
        loop {
            let trie = Self::any(rng, depth);
            if !matches!(trie, Self::Unknown) {
                return trie;
            }
        }
    }

    fn any(rng: &mut Rng, depth: u32) -> Self {
        match rng.below(10) {
            0 => Self::Unknown,
            1 | 2 => Self::system(rng),
            _ if depth == 0 => Self::system(rng),
            // One half is often a single system or nothing, so that runs of matches come about.
            3..=6 => {
                let end = if rng.below(2) == 0 { Self::Unknown } else { Self::system(rng) };
                let mut halves = [end, Self::any(rng, depth - 1)];
                if rng.below(2) == 0 {
                    halves.reverse();
                }
                Self::join(halves)
            }
            _ => Self::join([Self::any(rng, depth - 1), Self::any(rng, depth - 1)]),
        }
    }

    fn system(rng: &mut Rng) -> Self {
        let bits = rng.below(25);
        Self::System(1 + rng.below(1 << bits) as u32)
    }

    fn join(halves: [Self; 2]) -> Self {
        match &halves {
            [Self::Unknown, Self::Unknown] => Self::Unknown,
            [Self::System(left), Self::System(right)] if left == right => Self::System(*left),
            _ => Self::Split(Box::new(halves)),
        }
    }

    fn is_total(&self) -> bool {
        match self {
            Self::Unknown => false,
            Self::System(_) => true,
            Self::Split(halves) => halves.iter().all(Self::is_total),
        }
    }

    /// The program.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let bits = self.program(0);
        let mut bytes = vec![0; bits.len().div_ceil(8)];
        for (at, bit) in bits.into_iter().enumerate() {
            bytes[at / 8] |= u8::from(bit) << (at % 8);
        }
        bytes
    }

    fn program(&self, default: u32) -> Vec<bool> {
        let mut program = Vec::new();
        let Self::Split(halves) = self else {
            let Self::System(system) = self else { panic!("nothing is no program") };
            number(&mut program, 0, &[0, 0, 1], 0);
            number(&mut program, *system, SYSTEM, 1);
            return program;
        };
        // A run of bits off which everything is alike becomes matches.
        let side = |node: &Self, off: u32| match node {
            Self::Split(halves) => halves.iter().position(|half| match half {
                Self::Unknown => off == 0,
                Self::System(system) => off == *system,
                Self::Split(_) => false,
            }),
            _ => None,
        };
        // What is not known can't be said under a default.
        let off = if side(self, default).is_some() {
            default
        } else if let (Some(Self::System(system)), true) =
            (halves.iter().find(|half| matches!(half, Self::System(_))), self.is_total())
        {
            number(&mut program, 3, &[0, 0, 1], 0);
            number(&mut program, *system, SYSTEM, 1);
            *system
        } else {
            let [left, right] = halves.as_ref();
            let left = left.program(default);
            number(&mut program, 1, &[0, 0, 1], 0);
            number(&mut program, left.len() as u32, JUMP, 17);
            program.extend(left);
            program.extend(right.program(default));
            return program;
        };
        let mut run = Vec::new();
        let mut node = self;
        while let Some(other) = side(node, off) {
            let Self::Split(halves) = node else { unreachable!() };
            run.push(1 - other as u32);
            node = &halves[1 - other];
        }
        for bits in run.chunks(8) {
            number(&mut program, 2, &[0, 0, 1], 0);
            let pattern = bits.iter().fold(1, |pattern, bit| pattern << 1 | bit);
            number(&mut program, pattern, &[1, 2, 3, 4, 5, 6, 7, 8], 2);
        }
        program.extend(node.program(off));
        program
    }
}

const SYSTEM: &[u32] = &[15, 16, 17, 18, 19, 20, 21, 22, 23, 24];
const JUMP: &[u32] =
    &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30];

fn number(program: &mut Vec<bool>, value: u32, classes: &[u32], least: u32) {
    let mut left = value - least;
    for (index, bits) in classes.iter().enumerate() {
        let is_last = index + 1 == classes.len();
        if left < 1 << bits {
            if !is_last {
                program.push(false);
            }
            program.extend((0..*bits).rev().map(|bit| left >> bit & 1 == 1));
            return;
        }
        assert!(!is_last, "{value} is too large");
        left -= 1 << bits;
        program.push(true);
    }
}
