//! What is wanted of a document: JSON pointers, compiled into a tree.

/// The longest name in a pointer, in bytes. Longer names of members match nothing.
pub const MAX_NAME: usize = 128;
/// The most pointers in a plan.
pub const MAX_POINTERS: usize = 256;
/// The most names in a pointer.
pub const MAX_SEGMENTS: usize = 32;
/// The most places in the compiled tree. Pointers with several `*` beside names can multiply.
const MAX_NODES: usize = 4096;

/// What is wanted of the value at a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// The value itself: a scalar, or where an array or object begins and ends.
    Value,
    /// Statistics of all scalars at it and below it: of a tensor, flat or nested.
    Elements,
}

/// A pointer's number in its plan, from 0 in the order in which they were added. Events carry it.
pub type Slot = u16;

/// Why a plan cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanError {
    /// A pointer that is neither empty nor begins with `/`, or has a `~` that is not `~0` or `~1`.
    Pointer,
    /// A name longer than [`MAX_NAME`], or a pointer of more than [`MAX_SEGMENTS`].
    TooLong,
    /// More than [`MAX_POINTERS`], or pointers that multiply to a tree of more than 4,096 places.
    TooMany,
    /// [`Want::Elements`] below or at another.
    Nested,
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            PlanError::Pointer => {
                "not a JSON pointer, which is empty or begins with `/`; `~` is written `~0`"
            }
            PlanError::TooLong => "longer than 32 names, or a name in it is longer than 128 bytes",
            PlanError::TooMany => "too many pointers",
            PlanError::Nested => "element statistics inside element statistics",
        })
    }
}

impl std::error::Error for PlanError {}

/// A place in the compiled tree.
pub(crate) type NodeId = u16;
/// The place of everything that is not wanted.
pub(crate) const NOWHERE: NodeId = u16::MAX;

#[derive(Debug, Default)]
pub(crate) struct Node {
    pub(crate) values: Vec<Slot>,
    pub(crate) elements: Option<Slot>,
    /// Members by name; elements by a name that is their index.
    children: Vec<Child>,
    /// Elements without a child of their own.
    any: Option<NodeId>,
    /// Elements from this index on are not wanted. `u32::MAX` where `any` is.
    pub(crate) end: u32,
}

#[derive(Debug)]
struct Child {
    name: Box<[u8]>,
    index: Option<u32>,
    node: NodeId,
}

/// What is wanted of documents, compiled. Made once, used for any number of documents.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    slots: Slot,
    pub(crate) missing: Vec<Box<[u8]>>,
    pub(crate) max_elements: u64,
}

impl Plan {
    /// Compiles pointers (RFC 6901). `*` stands for every element of an array; a decimal name for the element with
    /// that index, or for the member of that name. The empty pointer is the whole document. The same pointer may stand
    /// several times.
    ///
    /// # Errors
    /// A pointer that is not one, a limit that is exceeded, or nested [`Want::Elements`].
    pub fn new<'a>(pointers: impl IntoIterator<Item = (&'a str, Want)>) -> Result<Plan, PlanError> {
        let mut wanted = Vec::new();
        for (pointer, want) in pointers {
            if wanted.len() >= MAX_POINTERS {
                return Err(PlanError::TooMany);
            }
            wanted.push((segments(pointer)?, want));
        }
        let slots = wanted.len() as Slot;
        let mut plan = Plan { nodes: Vec::new(), slots, missing: Vec::new(), max_elements: u64::MAX };
        let at: Vec<usize> = (0..wanted.len()).collect();
        plan.add(&wanted, &at, 0, false)?;
        Ok(plan)
    }

    /// Texts that count as missing among elements, beside empty ones.
    #[must_use]
    pub fn missing<'a>(mut self, texts: impl IntoIterator<Item = &'a str>) -> Plan {
        self.missing = texts.into_iter().map(|text| text.as_bytes().into()).collect();
        self
    }

    /// How many scalars are read for one [`Want::Elements`]. It bounds the statistics, not what other pointers find.
    #[must_use]
    pub fn max_elements(mut self, elements: u64) -> Plan {
        self.max_elements = elements;
        self
    }

    /// How many pointers there are.
    #[must_use]
    pub fn slots(&self) -> usize {
        usize::from(self.slots)
    }

    /// Adds the place that these pointers reach with their first `depth` names, and all below it.
    fn add(
        &mut self,
        wanted: &[(Vec<Segment>, Want)],
        reached: &[usize],
        depth: usize,
        inside: bool,
    ) -> Result<NodeId, PlanError> {
        let id = self.nodes.len();
        if id >= MAX_NODES {
            return Err(PlanError::TooMany);
        }
        self.nodes.push(Node::default());
        let mut node = Node::default();
        let mut names: Vec<&[u8]> = Vec::new();
        for &slot in reached {
            let Some((segments, want)) = wanted.get(slot) else { continue };
            match (segments.get(depth), want) {
                (None, Want::Value) => node.values.push(slot as Slot),
                (None, Want::Elements) if inside || node.elements.is_some() => return Err(PlanError::Nested),
                (None, Want::Elements) => node.elements = Some(slot as Slot),
                (Some(Segment::Name(name)), _) if !names.contains(&name.as_slice()) => names.push(name),
                _ => {}
            }
        }
        let inside = inside || node.elements.is_some();
        let on = |name: Option<&[u8]>, index: bool| -> Vec<usize> {
            let follows = |segment: &Segment| match segment {
                Segment::Name(own) => name == Some(own.as_slice()),
                Segment::Any => index,
            };
            let next = |slot: &usize| wanted.get(*slot).and_then(|(segments, _)| segments.get(depth));
            reached.iter().copied().filter(|slot| next(slot).is_some_and(follows)).collect()
        };
        let any = on(None, true);
        let deeper = depth.saturating_add(1);
        for name in names {
            let index = index(name);
            // As a member of an object `*` does not follow, as an element of an array it does.
            let member = on(Some(name), false);
            let element = on(Some(name), true);
            let shared = index.is_none() || any.is_empty();
            let child = self.add(wanted, &member, deeper, inside)?;
            node.children.push(Child { name: name.into(), index: index.filter(|_| shared), node: child });
            if !shared {
                let child = self.add(wanted, &element, deeper, inside)?;
                node.children.push(Child { name: Box::default(), index, node: child });
            }
        }
        let last = node.children.iter().filter_map(|child| child.index).max();
        node.end = last.map_or(0, |last| last.saturating_add(1));
        if !any.is_empty() {
            node.any = Some(self.add(wanted, &any, deeper, inside)?);
            node.end = u32::MAX;
        }
        if let Some(place) = self.nodes.get_mut(id) {
            *place = node;
        }
        Ok(id as NodeId)
    }

    #[inline]
    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(usize::from(id))
    }

    /// Where a member of an object leads.
    #[inline]
    pub(crate) fn member(&self, id: NodeId, name: &[u8]) -> NodeId {
        let children = self.node(id).map(|node| node.children.as_slice()).unwrap_or_default();
        // The element of an index beside `*` has no name; an empty name of the document must not find it.
        let named = |child: &&Child| *child.name == *name && !(name.is_empty() && child.index.is_some());
        children.iter().find(named).map_or(NOWHERE, |child| child.node)
    }

    /// Where an element of an array leads.
    #[inline]
    pub(crate) fn element(&self, id: NodeId, index: u32) -> NodeId {
        let Some(node) = self.node(id) else { return NOWHERE };
        let own = node.children.iter().find(|child| child.index == Some(index)).map(|child| child.node);
        own.or(node.any).unwrap_or(NOWHERE)
    }
}

