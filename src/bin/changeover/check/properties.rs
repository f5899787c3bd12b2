//! Whatever stands in Envoy's YAML: `check` does not panic, and complains about nothing that it does not know.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;

use super::*;

const SHIPPED: [&str; 5] = [
    include_str!("../../../../envoy/envoy.yaml"),
    include_str!("../../../../envoy/envoy-ecds.yaml"),
    include_str!("../../../../envoy/control.yaml"),
    include_str!("../../../../envoy/istio.yaml"),
    include_str!("../../../../envoy/envoy-gateway.yaml"),
];

/// Where the configuration starts, which is strict about its fields.
const CONFIGURATIONS: [&str; 3] = ["configuration", "pluginConfig", "config"];

/// What is compared as a whole: code with code, the settings of routes, the services and settings of rules, labels.
const COMPARED: [&str; 6] =
    ["code", "routes", "backendRefs", "responseHeaderModifier", "labels", "matchLabels"];

/// Where an unknown field makes it unclear which requests a route takes.
const CONDITIONS: &str = "match";

/// Words that mean something somewhere, so that values end up where others are expected.
const WORDS: [&str; 12] = [
    "name",
    "route",
    "match",
    "headers",
    "value",
    "routes",
    "typed_config",
    "http_filters",
    "x-changeover-cluster",
    "type.googleapis.com/google.protobuf.Struct",
    "no",
    "",
];

fn value() -> impl Strategy<Value = Value> {
    let word = || prop::sample::select(&WORDS[..]).prop_map(String::from);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        word().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(word(), inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Every value in a document that `wanted` takes, outermost first, as a pointer.
fn places(value: &Value, at: &str, wanted: &dyn Fn(&str, &Value) -> bool, found: &mut Vec<String>) {
    if !wanted(at, value) {
        return;
    }
    found.push(at.to_owned());
    let escape = |name: &String| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                places(value, &format!("{at}/{}", escape(name)), wanted, found);
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                places(value, &format!("{at}/{index}"), wanted, found);
            }
        }
        _ => {}
    }
}

/// One of the shipped files with one of its values changed. JSON is YAML, too.
fn changed(
    file: Index,
    place: Index,
    wanted: &dyn Fn(&str, &Value) -> bool,
    change: impl FnOnce(&mut Value),
) -> String {
    let mut documents = Value::from(yaml::read(file.get::<&str>(&SHIPPED)).expect("YAML"));
    let mut found = Vec::new();
    for (index, document) in documents.as_array().into_iter().flatten().enumerate() {
        places(document, &format!("/{index}"), wanted, &mut found);
    }
    change(documents.pointer_mut(place.get::<String>(&found)).expect("a place that was found"));
    documents.as_array().into_iter().flatten().map(|document| format!("---\n{document}\n")).collect()
}

fn checked(text: String) -> Findings {
    check(&[("f".into(), text)])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_value_anywhere_is_survived(file: Index, place: Index, value in value()) {
        let text = changed(file, place, &|_, _| true, |old| *old = value);
        checked(text);
    }

    #[test]
    fn unknown_fields_mean_nothing(file: Index, place: Index, name in "[a-z]{1,8}_unknown", value in value()) {
        let outside = |at: &str, value: &Value| {
            let name = at.rsplit('/').next().unwrap_or_default();
            // Envoy's filter has a `config` of its own, with its name in it.
            let is_configuration = CONFIGURATIONS.contains(&name) && value.get("name").is_none();
            !is_configuration && !COMPARED.contains(&name) && name != CONDITIONS
        };
        let plain = changed(file, place, &outside, |_| {});
        let text = changed(file, place, &outside, |place| {
            // Envoy refuses a bootstrap with an unknown field.
            if let Value::Object(fields) = place
                && !fields.contains_key("static_resources")
            {
                fields.insert(name, value);
            }
        });
        prop_assert_eq!(checked(text), checked(plain));
    }
}
