//! What receipts must obey beyond their types.

use super::mirror::pointer;
use super::words::header_name;
use crate::config::receipt::ReceiptPlace;
use crate::config::report::{Path, Problems, Shown};
use crate::config::schema::Rollout;
use crate::config::units::Duration;

/// Milliseconds that a receipt may be valid: a minute to 90 days.
const TTLS: std::ops::RangeInclusive<u64> = 60_000..=90 * 24 * 3_600_000;

/// The receipts of a rollout's answers.
pub(super) fn of_answers(rollout: &Rollout, rollout_path: &Path<'_>, problems: &mut Problems) {
    let Some(receipt) = &rollout.receipt else { return };
    let path = rollout_path.field("receipt");
    if rollout.automation.is_some() {
        problems.add(
            &path,
            "beside `automation`, where tasks carry receipts; expected `automation.receipt` alone",
        );
    }
    header_name(&receipt.response_header, &path.field("response_header"), problems);
    ttl(receipt.ttl, &path.field("ttl"), problems);
}

/// How long a receipt is valid.
pub(super) fn ttl(ttl: Duration, path: &Path<'_>, problems: &mut Problems) {
    if !TTLS.contains(&ttl.as_millis()) {
        problems.add(path, "expected a duration from 1m to 2160h (90 days)");
    }
}

/// Where a later request has a receipt.
pub(super) fn receipt_place(receipt: &ReceiptPlace, path: &Path<'_>, problems: &mut Problems) {
    match receipt {
        ReceiptPlace::Pointer(pointer) => place(pointer, path, problems),
        ReceiptPlace::Header(place) => header_name(&place.header, &path.field("header"), problems),
    }
}

/// A JSON pointer to one place.
pub(super) fn place(text: &str, path: &Path<'_>, problems: &mut Problems) {
    if text.is_empty() {
        if !problems.concern(path) {
            problems.add(path, "missing; expected a JSON pointer such as \"/label\"");
        }
    } else if pointer(text, path, problems).is_some_and(|pointer| pointer.is_pattern()) {
        problems.add(path, format_args!("{} matches several places; expected one without `*`", Shown(text)));
    }
}
