//! Where a client may say which version it wants.

use std::borrow::Cow;
use std::iter;

use super::affinity::cookie_of;
use super::request::{Facts, Request};
use crate::config::affinity::Override;

/// Where a client may say which version it wants.
#[derive(Default)]
pub(super) struct Overrides {
    header: Option<String>,
    query: Option<Vec<u8>>,
    cookie: Option<Vec<u8>>,
}

impl Overrides {
    pub(super) fn new(config: Option<&Override>) -> Self {
        let Some(config) = config else { return Self::default() };
        Self {
            header: config.header.as_deref().map(str::to_ascii_lowercase),
            query: config.query.clone().map(String::into_bytes),
            cookie: config.cookie.clone().map(String::into_bytes),
        }
    }

    /// The headers that are asked for.
    pub(super) fn headers(&self) -> impl Iterator<Item = &str> {
        let path = self.query.is_some().then_some(":path");
        let cookie = self.cookie.is_some().then_some("cookie");
        self.header.as_deref().into_iter().chain(path).chain(cookie)
    }

    /// What a client says, where it says something; what decides comes first.
    pub(super) fn values<'r, R: Request>(
        &self,
        facts: &'r Facts<'_, R>,
    ) -> impl Iterator<Item = Cow<'r, [u8]>> {
        let header = || facts.request().header(self.header.as_ref()?);
        let query = || facts.parameter(self.query.as_ref()?);
        let cookie = || cookie_of(facts.request(), self.cookie.as_ref()?);
        iter::once_with(header).chain(iter::once_with(query)).chain(iter::once_with(cookie)).flatten()
    }
}
