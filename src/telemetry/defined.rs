//! Metrics of rollouts whose labels are known when they are first used.

use super::series::Rollout;
use crate::model::SortedMap;

/// The ids of metrics, by the rollout's name and labels, and by what they are about.
pub struct Defined<A>(SortedMap<String, Vec<WithLabels<A>>>);

/// The ids of a rollout with these further labels, which a push may change.
type WithLabels<A> = (Vec<(String, String)>, SortedMap<A, u32>);

impl<A> Default for Defined<A> {
    fn default() -> Self {
        Self(SortedMap::default())
    }
}

impl<A: Ord> Defined<A> {
    /// The id of a metric of the rollout with this name and these labels. `define` is called the first time.
    pub fn id(
        &mut self,
        (name, labels): (&str, &[(String, String)]),
        about: A,
        define: impl FnOnce(&A, &Rollout) -> Option<u32>,
    ) -> Option<u32> {
        if self.0.get(name).is_none() {
            self.0.insert(name.to_owned(), Vec::new());
        }
        let all = self.0.get_mut(name)?;
        if !all.iter().any(|(known, _)| *known == labels) {
            all.push((labels.to_owned(), SortedMap::default()));
        }
        let (_, ids) = all.iter_mut().find(|(known, _)| *known == labels)?;
        if let Some(id) = ids.get(&about) {
            return Some(*id);
        }
        let id = define(&about, &Rollout { name: name.to_owned(), labels: labels.to_owned() })?;
        ids.insert(about, id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_labels_have_ids_of_their_own_and_the_same_ones_stay() {
        let (mut defined, mut names) = (Defined::default(), Vec::new());
        let mut id = |team: &str, about: u8| {
            let labels = [("team".to_owned(), team.to_owned())];
            defined.id(("r", &labels), about, |about, of| {
                names.push(of.own("tasks", &format!(";about={about}")));
                Some(names.len() as u32)
            })
        };
        let ids = [("a", 1), ("a", 1), ("a", 2), ("b", 1), ("a", 1), ("b", 1)];
        assert_eq!(ids.map(|(team, about)| id(team, about)), [1, 1, 2, 3, 1, 3].map(Some));
        assert_eq!(
            names,
            [
                "tasks;rollout=r;about=1;team=a",
                "tasks;rollout=r;about=2;team=a",
                "tasks;rollout=r;about=1;team=b"
            ]
        );
    }
}
