//! Whether Envoy brings paths and hosts into one spelling before the filter compares them, and whether a rollout's own have it.

use changeover::config::one_of::PathRule;
use changeover::config::schema::{Config, Rollout};

use super::hosts::without_port;
use super::{Findings, Node};

/// Checks the settings of a connection manager. `by_runtime`: whether Envoy's runtime has a say in them, too.
pub(crate) fn check(manager: &Node<'_>, config: &Config, by_runtime: bool, findings: &mut Findings) {
    let is_set = |field: &str| manager.value.get(field) == Some(&true.into());
    // An extension that does the same.
    let is_extended = manager.field("typed_header_validation_config").is_some();
    let by_path = config.rollouts.iter().find(|rollout| path(rollout).is_some_and(|path| path != "/"));
    if let Some(rollout) = by_path.filter(|_| !is_extended) {
        let settings =
            [("normalize_path", "`/v2/./models` and `/v2/%6dodels`"), ("merge_slashes", "`//v2/models`")];
        for (field, example) in settings {
            let by_other = field == "normalize_path" && by_runtime;
            if !is_set(field) && !by_other {
                findings.warning(
                    manager,
                    format_args!(
                        "{field} is not true: a server may take {example} for `/v2/models`, and rollout {:?} goes by the path as it \
                         was sent; expected `{field}: true`",
                        rollout.name
                    ),
                );
            }
        }
    }
    let by_host = config.rollouts.iter().find(|rollout| !rollout.matches.authority.is_empty());
    if let Some(rollout) = by_host.filter(|_| !is_set("strip_trailing_host_dot")) {
        findings.warning(
            manager,
            format_args!(
                "strip_trailing_host_dot is not true: requests for `models.example.com.` are for the same server as those for \
                 `models.example.com`, and rollout {:?} goes by the name as it was sent; expected `strip_trailing_host_dot: true`",
                rollout.name
            ),
        );
    }
    for rollout in &config.rollouts {
        if let Some(why) = path(rollout).and_then(|path| never(rollout, path, &is_set)) {
            findings.error(manager, format_args!("rollout {:?} never takes a request: {why}", rollout.name));
        }
        ports(rollout, manager, &is_set, findings);
    }
}

fn path(rollout: &Rollout) -> Option<&str> {
    match rollout.matches.path_rule() {
        PathRule::Any => None,
        PathRule::Exact(path) | PathRule::Prefix(path) | PathRule::SeparatedPrefix(path) => Some(path),
    }
}

/// Why no path is spelled like a rollout's when Envoy is done with it.
fn never(rollout: &Rollout, path: &str, is_set: &impl Fn(&str) -> bool) -> Option<String> {
    if is_set("merge_slashes") && path.contains("//") {
        return Some(format!("Envoy merges slashes, and {path:?} has two in a row"));
    }
    let is_whole = !matches!(rollout.matches.path_rule(), PathRule::Prefix(_));
    let path_and_end = if is_whole { format!("{path}/") } else { path.to_owned() };
    let has_dots = ["/./", "/../"].iter().any(|dots| path_and_end.contains(dots));
    if is_set("normalize_path") && (has_dots || path.contains('\\') || has_needless_escape(path)) {
        return Some(format!("Envoy normalizes paths, and {path:?} is not as it leaves them"));
    }
    None
}

/// Whether an escape stands for a letter that needs none: Envoy undoes it.
fn has_needless_escape(path: &str) -> bool {
    let mut escapes = path.split('%').skip(1).filter_map(|after| after.get(..2));
    escapes.any(|digits| {
        let byte = u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    })
}

/// A name with a port, where Envoy takes ports away.
fn ports(rollout: &Rollout, manager: &Node<'_>, is_set: &impl Fn(&str) -> bool, findings: &mut Findings) {
    let names = &rollout.matches.authority;
    let with_port: Vec<&String> = names.iter().filter(|name| without_port(name) != name.as_str()).collect();
    if with_port.is_empty() {
        return;
    }
    let told = |field: &str| {
        format!("rollout {:?} is for {with_port:?}, and {field} takes ports away", rollout.name)
    };
    const EXPECTED: &str = "expected the names without";
    if is_set("strip_any_host_port") && with_port.len() == names.len() {
        findings.error(
            manager,
            format_args!("{}: it never takes a request; {EXPECTED}", told("strip_any_host_port")),
        );
    } else if let Some(field) =
        ["strip_any_host_port", "strip_matching_host_port"].into_iter().find(|field| is_set(field))
    {
        findings.warning(manager, format_args!("{}; {EXPECTED}", told(field)));
    }
}
