//! The names of the metrics in Envoy: `name;label=value;…`.
//!
//! The `stats_tags` of `envoy/stats-tags.yaml` turn them into Prometheus' labels. `;` separates, because it
//! is in none of the values; a dot would be in some, a build's version for one.

use serde::{Deserialize, Serialize};

use super::class::Class;
use super::figure::{About, Metric};
use super::mirror_result::MirrorResult;
use super::mirrored;
use super::outcome::Outcome;
use crate::analysis::rules::ALL_METRICS;

/// Whose series they are: everything of a name behind the metric's own part.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    rollout_and_version: String,
    labels: String,
}

impl Owner {
    /// The owner of a version's series, with the rollout's further labels.
    #[must_use]
    pub fn new(rollout: &str, version: &str, labels: &[(String, String)]) -> Self {
        let labels = further(labels);
        Self { rollout_and_version: format!(";rollout={rollout};version={version}"), labels }
    }

    /// Whether both own series of one version, whatever the labels. Such owners are neighbours in their order.
    #[must_use]
    pub fn is_of_the_version_of(&self, other: &Self) -> bool {
        self.rollout_and_version == other.rollout_and_version
    }

    /// `changeover_requests_total`: requests by class of their status and by outcome. A counter.
    #[must_use]
    pub fn requests(&self, class: Class, outcome: Outcome) -> String {
        let (class, outcome) = (class.label(), outcome.label());
        format!(
            "changeover_requests_total{};class={class};outcome={outcome}{}",
            self.rollout_and_version, self.labels
        )
    }

    /// `changeover_request_duration_milliseconds`, from the request's headers to its end. A histogram.
    #[must_use]
    pub fn duration(&self) -> String {
        self.named("changeover_request_duration_milliseconds")
    }

    /// `changeover_request_bytes`: the size of the request's body. A histogram.
    #[must_use]
    pub fn request_bytes(&self) -> String {
        self.named("changeover_request_bytes")
    }

    /// `changeover_response_bytes`: the size of the response's body. A histogram.
    #[must_use]
    pub fn response_bytes(&self) -> String {
        self.named("changeover_response_bytes")
    }

    /// `changeover_weight`: the weight in force in hundredths of a percent, for gauges are whole numbers. A gauge.
    #[must_use]
    pub fn weight(&self) -> String {
        self.named("changeover_weight")
    }

    /// `changeover_mirror_requests_total`: requests drawn for this version as the shadow. A counter.
    #[must_use]
    pub fn mirror_requests(&self, result: MirrorResult) -> String {
        let result = result.label();
        format!("changeover_mirror_requests_total{};result={result}{}", self.rollout_and_version, self.labels)
    }

    /// The series of a figure about bodies, whose label has this value.
    #[must_use]
    pub fn figure(&self, about: About, value: &str) -> String {
        let Metric { name, label, .. } = about.metric();
        format!("{name}{}{label}{value}{}", self.rollout_and_version, self.labels)
    }

    /// `changeover_server_load`: a metric of the model server's own report, in thousandths. A gauge.
    #[must_use]
    pub fn server_load(&self, metric: &str) -> String {
        format!("changeover_server_load{};metric={metric}{}", self.rollout_and_version, self.labels)
    }

    /// The series of what compared pairs add up to, with labels as they stand behind a name. Counters.
    #[must_use]
    pub fn compared(&self, about: mirrored::About, labels: &str) -> String {
        format!("{}{}{labels}{}", about.metric(), self.rollout_and_version, self.labels)
    }

    /// A series without labels of its own.
    #[must_use]
    pub fn named(&self, metric: &str) -> String {
        format!("{metric}{}{}", self.rollout_and_version, self.labels)
    }
}

/// A rollout, as its own series name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rollout {
    /// Its name.
    pub name: String,
    /// Further labels.
    pub labels: Vec<(String, String)>,
}

impl Rollout {
    /// A series of the rollout, with labels of its own as they stand behind a name.
    #[must_use]
    pub fn own(&self, metric: &str, labels: &str) -> String {
        format!("{metric};rollout={}{labels}{}", self.name, further(&self.labels))
    }
}

