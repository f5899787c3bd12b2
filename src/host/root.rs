//! The root context: takes a configuration, and ticks.

use std::rc::Rc;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::ContextType;

use super::control::ControlStream;
use super::stream::Stream;
use super::vm::{Slot, Vm};
use super::{calls, log};
use crate::config;
use crate::control::api::Api;

/// Milliseconds to the first tick, where what a push changes is shown. Not in `on_configure`: Envoy also
/// calls that in VMs that never run.
const FIRST_TICK: u32 = 1;

/// One configuration of the plugin in one worker. Envoy makes a new one with each push.
pub(super) struct Root {
    id: u32,
    vm: Rc<Vm>,
    slot: Rc<Slot>,
    /// On a control listener: what answers there.
    control: Option<Rc<Api>>,
    ticked: bool,
}

impl Root {
    pub(super) fn new(id: u32) -> Self {
        log::init();
        Self { id, vm: Vm::current(), slot: Rc::default(), control: None, ticked: false }
    }
}

impl Context for Root {
    fn on_done(&mut self) -> bool {
        // Envoy's timer would go on without a root to call.
        calls::set_tick_period(0);
        self.vm.notices.leave(self.id);
        true
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        match config::load(&calls::plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                self.control = config.control.as_ref().map(|control| Rc::new(Api::new(control)));
                calls::set_tick_period(FIRST_TICK);
                if self.control.is_some() {
                    return true; // it has no rollouts
                }
                let id = |property| calls::property(property).unwrap_or_default();
                self.slot = self.vm.slot((id("plugin_name"), id("plugin_root_id")));
                let hash = config::hash(&config);
                self.vm.load(&self.slot, config, hash);
                true
            }
            Err(problems) => {
                for line in problems.lines() {
                    ::log::error!("configuration refused: {line}");
                }
                false
            }
        }
    }

    fn on_tick(&mut self) {
        if !std::mem::replace(&mut self.ticked, true) {
            self.vm.notices.take_over(self.id, self.vm.id());
        }
        self.vm.notices.listen(self.id, self.vm.id());
        calls::set_tick_period(self.vm.tick(self.id));
    }

    fn on_queue_ready(&mut self, queue: u32) {
        self.vm.look_again(self.id, queue);
    }

    fn create_http_context(&self, id: u32) -> Option<Box<dyn HttpContext>> {
        if let Some(api) = &self.control {
            return Some(Box::new(ControlStream::new(id, Rc::clone(&self.vm), Rc::clone(api))));
        }
        Some(Box::new(Stream::new(Rc::clone(&self.vm), Rc::clone(&self.slot))))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}
