//! Sends requests to a shadow a second time, once stable has answered them, and compares the two answers.
//!
//! A stream copies what passes ([`Copied`]) and sends the copy with its last callback, for a root: the answer to a callout
//! comes back to the root that it belongs to, and the stream is gone by then.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use super::answer::{Message, decoded};
use super::callouts::{self, Callout};
use super::calls::{self, Body, Headers};
use super::loaded::Loaded;
use super::memory::Bytes;
use super::metrics::Series;
use super::quota::Claim;
use super::shared::{Kv, tick_at};
use crate::abi::callouts::Callouts;
use crate::abi::pairs;
use crate::compare::totals::Totals;
use crate::compare::{self, Answer, Compared};
use crate::fleet::differences::{self, Differences};
use crate::model::{Draw, header};
use crate::payload::encoding::{Decoder, Inflaters, Unreadable};
use crate::payload::head::{Encoding, infers, is_grpc};
use crate::routing::mirror::Comparison;
use crate::routing::plan::{self, Rollout, Version};
use crate::signal::catalog::{self, SignalId};
use crate::telemetry::mirror_result::MirrorResult;

/// What one VM has to do with shadows.
pub(super) struct Shadows {
    /// Sent.
    open: RefCell<Callouts<Open>>,
    /// Bytes that all copies hold.
    held: Rc<Cell<usize>>,
    /// Whether pairs were compared whose figures are not shown yet.
    has_news: Cell<bool>,
    /// Counted since the last tick.
    counted: RefCell<Vec<(Shadow, Totals)>>,
    /// Those whose counts were handed over in the last tick.
    reported: RefCell<Vec<Shadow>>,
}

/// The shadow of one rollout in one attempt, as one configuration has it.
#[derive(Clone)]
struct Shadow {
    loaded: Rc<Loaded>,
    rollout: usize,
    version: usize,
    /// The attempt in which the request came.
    attempt: u64,
    /// It is stable itself, beside the version.
    is_baseline: bool,
}

impl Shadow {
    fn rollout(&self) -> Option<&Rollout> {
        self.loaded.plan.rollouts().get(self.rollout)
    }

    /// The version that gets the copies.
    fn receiver(&self) -> Option<&Version> {
        self.rollout()?.versions.get(self.serves())
    }

    /// How answers are compared; a configuration that does not compare them refuses copies.
    fn comparison(&self) -> Result<&Comparison, MirrorResult> {
        self.rollout().and_then(Rollout::comparison).ok_or(MirrorResult::SkippedRefused)
    }

    /// A place among the copies of the rollout's requests that wait for shadows, if there are fewer than `most`.
    fn place(&self, most: usize) -> Result<Claim, MirrorResult> {
        let series = self.loaded.series(self.rollout, plan::STABLE).ok_or(MirrorResult::SkippedRefused)?;
        let mut place = Claim::new(&series.in_flight);
        if place.add(1, most) { Ok(place) } else { Err(MirrorResult::SkippedInFlight) }
    }

    fn series(&self) -> Option<&Series> {
        self.loaded.series(self.rollout, self.serves())
    }

    fn cluster(&self) -> Option<&str> {
        self.receiver().map(|version| version.cluster.as_str())
    }

    /// The position of the version that gets the copies.
    fn serves(&self) -> usize {
        if self.is_baseline { plan::STABLE } else { self.version }
    }

    /// Whether it is the same shadow, by the same configuration.
    fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.loaded, &other.loaded)
            && (self.rollout, self.version, self.attempt) == (other.rollout, other.version, other.attempt)
            && self.is_baseline == other.is_baseline
    }

    /// Counts a pair for the judge, if what was in force for its request still is.
    fn judge(&self, draw: Draw, signal: SignalId, differs: bool) {
        if let Some(tracked) = self.loaded.tracked(self.rollout) {
            tracked.compare(tick_at(calls::uptime()), draw, signal, differs);
        }
    }

    /// Hands what was counted to all VMs.
    fn report(&self, totals: &Totals) -> bool {
        let Some(rollout) = self.rollout() else { return true };
        let Some(version) = rollout.versions.get(self.version) else { return true };
        let mut counted = Differences {
            attempt: self.attempt,
            shadow: version.name.clone(),
            loaded_at: self.loaded.loaded_at,
            definition: rollout.comparison().map_or(0, |comparison| comparison.definition),
            ..Differences::default()
        };
        *(if self.is_baseline { &mut counted.baseline } else { &mut counted.totals }) = totals.clone();
        differences::add(&mut Kv, &rollout.name, &counted)
    }

    /// Shows how often it agrees with stable, by what all workers have counted.
    fn show_agreement(&self) {
        let of = |rollout: &Rollout| differences::of(&Kv, &rollout.name, self.attempt);
        let known = self.rollout().and_then(of);
        if let (Some(series), Some(known)) = (self.series(), known) {
            series.show_agreement(if self.is_baseline { &known.baseline } else { &known.totals });
        }
    }

    fn count(&self, result: MirrorResult) {
        if let Some(series) = self.series() {
            series.count_mirrored(result);
        }
    }
}

