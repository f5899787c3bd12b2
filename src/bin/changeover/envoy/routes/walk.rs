//! The way of a rollout's requests through the routes, in their order, as Envoy goes: with the filter's header and
//! without.

use std::cell::OnceCell;

use changeover::config::one_of::PathRule;
use changeover::config::schema::{Match, Rollout};
use serde_json::Value;

use super::examples::Examples;
use super::hosts::{Host, Hosts, without_port};
use super::taken::{Requests, Taken};
use super::{CLUSTER, Findings, Node, choice, follows_header, is_copied_by_envoy, obeys_somewhere, settings};

/// Checks where the requests of a rollout end, which come after those of `earlier` rollouts. `filter`: its entry in the list of
/// filters.
pub(super) fn check(
    (rollout, earlier): (&Rollout, &[Rollout]),
    (routes, hosts): (&Node<'_>, &Hosts<Host<'_>>),
    filter: &Node<'_>,
    findings: &mut Findings,
) {
    let taking = hosts.taking(rollout);
    let parts = parts(&rollout.matches);
    if taking.is_empty() {
        findings.warning(
            routes,
            format_args!(
                "no virtual host takes requests for the authorities of rollout {:?}: they get 404",
                rollout.name
            ),
        );
    }
    let checked = |host: &Host<'_>, findings: &mut Findings| {
        let here = |matches| Here { rollout, earlier, matches, host, hosts, routes, left: OnceCell::new() };
        let (missing, led) = missing(rollout, &parts, host);
        for part in missing {
            findings.warning(
                &host.node,
                format_args!(
                    "no route takes {} of rollout {:?}: they get 404",
                    described(part),
                    rollout.name
                ),
            );
        }
        led.into_iter().map(here).for_each(|here| here.check(filter, findings));
    };
    for host in taking {
        if rollout.matches.authority.is_empty() && !obeys_somewhere(&host.node) {
            let here = Here {
                rollout,
                earlier,
                matches: &rollout.matches,
                host,
                hosts,
                routes,
                left: OnceCell::new(),
            };
            if here.is_empty() {
                continue; // other rollouts take all that comes here
            }
            findings.warning(
                &host.node,
                format_args!(
                    "none of its routes obeys the filter, and rollout {:?} is about its requests, too; expected \
                     `match.authority` in the rollout, or the route here",
                    rollout.name
                ),
            );
            continue;
        }
        checked(host, findings);
    }
    for host in hosts.by_other_ports(rollout) {
        let mut there = Findings::default();
        if obeys_somewhere(&host.node) {
            checked(host, &mut there);
        }
        if there.bad || !obeys_somewhere(&host.node) {
            findings.warning(
                &host.node,
                format_args!(
                    "requests of rollout {:?} whose host has a port come here, where nothing obeys the filter; expected \
                     `ignore_port_in_host_matching: true` in the routes, or a domain of the other virtual host for them \
                     (\"{}:*\")",
                    rollout.name,
                    rollout.matches.authority.first().map(String::as_str).unwrap_or_default(),
                ),
            );
        }
    }
}

/// A part of a rollout's requests that come to a virtual host.
struct Here<'c, 'a> {
    rollout: &'c Rollout,
    earlier: &'c [Rollout],
    matches: &'c Match,
    host: &'c Host<'a>,
    hosts: &'c Hosts<Host<'a>>,
    routes: &'c Node<'a>,
    left: OnceCell<Left<'c, 'a>>,
}

/// What there is to tell apart.
struct Left<'c, 'a> {
    /// Routes whose paths some of the requests have.
    routes: Vec<Node<'a>>,
    /// Rollouts that take some of them before.
    earlier: Vec<&'c Match>,
    /// Names by which they come.
    names: Vec<String>,
}

