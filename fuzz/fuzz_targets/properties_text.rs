#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ferromq_fuzz::properties_text(bytes));
