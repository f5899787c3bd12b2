//! Notices from VM to VM: "look again". Each VM has a queue of its own; shared data has what there is to see.

use std::cell::Cell;

use super::{calls, presence, shared};

/// How VMs are woken.
#[derive(Default)]
pub(super) struct Notices {
    /// The root that gets this VM's notices, and the queue's number. Notices for a root that is gone are lost,
    /// so the next one takes over.
    owner: Cell<Option<(u32, u32)>>,
}

fn queue_name(vm: u64) -> String {
    shared::key(&format!("notices.{vm:x}"))
}

impl Notices {
    /// Has `root` get the notices of `vm`, unless another one does.
    pub(super) fn listen(&self, root: u32, vm: u64) {
        if self.owner.get().is_none() {
            self.owner.set(calls::register_queue(&queue_name(vm)).map(|queue| (root, queue)));
        }
    }

    /// `root` goes.
    pub(super) fn leave(&self, root: u32) {
        if self.owner.get().is_some_and(|(owner, _)| owner == root) {
            self.owner.set(None);
        }
    }

    /// The newest root of the VM gets them from now on.
    pub(super) fn take_over(&self, root: u32, vm: u64) {
        self.owner.set(None);
        self.listen(root, vm);
    }

    /// Takes all notices out of the queue: the VMs that want to know when this one has looked.
    pub(super) fn take(&self, queue: u32) -> Vec<u64> {
        let mut senders = Vec::new();
        while let Some(notice) = calls::dequeue(queue) {
            let sender = notice.first_chunk().map(|bytes| u64::from_le_bytes(*bytes));
            senders.extend(sender.filter(|sender| !senders.contains(sender)));
        }
        senders
    }
}

/// Wakes a VM; `sender` is told when it has looked, 0: nobody.
pub(super) fn send(vm: u64, sender: u64) {
    let vm_id = calls::property("plugin_vm_id").unwrap_or_default();
    if let Some(queue) = calls::find_queue(&vm_id, &queue_name(vm)) {
        calls::enqueue(queue, &sender.to_le_bytes());
    }
}

/// Wakes all other VMs.
pub(super) fn send_to_all(sender: u64, wants_to_know: bool) {
    for (_, vm) in presence::alive() {
        if vm != sender {
            send(vm, if wants_to_know { sender } else { 0 });
        }
    }
}
