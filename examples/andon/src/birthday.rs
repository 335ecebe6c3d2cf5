//! The height or the day from which on to search.

use std::fmt;
use std::str::FromStr;

use andon_bitcoin::client;
use andon_kernel::UnixTime;
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// What `--birthday` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Birthday {
    /// A block height.
    Height(u32),
    /// A day, from its first second in UTC.
    Date(Date),
}

impl Birthday {
    /// As the client takes it.
    pub(crate) fn to_client(self) -> client::Birthday {
        match self {
            Self::Height(height) => client::Birthday::Height(height),
            Self::Date(date) => {
                let start = date.to_zoned(TimeZone::UTC).map_or(0, |zoned| zoned.timestamp().as_second());
                client::Birthday::Time(UnixTime::from_secs(u64::try_from(start).unwrap_or(0)))
            }
        }
    }
}

impl FromStr for Birthday {
    type Err = BirthdayError;

    fn from_str(text: &str) -> Result<Self, BirthdayError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Height).map_err(|_| BirthdayError);
        }
        let parts: Vec<&str> = text.split('-').collect();
        let [year, month, day] = parts[..] else { return Err(BirthdayError) };
        if [year.len(), month.len(), day.len()] != [4, 2, 2] {
            return Err(BirthdayError);
        }
        let year = year.parse().map_err(|_| BirthdayError)?;
        let month = month.parse().map_err(|_| BirthdayError)?;
        let day = day.parse().map_err(|_| BirthdayError)?;
        Date::new(year, month, day).map(Self::Date).map_err(|_| BirthdayError)
    }
}

/// Why a text is no [`Birthday`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BirthdayError;

impl fmt::Display for BirthdayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("neither a block height nor a day of the calendar as YYYY-MM-DD")
    }
}

impl std::error::Error for BirthdayError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> u64 {
        match text.parse::<Birthday>().unwrap().to_client() {
            client::Birthday::Time(time) => time.as_secs(),
            client::Birthday::Height(height) => panic!("{text} was read as the height {height}"),
        }
    }

    #[test]
    fn reads_heights_and_days() {
        assert_eq!("0".parse(), Ok(Birthday::Height(0)));
        assert_eq!("850000".parse(), Ok(Birthday::Height(850_000)));
        assert_eq!(seconds("1970-01-01"), 0);
        assert_eq!(seconds("2009-01-03"), 1_230_940_800);
        assert_eq!(seconds("2024-02-29"), 1_709_164_800);
        assert_eq!(seconds("1969-12-31"), 0);
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "",
            "-1",
            "+1",
            "1.5",
            "4294967296",
            "2023-02-29",
            "2024-13-01",
            "2024-00-10",
            "24-01-01",
            "2024-1-1",
            "2024-01-01T00:00",
            "2024-01",
            "tomorrow",
            "-001-01-01",
        ] {
            assert_eq!(text.parse::<Birthday>(), Err(BirthdayError), "{text}");
        }
    }
}
