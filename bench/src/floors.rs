//! What any allocator of this kind must cost, and one well-known peer.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use buddy_system_allocator::FrameAllocator;
use parking_lot::Mutex;

use crate::pairs::{Shape, Subject};

/// One lock around a Vec for each CPU: lock, pop, unlock; lock, push, unlock. The floor of a per-CPU
/// page list behind a lock, without order, zone, counter or merge.
pub(crate) struct MutexVec(Vec<Line>);

/// Two cache lines, so that neighbours don't share what the prefetcher takes.
#[repr(align(128))]
struct Line(Mutex<Vec<u64>>);

impl Subject for MutexVec {
    type Context = usize;

    fn new(shape: Shape) -> Self {
        let each = (shape.frames >> shape.order) / shape.cpus as u64;
        let list = |cpu| (cpu * each..(cpu + 1) * each).rev().map(|n| n << shape.order).collect();
        Self((0..shape.cpus as u64).map(|cpu| Line(Mutex::new(list(cpu)))).collect())
    }

    fn context(&self, cpu: usize) -> usize {
        cpu
    }

    #[inline(always)]
    fn alloc(&self, cpu: &usize, _order: u8) -> Option<u64> {
        self.0[*cpu].0.lock().pop()
    }

    #[inline(always)]
    fn free(&self, cpu: &usize, frame: u64, _order: u8) {
        self.0[*cpu].0.lock().push(frame);
    }
}

/// `buddy_system_allocator::FrameAllocator` behind one lock.
pub(crate) struct BuddyCrate(Mutex<FrameAllocator<33>>);

impl Subject for BuddyCrate {
    type Context = ();

    fn new(shape: Shape) -> Self {
        let mut frames = FrameAllocator::new();
        frames.add_frame(0, shape.frames as usize);
        Self(Mutex::new(frames))
    }

    fn context(&self, _cpu: usize) {}

    #[inline(always)]
    fn alloc(&self, (): &(), order: u8) -> Option<u64> {
        self.0.lock().alloc(1 << order).map(|frame| frame as u64)
    }

    #[inline(always)]
    fn free(&self, (): &(), frame: u64, order: u8) {
        self.0.lock().dealloc(frame as usize, 1 << order);
    }
}

/// An uncontended lock and unlock.
pub(crate) fn lock() -> impl Fn() {
    let lock = Mutex::new(0u64);
    move || *black_box(&lock).lock() += 1
}

/// An atomic add.
pub(crate) fn atomic_add() -> impl Fn() {
    let word = AtomicU64::new(0);
    move || {
        black_box(&word).fetch_add(1, Ordering::Relaxed);
    }
}

/// Two TSC reads, as recording a sample makes them.
pub(crate) fn two_tsc_reads() -> impl Fn() {
    let clock = quanta::Clock::new();
    move || {
        black_box((clock.raw(), clock.raw()));
    }
}