/// A rollout's further labels, as they stand behind a name.
fn further(labels: &[(String, String)]) -> String {
    labels.iter().map(|(name, value)| format!(";{name}={value}")).collect()
}

/// `changeover_actions_total`: what happened to a rollout, by what was done and who did it. A counter.
#[must_use]
pub fn actions(rollout: &Rollout, action: &str, actor: &str) -> String {
    let (rollout, labels) = (&rollout.name, further(&rollout.labels));
    format!("changeover_actions_total;rollout={rollout};action={action};actor={actor}{labels}")
}

/// `changeover_dropped_total`: what a cap has cut off. A counter.
#[must_use]
pub fn dropped(what: &str) -> String {
    format!("changeover_dropped_total;what={what}")
}

/// `changeover_store_age_seconds`: since the store of the fleet last answered. A gauge.
#[must_use]
pub fn store_age() -> String {
    "changeover_store_age_seconds".to_owned()
}

/// `changeover_fleet_members`: members of the fleet whose counts are used. A gauge.
#[must_use]
pub fn fleet_members() -> String {
    "changeover_fleet_members".to_owned()
}

/// `changeover_fleet_problems`: what a person should look at in the fleet. A gauge.
#[must_use]
pub fn fleet_problems() -> String {
    "changeover_fleet_problems".to_owned()
}

/// `changeover_store_errors_total`: calls to the store that have failed. A counter.
#[must_use]
pub fn store_errors(reason: &str) -> String {
    format!("changeover_store_errors_total;result={reason}")
}

/// `changeover_notifications_total`: what became of notifications to a receiver. A counter.
#[must_use]
pub fn notifications(receiver: &str, result: &str) -> String {
    format!("changeover_notifications_total;name={receiver};result={result}")
}

/// A gauge of a rollout.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Gauge {
    /// `changeover_phase`: 1 for the phase with this label, 0 for the others.
    Phase(&'static str),
    /// `changeover_step`: the position of the step that waits.
    Step,
    /// `changeover_evidence`: the evidence of a metric in thousandths of its decimal logarithm, for gauges are whole
    /// numbers; 0 below 1.
    Evidence(String),
    /// `changeover_evidence_threshold`: the evidence that decides, in the same unit.
    EvidenceThreshold,
    /// `changeover_observed_share`: a version's share in hundredths of a percent.
    ObservedShare(String),
    /// `changeover_automation_degree`: 0 for people alone to 4 for the model alone.
    Degree,
    /// `changeover_automation_threshold`: the confidence from which on the model answers alone, in hundredths of a percent;
    /// 10001: it does not.
    Threshold,
    /// `changeover_automation_coverage`: the part of the tasks that this leaves to it, in hundredths of a percent.
    Coverage,
    /// `changeover_automation_agreement`: how often people who do not see its answer agree with it, in hundredths of a percent.
    Agreement,
    /// `changeover_alarm`: 1 while the alarm of that name is raised.
    Alarm(Alarm),
    /// `changeover_drift`: how far a metric of stable's has moved in a window, in thousandths of its noise; 0: not known.
    Drift(String, &'static str),
    /// `changeover_drift_size`: how much that is, in thousandths of the population stability index.
    DriftSize(String, &'static str),
    /// `changeover_release_info`: 1 for the release and the attempt that the rollout is in.
    ReleaseInfo(Release),
}

/// An alarm of a rollout, as its series names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Alarm {
    /// Its name.
    pub name: String,
    /// The version whose requests it looks at; empty if it looks at those of all, or if there is no such version.
    pub version: String,
}

/// A release of a rollout, as its series names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Release {
    /// Its name.
    pub release: String,
    /// The attempt, from 1.
    pub attempt: u32,
    /// The version that is known to be good.
    pub stable: String,
    /// The version that is being released; empty without one.
    pub candidate: String,
}

