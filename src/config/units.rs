//! Values with a unit or a form of their own: shares in percent, counts, durations, digests.

use std::fmt;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::model::Share;

/// A share of the traffic, written as a percentage with at most two decimals (`5`, `0.25`): a number, or a text that
/// is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub Share);

impl Percent {
    /// The share of this many percent.
    ///
    /// # Errors
    /// It is out of range, or has more than two decimals; in words.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked before
    #[inline(never)] // read in many places: one copy in the module
    pub fn new(percent: f64) -> Result<Self, String> {
        if percent < 0.0 {
            return Err(format!("{percent} is below 0"));
        }
        if percent > 100.0 {
            return Err(format!("{percent} is over 100"));
        }
        let hundredths = percent * 100.0;
        // 0.29 * 100 is 28.999999999999996: what a double cannot express is not a third decimal.
        if (hundredths - hundredths.round()).abs() > 1e-6 {
            return Err(format!("{percent} has more than two decimals"));
        }
        Ok(Self(Share::new(hundredths.round() as u16)))
    }
}

/// The number alone, as it is written.
impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.percent())
    }
}

/// In hundredths: the canonical form, from which the configuration's hash is made.
impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let percent = f64::deserialize(deserializer)?;
        Self::new(percent).map_err(de::Error::custom)
    }
}

/// A whole number of things.
///
/// Envoy's YAML loader makes doubles of small numbers and texts of large ones; both are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Count(u64);

impl Count {
    /// The largest count: doubles are exact up to here.
    const MOST: f64 = 9_007_199_254_740_992.0;

    /// The number.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

impl From<u32> for Count {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

impl<'de> Deserialize<'de> for Count {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the range is checked before
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = f64::deserialize(deserializer)?;
        if number.fract() != 0.0 || !(0.0..=Self::MOST).contains(&number) {
            return Err(de::Error::custom(format_args!("{number} is not a whole number of at least 0")));
        }
        Ok(Self(number as u64))
    }
}

/// A number that is written with its unit.
struct Text<T> {
    parse: fn(&str) -> Option<T>,
    /// How it is to be written.
    expected: &'static str,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// Shows a number in the largest of these units that it is a whole number of.
fn with_unit(number: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let fits = |(_, unit): &&(&str, u64)| number >= *unit && number.is_multiple_of(*unit);
    let largest = units.iter().filter(fits).max_by_key(|(_, unit)| *unit);
    let smallest = units.iter().min_by_key(|(_, unit)| *unit);
    let Some((name, unit)) = largest.or(smallest) else { return Ok(()) };
    write!(f, "{}{name}", number.checked_div(*unit).unwrap_or(0))
}

/// A length of time, to the millisecond, written as `500ms`, `30s`, `10m` or `1h30m`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(u64);

impl Duration {
    const UNITS: [(&str, u64); 4] = [("ms", 1), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)];

    /// The length in milliseconds.
    #[must_use]
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// The length in nanoseconds.
    #[must_use]
    pub fn as_nanos(self) -> u64 {
        self.0.saturating_mul(1_000_000)
    }

    /// The length of this many milliseconds.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Reads `1h30m`: whole numbers, each with a unit of `h`, `m`, `s` or `ms`, the larger units first.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text;
        let mut total = 0_u64;
        let mut smallest = u64::MAX;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit())?;
            let (number, unit) = rest.split_at_checked(digits)?;
            let (name, millis) = Self::UNITS.into_iter().find(|(name, _)| unit.starts_with(name))?;
            if millis >= smallest {
                return None;
            }
            smallest = millis;
            total = number.parse::<u64>().ok()?.checked_mul(millis)?.checked_add(total)?;
            rest = unit.strip_prefix(name)?;
        }
        (smallest != u64::MAX).then_some(Self(total))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_unit(self.0, &Self::UNITS, f)
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a duration such as 500ms, 30s, 10m or 1h30m";
        deserializer.deserialize_str(Text { parse: Self::parse, expected })
    }
}

/// A number of bytes, written as `512B`, `256KiB` or `1MiB`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    const UNITS: [(&str, u64); 3] = [("MiB", 1_048_576), ("KiB", 1_024), ("B", 1)];

    /// So many KiB.
    #[must_use]
    pub const fn kib(number: u32) -> Self {
        Self((number as u64).saturating_mul(1_024))
    }

    /// The number of bytes.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = text.split_at_checked(text.find(|c: char| !c.is_ascii_digit())?)?;
        let (_, bytes) = Self::UNITS.into_iter().find(|(name, _)| *name == unit)?;
        number.parse::<u64>().ok()?.checked_mul(bytes).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_unit(self.0, &Self::UNITS, f)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a size such as 512B, 256KiB or 1MiB";
        deserializer.deserialize_str(Text { parse: Self::parse, expected })
    }
}

/// A SHA-256, written in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sha256([u8; 32]);