/// What is copied of a request and of stable's answer, while they pass.
pub(super) struct Copied {
    pair: Pair,
    decoder: Option<Decoder>,
    /// The request has come as a whole.
    has_request: bool,
    /// Why nothing is copied any more.
    skipped: Option<MirrorResult>,
}

/// A request, and stable's answer to it.
struct Pair {
    shadow: Shadow,
    /// Headers, as the ABI has them.
    headers: Vec<u8>,
    body: Vec<u8>,
    stable: Answer,
    held: Claim,
    /// What was drawn for the request, if its answers are evidence.
    draw: Option<Draw>,
}

/// A request of which copies were sent.
struct Asked {
    stable: Answer,
    draw: Option<Draw>,
    /// Whether comparing shows something.
    is_evidence: bool,
    /// Whether the shadow's answer differs from stable's, and that of stable's copy; known one after the other.
    differ: Cell<(Option<bool>, Option<bool>)>,
    _held: Claim,
}

/// A copy that was sent.
struct Open {
    shadow: Shadow,
    asked: Rc<Asked>,
    _place: Claim,
}

impl Copied {
    /// The next bytes of the request.
    pub(super) fn read_request(&mut self, size: usize) {
        // Envoy shows no piece where a body ends without one.
        if self.skipped.is_none() && size > 0 {
            self.skipped = self.pair.read_request(size).err();
        }
        self.let_go();
    }

    /// The request has come as a whole.
    pub(super) fn end_request(&mut self) {
        self.has_request = true;
    }

    /// The headers of stable's answer have come.
    pub(super) fn answer(&mut self, inflaters: &Inflaters) {
        let (answer, encoding) = Message::shown(Headers::Response).answer(self.pair.stable.infers);
        self.pair.stable = answer;
        self.decoder = Decoder::new(encoding, &inflaters.for_answers());
        if self.decoder.is_none() || self.pair.stable.message_encoding == Encoding::Other {
            self.skipped = self.skipped.or(Some(MirrorResult::SkippedEncoding));
        }
        self.let_go();
    }

    /// The next bytes of stable's answer.
    pub(super) fn read_answer(&mut self, size: usize) {
        if self.skipped.is_none()
            && size > 0
            && let Some(decoder) = &mut self.decoder
        {
            self.skipped = self.pair.read_answer(size, decoder).err();
        }
        self.let_go();
    }

    /// Stable's answer has come as a whole.
    pub(super) fn end_answer(&mut self) {
        self.decoder.iter_mut().for_each(Decoder::end);
    }

    /// What is not sent need not be held.
    fn let_go(&mut self) {
        if self.skipped.is_some() {
            self.pair.headers = Vec::new();
            self.pair.body = Vec::new();
            self.pair.stable = Answer::default();
            self.decoder = None;
            self.pair.held.set(0);
        }
    }
}

impl Pair {
    /// Copies the request's next bytes.
    fn read_request(&mut self, size: usize) -> Result<(), MirrorResult> {
        let comparison = self.shadow.comparison()?;
        if self.body.len().saturating_add(size) > comparison.max_body {
            return Err(MirrorResult::SkippedTooLarge);
        }
        if !self.held.add(size, comparison.max_bytes) {
            return Err(MirrorResult::SkippedMemory);
        }
        self.body.extend_from_slice(&piece(Body::Request, size)?);
        Ok(())
    }

    /// Copies the next bytes of stable's answer.
    fn read_answer(&mut self, size: usize, decoder: &mut Decoder) -> Result<(), MirrorResult> {
        let comparison = self.shadow.comparison()?;
        if size > comparison.max_body {
            return Err(MirrorResult::SkippedTooLarge);
        }
        let piece = piece(Body::Response, size)?;
        let (body, held, mut result) = (&mut self.stable.body, &mut self.held, Ok(()));
        let decoded = decoder.decode(&piece, &mut |bytes| {
            if body.len().saturating_add(bytes.len()) > comparison.max_body {
                result = Err(MirrorResult::SkippedTooLarge);
            } else if !held.add(bytes.len(), comparison.max_bytes) {
                result = Err(MirrorResult::SkippedMemory);
            } else {
                body.extend_from_slice(bytes);
            }
            result.is_ok()
        });
        result.and(decoded.map_err(|unreadable| match unreadable {
            Unreadable::Memory => MirrorResult::SkippedMemory,
            Unreadable::Malformed => MirrorResult::SkippedEncoding,
        }))
    }

