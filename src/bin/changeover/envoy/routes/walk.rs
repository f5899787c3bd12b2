//! The way of a rollout's requests through the routes, in their order, as Envoy goes: with the filter's header and
//! without.

use changeover::config::one_of::PathRule;
use changeover::config::schema::{Match, Rollout};
use serde_json::Value;

use super::hosts::Hosts;
use super::taken::{Requests, Taken};
use super::{CLUSTER, Findings, Node, choice, follows_header, is_copied_by_envoy, obeys_somewhere, settings};

/// Checks where the requests of a rollout end. `filter`: its entry in the list of filters.
pub(super) fn check(
    rollout: &Rollout,
    (routes, hosts): (&Node<'_>, &Hosts<Node<'_>>),
    filter: &Node<'_>,
    findings: &mut Findings,
) {
    let hosts = hosts.taking(rollout);
    let parts = parts(&rollout.matches);
    if hosts.is_empty() {
        findings.warning(
            routes,
            format_args!(
                "no virtual host takes requests for the authorities of rollout {:?}: they get 404",
                rollout.name
            ),
        );
    }
    for host in hosts {
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
        let (missing, led) = missing(rollout, &parts, host);
        for part in missing {
            findings.warning(
                host,
                format_args!(
                    "no route takes {} of rollout {:?}: they get 404",
                    described(part),
                    rollout.name
                ),
            );
        }
        for part in led {
            with_header(rollout, part, host, findings);
            if let Some(ordinary) = without_header(rollout, part, host, findings) {
                disabled(&[&ordinary, host, routes], filter, findings);
            }
        }
    }
}

/// The parts of a rollout's requests that may have routes of their own: by method, and a path apart from those below it.
pub(crate) fn parts(matches: &Match) -> Vec<Match> {
    let by_path = match matches.path_rule() {
        PathRule::SeparatedPrefix(prefix) => {
            let apart = Match { path_separated_prefix: None, ..matches.clone() };
            let below = Match { prefix: Some(format!("{prefix}/")), ..apart.clone() };
            vec![Match { path: Some(prefix.to_owned()), ..apart }, below]
        }
        _ => vec![matches.clone()],
    };
    if matches.methods.is_empty() {
        return by_path;
    }
    let of = |method: &String| {
        let methods = vec![method.clone()];
        by_path.iter().map(move |part| Match { methods: methods.clone(), ..part.clone() })
    };
    matches.methods.iter().flat_map(of).collect()
}

/// The parts that no route of a host takes, with the filter's header or without, and the others. All are among the others if
/// none of those obeys the filter.
fn missing<'m>(rollout: &Rollout, parts: &'m [Match], host: &Node<'_>) -> (Vec<&'m Match>, Vec<&'m Match>) {
    let clusters = || rollout.versions.values().map(|version| version.cluster.as_str());
    let walk =
        |matches: &Match, cluster: Option<&str>| Walk::of(host, &Requests { matches, cluster, shadow: None });
    let is_missing = |part: &&Match| {
        parts.len() > 1 && clusters().map(Some).chain([None]).all(|cluster| walk(part, cluster).is_empty())
    };
    let is_led = |part: &&Match| {
        clusters().any(|cluster| {
            let walk = walk(part, Some(cluster));
            walk.some.iter().chain(&walk.rest).any(|route| obeys(route, rollout, cluster) != Leads::Elsewhere)
        })
    };
    let (missing, led): (Vec<&Match>, Vec<&Match>) = parts.iter().partition(is_missing);
    if missing.is_empty() || led.iter().any(is_led) {
        (missing, led)
    } else {
        (Vec::new(), parts.iter().collect())
    }
}

