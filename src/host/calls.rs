//! Every call from the module into Envoy, and the module's entry point: the only file with unsafe code.
//!
//! The SDK's own wrappers panic on a status they do not expect and on headers that are not UTF-8, both of
//! which a client can cause, and a panic costs the worker's VM. These return an `Option`: a call that fails
//! is a value that is not there. The ABI is <https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1>.

#![allow(unsafe_code)] // calls across the ABI; each wrapper states why it is sound

use proxy_wasm::types::LogLevel;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| Box::new(super::root::Root::new()));
}}

mod abi {
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
        pub(super) fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, id: *mut u32) -> u32;
        pub(super) fn proxy_increment_metric(id: u32, by: i64) -> u32;
        pub(super) fn proxy_record_metric(id: u32, value: u64) -> u32;
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
    }

    #[link(wasm_import_module = "wasi_snapshot_preview1")]
    unsafe extern "C" {
        pub(super) fn random_get(data: *mut u8, size: usize) -> u32;
    }
}

/// The status of a call that did what it was asked.
const OK: u32 = 0;
/// Somebody else changed the shared value first.
const CAS_MISMATCH: u32 = 8;

/// A map of headers.
#[derive(Clone, Copy)]
pub(super) enum Headers {
    /// The request's, writable while its headers are being handled.
    Request = 0,
    /// The response's.
    Response = 2,
}

/// A kind of metric.
#[derive(Clone, Copy)]
pub(super) enum Metric {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

/// The plugin's configuration among the ABI's buffers.
const PLUGIN_CONFIGURATION: u32 = 7;

/// Calls a function that returns bytes, and takes them over.
fn bytes(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Option<Vec<u8>> {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    if call(&mut data, &mut size) != OK {
        return None;
    }
    if data.is_null() || size == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the host puts what it returns into memory that it asks the SDK's allocator for
    // (`proxy_on_memory_allocate`), which is a boxed slice of exactly `size` bytes, and gives it away.
    Some(unsafe { Vec::from_raw_parts(data, size, size) })
}

/// Writes a line to Envoy's log.
pub(super) fn log(level: LogLevel, text: &str) {
    // SAFETY: the host copies the text before it returns.
    unsafe { abi::proxy_log(level as u32, text.as_ptr(), text.len()) };
}

/// The level of Envoy's logger for Wasm: 0 (trace) to 5 (critical), more when it is off.
pub(super) fn log_level() -> u32 {
    let mut level = LogLevel::Info as u32;
    // SAFETY: the host writes one u32.
    unsafe { abi::proxy_get_log_level(&mut level) };
    level
}

/// Nanoseconds since the epoch. The clock may be set back.
pub(super) fn now() -> u64 {
    let mut now = 0;
    // SAFETY: the host writes one u64.
    unsafe { abi::proxy_get_current_time_nanoseconds(&mut now) };
    now
}

/// 64 random bits from the operating system.
pub(super) fn entropy() -> u64 {
    let mut seed = [0; 8];
    // SAFETY: the host writes that many bytes.
    unsafe { abi::random_get(seed.as_mut_ptr(), seed.len()) };
    u64::from_le_bytes(seed)
}

/// Calls the root's `on_tick` every so many milliseconds; 0: no longer.
pub(super) fn set_tick_period(milliseconds: u32) {
    // SAFETY: no memory is shared.
    unsafe { abi::proxy_set_tick_period_milliseconds(milliseconds) };
}

/// The plugin's configuration, in whatever form Envoy has it.
pub(super) fn plugin_configuration() -> Option<Vec<u8>> {
    // SAFETY: the host writes a pointer and a size.
    bytes(|data, size| unsafe {
        abi::proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, usize::MAX, data, size)
    })
}

/// The first value of a header; its name in lower case.
pub(super) fn header(map: Headers, name: &str) -> Option<Vec<u8>> {
    // SAFETY: the host reads the name, and writes a pointer and a size.
    bytes(|data, size| unsafe {
        abi::proxy_get_header_map_value(map as u32, name.as_ptr(), name.len(), data, size)
    })
}

/// Sets a header to one value, whatever it had.
pub(super) fn set_header(map: Headers, name: &str, value: &str) {
    // SAFETY: the host copies name and value before it returns.
    unsafe {
        abi::proxy_replace_header_map_value(
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
        abi::proxy_add_header_map_value(map as u32, name.as_ptr(), name.len(), value.as_ptr(), value.len())
    };
}

/// Removes a header.
pub(super) fn remove_header(map: Headers, name: &str) {
    // SAFETY: the host reads the name.
    unsafe { abi::proxy_remove_header_map_value(map as u32, name.as_ptr(), name.len()) };
}

/// A property; the parts of its path are separated by NUL.
pub(super) fn property(path: &str) -> Option<Vec<u8>> {
    // SAFETY: the host reads the path, and writes a pointer and a size.
    bytes(|data, size| unsafe { abi::proxy_get_property(path.as_ptr(), path.len(), data, size) })
}

/// A property that is a number.
pub(super) fn property_u64(path: &str) -> Option<u64> {
    property(path)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

/// Defines a metric; its id is for this VM.
pub(super) fn define_metric(kind: Metric, name: &str) -> Option<u32> {
    let mut id = 0;
    // SAFETY: the host reads the name and writes one u32.
    let status = unsafe { abi::proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &mut id) };
    (status == OK).then_some(id)
}

/// Adds one to a counter.
pub(super) fn increment(counter: u32) {
    // SAFETY: no memory is shared.
    unsafe { abi::proxy_increment_metric(counter, 1) };
}

/// Sets a gauge, or records a value in a histogram.
pub(super) fn record(metric: u32, value: u64) {
    // SAFETY: no memory is shared.
    unsafe { abi::proxy_record_metric(metric, value) };
}

/// A value that all VMs with this `vm_id` share, and what [`set_shared`] wants to replace it.
pub(super) fn shared(key: &str) -> Option<(Vec<u8>, u32)> {
    let mut cas = 0;
    // SAFETY: the host reads the key, and writes a pointer, a size and one u32.
    let value = bytes(|data, size| unsafe {
        abi::proxy_get_shared_data(key.as_ptr(), key.len(), data, size, &mut cas)
    })?;
    Some((value, cas))
}

/// Replaces a shared value; `false` when somebody else has since it was read.
pub(super) fn set_shared(key: &str, value: &[u8], cas: u32) -> bool {
    // SAFETY: the host copies key and value before it returns.
    let status =
        unsafe { abi::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) };
    status != CAS_MISMATCH
}
