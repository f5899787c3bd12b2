//! JSON pointers of the configuration: what stands there, and where nothing does.

use json_sieve::{Container, Event, Scalar, Slot, Want};

use super::protocol::Picked;
use super::summary::{Field, Seen, Tensor};

/// A configured pointer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// A JSON pointer; `*` for every element of an array.
    pub pointer: String,
    /// The values that are known; empty where all are. Numbers as they print.
    pub categories: Vec<String>,
}

/// How a field's slots follow each other in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// What stands there.
    Value,
    /// The elements that the last `*` stands for: each must have the value.
    Place,
    /// The array of those elements.
    Array,
}

/// The fields of a configuration, compiled.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    fields: Vec<Compiled>,
    /// By slot of the plan, behind those of the protocol.
    slots: Vec<(usize, Role)>,
}

#[derive(Debug)]
struct Compiled {
    categories: Categories,
    has_places: bool,
    tensor: Option<OfTensor>,
}

/// The values that are known of a field, in order; none: all are.
#[derive(Debug)]
struct Categories {
    texts: Vec<Box<[u8]>>,
    numbers: Vec<f64>,
}

/// A pointer into the data of tensors, which can stand behind the JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct OfTensor {
    /// `None`: of each.
    tensor: Option<usize>,
    part: TensorPart,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TensorPart {
    All,
    Element(u64),
    /// Below the rows, which binary data does not have.
    Nested,
}

/// What one message has had of the fields.
#[derive(Debug, Default)]
pub(crate) struct State {
    places: Vec<Places>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Places {
    values: u64,
    places: u64,
    arrays: u64,
}

impl Fields {
    /// Compiles fields, and adds what they want to the pointers of a plan.
    pub(crate) fn new(wanted: &[Wanted], pointers: &mut Vec<(String, Want)>) -> Fields {
        let mut fields = Fields::default();
        for Wanted { pointer, categories } in wanted {
            let field = fields.fields.len();
            let mut want = |pointer: &str, role| {
                fields.slots.push((field, role));
                pointers.push((pointer.to_owned(), Want::Value));
            };
            want(pointer, Role::Value);
            let star = pointer.rfind("/*").filter(|at| {
                let behind = pointer.get(at.saturating_add(2)..).unwrap_or_default();
                behind.is_empty() || behind.starts_with('/')
            });
            if let Some(star) = star {
                want(pointer.get(..star.saturating_add(2)).unwrap_or_default(), Role::Place);
                want(pointer.get(..star).unwrap_or_default(), Role::Array);
            }
            fields.fields.push(Compiled {
                categories: Categories::new(categories),
                has_places: star.is_some(),
                tensor: OfTensor::new(pointer),
            });
        }
        fields
    }

    /// The fields that are elements of tensors.
    pub(crate) fn picked(&self) -> impl Iterator<Item = Picked> {
        self.fields.iter().enumerate().filter_map(|(field, compiled)| match compiled.tensor? {
            OfTensor { tensor: Some(tensor), part: TensorPart::Element(element) } => {
                Some(Picked { tensor, element, field })
            }
            _ => None,
        })
    }

    pub(crate) fn begin(&self) -> (State, Vec<Field>) {
        (
            State { places: vec![Places::default(); self.fields.len()] },
            vec![Field::default(); self.fields.len()],
        )
    }

    /// Takes an event at a slot behind those of the protocol.
    pub(crate) fn event(
        &self,
        state: &mut State,
        seen: &mut [Field],
        slot: Slot,
        event: Event<'_>,
        null_values: &[Box<[u8]>],
    ) {
        let Some(&(at, role)) = self.slots.get(usize::from(slot)) else { return };
        let (Some(places), Some(field), Some(compiled)) =
            (state.places.get_mut(at), seen.get_mut(at), self.fields.get(at))
        else {
            return;
        };
        let begins = !matches!(event, Event::Close { .. } | Event::Elements(_));
        match role {
            Role::Place => places.places = places.places.saturating_add(u64::from(begins)),
            Role::Array => {
                let is_array = matches!(event, Event::Open(Container::Array));
                places.arrays = places.arrays.saturating_add(u64::from(is_array));
            }
            Role::Value => {
                places.values = places.values.saturating_add(u64::from(begins));
                match event {
                    Event::Open(_) => field.elements.count = field.elements.count.saturating_add(1),
                    Event::Close { empty: true } => {
                        field.elements.missing = field.elements.missing.saturating_add(1);
                    }
                    event => field.elements.add(event, null_values),
                }
                if begins && !compiled.categories.have(event) {
                    field.unseen = field.unseen.saturating_add(1);
                }
            }
        }
    }

