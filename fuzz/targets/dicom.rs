#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| prunella_fuzz::dicom(data));
