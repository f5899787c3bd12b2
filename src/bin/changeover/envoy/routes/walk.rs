//! The way of a rollout's requests through the routes, in their order, as Envoy goes: with the filter's header and
//! without.

use changeover::config::schema::Rollout;
use serde_json::Value;

use super::taken::{Requests, Taken};
use super::{CLUSTER, Findings, Node, follows_header, hosts, is_copied_by_envoy, obeys_somewhere, settings};

/// Checks where the requests of a rollout end. `filter`: its entry in the list of filters.
pub(super) fn check(rollout: &Rollout, routes: &Node<'_>, filter: &Node<'_>, findings: &mut Findings) {
    let hosts = hosts::of(routes, rollout);
    if hosts.is_empty() {
        findings.warning(
            routes,
            format_args!(
                "no virtual host takes requests for the authorities of rollout {:?}: they get 404",
                rollout.name
            ),
        );
    }
    for host in &hosts {
        if rollout.matches.authority.is_empty() && !obeys_somewhere(host) {
            findings.warning(
                host,
                format_args!(
                    "none of its routes obeys the filter, and rollout {:?} is about its requests, too; expected \
                     `match.authority` in the rollout, or the route here",
                    rollout.name
                ),
            );
            continue;
        }
        with_header(rollout, host, findings);
        if let Some(ordinary) = without_header(rollout, host, findings) {
            disabled(&[&ordinary, host, routes], filter, findings);
        }
    }
}

/// Whether the filter runs on the route that Envoy chooses before it: the most specific of these places that is about it
/// counts, and after them its entry in the list.
fn disabled(places: &[&Node<'_>], filter: &Node<'_>, findings: &mut Findings) {
    let name = filter.text("name").unwrap_or_default();
    let is_disabled = |value: &Value| value.get("disabled") == Some(&true.into());
    let mut about = places.iter().filter_map(|place| {
        let config = place.field("typed_per_filter_config")?;
        Some((*place, is_disabled(config.value.get(name)?)))
    });
    if let (place, true) = about.next().unwrap_or((filter, is_disabled(filter.value))) {
        findings.error(
            place,
            format_args!(
                "the filter ({name}) is disabled here, and so it is on the ordinary route, which requests have when they come to it: \
                 they stay there; expected it enabled"
            ),
        );
    }
}

/// Where certain requests go in a virtual host.
struct Walk<'a> {
    /// Routes that take some of them, in order.
    some: Vec<Node<'a>>,
    /// Routes of which only Envoy can tell whether they take any.
    unclear: Vec<Node<'a>>,
    /// The route that takes all that are left.
    rest: Option<Node<'a>>,
}

impl<'a> Walk<'a> {
    fn of(host: &Node<'a>, requests: &Requests<'_>) -> Self {
        let mut walk = Self { some: Vec::new(), unclear: Vec::new(), rest: None };
        for route in host.list("routes") {
            match requests.taken_by(&route) {
                Taken::All => {
                    walk.rest = Some(route);
                    break;
                }
                Taken::Some => walk.some.push(route),
                Taken::Unclear => walk.unclear.push(route),
                Taken::None => {}
            }
        }
        walk
    }

    /// Says that only Envoy can tell, if so.
    fn is_unclear(&self, what: &str, rollout: &Rollout, findings: &mut Findings) -> bool {
        if let Some(route) = self.unclear.first() {
            findings.note(
                route,
                format_args!(
                    "could not tell whether this route takes requests of rollout {:?} {what}",
                    rollout.name
                ),
            );
        }
        !self.unclear.is_empty()
    }
}

/// Whether a route's requests go to a cluster.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Leads {
    There,
    Elsewhere,
    Unclear,
}

fn leads(route: &Node<'_>, cluster: &str, header: Option<&str>) -> Leads {
    let Some(action) = route.field("route") else { return Leads::Elsewhere };
    let is = |is_there| if is_there { Leads::There } else { Leads::Elsewhere };
    if follows_header(route) {
        return is(header == Some(cluster));
    }
    if let Some(name) = action.text("cluster") {
        return is(name == cluster);
    }
    let weighted =
        action.field("weighted_clusters").map(|weighted| weighted.list("clusters")).unwrap_or_default();
    let mut names = weighted.iter().map(|one| one.text("name"));
    if weighted.is_empty() || names.clone().any(|name| name.is_none()) {
        Leads::Unclear
    } else if names.clone().all(|name| name == Some(cluster)) {
        Leads::There
    } else if names.any(|name| name == Some(cluster)) {
        Leads::Unclear
    } else {
        Leads::Elsewhere
    }
}

/// What the filter may write into the header of copies: nothing, or the cluster of the shadow.
fn shadows(rollout: &Rollout) -> impl Iterator<Item = Option<&str>> {
    let mirror = rollout.mirror.as_ref().filter(|_| is_copied_by_envoy(rollout));
    let shadow = mirror.map(|mirror| Some(cluster_of(rollout, &mirror.to)));
    std::iter::once(None).chain(shadow)
}

fn cluster_of<'a>(rollout: &'a Rollout, version: &str) -> &'a str {
    rollout.versions.get(version).map(|version| version.cluster.as_str()).unwrap_or_default()
}

