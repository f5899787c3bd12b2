//! When something happened, as text.

const DAY: u64 = 24 * 3_600_000;
/// The last millisecond of the year 9999, beyond which RFC 3339 has no notation.
const LAST: u64 = 253_402_300_799_999;

/// Milliseconds since the epoch as RFC 3339 writes them, in UTC: `2026-11-24T22:15:00.250Z`.
#[must_use]
pub fn rfc3339(milliseconds: u64) -> String {
    let milliseconds = milliseconds.min(LAST);
    let (year, month, day) = date(milliseconds / DAY);
    let of_day = milliseconds % DAY;
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1_000 % 60);
    let millisecond = of_day % 1_000;
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millisecond:03}Z")
}

/// The year, month and day that begins so many days after the epoch.
fn date(days: u64) -> (u64, usize, u64) {
    let mut left = days;
    let mut year = 1970;
    while let Some(rest) = left.checked_sub(if is_leap(year) { 366 } else { 365 }) {
        left = rest;
        year = year.saturating_add(1);
    }
    let february = if is_leap(year) { 29 } else { 28 };
    let mut month = 1_usize;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        let Some(rest) = left.checked_sub(length) else { break };
        left = rest;
        month = month.saturating_add(1);
    }
    (year, month, left.saturating_add(1))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_has_them() {
        // As `date --utc` prints them.
        for (milliseconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199_000, "2024-02-29T23:59:59.000Z"),
            (1_709_251_200_000, "2024-03-01T00:00:00.000Z"),
            (1_764_022_500_250, "2025-11-24T22:15:00.250Z"),
            (1_798_761_599_999, "2026-12-31T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (u64::MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(rfc3339(milliseconds), text);
        }
    }

    #[test]
    fn every_day_has_its_date_and_they_are_in_order() {
        let mut before = String::new();
        // To the end of 2100, which is not a leap year, unlike 2000.
        for day in 0..47_847 {
            let text = rfc3339(day * DAY);
            assert!(text > before, "{before} {text}");
            before = text;
        }
        assert_eq!(before, "2100-12-31T00:00:00.000Z");
    }
}
