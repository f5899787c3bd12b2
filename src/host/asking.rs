//! Asks the model before a task goes on.
//!
//! A task is held back by its stream while the model is asked ([`HeldTask`]). All callouts belong to roots, also those that streams
//! make: so a root gets the answer and hands it to the stream.

use std::cell::RefCell;
use std::rc::Rc;

use super::answer::{decoded, encoding};
use super::callouts::{self, Callout};
use super::calls::{self, Body, Headers};
use super::memory::Bytes;
use super::place::Place;
use super::quota::Claim;
use crate::abi::callouts::Callouts;
use crate::abi::pairs;
use crate::automation::answer::Suggestion;
use crate::automation::hold::Progress;
use crate::automation::task::Reason;
use crate::model::header;
use crate::payload::encoding::Inflaters;
use crate::routing::automation::Automation;
use crate::routing::passed_on::{is_handed_back, is_passed_on};
use crate::routing::plan::Task;

/// The status by which Envoy says that a callout's time is over.
const TIMED_OUT: u64 = 504;

/// Bytes of a request's headers, for which there is room beside its body.
const HEADERS: usize = 64 << 10;

/// The tasks of one VM about which the model is asked.
#[derive(Default)]
pub(super) struct Asking {
    /// The streams that hold tasks about which the model is asked.
    asked: Rc<RefCell<Callouts<u32>>>,
}

/// The stream that holds a task, and its root.
#[derive(Clone, Copy)]
pub(super) struct Asker {
    pub(super) stream: u32,
    pub(super) root: u32,
}

/// A task that is held until the model has answered.
pub(super) struct HeldTask {
    pub(super) place: Place,
    pub(super) task: Task,
    /// The request's headers as copies have them, written for the ABI.
    pub(super) headers: Vec<u8>,
    pub(super) body: Vec<u8>,
    progress: Progress,
    pub(super) by: Asker,
    room: Room,
}

/// What one task takes of what its rollout may hold, as long as it is held.
struct Room {
    /// Its bytes while it comes: clients decide how long that takes, so it has no place yet.
    bytes: Claim,
    /// Its place among those about which the model is asked.
    place: Option<Claim>,
    asked: Rc<RefCell<Callouts<u32>>>,
    token: Option<u32>,
}

impl Drop for Room {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.asked.borrow_mut().end(token);
        }
    }
}

impl Asking {
    /// Begins to hold a task while its headers are there.
    ///
    /// # Errors
    /// Why it goes on at once.
    pub(super) fn hold(
        &self,
        by: Asker,
        place: Place,
        (task, has_body): (Task, bool),
    ) -> Result<Box<HeldTask>, Reason> {
        let automation = place.automation().ok_or(Reason::Refused)?;
        let is_tunnel = calls::header(Headers::Request, "upgrade").is_some()
            || calls::header(Headers::Request, ":method").is_some_and(|method| *method == *b"CONNECT");
        if is_tunnel {
            return Err(Reason::Refused);
        }
        let length = || {
            let length = calls::header(Headers::Request, "content-length")?;
            str::from_utf8(&length).ok()?.parse::<usize>().ok()
        };
        if has_body && length().is_some_and(|length| length > automation.max_body) {
            return Err(Reason::TooLarge);
        }
        let headers = copied_headers(automation).ok_or(Reason::Refused)?;
        let bytes = Claim::new(&place.stable().ok_or(Reason::Refused)?.held);
        let room = Room { bytes, place: None, asked: Rc::clone(&self.asked), token: None };
        let progress = Progress::Comes(0);
        Ok(Box::new(HeldTask { place, task, headers, body: Vec::new(), progress, by, room }))
    }

    /// The stream that asked the model by this callout.
    pub(super) fn stream(&self, token: u32) -> Option<u32> {
        self.asked.borrow().get(token).copied()
    }

    /// The callouts that get no answer: those of a root that goes, and those that Envoy should have ended already.
    pub(super) fn lost(&self, root: Option<u32>) -> Vec<u32> {
        let asked = self.asked.borrow();
        if asked.is_empty() {
            return Vec::new();
        }
        match root {
            Some(root) => asked.of_root(root),
            None => asked.overdue(calls::uptime()),
        }
    }
}

impl HeldTask {
    /// So many bytes of the request are there; `is_whole`: all of it.
    ///
    /// # Errors
    /// Why it waits no longer.
    pub(super) fn receive(&mut self, size: usize, is_whole: bool) -> Result<(), Reason> {
        let asks = self.progress.receive(size, is_whole, self.place.max_body())?;
        if self.room.place.is_none() {
            let automation = self.place.automation().ok_or(Reason::Refused)?;
            // People need not wait for an upload about which the model cannot be asked.
            if self.place.stable().ok_or(Reason::Refused)?.in_flight.get() >= automation.max_in_flight {
                return Err(Reason::Busy);
            }
            let most = automation.max_in_flight.saturating_mul(automation.max_body.saturating_add(HEADERS));
            let fits = self.room.bytes.grow(self.headers.len().saturating_add(size), most);
            fits.then_some(()).ok_or(Reason::Busy)?;
        }
        asks.map_or(Ok(()), |size| self.ask(size))
    }

