//! What an experiment's file says of an eclipse attack.

use serde::{Deserialize, Deserializer, de};

/// A span of time in whole seconds, written as `"90s"`, `"43m"`, `"10h"` or `"40d"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub u64);

impl Span {
    /// The longest: ten years. Beyond that times end that are told in 32 bits.
    pub const LONGEST: Self = Self(10 * 365 * 24 * 60 * 60);

    /// Reads one. `None`: it is none, or longer than [`LONGEST`](Self::LONGEST).
    pub fn read(text: &str) -> Option<Self> {
        let unit = match text.chars().last()? {
            's' => 1,
            'm' => 60,
            'h' => 60 * 60,
            'd' => 24 * 60 * 60,
            _ => return None,
        };
        let number: u64 = text[..text.len() - 1].parse().ok()?;
        number.checked_mul(unit).map(Self).filter(|span| *span <= Self::LONGEST)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::read(&text).ok_or_else(|| {
            let text = crate::nearest::short(&text);
            de::Error::custom(format!(
                "a span of time is a number and s, m, h or d, up to ten years; this is \"{text}\""
            ))
        })
    }
}

/// An attack on one victim.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// How long.
    pub time: Time,
    /// Who else is there.
    pub world: World,
    /// The victim.
    pub node: Vec<Node>,
    /// The attacker.
    #[serde(default)]
    pub adversary: Vec<Adversary>,
    /// What happens.
    #[serde(default)]
    pub event: Vec<Event>,
    /// What is measured.
    pub measure: Measured,
}

/// How long things take.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// From the attack's begin to the end. What is measured is measured when the victim has its connections afterwards.
    pub horizon: Span,
    /// How long the victim has to connect, before the attack and after each restart.
    #[serde(default = "Time::settle")]
    pub settle: Span,
    /// How long a dial takes that nobody answers.
    #[serde(default = "Time::timeout")]
    pub timeout: Span,
}

impl Time {
    const fn settle() -> Span {
        Span(60 * 60)
    }

    const fn timeout() -> Span {
        Span(5)
    }
}

/// Who else is there than the attacker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Nodes that the victim has reached before.
    pub honest: Population,
    /// Nodes that it has heard of and not reached.
    pub new: Population,
}

/// Nodes in a book.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Population {
    /// How many, if there is room.
    pub count: usize,
    /// Which share can be reached.
    pub live: f64,
    /// How long ago they were heard of, and reached.
    #[serde(default)]
    pub ages: Ages,
    /// To how many groups they belong.
    #[serde(default)]
    pub groups: Groups,
}

/// How nodes are spread over groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Groups {
    /// Each in any /16.
    #[default]
    Random16,
}

/// How long ago nodes were heard of, when the attack begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ages {
    /// Just now.
    #[default]
    Fresh,
    /// As in the tried table of the five nodes that the authors ran: Heilman et al. 2015, table 1.
    HeilmanTableOne,
    /// Any time from one span ago to a longer one.
    Between(Span, Span),
}

impl<'de> Deserialize<'de> for Ages {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Ok(match &*text {
            "fresh" => Self::Fresh,
            "heilman_table1" => Self::HeilmanTableOne,
            other => {
                let (least, most) = other.split_once("..").unwrap_or(("0s", other));
                match (Span::read(least), Span::read(most)) {
                    (Some(least), Some(most)) if least <= most => Self::Between(least, most),
                    _ => {
                        return Err(de::Error::custom(
                            "ages are \"fresh\", \"heilman_table1\", any within a span such as \"30d\", up to ten years, \
                             or any of a range such as \"2h..1d\"",
                        ));
                    }
                }
            }
        })
    }
}

/// A node that is watched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// There is one victim.
    pub role: Role,
    /// By which rules it goes: see [`policy::load`](crate::policy::load).
    pub policy: String,
    /// What is different of them.
    #[serde(default)]
    pub flags: toml::Table,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whom the attack is against.
    Victim,
}

/// The attacker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adversary {
    /// What it has.
    pub kind: Kind,
    /// Groups of addresses.
    pub groups: u32,
    /// Addresses in each.
    pub per_group: u32,
    /// How long it takes to connect once from every address.
    pub round: Span,
    /// How connections are spread over a round.
    #[serde(default)]
    pub pace: Pace,
    /// Addresses where nobody is, which it tells the victim of.
    pub trash_addr: Option<Trash>,
}

/// What an attacker has: a word for whoever reads; both do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Few groups with many addresses.
    Infra,
    /// Many groups with few.
    Botnet,
}

/// How connections are spread over a round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Evenly.
    #[default]
    Even,
    /// All at its begin: at the end each is as old as a round is long, as the closed form has it.
    Burst,
}

/// Addresses where nobody is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trash {
    /// Groups of who tells them: no more than the attacker has.
    pub source_groups: u32,
    /// How many are told in all. A real attacker tells a thousand with each connection, all the time; of these only the last
    /// hundred or so for each bucket are there in the end.
    #[serde(default = "Trash::addresses")]
    pub addresses: u32,
    /// In which last part of the attack.
    #[serde(default = "Trash::within")]
    pub within: Span,
    /// How many go in a message at most: up to a thousand.
    #[serde(default = "Trash::per_message")]
    pub per_msg: u32,
}

impl Trash {
    const fn addresses() -> u32 {
        32_768
    }

    const fn within() -> Span {
        Span(10 * 60)
    }

    const fn per_message() -> u32 {
        1000
    }
}

/// Something that happens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// When, from the attack's begin.
    pub at: Span,
    /// What.
    #[serde(rename = "do")]
    pub action: Action,
    /// To whom.
    pub who: Role,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It ends, and begins anew with what it had saved.
    Restart,
}

/// What is measured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// What counts as eclipsed.
    #[serde(default)]
    pub eclipsed: Eclipsed,
    /// What is looked at over time.
    #[serde(default)]
    pub series: Vec<String>,
    /// How often.
    #[serde(default)]
    pub every: Span,
}

/// What counts as eclipsed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Eclipsed {
    /// Every connection that the victim wants is there, and leads to the attacker.
    #[default]
    AllOutgoingAdversarial,
}