impl Sha256 {
    /// The digest.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut digest = [0; 32];
        if pairs.len() != digest.len() || !rest.is_empty() {
            return None;
        }
        for (byte, pair) in digest.iter_mut().zip(pairs) {
            let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
            *byte = u8::try_from(high? << 4 | low?).ok()?;
        }
        Some(Self(digest))
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // What was found is not shown: it may be the secret itself, and messages go to logs.
        Self::parse(&text).ok_or_else(|| {
            de::Error::custom("not a SHA-256; expected 64 hexadecimal digits, as sha256sum prints them")
        })
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod schema {
    use super::{Count, Duration, Percent, Sha256, Size};
    use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
    use std::borrow::Cow;

    impl JsonSchema for Percent {
        fn schema_name() -> Cow<'static, str> {
            "Share".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "description": "A share of the traffic in percent, 0 to 100, with at most two decimals.",
                "type": ["number", "string"], "minimum": 0, "maximum": 100,
                "pattern": r"^(100(\.0{1,2})?|\d{1,2}(\.\d{1,2})?)$",
            })
        }
    }

    impl JsonSchema for Count {
        fn schema_name() -> Cow<'static, str> {
            "Count".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": ["integer", "string"], "minimum": 0, "pattern": r"^\d+$"})
        }
    }

    impl JsonSchema for Sha256 {
        fn schema_name() -> Cow<'static, str> {
            "Sha256".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({"type": "string", "pattern": "^[0-9a-fA-F]{64}$"})
        }
    }

    impl JsonSchema for Size {
        fn schema_name() -> Cow<'static, str> {
            "Size".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "description": "A number of bytes: a whole number with the unit B, KiB or MiB.",
                "type": "string", "pattern": r"^\d+(B|KiB|MiB)$",
                "examples": ["512B", "256KiB", "1MiB"],
            })
        }
    }

    impl JsonSchema for Duration {
        fn schema_name() -> Cow<'static, str> {
            "Duration".into()
        }
        fn json_schema(_: &mut SchemaGenerator) -> Schema {
            json_schema!({
                "description": "A length of time: whole numbers with the units h, m, s, ms, the larger first.",
                "type": "string", "pattern": r"^(?=\d)(\d+h)?(\d+m)?(\d+s)?(\d+ms)?$",
                "examples": ["500ms", "30s", "10m", "1h30m"],
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shares_are_percentages_with_two_decimals() {
        for (percent, expected) in
            [(0.0, 0), (5.0, 500), (0.25, 25), (0.29, 29), (33.33, 3333), (100.0, 10_000)]
        {
            assert_eq!(
                Percent::new(percent).map(|percent| percent.0.basis_points()),
                Ok(expected),
                "{percent}"
            );
        }
        assert_eq!(Percent::new(120.0).unwrap_err(), "120 is over 100");
        assert_eq!(Percent::new(-1.0).unwrap_err(), "-1 is below 0");
        assert_eq!(Percent::new(0.125).unwrap_err(), "0.125 has more than two decimals");
    }

    #[test]
    fn durations_read_as_they_are_written() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("1h30m", 5_400_000), ("0s", 0), ("1m1ms", 60_001)]
        {
            assert_eq!(Duration::parse(text).map(Duration::as_millis), Some(millis), "{text}");
        }
        assert_eq!(Duration::parse("1s").map(Duration::as_nanos), Some(1_000_000_000));
        for text in
            ["", "5", "s", "5x", "1m1h", "1s1s", "-1s", "1.5s", " 1s", "99999999999999999999h", "5m s"]
        {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_read_as_they_are_written() {
        for (text, bytes) in [("0B", 0), ("512B", 512), ("256KiB", 262_144), ("1MiB", 1_048_576)] {
            assert_eq!(Size::parse(text).map(Size::bytes), Some(bytes), "{text}");
            assert_eq!(Size(bytes).to_string(), text);
        }
        for text in [
            "",
            "5",
            "KiB",
            "1kb",
            "1MiB1B",
            "-1B",
            "1.5MiB",
            "99999999999999999999B",
            "18014398509481984MiB",
        ] {
            assert_eq!(Size::parse(text), None, "{text}");
        }
    }

    #[test]
    fn digests_are_64_hexadecimal_digits() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Sha256::parse(text).map(|digest| digest.to_string()).as_deref(), Some(text));
        assert_eq!(Sha256::parse(&text.to_uppercase()), Sha256::parse(text));
        for wrong in ["", "e3", &text[1..], &format!("{text}0"), &text.replace('e', "g"), &"é".repeat(32)] {
            assert_eq!(Sha256::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn every_duration_survives_its_text(milliseconds: u32, unit in prop::sample::select(vec![1, 1_000, 60_000, 3_600_000])) {
            let duration = Duration(u64::from(milliseconds) * unit);
            prop_assert_eq!(Duration::parse(&duration.to_string()), Some(duration));
        }

        #[test]
        fn every_share_survives_its_text(basis_points in 0..=10_000_u16) {
            let text = Percent(Share::new(basis_points)).to_string();
            let percent: f64 = text.parse().map_err(|_| TestCaseError::fail("a number"))?;
            prop_assert_eq!(Percent::new(percent), Ok(Percent(Share::new(basis_points))));
        }

        #[test]
        fn no_text_makes_a_duration_panic(text in "[0-9hms]{0,24}|.{0,12}") {
            let _ = Duration::parse(&text);
        }
    }
}
