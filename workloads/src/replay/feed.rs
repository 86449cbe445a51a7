//! Feeding the model: one event at a time, by request or by pfn.
//!
//! **What.** [`Feed::event`] does what an event says, on the recorded CPU. By request the model picks
//! the pages: an allocation fills its slot, a free empties it. By pfn the trace dictates the blocks.
//!
//! **Why counts before and after.** How much a request refilled or a free drained is the change of the
//! CPU's own pcp counts that it does not explain itself: nobody else changes them.

use allocator::gfp::{Gfp, MigrateType};
use allocator::ids::{CpuId, Pfn, ZoneId};
use allocator::page_alloc::Nodemask;
use allocator::replay::dictate::Taken;
use allocator::run::kernel::Kernel;
use allocator::run::task::Cx;
use allocator::sync::atomic::{AtomicU32, Ordering};
use allocator::sync::{Arc, Mutex};
use allocator::zone::frame::FrameKind;

use super::event::{Event, NO_SLOT, Op};
use super::evidence::is_pcp_order;
use super::recording::Recording;
use super::tally::Tally;
use crate::Recorder;

/// Operations, by their index in `Info::ops`.
pub mod op {
    /// An allocation.
    pub const ALLOC: usize = 0;
    /// A free.
    pub const FREE: usize = 1;
    /// Any event.
    pub const EVENT: usize = 2;
}

/// Who picks the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The model.
    Request,
    /// The trace.
    Pfn,
}

/// What a slot holds before its allocation.
const EMPTY: u32 = 0;
/// What a slot holds if its allocation failed.
const FAILED: u32 = u32::MAX;

/// What all tasks of a round share.
#[derive(Debug)]
pub struct Shared {
    /// What is replayed.
    pub recording: Arc<Recording>,
    /// First frame + 1 of the block in each slot.
    slots: Box<[AtomicU32]>,
    /// Zones with memory.
    zones: Vec<ZoneId>,
    /// What tasks counted that have ended.
    pub tally: Mutex<Tally>,
}

impl Shared {
    /// For a round on a model that stands at the recording's start.
    pub fn new(recording: &Arc<Recording>, kernel: &Kernel) -> Self {
        Self {
            recording: Arc::clone(recording),
            slots: (0..recording.digest.slots).map(|_| AtomicU32::new(EMPTY)).collect(),
            zones: kernel.populated_zones().map(|z| z.id).collect(),
            tally: Mutex::default(),
        }
    }

    /// Pages on a CPU's pcplists in all zones.
    #[inline]
    fn pcp_pages(&self, kernel: &Kernel, cpu: CpuId) -> u32 {
        self.zones.iter().map(|id| kernel.zones[id.index()].pcp[cpu.index()].count()).sum()
    }

    /// Blocks that a CPU has drained so far.
    pub fn drained_blocks(&self, kernel: &Kernel, cpu: CpuId) -> u64 {
        let of =
            |id: &ZoneId| kernel.zones[id.index()].pcp[cpu.index()].enter().events.drain_blocks;
        self.zones.iter().map(of).sum()
    }

    /// Fallbacks and pageblocks claimed so far.
    pub fn fallbacks(kernel: &Kernel) -> (u64, u64) {
        let sum = |of: fn(&allocator::run::cpu::Cpu) -> &allocator::sync::atomic::AtomicU64| {
            kernel.cpus.iter().map(|cpu| of(cpu).load(Ordering::Relaxed)).sum()
        };
        (sum(|cpu| &cpu.vm.extfrag), sum(|cpu| &cpu.vm.extfrag_claimed))
    }
}

/// Feeds events for a task.
#[derive(Debug)]
pub struct Feed {
    /// What all tasks share.
    pub shared: Arc<Shared>,
    /// Who picks the pages.
    pub by: By,
    /// Has the window begun?
    pub in_window: bool,
    /// What was done.
    pub tally: Tally,
}

impl Feed {
    /// Does an event. False: it waits for an allocation on another CPU; nothing was done.
    pub fn event(
        &mut self,
        kernel: &Kernel,
        cx: &Cx,
        recorder: &mut dyn Recorder,
        event: &Event,
    ) -> bool {
        let done = match self.by {
            By::Pfn => {
                self.by_pfn(kernel, cx, event);
                true
            }
            By::Request if event.in_interrupt => {
                cx.interrupt(|| self.by_request(kernel, cx, recorder, event))
            }
            By::Request => self.by_request(kernel, cx, recorder, event),
        };
        self.tally.events += u64::from(done && event.op != Op::Nop);
        done
    }