impl<'c, 'a> Here<'c, 'a> {
    fn left(&self) -> &Left<'c, 'a> {
        self.left.get_or_init(|| {
            let requests = Requests { matches: self.matches, cluster: None, shadow: None };
            let routes =
                self.host.routes.iter().filter(|route| requests.may_come_to(route)).cloned().collect();
            let earlier = self.earlier.iter().map(|rollout| &rollout.matches);
            let earlier: Vec<&Match> = earlier.filter(|earlier| may_share(earlier, self.matches)).collect();
            let authorities = self.matches.authority.iter();
            let names = if earlier.iter().any(|earlier| !earlier.authority.is_empty()) {
                let authorities = authorities.chain(earlier.iter().flat_map(|earlier| &earlier.authority));
                self.host.names(self.hosts, authorities)
            } else {
                Vec::new()
            };
            let own = Match { authority: self.matches.authority.clone(), ..Match::default() };
            let is_own =
                |name: &String| own.contains(&Match { authority: vec![name.clone()], ..Match::default() });
            Left { routes, earlier, names: names.into_iter().filter(is_own).collect() }
        })
    }

    /// Examples of the requests, as far as these routes can tell them apart.
    fn examples(&self, routes: &[Node<'_>]) -> Examples {
        let left = self.left();
        Examples::of(self.matches, &left.names, &left.earlier, routes)
    }

    /// Whether other rollouts take all of them before.
    fn is_empty(&self) -> bool {
        let examples = self.examples(&[]);
        examples.are_complete && examples.all.is_empty()
    }

    /// Where they go with these headers: only where some of them really do.
    fn walk(&self, cluster: Option<&str>, shadow: Option<&str>) -> Walk<'a> {
        let left = self.left();
        let requests = Requests { matches: self.matches, cluster, shadow };
        let walk = Walk::by(&left.routes, &requests);
        if walk.some.is_empty() && left.earlier.is_empty() {
            return walk;
        }
        let is_on_the_way = |route: &&Node<'a>| {
            let mut listed = walk.some.iter().chain(&walk.unclear).chain(&walk.rest);
            listed.any(|other| std::ptr::eq(other.value, route.value))
        };
        let routes: Vec<Node<'a>> = left.routes.iter().filter(is_on_the_way).cloned().collect();
        let examples = self.examples(&routes);
        let mut reached: Vec<*const Value> = Vec::new();
        for matches in &examples.all {
            let way = Walk::by(&routes, &Requests { matches, cluster, shadow });
            let ways = way.some.iter().chain(&way.unclear).chain(&way.rest);
            reached.extend(ways.map(|route| std::ptr::from_ref(route.value)));
        }
        let is_reached = |route: &Node<'a>| reached.contains(&std::ptr::from_ref(route.value));
        if examples.are_complete {
            let only = |routes: Vec<Node<'a>>| routes.into_iter().filter(is_reached).collect();
            Walk { some: only(walk.some), unclear: only(walk.unclear), rest: walk.rest.filter(is_reached) }
        } else {
            let (rest, unclear) = match walk.rest {
                Some(rest) if is_reached(&rest) => (Some(rest), walk.unclear),
                rest => (None, [walk.unclear, rest.into_iter().collect()].concat()),
            };
            Walk { rest, unclear, ..walk }
        }
    }

    /// The routes that the same requests take without the filter, and where it has chosen something.
    fn pairs(&self, cluster: &str, shadow: Option<&str>) -> Vec<(Node<'a>, Node<'a>)> {
        let (ordinary, chosen) = (self.walk(None, None), self.walk(Some(cluster), shadow));
        if let (Some(one), Some(other)) = (&ordinary.rest, &chosen.rest)
            && ordinary.some.is_empty()
            && chosen.some.is_empty()
        {
            return vec![(one.clone(), other.clone())];
        }
        let on_the_way = |route: &&Node<'a>| {
            let ways = [&ordinary, &chosen].into_iter();
            let mut listed = ways.flat_map(|walk| walk.some.iter().chain(&walk.unclear).chain(&walk.rest));
            listed.any(|other| std::ptr::eq(other.value, route.value))
        };
        let routes: Vec<Node<'a>> = self.left().routes.iter().filter(on_the_way).cloned().collect();
        let mut pairs: Vec<(Node<'a>, Node<'a>)> = Vec::new();
        for matches in &self.examples(&routes).all {
            let end = |cluster, shadow| Walk::by(&routes, &Requests { matches, cluster, shadow }).rest;
            let Some((one, other)) = end(None, None).zip(end(Some(cluster), shadow)) else { continue };
            let is_it = |pair: &(Node<'a>, Node<'a>)| {
                std::ptr::eq(pair.0.value, one.value) && std::ptr::eq(pair.1.value, other.value)
            };
            if !pairs.iter().any(is_it) {
                pairs.push((one, other));
            }
        }
        pairs
    }

    fn check(&self, filter: &Node<'_>, findings: &mut Findings) {
        if !self.left().earlier.is_empty() && self.is_empty() {
            return;
        }
        self.with_header(findings);
        self.without_header(filter, findings);
    }
}