    /// The request has come as a whole, and ends with trailers.
    ///
    /// # Errors
    /// Why it waits no longer.
    pub(super) fn end(&mut self) -> Result<(), Reason> {
        self.progress.end().map_or(Ok(()), |size| self.ask(size))
    }

    /// Asks the model, with a body of so many bytes.
    fn ask(&mut self, size: usize) -> Result<(), Reason> {
        let automation = self.place.automation().ok_or(Reason::Refused)?;
        let mut place = Claim::new(&self.place.stable().ok_or(Reason::Refused)?.in_flight);
        if !place.add(1, automation.max_in_flight) {
            return Err(Reason::Busy);
        }
        self.room.place = Some(place);
        self.room.bytes.set(0);
        if size > 0 {
            let body = calls::body(Body::Request, 0, size).filter(|body| body.len() == size);
            self.body = body.ok_or(Reason::Refused)?.into_vec();
        }
        let version = self.place.rollout().filter(|rollout| rollout.tells_upstream);
        let version = version.and_then(|rollout| rollout.versions.get(automation.model));
        let mut headers: Vec<(&[u8], &[u8])> = pairs::all(&self.headers).collect();
        headers.extend(version.map(|version| (header::VERSION.as_bytes(), version.name.as_bytes())));
        let cluster = self.place.cluster(automation.model).ok_or(Reason::Refused)?;
        let headers = pairs::write(&headers);
        let callout = Callout { cluster, headers: &headers, body: &self.body, timeout: automation.timeout };
        let Asker { stream, root } = self.by;
        let token = callouts::send(&self.room.asked, root, &callout, stream);
        self.room.token = Some(token.map_err(|_| Reason::Refused)?);
        self.progress = Progress::Asked(calls::uptime());
        Ok(())
    }

    /// Why there is no answer.
    fn reason(&self, reason: Reason) -> Reason {
        let timeout = self.place.automation().map_or(0, |automation| automation.timeout);
        self.progress.reason(reason, calls::uptime(), timeout)
    }
}

/// An answer of the model.
pub(super) struct Answer {
    pub(super) suggestion: Suggestion,
    status: u32,
    headers: Vec<u8>,
    body: Vec<u8>,
}

impl Answer {
    /// Reads the answer to a held task, with a body of so many bytes; or says why there is none.
    pub(super) fn to(held: &HeldTask, body: Option<usize>, inflaters: &Inflaters) -> Result<Self, Reason> {
        let answer = body.ok_or(Reason::NoAnswer).and_then(|size| Self::read(held, size, inflaters));
        answer.map_err(|reason| held.reason(reason))
    }

    /// Reads the answer that Envoy is showing.
    fn read(held: &HeldTask, size: usize, inflaters: &Inflaters) -> Result<Self, Reason> {
        let automation = held.place.automation().ok_or(Reason::Refused)?;
        let status = calls::status(Headers::CalloutResponse).ok_or(Reason::NoAnswer)?;
        let is_servers =
            || calls::header(Headers::CalloutResponse, "x-envoy-upstream-service-time").is_some();
        if status == TIMED_OUT && !is_servers() {
            return Err(Reason::Late);
        }
        let status = u32::try_from(status).ok().filter(|status| (200..300).contains(status));
        let status = status.ok_or(Reason::NoAnswer)?;
        if size > automation.max_body {
            return Err(Reason::TooLarge);
        }
        let encoding = encoding(Headers::CalloutResponse);
        let headers = calls::headers(Headers::CalloutResponse).ok_or(Reason::Unreadable)?.into_vec();
        let body = calls::body(Body::Callout, 0, size).map(Bytes::into_vec).unwrap_or_default();
        let plain =
            decoded(body.clone(), encoding, automation.max_body, inflaters).ok_or(Reason::TooLarge)?;
        let suggestion = Suggestion::read(&plain, &automation.places).ok_or(Reason::Unreadable)?;
        Ok(Self { suggestion, status, headers, body })
    }

    /// Answers the task's caller with it.
    pub(super) fn hand_back(&self) {
        let kept = pairs::all(&self.headers).filter(|(name, _)| is_handed_back(name));
        calls::reply(self.status, &pairs::write(&kept.collect::<Vec<_>>()), &self.body);
    }
}

/// The headers of the request that Envoy is showing, as the model and people with a copy of the task get them.
fn copied_headers(automation: &Automation) -> Option<Vec<u8>> {
    let own = [automation.receipt.as_bytes(), automation.suggestion.as_bytes()];
    let all = calls::headers(Headers::Request)?;
    let is_kept = |(name, value): &(&[u8], &[u8])| is_passed_on(name, value) && !own.contains(name);
    Some(pairs::write(&pairs::all(&all).filter(is_kept).collect::<Vec<_>>()))
}
