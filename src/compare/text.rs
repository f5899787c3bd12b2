//! How alike two texts are.

use std::collections::BTreeMap;

/// Tokens of a text that are looked at.
const MOST_TOKENS: usize = 4_096;

/// A text without the difference of upper and lower case in ASCII, and with single spaces. (All of Unicode's letters would
/// take 19 KB of tables.)
#[must_use]
pub fn normalised(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_ascii_lowercase()
}

/// F1 of the tokens that two texts share: 2c / (m + n) for m and n tokens, c of them in both, each as often as it is there.
/// Tokens are what white space separates, with ASCII in lower case. Two texts without any are alike.
#[must_use]
pub fn token_f1(a: &str, b: &str) -> f64 {
    let tokens = |text: &str| -> Vec<String> {
        text.split_whitespace().take(MOST_TOKENS).map(str::to_ascii_lowercase).collect()
    };
    let (a, b) = (tokens(a), tokens(b));
    if a.is_empty() && b.is_empty() {
        return 1.0;
    }
    let mut left: BTreeMap<&str, u32> = BTreeMap::new();
    for token in &a {
        let count = left.entry(token).or_default();
        *count = count.saturating_add(1);
    }
    let mut shared = 0_u32;
    for token in &b {
        if let Some(count) = left.get_mut(token.as_str()).filter(|count| **count > 0) {
            *count = count.saturating_sub(1);
            shared = shared.saturating_add(1);
        }
    }
    2.0 * f64::from(shared) / crate::model::real(a.len().saturating_add(b.len()) as u64)
}
