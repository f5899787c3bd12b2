//! Requests for tests.

use std::borrow::Cow;
use std::cell::RefCell;

use super::request::Request;

/// A request made of headers, which notes what is read of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    headers: Vec<(String, Vec<u8>)>,
    source: Option<Vec<u8>>,
    has_body: bool,
    reads: RefCell<Vec<String>>,
}

impl Sample {
    pub(crate) fn new(method: &str, authority: &str, path: &str) -> Self {
        let headers = [(":method", method), (":authority", authority), (":path", path)];
        Self::default().with(&headers)
    }

    pub(crate) fn with(mut self, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        self.headers.extend(headers);
        self
    }

    pub(crate) fn set(&mut self, name: &str, value: &[u8]) {
        self.headers.push((name.to_owned(), value.to_vec()));
    }

    pub(crate) fn from(mut self, source: &str) -> Self {
        self.source = Some(source.as_bytes().to_vec());
        self
    }

    pub(crate) fn with_body(mut self) -> Self {
        self.has_body = true;
        self
    }

    /// What has been read so far.
    pub(crate) fn reads(&self) -> Vec<String> {
        self.reads.borrow().clone()
    }
}

impl Request for Sample {
    fn header(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.reads.borrow_mut().push(name.to_owned());
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.into())
    }

    fn headers(&self, name: &str) -> Vec<Vec<u8>> {
        self.reads.borrow_mut().push(format!("all of {name}"));
        self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.clone()).collect()
    }

    fn has_body(&self) -> bool {
        self.has_body
    }

    fn source_address(&self) -> Option<Cow<'_, [u8]>> {
        self.reads.borrow_mut().push("source".into());
        self.source.as_deref().map(Cow::Borrowed)
    }
}
