//! What can be said without a simulation: to test the models against, and to draw beside them.
//!
//! Fractions and means are floating-point numbers here; nothing in a trial is decided by them. They are made of `+ - * /`
//! and repeated multiplication alone, which give the same on every machine.

/// A power by repeated squaring.
pub fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut square, mut result) = (base, 1.0);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

/// How many of `cells` are hit on average by so many independent throws.
pub fn cells_hit(cells: u64, throws: u64) -> f64 {
    let cells = cells as f64;
    cells * (1.0 - power(1.0 - 1.0 / cells, throws))
}

/// Of buckets, those that so many groups reach, each of which reaches `per_group` or fewer.
pub fn buckets_reached(buckets: u64, per_group: u64, groups: u64) -> f64 {
    cells_hit(buckets, per_group * groups)
}

/// How many of so many addresses stand in an empty table in the end, of which each bucket holds `size`:
/// buckets times the mean of min(size, a binomial number).
pub fn filled_from_empty(buckets: u64, size: u64, addresses: u64) -> f64 {
    let share = 1.0 / buckets as f64;
    let mut chance = power(1.0 - share, addresses);
    let (mut mean, mut seen) = (0.0, 0.0);
    for count in 0..size.min(addresses + 1) {
        mean += count as f64 * chance;
        seen += chance;
        chance *= (addresses - count) as f64 / (count + 1) as f64 * share / (1.0 - share);
    }
    buckets as f64 * (mean + size as f64 * (1.0 - seen))
}

/// So many independent throws each succeed with this chance: how likely each count is, the last entry that it is so many or more.
fn successes(throws: u64, chance: f64, most: usize) -> Vec<f64> {
    let mut counts = vec![0.0; most + 1];
    if chance >= 1.0 {
        counts[most.min(throws as usize)] = 1.0;
        return counts;
    }
    let mut likely = power(1.0 - chance, throws);
    let mut seen = 0.0;
    for (count, place) in (0..=throws).zip(&mut counts[..most]) {
        *place = likely;
        seen += likely;
        likely *= (throws - count) as f64 / (count + 1) as f64 * chance / (1.0 - chance);
    }
    counts[most] = 1.0 - seen;
    counts
}

/// An attacker of so many groups, with so many addresses in each, who goes on until each address that has room in its bucket
/// stands there, in a table in which so many honest nodes stood: how many of the attacker's and of the honest stand there then.
///
/// A group's addresses are spread over `per_group` buckets, which several may share. Whoever is honest gives way.
pub fn occupied(
    buckets: u64,
    size: usize,
    per_group: u64,
    groups: u64,
    addresses: u64,
    honest: u64,
) -> (f64, f64) {
    let one = 1.0 / buckets as f64;
    // What one group puts up for a bucket, by how many of its parts lie there.
    let parts = successes(per_group, one, per_group as usize);
    let mut of_group = vec![0.0; size + 1];
    for (part, likely) in parts.iter().enumerate() {
        let share = part as f64 / per_group as f64;
        let counts = successes(addresses, share, size);
        of_group.iter_mut().zip(counts).for_each(|(sum, count)| *sum += likely * count);
    }
    let mut all = vec![0.0; size + 1];
    all[0] = 1.0;
    for _ in 0..groups {
        let mut next = vec![0.0; size + 1];
        for (before, likely) in all.iter().enumerate() {
            for (more, chance) in of_group.iter().enumerate() {
                next[(before + more).min(size)] += likely * chance;
            }
        }
        all = next;
    }
    let honest = successes(honest, one, size);
    let (mut attackers, mut left) = (0.0, 0.0);
    for (taken, likely) in all.iter().enumerate() {
        attackers += likely * taken as f64;
        let room = size - taken;
        left += likely
            * honest.iter().enumerate().map(|(count, chance)| chance * count.min(room) as f64).sum::<f64>();
    }
    (attackers * buckets as f64, left * buckets as f64)
}

/// Who is drawn out of a table, with whom the attacker is: the share of draws that end with one of its nodes, when a node that
/// was heard of `age` ten-minute units ago is taken with a chance of `1.2^r / (1 + age)` after r that were not taken.
/// (Equations 2 and 3 of the paper.)
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// The attacker's share of the table.
    pub attacker: f64,
    /// The share of nodes that were connected until the restart: just heard of.
    pub connected: f64,
    /// Seconds since the attacker's nodes were heard of.
    pub attacker_age: u64,
    /// Seconds since all others were heard of.
    pub age: u64,
}

