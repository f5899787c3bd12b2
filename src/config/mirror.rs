//! `mirror`: shadow mode.

use std::collections::BTreeMap;

#[cfg(not(target_arch = "wasm32"))]
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::compare::Compare;
use super::de::fields;
use super::units::{Count, Duration, Percent, Size};
use crate::model::Share;

/// Shadow mode.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
#[cfg_attr(not(target_arch = "wasm32"), schemars(extend("required" = ["to"])))]
pub struct Mirror {
    /// The version that gets the copies: the shadow.
    pub to: String,
    /// The share of the requests that stable answers, in percent. With session affinity: of its users.
    // In place of the default as the configuration's hash sees it, in hundredths.
    #[cfg_attr(not(target_arch = "wasm32"), schemars(extend("default" = 100)))]
    pub percent: Percent,
    /// The methods that are mirrored. By default those that change nothing; models are asked by POST.
    pub methods: Vec<String>,
    /// Requests with a longer body are not copied. In `fire_and_forget` those that do not say how long it is are not either;
    /// in `compare` answers with a longer body are not compared.
    #[serde(skip_serializing_if = "is_default_body")] // other configurations keep their hash
    pub max_body: Size,
    /// Who copies.
    pub mode: MirrorMode,
    /// In `compare`: requests that each worker may have sent to the shadow at once. 64 unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<Count>,
    /// In `compare`: what each worker may hold of requests and answers. 16 MiB unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// In `compare`: how long to wait for the shadow. Default: 5 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Duration>,
    /// In `compare`: headers that the copy gets, in place of the request's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set_headers: BTreeMap<String, String>,
    /// In `compare`: headers that the copy does not get, beside credentials.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_headers: Vec<String>,
    /// In `compare`: the copy keeps `cookie`, `authorization` and other credentials.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub forward_credentials: bool,
    /// In `compare`: how the two answers are compared. Absent: all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
}

fields!(
    Mirror: to, percent, methods, max_body, mode, max_in_flight, max_bytes, timeout, set_headers,
    remove_headers, forward_credentials, compare
);

impl Mirror {
    /// What each worker may hold of requests and answers.
    #[must_use]
    pub fn max_bytes(&self) -> Size {
        self.max_bytes.unwrap_or(Size::kib(16 * 1_024))
    }

    /// Whether stable gets a copy as well, and is compared with itself.
    #[must_use]
    pub fn has_baseline(&self) -> bool {
        self.compare.as_ref().is_some_and(|compare| compare.baseline)
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self {
            to: String::new(),
            percent: Percent(Share::ALL),
            methods: vec!["GET".into(), "HEAD".into()],
            max_body: DEFAULT_BODY,
            mode: MirrorMode::default(),
            max_in_flight: None,
            max_bytes: None,
            timeout: None,
            set_headers: BTreeMap::new(),
            remove_headers: Vec::new(),
            forward_credentials: false,
            compare: None,
        }
    }
}

/// Bytes of a body that is copied: a quarter of what Envoy buffers of a connection.
const DEFAULT_BODY: Size = Size::kib(256);

fn is_default_body(size: &Size) -> bool {
    *size == DEFAULT_BODY
}

/// Who copies a mirrored request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(not(target_arch = "wasm32"), derive(JsonSchema))]
pub enum MirrorMode {
    /// Envoy itself, by the route's `request_mirror_policies`; the answer is thrown away.
    #[default]
    FireAndForget,
    /// The filter, once stable has answered; it compares the two answers.
    Compare,
}
