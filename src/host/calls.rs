//! Every call from the module into Envoy.
//!
//! A call that fails is a value that is not there: which headers exist and what is in them is up to clients, and a panic
//! costs the worker's VM. The ABI is <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>.

#![allow(unsafe_code)] // calls across the ABI; each wrapper states why it is sound

use std::cell::RefCell;

use log::Level;

use super::memory::{self, Bytes};
use crate::abi::pairs;
use crate::control::response::Response;
use crate::fleet::shared::NotWritten;
use crate::model::SortedMap;

mod imports {
    unsafe extern "C" {
        pub(super) fn proxy_log(level: u32, text: *const u8, size: usize) -> u32;
        pub(super) fn proxy_get_log_level(level: *mut u32) -> u32;
        pub(super) fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
        pub(super) fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub(super) fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_value(
            map: u32,
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
        pub(super) fn proxy_replace_header_map_value(
            map: u32,
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_add_header_map_value(
            map: u32,
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_remove_header_map_value(map: u32, key: *const u8, key_size: usize) -> u32;
        pub(super) fn proxy_get_property(
            path: *const u8,
            path_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub(super) fn proxy_set_property(
            path: *const u8,
            path_size: usize,
            value: *const u8,
            value_size: usize,
        ) -> u32;
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, by: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
        pub(super) fn proxy_get_metric(id: u32, value: *mut u64) -> u32;
        pub(super) fn proxy_get_shared_data(
            key: *const u8,
            key_size: usize,
            data: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_shared_data(
            key: *const u8,
            key_size: usize,
            value: *const u8,
            value_size: usize,
            cas: u32,
        ) -> u32;
        pub(super) fn proxy_register_shared_queue(name: *const u8, name_size: usize, queue: *mut u32) -> u32;
        pub(super) fn proxy_resolve_shared_queue(
            vm: *const u8,
            vm_size: usize,
            name: *const u8,
            name_size: usize,
            queue: *mut u32,
        ) -> u32;
        pub(super) fn proxy_enqueue_shared_queue(queue: u32, value: *const u8, value_size: usize) -> u32;
        pub(super) fn proxy_dequeue_shared_queue(queue: u32, data: *mut *mut u8, size: *mut usize) -> u32;
        pub(super) fn proxy_grpc_call(
            service: *const u8,
            service_size: usize,
            service_name: *const u8,
            service_name_size: usize,
            method: *const u8,
            method_size: usize,
            metadata: *const u8,
            metadata_size: usize,
            message: *const u8,
            message_size: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub(super) fn proxy_set_effective_context(context: u32) -> u32;
        pub(super) fn proxy_close_stream(stream: u32) -> u32;
        pub(super) fn proxy_continue_stream(stream: u32) -> u32;
        pub(super) fn proxy_http_call(
            cluster: *const u8,
            cluster_size: usize,
            headers: *const u8,
            headers_size: usize,
            body: *const u8,
            body_size: usize,
            trailers: *const u8,
            trailers_size: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub(super) fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_size: usize,
            body: *const u8,
            body_size: usize,
            headers: *const u8,
            headers_size: usize,
            grpc_status: i32,
        ) -> u32;
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub(super) fn random_get(data: *mut u8, size: usize) -> u32;
        pub(super) fn clock_time_get(clock: u32, precision: u64, time: *mut u64) -> u32;
        pub(super) fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
        pub(super) fn environ_get(variables: *mut *mut u8, data: *mut u8) -> u32;
    }
}

/// The status of a call that did what it was asked.
const OK: u32 = 0;
/// Another VM has changed the shared value first.
const CAS_MISMATCH: u32 = 8;

/// A map of headers.
#[derive(Clone, Copy)]
pub(super) enum Headers {
    /// The request's, writable while its headers are being handled.
    Request = 0,
    /// The response's.
    Response = 2,
    /// Those behind the response's body.
    ResponseTrailers = 3,
    /// Those of the answer to a callout, while it is being handled.
    CalloutResponse = 6,
    /// Those behind its body.
    CalloutTrailers = 7,
}

/// A kind of metric.
#[derive(Clone, Copy)]
pub(super) enum Metric {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// Among the ABI's buffers: a body.
#[derive(Clone, Copy)]
pub(super) enum Body {
    /// The request's.
    Request = 0,
    /// The response's.
    Response = 1,
    /// That of the answer to a callout, while it is being handled.
    Callout = 4,
    /// The message that a call of gRPC has brought, while it is being handled.
    Grpc = 5,
}
/// The plugin's configuration.
const PLUGIN_CONFIGURATION: u32 = 7;
/// WASI's clock that neither jumps nor goes back.
const MONOTONIC: u32 = 1;

/// Calls a function that returns bytes: it writes their address and size.
fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Bytes> {
    let (mut address, mut size) = (std::ptr::null_mut(), 0);
    if call(&mut address, &mut size) != OK {
        memory::discard();
        return None;
    }
    memory::written(address, size)
}

/// Writes a line to Envoy's log.
pub(super) fn log(level: Level, text: &str) {
    // The ABI counts from 0 (trace) to 4 (error).
    let level = match level {
        Level::Trace => 0,
        Level::Debug => 1,
        Level::Info => 2,
        Level::Warn => 3,
        Level::Error => 4,
    };
    // SAFETY: the host copies the text before it returns.
    unsafe { imports::proxy_log(level, text.as_ptr(), text.len()) };
}

/// The level of Envoy's logger for Wasm: 0 (trace) to 5 (critical), more when it is off.
pub(super) fn log_level() -> u32 {
    let mut level = 2;
    // SAFETY: the host writes one u32.
    unsafe { imports::proxy_get_log_level(&mut level) };
    level
}

/// Milliseconds since the epoch. The clock may be set back.
pub(super) fn epoch_ms() -> u64 {
    let mut now = 0;
    // SAFETY: the host writes one u64.
    unsafe { imports::proxy_get_current_time_nanoseconds(&mut now) };
    now / 1_000_000
}

/// Nanoseconds of a clock that neither jumps nor goes back; all VMs of an Envoy have the same.
pub(super) fn uptime() -> u64 {
    let mut now = 0;
    // SAFETY: the host writes one u64.
    unsafe { imports::clock_time_get(MONOTONIC, 0, &mut now) };
    now
}

/// 64 random bits from the operating system.
pub(super) fn entropy() -> u64 {
    u64::from_le_bytes(random())
}

/// Random bytes from Envoy.
pub(super) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // SAFETY: the host writes that many bytes.
    unsafe { imports::random_get(bytes.as_mut_ptr(), bytes.len()) };
    bytes
}

/// The VM's environment, as its configuration in Envoy sets it: `NAME=value` for each variable.
pub(super) fn environment() -> Vec<Vec<u8>> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: the host writes two sizes.
    if unsafe { imports::environ_sizes_get(&mut count, &mut size) } != OK {
        return Vec::new();
    }
    let (mut variables, mut data) = (vec![std::ptr::null_mut::<u8>(); count], vec![0_u8; size]);
    // SAFETY: the host writes as many addresses and bytes as it has said; the addresses are not used.
    if unsafe { imports::environ_get(variables.as_mut_ptr(), data.as_mut_ptr()) } != OK {
        return Vec::new();
    }
    data.split(|byte| *byte == 0).filter(|variable| !variable.is_empty()).map(<[u8]>::to_vec).collect()
}

/// Calls the root's `on_tick` every so many milliseconds; 0: no longer.
pub(super) fn set_tick_period(milliseconds: u32) {
    // SAFETY: no memory is shared.
    unsafe { imports::proxy_set_tick_period_milliseconds(milliseconds) };
}

/// The plugin's configuration, in whatever form Envoy has it.
pub(super) fn plugin_configuration() -> Option<Bytes> {
    // SAFETY: the host writes a pointer and a size.
    bytes(|data, size| unsafe {
        imports::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size)
    })
}

/// So many bytes from a place in what Envoy holds of a body: where it is not held back, the piece that has come.
pub(super) fn body(body: Body, start: usize, size: usize) -> Option<Bytes> {
    // SAFETY: the host writes a pointer and a size.
    bytes(|data, length| unsafe { imports::proxy_get_buffer_bytes(body as u32, start, size, data, length) })
}

/// The first value of a header; its name in lower case.
pub(super) fn header(map: Headers, name: &str) -> Option<Bytes> {
    // SAFETY: the host reads the name, and writes a pointer and a size.
    bytes(|data, size| unsafe {
        imports::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

/// All headers, as [`pairs::values`] reads them; `None` when Envoy does not hand over that many at once. It costs as much
/// as one and a half [`header`]s.
pub(super) fn headers(map: Headers) -> Option<Bytes> {
    // SAFETY: the host writes a pointer and a size.
    let all = bytes(|data, size| unsafe { imports::proxy_get_header_map_pairs(map as u32, data, size) })?;
    // Envoy also returns no bytes where there are too many headers.
    (!all.is_empty()).then_some(all)
}

/// A header that is a number.
pub(super) fn number(map: Headers, name: &str) -> Option<u64> {
    parsed(&header(map, name)?)
}

/// The number that the value of a header is.
pub(super) fn parsed(value: &[u8]) -> Option<u64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// A response's status, as it stands in its headers; also when the request has ended.
pub(super) fn status(map: Headers) -> Option<u64> {
    number(map, ":status")
}

/// Sets a header to one value, whatever it had.
pub(super) fn set_header(map: Headers, name: &str, value: &str) {
    // SAFETY: the host copies name and value before it returns.
    unsafe {
        imports::proxy_replace_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

/// Adds a value to a header.
pub(super) fn add_header(map: Headers, name: &str, value: &str) {
    // SAFETY: the host copies name and value before it returns.
    unsafe {
        imports::proxy_add_header_map_value(
            map as u32,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    };
}

/// Removes a header.
pub(super) fn remove_header(map: Headers, name: &str) {
    // SAFETY: the host reads the name.
    unsafe { imports::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// A property; the parts of its path are separated by NUL.
pub(super) fn property(path: &str) -> Option<Bytes> {
    // SAFETY: the host reads the path, and writes a pointer and a size.
    bytes(|data, size| unsafe { imports::proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// Sets a property of the request: Envoy keeps it in its filter state as `wasm.` and the name.
pub(super) fn set_property(name: &str, value: &str) {
    // SAFETY: the host copies name and value before it returns.
    unsafe { imports::proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) };
}

/// A property that is a number.
pub(super) fn property_u64(path: &str) -> Option<u64> {
    property(path)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Defines a metric; its id is for this VM.
pub(super) fn define_metric(kind: Metric, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes one u32.
    let status = unsafe { imports::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) };
    (status == OK).then_some(id)
}

thread_local! {
    /// The ids of metrics that are looked up by their names.
    static NAMED: RefCell<SortedMap<String, u64>> = RefCell::default();
}

/// The id of a metric that is used now and then. With each definition Envoy keeps another id, also for a name that it has.
#[inline(never)] // one copy in the module
pub(super) fn metric(kind: Metric, name: &str) -> Option<u32> {
    NAMED.with_borrow_mut(|named| {
        if let Some(id) = named.get(name) {
            return u32::try_from(*id).ok();
        }
        let id = define_metric(kind, name)?;
        named.insert(name.to_owned(), id.into());
        Some(id)
    })
}

/// Adds to a counter that is used now and then.
pub(super) fn count(name: &str, by: u64) {
    if let Some(counter) = metric(Metric::Counter, name) {
        add(counter, by);
    }
}

/// Sets a gauge that is used now and then.
pub(super) fn set_gauge(name: &str, value: u64) {
    if let Some(gauge) = metric(Metric::Gauge, name) {
        record(gauge, value);
    }
}

/// Adds one to a counter.
pub(super) fn increment(counter: u32) {
    add(counter, 1);
}

/// Adds to a counter.
pub(super) fn add(counter: u32, by: u64) {
    // SAFETY: no memory is shared.
    unsafe { imports::proxy_increment_metric(counter, i64::try_from(by).unwrap_or(i64::MAX)) };
}

/// Sets a gauge, or records a value in a histogram.
pub(super) fn record(metric: u32, value: u64) {
    // SAFETY: no memory is shared.
    unsafe { imports::proxy_record_metric(metric, value) };
}

/// The value of a gauge, whichever VM has set it.
pub(super) fn gauge(metric: u32) -> Option<u64> {
    let mut value = 0;
    // SAFETY: the host writes one u64.
    let status = unsafe { imports::proxy_get_metric(metric, &mut value) };
    (status == OK).then_some(value)
}

/// A value that all VMs with this `vm_id` share, and what [`set_shared`] wants to replace it.
pub(super) fn shared(key: &str) -> Option<(Bytes, u32)> {
    let mut cas = 0;
    // SAFETY: the host reads the key, and writes a pointer, a size and one u32.
    let value = bytes(|data, size| unsafe {
        imports::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    })?;
    Some((value, cas))
}

/// Replaces a shared value, unless it has been replaced since it was read with this number; 0: whatever is there.
pub(super) fn set_shared(key: &str, value: &[u8], cas: u32) -> Result<(), NotWritten> {
    // SAFETY: the host copies key and value before it returns.
    let status =
        unsafe { imports::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
    match status {
        OK => Ok(()),
        CAS_MISMATCH => Err(NotWritten::Lost),
        _ => Err(NotWritten::Failed),
    }
}

/// Registers this context for the notices of a queue; the last one that registers a name gets them.
pub(super) fn register_queue(name: &str) -> Option<u32> {
    let mut queue = 0;
    // SAFETY: the host reads the name and writes one u32.
    let status = unsafe { imports::proxy_register_shared_queue(name.as_ptr(), name.len(), &mut queue) };
    (status == OK).then_some(queue)
}

/// A queue that a VM with this `vm_id` has registered.
pub(super) fn find_queue(vm_id: &[u8], name: &str) -> Option<u32> {
    let mut queue = 0;
    // SAFETY: the host reads both texts and writes one u32.
    let status = unsafe {
        imports::proxy_resolve_shared_queue(
            vm_id.as_ptr(),
            vm_id.len(),
            name.as_ptr(),
            name.len(),
            &mut queue,
        )
    };
    (status == OK).then_some(queue)
}

/// Puts a value into a queue.
pub(super) fn enqueue(queue: u32, value: &[u8]) {
    // SAFETY: the host copies the value before it returns.
    unsafe { imports::proxy_enqueue_shared_queue(queue, value.as_ptr(), value.len()) };
}

/// Takes the oldest value out of a queue.
pub(super) fn dequeue(queue: u32) -> Option<Bytes> {
    // SAFETY: the host writes a pointer and a size.
    bytes(|data, size| unsafe { imports::proxy_dequeue_shared_queue(queue, data, size) })
}

/// Makes a call of gRPC from a root, with one message there and one back. Returns its number; `None`: it is not made.
///
/// `service` is the message `GrpcService`. `timeout`: milliseconds, not 0.
pub(super) fn call_grpc(
    service: &[u8],
    (name, method): (&str, &str),
    metadata: &[(&str, &str)],
    message: &[u8],
    timeout: u32,
) -> Option<u32> {
    let metadata = pairs::write(metadata);
    let mut token = 0;
    // SAFETY: the host reads and copies all texts before it returns, and writes one u32.
    let status = unsafe {
        imports::proxy_grpc_call(
            service.as_ptr(),
            service.len(),
            name.as_ptr(),
            name.len(),
            method.as_ptr(),
            method.len(),
            metadata.as_ptr(),
            metadata.len(),
            message.as_ptr(),
            message.len(),
            timeout,
            &mut token,
        )
    };
    (status == OK).then_some(token)
}

/// Makes further calls about another context, such as a stream that waits, from a root's callback. `false`
/// when it is gone.
pub(super) fn set_context(context: u32) -> bool {
    // SAFETY: no memory is shared.
    unsafe { imports::proxy_set_effective_context(context) == OK }
}

/// Lets the request of the context that calls are about go on, where it was held back.
pub(super) fn resume() {
    // Among the ABI's streams: the request.
    const REQUEST: u32 = 0;
    // SAFETY: no memory is shared.
    unsafe { imports::proxy_continue_stream(REQUEST) };
}

/// Ends the request of the context that calls are about, wherever it stands: Envoy resets it when this callback is over.
pub(super) fn close() {
    // Among the ABI's streams: the request.
    const REQUEST: u32 = 0;
    // SAFETY: no memory is shared.
    unsafe { imports::proxy_close_stream(REQUEST) };
}

/// Asks an upstream of Envoy's, for the root of the context that calls are about, with headers as [`pairs::write`] writes
/// them. Returns the number that goes with the answer; `None` where Envoy does not even try, as for a cluster that it does
/// not know.
pub(super) fn http_call(cluster: &str, headers: &[u8], body: &[u8], timeout: u32) -> Option<u32> {
    let mut token = 0;
    // SAFETY: the host reads the texts before it returns, and writes one u32; what has no bytes is not read.
    let status = unsafe {
        imports::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            std::ptr::null(),
            0,
            timeout,
            &mut token,
        )
    };
    (status == OK).then_some(token)
}

/// Answers the request of the context that calls are about, in Envoy's name.
pub(super) fn respond(response: &Response) {
    respond_with(response.status, &response.headers, response.body.as_bytes());
}

/// Answers a request with any body.
pub(super) fn respond_with(status: u16, headers: &[(&'static str, String)], body: &[u8]) {
    reply(status.into(), &pairs::write(headers), body);
}

/// The same with headers as [`pairs::write`] writes them.
pub(super) fn reply(status: u32, headers: &[u8], body: &[u8]) {
    // SAFETY: the host copies everything before it returns.
    unsafe {
        imports::proxy_send_local_response(
            status,
            std::ptr::null(),
            0,
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1, // no status of gRPC
        )
    };
}