impl Selection {
    /// The chance that one draw ends with the attacker.
    pub fn chance(&self) -> f64 {
        let taken = |age: u64, factor: f64| {
            let chance = factor * 600.0 / (600.0 + age as f64);
            if chance < 1.0 { chance } else { 1.0 }
        };
        let others = 1.0 - self.attacker - self.connected;
        let (mut factor, mut reached, mut won) = (1.0, 1.0, 0.0);
        // After so many everybody is taken.
        for _ in 0..200 {
            let attacker = self.attacker * taken(self.attacker_age, factor);
            won += reached * attacker;
            let any = attacker + self.connected * taken(0, factor) + others * taken(self.age, factor);
            reached *= 1.0 - any;
            factor *= 1.2;
        }
        won
    }

    /// The chance that all of so many draws do.
    pub fn all(&self, draws: u64) -> f64 {
        power(self.chance(), draws)
    }
}

/// With so many throws at `cells`, each of which the attacker takes over if it is hit, the chance that all of so many
/// draws of a cell are the attacker's (countermeasures 1 and 2).
pub fn all_draws(cells: u64, throws: u64, draws: u64) -> f64 {
    power(cells_hit(cells, throws) / cells as f64, draws)
}

/// The fewest throws with which [`all_draws`] is at least `chance`.
pub fn throws_needed(cells: u64, chance: f64, draws: u64) -> u64 {
    least(|throws| all_draws(cells, throws, draws) >= chance)
}

/// The fewest for which something holds that goes on to hold.
fn least(holds: impl Fn(u64) -> bool) -> u64 {
    let mut high = 1;
    while !holds(high) {
        high *= 2;
    }
    let mut low = high / 2;
    while low + 1 < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle }
    }
    high
}

/// Test-before-evict (countermeasure 3), with deterministic eviction and random selection, in a table of `cells`.
#[derive(Clone, Copy, Debug)]
pub struct Tested {
    /// Places in the table of those that were reached.
    pub cells: u64,
    /// Honest addresses that came into it: those that hit the same place count once.
    pub honest: u64,
    /// Which share of them is live.
    pub live: f64,
    /// Addresses that the attacker connects from.
    pub attackers: u64,
    /// Whether nodes are tested.
    pub is_tested: bool,
}

impl Tested {
    /// The chance that all of so many draws are the attacker's. Dead nodes are drawn again.
    ///
    /// An attacker's node gets its cell unless a live honest one stands there: with a test none of those goes; without,
    /// all do that are hit.
    pub fn all_draws(&self, draws: u64) -> f64 {
        self.among(cells_hit(self.cells, self.honest), draws)
    }

    fn among(&self, honest: f64, draws: u64) -> f64 {
        let cells = self.cells as f64;
        let hit = cells_hit(self.cells, self.attackers);
        let live = self.live * honest;
        let (attacker, live) = if self.is_tested {
            (hit * (1.0 - live / cells), live)
        } else {
            (hit, live * (1.0 - hit / cells))
        };
        if attacker == 0.0 { 0.0 } else { power(attacker / (attacker + live), draws) }
    }
}

