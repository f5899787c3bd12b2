//! The HTTP connection manager around a filter: headers a client must not send, routes, the mirror.

mod examples;
pub(crate) mod hosts;
mod settings;
pub(crate) mod spelling;
pub(crate) mod taken;
pub(crate) mod walk;

use changeover::config::schema::{Config, MirrorMode, Rollout};
use changeover::model::header::VERSION;
pub(crate) use changeover::model::header::{CLUSTER, MIRROR, SHADOW};
use changeover::routing::mirror::CREDENTIALS;

use super::{Findings, Node};
use hosts::{Hosts, Stripped};

/// Checks a connection manager whose filter, an entry in its list, has this configuration (`None`: it comes from elsewhere),
/// on a listener with this port (`None`: not known), with the route configurations that its RDS may name.
pub(crate) fn check(
    (manager, entry, port): (&Node<'_>, &Node<'_>, Option<u64>),
    config: Option<&Config>,
    routes: &[Node<'_>],
    findings: &mut Findings,
) {
    clients_headers(manager, std::slice::from_ref(manager), config, findings);
    let Some(routes) = of(manager, routes, findings) else { return };
    let hosts = routes.list("virtual_hosts");
    let of_routes = ["vhds", "vhost_header"].into_iter().find(|field| routes.field(field).is_some());
    let of_hosts = || hosts.iter().any(|host| host.field("matcher").is_some()).then_some("matcher");
    if let Some(field) = of_routes.or_else(of_hosts) {
        findings.note(
            &routes,
            format_args!("could not tell whether its routes obey the filter: Envoy finds them by `{field}`"),
        );
        return;
    }
    if !hosts.iter().any(obeys_somewhere) {
        findings.error(
            &routes,
            format_args!("no route obeys the filter; expected one with `headers: [{{name: {CLUSTER}, present_match: true}}]` and `cluster_header: {CLUSTER}`"),
        );
        return;
    }
    hosts
        .iter()
        .filter(|host| obeys_somewhere(host))
        .for_each(|host| upstreams_headers(host, &routes, findings));
    let by_name = Hosts::of(&routes, Stripped::of(manager, port, &routes));
    let rollouts = config.map(|config| config.rollouts.as_slice()).unwrap_or_default();
    for (index, rollout) in rollouts.iter().enumerate() {
        let earlier = rollouts.get(..index).unwrap_or_default();
        walk::check((rollout, earlier), (&routes, &by_name), entry, findings);
    }
    let copied: Vec<&Rollout> = rollouts.iter().filter(|rollout| is_copied_by_envoy(rollout)).collect();
    if !copied.is_empty() {
        let has_version = copied.iter().any(|rollout| rollout.version_header.request);
        let obeying = hosts.iter().filter(|host| obeys_somewhere(host));
        obeying.for_each(|host| mirror(host, &routes, has_version, findings));
    }
}

/// The routes of a connection manager, its own or those of its RDS; `None` when they are not in the files.
pub(super) fn of<'a>(
    manager: &Node<'a>,
    discovered: &[Node<'a>],
    findings: &mut Findings,
) -> Option<Node<'a>> {
    if let Some(inline) = manager.field("route_config") {
        return Some(inline);
    }
    let Some(rds) = manager.field("rds") else {
        findings.note(
            manager,
            "could not tell whether its routes obey the filter: they are neither in `route_config` nor `rds`",
        );
        return None;
    };
    let named = |node: &&Node<'_>| node.text("name") == rds.text("route_config_name");
    let found = discovered.iter().find(named).cloned();
    if found.is_none() {
        findings
            .note(&rds, "its routes are discovered: check the file they come from together with this one");
    }
    found
}

