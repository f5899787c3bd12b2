//! The forms that protobuf's JSON has for one message: both spellings of a field's name, and `TypedStruct` in place of an
//! extension's own message. All checks see one of them.

use serde_json::{Map, Value};

use super::is_bootstrap;

/// What Envoy refuses in a document, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Empty at the top.
    pub(crate) path: String,
    pub(crate) message: String,
}

/// Fields that hold whatever users write.
const FREE: [&str; 7] = [
    "configuration", // the plugin's own
    "filter_metadata",
    "json_format",
    "key_values",
    "metadata",
    "static_layer",
    "typed_json_format",
];
/// Fields whose keys users choose, and whose values are messages.
const MAPS: [&str; 6] = ["map", "plugins_config", "policies", "providers", "requirement_map", "requires"];
/// The same with extensions as values.
const EXTENSION_MAPS: [&str; 3] =
    ["typed_extension_protocol_options", "typed_filter_metadata", "typed_per_filter_config"];
/// Fields that hold an extension, whose message `TypedStruct` can stand for. Elsewhere it is data of an extension.
const EXTENSIONS: [&str; 2] = ["default_config", "typed_config"];

/// The fields of a bootstrap, to Envoy 1.40.
const BOOTSTRAP: [&str; 41] = [
    "admin",
    "application_log_config",
    "bootstrap_extensions",
    "certificate_provider_instances",
    "cluster_manager",
    "config_sources",
    "default_config_source",
    "default_regex_engine",
    "default_socket_interface",
    "deferred_stat_options",
    "dns_resolution_config",
    "dynamic_resources",
    "enable_dispatcher_stats",
    "enable_worker_cpu_affinity",
    "fatal_actions",
    "flags_path",
    "grpc_async_client_manager_config",
    "hds_config",
    "header_prefix",
    "inline_headers",
    "layered_runtime",
    "listener_manager",
    "memory_allocator_manager",
    "node",
    "node_context_params",
    "overload_manager",
    "perf_tracing_file_path",
    "static_resources",
    "stats_config",
    "stats_eviction_interval",
    "stats_flush_interval",
    "stats_flush_on_admin",
    "stats_server_version_override",
    "stats_sinks",
    "tracing",
    "typed_dns_resolver_config",
    "use_tcp_for_dns_lookups",
    "watchdog",
    "watchdogs",
    "xds_config_tracker_extension",
    "xds_delegate_extension",
];

/// Gives a document of Envoy's protobuf's own names of fields, and each extension as its own message.
pub(crate) fn normalize(document: &mut Value) -> Vec<Problem> {
    let mut problems = Vec::new();
    let renamed = message(document, "", &mut problems);
    // Only there does Envoy refuse unknown fields unless told otherwise.
    if is_bootstrap(&renamed) {
        let fields = renamed.as_object().into_iter().flatten().map(|(name, _)| name);
        let unknown = fields.filter(|name| !BOOTSTRAP.contains(&name.as_str()) && *name != "@type");
        problems.extend(unknown.map(|name| Problem {
            path: name.clone(),
            message: "an unknown field, for which Envoy refuses the whole file; an anchor can stand where it is first used".into(),
        }));
    }
    *document = renamed;
    problems
}

/// Does so with what a Kubernetes resource, or those in a list, adds to Envoy's configuration.
pub(crate) fn normalize_patches(resource: &mut Value) -> Vec<Problem> {
    const PATCHES: [(&str, &str, &str); 2] =
        [("configPatches", "patch", "value"), ("jsonPatches", "operation", "value")];
    let mut problems = Vec::new();
    for (list, what, field) in PATCHES {
        let patches = resource.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for (index, patch) in patches.into_iter().flatten().enumerate() {
            if let Some(value) = patch.get_mut(what).and_then(|what| what.get_mut(field)) {
                *value = any(value, &format!("spec.{list}[{index}].{what}.{field}"), &mut problems);
            }
        }
    }
    for item in resource.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
        problems.extend(normalize_patches(item));
    }
    problems
}

