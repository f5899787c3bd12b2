//! What Envoy calls, and to whom it goes.
//!
//! Envoy enters the module only where it exports something, and a request pays for each entry. So there is no
//! `proxy_on_delete`, which would say again what `proxy_on_log` says of streams and `proxy_on_done` of roots, and none of what
//! this module answers as Envoy does by itself, such as `proxy_on_vm_start`.
//!
//! Envoy never enters the module while it is in one of these calls, but for memory.

// The names are what a host looks for; nothing else in the module has them.
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::rc::Rc;

use super::asking::Asker;
use super::control::ControlStream;
use super::root::Root;
use super::stream::Stream;
use super::vm::Vm;
use crate::abi::Action;
use crate::abi::contexts::Contexts;

/// What a callback is about.
enum Context {
    /// One configuration of the plugin.
    Root(Root),
    /// A request to a rollout.
    Request(Stream),
    /// A request to the API.
    Control(Box<ControlStream>),
}

impl Context {
    /// A request that begins.
    fn begin(number: u32, root: &Root) -> Self {
        match &root.control {
            Some(api) => Self::Control(Box::new(ControlStream::new(number, root.vm, Rc::clone(api)))),
            None => {
                let id = Asker { stream: number, root: root.id };
                Self::Request(Stream::new(id, root.vm, Rc::clone(&root.slot)))
            }
        }
    }
}

thread_local! {
    static CONTEXTS: RefCell<Contexts<Context>> = const { RefCell::new(Contexts::new()) };
}

/// Hands a callback to its context; the default for one that is not there.
fn with<T: Default>(context: u32, call: impl FnOnce(&mut Context) -> T) -> T {
    CONTEXTS.with_borrow_mut(|contexts| contexts.get_mut(context).map(call)).unwrap_or_default()
}

/// Hands a callback to a root.
fn with_root<T: Default>(context: u32, call: impl FnOnce(&mut Root) -> T) -> T {
    with(context, |context| match context {
        Context::Root(root) => call(root),
        Context::Request(_) | Context::Control(_) => T::default(),
    })
}

/// Hands a callback to a request: one to a rollout, or one to the API.
fn with_stream(
    context: u32,
    request: impl FnOnce(&mut Stream) -> Action,
    control: impl FnOnce(&mut ControlStream) -> Action,
) -> Action {
    with(context, |context| match context {
        Context::Request(stream) => request(stream),
        Context::Control(stream) => control(stream),
        Context::Root(_) => Action::Continue,
    })
}

/// Hands a callback about an answer to its request. An answer goes on whatever is done about it.
fn with_request(context: u32, call: impl FnOnce(&mut Stream)) -> Action {
    let call = |stream: &mut Stream| {
        call(stream);
        Action::Continue
    };
    with_stream(context, call, |_| Action::Continue)
}

/// Closes streams that have gone on for long enough with a version that was taken back. Envoy ends them when this callback, of
/// `root`, is over.
fn close_streams(root: u32) {
    let vm = Vm::current();
    let Some(mut pass) = vm.drain.pass() else { return };
    CONTEXTS.with_borrow(|contexts| {
        for (position, number, context) in contexts.behind(pass.from) {
            if !pass.comes_to(position) {
                break;
            }
            if matches!(context, Context::Request(stream) if stream.drain(number, pass.now)) {
                pass.close();
            }
        }
    });
    vm.rest(&pass, root);
}

/// Hands the answer to a callout to the stream that waits for it, from a callback of its root; `None`: none comes.
fn answer_stream(stream: u32, body: Option<usize>) {
    with(stream, |context| {
        if let Context::Request(stream) = context {
            stream.on_http_call_response(body);
        }
    });
}

/// Lets streams go on whose answers come no more: those of a root that goes, or those that are overdue.
fn release_streams(root: Option<u32>) {
    let asking = &Vm::current().tasks.asking;
    for token in asking.lost(root) {
        if let Some(stream) = asking.stream(token) {
            answer_stream(stream, None);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(context: u32, root: u32) {
    CONTEXTS.with_borrow_mut(|contexts| {
        let new = match contexts.get(root) {
            Some(Context::Root(root)) => Context::begin(context, root),
            // A root's own root has number 0.
            _ => Context::Root(Root::new(context)),
        };
        contexts.insert(context, new);
    });
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(context: u32, _: usize) -> bool {
    with_root(context, Root::on_configure)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_tick(context: u32) {
    with_root(context, Root::on_tick);
    release_streams(None);
    close_streams(context);
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_queue_ready(context: u32, queue: u32) {
    with_root(context, |root| root.on_queue_ready(queue));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_http_call_response(context: u32, token: u32, headers: usize, body: usize, _: usize) {
    let body = (headers > 0).then_some(body);
    match Vm::current().tasks.asking.stream(token) {
        Some(stream) => answer_stream(stream, body),
        None => with_root(context, |root| root.on_http_call_response(token, body)),
    }
}

/// A call of gRPC has brought a message.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_receive(context: u32, token: u32, size: usize) {
    with_root(context, |root| root.on_grpc_receive(token, size));
}

/// A call of gRPC has failed.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_grpc_close(context: u32, token: u32, status: u32) {
    with_root(context, |root| root.on_grpc_close(token, status));
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_headers(context: u32, _: usize, end_of_stream: bool) -> Action {
    with_stream(
        context,
        |stream| stream.on_request_headers(end_of_stream),
        |control| control.on_request_headers(end_of_stream),
    )
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(context: u32, size: usize, end_of_stream: bool) -> Action {
    with_stream(
        context,
        |stream| stream.on_request_body(size, end_of_stream),
        |control| control.on_request_body(size, end_of_stream),
    )
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_trailers(context: u32, _: usize) -> Action {
    with_stream(context, Stream::on_request_trailers, ControlStream::on_request_trailers)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_headers(context: u32, _: usize, end_of_stream: bool) -> Action {
    with_request(context, |stream| stream.on_response_headers(end_of_stream))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(context: u32, size: usize, end_of_stream: bool) -> Action {
    with_request(context, |stream| stream.on_response_body(size, end_of_stream))
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_trailers(context: u32, _: usize) -> Action {
    with_request(context, Stream::on_response_trailers)
}

/// The last callback of a stream.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_log(context: u32) {
    match CONTEXTS.with_borrow_mut(|contexts| contexts.remove(context)) {
        Some(Context::Request(stream)) => stream.on_log(),
        Some(Context::Control(stream)) => stream.on_log(),
        Some(Context::Root(_)) | None => {}
    }
}

/// The last that a root hears. Of a stream it says nothing: what it was is known in `proxy_on_log`.
#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(context: u32) -> bool {
    release_streams(Some(context));
    CONTEXTS.with_borrow_mut(|contexts| {
        if let Some(Context::Root(root)) = contexts.get_mut(context) {
            root.on_done();
            contexts.remove(context);
        }
    });
    true
}