    /// Undoes the compression of messages in stable's answer. Returns how many copies may wait for the shadow.
    fn inflate(&mut self) -> Result<usize, MirrorResult> {
        let comparison = self.shadow.comparison()?;
        let compressed = self.stable.body.len();
        comparison.inflate(&mut self.stable)?;
        let more = self.stable.body.len().saturating_sub(compressed);
        let fits = self.held.add(more, comparison.max_bytes);
        if fits { Ok(comparison.max_in_flight) } else { Err(MirrorResult::SkippedMemory) }
    }
}

impl Shadows {
    pub(super) fn new() -> Self {
        Self {
            open: RefCell::default(),
            held: Rc::default(),
            has_news: Cell::default(),
            counted: RefCell::default(),
            reported: RefCell::default(),
        }
    }

    /// Begins to copy a request that was drawn for a shadow, with the headers that Envoy has `shown`. `None`: it is not sent, and
    /// that is counted.
    pub(super) fn copy(
        &self,
        loaded: &Rc<Loaded>,
        (rollout, version): (usize, usize),
        draw: Option<Draw>,
        shown: Option<&[u8]>,
    ) -> Option<Box<Copied>> {
        let attempt = loaded.plan.rollouts().get(rollout).map_or(0, Rollout::attempt);
        let shadow = Shadow { loaded: Rc::clone(loaded), rollout, version, attempt, is_baseline: false };
        match self.begin(shadow.clone(), draw, shown) {
            Ok(copy) => Some(Box::new(copy)),
            Err(skipped) => {
                shadow.count(skipped);
                None
            }
        }
    }

    fn begin(
        &self,
        shadow: Shadow,
        draw: Option<Draw>,
        shown: Option<&[u8]>,
    ) -> Result<Copied, MirrorResult> {
        let comparison = shadow.comparison()?;
        // It is taken when the request ends.
        shadow.place(comparison.max_in_flight)?;
        let headers = shown.and_then(|shown| shadow.headers(shown)).ok_or(MirrorResult::SkippedRefused)?;
        let mut held = Claim::new(&self.held);
        if !held.add(headers.len(), comparison.max_bytes) {
            return Err(MirrorResult::SkippedMemory);
        }
        let infers = pairs::values(&headers, ":path").next().is_some_and(infers);
        let stable = Answer { infers, ..Answer::default() };
        let pair = Pair { shadow, headers, body: Vec::new(), stable, held, draw };
        Ok(Copied { pair, decoder: None, has_request: false, skipped: None })
    }

    /// The request has ended; `is_answered`: by stable, and both have passed as a whole; with this status of gRPC. What is to
    /// be sent is sent for the root that calls are about, or whose stream they are about.
    pub(super) fn end(&self, copy: Copied, root: u32, is_answered: bool, grpc_status: Option<u64>) {
        let Copied { mut pair, decoder, has_request, skipped } = copy;
        pair.stable.set_grpc_status(grpc_status);
        // A body without a byte has no decoder to ask.
        let is_whole = decoder.is_none_or(|decoder| pair.stable.body.is_empty() || decoder.is_complete());
        let skipped = match skipped {
            Some(skipped) => Err(skipped),
            None if !is_answered || !has_request => Err(MirrorResult::SkippedUnanswered),
            None if !is_whole => Err(MirrorResult::SkippedEncoding),
            None => pair.inflate(),
        };
        match skipped.and_then(|most| pair.shadow.place(most)) {
            Ok(place) => self.send(root, (pair, place)),
            Err(skipped) => pair.shadow.count(skipped),
        }
    }

    fn send(&self, root: u32, (pair, place): (Pair, Claim)) {
        let Pair { shadow, headers, body, stable, held, draw } = pair;
        let method = pairs::values(&headers, ":method").next().unwrap_or_default();
        let is_evidence = stable.is_evidence(method);
        let asked = Rc::new(Asked { stable, draw, is_evidence, differ: Cell::default(), _held: held });
        let baseline = shadow.baseline();
        if self.send_copy(root, (shadow, place), &asked, (&headers, &body))
            && let Some(baseline) = baseline
            && let Ok(place) = baseline.place(usize::MAX)
        {
            let headers = baseline.addressed(&headers);
            self.send_copy(root, (baseline, place), &asked, (&headers, &body));
        }
    }

