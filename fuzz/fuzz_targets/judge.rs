#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    thread_local!(static DIR: tempfile::TempDir = tempfile::tempdir().unwrap());
    let target = bodies::TARGETS.iter().find(|target| target.0 == "judge").unwrap();
    DIR.with(|dir| bodies::run(target, dir.path(), data));
});