/// A message with protobuf's own names of fields.
pub(crate) fn snake_case(value: &Value) -> Value {
    message(value, "", &mut Vec::new())
}

/// The key by which YAML 1.1 merges maps.
const MERGE: &str = "<<";

/// Whether protobuf can have a field of this name.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

/// An extension's own message, or the `TypedStruct` that stands for it.
fn any(value: &Value, path: &str, problems: &mut Vec<Problem>) -> Value {
    match value {
        Value::Object(fields) if is_kind(value, "TypedStruct") => extension(fields, path, problems),
        _ => message(value, path, problems),
    }
}

fn message(value: &Value, path: &str, problems: &mut Vec<Problem>) -> Value {
    match value {
        Value::Object(_) if is_kind(value, "Struct") || is_kind(value, "TypedStruct") => value.clone(),
        Value::Object(fields) => Value::Object(named(fields, path, problems)),
        Value::Array(list) => {
            let of = |(index, value)| message(value, &format!("{path}[{index}]"), problems);
            list.iter().enumerate().map(of).collect()
        }
        _ => value.clone(),
    }
}

fn named(fields: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) -> Map<String, Value> {
    let mut renamed = Map::new();
    for (given, value) in fields {
        let name = snake(given);
        let place = below(path, &name);
        if given == MERGE {
            problems.push(Problem {
                path: place,
                message: "Envoy does not merge (`<<` is an unknown field); write the fields out".into(),
            });
            continue;
        }
        if name != *given && fields.contains_key(&name) {
            let message =
                format!("it is there as `{given}` as well: Envoy takes a field once; expected one of them");
            problems.push(Problem { path: place, message });
            continue;
        }
        let is_in = |names: &[&str]| names.contains(&name.as_str());
        let is_unknown = path.is_empty() && !is_name(given);
        let value = match value {
            value if is_unknown || is_in(&FREE) => value.clone(),
            Value::Object(map) if is_in(&MAPS) => each(map, &place, problems, message),
            Value::Object(map) if is_in(&EXTENSION_MAPS) => each(map, &place, problems, any),
            value if is_in(&EXTENSIONS) => any(value, &place, problems),
            value => message(value, &place, problems),
        };
        renamed.insert(name, value);
    }
    renamed
}

/// The values of a map in the form that `read` gives them.
fn each(
    map: &Map<String, Value>,
    path: &str,
    problems: &mut Vec<Problem>,
    read: fn(&Value, &str, &mut Vec<Problem>) -> Value,
) -> Value {
    let of = |(key, value): (&String, &Value)| (key.clone(), read(value, &below(path, key), problems));
    Value::Object(map.iter().map(of).collect())
}

/// The message that a `TypedStruct` stands for.
fn extension(fields: &Map<String, Value>, path: &str, problems: &mut Vec<Problem>) -> Value {
    let kind = ["type_url", "typeUrl"].into_iter().find_map(|name| fields.get(name)?.as_str());
    let kind = kind.filter(|kind| !kind.is_empty());
    let mut problem =
        |message: &str| problems.push(Problem { path: path.to_owned(), message: message.to_owned() });
    match kind {
        None => problem("the TypedStruct has no `type_url`; expected that of the extension's message"),
        Some(kind) if kind.ends_with(".TypedStruct") => {
            problem("a TypedStruct inside a TypedStruct; expected the `type_url` of the extension's message");
        }
        Some(_) => {}
    }
    let inside = fields.get("value").and_then(Value::as_object);
    let mut inside = inside.map(|inside| named(inside, path, problems)).unwrap_or_default();
    if let Some(kind) = kind {
        inside.insert("@type".into(), kind.into());
    }
    Value::Object(inside)
}

fn is_kind(value: &Value, kind: &str) -> bool {
    value.get("@type").and_then(Value::as_str).and_then(|url| url.rsplit('.').next()) == Some(kind)
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Protobuf's own name of a field, which JSON has as `lowerCamelCase`.
pub(crate) fn snake(name: &str) -> String {
    if !is_name(name) || !name.starts_with(|first: char| first.is_ascii_lowercase()) {
        return name.to_owned();
    }
    let mut snake = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