    /// Sends a copy. Returns whether Envoy has taken it.
    fn send_copy(
        &self,
        root: u32,
        (shadow, place): (Shadow, Claim),
        asked: &Rc<Asked>,
        (headers, body): (&[u8], &[u8]),
    ) -> bool {
        let timeout = shadow.comparison().map_or(1, |comparison| comparison.timeout);
        let sent = shadow.cluster().is_some_and(|cluster| {
            let callout = Callout { cluster, headers, body, timeout };
            let open = Open { shadow: shadow.clone(), asked: Rc::clone(asked), _place: place };
            callouts::send(&self.open, root, &callout, open).is_ok()
        });
        shadow.count(if sent { MirrorResult::Sent } else { MirrorResult::SkippedRefused });
        sent
    }

    /// The answer to a callout has come, with a body of so many bytes; or none comes any more. Returns whether it was one of
    /// a shadow.
    pub(super) fn answered(&self, token: u32, body: Option<usize>, inflaters: &Inflaters) -> bool {
        let Some(open) = self.open.borrow_mut().end(token) else { return false };
        let compared = body.and_then(|size| open.compare(size, inflaters));
        open.shadow.count(match &compared {
            None => MirrorResult::Failed,
            Some(compared) if compared.agrees => MirrorResult::Matched,
            Some(_) => MirrorResult::Differed,
        });
        if let Some(series) = open.shadow.series() {
            series.note_compared(compared.as_ref());
        }
        self.note_news();
        if compared.is_some() && !open.asked.is_evidence {
            return true;
        }
        let most = open.shadow.comparison().map_or(0, |comparison| comparison.settings.samples);
        self.count(&open.shadow, |totals| {
            totals.count(compared.as_ref());
            if let (Some(compared), 1..) = (compared.as_ref().filter(|compared| !compared.agrees), most) {
                totals.sample(compared, calls::epoch_ms(), most);
            }
        });
        if let Some(compared) = &compared {
            self.judge(&open, !compared.agrees);
        }
        true
    }

    /// Counts an answer for the judge: the shadow's at once, and both when both are there.
    fn judge(&self, Open { shadow, asked, .. }: &Open, differs: bool) {
        let judge = |signal, differs| {
            if let Some(draw) = asked.draw {
                shadow.judge(draw, signal, differs);
            }
        };
        let mut differ = asked.differ.get();
        if shadow.is_baseline {
            differ.1 = Some(differs);
        } else {
            differ.0 = Some(differs);
            judge(catalog::MIRROR_DISAGREEMENT.id, differs);
        }
        asked.differ.set(differ);
        let (Some(shadow_differs), Some(baseline_differs)) = differ else { return };
        if shadow_differs != baseline_differs {
            judge(catalog::BESIDE_BASELINE, shadow_differs);
        }
        let shadow = Shadow { is_baseline: false, ..shadow.clone() };
        self.count(&shadow, |totals| totals.count_beside(shadow_differs, baseline_differs));
    }

    /// Counts something for a shadow's release.
    fn count(&self, shadow: &Shadow, count: impl FnOnce(&mut Totals)) {
        let mut all = self.counted.borrow_mut();
        let at = all.iter().position(|(known, _)| known.is(shadow)).unwrap_or_else(|| {
            all.push((shadow.clone(), Totals::default()));
            all.len().saturating_sub(1)
        });
        if let Some((_, totals)) = all.get_mut(at) {
            count(totals);
        }
    }

    /// Notes that there are figures of pairs to be shown.
    pub(super) fn note_news(&self) {
        self.has_news.set(true);
    }

    /// Whether there are, since this was last asked.
    pub(super) fn take_news(&self) -> bool {
        self.has_news.take()
    }

    /// Hands what was counted to all VMs, while there is `time`; what is left comes with the next tick.
    pub(super) fn report(&self, time: &dyn Fn() -> bool) {
        // One tick later all workers have handed over what they had counted by then, and any of them shows the same.
        for shadow in self.reported.take() {
            shadow.show_agreement();
        }
        let mut all = self.counted.borrow_mut();
        while let Some((shadow, totals)) = all.pop() {
            if !shadow.report(&totals) {
                all.push((shadow, totals));
                return;
            }
            self.reported.borrow_mut().push(shadow);
            if !time() {
                return;
            }
        }
    }

