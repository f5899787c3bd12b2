//! What a plugin needs besides its configuration.

use changeover::config::{
    self,
    schema::{Config, Rollout},
};

use super::filters::Filter;
use super::{Findings, Node};

/// Checks each plugin, and that those that share a VM agree.
pub(crate) fn check(filters: &[Filter<'_>], findings: &mut Findings) {
    for Filter { plugin, is_control, is_istios, config } in filters {
        if let Some(config) = config {
            holds_tasks(plugin, config, findings);
            has_receipt_key(plugin, config, findings);
        }
        if vm_id(plugin).is_empty() {
            let told =
                "vm_config.vm_id is missing: the filter would share its data with every plugin that has none";
            if *is_istios {
                findings.warning(plugin, format_args!("{told}; Istio sets none"));
            } else {
                findings.error(plugin, format_args!("{told}; expected a name of its own"));
            }
        }
        let policy = policy(plugin);
        if *is_control {
            if policy != Some("FAIL_RELOAD") {
                findings.warning(
                    plugin,
                    "failure_policy is not FAIL_RELOAD: a worker whose VM has failed would not answer the API again until Envoy restarts",
                );
            }
        } else if policy != Some("FAIL_OPEN") {
            findings.error(
                plugin,
                "failure_policy is not FAIL_OPEN: a filter that fails would answer 503 to everything instead of leaving requests to stable",
            );
        }
    }
    let has_several_vms = filters.iter().any(|one| filters.iter().any(|other| is_apart(one, other)));
    for (index, filter) in filters.iter().enumerate() {
        let earlier = filters.get(..index).unwrap_or_default();
        if let Some(other) = earlier.iter().find(|other| is_apart(other, filter)) {
            own_vm(&other.plugin, &filter.plugin, findings);
        }
        let shares_vm = |other: &&Filter<'_>| vm_id(&other.plugin) == vm_id(&filter.plugin);
        let first = if has_several_vms { earlier.iter().find(shares_vm) } else { earlier.first() };
        if let Some(first) = first.filter(|first| !is_apart(first, filter)) {
            same_vm(&first.plugin, &filter.plugin, findings);
        }
        if let Some(twin) = earlier.iter().find(|twin| identity(&twin.plugin) == identity(&filter.plugin))
            && let (Some(one), Some(other)) = (&twin.config, &filter.config)
            && config::hash(one) != config::hash(other)
        {
            findings.error(
                &filter.plugin,
                format_args!(
                    "its configuration differs from the one at {}, which has the same vm_id, name and root_id: the one that \
                     Envoy loads last would replace the other; expected a root_id of its own",
                    twin.plugin
                ),
            );
        }
    }
}

/// What happens to requests when the filter has failed; an older field says it where this one does not.
fn policy<'a>(plugin: &Node<'a>) -> Option<&'a str> {
    const NUMBERS: [&str; 4] = ["UNSPECIFIED", "FAIL_RELOAD", "FAIL_CLOSED", "FAIL_OPEN"];
    let number =
        || NUMBERS.get(usize::try_from(plugin.value.get("failure_policy")?.as_u64()?).ok()?).copied();
    let policy = plugin.text("failure_policy").or_else(number).filter(|policy| *policy != "UNSPECIFIED");
    policy.or_else(|| (plugin.value.get("fail_open") == Some(&true.into())).then_some("FAIL_OPEN"))
}

/// The variable with the key of receipts.
pub(crate) const RECEIPT_KEY: &str = "CHANGEOVER_RECEIPT_KEY";

/// A rollout with people holds requests.
fn holds_tasks(plugin: &Node<'_>, config: &Config, findings: &mut Findings) {
    if config.rollouts.iter().any(|rollout| rollout.automation.is_some())
        && plugin.value.get("allow_on_headers_stop_iteration") != Some(&true.into())
    {
        findings.error(
            plugin,
            "allow_on_headers_stop_iteration is not true: with `automation` no task would be answered, for its body would not reach \
             the filter",
        );
    }
}

/// A rollout that seals receipts needs their key.
fn has_receipt_key(plugin: &Node<'_>, config: &Config, findings: &mut Findings) {
    let Some(field) = config.rollouts.iter().find_map(Rollout::needs_receipt_key) else { return };
    let field = if field == "automation" { "automation.decision" } else { field };
    let variables = plugin.at(&["vm_config", "environment_variables"]);
    let from_host = variables.as_ref().and_then(|of| of.value.get("host_env_keys")?.as_array());
    if from_host.is_some_and(|names| names.iter().any(|name| name == RECEIPT_KEY)) {
        return;
    }
    match variables.filter(|of| of.value.get("key_values").is_some_and(|all| all.get(RECEIPT_KEY).is_some())) {
        Some(variables) => findings.warning(
            &variables,
            format_args!("the key of receipts is shown in /config_dump; expected {RECEIPT_KEY} in host_env_keys"),
        ),
        None => findings.error(
            plugin,
            format_args!(
                "vm_config.environment_variables has no {RECEIPT_KEY}: a rollout with `{field}` would be refused; expected it in host_env_keys"
            ),
        ),
    }
}

/// Whether two filters share their rollouts by different stores, or one of them by none.
fn is_apart(one: &Filter<'_>, other: &Filter<'_>) -> bool {
    let store = |filter: &Filter<'_>| filter.config.as_ref().map(|config| config.store.clone());
    !one.is_control
        && !other.is_control
        && store(one).zip(store(other)).is_some_and(|(one, other)| one != other)
}

/// All filters of a VM share their rollouts.
fn own_vm(first: &Node<'_>, other: &Node<'_>, findings: &mut Findings) {
    if vm_id(first) == vm_id(other) {
        findings.error(
            other,
            format_args!(
                "its `store` differs from that of {first}, with which it shares a VM: the filter that Envoy loads last would be \
                 refused; expected the same, or a vm_id of its own"
            ),
        );
    }
}

/// Filters on several listeners see each other's state only inside one VM.
fn same_vm(first: &Node<'_>, other: &Node<'_>, findings: &mut Findings) {
    if vm_id(first) != vm_id(other) {
        findings.error(
            other,
            format_args!("its vm_id differs from that of {first}: the two filters would not see each other; expected the same"),
        );
    }
    let variables =
        |plugin: &Node<'_>| plugin.at(&["vm_config", "environment_variables"]).map(|of| of.value.clone());
    if variables(first) != variables(other) {
        findings.error(
            other,
            format_args!(
                "its environment_variables differ from those of {first}: only those of the filter that Envoy loads first would be \
                 there; expected the same"
            ),
        );
    }
    let code = |plugin: &Node<'_>| plugin.at(&["vm_config", "code"]).map(|code| code.value.clone());
    if code(first) != code(other) {
        findings.error(
            other,
            format_args!(
                "its code differs from that of {first}: the two would run in different VMs; expected the same"
            ),
        );
    }
}

fn vm_id<'a>(plugin: &Node<'a>) -> &'a str {
    plugin.field("vm_config").and_then(|vm| vm.text("vm_id")).unwrap_or_default()
}

fn identity<'a>(plugin: &Node<'a>) -> (&'a str, &'a str, &'a str) {
    let text = |field| plugin.text(field).unwrap_or_default();
    (vm_id(plugin), text("name"), text("root_id"))
}