    fn fill(&self, slot: u32, block: Option<Pfn>) {
        let word = block.map_or(FAILED, |pfn| pfn.0 + 1);
        // Release: pairs with the Acquire in `held`; whoever frees the block on another CPU sees the
        // frames as the allocation left them.
        self.shared.slots[slot as usize].store(word, Ordering::Release);
    }

    /// The block in a slot: none yet, or `Some(None)` if its allocation failed.
    fn held(&self, slot: u32) -> Option<Option<Pfn>> {
        // Acquire: pairs with the Release in `fill`.
        match self.shared.slots[slot as usize].load(Ordering::Acquire) {
            EMPTY => None,
            FAILED => Some(None),
            word => Some(Some(Pfn(word - 1))),
        }
    }

    fn by_request(
        &mut self,
        kernel: &Kernel,
        cx: &Cx,
        recorder: &mut dyn Recorder,
        event: &Event,
    ) -> bool {
        match event.op {
            Op::Alloc => {
                let gfp = self.shared.recording.gfps.get(usize::from(event.tag));
                let gfp = Gfp::from_bits_retain(gfp.copied().unwrap_or(0));
                self.request(kernel, cx, Some(recorder), event, gfp);
            }
            Op::Bulk => {
                let gfp = match MigrateType::from_index(usize::from(event.tag)) {
                    Some(MigrateType::Movable) => Gfp::HIGHUSER_MOVABLE,
                    Some(MigrateType::Reclaimable) => Gfp::KERNEL | Gfp::RECLAIMABLE,
                    Some(_) | None => Gfp::KERNEL,
                };
                self.request(kernel, cx, None, event, gfp);
            }
            Op::Free | Op::FreeStraight | Op::FreePart => {
                return self.give_back(kernel, cx, recorder, event);
            }
            Op::Split => match self.held(event.slot) {
                None => return false,
                Some(None) => {}
                Some(Some(pfn)) => kernel.split_page(pfn, event.order),
            },
            Op::Decay => {
                let before = self.shared.pcp_pages(kernel, cx.cpu());
                for id in &self.shared.zones {
                    kernel.decay_pcp_high(cx, &kernel.zones[id.index()]);
                }
                let after = self.shared.pcp_pages(kernel, cx.cpu());
                self.count_drain(before - after);
            }
            Op::Nop | Op::Take | Op::TakeDirect | Op::Drain | Op::Claim => {}
        }
        true
    }

    fn request(
        &mut self,
        kernel: &Kernel,
        cx: &Cx,
        recorder: Option<&mut dyn Recorder>,
        event: &Event,
        gfp: Gfp,
    ) {
        let is_traced = recorder.is_some();
        // Which node was asked first no record says; the page tells where it came from.
        let nid = kernel.page_node(Pfn(event.pfn)).unwrap_or_else(|| kernel.cpu_node(cx.cpu()));
        let before = self.shared.pcp_pages(kernel, cx.cpu());
        let ask = || kernel.alloc_pages(cx, gfp, event.order, nid, Nodemask::None);
        let block = match recorder {
            Some(recorder) => {
                let start = recorder.now();
                let block = ask();
                recorder.record(op::ALLOC, start);
                block
            }
            None => ask(),
        };
        self.fill(event.slot, block);
        if !self.in_window {
            return;
        }
        let order = usize::from(event.order);
        match block {
            None => self.tally.failed += 1,
            Some(_) if is_traced => self.tally.allocs[order] += 1,
            Some(_) => {}
        }
        if !is_pcp_order(event.order) {
            self.tally.direct += 1;
        }
        let after = self.shared.pcp_pages(kernel, cx.cpu());
        let pages = 1 << event.order;
        // A block from the free lists themselves leaves the counts as they are.
        if after > before && event.order == 0 {
            *self.tally.refills.entry(after + pages - before).or_default() += 1;
        } else if after == before && event.order == 0 && block.is_some() {
            *self.tally.refills.entry(pages).or_default() += 1;
        }
    }

