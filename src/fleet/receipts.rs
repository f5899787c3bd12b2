//! Which receipts have come back, over all workers.

use super::shared::{self, Shared};
use crate::receipt::seen::{SHARDS, Seen, Taken, shard};

/// Takes a receipt that has come back: its number, and when it was sealed. It counts once, whichever worker gets it.
pub fn take(shared: &mut impl Shared, rollout: &str, id: u64, time: u64) -> Taken {
    let mut taken = Taken::Late;
    let written = shared::update::<Seen>(shared, &key(rollout, id), |seen| {
        let mut seen = seen.unwrap_or_default();
        taken = seen.take(id, time);
        (taken == Taken::New).then_some(seen)
    });
    // What is not written might come again.
    if written { taken } else { Taken::Late }
}

/// Forgets a rollout's receipts.
pub(super) fn erase(shared: &mut impl Shared, rollout: &str) {
    for key in (0..SHARDS).map(|shard| key(rollout, shard)) {
        if shared.read(&key).is_some() {
            shared::erase(shared, &key);
        }
    }
}

/// The key of the receipts among which one of that number is.
pub(super) fn key(rollout: &str, id: u64) -> String {
    shared::key(&format!("receipts.{rollout}.{}", shard(id)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::memory::Memory;

    #[test]
    fn a_receipt_counts_once_whichever_worker_gets_it() {
        let mut shared = Memory::default();
        assert_eq!(take(&mut shared, "claims", 1, 10), Taken::New);
        assert_eq!(take(&mut shared, "claims", 1, 10), Taken::Repeated);
        assert_eq!(take(&mut shared, "other", 1, 10), Taken::New, "another rollout");
        erase(&mut shared, "claims");
        assert_eq!(take(&mut shared, "other", 1, 10), Taken::Repeated);
        assert_eq!(take(&mut shared, "claims", 1, 10), Taken::New, "another rollout of that name");
    }
}
