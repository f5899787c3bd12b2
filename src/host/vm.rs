//! What all contexts of one VM share.
//!
//! A configuration push gives each VM a new root context, while streams may still begin on the old one. So the plan does
//! not belong to a root: it stands in a [`Slot`] that all roots of one plugin share, and every stream reads the newest
//! plan there.

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use fastrand::Rng;

use super::calls::{self, Metric};
use super::drain::{Drain, Pass};
use super::effects::Effects;
use super::feedback::Feedback;
use super::keys::ReceiptKeys;
use super::loaded::{Loaded, Slot};
use super::loading::Loading;
use super::log;
use super::metrics::Registry;
use super::notices::{self, Notices};
use super::notify::Posts;
use super::shadow::Shadows;
use super::shared::{Kv, agree_on_clock, clock};
use super::store::Store;
use super::tasks::Tasks;
use crate::config::pieces::{self, Unread};
use crate::config::schema::Config;
use crate::config::units::Duration;
use crate::fleet::InUse;
use crate::fleet::callback::Callback;
use crate::fleet::effect::{Effect, Post};
use crate::fleet::member::{Changed, Member};
use crate::fleet::outbox::Delivery;
use crate::fleet::presence::VmId;
use crate::fleet::store::call::Answer;
use crate::fleet::store::member::Settings;
use crate::payload::encoding::Inflaters;
use crate::rollout::change::{Change, NotChanged};
use crate::routing::shadowing;
use crate::telemetry::breaker::Trip;
use crate::telemetry::series;

/// Nanoseconds after which a callback leaves the rest to the next one: requests of the same worker wait meanwhile.
const LONGEST_CALLBACK: u64 = 2_000_000;

/// Identifies a plugin of this VM: its name and root id. Configurations of the same plugin replace each other.
pub(super) type PluginId = (Vec<u8>, Vec<u8>);

/// A root, and what it was configured with.
struct Configured {
    root: u32,
    slot: Weak<Slot>,
    configuration: Rc<[u8]>,
}

/// The state of this VM.
pub(super) struct Vm {
    /// Its part in what the VMs of this Envoy do together.
    member: RefCell<Member>,
    effects: Effects,
    pub(super) drain: Drain,
    pub(super) notices: Notices,
    posts: Posts,
    store: Store,
    rng: RefCell<Rng>,
    registry: Registry,
    /// Compressed bodies that are being read.
    pub(super) inflaters: Inflaters,
    /// What is sent to shadows, to be compared.
    pub(super) shadows: Shadows,
    pub(super) receipt_keys: Rc<ReceiptKeys>,
    /// Tasks that people or a model decide.
    pub(super) tasks: Tasks,
    /// What users do afterwards.
    pub(super) feedback: Feedback,
    /// A handful: one for each listener that is configured differently.
    slots: RefCell<Vec<(PluginId, Weak<Slot>)>>,
    /// The roots of plugins that route, in the order in which they were configured.
    roots: RefCell<Vec<Configured>>,
    /// Configurations that are being compiled, at most one of each slot.
    loading: RefCell<Vec<Loading>>,
    /// This VM's number and the metric that goes with it.
    config_hash: Cell<Option<(usize, u32)>>,
    /// Whether its version is shown.
    is_shown: Cell<bool>,
}

