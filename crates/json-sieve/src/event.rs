//! What a reader finds.

/// An array or an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Container {
    /// `[…]`
    Array,
    /// `{…}`
    Object,
}

/// A value that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Null {
    /// `null`
    Null,
    /// A bare `NaN`, which is not JSON; Triton and TensorFlow Serving write it.
    NotANumber,
    /// A bare `Infinity`, or a number that no double can hold.
    Infinite,
}

/// A string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// Its first [`HELD`](crate::HELD) bytes, unescaped; a lone surrogate is U+FFFD. UTF-8 if the document is.
    pub head: &'a [u8],
    /// Its length in bytes, unescaped.
    pub bytes: u64,
    /// Its length in characters (Unicode scalar values).
    pub characters: u64,
}

impl Text<'_> {
    /// The whole text, when it was short enough to be held.
    #[must_use]
    pub fn whole(&self) -> Option<&[u8]> {
        (self.head.len() as u64 == self.bytes).then_some(self.head)
    }
}

/// What stands at a pointer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// `null`, or a number that is none.
    Null(Null),
    /// `true` or `false`.
    Bool(bool),
    /// A number; always finite.
    Number(f64),
    /// A string, when it ends.
    Text(Text<'a>),
    /// An array or object begins.
    Open(Container),
    /// It ends.
    Close {
        /// It had no element or member.
        empty: bool,
    },
    /// The statistics of a [`Want::Elements`](crate::Want::Elements), when its value ends.
    Elements(&'a Elements),
}

/// Numbers, added up in the order in which they stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Numbers {
    /// How many.
    pub count: u64,
    /// Their sum. Infinite when it overflows.
    pub sum: f64,
    /// The smallest; 0 when there is none.
    pub min: f64,
    /// The largest; 0 when there is none.
    pub max: f64,
}

impl Numbers {
    /// Adds a number.
    #[inline]
    pub fn add(&mut self, value: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.count = self.count.wrapping_add(1);
        self.sum += value;
        self.min = if value < self.min { value } else { self.min };
        self.max = if value > self.max { value } else { self.max };
    }

    /// Their mean; `None` when there is none.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// A scalar that is kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// `null`, or a number that is none.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(f64),
    /// The first [`HELD`](crate::HELD) bytes of a string.
    Text(Box<[u8]>),
}

/// Statistics of the scalars at and below a value.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Elements {
    /// Elements of the outermost array that were at least begun; the batch size of a tensor that is not flat. 1 for an
    /// object, 0 for a scalar.
    pub rows: u64,
    /// Scalars read.
    pub count: u64,
    /// Of them `null`, `NaN`, infinite, an empty text, or a text of [`Plan::missing`](crate::Plan::missing).
    pub missing: u64,
    /// Of them numbers.
    pub numbers: Numbers,
    /// Of them `true` or `false`.
    pub bools: u64,
    /// Of them texts.
    pub texts: u64,
    /// Characters of those texts.
    pub characters: u64,
    /// The first scalar.
    pub first: Option<Scalar>,
    /// There were more than [`Plan::max_elements`](crate::Plan::max_elements); the rest does not count.
    pub cut: bool,
}

impl Elements {
    /// Adds a scalar; other events are no elements. `missing` are texts that count as missing, beside empty ones.
    #[inline]
    pub fn add(&mut self, event: Event<'_>, missing: &[Box<[u8]>]) {
        let mut is_missing = false;
        match event {
            Event::Null(_) => is_missing = true,
            Event::Bool(_) => self.bools = self.bools.wrapping_add(1),
            Event::Number(value) => self.numbers.add(value),
            Event::Text(text) => {
                self.texts = self.texts.wrapping_add(1);
                self.characters = self.characters.wrapping_add(text.characters);
                is_missing = text.bytes == 0 || missing.iter().any(|known| text.whole() == Some(known));
            }
            Event::Open(_) | Event::Close { .. } | Event::Elements(_) => return,
        }
        if self.count == 0 {
            self.first = Some(match event {
                Event::Bool(value) => Scalar::Bool(value),
                Event::Number(value) => Scalar::Number(value),
                Event::Text(text) => Scalar::Text(text.head.into()),
                _ => Scalar::Null,
            });
        }
        self.count = self.count.wrapping_add(1);
        self.missing = self.missing.wrapping_add(u64::from(is_missing));
    }
}

/// Takes what a reader finds.
pub trait Sink {
    /// One event at one pointer of the plan.
    fn event(&mut self, slot: crate::Slot, event: Event<'_>);
}

impl<F: FnMut(crate::Slot, Event<'_>)> Sink for F {
    fn event(&mut self, slot: crate::Slot, event: Event<'_>) {
        self(slot, event);
    }
}
