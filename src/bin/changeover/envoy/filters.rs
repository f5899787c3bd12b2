//! Where Changeover's filters are, and the configuration in them.

use base64::Engine as _;
use changeover::config::document;
use changeover::config::schema::Config;
use serde_json::Value;

use super::{Findings, Node};

/// A filter that runs this module has this text in one of its names.
pub(crate) const NAME: &str = "changeover";
const WASM: &str = "envoy.extensions.filters.http.wasm.v3.Wasm";

/// A filter whose configuration stands in the files.
pub(crate) struct Filter<'a> {
    /// The `PluginConfig`.
    pub(crate) plugin: Node<'a>,
    /// Its configuration; `None` when it is not valid, which has been reported already.
    pub(crate) config: Option<Config>,
    /// Whether it is the control listener's, valid or not.
    pub(crate) is_control: bool,
    /// Whether Istio has made it of a resource of its own.
    pub(crate) is_istios: bool,
}

/// Whether Istio has given a filter its name.
pub(crate) fn is_istios(name: &str) -> bool {
    name.starts_with("extensions.istio.io/")
}

/// The plugin in a filter's `typed_config`, if it is one of ours.
pub(crate) fn plugin<'a>(typed_config: &Node<'a>) -> Option<Node<'a>> {
    if !typed_config.is(WASM) {
        return None;
    }
    let plugin = typed_config.field("config")?;
    let names = [
        plugin.text("name"),
        plugin.text("root_id"),
        plugin.field("vm_config").and_then(|vm| vm.text("vm_id")),
        plugin.at(&["vm_config", "code", "local"]).and_then(|code| code.text("filename")),
        plugin.at(&["vm_config", "code", "remote", "http_uri"]).and_then(|code| code.text("uri")),
    ];
    // Envoy's YAML does not identify a module; it is recognized by its names.
    names.into_iter().flatten().any(|name| name.contains(NAME)).then_some(plugin)
}

/// Whether an entry of `http_filters` gets our filter by discovery (ECDS). `is_known`: what is discovered is one of ours.
pub(crate) fn is_discovered(entry: &Node<'_>, is_known: bool) -> bool {
    let is_named = || entry.text("name").is_some_and(|name| name.contains(NAME));
    entry.field("config_discovery").is_some() && (is_known || is_named())
}

/// Checks an entry whose filter is discovered.
pub(crate) fn discovery(entry: &Node<'_>, findings: &mut Findings) {
    let Some(discovery) = entry.field("config_discovery") else { return };
    let types = discovery.value.get("type_urls").and_then(Value::as_array);
    let types: Vec<&str> = types.into_iter().flatten().filter_map(Value::as_str).map(message).collect();
    if !types.contains(&WASM) {
        findings.error(
            &discovery,
            format_args!("type_urls lacks {WASM}: Envoy would refuse every configuration of the filter; expected it there"),
        );
    }
    let default = discovery.field("default_config");
    if default.is_none() {
        let told =
            "default_config is missing: every request would get 500 until the first good configuration";
        if entry.text("name").is_some_and(is_istios) {
            findings.warning(&discovery, format_args!("{told}; Istio sets none"));
        } else {
            findings.error(
                &discovery,
                format_args!("{told}; expected an envoy.filters.http.header_mutation that changes nothing"),
            );
        }
    }
    let kind = default.and_then(|default| default.text("@type")).map(message);
    if let Some(kind) = kind.filter(|kind| !types.contains(kind)) {
        findings.error(
            &discovery,
            format_args!(
                "type_urls lacks {kind}, the type of default_config: Envoy would not start; expected it there"
            ),
        );
    }
    findings
        .note(entry, "its configuration is discovered: check the file it comes from together with this one");
}