/// A client's own copies of the internal headers must be gone before anything looks at them: in one connection manager,
/// which may stand in several patches.
pub(crate) fn clients_headers(
    place: &Node<'_>,
    managers: &[Node<'_>],
    config: Option<&Config>,
    findings: &mut Findings,
) {
    let mutations: Vec<Node<'_>> = managers
        .iter()
        .flat_map(|manager| manager.list("early_header_mutation_extensions"))
        .filter_map(|extension| extension.field("typed_config"))
        .flat_map(|config| config.list("mutations"))
        .collect();
    let about = |header: &str| mutations.iter().map(|mutation| removes(mutation, header)).max();
    let unclear: Vec<&str> =
        INTERNAL.into_iter().filter(|header| about(header) == Some(Removes::Unclear)).collect();
    if !unclear.is_empty() {
        findings.note(
            place,
            format_args!(
                "could not tell whether a client's own {} are removed: by `remove_on_match`",
                unclear.join(", ")
            ),
        );
        return;
    }
    let removed: Vec<&str> =
        INTERNAL.into_iter().filter(|header| about(header) == Some(Removes::It)).collect();
    let expected = |header: &str| format!("expected `remove: {header}` in early_header_mutation_extensions");
    removed_headers(place, &removed, config, expected, findings);
}

/// The headers that only the filter may set.
pub(crate) const INTERNAL: [&str; 3] = [CLUSTER, MIRROR, SHADOW];

/// Whether a mutation removes a header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Removes {
    Nothing,
    Unclear,
    It,
}

fn removes(mutation: &Node<'_>, header: &str) -> Removes {
    let of = |is_it| if is_it { Removes::It } else { Removes::Nothing };
    if let Some(name) = mutation.text("remove") {
        return of(name.eq_ignore_ascii_case(header));
    }
    let Some(matcher) = mutation.at(&["remove_on_match", "key_matcher"]) else { return Removes::Nothing };
    let ignores_case = matcher.value.get("ignore_case") == Some(&true.into());
    // Names are in lower case when Envoy looks at them.
    let text = |field| {
        matcher.text(field).map(|text| if ignores_case { text.to_ascii_lowercase() } else { text.to_owned() })
    };
    let known = ["exact", "prefix", "suffix", "contains"];
    let fits = known.into_iter().find_map(|kind| fits(header, kind, &text(kind)?));
    fits.map_or(Removes::Unclear, of)
}

/// Whether a text passes a test of this kind; `None` for another kind, such as a regular expression.
pub(crate) fn fits(text: &str, kind: &str, wanted: &str) -> Option<bool> {
    match kind {
        "exact" => Some(text == wanted),
        "prefix" => Some(text.starts_with(wanted)),
        "suffix" => Some(text.ends_with(wanted)),
        "contains" => Some(text.contains(wanted)),
        _ => None,
    }
}

/// Which of the internal headers are `removed` from what clients send: all of them, but for the mark of copies where a rollout
/// trusts it.
pub(crate) fn removed_headers(
    place: &Node<'_>,
    removed: &[&str],
    config: Option<&Config>,
    expected: impl Fn(&str) -> String,
    findings: &mut Findings,
) {
    let mut rollouts = config.into_iter().flat_map(|config| &config.rollouts);
    let trusting = rollouts.find(|rollout| rollout.trust_shadow_header);
    for header in INTERNAL {
        let is_removed = removed.iter().any(|name| name.eq_ignore_ascii_case(header));
        match trusting.filter(|_| header == SHADOW) {
            Some(rollout) if is_removed => findings.error(
                place,
                format_args!(
                    "{header} is removed, and rollout {:?} has `trust_shadow_header`: it would take copies for requests; \
                     expected the header to be kept",
                    rollout.name
                ),
            ),
            None if !is_removed => findings
                .error(place, format_args!("a client's own {header} is not removed; {}", expected(header))),
            _ => {}
        }
    }
}

/// A route that goes where the filter says.
fn is_chosen(route: &Node<'_>) -> bool {
    follows_header(route) && asks_for_header(route)
}

/// The value of the filter's header that a route is for, if it is for one alone.
pub(crate) fn choice<'a>(route: &Node<'a>) -> Option<&'a str> {
    let headers = route.field("match")?.list("headers");
    headers.iter().find_map(|header| {
        let is_it = header.text("name")?.eq_ignore_ascii_case(CLUSTER);
        let is_plain = header.value.get("invert_match") != Some(&true.into());
        let string = header.field("string_match");
        let exact = header.text("exact_match").or_else(|| string.as_ref()?.text("exact"));
        exact.filter(|_| is_it && is_plain)
    })
}

fn asks_for_header(route: &Node<'_>) -> bool {
    let matches = route.field("match").map(|matches| matches.list("headers")).unwrap_or_default();
    matches.iter().any(|header| header.text("name").is_some_and(|name| name.eq_ignore_ascii_case(CLUSTER)))
}

