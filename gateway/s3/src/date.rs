//! The dates of HTTP, of XML documents and of Signature V4, to and from Unix seconds. Proleptic Gregorian, UTC.

const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAY_SECONDS: u64 = 86_400;
/// 9999-12-31T23:59:59Z: the last second that four digits of a year can say.
pub const SECONDS_MAX: u64 = 253_402_300_799;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Civil {
    year: u64,
    month: u64,
    day: u64,
    hour: u64,
    minute: u64,
    second: u64,
}

impl Civil {
    /// Seconds beyond `SECONDS_MAX` are shown as it.
    fn from_seconds(seconds: u64) -> Civil {
        let seconds = seconds.min(SECONDS_MAX);
        let (days, rest) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
        // Years begin in March here, so that the leap day is the last of its year; eras are 400 years of 146,097 days.
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Civil { year, month, day, hour: rest / 3_600, minute: rest / 60 % 60, second: rest % 60 }
    }

    /// `None` before 1970, beyond 9999 and for dates that do not exist. A leap second counts as the one before.
    fn to_seconds(self) -> Option<u64> {
        let leap = self.year.is_multiple_of(4) && (!self.year.is_multiple_of(100) || self.year.is_multiple_of(400));
        let days_of_month = match self.month {
            2 => 28 + u64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        let real = (1970..=9999).contains(&self.year)
            && (1..=days_of_month).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second <= 60;
        if !real {
            return None;
        }
        let year = self.year - u64::from(self.month <= 2);
        let march_month = if self.month > 2 { self.month - 3 } else { self.month + 9 };
        let day_of_year = (153 * march_month + 2) / 5 + self.day - 1;
        let year_of_era = year % 400;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = year / 400 * 146_097 + day_of_era - 719_468;
        Some(days * DAY_SECONDS + self.hour * 3_600 + self.minute * 60 + self.second.min(59))
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub fn http(seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::from_seconds(seconds);
    let mut text = *b"Sun, 06 Nov 1994 08:49:37 GMT";
    text[..3].copy_from_slice(DAYS[((seconds.min(SECONDS_MAX) / DAY_SECONDS + 4) % 7) as usize].as_bytes());
    text[8..11].copy_from_slice(MONTHS[month as usize - 1].as_bytes());
    two_digits(&mut text, &[(5, day), (12, year / 100), (14, year % 100), (17, hour), (20, minute), (23, second)]);
    ascii(&text)
}

/// Writes each number, below 100, at its place. Every request has dates, and a formatter takes ten times as long.
fn two_digits(text: &mut [u8], numbers: &[(usize, u64)]) {
    for &(at, number) in numbers {
        text[at] = b'0' + (number / 10) as u8;
        text[at + 1] = b'0' + (number % 10) as u8;
    }
}

fn ascii(text: &[u8]) -> String {
    std::str::from_utf8(text).expect("dates are ASCII").to_owned()
}

/// `1994-11-06T08:49:37.123Z` from Unix milliseconds.
pub fn iso8601(milliseconds: u64) -> String {
    Iso8601::default().text(milliseconds).to_owned()
}

/// Writes times as `iso8601` does, without an allocation, and keeps the day: a page of a listing shows a thousand times,
/// and most of them are of few days.
#[derive(Clone, Debug)]
pub struct Iso8601 {
    day: u64,
    text: [u8; 24],
}

impl Default for Iso8601 {
    fn default() -> Iso8601 {
        Iso8601 { day: 0, text: *b"1970-01-01T00:00:00.000Z" }
    }
}

impl Iso8601 {
    pub fn text(&mut self, milliseconds: u64) -> &str {
        let seconds = (milliseconds / 1_000).min(SECONDS_MAX);
        let (day, clock) = (seconds / DAY_SECONDS, seconds % DAY_SECONDS);
        if day != self.day {
            self.day = day;
            let Civil { year, month, day, .. } = Civil::from_seconds(seconds);
            two_digits(&mut self.text, &[(0, year / 100), (2, year % 100), (5, month), (8, day)]);
        }
        let thousandths = milliseconds % 1_000;
        let clock = [(11, clock / 3_600), (14, clock / 60 % 60), (17, clock % 60), (20, thousandths / 10)];
        two_digits(&mut self.text, &clock);
        self.text[22] = b'0' + (thousandths % 10) as u8;
        std::str::from_utf8(&self.text).expect("digits are ASCII")
    }
}

/// `19941106T084937Z`, as Signature V4 writes times.
pub fn basic(seconds: u64) -> String {
    let Civil { year, month, day, hour, minute, second } = Civil::from_seconds(seconds);
    let mut text = *b"19941106T084937Z";
    two_digits(
        &mut text,
        &[(0, year / 100), (2, year % 100), (4, month), (6, day), (9, hour), (11, minute), (13, second)],
    );
    ascii(&text)
}

/// Reads `19941106T084937Z`.
pub fn parse_basic(text: &str) -> Option<u64> {
    let mut cursor = Cursor(text);
    let (year, month, day) = (cursor.digits(4)?, cursor.digits(2)?, cursor.digits(2)?);
    cursor.tag("T")?;
    let (hour, minute, second) = (cursor.digits(2)?, cursor.digits(2)?, cursor.digits(2)?);
    cursor.tag("Z")?;
    cursor.end()?;
    Civil { year, month, day, hour, minute, second }.to_seconds()
}

/// Reads `1994-11-06T08:49:37Z`, with any number of fractional digits; Unix nanoseconds.
pub fn parse_iso8601(text: &str) -> Option<u64> {
    let mut cursor = Cursor(text);
    let year = cursor.digits(4)?;
    cursor.tag("-")?;
    let month = cursor.digits(2)?;
    cursor.tag("-")?;
    let day = cursor.digits(2)?;
    cursor.tag("T")?;
    let (hour, minute, second) = cursor.clock()?;
    let mut nanoseconds = 0;
    if cursor.tag(".").is_some() {
        let count = cursor.0.bytes().take_while(u8::is_ascii_digit).count();
        let digits = cursor.0.get(..count).filter(|digits| !digits.is_empty())?;
        cursor.0 = &cursor.0[count..];
        nanoseconds = format!("{digits:0<9}").get(..9)?.parse().ok()?;
    }
    cursor.tag("Z").or_else(|| cursor.tag("+00:00"))?;
    cursor.end()?;
    let seconds = Civil { year, month, day, hour, minute, second }.to_seconds()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// Reads the three forms of RFC 9110: IMF-fixdate, RFC 850, asctime. Unix seconds. A date before 1970 is 0: it is
/// still a date, and earlier than every object.
pub fn parse_http(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some((week_day, rest)) = text.split_once(", ") {
        let long = !DAYS.contains(&week_day);
        let mut cursor = Cursor(rest);
        let day = cursor.digits(2)?;
        let separator = if cursor.tag("-").is_some() {
            "-"
        } else {
            cursor.tag(" ")?;
            " "
        };
        let month = cursor.month()?;
        cursor.tag(separator)?;
        let year = if long { two_digit_year(cursor.digits(2)?) } else { cursor.digits(4)? };
        cursor.tag(" ")?;
        let (hour, minute, second) = cursor.clock()?;
        // The zones after GMT are no HTTP but mail: botocore signs dates that end with -0000.
        [" GMT", " UTC", " +0000", " -0000"].into_iter().find_map(|zone| cursor.tag(zone))?;
        cursor.end()?;
        return clamped(Civil { year, month, day, hour, minute, second });
    }
    // asctime: `Sun Nov  6 08:49:37 1994`.
    let (week_day, rest) = text.split_once(' ')?;
    DAYS.contains(&week_day).then_some(())?;
    let mut cursor = Cursor(rest);
    let month = cursor.month()?;
    cursor.tag(" ")?;
    let day = if cursor.tag(" ").is_some() { cursor.digits(1)? } else { cursor.digits(2)? };
    cursor.tag(" ")?;
    let (hour, minute, second) = cursor.clock()?;
    cursor.tag(" ")?;
    let year = cursor.digits(4)?;
    cursor.end()?;
    clamped(Civil { year, month, day, hour, minute, second })
}

fn clamped(civil: Civil) -> Option<u64> {
    if civil.year < 1970 { Civil { year: 1972, ..civil }.to_seconds().map(|_| 0) } else { civil.to_seconds() }
}

fn two_digit_year(year: u64) -> u64 {
    if year < 70 { 2000 + year } else { 1900 + year }
}

struct Cursor<'a>(&'a str);

impl Cursor<'_> {
    fn digits(&mut self, count: usize) -> Option<u64> {
        let digits = self.0.get(..count).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        let number = digits.parse().ok()?;
        self.0 = &self.0[count..];
        Some(number)
    }

    fn tag(&mut self, tag: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(tag)?;
        Some(())
    }

    fn month(&mut self) -> Option<u64> {
        let name = self.0.get(..3)?;
        let index = MONTHS.iter().position(|&month| month == name)?;
        self.0 = &self.0[3..];
        Some(index as u64 + 1)
    }

    fn clock(&mut self) -> Option<(u64, u64, u64)> {
        let hour = self.digits(2)?;
        self.tag(":")?;
        let minute = self.digits(2)?;
        self.tag(":")?;
        Some((hour, minute, self.digits(2)?))
    }

    fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_three_http_forms_mean_the_same_second() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse_http(text), Some(784_111_777), "{text}");
        }
        assert_eq!(http(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(parse_http("Mon, 01 Jan 1900 00:00:00 GMT"), Some(0));
        assert_eq!(parse_http("Sun, 06 Nov 1994 08:49:37 -0000"), Some(784_111_777));
        assert_eq!(parse_http("Sun, 06 Nov 1994 08:49:37 +0100"), None);
        for text in
            ["", "yesterday", "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994"]
        {
            assert_eq!(parse_http(text), None, "{text}");
        }
    }

    #[test]
    fn xml_and_signature_times_read_back() {
        assert_eq!(iso8601(784_111_777_045), "1994-11-06T08:49:37.045Z");
        assert_eq!(iso8601(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso8601(u64::MAX), format!("9999-12-31T23:59:59.{:03}Z", u64::MAX % 1_000));
        assert_eq!(parse_iso8601("1994-11-06T08:49:37.045Z"), Some(784_111_777_045_000_000));
        assert_eq!(parse_iso8601("1994-11-06T08:49:37Z"), Some(784_111_777_000_000_000));
        assert_eq!(parse_iso8601("1994-11-06T08:49:37.Z"), None);
        assert_eq!(basic(784_111_777), "19941106T084937Z");
        assert_eq!(parse_basic("19941106T084937Z"), Some(784_111_777));
        for text in ["19941106T084937", "19941306T084937Z", "1994110\u{e9}T084937Z", "19941106T084937Zx"] {
            assert_eq!(parse_basic(text), None, "{text}");
        }
    }

    #[test]
    fn times_written_one_after_the_other_are_those_written_alone() {
        let mut dates = Iso8601::default();
        for milliseconds in
            [784_111_777_045, 784_111_777_046, 784_079_999_999, 784_080_000_000, 0, 86_399_999, u64::MAX]
        {
            let alone = iso8601(milliseconds);
            assert_eq!(dates.text(milliseconds), alone);
            // Nanoseconds in 64 bits end in 2554.
            let read_back = milliseconds.checked_mul(1_000_000);
            assert_eq!(parse_iso8601(&alone), read_back, "{alone}");
        }
    }

    #[test]
    fn every_day_reads_back_as_it_was_written() {
        for day in 0..(SECONDS_MAX / DAY_SECONDS) {
            let seconds = day * DAY_SECONDS + day % DAY_SECONDS;
            let civil = Civil::from_seconds(seconds);
            assert_eq!(civil.to_seconds(), Some(seconds), "{civil:?}");
        }
    }
}
