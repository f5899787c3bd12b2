//! The reader: one state machine over bytes that come in pieces.

use crate::event::{Container, Elements, Event, Null, Sink, Text};
use crate::number::{self, Token};
use crate::plan::{NOWHERE, Node, NodeId, Plan, Slot};
use crate::text::{Read, Reading};
use crate::{HELD, MAX_DEPTH, MAX_TOKEN, scan};

/// Why a reader stopped. It reads no further byte of this document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A byte that JSON does not allow where it stands, in a part that is read.
    Malformed,
    /// A part that is read nests deeper than [`MAX_DEPTH`] levels.
    TooDeep,
    /// A number or literal that is read is longer than [`MAX_TOKEN`] bytes.
    TooLong,
    /// The input ended inside the document. From [`Reader::finish`] only.
    Truncated,
    /// The input held no document, only white space if anything. From [`Reader::finish`] only.
    Empty,
}

impl std::fmt::Display for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stop::Malformed => "not JSON",
            Stop::TooDeep => "nested deeper than 64 levels",
            Stop::TooLong => "a number of more than 128 bytes",
            Stop::Truncated => "it ends inside the document",
            Stop::Empty => "it is empty",
        })
    }
}

impl std::error::Error for Stop {}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// This many bytes of a byte order mark were read.
    Start(u8),
    /// A value.
    Value,
    /// A value, or the end of an array.
    FirstValue,
    /// A member's name.
    Key,
    /// A member's name, or the end of an object.
    FirstKey,
    /// Inside a name.
    InKey,
    Colon,
    /// Inside a string that is read.
    InText,
    /// Inside a number or literal that is read and began in an earlier chunk.
    InToken,
    /// A comma, or the end of what encloses it.
    After,
    /// Inside a number or literal that is not read.
    SkipToken,
    /// Inside brackets that are not read, this deep below the innermost frame; in a string there, or behind its
    /// backslash. At depth 0 the frame ends.
    Skip(Quoted),
    /// Inside a string that is not read.
    SkipText(Quoted),
    /// White space.
    End,
    Stopped(Stop),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
    /// Behind a backslash.
    Escaped,
}

/// An array or object that is read.
#[derive(Clone, Copy, Debug)]
struct Frame {
    node: NodeId,
    kind: Container,
    index: u32,
}

/// The element statistics that are being made.
#[derive(Debug)]
struct Gathering {
    slot: Slot,
    /// How many frames there are when their value has ended.
    base: usize,
    elements: Elements,
}

/// Reads documents, one after the other, in pieces of any size. See the [crate] for what it promises.
#[derive(Debug)]
pub struct Reader {
    state: State,
    frames: Vec<Frame>,
    /// Where the value leads that comes next or is being read.
    target: NodeId,
    gathering: Option<Gathering>,
    text: Reading,
    /// The beginning of a token that a chunk's end cut.
    token: Vec<u8>,
    /// Brackets open in the part that is skipped.
    depth: u64,
    offset: u64,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader {
            state: State::Start(0),
            frames: Vec::new(),
            target: 0,
            gathering: None,
            text: Reading::default(),
            token: Vec::new(),
            depth: 0,
            offset: 0,
        }
    }
}

impl Reader {
    /// A reader at the beginning of a document.
    #[must_use]
    pub fn new() -> Reader {
        Reader::default()
    }

    /// Reads on. Bytes behind the end of a document may only be white space.
    ///
    /// # Errors
    /// Why it stopped, now or before. What was found until then has been given to the sink.
    pub fn read(&mut self, plan: &Plan, chunk: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let mut rest = chunk;
        let step = self.run(plan, &mut rest, sink);
        self.offset = self.offset.saturating_add(chunk.len().saturating_sub(rest.len()) as u64);
        if let Err(stop) = step {
            self.state = State::Stopped(stop);
        }
        step
    }

