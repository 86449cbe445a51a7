//! Taking a block from a zone that passed the watermark check: pcplist or buddy.
//!
//! **What.** `rmqueue`, `rmqueue_pcplist`, `rmqueue_buddy` (docs/kernel/pcplists.md#a6 "Allocate",
//! B.3 step 6), and the counters that go with a page (B.3 "Statistics").

use crate::gfp::{AllocFlags, MigrateType};
use crate::ids::Pfn;
use crate::race::Point;
use crate::run::kernel::Kernel;
use crate::run::task::{Cx, count};
use crate::sync::SectionGuard;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role, SectionHold, add_pages};
use crate::zone::frame::{Frame, FrameState, flag};
use crate::zone::pcp::{Pcp, PcpLists};
use crate::zone::{Zone, zone_flag};

/// Request facts that taking a block needs.
#[derive(Clone, Copy, Debug)]
pub struct Rmqueue {
    /// Order of the block.
    pub order: u8,
    /// Type wanted.
    pub migratetype: MigrateType,
    /// The flags that the zone was tested with.
    pub alloc_flags: AllocFlags,
    /// Is the zone on the preferred zone's node (numa_hit)?
    pub is_preferred: bool,
}

impl Kernel {
    /// Enters the pcp section of this CPU. None: a trylock failed as the kernel's would, against a
    /// remote drain or the context's own interrupted section (6.0+).
    #[inline]
    pub fn pcp_enter<'z>(
        &self,
        cx: &Cx,
        zone: &'z Zone,
        pcp: &'z Pcp,
    ) -> Option<SectionGuard<'z, PcpLists>> {
        match pcp.try_enter() {
            Some(guard) => Some(guard),
            None => self.pcp_enter_contended(cx, zone, pcp),
        }
    }

    #[cold]
    #[inline(never)]
    fn pcp_enter_contended<'z>(
        &self,
        cx: &Cx,
        zone: &'z Zone,
        pcp: &'z Pcp,
    ) -> Option<SectionGuard<'z, PcpLists>> {
        let own = cx.pcp_section() == Some(zone.id);
        if self.pcp_rules.trylock && (own || pcp.draining.load(Ordering::Relaxed)) {
            return None;
        }
        assert!(!own, "interrupted pcp section entered again with interrupts off");
        count(&cx.stats.pcp_section_waits, 1);
        Some(pcp.enter())
    }

    /// Takes a block from `zone`, marked as allocated with one reference.
    #[inline(always)]
    pub fn rmqueue<const R: bool>(&self, cx: &Cx, zone: &Zone, req: Rmqueue) -> Option<Pfn> {
        if let Some(pindex) = self.pcp_rules.pindex(req.order, req.migratetype) {
            let pcp = &zone.pcp[cx.cpu().index()];
            if R {
                self.point(cx, Point::P2Enter);
            }
            if let Some(mut lists) = self.pcp_enter(cx, zone, pcp) {
                let held = R.then(|| SectionHold::entered(pcp));
                let pfn = self.rmqueue_pcplist::<R>(cx, zone, pcp, &mut lists, pindex, req);
                pcp.check_count(&lists);
                drop(lists);
                drop(held);
                if R {
                    self.point(cx, Point::P5Leave);
                }
                if pfn.is_some() || !self.pcp_rules.miss_tries_buddy {
                    return pfn;
                }
            }
        }
        self.rmqueue_buddy(cx, zone, req)
    }

    #[inline(always)]
    fn rmqueue_pcplist<const R: bool>(
        &self,
        cx: &Cx,
        zone: &Zone,
        pcp: &Pcp,
        lists: &mut PcpLists,
        pindex: usize,
        req: Rmqueue,
    ) -> Option<Pfn> {
        if self.pcp_rules.auto_tune {
            lists.free_count >>= 1;
        } else {
            lists.free_factor >>= 1;
        }
        let (pfn, frame) = match lists.list(pindex).pop_head(&self.frames) {
            Some(block) => block,
            None => self.refill(cx, zone, pcp, lists, pindex, req)?,
        };
        let pages = 1u32 << req.order;
        pcp.add_count(-(pages as i32));
        frame.set_state(new_page_state(req.order, req.alloc_flags));
        lists.events.count_alloc(pages, req.is_preferred, pcp.is_local);
        if R {
            cx.event(Point::PrTaken, [u64::from(pfn.0), 0, 0]);
        }
        if zone.nr_isolate_pageblock.load(Ordering::Relaxed) != 0 {
            self.isolation_handed_out(cx, zone, pfn, true);
        }
        Some(pfn)
    }

    /// Fills an empty list from the buddy and takes its first block.
    #[cold]
    #[inline(never)]
    fn refill<'k>(
        &'k self,
        cx: &Cx,
        zone: &Zone,
        pcp: &Pcp,
        lists: &mut PcpLists,
        pindex: usize,
        req: Rmqueue,
    ) -> Option<(Pfn, &'k Frame)> {
        let below_high = zone.has_flag(zone_flag::BELOW_HIGH);
        let blocks = pcp.refill_blocks(lists, &self.pcp_rules, req.order, below_high);
        let mut fallback = crate::zone::buddy::Fallback::default();
        let _role = As::role_if_none(Role::Alloc);
        let got = {
            let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
            let got = self.buddy(zone).rmqueue_bulk(
                &mut locked,
                cx.cpu(),
                req.order,
                blocks,
                lists.list(pindex),
                req.migratetype,
                req.alloc_flags.contains(AllocFlags::NOFRAGMENT),
                &mut fallback,
            );
            add_pages(u64::from(got << req.order));
            got
        };
        self.count_fallback(cx, fallback);
        if self.instrumented {
            // The blocks are off the buddy and not yet handed over: in transit (J5-f).
            let _mark = cx.mark_pcp_section(zone.id);
            self.point(cx, Point::PrRefilled);
        }
        let pages = got << req.order;
        pcp.add_count(pages as i32);
        lists.events.refills += u64::from(got > 0);
        lists.events.refill_pages += u64::from(pages);
        lists.list(pindex).pop_head(&self.frames)
    }

    /// Takes a block straight from the free lists, under zone->lock (`rmqueue_buddy`).
    #[inline(never)]
    pub fn rmqueue_buddy(&self, cx: &Cx, zone: &Zone, req: Rmqueue) -> Option<Pfn> {
        let flags = req.alloc_flags;
        let buddy = self.buddy(zone);
        let mut fallback = crate::zone::buddy::Fallback::default();
        let _role = As::role_if_none(Role::Alloc);
        let pfn = {
            let mut locked = zone.lock.lock(|| count(&cx.stats.zone_lock_waits, 1));
            let l = &mut *locked;
            let mut got = None;
            if req.order > 0 && flags.intersects(self.rules.highatomic_flags) {
                got = buddy
                    .rmqueue_smallest(l, req.order, MigrateType::HighAtomic)
                    .map(|pfn| (pfn, MigrateType::HighAtomic));
            }
            let got = got
                .or_else(|| {
                    let no_fragment = flags.contains(AllocFlags::NOFRAGMENT);
                    buddy.rmqueue(l, req.order, req.migratetype, no_fragment, &mut fallback)
                })
                .or_else(|| {
                    flags
                        .intersects(self.rules.highatomic_last_flags)
                        .then(|| buddy.rmqueue_smallest(l, req.order, MigrateType::HighAtomic))
                        .flatten()
                        .map(|pfn| (pfn, MigrateType::HighAtomic))
                });
            got.map(|(pfn, from)| {
                add_pages(1 << req.order);
                buddy.account(l, cx.cpu(), -(1 << req.order), from);
                self.frames.get(pfn).set_state(new_page_state(req.order, flags));
                if zone.nr_isolate_pageblock.load(Ordering::Relaxed) != 0 {
                    self.isolation_handed_out(cx, zone, pfn, false);
                }
                pfn
            })
        }?;
        self.count_fallback(cx, fallback);
        self.count_alloc(cx, zone, req);
        Some(pfn)
    }

    /// Counts a page that came past the pcplists, on this CPU's counters of the zone.
    fn count_alloc(&self, cx: &Cx, zone: &Zone, req: Rmqueue) {
        let vm = &self.cpus[cx.cpu().index()].vm;
        vm.pgalloc[zone.idx().index()].fetch_add(1 << req.order, Ordering::Relaxed);
        let local = zone.node() == self.cpu_node(cx.cpu());
        let numa = |cell: &crate::sync::atomic::AtomicU64| cell.fetch_add(1, Ordering::Relaxed);
        numa(if req.is_preferred { &vm.numa_hit } else { &vm.numa_miss });
        numa(if local { &vm.numa_local } else { &vm.numa_other });
    }

    fn count_fallback(&self, cx: &Cx, fallback: crate::zone::buddy::Fallback) {
        if fallback.fallbacks > 0 {
            let vm = &self.cpus[cx.cpu().index()].vm;
            vm.extfrag.fetch_add(u64::from(fallback.fallbacks), Ordering::Relaxed);
            vm.extfrag_claimed.fetch_add(u64::from(fallback.claimed), Ordering::Relaxed);
        }
    }
}

/// The state of a block that is handed out (`prep_new_page`).
#[inline]
fn new_page_state(order: u8, flags: AllocFlags) -> FrameState {
    let mut state = FrameState::allocated(order);
    if flags.contains(AllocFlags::NO_WATERMARKS) {
        state.0 |= flag::PFMEMALLOC;
    }
    state
}
