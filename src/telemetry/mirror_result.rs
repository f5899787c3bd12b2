//! What becomes of a request that was drawn for the shadow.

/// What becomes of a request that was drawn for the shadow. Where Envoy makes the copy, each is asked for or skipped. Where the
/// filter does, each is sent or skipped, and what is sent matches, differs, fails or is cancelled besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MirrorResult {
    /// Envoy is asked to copy it. It does so where the route has the policy, and says nothing of it.
    Asked,
    /// The filter has sent it.
    Sent,
    /// The two answers agree.
    Matched,
    /// The two answers differ.
    Differed,
    /// The shadow gave no answer of its own.
    Failed,
    /// The shadow's answer was no longer waited for, because a configuration took the place of the one that had sent it.
    Cancelled,
    /// Its method is not mirrored.
    SkippedMethod,
    /// It opens a tunnel, which has no copy.
    SkippedUpgrade,
    /// Its body is longer than what may be copied.
    SkippedTooLarge,
    /// It does not say how long its body is.
    SkippedUnknownLength,
    /// To be compared: too many wait for the shadow.
    SkippedInFlight,
    /// To be compared: too many bytes are held.
    SkippedMemory,
    /// To be compared: stable's answer is encoded.
    SkippedEncoding,
    /// To be compared: stable's answer did not come as a whole.
    SkippedUnanswered,
    /// To be compared: Envoy has no such cluster, or refuses the request.
    SkippedRefused,
}

impl MirrorResult {
    /// All results, in the order of their [`MirrorResult::index`].
    pub const ALL: [Self; 15] = [
        Self::Asked,
        Self::Sent,
        Self::Matched,
        Self::Differed,
        Self::Failed,
        Self::Cancelled,
        Self::SkippedMethod,
        Self::SkippedUpgrade,
        Self::SkippedTooLarge,
        Self::SkippedUnknownLength,
        Self::SkippedInFlight,
        Self::SkippedMemory,
        Self::SkippedEncoding,
        Self::SkippedUnanswered,
        Self::SkippedRefused,
    ];

    /// The value of the label `result`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Sent => "sent",
            Self::Matched => "matched",
            Self::Differed => "differed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::SkippedMethod => "skipped_method",
            Self::SkippedUpgrade => "skipped_upgrade",
            Self::SkippedTooLarge => "skipped_too_large",
            Self::SkippedUnknownLength => "skipped_unknown_length",
            Self::SkippedInFlight => "skipped_in_flight",
            Self::SkippedMemory => "skipped_memory",
            Self::SkippedEncoding => "skipped_encoding",
            Self::SkippedUnanswered => "skipped_unanswered",
            Self::SkippedRefused => "skipped_refused",
        }
    }

    /// The position in [`MirrorResult::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }
}
