//! What Envoy Gateway needs beside the filter: a rule of a route for each version, an ordinary one, and the removal of a
//! client's own headers.

mod attached;
mod policies;
mod rules;

use changeover::config::schema::{Config, Match, MirrorMode, Rollout};
use changeover::rollout::program::Program;

use super::{clusters, of_kind};
use crate::envoy::routes::taken::{Requests, Taken};
use crate::envoy::routes::walk::{self, Walk};
use crate::envoy::routes::{self, CLUSTER, INTERNAL};
use crate::envoy::{Findings, Node};
use attached::{Host, Port};
use rules::Rule;

/// Checks the resources around a filter, which stands in one of them.
pub(super) fn check(
    filter: &Node<'_>,
    resource: &Node<'_>,
    config: &Config,
    set: &[Node<'_>],
    findings: &mut Findings,
) {
    let ports = attached::ports(set);
    policies::removals(filter, config, set, &ports, findings);
    copies(filter, config, set, findings);
    for rollout in &config.rollouts {
        let parts = parts(&rollout.matches);
        let mut hosts: Vec<&Host<'_>> = ports.iter().flat_map(|port| port.taking(rollout)).collect();
        hosts.retain(|host| host.rules.iter().any(Rule::has_choice));
        if hosts.is_empty() {
            missing(filter, rollout, set, &ports, findings);
        }
        // Hosts of another filter, perhaps in another namespace.
        if hosts.iter().any(|host| policies::runs_at(resource, host)) {
            hosts.retain(|host| policies::runs_at(resource, host));
        }
        let is_own = |host: &&Host<'_>| has_rule_for(host, rollout);
        let are_some = rollout.matches.authority.is_empty() && hosts.iter().any(is_own);
        for host in hosts {
            for matches in &parts {
                let way = Way { filter, resource, rollout, host, matches };
                if are_some && !is_own(&host) {
                    way.without_rules(findings);
                    continue;
                }
                way.versions(findings);
                way.ordinary(findings);
                way.answers(findings);
            }
        }
        callouts(filter, rollout, findings);
    }
    own_clusters(filter, config, set, findings);
}

/// Whether a host has a rule that asks for a version of a rollout.
fn has_rule_for(host: &Host<'_>, rollout: &Rollout) -> bool {
    let is_own = |choice| rollout.versions.values().any(|version| version.cluster == choice);
    host.rules.iter().filter_map(Rule::choice).any(is_own)
}

/// The parts of a rollout's requests that may have rules of their own. A rule's prefix ends with a segment of the path, and so
/// does what a rollout means by its own.
fn parts(matches: &Match) -> Vec<Match> {
    let segment = matches.prefix.clone().filter(|prefix| !prefix.ends_with('/'));
    let matches = match segment {
        Some(prefix) => Match { path_separated_prefix: Some(prefix), prefix: None, ..matches.clone() },
        None => matches.clone(),
    };
    if matches.methods.is_empty() {
        return vec![matches];
    }
    let of = |method: &String| Match { methods: vec![method.clone()], ..matches.clone() };
    matches.methods.iter().map(of).collect()
}

/// No host of the rollout's has a rule for a version.
fn missing(
    filter: &Node<'_>,
    rollout: &Rollout,
    set: &[Node<'_>],
    ports: &[Port<'_>],
    findings: &mut Findings,
) {
    for (version, settings) in &rollout.versions {
        no_rule(filter, rollout, version, &settings.cluster, findings);
    }
    let elsewhere: Vec<&str> = ports
        .iter()
        .flat_map(|port| &port.all)
        .filter(|host| host.rules.iter().any(Rule::has_choice))
        .map(|host| host.domain.as_str())
        .collect();
    if elsewhere.is_empty() {
        no_ordinary(filter, rollout, findings);
        for route in attached::loose(set, ports) {
            findings.note(
                route,
                "it is attached to no listener; expected a Gateway in `parentRefs`, of which a listener allows this route and has a \
                 hostname in common with it",
            );
        }
    } else {
        findings.note(
            filter,
            format_args!(
                "rules that ask for {CLUSTER} are only for the hosts {elsewhere:?}, and rollout {:?} is for {:?}; a listener's hostname \
                 counts, too",
                rollout.name, rollout.matches.authority
            ),
        );
    }
}

fn no_rule(filter: &Node<'_>, rollout: &Rollout, version: &str, cluster: &str, findings: &mut Findings) {
    findings.error(
        filter,
        format_args!(
            "no rule of an HTTPRoute in these files matches `{CLUSTER}: {cluster}`, which stands for version {version:?} of \
             rollout {:?}: its requests would go to stable; expected a rule for each version",
            rollout.name
        ),
    );
}

fn no_ordinary(filter: &Node<'_>, rollout: &Rollout, findings: &mut Findings) {
    findings.error(
        filter,
        format_args!(
            "no ordinary rule for rollout {:?} in an HTTPRoute of these files: without the filter its requests would get 404; \
             expected one without {CLUSTER} to stable's service",
            rollout.name
        ),
    );
}

/// The way of some of a rollout's requests through the rules of a host.
struct Way<'w, 'a> {
    filter: &'w Node<'a>,
    resource: &'w Node<'a>,
    rollout: &'w Rollout,
    host: &'w Host<'a>,
    matches: &'w Match,
}

impl<'w, 'a> Way<'w, 'a> {
    fn requests(&self, cluster: Option<&'w str>) -> Requests<'w> {
        Requests { matches: self.matches, cluster, shadow: None }
    }

    fn walk(&self, cluster: Option<&'w str>) -> Walk<'w> {
        Walk::through(self.host.rules.iter().map(Rule::node), &self.requests(cluster))
    }

    fn rule(&self, route: &Node<'_>) -> Option<&'w Rule<'a>> {
        self.host.rules.iter().find(|rule| rule.is(route))
    }

    /// Notes where two routes have rules of the same rank, of which either may stand first, and it matters.
    fn is_tied(
        &self,
        rule: &Rule<'_>,
        cluster: Option<&'w str>,
        same: impl Fn(&Rule<'_>) -> bool,
        findings: &mut Findings,
    ) -> bool {
        let tied = self.host.rules.iter().find(|other| {
            other.ties_with(rule)
                && self.requests(cluster).taken_by(&other.node()) == Taken::All
                && same(other) != same(rule)
        });
        if let Some(other) = tied {
            findings.note(
                &rule.made.from,
                format_args!(
                    "could not tell whether this rule or {} takes requests of rollout {:?}: both ask for as much",
                    other.made.from, self.rollout.name
                ),
            );
        }
        tied.is_some()
    }

    fn versions(&self, findings: &mut Findings) {
        let rollout = self.rollout;
        for (version, settings) in &rollout.versions {
            let cluster = settings.cluster.as_str();
            let walk = self.walk(Some(cluster));
            let asks = |route: &Node<'_>| self.rule(route).is_some_and(|rule| rule.choice() == Some(cluster));
            let is_some = walk.some.iter().any(asks);
            let rest = walk.rest.as_ref().and_then(|route| self.rule(route));
            match rest {
                Some(rule) if self.is_tied(rule, Some(cluster), |rule| rule.choice() == Some(cluster), findings) => {}
                Some(rule) if rule.choice() == Some(cluster) => {
                    if !rule.forwards() {
                        findings.error(
                            &rule.made.from,
                            format_args!(
                                "it answers the requests of rollout {:?} for version {version:?} itself, and the version serves none; \
                                 expected `backendRefs` and no RequestRedirect",
                                rollout.name
                            ),
                        );
                    }
                    self.settings(rule, findings);
                    for route in walk.some.iter().filter(|route| !asks(route)) {
                        findings.warning(
                            route,
                            format_args!(
                                "it takes some of the requests of rollout {:?} before the rules for its versions: they count for a version \
                                 that does not serve them",
                                rollout.name
                            ),
                        );
                    }
                }
                _ if walk.is_unclear("that the filter has chosen", rollout, findings) => {}
                Some(rule) if is_some => findings.warning(
                    &rule.made.from,
                    format_args!(
                        "some of the requests of rollout {:?} for version {version:?} end here: the rule with `{CLUSTER}: {cluster}` takes \
                         only a part of them",
                        rollout.name
                    ),
                ),
                Some(rule) if self.host.rules.iter().any(|other| self.is_for(other, cluster)) => findings.error(
                    &rule.made.from,
                    format_args!(
                        "requests of rollout {:?} for version {version:?} end here, and not at the rule with `{CLUSTER}: {cluster}`: of the \
                         rules that match, the one with the more specific path counts, and then the one with more headers",
                        rollout.name
                    ),
                ),
                None if is_some => {}
                _ => no_rule(self.filter, rollout, version, cluster, findings),
            }
        }
    }

    /// Warns of what the ordinary rule does and the one for a version does not.
    fn settings(&self, chosen: &Rule<'_>, findings: &mut Findings) {
        let walk = self.walk(None);
        let Some(ordinary) = walk.rest.as_ref().and_then(|route| self.rule(route)) else { return };
        let own = chosen.settings();
        for (name, _) in ordinary.settings().iter().filter(|setting| !own.contains(setting)) {
            findings.warning(
                &chosen.made.from,
                format_args!(
                    "the ordinary rule has `{name}` ({}), and this one does not do the same: requests that the filter chooses go \
                     without; expected it here, too",
                    ordinary.made.from
                ),
            );
        }
    }

    /// The filter's headers on an upstream's answer are for no client: each rule that takes requests removes them.
    fn answers(&self, findings: &mut Findings) {
        let versions = self.rollout.versions.values().map(|version| Some(version.cluster.as_str()));
        let walks: Vec<Walk<'_>> = versions.chain([None]).map(|cluster| self.walk(cluster)).collect();
        let taking = walks.iter().flat_map(|walk| walk.some.iter().chain(&walk.rest));
        for rule in taking.filter_map(|route| self.rule(route)).filter(|rule| !rule.backends.is_empty()) {
            let removed = rule.removed_from_answers();
            let missing = |header: &&str| !removed.iter().any(|name| name.eq_ignore_ascii_case(header));
            let missing = INTERNAL.into_iter().filter(missing);
            routes::warn_of_answers(&rule.made.from, missing, "responseHeaderModifier.remove", findings);
        }
    }

    /// A host of other rollouts, to which requests of this one can come as well.
    fn without_rules(&self, findings: &mut Findings) {
        let walk = self.walk(None);
        for rule in walk.some.iter().chain(&walk.rest).filter_map(|route| self.rule(route)) {
            findings.warning(
                &rule.made.from,
                format_args!(
                    "it takes requests of rollout {:?}, which is for all hosts, and {:?} has no rule for a version of it; expected \
                     `match.authority` in the rollout, or the rules here",
                    self.rollout.name, self.host.domain
                ),
            );
        }
    }

    fn is_for(&self, rule: &Rule<'_>, cluster: &'w str) -> bool {
        rule.choice() == Some(cluster) && self.requests(Some(cluster)).taken_by(&rule.node()) != Taken::None
    }

    fn ordinary(&self, findings: &mut Findings) {
        let rollout = self.rollout;
        let walk = self.walk(None);
        let backends = |version: &String| {
            let cluster = walk::cluster_of(rollout, version);
            self.host.rules.iter().find(|rule| self.is_for(rule, cluster)).map(|rule| &rule.backends)
        };
        let stable = backends(&rollout.stable);
        let is_stables = |rule: &Rule<'_>| stable.is_none_or(|stable| *stable == rule.backends);
        for rule in walk.some.iter().filter_map(|route| self.rule(route)).filter(|rule| !is_stables(rule)) {
            findings.warning(
                &rule.made.from,
                format_args!(
                    "without the filter some of the requests of rollout {:?} go here, and its `backendRefs` are not those of the rule for \
                     stable",
                    rollout.name
                ),
            );
        }
        let rest = walk.rest.as_ref().and_then(|route| self.rule(route));
        let first = rest.or_else(|| walk.some.first().and_then(|route| self.rule(route)));
        if let Some(rule) = first {
            policies::runs_on(self.resource, rule, self.host, rollout, findings);
        }
        match (rest, first) {
            (None, Some(rule)) => findings.warning(
                &rule.made.from,
                format_args!(
                    "the ordinary rule takes only some of the requests of rollout {:?}: without the filter the others would get 404",
                    rollout.name
                ),
            ),
            (None, None) if walk.is_unclear("without the filter", rollout, findings) => {}
            (None, None) => no_ordinary(self.filter, rollout, findings),
            (Some(rule), _) if self.is_tied(rule, None, is_stables, findings) || is_stables(rule) => {}
            (Some(rule), _) if rollout.candidate.as_ref().and_then(backends) == Some(&rule.backends) => {
                findings.warning(
                    &rule.made.from,
                    format_args!("the ordinary rule leads to the candidate of rollout {:?}: correct only while its release is being finished", rollout.name),
                );
            }
            (Some(_), _) if walk.is_unclear("without the filter", rollout, findings) => {}
            (Some(rule), _) => findings.error(
                &rule.made.from,
                format_args!("the ordinary rule has other `backendRefs` than the rule for stable of rollout {:?}: that is where requests go when the filter fails", rollout.name),
            ),
        }
    }
}

/// Receivers and the store are called by the names of Envoy's clusters.
fn own_clusters(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let added = clusters::added(set);
    for (what, cluster) in clusters::called(config) {
        if !cluster.contains('/') && !added.contains(cluster) {
            findings.warning(
                filter,
                format_args!(
                    "{what} is {cluster:?}, and Envoy Gateway names clusters otherwise; expected a name such as \
                     httproute/NAMESPACE/ROUTE/rule/1, or an EnvoyPatchPolicy or bootstrap of these files that adds it"
                ),
            );
        }
    }
}

/// What the filter itself asks of a version goes to Envoy's cluster of that name, and not by a rule.
fn callouts(filter: &Node<'_>, rollout: &Rollout, findings: &mut Findings) {
    let compares = rollout.mirror.as_ref().is_some_and(|mirror| mirror.mode == MirrorMode::Compare);
    let field = if compares { "mirror.mode: compare" } else { "ready" };
    let candidate = rollout.candidate.as_ref().and_then(|name| rollout.versions.get(name));
    let Some(version) = candidate.filter(|_| compares || Program::new(rollout).awaits_ready()) else {
        return;
    };
    if !version.cluster.contains('/') {
        findings.warning(
            filter,
            format_args!(
                "`{field}` of rollout {:?} asks Envoy's cluster {:?}, and Envoy Gateway names clusters otherwise; expected a name such \
                 as httproute/NAMESPACE/ROUTE/rule/1, here and in the rule that matches it",
                rollout.name, version.cluster
            ),
        );
    }
}

/// Envoy copies requests on a route with a policy for it, which only a patch can add.
fn copies(filter: &Node<'_>, config: &Config, set: &[Node<'_>], findings: &mut Findings) {
    let has_policy = |patch: &Node<'_>| patch.value.to_string().contains("request_mirror_policies");
    let mirrored = config.rollouts.iter().find(|rollout| routes::is_copied_by_envoy(rollout));
    if let Some(rollout) = mirrored.filter(|_| !of_kind(set, "EnvoyPatchPolicy").any(has_policy)) {
        findings.warning(
            filter,
            format_args!(
                "nothing of rollout {:?} would be mirrored unless an EnvoyPatchPolicy adds the mirror route of envoy/routes.yaml; \
                 none in these files does",
                rollout.name
            ),
        );
    }
}