/// As [`Tested::all_draws`], when an honest node stands in every place before.
pub fn all_draws_among(cells: u64, attackers: u64, live: f64, is_tested: bool, draws: u64) -> f64 {
    Tested { cells, honest: 0, live, attackers, is_tested }.among(cells as f64, draws)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn close(value: f64, expected: f64, by: f64) {
        assert!((value - expected).abs() <= by, "{value} is not {expected}");
    }

    /// Heilman et al. 2015, figures 3 to 5 and what the text says of them.
    #[test]
    fn buckets_and_cells() {
        for (groups, expected) in [(16, 40.64), (20, 45.84), (32, 55.47), (63, 62.79), (68, 63.12)] {
            close(buckets_reached(64, 4, groups), expected, 0.005);
        }
        close(buckets_reached(256, 32, 20), 235.1, 0.05);
        close(buckets_reached(256, 32, 32), 251.3, 0.05);
        let bots = [1000, 2000, 3000, 4000, 4600, 5000, 6000];
        for (bots, expected) in bots.into_iter().zip([1000, 2000, 2999, 3844, 4048, 4085, 4096]) {
            close(filled_from_empty(64, 64, bots), f64::from(expected), 1.0);
        }
        for (bots, expected) in bots.into_iter().zip([887, 1583, 2127, 2554, 2764, 2888, 3150]) {
            close(cells_hit(4096, bots), f64::from(expected), 1.0);
        }
    }

    /// What table 2 predicts to be the attacker's, and what its experiments left of honest nodes in the short time that they had.
    #[test]
    fn attackers_with_few_groups() {
        let left = |groups, addresses, honest| occupied(64, 64, 4, groups, addresses, honest);
        for (groups, honest, attackers, stayed) in
            [(20, 278, 2868.0, 114.0), (20, 346, 2868.0, 140.0), (32, 0, 3501.0, 0.0)]
        {
            let (theirs, others) = left(groups, 256, honest);
            close(theirs, attackers, 0.01 * attackers);
            close(others, stayed, 1.0);
        }
        // Bots, each in a group of its own, are spread over all buckets.
        let (theirs, others) = left(400, 1, 278);
        close(theirs, 400.0, 0.01);
        close(others, 278.0, 0.01);
        close(left(4600, 1, 0).0, filled_from_empty(64, 64, 4600), 0.01);
    }

    #[test]
    fn selection_by_age() {
        let rows = [(48, 0.912), (24, 0.876), (10, 0.787), (5, 0.661), (1, 0.216)];
        for (hours, expected) in rows {
            let selection = Selection {
                attacker: 0.72,
                connected: 8.0 / 4096.0,
                attacker_age: 27 * 60,
                age: hours * 3600,
            };
            close(selection.all(8), expected, 0.005);
        }
        close(power(0.72, 8), 0.072, 0.0005);
        close(power(0.987, 8), 0.90, 0.002);
        close(power(0.917, 8), 0.50, 0.001);
        // Without an attack: an attacker who merely joins.
        close(power(8192.0 / 15_392.0, 8), 0.0064, 0.0001);
    }

    #[test]
    fn countermeasures() {
        for (cells, chance, draws, expected) in [
            (4096, 0.5, 8, 10_194),
            (4096, 0.9, 8, 17_760),
            (4096, 0.5, 12, 11_796),
            (4096, 0.9, 12, 19_411),
            (16_384, 0.5, 8, 40_778),
            (16_384, 0.9, 8, 71_045),
        ] {
            let needed = throws_needed(cells, chance, draws);
            assert!(needed.abs_diff(expected) <= 2, "{cells} {chance} {draws}: {needed} is not {expected}");
        }
        // What the paper says of the larger tables holds for 65,536 cells.
        close(throws_needed(65_536, 0.5, 8) as f64, 163_000.0, 500.0);
        close(throws_needed(65_536, 0.9, 8) as f64, 284_000.0, 500.0);
        // Groups that fill the four buckets that each has.
        for (chance, draws, groups) in [(0.5, 8, 39.5), (0.9, 8, 68.8), (0.5, 12, 45.7), (0.9, 12, 75.2)] {
            close(throws_needed(64, chance, draws) as f64 / 4.0, groups, 0.3);
        }
    }

    #[test]
    fn tests_before_eviction() {
        let needed = |live, honest, is_tested| {
            least(|attackers| {
                let tested = Tested { cells: 4096, honest, live, attackers, is_tested };
                // What does not come with so many never comes.
                attackers > 1 << 40 || tested.all_draws(8) >= 0.5
            })
        };
        for (live, honest, with, without) in [
            (0.2, 300, 706, 594),
            (0.2, 1000, 2843, 1603),
            (0.2, 2000, 10_623, 2528),
            (0.3, 600, 2608, 1527),
            (0.3, 1000, 5984, 2217),
            (0.5, 600, 6757, 2299),
        ] {
            close(needed(live, honest, true) as f64, f64::from(with), 0.01 * f64::from(with));
            close(needed(live, honest, false) as f64, f64::from(without), 0.01 * f64::from(without));
        }
        assert!(needed(0.3, 2000, true) > 1 << 40 && needed(0.5, 1000, true) > 1 << 40);
    }
}