/// Whether a request can fulfil both. (Of many rollouts each asks all before it: names come first, for most differ there.)
fn may_share(one: &Match, other: &Match) -> bool {
    let is_same_name = |one: &str, other: &str| {
        one.eq_ignore_ascii_case(other)
            || without_port(one).eq_ignore_ascii_case(other)
            || one.eq_ignore_ascii_case(without_port(other))
    };
    let by_name = |one: &String| other.authority.iter().any(|other| is_same_name(one, other));
    let by_method = |method: &String| other.methods.contains(method);
    let path = |of: &Match| Match {
        prefix: of.prefix.clone(),
        path_separated_prefix: of.path_separated_prefix.clone(),
        path: of.path.clone(),
        ..Match::default()
    };
    let by_path = || {
        let (one, other) = (path(one), path(other));
        one.contains(&other) || other.contains(&one)
    };
    (one.authority.is_empty() || other.authority.is_empty() || one.authority.iter().any(by_name))
        && (one.methods.is_empty() || other.methods.is_empty() || one.methods.iter().any(by_method))
        && by_path()
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
fn missing<'m>(rollout: &Rollout, parts: &'m [Match], host: &Host<'_>) -> (Vec<&'m Match>, Vec<&'m Match>) {
    if parts.len() < 2 {
        return (Vec::new(), parts.iter().collect());
    }
    let clusters = || rollout.versions.values().map(|version| version.cluster.as_str());
    let walk = |matches: &Match, cluster: Option<&str>| {
        Walk::by(&host.routes, &Requests { matches, cluster, shadow: None })
    };
    let is_missing =
        |part: &&Match| clusters().map(Some).chain([None]).all(|cluster| walk(part, cluster).is_empty());
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

/// Whether the filter runs on a route that Envoy chooses before it: the most specific of the places that are about it counts,
/// and after them its entry in the list. A weighted cluster is one of them. Returns where it does not, and for how much.
fn disabled<'a>(route: &Node<'a>, around: [&Node<'a>; 2], filter: &Node<'a>) -> Vec<(Node<'a>, Share)> {
    let name = filter.text("name").unwrap_or_default();
    let is_disabled = |value: &Value| value.get("disabled") == Some(&true.into());
    let at = |place: &Node<'a>| {
        let config = place.field("typed_per_filter_config")?;
        Some((place.clone(), is_disabled(config.value.get(name)?)))
    };
    let [host, routes] = around;
    let outer = || {
        let about = [route, host, routes].into_iter().find_map(at);
        about.unwrap_or_else(|| (filter.clone(), is_disabled(filter.value)))
    };
    let entries: Vec<Node<'a>> = used(route).into_iter().map(|(entry, _)| entry).collect();
    let places: Vec<(Node<'a>, bool)> = match entries.as_slice() {
        [] => vec![outer()],
        entries => entries.iter().map(|entry| at(entry).unwrap_or_else(outer)).collect(),
    };
    let share = if places.iter().all(|(_, is_disabled)| *is_disabled) { Share::All } else { Share::Some };
    places.into_iter().filter(|(_, is_disabled)| *is_disabled).map(|(place, _)| (place, share)).collect()
}

/// How many of a route's requests something is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Share {
    Some,
    All,
}

