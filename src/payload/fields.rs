//! JSON pointers of the configuration: what stands there, and where nothing does.

use json_sieve::{Event, Scalar, Slot, Want};

use super::protocol::Picked;
use super::summary::{Field, Tensor};

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
    categories: Vec<String>,
    has_places: bool,
    tensor: Option<OfTensor>,
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
                categories: categories.clone(),
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
                places.arrays = places.arrays.saturating_add(u64::from(matches!(event, Event::Open(_))))
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
                let missing = matches!(event, Event::Null(_));
                if begins
                    && !missing
                    && !compiled.categories.is_empty()
                    && !is_known(&compiled.categories, event)
                {
                    field.unseen = field.unseen.saturating_add(1);
                }
            }
        }
    }

    /// Counts the places where nothing stood.
    pub(crate) fn finish(&self, state: &State, seen: &mut [Field], tensors: &[Tensor]) {
        for ((field, compiled), places) in seen.iter_mut().zip(&self.fields).zip(&state.places) {
            let binary = compiled.tensor.filter(|of| places.values == 0 && of.is_binary(tensors));
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

    fn is_binary(self, tensors: &[Tensor]) -> bool {
        match self.tensor {
            Some(at) => tensors.get(at).is_some_and(|tensor| tensor.binary),
            None => tensors.iter().any(|tensor| tensor.binary),
        }
    }

    /// Says what stands there. Where that was not read, nothing is missing for sure.
    fn finish(self, tensors: &[Tensor], field: &mut Field, categories: &[String]) {
        let Some(tensor) = self.tensor.and_then(|at| tensors.get(at)) else { return };
        match (self.part, &field.elements.first) {
            (TensorPart::All, _) => field.elements = tensor.elements.clone().unwrap_or_default(),
            (TensorPart::Element(_), Some(scalar)) => {
                field.unseen = u64::from(!categories.is_empty() && !is_known_scalar(categories, scalar));
            }
            (TensorPart::Element(element), None) => {
                let is_cut = tensor.elements.as_ref().is_some_and(|elements| elements.cut);
                if !is_cut && tensor.len() <= element {
                    field.elements.add(Event::Null(json_sieve::Null::Null), &[]);
                }
            }
            (TensorPart::Nested, _) => {}
        }
    }
}

fn is_known(categories: &[String], event: Event<'_>) -> bool {
    match event {
        Event::Text(text) => categories.iter().any(|known| text.whole() == Some(known.as_bytes())),
        Event::Number(value) => is_known_number(categories, value),
        Event::Bool(value) => categories.iter().any(|known| known == if value { "true" } else { "false" }),
        _ => false,
    }
}

fn is_known_scalar(categories: &[String], scalar: &Scalar) -> bool {
    match scalar {
        Scalar::Text(text) => categories.iter().any(|known| known.as_bytes() == &**text),
        Scalar::Number(value) => is_known_number(categories, *value),
        Scalar::Bool(value) => is_known(categories, Event::Bool(*value)),
        Scalar::Null => true,
    }
}

fn is_known_number(categories: &[String], value: f64) -> bool {
    categories.iter().any(|known| known.parse::<f64>().is_ok_and(|known| known == value))
}