/// The requests of a part.
pub(crate) fn described(part: &Match) -> String {
    let methods = part.methods.join(", ");
    let requests = format!("{methods} requests");
    let requests = requests.trim_start();
    match part.path_rule() {
        PathRule::Exact(path) => format!("{requests} for exactly {path:?}"),
        PathRule::Prefix(prefix) | PathRule::SeparatedPrefix(prefix) => {
            format!("{requests} for what begins with {prefix:?}")
        }
        PathRule::Any => requests.to_owned(),
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
pub(crate) struct Walk<'a> {
    /// Routes that take some of them, in order.
    pub(crate) some: Vec<Node<'a>>,
    /// Routes of which only Envoy can tell whether they take any.
    pub(crate) unclear: Vec<Node<'a>>,
    /// The route that takes all that are left.
    pub(crate) rest: Option<Node<'a>>,
}

impl<'a> Walk<'a> {
    fn of(host: &Node<'a>, requests: &Requests<'_>) -> Self {
        Self::through(host.list("routes"), requests)
    }

    /// Through routes that stand in this order.
    pub(crate) fn through(routes: impl IntoIterator<Item = Node<'a>>, requests: &Requests<'_>) -> Self {
        let mut walk = Self { some: Vec::new(), unclear: Vec::new(), rest: None };
        for route in routes {
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

    fn is_empty(&self) -> bool {
        self.some.is_empty() && self.unclear.is_empty() && self.rest.is_none()
    }

    /// Says that only Envoy can tell, if so.
    pub(crate) fn is_unclear(&self, what: &str, rollout: &Rollout, findings: &mut Findings) -> bool {
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

/// Whether requests for which the filter has chosen a version are led to it. A route for them alone may know the cluster by
/// another name, as Envoy Gateway's do.
fn obeys(route: &Node<'_>, rollout: &Rollout, cluster: &str) -> Leads {
    let led = leads(route, cluster, Some(cluster));
    let is_other = |name| rollout.versions.values().any(|version| version.cluster == name);
    match route.field("route").and_then(|action| action.text("cluster")) {
        Some(name) if led == Leads::Elsewhere && choice(route) == Some(cluster) && !is_other(name) => {
            Leads::Unclear
        }
        _ => led,
    }
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
pub(crate) fn shadows(rollout: &Rollout) -> impl Iterator<Item = Option<&str>> {
    let mirror = rollout.mirror.as_ref().filter(|_| is_copied_by_envoy(rollout));
    let shadow = mirror.map(|mirror| Some(cluster_of(rollout, &mirror.to)));
    std::iter::once(None).chain(shadow)
}

pub(crate) fn cluster_of<'a>(rollout: &'a Rollout, version: &str) -> &'a str {
    rollout.versions.get(version).map(|version| version.cluster.as_str()).unwrap_or_default()
}

fn with_header(rollout: &Rollout, matches: &Match, host: &Node<'_>, findings: &mut Findings) {
    for (version, shadow) in
        rollout.versions.keys().flat_map(|version| shadows(rollout).map(move |shadow| (version, shadow)))
    {
        let cluster = cluster_of(rollout, version);
        let walk = Walk::of(host, &Requests { matches, cluster: Some(cluster), shadow });
        let obeys = |route: &Node<'_>| obeys(route, rollout, cluster);
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
fn without_header<'a>(
    rollout: &Rollout,
    matches: &Match,
    host: &Node<'a>,
    findings: &mut Findings,
) -> Option<Node<'a>> {
    let stable = cluster_of(rollout, &rollout.stable);
    let walk = Walk::of(host, &Requests { matches, cluster: None, shadow: None });
    let chosen = |shadow| Walk::of(host, &Requests { matches, cluster: Some(stable), shadow });
    // A route for stable's requests may know its cluster by another name.
    let for_stable = chosen(None);
    let by_name = for_stable.some.iter().chain(&for_stable.rest).find_map(|route| {
        let name = route.field("route")?.text("cluster")?;
        (choice(route) == Some(stable) && name != stable).then_some(name)
    });
    let to_stable = |route: &Node<'_>| match (leads(route, stable, None), by_name) {
        (Leads::Elsewhere, Some(name)) if route.field("route").is_some() => match leads(route, name, None) {
            Leads::There => Leads::There,
            _ => Leads::Unclear,
        },
        (led, _) => led,
    };
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
        let obeys = |chosen: &Node<'_>| obeys(chosen, rollout, stable) == Leads::There;
        if let Some(chosen) =
            chosen(shadow).rest.filter(|chosen| route.field("route").is_some() && obeys(chosen))
        {
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
