//! One observation.

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
            Self::Duration(_) => None,
        }
    }
}

/// The value that [`Observed::number`] stands for.
#[must_use]
pub fn value_of(number: u8) -> Fraction {
    Fraction::new(f64::from(number) / 255.0).unwrap_or_default()
}