/// A route whose cluster is the one that the header names.
pub(crate) fn follows_header(route: &Node<'_>) -> bool {
    let header = route.field("route").and_then(|action| action.text("cluster_header"));
    header.is_some_and(|header| header.eq_ignore_ascii_case(CLUSTER))
}

/// A route that may go where the header says, or takes requests because of it.
fn obeys_somewhere(host: &Node<'_>) -> bool {
    host.list("routes").iter().any(|route| {
        let Some(action) = route.field("route") else { return false };
        let entries = || {
            action.at(&["weighted_clusters"]).map(|weighted| weighted.list("clusters")).unwrap_or_default()
        };
        let by_header = |place: &Node<'_>| {
            place.text("cluster_header").is_some_and(|header| header.eq_ignore_ascii_case(CLUSTER))
        };
        let by_extension = ["cluster_specifier_plugin", "inline_cluster_specifier_plugin"]
            .iter()
            .any(|field| action.field(field).is_some());
        let is_apart = asks_for_header(route) && (action.text("cluster").is_some() || !entries().is_empty());
        by_header(&action) || entries().iter().any(by_header) || by_extension || is_apart
    })
}

/// Whether Envoy copies a rollout's requests. Where the filter does, no route has a part in it.
pub(crate) fn is_copied_by_envoy(rollout: &Rollout) -> bool {
    rollout.mirror.as_ref().is_some_and(|mirror| mirror.mode == MirrorMode::FireAndForget)
}

/// The filter's headers on an upstream's answer are for no client: the routes remove them, the virtual host or the whole.
fn upstreams_headers(host: &Node<'_>, config: &Node<'_>, findings: &mut Findings) {
    let above = [removed_from_answers(config), removed_from_answers(host)].concat();
    let routes = host.list("routes");
    let forwarding = routes.iter().filter(|route| route.field("route").is_some());
    let missing = |header: &&str| {
        let removes = |removed: &[&str]| removed.iter().any(|name| name.eq_ignore_ascii_case(header));
        !removes(&above) && forwarding.clone().any(|route| !removes(&removed_from_answers(route)))
    };
    warn_of_answers(host, INTERNAL.into_iter().filter(missing), "response_headers_to_remove", findings);
}

/// Warns of headers on an upstream's answer that are not removed by the field that should name them.
pub(crate) fn warn_of_answers<'h>(
    place: &Node<'_>,
    missing: impl Iterator<Item = &'h str>,
    field: &str,
    findings: &mut Findings,
) {
    let missing = missing.collect::<Vec<_>>().join(", ");
    if !missing.is_empty() {
        findings.warning(
            place,
            format_args!("an upstream's own {missing} would reach clients; expected `{field}: [{missing}]`"),
        );
    }
}

/// The headers that a route, a virtual host or a route configuration removes from answers.
pub(crate) fn removed_from_answers<'a>(place: &Node<'a>) -> Vec<&'a str> {
    let list = place.value.get("response_headers_to_remove").and_then(|list| list.as_array());
    list.into_iter().flatten().filter_map(|header| header.as_str()).collect()
}

/// Envoy's mirror policy on the routes of a virtual host: on the one that requests take when the filter names a shadow.
fn mirror(host: &Node<'_>, config: &Node<'_>, has_version: bool, findings: &mut Findings) {
    let routes = host.list("routes");
    let chosen = || routes.iter().filter(|route| is_chosen(route));
    for route in chosen() {
        let own = asks_for_mirror(route);
        let policy = policies(route, [host, config]).into_iter().find(is_ours);
        let Some(policy) = policy.filter(|_| own != Some(false)) else {
            // Where both kinds of requests come, the routes above are the ones that take some away.
            let others = chosen().take_while(|other| own == Some(false) || !std::ptr::eq(*other, route));
            let another = others
                .filter(|other| asks_for_mirror(other) != Some(false) && takes_paths_of(other, route))
                .any(|other| policies(other, [host, config]).iter().any(is_ours));
            if own == Some(true) || !another {
                findings.error(
                    route,
                    format_args!("nothing would be mirrored from here; expected a route of its own for requests with {MIRROR}, and in it `request_mirror_policies` with `cluster_header: {MIRROR}`"),
                );
            }
            continue;
        };
        if own.is_none() {
            findings.warning(
                route,
                format_args!("its mirror policy costs every request, copied or not; expected a route of its own for requests with {MIRROR}"),
            );
        }
        mutations(&policy, has_version, findings);
        for place in [route, host, config] {
            let removed = place.value.get("request_headers_to_remove").and_then(|list| list.as_array());
            if removed.into_iter().flatten().filter_map(|header| header.as_str()).any(is_mirror) {
                findings.error(
                    place,
                    format_args!("request_headers_to_remove has {MIRROR}, which switches the mirror off; expected it without"),
                );
            }
        }
    }
}