impl Release {
    fn labels(&self) -> String {
        let Self { release, attempt, stable, candidate } = self;
        // `;` separates the labels.
        let release = release.replace(';', "_");
        let candidate = if candidate.is_empty() { String::new() } else { format!(";candidate={candidate}") };
        format!(";release={release};attempt={attempt};stable={stable}{candidate}")
    }
}

impl Gauge {
    /// Its name.
    #[must_use]
    pub fn name(&self, rollout: &Rollout) -> String {
        let (metric, own) = match self {
            Self::Phase(phase) => ("changeover_phase", format!(";phase={phase}")),
            Self::Step => ("changeover_step", String::new()),
            Self::Evidence(metric) => ("changeover_evidence", format!(";metric={metric}")),
            Self::EvidenceThreshold => ("changeover_evidence_threshold", format!(";metric={ALL_METRICS}")),
            Self::ObservedShare(version) => ("changeover_observed_share", format!(";version={version}")),
            Self::Degree => ("changeover_automation_degree", String::new()),
            Self::Threshold => ("changeover_automation_threshold", String::new()),
            Self::Coverage => ("changeover_automation_coverage", String::new()),
            Self::Agreement => ("changeover_automation_agreement", String::new()),
            Self::Alarm(Alarm { name, version }) if version.is_empty() => {
                ("changeover_alarm", format!(";name={name}"))
            }
            Self::Alarm(Alarm { name, version }) => {
                ("changeover_alarm", format!(";version={version};name={name}"))
            }
            Self::Drift(metric, window) => ("changeover_drift", format!(";metric={metric};window={window}")),
            Self::DriftSize(metric, window) => {
                ("changeover_drift_size", format!(";metric={metric};window={window}"))
            }
            Self::ReleaseInfo(release) => ("changeover_release_info", release.labels()),
        };
        rollout.own(metric, &own)
    }
}

/// `changeover_config_hash`: which configuration a worker uses; 0 when it no longer reports. A gauge.
#[must_use]
pub fn config_hash(worker: usize) -> String {
    format!("changeover_config_hash;worker={worker}")
}

/// `changeover_info`: 1, with what was built. A gauge.
#[must_use]
pub fn info() -> String {
    format!("changeover_info;build_version={};commit={}", crate::VERSION, crate::COMMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_the_stats_tags_take_apart() {
        let labels = [("pipeline".to_owned(), "shop".to_owned()), ("stage".to_owned(), "rank 1".to_owned())];
        let owner = Owner::new("digits", "svm", &labels);
        assert_eq!(
            owner.requests(Class::Success, Outcome::Ok),
            "changeover_requests_total;rollout=digits;version=svm;class=2xx;outcome=ok;pipeline=shop;stage=rank 1"
        );
        assert_eq!(owner.weight(), "changeover_weight;rollout=digits;version=svm;pipeline=shop;stage=rank 1");
        assert_eq!(config_hash(3), "changeover_config_hash;worker=3");
        assert_eq!(notifications("ops", "failed"), "changeover_notifications_total;name=ops;result=failed");
        let release = |release: &str, candidate: &str| {
            let (release, candidate) = (release.to_owned(), candidate.to_owned());
            Gauge::ReleaseInfo(Release { release, attempt: 2, stable: "lr".into(), candidate })
        };
        let rollout = Rollout { name: "digits".into(), labels: labels[..1].to_vec() };
        assert_eq!(
            release("2026;11.24", "svm").name(&rollout),
            "changeover_release_info;rollout=digits;release=2026_11.24;attempt=2;stable=lr;candidate=svm;pipeline=shop"
        );
        let alarm = |version: &str| {
            Gauge::Alarm(Alarm { name: "slow".into(), version: version.into() }).name(&rollout)
        };
        assert_eq!(alarm("svm"), "changeover_alarm;rollout=digits;version=svm;name=slow;pipeline=shop");
        assert_eq!(alarm(""), "changeover_alarm;rollout=digits;name=slow;pipeline=shop");
        assert_eq!(
            release("1", "").name(&rollout),
            "changeover_release_info;rollout=digits;release=1;attempt=2;stable=lr;pipeline=shop"
        );
    }
}
