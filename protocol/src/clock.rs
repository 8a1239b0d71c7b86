//! This board's clock beside a server's, as the `Date` of an HTTP answer tells it.

use crate::token::LEEWAY;
use std::fmt;
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
const YEAR: u64 = 365 * DAY + DAY / 4;

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS_BEFORE_MONTH: [u64; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

/// Two clocks at one moment, but for the time that an answer travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Since 1970.
    board: Duration,
    server: Date,
}

/// UTC to the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Date {
    year: u64,
    /// From 0.
    month: usize,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Clocks {
    /// The board's time since 1970 and a `Date` header; `None` if that is no date of RFC 9110 section 5.6.7, which a
    /// sender must write like `Sun, 06 Nov 1994 08:49:37 GMT`.
    pub fn at(board: Duration, date: &str) -> Option<Self> {
        Some(Self { board, server: Date::parse(date)? })
    }

    /// In words how far the board's clock is off, and the remedy, if it is by more than servers forgive.
    pub fn complaint(&self) -> Option<String> {
        let server = self.server.since_1970();
        let (off, way) = match server.checked_sub(self.board) {
            Some(behind) => (behind, "behind"),
            None => (self.board - server, "ahead of"),
        };
        let off = (off > LEEWAY).then(|| in_words(off))?;
        Some(format!("this board's clock is {off} {way} the server's ({}): set it or wait for NTP", self.server))
    }
}

impl Date {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().strip_suffix(" GMT")?;
        let (_weekday, text) = text.split_once(", ")?;
        let mut words = text.split(' ');
        let [day, month, year, time] = [words.next()?, words.next()?, words.next()?, words.next()?];
        let mut parts = time.split(':');
        let [hour, minute, second] = [parts.next()?, parts.next()?, parts.next()?];
        if words.next().is_some() || parts.next().is_some() {
            return None;
        }
        let date = Self {
            year: number(year, 4)?,
            month: MONTHS.iter().position(|name| *name == month)?,
            day: number(day, 2)?,
            hour: number(hour, 2)?,
            minute: number(minute, 2)?,
            second: number(second, 2)?,
        };
        // 60 is a leap second.
        let sound = date.year >= 1970
            && (1..=31).contains(&date.day)
            && date.hour < 24
            && date.minute < 60
            && date.second <= 60;
        sound.then_some(date)
    }

    fn since_1970(self) -> Duration {
        let leap_days_to = |year: u64| year / 4 - year / 100 + year / 400;
        let leap_days = leap_days_to(self.year - 1) - leap_days_to(1969);
        let leap_year = leap_days_to(self.year) > leap_days_to(self.year - 1);
        let this_year = DAYS_BEFORE_MONTH[self.month] + u64::from(leap_year && self.month > 1) + self.day - 1;
        let days = (self.year - 1970) * 365 + leap_days + this_year;
        Duration::from_secs(days * DAY + self.hour * HOUR + self.minute * MINUTE + self.second)
    }
}

/// A number of exactly so many digits.
fn number(digits: &str, count: usize) -> Option<u64> {
    let plain = digits.len() == count && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok())?
}

/// The largest unit of which there are at least two.
fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(YEAR, "years"), (DAY, "days"), (HOUR, "hours"), (MINUTE, "minutes")];
    let fits = units.into_iter().find(|(unit, _)| seconds >= 2 * unit);
    fits.map_or_else(|| format!("{seconds} seconds"), |(unit, name)| format!("{} {name}", seconds / unit))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second } = self;
        write!(f, "{year}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC", month + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Wed, 25 Nov 2026 16:23:03 GMT";
    /// The same.
    const SERVER: u64 = 1_795_623_783;

    fn complaint(board: u64) -> Option<String> {
        Clocks::at(Duration::from_secs(board), DATE).expect("a date").complaint()
    }

    #[test]
    fn a_date_is_the_right_second_also_around_leap_days() {
        for (text, seconds) in [
            ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777),
            ("Tue, 29 Feb 2000 23:59:59 GMT", 951_868_799),
            ("Wed, 01 Mar 2000 00:00:00 GMT", 951_868_800),
            ("Wed, 31 Dec 2025 23:59:59 GMT", 1_767_225_599),
            ("Fri, 01 Mar 2024 00:00:00 GMT", 1_709_251_200),
            ("Mon, 01 Mar 2100 00:00:00 GMT", 4_107_542_400),
            (DATE, SERVER),
        ] {
            assert_eq!(Date::parse(text).expect(text).since_1970().as_secs(), seconds, "{text}");
        }
    }

    #[test]
    fn what_is_no_date_is_none() {
        for text in [
            "",
            "now",
            "Wed, 25 Nov 2026 16:23:03",
            "Wed, 25 Nov 2026 16:23 GMT",
            "Wed, 25 Nov 2026 16:23:03:04 GMT",
            "Wed, 25 Nov 26 16:23:03 GMT",
            "Wed, 25 nov 2026 16:23:03 GMT",
            "Wed, 00 Nov 2026 16:23:03 GMT",
            "Wed, +5 Nov 2026 16:23:03 GMT",
            "Wed, 25 Nov 2026 24:23:03 GMT",
            "Wed, 25 Nov 1969 16:23:03 GMT",
            "Wednesday, 25-Nov-26 16:23:03 GMT",
        ] {
            assert_eq!(Date::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_clock_that_is_off_is_told_by_how_much_and_one_within_a_minute_is_well() {
        for board in [SERVER - 60, SERVER, SERVER + 60] {
            assert_eq!(complaint(board), None);
        }
        for (board, off) in [
            (SERVER - 61, "61 seconds behind"),
            (SERVER + 120, "2 minutes ahead of"),
            (SERVER - 3 * HOUR, "3 hours behind"),
            (SERVER + 40 * DAY, "40 days ahead of"),
            (SERVER - 3 * YEAR, "3 years behind"),
            (0, "56 years behind"),
        ] {
            let expected =
                format!("this board's clock is {off} the server's (2026-11-25 16:23:03 UTC): set it or wait for NTP");
            assert_eq!(complaint(board), Some(expected));
        }
    }
}