/// The entries of a route's weighted clusters that get requests, and whether their weights are all there is to it.
pub(super) fn used<'a>(route: &Node<'a>) -> Vec<(Node<'a>, bool)> {
    let Some(weighted) = route.at(&["route", "weighted_clusters"]) else { return Vec::new() };
    let by_runtime = weighted.field("runtime_key_prefix").is_some();
    let is_used = |entry: &Node<'a>| by_runtime || entry.number("weight") != Some(0);
    weighted.list("clusters").into_iter().filter(is_used).map(|entry| (entry, !by_runtime)).collect()
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
    /// Through routes that stand in this order.
    pub(crate) fn through(routes: impl IntoIterator<Item = Node<'a>>, requests: &Requests<'_>) -> Self {
        Self::by(&routes.into_iter().collect::<Vec<_>>(), requests)
    }

    fn by(routes: &[Node<'a>], requests: &Requests<'_>) -> Self {
        let mut walk = Self { some: Vec::new(), unclear: Vec::new(), rest: None };
        for route in routes {
            match requests.taken_by(route) {
                Taken::All => {
                    walk.rest = Some(route.clone());
                    break;
                }
                Taken::Some => walk.some.push(route.clone()),
                Taken::Unclear => walk.unclear.push(route.clone()),
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
    /// A share of them, by weight.
    Partly,
    Elsewhere,
    Unclear,
}

impl Leads {
    fn is_elsewhere(self) -> bool {
        matches!(self, Self::Elsewhere | Self::Partly)
    }
}

/// Where a route leads.
#[derive(Clone, Copy)]
enum Target<'a> {
    Cluster(&'a str),
    /// To the cluster that the filter's header names.
    Chosen,
    /// Only Envoy can tell: by another header, by an extension.
    Unclear,
}

/// The targets that get requests of a route; none where it answers by itself.
fn targets<'a>(route: &Node<'a>) -> Vec<Target<'a>> {
    let Some(action) = route.field("route") else { return Vec::new() };
    let of = |node: &Node<'a>, name: &str| {
        let header = node.text("cluster_header").filter(|header| !header.is_empty());
        let by_header = header.map(|header| header.eq_ignore_ascii_case(CLUSTER));
        match (by_header, node.text(name)) {
            (Some(true), _) => Target::Chosen,
            (None, Some(name)) => Target::Cluster(name),
            _ => Target::Unclear,
        }
    };
    if follows_header(route) || action.text("cluster").is_some() {
        return vec![of(&action, "cluster")];
    }
    let entries = used(route);
    let are_certain = entries.iter().all(|(_, is_certain)| *is_certain);
    let mut targets: Vec<Target<'a>> = entries.iter().map(|(entry, _)| of(entry, "name")).collect();
    if targets.is_empty() || (targets.len() > 1 && !are_certain) {
        targets.push(Target::Unclear);
    }
    targets
}

/// Whether requests for which the filter has chosen a version are led to it. A route for them alone may know the cluster by
/// another name, as Envoy Gateway's do.
fn obeys(route: &Node<'_>, rollout: &Rollout, cluster: &str) -> Leads {
    let led = leads(route, cluster, Some(cluster));
    let is_version = |name: &str| rollout.versions.values().any(|version| version.cluster == name);
    let targets = targets(route);
    let is_renamed = |target: &Target<'_>| matches!(target, Target::Cluster(name) if !is_version(name));
    if led == Leads::Elsewhere
        && choice(route) == Some(cluster)
        && !targets.is_empty()
        && targets.iter().all(is_renamed)
    {
        return Leads::Unclear;
    }
    led
}

fn leads(route: &Node<'_>, cluster: &str, header: Option<&str>) -> Leads {
    let mut each = targets(route).into_iter().map(|target| match target {
        Target::Cluster(name) if name == cluster => Leads::There,
        Target::Chosen if header == Some(cluster) => Leads::There,
        Target::Cluster(_) | Target::Chosen => Leads::Elsewhere,
        Target::Unclear => Leads::Unclear,
    });
    let first = each.next().unwrap_or(Leads::Elsewhere);
    each.fold(first, |all, one| match (all, one) {
        (all, one) if all == one => all,
        (Leads::Unclear, _) | (_, Leads::Unclear) => Leads::Unclear,
        _ => Leads::Partly,
    })
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

impl<'a> Here<'_, 'a> {
    fn with_header(&self, findings: &mut Findings) {
        let rollout = self.rollout;
        for (version, shadow) in
            rollout.versions.keys().flat_map(|version| shadows(rollout).map(move |shadow| (version, shadow)))
        {
            let cluster = cluster_of(rollout, version);
            let walk = self.walk(Some(cluster), shadow);
            let obeys = |route: &Node<'_>| obeys(route, rollout, cluster);
            let warn_of_others = |findings: &mut Findings| {
                for route in walk.some.iter().filter(|route| obeys(route).is_elsewhere()) {
                    findings.warning(
                        route,
                        format_args!(
                            "it takes some of the requests of rollout {:?} before the route that obeys the filter: they \
                             count for a version that does not serve them",
                            rollout.name
                        ),
                    );
                }
            };
            match walk.rest.as_ref().map(|route| (route, obeys(route))) {
                Some((route, Leads::There)) => {
                    warn_of_others(findings);
                    if walk.unclear.iter().any(|route| obeys(route).is_elsewhere()) {
                        walk.is_unclear("that the filter has chosen", rollout, findings);
                    }
                    timeout(route, rollout, findings);
                }
                Some((route, Leads::Unclear)) => findings.note(
                    route,
                    format_args!(
                        "could not tell whether this route obeys the filter for rollout {:?}",
                        rollout.name
                    ),
                ),
                Some(_) if walk.is_unclear("that the filter has chosen", rollout, findings) => {}
                Some((route, Leads::Partly)) => findings.error(
                    route,
                    format_args!(
                        "some of the requests of rollout {:?} for version {version:?} go elsewhere from here, by \
                         `weighted_clusters`: they count for a version that does not serve them; expected \
                         `cluster_header: {CLUSTER}` alone",
                        rollout.name
                    ),
                ),
                Some((route, Leads::Elsewhere)) => findings.error(
                    route,
                    format_args!(
                        "requests of rollout {:?} for version {version:?} end here, where nothing obeys the filter: the first \
                         route that takes them counts; expected above it one with the same conditions, `headers: [{{name: \
                         {CLUSTER}, present_match: true}}]` and `cluster_header: {CLUSTER}`",
                        rollout.name
                    ),
                ),
                None if walk.some.iter().any(|route| !obeys(route).is_elsewhere()) => warn_of_others(findings),
                None if walk.is_unclear("that the filter has chosen", rollout, findings) => {}
                None => findings.error(
                    &self.host.node,
                    format_args!(
                        "no route obeys the filter for rollout {:?}, version {version:?}: its requests would get 404; expected \
                         one that leads to {cluster:?} where {CLUSTER} says so",
                        rollout.name
                    ),
                ),
            }
        }
    }

    fn without_header(&self, filter: &Node<'_>, findings: &mut Findings) {
        let rollout = self.rollout;
        let stable = cluster_of(rollout, &rollout.stable);
        let walk = self.walk(None, None);
        // A route for stable's requests may know its cluster by another name.
        let for_stable = self.walk(Some(stable), None);
        let by_name = for_stable.some.iter().chain(&for_stable.rest).find_map(|route| {
            let name = route.field("route")?.text("cluster")?;
            (choice(route) == Some(stable) && name != stable).then_some(name)
        });
        let to_stable = |route: &Node<'_>| match (leads(route, stable, None), by_name) {
            (led, Some(name)) if led.is_elsewhere() && route.field("route").is_some() => {
                match leads(route, name, None) {
                    Leads::There => Leads::There,
                    _ => Leads::Unclear,
                }
            }
            (led, _) => led,
        };
        // Where each route takes a part, together they are the ordinary route.
        let is_led = |route: &Node<'_>| !to_stable(route).is_elsewhere();
        let are_all = walk.rest.is_none() && walk.unclear.is_empty() && !walk.some.iter().any(is_led);
        let ends = || walk.rest.iter().chain(walk.some.iter().filter(|_| are_all));
        if !are_all {
            for route in walk.some.iter().filter(|route| !is_led(route)) {
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
        }
        if ends().next().is_none()
            && walk.some.is_empty()
            && !walk.is_unclear("without the filter", rollout, findings)
        {
            findings.error(
                &self.host.node,
                format_args!("no ordinary route for rollout {:?}: without the filter its requests would get 404; expected one to stable's cluster below the route that obeys the filter", rollout.name),
            );
        }
        for route in ends() {
            match to_stable(route) {
                Leads::There => {}
                Leads::Unclear => findings.note(
                    &route.field("route").unwrap_or_else(|| route.clone()),
                    format_args!(
                        "could not tell whether this route leads to stable's cluster {stable:?} of rollout {:?}",
                        rollout.name
                    ),
                ),
                Leads::Partly | Leads::Elsewhere => self.elsewhere(route, &walk, findings),
            }
        }
        for route in walk.some.iter().filter(|route| is_led(route)).chain(&walk.rest) {
            timeout(route, rollout, findings);
        }
        self.disabled(&walk, filter, findings);
        let versions = rollout.versions.values().map(|version| version.cluster.as_str());
        for cluster in std::iter::once(stable).chain(versions.filter(|cluster| *cluster != stable)) {
            for (ordinary, chosen) in shadows(rollout).flat_map(|shadow| self.pairs(cluster, shadow)) {
                if ordinary.field("route").is_some() && obeys(&chosen, rollout, cluster) == Leads::There {
                    settings::compare(&ordinary, &chosen, [&self.host.node, self.routes], findings);
                }
            }
        }
    }

    /// An ordinary route that leads elsewhere than to stable, with all requests or a share of them.
    fn elsewhere(&self, route: &Node<'a>, walk: &Walk<'_>, findings: &mut Findings) {
        let rollout = self.rollout;
        let stable = cluster_of(rollout, &rollout.stable);
        let candidate = rollout.candidate.as_ref().map(|candidate| cluster_of(rollout, candidate));
        let action = route.field("route").unwrap_or_else(|| route.clone());
        let targets = targets(route);
        let others = targets.iter().filter_map(|target| match target {
            Target::Cluster(name) => Some(*name),
            _ => None,
        });
        let others: Vec<&str> = others.filter(|name| *name != stable).collect();
        let is_share = leads(route, stable, None) == Leads::Partly;
        let what = if is_share { "a share of the ordinary route" } else { "the ordinary route" };
        let another = others.iter().find(|name| Some(**name) != candidate);
        if let (None, [candidate, ..]) = (another, others.as_slice()) {
            findings.warning(
                &action,
                format_args!("{what} leads to {candidate:?}, the candidate of rollout {:?}: correct only while its release is being finished", rollout.name),
            );
        } else if !walk.is_unclear("without the filter", rollout, findings) {
            let there = another.map_or_else(|| "elsewhere".into(), |cluster| format!("to {cluster:?}"));
            findings.error(
                &action,
                format_args!("{what} leads {there}, not to stable's cluster {stable:?} of rollout {:?}: that is where requests go when the filter fails", rollout.name),
            );
        }
    }

    /// Whether the filter runs on the ordinary routes, which requests have when they come to it.
    fn disabled(&self, walk: &Walk<'a>, filter: &Node<'_>, findings: &mut Findings) {
        let name = filter.text("name").unwrap_or_default();
        let around = [&self.host.node, self.routes];
        let forwarding = |route: &&Node<'a>| route.field("route").is_some();
        let of = |route: &Node<'a>| disabled(route, around, filter);
        let is_off = |route: &Node<'a>| of(route).iter().any(|(_, share)| *share == Share::All);
        let some: Vec<&Node<'a>> = walk.some.iter().filter(forwarding).collect();
        let are_all =
            walk.rest.is_none() && walk.unclear.is_empty() && some.iter().all(|route| is_off(route));
        let mut told: Vec<*const Value> = Vec::new();
        let rest = walk.rest.iter().map(|route| (route, true));
        for (route, is_end) in rest.chain(some.into_iter().map(|route| (route, are_all))) {
            for (place, share) in of(route) {
                let at = std::ptr::from_ref(place.value);
                if is_end && share == Share::All {
                    told.push(at);
                    findings.error(
                        &place,
                        format_args!(
                            "the filter ({name}) is disabled here, and so it is on the ordinary route, which requests have when they come to it: \
                             they stay there; expected it enabled"
                        ),
                    );
                } else if !told.contains(&at) {
                    findings.warning(
                        &place,
                        format_args!(
                            "the filter ({name}) is disabled here: some of the requests of rollout {:?} stay on their ordinary route, \
                             whatever their version; expected it enabled",
                            self.rollout.name
                        ),
                    );
                }
            }
        }
    }
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
