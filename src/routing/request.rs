//! A request as routing sees it.

use std::borrow::Cow;
use std::cell::OnceCell;

/// The host's data about a request. Each call costs a crossing into Envoy and a copy, so each is made
/// only when the configuration needs it, and [`Facts`] makes it once.
pub trait Request {
    /// The first value of a header, or of a pseudo-header such as `:path`; `None` when it is absent. Any bytes.
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>>;

    /// All values of a header that comes in several lines, in their order. Dearer than [`Request::header`]. Any bytes.
    fn headers(&self, name: &str) -> Vec<Vec<u8>>;

    /// Whether something follows the headers.
    fn has_body(&self) -> bool;

    /// The client's address as Envoy determines it, `ip:port` or a path. Any bytes.
    fn source_address(&self) -> Option<Cow<'_, [u8]>>;
}

/// The value of a header that is there.
type Value<'a> = Option<Cow<'a, [u8]>>;

/// A request whose parts are read when they are first needed, and only once.
pub struct Facts<'a, R> {
    request: &'a R,
    authority: OnceCell<Cow<'a, [u8]>>,
    method: OnceCell<Cow<'a, [u8]>>,
    target: OnceCell<Cow<'a, [u8]>>,
    headers: OnceCell<Vec<OnceCell<Value<'a>>>>,
}

impl<'a, R: Request> Facts<'a, R> {
    /// Nothing is read yet.
    pub fn new(request: &'a R) -> Self {
        Self {
            request,
            authority: OnceCell::new(),
            method: OnceCell::new(),
            target: OnceCell::new(),
            headers: OnceCell::new(),
        }
    }

    /// The request itself, for what is read once at most.
    pub fn request(&self) -> &'a R {
        self.request
    }

    /// The host asked for, in lower case, with its port if one was given.
    pub fn authority(&self) -> &[u8] {
        self.authority.get_or_init(|| {
            let mut authority = self.request.header(":authority").unwrap_or_default();
            if authority.iter().any(u8::is_ascii_uppercase) {
                authority.to_mut().make_ascii_lowercase();
            }
            authority
        })
    }

    /// The request's method.
    pub fn method(&self) -> &[u8] {
        self.method.get_or_init(|| self.request.header(":method").unwrap_or_default())
    }

    /// The path without query and fragment.
    pub fn path(&self) -> &[u8] {
        let target = self.target();
        let end = target.iter().position(|byte| matches!(byte, b'?' | b'#'));
        end.and_then(|end| target.get(..end)).unwrap_or(target)
    }

    /// The query, without the question mark; empty when there is none.
    pub fn query(&self) -> &[u8] {
        let without_fragment = self.target().split(|byte| *byte == b'#').next().unwrap_or_default();
        let start = without_fragment.iter().position(|byte| *byte == b'?');
        start.and_then(|start| without_fragment.get(start.saturating_add(1)..)).unwrap_or_default()
    }

    /// The header that is the `id`th of the `names` the configuration's rules ask for.
    pub fn ruled_header(&self, id: usize, names: &[String]) -> Option<&[u8]> {
        // A list only for requests that meet a rule: most configurations have none.
        let headers = self.headers.get_or_init(|| names.iter().map(|_| OnceCell::new()).collect());
        let name = names.get(id)?;
        headers.get(id)?.get_or_init(|| self.request.header(name)).as_deref()
    }

    fn target(&self) -> &[u8] {
        self.target.get_or_init(|| self.request.header(":path").unwrap_or_default())
    }
}