impl Vm {
    /// This worker's VM.
    pub(super) fn current() -> &'static Self {
        thread_local! {
            // It is there for as long as the module is.
            static VM: &'static Vm = Box::leak(Box::new(Vm::new()));
        }
        VM.with(|vm| *vm)
    }

    fn new() -> Self {
        let receipt_keys = Rc::<ReceiptKeys>::default();
        Self {
            member: RefCell::new(Member::new(calls::entropy())),
            effects: Effects::default(),
            drain: Drain::default(),
            notices: Notices::default(),
            posts: Posts::default(),
            store: Store::default(),
            rng: RefCell::new(Rng::with_seed(calls::entropy())),
            registry: Registry::default(),
            inflaters: Inflaters::default(),
            shadows: Shadows::new(),
            tasks: Tasks::new(Rc::clone(&receipt_keys)),
            feedback: Feedback::new(Rc::clone(&receipt_keys)),
            receipt_keys,
            slots: RefCell::default(),
            roots: RefCell::default(),
            loading: RefCell::default(),
            config_hash: Cell::new(None),
            is_shown: Cell::new(false),
        }
    }

    /// This VM's identity.
    pub(super) fn id(&self) -> VmId {
        self.member.borrow().id()
    }

    /// Draws with this VM's generator.
    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.rng.borrow_mut())
    }

    /// Whether another plugin of this VM belongs to another fleet, or to none: the VM is one member of one fleet. What else the
    /// store has may change with one plugin after the other; the newest configuration decides.
    pub(super) fn has_other_fleet(&self, plugin: &PluginId, config: &Config) -> bool {
        let slots = self.slots.borrow();
        let others = slots.iter().filter(|(known, _)| known != plugin);
        let mut others = others.filter_map(|(_, slot)| slot.upgrade());
        let fleet = config.store.as_ref().map(|store| &store.fleet);
        others.any(|slot| slot.fleet.borrow().as_ref().is_some_and(|other| other.as_ref() != fleet))
    }

    /// The slot of a plugin; a plugin without roots has none any more.
    pub(super) fn slot(&self, plugin: PluginId) -> Rc<Slot> {
        let mut slots = self.slots.borrow_mut();
        let known = slots.iter().find(|(known, _)| *known == plugin);
        if let Some(slot) = known.and_then(|(_, slot)| slot.upgrade()) {
            return slot;
        }
        let slot = Rc::new(Slot::default());
        slots.retain(|(known, _)| *known != plugin);
        slots.push((plugin, Rc::downgrade(&slot)));
        slot
    }

    /// Whether a configuration of a plugin is in use.
    pub(super) fn uses(&self, plugin: &PluginId) -> bool {
        let slots = self.slots.borrow();
        let known = slots.iter().find(|(known, _)| known == plugin);
        known.and_then(|(_, slot)| slot.upgrade()?.loaded()).is_some()
    }

    /// Puts a configuration into use: at once if there is none yet or it is small, otherwise while time goes on.
    pub(super) fn load(&self, slot: &Rc<Slot>, (config, unread): (Config, Unread)) {
        slot.fleet.replace(Some(config.store.as_ref().map(|store| store.fleet.clone())));
        self.join(&config);
        agree_on_clock();
        let mut loading = self.loading.borrow_mut();
        // A newer one replaces one that is not in use yet.
        loading.retain(|loading| !loading.slot.ptr_eq(&Rc::downgrade(slot)));
        loading.push(Loading::new(slot, (config, unread), calls::uptime()));
        drop(loading);
        let (is_first, time) = (slot.loaded.borrow().is_none(), time());
        self.go_on_loading(&|| is_first || time());
    }

    /// Joins the fleet that the newest configuration names.
    fn join(&self, config: &Config) {
        let settings = config.store.as_ref().map(|store| {
            self.store.use_cluster(&store.etcd.cluster);
            Settings {
                fleet: store.fleet.clone(),
                period: store.period.as_nanos(),
                stale_after: store.stale_after.map(Duration::as_nanos),
            }
        });
        if settings.is_none() {
            self.effects.leave_fleet();
        }
        self.member.borrow_mut().join(&mut Kv, settings);
    }

    /// Compiles configurations while there is `time`. Returns whether some are left.
    fn go_on_loading(&self, time: &dyn Fn() -> bool) -> bool {
        let (mut all, mut member) = (self.loading.borrow_mut(), self.member.borrow_mut());
        while let Some(loading) = all.first_mut() {
            let Some(slot) = loading.slot.upgrade() else {
                all.remove(0);
                continue;
            };
            while loading.compile_one(&mut member, &self.registry) {
                if !time() {
                    return true;
                }
            }
            let loading = all.remove(0);
            if loading.is_refused {
                continue;
            }
            loading.place_changed(&member);
            slot.loaded.replace(Some(Rc::new(loading.finish())));
            member.reconfigured();
            self.effects.show_weights();
        }
        false
    }

    /// Notes that a request passes here.
    pub(super) fn serve(&self) {
        self.member.borrow_mut().serve();
    }

    /// Time goes on; several roots of this VM may call it. Returns the milliseconds to the next time.
    pub(super) fn tick(&self, root: u32) -> u32 {
        let (began, time) = (calls::uptime(), time());
        let is_loading = self.go_on_loading(&time);
        let loaded = self.loaded();
        let reports = self.member.borrow().reports();
        let done = {
            let (in_use, mut shared) = (in_use(&loaded), Kv);
            let mut callback = Callback::new(&mut shared, &in_use, clock(), &time);
            self.member.borrow_mut().tick(&mut callback);
            callback.effects
        };
        if self.member.borrow().reports() != reports {
            self.show_presence(&loaded);
            self.registry.forget_loads(clock().tick());
        }
        self.do_all(&loaded, root, done, &time);
        self.shadows.forget_overdue();
        self.tasks.people.send(root, &time);
        self.shadows.report(&time);
        if self.shadows.take_news() && self.registry.show_compared(&time) {
            self.shadows.note_news();
        }
        self.call_store(root);
        let took = calls::uptime().saturating_sub(began);
        ::log::debug!("tick {} took {} us", clock().tick(), took / 1_000);
        let member = self.member.borrow();
        milliseconds(if is_loading || self.effects.are_left() {
            member.between_pieces()
        } else {
            member.next_tick(clock())
        })
    }

    /// A pass over the streams that are to be closed is over for this callback.
    pub(super) fn rest(&self, pass: &Pass, root: u32) {
        if self.drain.rest(pass, root) {
            calls::set_tick_period(milliseconds(self.member.borrow().between_pieces()));
        }
    }

    /// Another VM says that there is something new.
    pub(super) fn look_again(&self, root: u32, queue: u32) {
        let waiting = notices::take(queue);
        self.with_member(root, |member, callback| member.look_again(callback, &waiting));
        self.call_store(root);
    }

    /// Sends the call to the store that is due, from a root's callback.
    fn call_store(&self, root: u32) {
        if !self.member.borrow().is_joined() {
            return;
        }
        let call = self.with_member(root, Member::poll_call);
        if let Some(answer) = call.and_then(|call| self.store.send(root, call)) {
            self.store_answered(root, answer);
        }
    }

    /// A message of the store has come.
    pub(super) fn received(&self, root: u32, token: u32, size: usize) {
        if let Some(answer) = self.store.receive(token, size) {
            self.store_answered(root, answer);
            self.call_store(root);
        }
    }

    /// A call to the store has failed.
    pub(super) fn closed(&self, root: u32, token: u32, status: u32) {
        if let Some(answer) = self.store.close(token, status) {
            self.store_answered(root, answer);
        }
    }

    /// A root goes, and the answers to its calls with it.
    pub(super) fn left(&self, root: u32) {
        self.go_back(root);
        if let Some(answer) = self.store.leave(root) {
            self.store_answered(root, answer);
        }
        // Another root posts them again.
        let posts = self.posts.leave(root).into_iter();
        posts.for_each(|post| self.posted(root, (&post, Delivery::Failed)));
    }

    /// A root was configured.
    pub(super) fn configured(&self, root: u32, slot: &Rc<Slot>, configuration: &[u8]) {
        let configured = Configured { root, slot: Rc::downgrade(slot), configuration: configuration.into() };
        self.roots.borrow_mut().push(configured);
    }

    /// A root goes. Where it was the one that was configured last, Envoy has gone back to the configuration of an older one that a
    /// stream has kept: it uses that root again without a call.
    fn go_back(&self, root: u32) {
        let mut roots = self.roots.borrow_mut();
        let Some(at) = roots.iter().position(|known| known.root == root) else { return };
        let gone = roots.remove(at);
        let last = roots.iter().rposition(|known| known.slot.ptr_eq(&gone.slot)).filter(|last| *last < at);
        let last = last.and_then(|last| roots.get(last)).map(|last| Rc::clone(&last.configuration));
        drop(roots);
        if let (Some(slot), Some(configuration)) = (gone.slot.upgrade(), last)
            && let Ok(read) = pieces::load(&configuration, true)
        {
            self.load(&slot, read);
        }
    }

    fn store_answered(&self, root: u32, answer: Answer) {
        self.with_member(root, |member, callback| member.answered(callback, answer));
    }

    /// Hands tasks to people, from a callback of this root.
    pub(super) fn hand_tasks_over(&self, root: u32) {
        self.tasks.people.send(root, &time());
    }

    /// Makes a change.
    pub(super) fn command(&self, root: u32, change: &Change) -> Result<Changed, NotChanged> {
        self.with_member(root, |member, callback| member.command(callback, change))
    }

    /// Has all VMs follow a change; the stream is answered when they do.
    pub(super) fn await_followers(&self, stream: u32, rollout: &str, changed: Changed) {
        self.with_member(stream, |member, callback| {
            member.await_followers(callback, (stream, rollout), changed);
        });
        if self.member.borrow().is_awaited() {
            calls::set_tick_period(milliseconds(self.member.borrow().next_tick(clock())));
        }
    }

    /// A stream of the control listener is gone.
    pub(super) fn forget(&self, stream: u32) {
        self.member.borrow_mut().forget(stream);
    }

    /// A circuit breaker of this worker has tripped. Returns whether that is settled.
    pub(super) fn trip(&self, rollout: &str, trip: Trip) -> bool {
        self.with_member(0, |member, callback| member.trip(callback, rollout, trip))
    }

    /// The answer to a callout of this VM has come, or comes no more.
    pub(super) fn answered(&self, root: u32, token: u32, status: Option<u64>) {
        if let Some((post, outcome)) = self.posts.answered(token, status) {
            self.posted(root, (&post, outcome));
        } else if let Some((rollout, answer)) = self.effects.answered(token, status) {
            self.member.borrow_mut().hear(&rollout, answer);
        }
    }

    /// What became of a notification.
    fn posted(&self, root: u32, (post, outcome): (&Post, Delivery)) {
        self.with_member(root, |member, callback| member.posted(callback, post, outcome));
    }

    /// Has this VM's member act, and does what it wants done. Calls are about `context`, before and afterwards.
    fn with_member<T>(&self, context: u32, act: impl FnOnce(&mut Member, &mut Callback<'_, Kv>) -> T) -> T {
        let (loaded, time, mut shared) = (self.loaded(), time(), Kv);
        let (acted, effects) = {
            let in_use = in_use(&loaded);
            let mut callback = Callback::new(&mut shared, &in_use, clock(), &time);
            let acted = act(&mut self.member.borrow_mut(), &mut callback);
            (acted, callback.effects)
        };
        self.do_all(&loaded, context, effects, &time);
        acted
    }

    /// Does what the protocol wants done; what can wait, while there is `time`. Calls are about
    /// `context`, before and afterwards.
    fn do_all(&self, loaded: &[Rc<Loaded>], context: u32, effects: Vec<Effect>, time: &dyn Fn() -> bool) {
        for effect in effects {
            if let Effect::Post(post) = effect {
                let posted = self.posts.send(context, post);
                if let Some((post, outcome)) = posted {
                    self.posted(context, (&post, outcome));
                }
            } else if let Some((rollout, answer)) = self.effects.perform(context, effect) {
                self.member.borrow_mut().hear(&rollout, answer);
            }
        }
        self.effects.go_on(time);
        if self.effects.weights_have_changed() {
            self.registry.set_weights(loaded.iter().flat_map(|loaded| loaded.weights()));
            self.drain.follow(loaded);
        }
    }

    /// Shows which configuration this VM uses, once a tick. One VM speaks for all.
    fn show_presence(&self, loaded: &[Rc<Loaded>]) {
        let Some(number) = self.member.borrow().number() else { return };
        if !self.is_shown.replace(true) {
            let info = calls::define_metric(Metric::Gauge, &series::info());
            if let Some(info) = info {
                calls::record(info, 1);
            }
            if number == 0 {
                ::log::info!("version {} ({}) started", crate::VERSION, crate::COMMIT);
            }
        }
        if self.config_hash.get().is_none_or(|(known, _)| known != number) {
            let gauge = calls::metric(Metric::Gauge, &series::config_hash(number));
            self.config_hash.set(gauge.map(|gauge| (number, gauge)));
        }
        if let Some((_, gauge)) = self.config_hash.get() {
            calls::record(gauge, combined_hash(loaded));
        }
        if number == 0 {
            loaded.iter().for_each(|loaded| log_warnings(loaded));
        }
        log::follow_level();
    }

    /// The configurations in use. Forgets plugins that are gone.
    fn loaded(&self) -> Vec<Rc<Loaded>> {
        let mut slots = self.slots.borrow_mut();
        let before = slots.len();
        slots.retain(|(_, slot)| slot.strong_count() > 0);
        if slots.len() != before {
            self.member.borrow_mut().reconfigured();
            self.effects.show_weights();
        }
        slots.iter().filter_map(|(_, slot)| slot.upgrade()?.loaded()).collect()
    }
}

