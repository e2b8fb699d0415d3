//! The Date header: IMF-fixdate (RFC 9110 section 5.6.7), rendered once per second and shard.

use std::cell::Cell;

/// Length of every IMF-fixdate.
pub const DATE_BYTES: usize = 29;

thread_local! {
    static CACHED: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [0; DATE_BYTES])) };
}

/// The IMF-fixdate of `unix_seconds`; cheap when the second is the one of the last call on this thread.
pub fn cached(unix_seconds: u64) -> [u8; DATE_BYTES] {
    CACHED.with(|cached| {
        let (second, date) = cached.get();
        if second == unix_seconds {
            return date;
        }
        let date = imf_fixdate(unix_seconds);
        cached.set((unix_seconds, date));
        date
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`. Years beyond 9999 are shown modulo 10,000.
pub fn imf_fixdate(unix_seconds: u64) -> [u8; DATE_BYTES] {
    const WEEKDAYS: &[u8; 21] = b"ThuFriSatSunMonTueWed";
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let days = unix_seconds / 86_400;
    let seconds = unix_seconds % 86_400;
    let (year, month, day) = civil(days);
    let mut out = *b"ddd, 00 mmm 0000 00:00:00 GMT";
    let weekday = (days % 7) as usize * 3;
    out[..3].copy_from_slice(&WEEKDAYS[weekday..weekday + 3]);
    two_digits(&mut out[5..7], day);
    let month = (month as usize - 1) * 3;
    out[8..11].copy_from_slice(&MONTHS[month..month + 3]);
    two_digits(&mut out[12..14], year / 100 % 100);
    two_digits(&mut out[14..16], year % 100);
    two_digits(&mut out[17..19], seconds / 3600);
    two_digits(&mut out[20..22], seconds / 60 % 60);
    two_digits(&mut out[23..25], seconds % 60);
    out
}

/// Year, month and day of a day since 1970-01-01. Counts in 400-year eras that begin in March, so that the leap day is
/// the last day of a year.
fn civil(days: u64) -> (u64, u64, u64) {
    const DAYS_BEFORE_1970: u64 = 719_468;
    const DAYS_PER_ERA: u64 = 146_097;
    let shifted = days + DAYS_BEFORE_1970;
    let (era, day_of_era) = (shifted / DAYS_PER_ERA, shifted % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

fn two_digits(out: &mut [u8], value: u64) {
    out[0] = b'0' + (value / 10) as u8;
    out[1] = b'0' + (value % 10) as u8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        for (seconds, expect) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_767_225_599, "Wed, 31 Dec 2025 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(std::str::from_utf8(&imf_fixdate(seconds)).unwrap(), expect);
            assert_eq!(cached(seconds), cached(seconds));
        }
    }
}
