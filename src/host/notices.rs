//! Notices from VM to VM: "look again". Each VM has a queue of its own; shared data has what there is to see.

use std::cell::Cell;

use super::calls;
use crate::fleet::presence::VmId;
use crate::fleet::shared;

/// How this VM is woken.
#[derive(Default)]
pub(super) struct Notices {
    /// The root that gets this VM's notices. Notices for a root that is gone are lost, so the next one takes over.
    owner: Cell<Option<u32>>,
}

impl Notices {
    /// The newest root of the VM that has not gone, once it has ticked.
    pub(super) fn newest(&self) -> Option<u32> {
        self.owner.get()
    }

    /// Has `root` get the notices of `vm`, unless another one does.
    pub(super) fn listen(&self, root: u32, vm: VmId) {
        if self.owner.get().is_none() {
            self.owner.set(calls::register_queue(&queue_name(vm)).map(|_| root));
        }
    }

    /// `root` goes.
    pub(super) fn leave(&self, root: u32) {
        if self.owner.get() == Some(root) {
            self.owner.set(None);
        }
    }

    /// The newest root of the VM gets them from now on.
    pub(super) fn take_over(&self, root: u32, vm: VmId) {
        self.owner.set(None);
        self.listen(root, vm);
    }
}

/// Takes all notices out of a queue. Returns the VMs that want to be woken in turn.
pub(super) fn take(queue: u32) -> Vec<VmId> {
    let mut waiting = Vec::new();
    while let Some(notice) = calls::dequeue(queue) {
        let vm = notice.first_chunk().map(|bytes| VmId(u64::from_le_bytes(*bytes)));
        waiting.extend(vm.filter(|vm| *vm != VmId::default() && !waiting.contains(vm)));
    }
    waiting
}

/// Wakes a VM, which wakes `reply_to` when it has looked.
pub(super) fn send(vm: VmId, reply_to: Option<VmId>) {
    let vm_id = calls::property("plugin_vm_id");
    if let Some(queue) = calls::find_queue(vm_id.as_deref().unwrap_or_default(), &queue_name(vm)) {
        calls::enqueue(queue, &reply_to.unwrap_or_default().0.to_le_bytes());
    }
}

fn queue_name(vm: VmId) -> String {
    shared::key(&format!("notices.{:x}", vm.0))
}