    /// A root goes: Envoy drops its callouts.
    pub(super) fn leave(&self, root: u32) {
        cancel(callouts::end_of_root(&self.open, root));
    }

    /// Gives up what Envoy should have ended already.
    pub(super) fn forget_overdue(&self) {
        cancel(callouts::end_overdue(&self.open));
    }
}

fn cancel(ended: Vec<Open>) {
    for open in ended {
        open.shadow.count(MirrorResult::Cancelled);
    }
}

impl Shadow {
    /// Stable itself, where it gets a copy as well.
    fn baseline(&self) -> Option<Self> {
        let has_baseline = self.comparison().is_ok_and(|comparison| comparison.has_baseline);
        has_baseline.then(|| Self { is_baseline: true, ..self.clone() })
    }

    /// The same headers of another copy.
    fn addressed(&self, headers: &[u8]) -> Vec<u8> {
        let Some(version) = self.receiver() else { return headers.to_vec() };
        let of = |(name, value)| {
            let own = if name == header::SHADOW.as_bytes() {
                version.cluster.as_bytes()
            } else if name == header::VERSION.as_bytes() {
                version.name.as_bytes()
            } else {
                value
            };
            (name, own)
        };
        pairs::write(&pairs::all(headers).map(of).collect::<Vec<(&[u8], &[u8])>>())
    }

    /// A request's headers, as the shadow gets them.
    fn headers(&self, all: &[u8]) -> Option<Vec<u8>> {
        let (rollout, comparison, version) = (self.rollout()?, self.comparison().ok()?, self.receiver()?);
        let is_kept = |(name, value): &(&[u8], &[u8])| comparison.keeps(name, value);
        let mut headers: Vec<(&[u8], &[u8])> = pairs::all(all).filter(is_kept).collect();
        headers.push((header::SHADOW.as_bytes(), version.cluster.as_bytes()));
        if rollout.tells_upstream {
            headers.push((header::VERSION.as_bytes(), version.name.as_bytes()));
        }
        let set = comparison.set_headers.iter();
        headers.extend(set.map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        Some(pairs::write(&headers))
    }
}

impl Open {
    /// Compares the answer that Envoy is showing; `None`: it is not one of the shadow.
    fn compare(&self, size: usize, inflaters: &Inflaters) -> Option<Compared> {
        let comparison = self.shadow.comparison().ok()?;
        let stable = &self.asked.stable;
        let (mut answer, encoding, in_headers, is_made_up) = {
            let shown = Message::shown(Headers::CalloutResponse);
            let (answer, encoding) = shown.answer(stable.infers);
            let in_headers = shown.header("grpc-status").is_some().then(|| shown.number("grpc-status"));
            // Answers of a server have the time that it took; also from a server that cannot answer for another one's sake.
            // Envoy's own answer to a gRPC request is a 200 with a `grpc-status`.
            let is_failed = answer.status >= 500 || in_headers.is_some();
            let is_made_up = is_failed && shown.header("x-envoy-upstream-service-time").is_none();
            (answer, encoding, in_headers, is_made_up)
        };
        if answer.status == 0 {
            return None;
        }
        let in_trailers = || calls::number(Headers::CalloutTrailers, "grpc-status");
        let is_behind = in_headers.is_none() && is_grpc(&answer.content_type);
        answer.set_grpc_status(if is_behind { in_trailers() } else { in_headers.flatten() });
        let is_other = (answer.status, answer.grpc_status) != (stable.status, stable.grpc_status);
        if is_made_up || answer.is_unavailable() && is_other {
            return None;
        }
        if size > comparison.max_body {
            return Some(compare::too_large(&comparison.settings, stable, size));
        }
        let body = calls::body(Body::Callout, 0, size).map(Bytes::into_vec).unwrap_or_default();
        let Some(body) = decoded(body, encoding, comparison.max_body, inflaters) else {
            return Some(compare::too_large(&comparison.settings, stable, size));
        };
        answer.body = body;
        if comparison.inflate(&mut answer) == Err(MirrorResult::SkippedTooLarge) {
            return Some(compare::too_large(&comparison.settings, stable, size));
        }
        Some(compare::compare(&comparison.settings, stable, &answer))
    }
}

/// The next bytes of a body, all of them.
fn piece(body: Body, size: usize) -> Result<Bytes, MirrorResult> {
    let piece = calls::body(body, 0, size);
    piece.filter(|piece| piece.len() == size).ok_or(MirrorResult::SkippedRefused)
}