    fn give_back(
        &mut self,
        kernel: &Kernel,
        cx: &Cx,
        recorder: &mut dyn Recorder,
        event: &Event,
    ) -> bool {
        let block = match (event.slot, event.op) {
            (NO_SLOT, _) => Some(Pfn(event.pfn)),
            (slot, op) => match self.held(slot) {
                None => return false,
                Some(block) if op == Op::FreePart => block.map(|pfn| pfn.add(event.pfn)),
                Some(block) => block,
            },
        };
        let joins = |pfn: Pfn| {
            let needs = event.op == Op::FreePart && event.order > 0;
            !needs || kernel.join_pages(pfn, event.order)
        };
        let Some(pfn) = block.filter(|pfn| joins(*pfn) && is_held(kernel, *pfn, event.order))
        else {
            self.tally.left_out += 1;
            return true;
        };
        let before = self.shared.pcp_pages(kernel, cx.cpu());
        let start = recorder.now();
        match kernel.page_zone(pfn).filter(|_| event.op == Op::FreeStraight) {
            Some(zone) => {
                let of = kernel.pageblocks.of(pfn).migratetype();
                kernel.free_one_page(cx, zone, pfn, event.order, of);
            }
            None => kernel.free_pages(cx, pfn, event.order),
        }
        recorder.record(op::FREE, start);
        if self.in_window {
            self.tally.frees += 1;
            let after = self.shared.pcp_pages(kernel, cx.cpu());
            let onto_pcp = event.op != Op::FreeStraight && is_pcp_order(event.order);
            let put = if onto_pcp { 1 << event.order } else { 0 };
            self.count_drain((before + put).saturating_sub(after));
        }
        true
    }

    fn count_drain(&mut self, pages: u32) {
        if pages > 0 && self.in_window {
            *self.tally.drains.entry(pages).or_default() += 1;
        }
    }

    fn by_pfn(&mut self, kernel: &Kernel, cx: &Cx, event: &Event) {
        let pfn = Pfn(event.pfn);
        let of = || MigrateType::from_index(usize::from(event.tag)).unwrap_or(MigrateType::Movable);
        let done = match event.op {
            Op::Alloc | Op::Bulk => {
                self.fill(event.slot, Some(pfn));
                let done = kernel.dictate_alloc(cx, pfn, event.order);
                if done && self.in_window && event.op == Op::Alloc {
                    self.tally.allocs[usize::from(event.order)] += 1;
                }
                done
            }
            Op::Free | Op::FreeStraight => {
                self.tally.frees += u64::from(self.in_window);
                kernel.dictate_free(cx, pfn, event.order, event.op == Op::FreeStraight)
            }
            Op::Split => {
                kernel.split_page(pfn, event.order);
                true
            }
            Op::FreePart => {
                self.tally.frees += u64::from(self.in_window);
                let part = self.held(event.slot).flatten().map(|block| block.add(event.pfn));
                part.is_some_and(|part| {
                    (event.order == 0 || kernel.join_pages(part, event.order))
                        && kernel.dictate_free(cx, part, event.order, false)
                })
            }
            Op::Take => self.take(kernel, cx, event, Some(of())),
            Op::TakeDirect => self.take(kernel, cx, event, None),
            Op::Drain => {
                self.tally.drained += u64::from(self.in_window);
                kernel.dictate_drain(cx, pfn, event.order, of())
            }
            Op::Claim => {
                kernel.dictate_claim(cx, pfn, event.order, of());
                true
            }
            Op::Nop | Op::Decay => true,
        };
        self.tally.left_out += u64::from(!done);
    }

    fn take(&mut self, kernel: &Kernel, cx: &Cx, event: &Event, to: Option<MigrateType>) -> bool {
        let takes = &mut self.tally.takes;
        takes.all += 1;
        let found = kernel.dictate_take(cx, Pfn(event.pfn), event.order, to);
        match found {
            Taken::Free(from, of) => {
                takes.free += 1;
                takes.of_type += u64::from(of as u8 == event.tag);
                takes.splits[usize::from(from - event.order)] += 1;
            }
            Taken::OnPcp => takes.on_pcp += 1,
            Taken::Allocated => takes.allocated += 1,
            Taken::Nowhere => {}
        }
        if !matches!(found, Taken::Free(..)) {
            takes.first_missed.get_or_insert(event.pfn);
        }
        found != Taken::Nowhere
    }
}

fn is_held(kernel: &Kernel, pfn: Pfn, order: u8) -> bool {
    let state = kernel.frames.get(pfn).state();
    state.kind() == FrameKind::Allocated && state.order() == order
}