fn with_header(rollout: &Rollout, host: &Node<'_>, findings: &mut Findings) {
    for (version, shadow) in
        rollout.versions.keys().flat_map(|version| shadows(rollout).map(move |shadow| (version, shadow)))
    {
        let cluster = cluster_of(rollout, version);
        let walk = Walk::of(host, &Requests { matches: &rollout.matches, cluster: Some(cluster), shadow });
        let obeys = |route: &Node<'_>| leads(route, cluster, Some(cluster));
        match walk.rest.as_ref().map(|route| (route, obeys(route))) {
            Some((route, Leads::There)) => {
                for route in walk.some.iter().filter(|route| obeys(route) == Leads::Elsewhere) {
                    findings.warning(
                        route,
                        format_args!(
                            "it takes some of the requests of rollout {:?} before the route that obeys the filter: they \
                             count for a version that does not serve them",
                            rollout.name
                        ),
                    );
                }
                if walk.unclear.iter().any(|route| obeys(route) == Leads::Elsewhere) {
                    walk.is_unclear("that the filter has chosen", rollout, findings);
                }
                timeout(route, rollout, findings);
            }
            Some((route, Leads::Unclear)) => findings.note(
                route,
                format_args!("could not tell whether this route obeys the filter for rollout {:?}", rollout.name),
            ),
            Some((_, Leads::Elsewhere)) if walk.is_unclear("that the filter has chosen", rollout, findings) => {}
            Some((route, Leads::Elsewhere)) => findings.error(
                route,
                format_args!(
                    "requests of rollout {:?} for version {version:?} end here, where nothing obeys the filter: the first \
                     route that takes them counts; expected above it one with the same conditions, `headers: [{{name: \
                     {CLUSTER}, present_match: true}}]` and `cluster_header: {CLUSTER}`",
                    rollout.name
                ),
            ),
            None if walk.some.iter().any(|route| obeys(route) != Leads::Elsewhere) => {}
            None if walk.is_unclear("that the filter has chosen", rollout, findings) => {}
            None => findings.error(
                host,
                format_args!(
                    "no route obeys the filter for rollout {:?}, version {version:?}: its requests would get 404; expected \
                     one that leads to {cluster:?} where {CLUSTER} says so",
                    rollout.name
                ),
            ),
        }
    }
}

/// Returns the ordinary route.
fn without_header<'a>(rollout: &Rollout, host: &Node<'a>, findings: &mut Findings) -> Option<Node<'a>> {
    let stable = cluster_of(rollout, &rollout.stable);
    let walk = Walk::of(host, &Requests { matches: &rollout.matches, cluster: None, shadow: None });
    let to_stable = |route: &Node<'_>| leads(route, stable, None);
    for route in walk.some.iter().filter(|route| to_stable(route) == Leads::Elsewhere) {
        if let Some(action) = route.field("route") {
            findings.warning(
                &action,
                format_args!(
                    "without the filter some of the requests of rollout {:?} go here, which is not stable's cluster {stable:?}",
                    rollout.name
                ),
            );
        }
    }
    let Some(route) = &walk.rest else {
        if walk.some.is_empty() && !walk.is_unclear("without the filter", rollout, findings) {
            findings.error(
                host,
                format_args!("no ordinary route for rollout {:?}: without the filter its requests would get 404; expected one to stable's cluster below the route that obeys the filter", rollout.name),
            );
        }
        return None;
    };
    let action = route.field("route").unwrap_or_else(|| route.clone());
    match to_stable(route) {
        Leads::There => {}
        Leads::Unclear => findings.note(
            &action,
            format_args!(
                "could not tell whether this route leads to stable's cluster {stable:?} of rollout {:?}",
                rollout.name
            ),
        ),
        Leads::Elsewhere
            if rollout.candidate.as_ref().is_some_and(|candidate| {
                leads(route, cluster_of(rollout, candidate), None) == Leads::There
            }) =>
        {
            findings.warning(
                &action,
                format_args!("the ordinary route leads to {:?}, the candidate of rollout {:?}: correct only while its release is being finished", action.text("cluster").unwrap_or_default(), rollout.name),
            );
        }
        Leads::Elsewhere if walk.is_unclear("without the filter", rollout, findings) => {}
        Leads::Elsewhere => {
            let there = action
                .text("cluster")
                .map_or_else(|| "elsewhere".into(), |cluster| format!("to {cluster:?}"));
            findings.error(
                &action,
                format_args!("the ordinary route leads {there}, not to stable's cluster {stable:?} of rollout {:?}: that is where requests go when the filter fails", rollout.name),
            );
        }
    }
    timeout(route, rollout, findings);
    for shadow in shadows(rollout) {
        let chosen =
            Walk::of(host, &Requests { matches: &rollout.matches, cluster: Some(stable), shadow }).rest;
        let obeys = |chosen: &Node<'_>| leads(chosen, stable, Some(stable)) == Leads::There;
        if let Some(chosen) = chosen.filter(|chosen| route.field("route").is_some() && obeys(chosen)) {
            settings::compare(route, &chosen, findings);
        }
    }
    walk.rest
}

/// A client may get an answer that counts as failed. (Without a timeout a stream may be meant: its headers come early.)
fn timeout(route: &Node<'_>, rollout: &Rollout, findings: &mut Findings) {
    let Some(analysis) = &rollout.analysis else { return };
    let Some(action) = route.field("route") else { return };
    let deadline = std::time::Duration::from_millis(analysis.deadline.as_millis());
    let timeout = action.text("timeout");
    // 15 s is Envoy's default, and 0 s is none at all.
    let seconds: Option<f64> =
        timeout.unwrap_or("15s").strip_suffix('s').and_then(|seconds| seconds.parse().ok());
    if seconds.is_some_and(|seconds| seconds > deadline.as_secs_f64()) {
        findings.warning(
            &action,
            format_args!(
                "its timeout ({}), which is for the whole answer, is longer than the analysis.deadline of rollout {:?}, which \
                 is for the answer's headers: those that come later than {deadline:?} reach the client and count as failed",
                timeout.unwrap_or("15s unless given"),
                rollout.name,
            ),
        );
    }
}

#[cfg(test)]
mod tests;
