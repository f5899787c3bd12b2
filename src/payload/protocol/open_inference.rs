//! The Open Inference protocol v2 over HTTP, with its binary-data extension.
//!
//! Each tensor is an object with `name`, `datatype`, `shape` and either `data`, flat or nested, or
//! `parameters.binary_data_size`, whose bytes stand behind the JSON in the order of the tensors. A `null` elsewhere is no
//! missing value: KServe writes `"model_version": null`.

use std::collections::VecDeque;

use json_sieve::{Event, Slot, Want};

use super::tensor_data::TensorData;
use super::{Direction, Limits, Pointers, Reads, count, is_something};
use crate::payload::summary::{Datatype, MAX_DIMENSIONS, MAX_NAME, Seen, Tensor};

/// Members of a tensor and what is wanted of them, by slot.
const MEMBERS: [(&str, Want); 6] = [
    ("", Want::Value),
    ("/name", Want::Value),
    ("/datatype", Want::Value),
    ("/shape/*", Want::Value),
    ("/parameters/binary_data_size", Want::Value),
    ("/data", Want::Elements),
];
const TENSOR: Slot = 0;
const NAME: Slot = 1;
const DATATYPE: Slot = 2;
const SHAPE: Slot = 3;
const BINARY_SIZE: Slot = 4;
const DATA: Slot = 5;

/// Errors: the protocol's own, and FastAPI's, in which MLServer is written.
const ERRORS: [&str; 2] = ["/error", "/detail"];

pub(super) fn pointers(direction: Direction) -> Pointers {
    let tensors = match direction {
        Direction::Input => "inputs",
        Direction::Output => "outputs",
    };
    let members = MEMBERS.iter().map(|(member, want)| (format!("/{tensors}/*{member}"), *want));
    members.chain(ERRORS.iter().map(|error| ((*error).to_owned(), Want::Value))).collect()
}

#[derive(Debug)]
pub(super) struct OpenInference {
    tensor: Tensor,
    binary_size: Option<u64>,
    /// Tensors whose data stands behind the JSON: their place among those kept, and how long it is.
    behind: VecDeque<(usize, u64)>,
    data: Option<(usize, TensorData)>,
    limits: Limits,
}

impl OpenInference {
    pub(super) fn new(limits: &Limits) -> OpenInference {
        OpenInference {
            tensor: Tensor::default(),
            binary_size: None,
            behind: VecDeque::new(),
            data: None,
            limits: limits.clone(),
        }
    }

    fn tensor_ends(&mut self, seen: &mut Seen) {
        let mut tensor = std::mem::take(&mut self.tensor);
        let size = self.binary_size.take();
        let at = seen.tensors.len();
        tensor.binary = size.is_some();
        // Those beyond the bound come last, and so does their data: it need not be found.
        if seen.keep(tensor)
            && let Some(size) = size
        {
            self.behind.push_back((at, size));
        }
    }
}

impl Reads for OpenInference {
    fn event(&mut self, slot: Slot, event: Event<'_>, seen: &mut Seen) {
        match (slot, event) {
            (TENSOR, Event::Open(_)) => (self.tensor, self.binary_size) = (Tensor::default(), None),
            (TENSOR, Event::Close { .. }) => self.tensor_ends(seen),
            (NAME, Event::Text(text)) => {
                self.tensor.name = text.head.get(..MAX_NAME).unwrap_or(text.head).into();
            }
            (DATATYPE, Event::Text(text)) => self.tensor.datatype = Datatype::named(text.head),
            (SHAPE, event) if self.tensor.shape.len() < MAX_DIMENSIONS => {
                self.tensor.shape.extend(count(event));
            }
            (BINARY_SIZE, event) => self.binary_size = count(event),
            (DATA, Event::Elements(elements)) => self.tensor.elements = Some(elements.clone()),
            (TENSOR..=DATA, _) => {}
            (_, event) => seen.error |= is_something(event),
        }
    }

    fn data(&mut self, mut bytes: &[u8], seen: &mut Seen) {
        loop {
            if self.data.is_none() {
                let Some((at, size)) = self.behind.pop_front() else { return };
                let datatype = seen.tensors.get(at).map(|tensor| tensor.datatype).unwrap_or_default();
                self.data = Some((at, TensorData::new(at, datatype, size, &self.limits)));
            }
            let Some((at, data)) = &mut self.data else { return };
            let complete = {
                let Seen { tensors, fields, .. } = seen;
                tensors.get_mut(*at).is_none_or(|tensor| data.read(&mut bytes, tensor, fields))
            };
            if !complete {
                return;
            }
            self.data = None;
        }
    }

    fn ends(&mut self, _seen: &mut Seen) -> bool {
        self.data.is_none() && self.behind.iter().all(|(_, size)| *size == 0)
    }
}
