//! The root context: takes a configuration, and ticks.

use std::rc::Rc;

use super::calls::Headers;
use super::loaded::Slot;
use super::memory::Bytes;
use super::vm::Vm;
use super::{calls, log};
use crate::config::pieces;
use crate::control::api::Api;

/// Why a configuration is refused beside another plugin's.
const OTHER_FLEET: &str = "store: another filter of this VM belongs to another fleet, or to none, and all filters of a VM share \
                           their rollouts; expected the same `fleet`, or a `vm_id` of its own";

/// Milliseconds to the first tick, where what a push changes is shown. Not in `on_configure`: Envoy also
/// calls that in VMs that never run.
const FIRST_TICK: u32 = 1;

/// One configuration of the plugin in one worker. Envoy makes a new one with each push.
pub(super) struct Root {
    pub(super) id: u32,
    pub(super) vm: &'static Vm,
    /// Where its configuration stands.
    pub(super) slot: Rc<Slot>,
    /// On a control listener: what answers there.
    pub(super) control: Option<Rc<Api>>,
    ticked: bool,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        log::init();
        Self { id, vm: Vm::current(), slot: Rc::default(), control: None, ticked: false }
    }

    /// A new configuration. Returns whether it is accepted.
    pub(super) fn on_configure(&mut self) -> bool {
        let id = |property| calls::property(property).map(Bytes::into_vec).unwrap_or_default();
        let plugin = (id("plugin_name"), id("plugin_root_id"));
        let bytes = calls::plugin_configuration();
        let bytes = bytes.as_deref().unwrap_or_default();
        match pieces::load(bytes, self.vm.uses(&plugin)) {
            Ok((config, unread)) => {
                self.control = config.control.as_ref().map(|control| Rc::new(Api::new(control)));
                calls::set_tick_period(FIRST_TICK);
                if self.control.is_some() {
                    return true; // it has no rollouts
                }
                if let Err(problem) = self.vm.receipt_keys.check(&config) {
                    ::log::error!("configuration refused: {problem}");
                    return false;
                }
                if self.vm.has_other_fleet(&plugin, &config) {
                    ::log::error!("configuration refused: {OTHER_FLEET}");
                    return false;
                }
                self.slot = self.vm.slot(plugin);
                self.vm.load(&self.slot, (config, unread));
                self.vm.configured(self.id, &self.slot, bytes);
                true
            }
            Err(problems) => {
                log::refused(&problems);
                false
            }
        }
    }

    pub(super) fn on_tick(&mut self) {
        if !std::mem::replace(&mut self.ticked, true) {
            self.vm.notices.take_over(self.id, self.vm.id());
        }
        self.vm.notices.listen(self.id, self.vm.id());
        calls::set_tick_period(self.vm.tick(self.id));
    }

    pub(super) fn on_queue_ready(&mut self, queue: u32) {
        if self.vm.tasks.people.is_woken_by(queue) {
            self.vm.hand_tasks_over(self.id);
        } else {
            self.vm.look_again(self.id, queue);
        }
    }

    /// The answer to a callout, with a body of so many bytes; `None`: none came, and there are no headers to ask for.
    pub(super) fn on_http_call_response(&mut self, token: u32, body: Option<usize>) {
        if self.vm.shadows.answered(token, body, &self.vm.inflaters)
            || self.vm.tasks.handed_over(token, body, &self.vm.inflaters)
        {
            return;
        }
        let status = body.and_then(|_| calls::status(Headers::CalloutResponse));
        self.vm.answered(self.id, token, status);
    }

    /// A call of gRPC has brought a message.
    pub(super) fn on_grpc_receive(&mut self, token: u32, size: usize) {
        self.vm.received(self.id, token, size);
    }

    /// A call of gRPC has failed.
    pub(super) fn on_grpc_close(&mut self, token: u32, status: u32) {
        self.vm.closed(self.id, token, status);
    }

    /// It is replaced, or removed.
    pub(super) fn on_done(&self) {
        // Envoy's timer would go on without a root to call. No test can see that: such a timer calls nothing here, and Envoy shows
        // no sign of it in its log, its metrics or its admin interface.
        calls::set_tick_period(0);
        self.vm.notices.leave(self.id);
        self.vm.shadows.leave(self.id);
        self.vm.tasks.people.leave(self.id);
        self.vm.left(self.id);
    }
}
