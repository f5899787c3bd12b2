//! TensorFlow Serving's REST API, and what took it over: KServe v1, Vertex AI, SageMaker's containers.
//!
//! Rows stand in `instances` and are answered in `predictions`, columns in `inputs` and `outputs`; `classify` and
//! `regress` answer in `result` or `results`. Each is kept as one tensor of that name. No shape is announced: rows are
//! counted, as far as the elements are read.

use json_sieve::{Container, Event, Slot, Want};

use super::{Direction, Pointers, Reads, is_something};
use crate::payload::summary::{Seen, Tensor};

const INPUT: [&str; 3] = ["instances", "inputs", "examples"];
const OUTPUT: [&str; 4] = ["predictions", "outputs", "result", "results"];

fn names(direction: Direction) -> &'static [&'static str] {
    match direction {
        Direction::Input => &INPUT,
        Direction::Output => &OUTPUT,
    }
}

/// The error, then for each name what kind of value it is and its elements.
pub(super) fn pointers(direction: Direction) -> Pointers {
    let of_names = names(direction)
        .iter()
        .flat_map(|name| [(format!("/{name}"), Want::Value), (format!("/{name}"), Want::Elements)]);
    std::iter::once(("/error".to_owned(), Want::Value)).chain(of_names).collect()
}

#[derive(Debug)]
pub(super) struct TfServing {
    direction: Direction,
    by_column: bool,
}

impl TfServing {
    pub(super) fn new(direction: Direction) -> TfServing {
        TfServing { direction, by_column: false }
    }
}

impl Reads for TfServing {
    fn event(&mut self, slot: Slot, event: Event<'_>, seen: &mut Seen) {
        let Some(slot) = slot.checked_sub(1) else {
            seen.error |= is_something(event);
            return;
        };
        match event {
            Event::Open(kind) => self.by_column = kind == Container::Object,
            Event::Elements(elements) => {
                let name = names(self.direction).get(usize::from(slot / 2)).copied().unwrap_or_default();
                let mut elements = elements.clone();
                if std::mem::take(&mut self.by_column) {
                    // Named columns: the object is no row.
                    elements.rows = 0;
                }
                let name = name.as_bytes().into();
                seen.keep(Tensor { name, elements: Some(elements), ..Tensor::default() });
            }
            _ => {}
        }
    }
}
