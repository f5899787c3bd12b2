//! The structure of YAML: what stands where, before anything is typed.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, Tag};

/// How deeply a document may be nested, as in Envoy's loader.
const MAX_DEPTH: usize = 500;
/// How many values the aliases of a file may repeat.
const MAX_REPEATED: usize = 1_000_000;

/// A node of a document. Aliases share theirs.
pub(super) struct Tree {
    pub(super) kind: Kind,
    /// The explicit tag, its handle resolved.
    pub(super) tag: Option<String>,
    depth: usize,
    size: usize,
}

pub(super) enum Kind {
    /// A text, and whether it is plain: neither quoted nor a block.
    Scalar(String, bool),
    List(Vec<Rc<Tree>>),
    /// Keys and values in the order of the file, repeated keys included.
    Map(Vec<(Rc<Tree>, Rc<Tree>)>),
}

impl Tree {
    fn new(kind: Kind, tag: Option<String>) -> Self {
        let children: Vec<&Rc<Self>> = match &kind {
            Kind::Scalar(..) => Vec::new(),
            Kind::List(list) => list.iter().collect(),
            Kind::Map(fields) => fields.iter().flat_map(|(key, value)| [key, value]).collect(),
        };
        let depth = children.iter().map(|child| child.depth).max().unwrap_or_default().saturating_add(1);
        let size = children.iter().fold(1, |size: usize, child| size.saturating_add(child.size));
        Self { kind, tag, depth, size }
    }
}

/// A list or map that is not complete yet.
struct Open {
    is_map: bool,
    anchor: usize,
    tag: Option<String>,
    children: Vec<Rc<Tree>>,
}

/// Reads all documents of a file.
///
/// # Errors
///
/// What is not YAML, and what repeats or nests too much.
pub(super) fn read(text: &str) -> Result<Vec<Rc<Tree>>, String> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error: ScanError| error.to_string())?;
        builder.add(event, span)?;
    }
    Ok(builder.documents)
}

#[derive(Default)]
struct Builder {
    documents: Vec<Rc<Tree>>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Tree>>,
    repeated: usize,
}

impl Builder {
    fn add(&mut self, event: Event<'_>, span: Span) -> Result<(), String> {
        let tag = |tag: Option<std::borrow::Cow<'_, Tag>>| {
            tag.map(|tag| format!("{}{}", tag.handle(), tag.suffix()))
        };
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, given) => {
                let kind = Kind::Scalar(text.into_owned(), style == ScalarStyle::Plain);
                self.complete(Tree::new(kind, tag(given)), anchor, line)
            }
            Event::SequenceStart(_, anchor, given) => self.begin(false, anchor, tag(given), line),
            Event::MappingStart(_, anchor, given) => self.begin(true, anchor, tag(given), line),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Ok(()) };
                let kind =
                    if open.is_map { Kind::Map(pairs(open.children)) } else { Kind::List(open.children) };
                self.complete(Tree::new(kind, open.tag), open.anchor, line)
            }
            Event::Alias(anchor) => {
                let Some(tree) = self.anchors.get(&anchor).cloned() else {
                    return Err(format!("line {line}: an alias of what it stands in"));
                };
                self.repeated = self.repeated.saturating_add(tree.size);
                if self.repeated > MAX_REPEATED {
                    return Err(format!("line {line}: aliases repeat more than {MAX_REPEATED} values"));
                }
                self.place(tree, line)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, is_map: bool, anchor: usize, tag: Option<String>, line: usize) -> Result<(), String> {
        self.open.push(Open { is_map, anchor, tag, children: Vec::new() });
        if self.open.len() > MAX_DEPTH { Err(too_deep(line)) } else { Ok(()) }
    }

    fn complete(&mut self, tree: Tree, anchor: usize, line: usize) -> Result<(), String> {
        let tree = Rc::new(tree);
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&tree));
        }
        self.place(tree, line)
    }

    fn place(&mut self, tree: Rc<Tree>, line: usize) -> Result<(), String> {
        if tree.depth > MAX_DEPTH {
            return Err(too_deep(line));
        }
        match self.open.last_mut() {
            Some(open) => open.children.push(tree),
            None => self.documents.push(tree),
        }
        Ok(())
    }
}

fn too_deep(line: usize) -> String {
    format!("line {line}: nested more than {MAX_DEPTH} deep")
}

fn pairs(children: Vec<Rc<Tree>>) -> Vec<(Rc<Tree>, Rc<Tree>)> {
    let mut children = children.into_iter();
    std::iter::from_fn(|| children.next().zip(children.next())).collect()
}
