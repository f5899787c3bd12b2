//! One observation.

use super::histogram;
use super::sums::Fraction;

/// What was observed of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Whether it has the event.
    Event(bool),
    /// How many nanoseconds it took.
    Duration(u64),
    /// Its value.
    Mean(Fraction),
    /// The bucket that its value, or its category, is in.
    Bucket(u8),
}

impl Observed {
    /// The observation in a byte, as samples of users keep it: 0 or 1 for an event, 0 to 255 for a value. Durations have
    /// none.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // below 256
    pub fn number(self) -> Option<u8> {
        match self {
            Self::Event(has_event) => Some(has_event.into()),
            Self::Mean(value) => Some((value.value() * 255.0).round() as u8),
            Self::Duration(_) | Self::Bucket(_) => None,
        }
    }

    /// The same by the bucket that a value is in: of a count, each is 18 % wide.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // at most the last bucket
    pub fn spread(self) -> Self {
        match self {
            Self::Mean(value) => {
                let bucket = value.value() * f64::from(LAST_BUCKET);
                Self::Bucket(bucket as u8)
            }
            other => other,
        }
    }

    /// A category by the bucket that its hash falls into. Two that share one are taken for one.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // below the number of buckets
    pub fn category(hash: u64) -> Self {
        Self::Bucket(hash.checked_rem(histogram::BUCKETS as u64).unwrap_or(0) as u8)
    }
}

/// The last bucket of a histogram.
#[allow(clippy::cast_possible_truncation)] // 81
const LAST_BUCKET: u8 = (histogram::BUCKETS - 1) as u8;

/// The value that [`Observed::number`] stands for.
#[must_use]
pub fn value_of(number: u8) -> Fraction {
    Fraction::new(f64::from(number) / 255.0).unwrap_or_default()
}
