//! Kubernetes resources.

use super::*;

const ISTIO: &str = include_str!("../../../../../envoy/istio.yaml");
const GATEWAY: &str = include_str!("../../../../../envoy/envoy-gateway.yaml");

#[test]
fn configurations_in_kubernetes_resources_are_checked() {
    for (file, place) in [
        (ISTIO, "WasmPlugin/changeover: spec.pluginConfig"),
        (GATEWAY, "EnvoyExtensionPolicy/changeover: spec.wasm[0].config"),
    ] {
        let (found, bad) = findings(&[file]);
        assert!(!bad && found.len() == 1, "{found:?}");
        assert!(found[0].starts_with(&format!("f0: {place}: valid: 1 rollout, ")), "{found:?}");
        let (found, bad) = findings(&[&file.replace("green: 5}", "green: 120}")]);
        assert_eq!(
            (found, bad),
            (vec![format!("f0: {place}: rollouts[0].weights.green: 120 is over 100")], true)
        );
    }
    let (found, bad) =
        findings(&["{apiVersion: v1, kind: Secret}\n---\n{apiVersion: v2, kind: Other}\n---\n"]);
    assert_eq!(found, ["f0: nothing to check: no changeover filter in its Kubernetes resources"]);
    assert!(!bad);
}

#[test]
fn who_waits_for_a_promotion_is_told_that_nobody_can() {
    let steps = "steps: [{set_weight: 5}, {pause: {}}]";
    for (file, place) in [
        (ISTIO, "WasmPlugin/changeover: spec.pluginConfig"),
        (GATEWAY, "EnvoyExtensionPolicy/changeover: spec.wasm[0].config"),
    ] {
        assert_eq!(complaints(&[file]), [""; 0]);
        assert!(file.contains("weights: {green: 5}"));
        let waiting = file.replace("weights: {green: 5}", steps);
        let (found, bad) = findings(&[&waiting]);
        let told = found.last().expect("a warning");
        let expected = format!(
            "f0: {place}: warning: rollouts [\"recommender\"] have a step that waits for a promotion"
        );
        assert!(!bad && told.starts_with(&expected), "{found:?}");
        assert_eq!(complaints(&[&waiting.replace("{pause: {}}", "{pause: {duration: 1h}}")]), [""; 0]);
    }
    // Its listener comes by a patch, or it is a filter of its own.
    let waiting = ISTIO.replace("weights: {green: 5}", steps);
    let listener = yaml::read(CONTROL).expect("YAML").remove(0)["listeners"][0].clone();
    let patch = serde_json::json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "EnvoyFilter",
        "spec": {"configPatches": [{"applyTo": "LISTENER", "patch": {"operation": "ADD", "value": listener}}]},
    });
    assert_eq!(complaints(&[&format!("{waiting}\n---\n{patch}\n")]), [""; 0]);
    let plugin = serde_json::json!({
        "apiVersion": "extensions.istio.io/v1alpha1", "kind": "WasmPlugin", "metadata": {"name": "changeover-control"},
        "spec": {"failStrategy": "FAIL_OPEN", "pluginConfig": {"control": {}}},
    });
    assert_eq!(complaints(&[&format!("{waiting}\n---\n{plugin}\n")]), [""; 0]);
}
