#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    changeover_fuzz::receipt(input);
});