    /// Counts the places where nothing stood.
    pub(crate) fn finish(&self, state: &State, seen: &mut Seen) {
        let all = seen.place();
        let Seen { fields, tensors, .. } = seen;
        for ((field, compiled), places) in fields.iter_mut().zip(&self.fields).zip(&state.places) {
            let is_looked_at = |of: &OfTensor| places.values > 0 && of.tensor.is_some();
            let binary = compiled.tensor.filter(|of| !is_looked_at(of) && of.is_binary(tensors, all));
            if let Some(of) = binary {
                of.finish(tensors, field, &compiled.categories);
                continue;
            }
            let expected = match (compiled.has_places, places.arrays) {
                (true, 1..) => places.places,
                _ => 1,
            };
            let absent = expected.saturating_sub(places.values);
            field.elements.count = field.elements.count.saturating_add(absent);
            field.elements.missing = field.elements.missing.saturating_add(absent);
        }
    }
}

impl OfTensor {
    /// `/outputs/0/data` or `/outputs/*/data`, with or without something behind it; the same of inputs.
    fn new(pointer: &str) -> Option<Self> {
        let rest = pointer.strip_prefix("/outputs/").or_else(|| pointer.strip_prefix("/inputs/"))?;
        let (tensor, data) = rest.split_once('/')?;
        let tensor = if tensor == "*" { None } else { Some(tensor.parse().ok()?) };
        let part = match data.strip_prefix("data")? {
            "" | "/*" => TensorPart::All,
            behind => match behind.strip_prefix('/')?.parse() {
                Ok(element) => TensorPart::Element(element),
                Err(_) => TensorPart::Nested,
            },
        };
        Some(Self { tensor, part })
    }

    /// Whether it is in binary data, as far as is known: of so many tensors, these are kept.
    fn is_binary(self, tensors: &[Tensor], all: usize) -> bool {
        let any = || tensors.iter().any(|tensor| tensor.binary);
        let Some(at) = self.tensor else { return any() };
        match tensors.get(at) {
            Some(tensor) => tensor.binary,
            None => at < all && any(),
        }
    }

    /// Says what stands there.
    fn finish(self, tensors: &[Tensor], field: &mut Field, categories: &Categories) {
        let tensor = self.tensor.and_then(|at| tensors.get(at));
        match (self.part, tensor, &field.elements.first) {
            (TensorPart::Element(_), _, Some(scalar)) if self.tensor.is_some() => {
                field.unseen = u64::from(!categories.have_scalar(scalar));
            }
            (TensorPart::All, Some(tensor), _) if !tensor.is_unread() => {
                field.elements = tensor.elements.clone().unwrap_or_default();
            }
            (TensorPart::Element(_), Some(tensor), None)
                if !tensor.is_unread() && !tensor.elements.as_ref().is_some_and(|elements| elements.cut) =>
            {
                field.elements.add(Event::Null(json_sieve::Null::Null), &[]);
            }
            _ => field.is_unread = true,
        }
    }
}

impl Categories {
    fn new(known: &[String]) -> Self {
        let (mut texts, mut numbers) = (Vec::new(), Vec::new());
        for text in known {
            insert(&mut texts, text.as_bytes().into());
            if let Some(number) = text.parse::<f64>().ok().filter(|number| number.is_finite()) {
                insert(&mut numbers, number);
            }
        }
        Self { texts, numbers }
    }

    /// Whether what begins with an event is known, or missing.
    fn have(&self, event: Event<'_>) -> bool {
        match event {
            _ if self.texts.is_empty() => true,
            Event::Null(_) => true,
            Event::Text(text) => text.whole().is_some_and(|text| self.have_text(text)),
            Event::Number(value) => self.have_number(value),
            Event::Bool(value) => self.have_text(if value { b"true" } else { b"false" }),
            _ => false,
        }
    }

    fn have_scalar(&self, scalar: &Scalar) -> bool {
        match scalar {
            Scalar::Text(text) => self.texts.is_empty() || self.have_text(text),
            Scalar::Number(value) => self.have(Event::Number(*value)),
            Scalar::Bool(value) => self.have(Event::Bool(*value)),
            Scalar::Null => true,
        }
    }

    fn have_text(&self, text: &[u8]) -> bool {
        let at = self.texts.partition_point(|known| **known < *text);
        self.texts.get(at).is_some_and(|known| **known == *text)
    }

    fn have_number(&self, value: f64) -> bool {
        let at = self.numbers.partition_point(|known| *known < value);
        self.numbers.get(at).is_some_and(|known| *known == value)
    }
}

/// Inserts in order. At most as many as a configuration has: no sorting is needed.
fn insert<T: PartialOrd>(all: &mut Vec<T>, one: T) {
    all.insert(all.partition_point(|known| *known < one), one);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_among_categories_are_parsed_once() {
        let texts = ["de", "10", "7.0", "-0", "1e2", "true"].map(str::to_owned);
        let known = Categories::new(&texts);
        assert_eq!(known.numbers, [0.0, 7.0, 10.0, 100.0]);
        for number in [0.0, -0.0, 7.0, 10.0, 100.0] {
            assert!(known.have(Event::Number(number)), "{number}");
        }
        assert!(!known.have(Event::Number(8.0)) && !known.have(Event::Bool(false)));
        assert!(known.have(Event::Bool(true)) && known.have_scalar(&Scalar::Text(b"de"[..].into())));
        assert!(!known.have_scalar(&Scalar::Text(b"fr"[..].into())) && known.have_scalar(&Scalar::Null));
        let none = Categories::new(&[]);
        assert!(none.have(Event::Number(1.0)) && none.have_scalar(&Scalar::Text(b"fr"[..].into())));
    }
}
