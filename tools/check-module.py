#!/usr/bin/env python3
"""Checks a built module: its size, and that every Envoy from 1.36 on offers what it imports.

    check-module.py target/changeover.wasm

The live page, compressed inside the module, is counted apart: its size costs nothing but memory.

A dependency that imports something newer would make the module fail to load in an old Envoy, and one that
is large makes every worker load longer: both are found here, before anybody runs it.
"""
import pathlib
import sys
import zlib

# Bytes. Envoy compiles the module with V8's optimising compiler before it is ready: 1 to 2 s of CPU for each MB, and 20 MB of
# memory. It was 700,000 until payloads, comparison and fleets came, 1,000,000 until notifications and people, 1,280,000
# until receipts of answers, users who come again and drift, 1,300,000 until streams' calls and answers that cannot be read
# were judged, and 1,400,000 until the linker wrote short references and less code was made of the configuration's types, for
# sorting and for fingerprints. The aim was 700,000: docs/performance.md says what stands in the way.
LARGEST = 1_275_000
# The live page, compressed: `build.rs` packs it.
LARGEST_PAGE = 60_000

# The functions of ABI 0.2.1 that Envoy 1.36's host offers (proxy-wasm-cpp-host, exports.h).
ALLOWED = {
    "env": {
        "proxy_add_header_map_value", "proxy_call_foreign_function", "proxy_close_stream", "proxy_continue_stream",
        "proxy_define_metric", "proxy_dequeue_shared_queue", "proxy_done", "proxy_enqueue_shared_queue",
        "proxy_get_buffer_bytes", "proxy_get_current_time_nanoseconds", "proxy_get_header_map_pairs",
        "proxy_get_header_map_size", "proxy_get_header_map_value", "proxy_get_log_level", "proxy_get_metric",
        "proxy_get_property", "proxy_get_shared_data", "proxy_get_status", "proxy_grpc_call", "proxy_grpc_cancel",
        "proxy_grpc_close", "proxy_grpc_send", "proxy_grpc_stream", "proxy_http_call", "proxy_increment_metric",
        "proxy_log", "proxy_record_metric", "proxy_register_shared_queue", "proxy_remove_header_map_value",
        "proxy_replace_header_map_value", "proxy_resolve_shared_queue", "proxy_send_local_response",
        "proxy_set_buffer_bytes", "proxy_set_effective_context", "proxy_set_header_map_pairs", "proxy_set_property",
        "proxy_set_shared_data", "proxy_set_tick_period_milliseconds",
    },
    "wasi_snapshot_preview1": {
        "args_get", "args_sizes_get", "clock_time_get", "environ_get", "environ_sizes_get", "fd_close",
        "fd_fdstat_get", "fd_read", "fd_seek", "fd_write", "proc_exit", "random_get",
    },
}
# What a host calls; without them it does nothing. Envoy enters what else it finds as well, for each request.
NEEDED_EXPORTS = {
    "memory", "proxy_abi_version_0_2_1", "proxy_on_configure", "proxy_on_context_create", "proxy_on_done",
    "proxy_on_grpc_close", "proxy_on_grpc_receive", "proxy_on_http_call_response", "proxy_on_log",
    "proxy_on_memory_allocate", "proxy_on_queue_ready", "proxy_on_request_body", "proxy_on_request_headers",
    "proxy_on_request_trailers", "proxy_on_response_body", "proxy_on_response_headers", "proxy_on_response_trailers",
    "proxy_on_tick",
}


class Reader:
    """Reads WebAssembly's binary format (https://webassembly.github.io/spec/core/binary/)."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def number(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def take(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def name(self):
        return self.take(self.number()).decode()

    def limits(self):
        for _ in range(2 if self.byte() & 1 else 1):
            self.number()


def sections(data):
    if data[:8] != b"\0asm\1\0\0\0":
        sys.exit("not a WebAssembly module")
    reader = Reader(data)
    reader.at = 8
    while reader.at < len(data):
        number = reader.byte()
        yield number, Reader(reader.take(reader.number()))


def page(data):
    """The live page's bytes: the only part in gzip's format that holds HTML."""
    at = data.find(b"\x1f\x8b\x08")
    while at >= 0:
        packed = zlib.decompressobj(wbits=31)
        try:
            if packed.decompress(data[at:]).startswith(b"<!doctype html>") and packed.eof:
                return len(data) - at - len(packed.unused_data)
        except zlib.error:
            pass
        at = data.find(b"\x1f\x8b\x08", at + 1)
    return 0


def imports(section):
    for _ in range(section.number()):
        module, name, kind = section.name(), section.name(), section.byte()
        yield module, name
        if kind == 0:  # a function: its type
            section.number()
        elif kind == 1:  # a table: its element type and limits
            section.byte()
            section.limits()
        elif kind == 2:  # a memory
            section.limits()
        else:  # a global: its type and mutability
            section.take(2)


def exports(section):
    for _ in range(section.number()):
        yield section.name()
        section.byte()
        section.number()


def main(path):
    data = pathlib.Path(path).read_bytes()
    complaints = []
    of_page = page(data)
    rest = len(data) - of_page
    if rest > LARGEST:
        complaints.append(f"{rest:,} bytes are over the limit of {LARGEST:,}")
    if not 0 < of_page <= LARGEST_PAGE:
        complaints.append(f"the live page has {of_page:,} bytes; expected some, and at most {LARGEST_PAGE:,}")
    missing = set(NEEDED_EXPORTS)
    for number, section in sections(data):
        if number == 2:
            complaints += [
                f"imports {module}.{name}, which is not in the list of what every supported Envoy offers"
                for module, name in imports(section)
                if name not in ALLOWED.get(module, ())
            ]
        elif number == 7:
            found = set(exports(section))
            missing -= found
            complaints += [
                f"exports {name}, which it does not need and Envoy would enter"
                for name in sorted(found - NEEDED_EXPORTS)
                if name.startswith("proxy_on_")
            ]
    complaints += [f"does not export {name}" for name in sorted(missing)]
    print(f"{path}: {rest:,} bytes, and {of_page:,} of the live page")
    for complaint in complaints:
        print(f"{path}: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
