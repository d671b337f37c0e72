use std::{
    fmt,
    ops::{Add, Sub},
    str::FromStr,
    time::Duration,
};

use chrono::{DateTime, Datelike, NaiveDate, SecondsFormat, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A point in time in UTC, with microsecond precision. Avro `timestamp-micros`; as text, RFC 3339.
///
/// The range is the years 0 to 9999, which RFC 3339 can express. Values outside it are not decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A calendar date. Avro `date`; as text, `YYYY-MM-DD`.
///
/// The range is the years 0 to 9999. Values outside it are not decoded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

/// A number outside the years 0 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("outside the years 0 to 9999")]
pub struct OutOfRange;

/// A string that is not a time or not a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected}")]
pub struct ParseError {
    expected: &'static str,
}

// Microseconds and days since 1970-01-01.
const FIRST_MICROS: i64 = FIRST_DAY as i64 * 86_400_000_000;
const LAST_MICROS: i64 = (LAST_DAY as i64 + 1) * 86_400_000_000 - 1;
const FIRST_DAY: i32 = -719_528;
const LAST_DAY: i32 = 2_932_896;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Returns the time of the system clock. Not for domains, which get the time with the command.
    pub fn now() -> Self {
        Self::from(Utc::now())
    }

    /// Converts microseconds since 1970.
    ///
    /// # Errors
    /// Returns [`OutOfRange`] outside the years 0 to 9999.
    pub const fn from_micros(micros: i64) -> Result<Self, OutOfRange> {
        if micros < FIRST_MICROS || micros > LAST_MICROS {
            Err(OutOfRange)
        } else {
            Ok(Self(micros))
        }
    }

    /// Returns the microseconds since 1970.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Parses RFC 3339. Digits beyond microseconds are truncated.
    ///
    /// # Errors
    /// Returns [`ParseError`] if the text is not a time of the years 0 to 9999.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let error = ParseError {
            expected: "a time like 2026-03-01T18:00:00Z",
        };
        let time = DateTime::parse_from_rfc3339(text).map_err(|_| error)?;
        Self::from_micros(time.timestamp_micros()).map_err(|_| error)
    }

    /// Returns the date in UTC.
    pub fn date(self) -> Date {
        Date::from(self.to_utc().date_naive())
    }

    /// Returns the time since `earlier`, or zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Converts to chrono's type, for stores and calendars.
    pub fn to_utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).expect("a Timestamp is within chrono's range")
    }
}

/// Adds a duration; saturates at the end of the year 9999.
impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros).min(LAST_MICROS))
    }
}

/// Subtracts a duration; saturates at the beginning of the year 0.
impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(micros).max(FIRST_MICROS))
    }
}

/// Truncates to microseconds and clamps to the years 0 to 9999.
impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self(time.timestamp_micros().clamp(FIRST_MICROS, LAST_MICROS))
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(time: Timestamp) -> Self {
        time.to_utc()
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i64(self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_micros(i64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

impl Date {
    /// Returns the date, or `None` if the day does not exist or the year is not 0 to 9999.
    pub fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        let date = NaiveDate::from_ymd_opt(year, month, day)?;
        (0..=9999).contains(&year).then(|| Self::from(date))
    }

    /// Converts days since 1970-01-01.
    ///
    /// # Errors
    /// Returns [`OutOfRange`] outside the years 0 to 9999.
    pub const fn from_days(days: i32) -> Result<Self, OutOfRange> {
        if days < FIRST_DAY || days > LAST_DAY {
            Err(OutOfRange)
        } else {
            Ok(Self(days))
        }
    }

    /// Returns the days since 1970-01-01.
    pub const fn as_days(self) -> i32 {
        self.0
    }

    /// Parses `YYYY-MM-DD`.
    ///
    /// # Errors
    /// Returns [`ParseError`] if the text does not have this form or the day does not exist.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let error = ParseError {
            expected: "a date like 2026-03-01",
        };
        // chrono would also take 2026-3-1 and spaces.
        if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return Err(error);
        }
        NaiveDate::parse_from_str(text, "%Y-%m-%d")
            .map(Self::from)
            .map_err(|_| error)
    }

    /// Converts to chrono's type, for stores and calendars.
    pub fn to_naive(self) -> NaiveDate {
        NaiveDate::from_epoch_days(self.0).expect("a Date is within chrono's range")
    }
}

/// Clamps to the years 0 to 9999.
impl From<NaiveDate> for Date {
    fn from(date: NaiveDate) -> Self {
        Self(date.to_epoch_days().clamp(FIRST_DAY, LAST_DAY))
    }
}

impl From<Date> for NaiveDate {
    fn from(date: Date) -> Self {
        date.to_naive()
    }
}

impl FromStr for Date {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        Self::parse(text)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.to_naive();
        write!(f, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
    }
}

impl fmt::Debug for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Date({self})")
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_i32(self.0)
    }
}

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_days(i32::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_and_number_match() {
        let time = Timestamp::parse("2026-03-01T19:00:00.25+01:00").expect("valid");
        assert_eq!(time.to_string(), "2026-03-01T18:00:00.250Z");
        assert_eq!(time.as_micros(), 1_772_388_000_250_000);
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(Date::parse("1815-12-10").expect("valid").as_days(), -56_270);
        assert_eq!(Date::from_ymd(1815, 12, 10), Date::parse("1815-12-10").ok());
        assert_eq!(time.date().to_string(), "2026-03-01");
    }

    #[test]
    fn the_bounds_are_the_years_that_rfc_3339_can_express() {
        assert_eq!(Date(FIRST_DAY).to_string(), "0000-01-01");
        assert_eq!(Date(LAST_DAY).to_string(), "9999-12-31");
        assert_eq!(Timestamp(FIRST_MICROS).to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(Timestamp(LAST_MICROS).to_string(), "9999-12-31T23:59:59.999999Z");
        assert_eq!(Timestamp::from_micros(LAST_MICROS + 1), Err(OutOfRange));
        assert_eq!(Date::from_days(FIRST_DAY - 1), Err(OutOfRange));
        assert_eq!(Timestamp(LAST_MICROS) + Duration::MAX, Timestamp(LAST_MICROS));
        assert_eq!(Timestamp::EPOCH - Duration::MAX, Timestamp(FIRST_MICROS));
    }

    #[test]
    fn malformed_times_and_dates_are_rejected() {
        for text in [
            "",
            "2026-02-30",
            "2026-3-1",
            " 2026-03-01",
            "+2026-03-1",
            "2026-03-01T00:00:00Z",
            "20260301--",
        ] {
            assert!(Date::parse(text).is_err(), "{text}");
        }
        for text in ["", "2026-03-01", "2026-03-01T18:00:00", "2026-02-30T18:00:00Z"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
        assert_eq!(Date::from_ymd(2026, 2, 30), None);
        assert_eq!(Date::from_ymd(10_000, 1, 1), None);
    }

    proptest! {
        #[test]
        fn formatting_and_parsing_are_inverse(micros in FIRST_MICROS..=LAST_MICROS) {
            let time = Timestamp(micros);
            prop_assert_eq!(Timestamp::parse(&time.to_string()), Ok(time));
            prop_assert_eq!(Date::parse(&time.date().to_string()), Ok(time.date()));
            prop_assert_eq!(Timestamp::from(time.to_utc()), time);
        }
    }
}
