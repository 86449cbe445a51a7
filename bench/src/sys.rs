//! Clock, CPUs and pinning.

use std::sync::OnceLock;

/// CPUs that this process may run on.
pub(crate) fn cpus() -> usize {
    allowed().len().max(1)
}

fn allowed() -> &'static [core_affinity::CoreId] {
    static ALLOWED: OnceLock<Vec<core_affinity::CoreId>> = OnceLock::new();
    ALLOWED.get_or_init(|| core_affinity::get_core_ids().unwrap_or_default())
}

/// Pins the calling thread to the n-th allowed CPU, wrapping around.
pub(crate) fn pin(n: usize) {
    if !allowed().is_empty() {
        core_affinity::set_for_current(allowed()[n % allowed().len()]);
    }
}

/// CPU time of the calling thread in ns.
pub(crate) fn thread_ns() -> u64 {
    let mut ts = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a timespec of this frame.
    let got = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut ts) };
    assert_eq!(got, 0, "clock_gettime(CLOCK_THREAD_CPUTIME_ID)");
    ts.tv_sec as u64 * 1_000_000_000 + ts.tv_nsec as u64
}

/// From now on each large table comes from the kernel, as it does in a process that has just begun: the
/// heap would keep a freed one and clear it for the next.
pub(crate) fn take_tables_from_the_kernel() {
    const LARGE_BYTES: libc::c_int = 1 << 20;
    // SAFETY: mallopt takes two numbers; where it refuses them nothing changes.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
}

/// How often the calling thread has lost its CPU to another.
pub(crate) fn involuntary_switches() -> i64 {
    // SAFETY: all bytes zero are a value of this plain struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a struct of this frame.
    let got = unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) };
    assert_eq!(got, 0, "getrusage(RUSAGE_THREAD)");
    usage.ru_nivcsw
}
