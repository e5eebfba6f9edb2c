#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| trunkstream_fuzz::sip_dialogs(octets));