/// A route's own policy for the filter's copies.
pub(crate) fn mirror_policy<'a>(route: &Node<'a>) -> Option<Node<'a>> {
    policies(route, []).into_iter().find(is_ours)
}

/// The mirror policies in force on a route: its own, or those of the nearest of the places around it that has any.
fn policies<'a, const AROUND: usize>(route: &Node<'a>, around: [&Node<'a>; AROUND]) -> Vec<Node<'a>> {
    let own = route.field("route").into_iter();
    let places = own.chain(around.into_iter().cloned());
    let mut lists = places.map(|place| place.list("request_mirror_policies"));
    lists.find(|policies| !policies.is_empty()).unwrap_or_default()
}

fn is_ours(policy: &Node<'_>) -> bool {
    policy.text("cluster_header").is_some_and(is_mirror)
}

fn is_mirror(name: &str) -> bool {
    name.eq_ignore_ascii_case(MIRROR)
}

/// Whether a route takes only requests with the mirror's header, or only those without; `None`: both.
fn asks_for_mirror(route: &Node<'_>) -> Option<bool> {
    let matches = route.field("match")?;
    let header =
        matches.list("headers").into_iter().find(|header| header.text("name").is_some_and(is_mirror))?;
    let is_set = |name: &str| header.value.get(name) == Some(&true.into());
    Some(header.value.get("present_match") != Some(&false.into()) && !is_set("invert_match"))
}

/// Whether a route takes the paths that another one takes.
fn takes_paths_of(route: &Node<'_>, other: &Node<'_>) -> bool {
    let prefix = route.field("match").and_then(|matches| matches.text("prefix"));
    let paths = other.field("match").and_then(|matches| {
        ["prefix", "path_separated_prefix", "path"].into_iter().find_map(|name| matches.text(name))
    });
    prefix.is_some_and(|prefix| paths.is_some_and(|paths| paths.starts_with(prefix)))
}

const COOKIE: &str = "cookie";
const AUTHORIZATION: &str = "authorization";

fn mutations(policy: &Node<'_>, has_version: bool, findings: &mut Findings) {
    if policy.value.get("disable_shadow_host_suffix_append") != Some(&true.into()) {
        findings.error(
            policy,
            "the copy's Host would end in \"-shadow\"; expected `disable_shadow_host_suffix_append: true`",
        );
    }
    let mutations = policy.list("request_headers_mutations");
    let marks = mutations.iter().filter_map(|mutation| mutation.at(&["append", "header"]));
    let is_mark = |header: Node<'_>| header.text("key").is_some_and(|key| key.eq_ignore_ascii_case(SHADOW));
    if !marks.into_iter().any(is_mark) {
        findings
            .error(policy, format_args!("the copy is not marked; expected a mutation that appends {SHADOW}"));
    }
    let carries =
        |header: &str| mutations.iter().all(|mutation| removes(mutation, header) == Removes::Nothing);
    for header in [COOKIE, AUTHORIZATION, MIRROR, CLUSTER] {
        if carries(header) {
            findings.error(
                policy,
                format_args!("the copy carries {header}; expected a mutation `remove: {header}`"),
            );
        }
    }
    if has_version && carries(VERSION) {
        findings.warning(
            policy,
            format_args!(
                "the copy carries {VERSION} with the name of stable (`version_header.request`); expected a mutation `remove: {VERSION}`"
            ),
        );
    }
    for header in CREDENTIALS.iter().filter(|header| ![COOKIE, AUTHORIZATION].contains(header)) {
        if carries(header) {
            findings.warning(
                policy,
                format_args!(
                    "the copy carries {header} if a client sends it; expected a mutation `remove: {header}`"
                ),
            );
        }
    }
}
