//! Sends callouts: each belongs to the root of the context that calls are about, and is known until it ends.

use std::cell::RefCell;

use super::calls;
use crate::abi::callouts::Callouts;

/// Milliseconds behind its timeout after which a callout is not waited for any more: Envoy ends callouts by itself.
const GRACE: u64 = 2_000;

/// What is sent.
pub(super) struct Callout<'a> {
    pub(super) cluster: &'a str,
    /// Written for the ABI.
    pub(super) headers: &'a [u8],
    pub(super) body: &'a [u8],
    /// Milliseconds.
    pub(super) timeout: u32,
}

/// Sends a callout of `root`, and keeps what it is `about`. Returns its number.
///
/// # Errors
/// Envoy does not even try: what it was about.
pub(super) fn send<T>(
    open: &RefCell<Callouts<T>>,
    root: u32,
    callout: &Callout<'_>,
    about: T,
) -> Result<u32, T> {
    let Callout { cluster, headers, body, timeout } = *callout;
    let Some(token) = calls::http_call(cluster, headers, body, timeout) else { return Err(about) };
    let lasts = u64::from(timeout).saturating_add(GRACE).saturating_mul(1_000_000);
    open.borrow_mut().begin(token, root, calls::uptime().saturating_add(lasts), about);
    Ok(token)
}

/// Ends those that Envoy should have ended already. Returns what they were about.
pub(super) fn end_overdue<T>(open: &RefCell<Callouts<T>>) -> Vec<T> {
    let mut open = open.borrow_mut();
    if open.is_empty() {
        return Vec::new();
    }
    let overdue = open.overdue(calls::uptime());
    overdue.into_iter().filter_map(|token| open.end(token)).collect()
}

/// Ends those of a root that goes: Envoy drops them. Returns what they were about.
pub(super) fn end_of_root<T>(open: &RefCell<Callouts<T>>, root: u32) -> Vec<T> {
    let mut open = open.borrow_mut();
    open.of_root(root).into_iter().filter_map(|token| open.end(token)).collect()
}
