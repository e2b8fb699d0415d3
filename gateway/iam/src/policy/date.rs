//! The dates of policies, to and from Unix milliseconds. Proleptic Gregorian, years 0 to 9999.
//!
//! `s3::date` reads what S3's wire has, and knows nothing before 1970; this crate may not know it.

const SECOND: i64 = 1_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// Days from 0000-03-01, where the eras of 400 years begin, to 1970-01-01.
const EPOCH_DAYS: i64 = 719_468;

/// Reads the ISO 8601 profile of the W3C, from `2013` with a month to fractions of a second, or the seconds of the
/// epoch. Without a zone a time is UTC.
pub(super) fn parse(text: &str) -> Option<i64> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse::<i64>().ok()?.checked_mul(SECOND);
    }
    let (date, clock) = match text.split_once(['T', 't']) {
        Some((date, clock)) => (date, Some(clock)),
        None => (text, None),
    };
    let mut fields = date.split('-');
    let year = digits(fields.next()?, 4)?;
    let month = digits(fields.next()?, 2)?;
    let day = fields.next().map_or(Some(1), |day| digits(day, 2))?;
    if fields.next().is_some() {
        return None;
    }
    Some(days(year, month, day)? * DAY + clock.map_or(Some(0), time)?)
}

/// `2013-06-30T00:00:00Z`; milliseconds are not shown.
pub(super) fn iso8601(milliseconds: i64) -> String {
    let (day, rest) = (milliseconds.div_euclid(DAY), milliseconds.rem_euclid(DAY));
    let shifted = day + EPOCH_DAYS;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute, second) = (rest / HOUR, rest / MINUTE % 60, rest / SECOND % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970-01-01; `None` for days that do not exist.
fn days(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_of_month).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the leap day is the last of its year.
    let year = year - i64::from(month <= 2);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - EPOCH_DAYS)
}

/// Milliseconds of the day in UTC, of a time with its zone: below zero or beyond a day where the zone moves it.
fn time(text: &str) -> Option<i64> {
    let (clock, zone) = match text.find(['Z', 'z', '+', '-']) {
        Some(at) => text.split_at(at),
        None => (text, "Z"),
    };
    let offset = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => 0,
        ("+", offset) => hours_and_minutes(offset)?,
        ("-", offset) => -hours_and_minutes(offset)?,
        _ => return None,
    };
    let (minutes, seconds) = match clock.match_indices(':').nth(1) {
        Some((at, _)) => (&clock[..at], milliseconds(&clock[at + 1..])?),
        None => (clock, 0),
    };
    Some(hours_and_minutes(minutes)? + seconds - offset)
}

fn hours_and_minutes(text: &str) -> Option<i64> {
    let (hour, minute) = text.split_once(':')?;
    let (hour, minute) = (digits(hour, 2)?, digits(minute, 2)?);
    (hour < 24 && minute < 60).then_some(hour * HOUR + minute * MINUTE)
}

/// `ss` or `ss.fff`. A leap second is the one before; digits behind the third are below our precision.
fn milliseconds(text: &str) -> Option<i64> {
    let (second, fraction) = match text.split_once('.') {
        Some((second, fraction)) => (second, fraction),
        None => (text, "0"),
    };
    let second = digits(second, 2)?;
    if second > 60 || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let thousandths = fraction.bytes().chain([b'0'; 3]).take(3).fold(0, |sum, b| sum * 10 + i64::from(b - b'0'));
    Some(second.min(59) * SECOND + thousandths)
}

/// Exactly `count` digits.
fn digits(text: &str, count: usize) -> Option<i64> {
    let is_number = text.len() == count && text.bytes().all(|b| b.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_in_every_form_and_shown_in_one() {
        let check = |text: &str, expect: Option<i64>, shown: &str| {
            let found = parse(text);
            assert_eq!(found, expect, "{text}");
            assert_eq!(found.map(iso8601).unwrap_or_default(), shown, "{text}");
        };
        check("2013-06-30T00:00:00Z", Some(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check("1372550400", Some(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check("2013-06-30", Some(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check("2013-06", Some(1_370_044_800_000), "2013-06-01T00:00:00Z");
        check("2013-06-30T02:00:00+02:00", Some(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check("2013-06-29T19:30-04:30", Some(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check("2013-06-30T00:00:00", Some(1_372_550_400_000), "2013-06-30T00:00:00Z");
        check("2013-06-30T00:00:00.0256Z", Some(1_372_550_400_025), "2013-06-30T00:00:00Z");
        check("2013-06-30T00:00:00.5Z", Some(1_372_550_400_500), "2013-06-30T00:00:00Z");
        check("2016-12-31T23:59:60Z", Some(1_483_228_799_000), "2016-12-31T23:59:59Z");
        check("2000-02-29", Some(951_782_400_000), "2000-02-29T00:00:00Z");
        check("1969-12-31T23:59:59Z", Some(-1_000), "1969-12-31T23:59:59Z");
        check("0", Some(0), "1970-01-01T00:00:00Z");
        // Four digits are seconds, not a year.
        check("2013", Some(2_013_000), "1970-01-01T00:33:33Z");
        for text in [
            "",
            "x",
            "-1",
            "2013-13-01",
            "2013-02-29",
            "1900-02-29",
            "2013-06-31",
            "2013-6-1",
            "2013-06-30-01",
            "2013-06-30T24:00Z",
            "2013-06-30T00:60Z",
            "2013-06-30T00Z",
            "2013-06-30T00:00:61Z",
            "2013-06-30T00:00:00.Z",
            "2013-06-30T00:00:00ZZ",
            "2013-06-30T00:00:00+2",
            "2013-06-30T",
            "2013-06-30T00:00:é",
            "99999999999999999999",
            "9223372036854775807",
        ] {
            check(text, None, "");
        }
    }
}