/// Whether a callback that begins now has time for more.
fn time() -> impl Fn() -> bool {
    let began = calls::uptime();
    move || calls::uptime().saturating_sub(began) < LONGEST_CALLBACK
}

/// A period of a timer, in whole milliseconds.
fn milliseconds(nanoseconds: u64) -> u32 {
    u32::try_from(nanoseconds / 1_000_000).unwrap_or(u32::MAX).max(1)
}

fn in_use(loaded: &[Rc<Loaded>]) -> Vec<InUse<'_>> {
    loaded.iter().map(|loaded| InUse { plan: &loaded.plan, loaded_at: loaded.loaded_at }).collect()
}

/// The hash of what this VM uses: that of its configuration, or one of all when it has different ones.
fn combined_hash(loaded: &[Rc<Loaded>]) -> u64 {
    let is_first = |at: usize, hash: u64| !loaded.iter().take(at).any(|earlier| earlier.hash == hash);
    let hashes = loaded.iter().map(|loaded| loaded.hash).enumerate();
    hashes.filter(|(at, hash)| is_first(*at, *hash)).fold(0, |all, (_, hash)| all ^ hash)
}

/// Logs that a configuration is in use, and its warnings; once.
fn log_warnings(loaded: &Loaded) {
    let Some(config) = loaded.unlogged.take() else { return };
    let (hash, rollouts) = (loaded.hash, config.rollouts.len());
    ::log::info!(
        "configuration {hash} is in use: {rollouts} {}",
        if rollouts == 1 { "rollout" } else { "rollouts" }
    );
    for warning in shadowing::warnings(&config).lines() {
        ::log::warn!("{warning}");
    }
}