    /// The input ends here. Leaves the reader at the beginning of the next document.
    ///
    /// # Errors
    /// Why it stopped before, or that the document is not complete.
    pub fn finish(&mut self, plan: &Plan, sink: &mut dyn Sink) -> Result<(), Stop> {
        // A number at the root has no delimiter but the end.
        let ended = match self.state {
            State::InToken if self.frames.is_empty() => {
                let token = std::mem::take(&mut self.token);
                self.scalar(plan, &token, sink)
            }
            State::SkipToken if self.frames.is_empty() => Ok(()),
            State::End => Ok(()),
            State::Stopped(stop) => Err(stop),
            State::Start(0) | State::Value if self.frames.is_empty() => Err(Stop::Empty),
            _ => Err(Stop::Truncated),
        };
        self.reset();
        ended
    }

    /// Forgets the document; the next byte begins another.
    pub fn reset(&mut self) {
        self.state = State::Start(0);
        self.frames.clear();
        self.gathering = None;
        self.token.clear();
        (self.target, self.depth, self.offset) = (0, 0, 0);
    }

    /// Whether the document is complete: only white space may follow. A number at the root is complete only with
    /// [`Reader::finish`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state == State::End
    }

    /// How many bytes of the document were read; where it stopped, if it did.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    fn run(&mut self, plan: &Plan, rest: &mut &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        loop {
            match self.state {
                // States that take several bytes at once.
                State::Skip(quoted) => {
                    if !self.skip(quoted, rest) {
                        return Ok(());
                    }
                    self.close(plan, false, sink);
                    continue;
                }
                State::SkipText(quoted) => match skip_text(quoted, rest) {
                    Some(quoted) => {
                        self.state = State::SkipText(quoted);
                        return Ok(());
                    }
                    None => {
                        self.after();
                        continue;
                    }
                },
                State::InText | State::InKey => {
                    match self.text.read(rest) {
                        Read::More => return Ok(()),
                        Read::Malformed => return Err(Stop::Malformed),
                        Read::Whole(text, characters) => self.text_ends(plan, Some((text, characters)), sink),
                        Read::Held => self.text_ends(plan, None, sink),
                    }
                    continue;
                }
                State::InToken => {
                    let length = rest.iter().position(|byte| scan::delimits(*byte));
                    let (token, tail) =
                        rest.split_at_checked(length.unwrap_or(rest.len())).unwrap_or_default();
                    self.hold_token(token)?;
                    *rest = tail;
                    if length.is_none() {
                        return Ok(());
                    }
                    let mut token = std::mem::take(&mut self.token);
                    self.scalar(plan, &token, sink)?;
                    token.clear();
                    self.token = token;
                    continue;
                }
                State::SkipToken => {
                    let Some(length) = rest.iter().position(|byte| scan::delimits(*byte)) else {
                        *rest = &[];
                        return Ok(());
                    };
                    *rest = rest.get(length..).unwrap_or_default();
                    self.after();
                    continue;
                }
                State::Stopped(stop) => return Err(stop),
                _ => {}
            }
            // All others begin with one byte that is not white space.
            let Some((&byte, tail)) = rest.split_first() else { return Ok(()) };
            if scan::is_space(byte) && !matches!(self.state, State::Start(1..)) {
                *rest = tail;
                continue;
            }
            match self.state {
                State::Start(read) => match (read, byte) {
                    (0, 0xef) | (1, 0xbb) => {
                        self.state = State::Start(read.wrapping_add(1));
                        *rest = tail;
                    }
                    (2, 0xbf) => {
                        self.state = State::Value;
                        *rest = tail;
                    }
                    (0, _) => self.state = State::Value,
                    _ => return Err(Stop::Malformed),
                },
                State::FirstValue if byte == b']' => {
                    *rest = tail;
                    self.close(plan, true, sink);
                }
                State::FirstKey if byte == b'}' => {
                    *rest = tail;
                    self.close(plan, true, sink);
                }
                State::FirstValue | State::FirstKey if self.is_rest_unwanted(plan) => self.skip_rest(1),
                State::FirstValue | State::Value => self.value(plan, byte, rest, tail, sink)?,
                State::FirstKey | State::Key => {
                    if byte != b'"' {
                        return Err(Stop::Malformed);
                    }
                    *rest = tail;
                    self.text.begin();
                    self.state = State::InKey;
                }
                State::Colon => {
                    if byte != b':' {
                        return Err(Stop::Malformed);
                    }
                    *rest = tail;
                    self.state = State::Value;
                }
                State::After => {
                    *rest = tail;
                    self.comma_or_end(plan, byte, sink)?;
                }
                _ => return Err(Stop::Malformed),
            }
        }
    }

    /// The first byte of a value. `rest` begins with it, `tail` is behind it.
    #[inline]
    fn value<'a>(
        &mut self,
        plan: &Plan,
        byte: u8,
        rest: &mut &'a [u8],
        tail: &'a [u8],
        sink: &mut dyn Sink,
    ) -> Result<(), Stop> {
        let read = self.target != NOWHERE || self.gathers();
        match byte {
            b'"' => {
                *rest = tail;
                self.text.begin();
                self.state = if read { State::InText } else { State::SkipText(Quoted::No) };
            }
            b'[' | b'{' => {
                *rest = tail;
                let kind = if byte == b'[' { Container::Array } else { Container::Object };
                self.open(plan, kind, sink)?;
            }
            b'-' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' => {
                if !read {
                    self.state = State::SkipToken;
                    return Ok(());
                }
                if let Some((value, length)) = number::plain(rest)
                    && value.is_finite()
                {
                    *rest = rest.get(length..).unwrap_or_default();
                    self.found(plan, Event::Number(value), sink);
                    self.after();
                    return self.numbers(plan, rest);
                }
                self.token.clear();
                self.state = State::InToken;
            }
            _ => return Err(Stop::Malformed),
        }
        Ok(())
    }

    /// The numbers of a tensor, as long as nothing else comes: where the time goes for most documents of model servers.
    fn numbers(&mut self, plan: &Plan, rest: &mut &[u8]) -> Result<(), Stop> {
        let (Some(gathering), Some(frame)) = (&mut self.gathering, self.frames.last_mut()) else {
            return Ok(());
        };
        let wanted = plan.node(frame.node).is_some_and(|node| frame.index < node.end);
        if wanted || frame.kind != Container::Array || self.state != State::After {
            return Ok(());
        }
        let elements = &mut gathering.elements;
        while elements.count < plan.max_elements {
            let Some((b',', mut tail)) = rest.split_first() else { break };
            while let Some((byte, behind)) = tail.split_first()
                && scan::is_space(*byte)
            {
                tail = behind;
            }
            let Some((value, length)) = number::plain(tail).filter(|(value, _)| value.is_finite()) else {
                break;
            };
            frame.index = frame.index.saturating_add(1);
            elements.count = elements.count.wrapping_add(1);
            elements.numbers.add(value);
            *rest = tail.get(length..).unwrap_or_default();
        }
        Ok(())
    }

    #[inline]
    fn comma_or_end(&mut self, plan: &Plan, byte: u8, sink: &mut dyn Sink) -> Result<(), Stop> {
        let Some(frame) = self.frames.last_mut() else { return Err(Stop::Malformed) };
        match (byte, frame.kind) {
            (b']', Container::Array) | (b'}', Container::Object) => self.close(plan, false, sink),
            (b',', kind) => {
                frame.index = frame.index.saturating_add(1);
                if let Some(Gathering { elements, .. }) = &mut self.gathering {
                    elements.cut |= elements.count >= plan.max_elements;
                }
                match kind {
                    Container::Array => {
                        self.state = State::Value;
                        self.element(plan);
                    }
                    Container::Object if self.is_rest_unwanted(plan) => self.skip_rest(1),
                    Container::Object => self.state = State::Key,
                }
            }
            _ => return Err(Stop::Malformed),
        }
        Ok(())
    }

    /// Where the array's next element leads; skips the rest of the array when none of it is wanted.
    #[inline]
    fn element(&mut self, plan: &Plan) {
        let Some(frame) = self.frames.last() else { return };
        self.target = plan.element(frame.node, frame.index);
        if self.target == NOWHERE && self.is_rest_unwanted(plan) {
            self.skip_rest(1);
        }
    }

    /// Whether every scalar is wanted: for statistics that are not complete yet.
    #[inline]
    fn gathers(&self) -> bool {
        self.gathering.as_ref().is_some_and(|gathering| !gathering.elements.cut)
    }

    /// Whether nothing is wanted of what is left of the innermost frame.
    #[inline]
    fn is_rest_unwanted(&self, plan: &Plan) -> bool {
        let Some(frame) = self.frames.last() else { return false };
        let node = plan.node(frame.node);
        !self.gathers()
            && match frame.kind {
                Container::Array => node.is_none_or(|node| frame.index >= node.end),
                Container::Object => node.is_none_or(Node::is_leaf),
            }
    }

    /// Skips to the end of the innermost frame, from inside so many brackets.
    fn skip_rest(&mut self, depth: u64) {
        self.depth = depth;
        self.state = State::Skip(Quoted::No);
    }

    fn open(&mut self, plan: &Plan, kind: Container, sink: &mut dyn Sink) -> Result<(), Stop> {
        let node = self.target;
        if self.frames.len() >= MAX_DEPTH {
            return Err(Stop::TooDeep);
        }
        if node == NOWHERE && !self.gathers() {
            // A frame of its own, so that all skipping ends in the same way.
            self.frames.push(Frame { node, kind, index: 0 });
            self.skip_rest(1);
            return Ok(());
        }
        self.values(plan, Event::Open(kind), sink);
        if let Some(slot) = plan.node(node).and_then(|node| node.elements) {
            self.gathering = Some(Gathering { slot, base: self.frames.len(), elements: Elements::default() });
        }
        self.frames.push(Frame { node, kind, index: 0 });
        match kind {
            Container::Array => {
                self.state = State::FirstValue;
                self.target = plan.element(node, 0);
            }
            Container::Object => self.state = State::FirstKey,
        }
        Ok(())
    }

    /// The innermost frame ends.
    fn close(&mut self, plan: &Plan, empty: bool, sink: &mut dyn Sink) {
        let Some(frame) = self.frames.pop() else { return };
        if let Some(mut gathering) = self.gathering.take_if(|gathering| gathering.base == self.frames.len()) {
            gathering.elements.rows = match frame.kind {
                _ if empty => 0,
                Container::Array => u64::from(frame.index).saturating_add(1),
                Container::Object => 1,
            };
            sink.event(gathering.slot, Event::Elements(&gathering.elements));
        }
        self.target = frame.node;
        self.values(plan, Event::Close { empty }, sink);
        self.after();
    }

    /// A value has ended.
    #[inline]
    fn after(&mut self) {
        self.state = if self.frames.is_empty() { State::End } else { State::After };
    }

    /// A number or literal, whole.
    fn scalar(&mut self, plan: &Plan, token: &[u8], sink: &mut dyn Sink) -> Result<(), Stop> {
        let event = match number::token(token).ok_or(Stop::Malformed)? {
            Token::Number(value) => Event::Number(value),
            Token::Bool(value) => Event::Bool(value),
            Token::Null => Event::Null(Null::Null),
            Token::NotANumber => Event::Null(Null::NotANumber),
            Token::Infinite => Event::Null(Null::Infinite),
        };
        self.found(plan, event, sink);
        self.after();
        Ok(())
    }

    fn hold_token(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if self.token.len().saturating_add(bytes.len()) > MAX_TOKEN {
            return Err(Stop::TooLong);
        }
        self.token.extend_from_slice(bytes);
        Ok(())
    }

    /// A string ends: in this part of the chunk, or held.
    fn text_ends(&mut self, plan: &Plan, whole: Option<(&[u8], u64)>, sink: &mut dyn Sink) {
        if self.state == State::InKey {
            let node = self.frames.last().map_or(NOWHERE, |frame| frame.node);
            let name = whole.map_or(self.text.held.as_slice(), |(name, _)| name);
            // What is held of a longer name is longer than any in the plan, so that it matches none.
            self.target = plan.member(node, name);
            self.state = State::Colon;
            return;
        }
        let mut held = std::mem::take(&mut self.text.held);
        let text = match whole {
            Some((text, characters)) => {
                Text { head: text.get(..HELD).unwrap_or(text), bytes: text.len() as u64, characters }
            }
            None => Text { head: &held, bytes: self.text.bytes, characters: self.text.characters },
        };
        self.found(plan, Event::Text(text), sink);
        held.clear();
        self.text.held = held;
        self.after();
    }

    /// A scalar at the target.
    #[inline]
    fn found(&mut self, plan: &Plan, event: Event<'_>, sink: &mut dyn Sink) {
        match &mut self.gathering {
            Some(Gathering { elements, .. }) if !elements.cut => elements.add(event, &plan.missing),
            Some(_) => {}
            None => {
                if let Some(slot) = plan.node(self.target).and_then(|node| node.elements) {
                    let mut elements = Elements::default();
                    elements.add(event, &plan.missing);
                    sink.event(slot, Event::Elements(&elements));
                }
            }
        }
        self.values(plan, event, sink);
    }

    #[inline]
    fn values(&self, plan: &Plan, event: Event<'_>, sink: &mut dyn Sink) {
        if let Some(node) = plan.node(self.target) {
            for slot in &node.values {
                sink.event(*slot, event);
            }
        }
    }

    /// Skips to the end of the brackets; false when the chunk ends before.
    fn skip(&mut self, mut quoted: Quoted, rest: &mut &[u8]) -> bool {
        loop {
            if quoted != Quoted::Escaped {
                let mut in_text = quoted == Quoted::Yes;
                let length = scan::nested(rest, &mut self.depth, &mut in_text);
                *rest = rest.get(length..).unwrap_or_default();
                quoted = if in_text { Quoted::Yes } else { Quoted::No };
            }
            if quoted != Quoted::No {
                match skip_text_from(quoted, rest) {
                    Some(inside) => {
                        self.state = State::Skip(inside);
                        return false;
                    }
                    None => quoted = Quoted::No,
                }
            }
            let bytes = *rest;
            let at = scan::structure(bytes);
            let Some((byte, tail)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
                *rest = &[];
                self.state = State::Skip(Quoted::No);
                return false;
            };
            *rest = tail;
            match byte {
                b'"' => quoted = Quoted::Yes,
                b'[' | b'{' => self.depth = self.depth.saturating_add(1),
                _ => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return true;
                    }
                }
            }
        }
    }
}

/// Skips to behind the closing quote; where it stands when the chunk ends before.
fn skip_text(quoted: Quoted, rest: &mut &[u8]) -> Option<Quoted> {
    skip_text_from(if quoted == Quoted::No { Quoted::Yes } else { quoted }, rest)
}

#[inline]
fn skip_text_from(mut quoted: Quoted, rest: &mut &[u8]) -> Option<Quoted> {
    loop {
        if quoted == Quoted::Escaped {
            let Some((_, tail)) = rest.split_first() else { return Some(Quoted::Escaped) };
            *rest = tail;
        }
        let bytes = *rest;
        let at = scan::quote(bytes);
        let Some((byte, tail)) = bytes.get(at..).and_then(<[u8]>::split_first) else {
            *rest = &[];
            return Some(Quoted::Yes);
        };
        *rest = tail;
        match byte {
            b'"' => return None,
            _ => quoted = Quoted::Escaped,
        }
    }
}