impl Node {
    pub(crate) fn is_leaf(&self) -> bool {
        self.children.is_empty() && self.any.is_none()
    }
}

enum Segment {
    Name(Vec<u8>),
    Any,
}

/// An index as RFC 6901 has it: decimal, without leading zeros.
fn index(name: &[u8]) -> Option<u32> {
    let decimal = name.iter().all(u8::is_ascii_digit) && (name.len() == 1 || name.first() != Some(&b'0'));
    std::str::from_utf8(name).ok().filter(|_| decimal)?.parse().ok().filter(|index| *index < u32::MAX)
}

fn segments(pointer: &str) -> Result<Vec<Segment>, PlanError> {
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let names = pointer.strip_prefix('/').ok_or(PlanError::Pointer)?.split('/');
    let segments: Vec<Segment> = names.map(segment).collect::<Result<_, _>>()?;
    if segments.len() > MAX_SEGMENTS { Err(PlanError::TooLong) } else { Ok(segments) }
}

fn segment(text: &str) -> Result<Segment, PlanError> {
    if text == "*" {
        return Ok(Segment::Any);
    }
    let mut name = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        name.push(match byte {
            b'~' => match bytes.next() {
                Some(b'0') => b'~',
                Some(b'1') => b'/',
                _ => return Err(PlanError::Pointer),
            },
            byte => byte,
        });
    }
    if name.len() > MAX_NAME { Err(PlanError::TooLong) } else { Ok(Segment::Name(name)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(pointers: &[&str]) -> Result<Plan, PlanError> {
        Plan::new(pointers.iter().map(|pointer| (*pointer, Want::Value)))
    }

    #[test]
    fn malformed_and_excessive_pointers_are_refused() {
        assert_eq!(plan(&["a"]).unwrap_err(), PlanError::Pointer);
        assert_eq!(plan(&["/a~2"]).unwrap_err(), PlanError::Pointer);
        assert_eq!(plan(&["/a~"]).unwrap_err(), PlanError::Pointer);
        assert_eq!(plan(&[&format!("/{}", "a".repeat(129))]).unwrap_err(), PlanError::TooLong);
        assert_eq!(plan(&[&"/a".repeat(33)]).unwrap_err(), PlanError::TooLong);
        assert_eq!(plan(&["/a"; 257]).unwrap_err(), PlanError::TooMany);
        let multiplying: Vec<String> =
            (0..16).map(|at| format!("{}/{at}{}", "/*".repeat(at), "/*".repeat(15 - at))).collect();
        let multiplying: Vec<&str> = multiplying.iter().map(String::as_str).collect();
        assert_eq!(plan(&multiplying).unwrap_err(), PlanError::TooMany);
        let nested = [("/a", Want::Elements), ("/a/*/b", Want::Elements)];
        assert_eq!(Plan::new(nested).unwrap_err(), PlanError::Nested);
    }

    #[test]
    fn an_index_beside_every_element_leads_to_both() {
        let plan = plan(&["/*/a", "/1/b", "/1"]).unwrap();
        let first = plan.element(0, 0);
        let second = plan.element(0, 1);
        assert_eq!(plan.node(plan.member(first, b"a")).unwrap().values, [0]);
        assert_eq!(plan.member(first, b"b"), NOWHERE);
        assert_eq!(plan.node(plan.member(second, b"a")).unwrap().values, [0]);
        assert_eq!(plan.node(plan.member(second, b"b")).unwrap().values, [1]);
        assert_eq!(plan.node(second).unwrap().values, [2]);
        // Of an object, `1` is a member and `*` is not.
        let member = plan.member(0, b"1");
        assert_eq!(plan.node(member).unwrap().values, [2]);
        assert_eq!(plan.member(member, b"a"), NOWHERE);
        assert_eq!(plan.member(0, b""), NOWHERE);
    }
}
