//! Where Changeover's filters are, and the configuration in them.

use base64::Engine as _;
use changeover::config::document;
use changeover::config::schema::Config;
use serde_json::Value;

use super::Node;

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