/// The name of a message in its URL.
fn message(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

/// Checks that one filter at most chooses versions in a connection manager; `entries` are those that do.
pub(crate) fn only_one(
    entries: &[Node<'_>],
    manager: &Node<'_>,
    routes: &[Node<'_>],
    findings: &mut Findings,
) {
    let is_disabled = |entry: &Node<'_>| entry.value.get("disabled") == Some(&true.into());
    let mut enabled = entries.iter().filter(|entry| !is_disabled(entry));
    let Some((first, second)) = enabled.next().zip(enabled.next()) else { return };
    let told = format!(
        "a second filter beside {first}: it removes the headers in which the first one has said what it has chosen; expected all \
         rollouts in one filter"
    );
    // Each of them may have routes of its own.
    let names = [first, second].map(|entry| entry.text("name").unwrap_or_default());
    let mut is_switched = false;
    for place in std::iter::once(manager).chain(routes) {
        place.walk(&mut |node| {
            let config = node.field("typed_per_filter_config");
            is_switched |= config.is_some_and(|config| names.iter().any(|name| config.field(name).is_some()));
        });
    }
    if is_switched {
        findings.warning(second, told);
    } else {
        findings.error(second, told);
    }
}

/// Checks that the router stands behind all filters of a connection manager that has one of ours.
pub(crate) fn router_is_last(manager: &Node<'_>, findings: &mut Findings) {
    let entries = manager.list("http_filters");
    let is_router = |entry: &Node<'_>| {
        entry
            .field("typed_config")
            .is_some_and(|config| config.is("envoy.extensions.filters.http.router.v3.Router"))
    };
    let behind = entries.iter().rev().take_while(|entry| !is_router(entry)).last();
    match (behind, entries.iter().any(is_router)) {
        (Some(entry), true) => {
            findings.error(entry, "it stands behind the router, and Envoy refuses such a list; expected the router behind all others");
        }
        _ if entries
            .last()
            .is_some_and(|entry| entry.field("typed_config").is_some_and(|config| config.is(WASM))) =>
        {
            findings.error(
                manager,
                "http_filters has no router, and Envoy refuses a list that ends with another filter; expected envoy.filters.http.router \
                 behind all others",
            );
        }
        _ => {}
    }
}

/// The document in a plugin's `configuration`, in whichever of Envoy's forms it stands.
pub(crate) fn configuration(plugin: &Node<'_>) -> Result<Value, String> {
    let Some(any) = plugin.field("configuration") else {
        return Err(
            "it has no `configuration`; expected a google.protobuf.Struct with at least `rollouts: []`"
                .into(),
        );
    };
    let value = any.field("value").map(|node| node.value);
    if any.is("google.protobuf.Struct") {
        return Ok(value.cloned().unwrap_or_else(|| Value::Object(serde_json::Map::new())));
    }
    if any.is("google.protobuf.StringValue") {
        return match value {
            Some(Value::String(text)) => document::read(text.as_bytes()),
            _ => Err("the StringValue's `value` is not a string; expected JSON in quotes".into()),
        };
    }
    if any.is("google.protobuf.BytesValue") {
        return match value.and_then(Value::as_str).and_then(base64) {
            Some(bytes) => document::read(&bytes),
            None => Err("the BytesValue's `value` is not in base64".into()),
        };
    }
    Err("`configuration` has an `@type` other than google.protobuf.Struct, StringValue or BytesValue".into())
}

/// Base64 as protobuf's JSON form takes it: either alphabet, padded or not.
fn base64(text: &str) -> Option<Vec<u8>> {
    use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let engine = GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    engine.decode(text.replace('-', "+").replace('_', "/")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(kind: &str, value: Value) -> Result<Value, String> {
        let configuration =
            json!({"@type": format!("type.googleapis.com/google.protobuf.{kind}"), "value": value});
        let filter = json!({
            "@type": format!("type.googleapis.com/{WASM}"),
            "config": {"name": "changeover", "configuration": configuration},
        });
        super::configuration(&plugin(&Node::document("f", &filter)).expect("our plugin"))
    }

    #[test]
    fn every_form_gives_the_same_document() {
        let expected = Ok(json!({"rollouts": []}));
        assert_eq!(of("Struct", json!({"rollouts": []})), expected);
        assert_eq!(of("StringValue", json!("{\"rollouts\": []}")), expected);
        assert_eq!(of("BytesValue", json!("eyJyb2xsb3V0cyI6IFtdfQ==")), expected);
        assert!(of("BytesValue", json!("!")).unwrap_err().contains("base64"));
        assert!(of("Duration", json!("1s")).unwrap_err().contains("@type"));
        assert!(of("StringValue", json!("rollouts: []")).unwrap_err().contains("neither JSON"));
    }

    #[test]
    fn another_module_is_passed_over() {
        let filter = json!({"@type": format!("type.googleapis.com/{WASM}"), "config": {"name": "other"}});
        assert!(plugin(&Node::document("f", &filter)).is_none());
    }
}
