//! Tables and their figures.

/// Thousands apart: `12,345`.
pub(crate) fn whole(number: f64) -> String {
    if !number.is_finite() {
        return "never".into();
    }
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(crate) fn mark(kept: bool) -> char {
    if kept { '✓' } else { '✗' }
}

/// The smallest number that this part of them does not exceed.
pub(crate) fn quantile(numbers: &[f64], part: f64) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len() as f64 * part).ceil() as usize).saturating_sub(1);
    sorted.get(at).copied().unwrap_or(f64::INFINITY)
}
