//! Draining pcplists: on each CPU by queued work (up to 5.19) or through the remote lock (6.0+).
//!
//! **What.** `drain_all_pages`, `__drain_all_pages`, `drain_pages_zone` (docs/kernel/pcplists.md#a6
//! "Drain").
//!
//! **Why it matters.** A drain serialises with every pcp section that began before it on a CPU,
//! but only if that CPU is in its set: the unforced one leaves out CPUs whose count reads 0 while
//! a page is being added (J5-c).
//!
//! **Differs.** In a world without CPU threads (small tests, exploration) the drainer runs the work
//! itself after waiting for the section, which orders it the same.

use crate::ids::{CpuId, ZoneId};
use crate::race::Point;
use crate::run::cpu::Completion;
use crate::run::kernel::Kernel;
use crate::run::task::Cx;
use crate::sync::atomic::Ordering;
use crate::sync::lock::{As, Role, SectionHold};
use crate::sync::{Arc, ObjId, touched};
use crate::zone::Zone;
use crate::zone::pcp::Pcp;

impl Kernel {
    /// `drain_all_pages`: all pcplists of a zone, or of all zones, whose count reads non-zero.
    /// Without a zone it returns without draining if somebody else is at it.
    pub fn drain_all_pages(&self, cx: &Cx, zone: Option<ZoneId>) {
        self.drain_all(cx, zone, false);
    }

    /// `__drain_all_pages`; with `force_all_cpus` also CPUs whose count reads 0.
    pub fn drain_all(&self, cx: &Cx, zone: Option<ZoneId>, force_all_cpus: bool) {
        let _role = As::role(Role::Drain);
        self.point(cx, Point::DrainMutex);
        let guard = match (self.pcpu_drain_mutex.try_lock(), zone) {
            (Some(guard), _) => guard,
            (None, None) => return,
            (None, Some(_)) => self.pcpu_drain_mutex.lock(),
        };
        self.cpus[cx.cpu().index()].vm.drain_all.fetch_add(1, Ordering::Relaxed);
        let zones: Vec<&Zone> = match zone {
            Some(id) => vec![&self.zones[id.index()]],
            None => self.zones.iter().filter(|z| z.is_populated()).collect(),
        };
        let wanted: Vec<CpuId> = self
            .cpus
            .iter()
            .filter(|cpu| cpu.online.load(Ordering::Relaxed))
            .filter(|cpu| {
                zones.iter().any(|z| {
                    let count = z.pcp[cpu.id.index()].count();
                    // A drain of all zones is a request's: its passes would fill the ring.
                    if zone.is_some() {
                        cx.event(Point::D3Count, [u64::from(cpu.id.0), u64::from(count), 0]);
                    }
                    self.point(cx, Point::D3Count);
                    force_all_cpus || count != 0
                })
            })
            .map(|cpu| cpu.id)
            .collect();
        if self.pcp_rules.trylock {
            for cpu in wanted {
                for zone in &zones {
                    self.drain_pages_zone(cx, zone, cpu);
                }
            }
        } else {
            self.drain_by_work(cx, &zones, &wanted);
        }
        drop(guard);
        touched(ObjId::of(&self.pcpu_drain_mutex));
    }

    /// Up to 5.19: the pages are freed by work that runs on each CPU.
    fn drain_by_work(&self, cx: &Cx, zones: &[&Zone], wanted: &[CpuId]) {
        let done = Arc::new(Completion::default());
        let mut queued = 0;
        for &cpu in wanted {
            if self.cpus[cpu.index()].has_thread.load(Ordering::Relaxed) {
                let ids: Vec<ZoneId> = zones.iter().map(|z| z.id).collect();
                let work = move |k: &Kernel, on: &Cx| {
                    for id in ids {
                        k.drain_pages_zone(on, &k.zones[id.index()], cpu);
                    }
                };
                self.cpus[cpu.index()].work.queue(Box::new(work), &done);
                queued += 1;
            } else {
                for zone in zones {
                    self.drain_pages_zone(cx, zone, cpu);
                }
            }
        }
        done.wait(queued, || self.clock.is_aborted());
    }

    /// Frees all pages on one CPU's lists of a zone (`drain_pages_zone`). Waits for the section.
    pub fn drain_pages_zone(&self, cx: &Cx, zone: &Zone, cpu: CpuId) -> u32 {
        let _role = As::role(Role::Drain);
        let pcp = &zone.pcp[cpu.index()];
        let mut drained = 0;
        loop {
            let step = self.drain_step(cx, zone, pcp);
            drained += step;
            // 6.7+ lets go of the section between steps.
            if step == 0 || !self.pcp_rules.auto_tune {
                break;
            }
        }
        self.point_event(cx, Point::D3Drain, [u64::from(cpu.0), u64::from(drained), 0]);
        drained
    }

    /// Lets the limit of this CPU's lists of a zone sink, and frees what is then too much
    /// (`decay_pcp_high`, 6.7+): in one section, from 6.19 on in one for each batch. The kernel's
    /// vmstat worker does it about every second. Returns the pages freed.
    pub fn decay_pcp_high(&self, cx: &Cx, zone: &Zone) -> u32 {
        let _role = As::role(Role::Drain);
        let Some(pcp) = zone.pcp.get(cx.cpu().index()) else { return 0 };
        let mut left = pcp.decay_high(&self.pcp_rules);
        let batch = match self.pcp_rules.frees_in_batches {
            true => pcp.batch.load(Ordering::Relaxed).max(1),
            false => u32::MAX,
        };
        let mut freed = 0;
        while left > 0 {
            let mut lists = pcp.enter();
            let held = SectionHold::entered(pcp);
            let before = pcp.count();
            self.free_pcppages_bulk(cx, zone, pcp, &mut lists, left.min(batch), 0);
            let step = before - pcp.count();
            drop(lists);
            drop(held);
            if step == 0 {
                break;
            }
            freed += step;
            left = left.saturating_sub(step);
        }
        freed
    }

    fn drain_step(&self, cx: &Cx, zone: &Zone, pcp: &Pcp) -> u32 {
        pcp.draining.store(true, Ordering::Relaxed);
        let mut lists = pcp.enter();
        let held = SectionHold::entered(pcp);
        let before = pcp.count();
        let most = if self.pcp_rules.auto_tune {
            (pcp.batch.load(Ordering::Relaxed) << crate::zone::pcp::PCP_BATCH_SCALE_MAX).max(1)
        } else {
            before
        };
        self.free_pcppages_bulk(cx, zone, pcp, &mut lists, most.min(before), 0);
        pcp.draining.store(false, Ordering::Relaxed);
        let drained = before - pcp.count();
        drop(lists);
        drop(held);
        drained
    }

    /// Queued work of a CPU, run by its thread.
    pub fn run_cpu_work(&self, cx: &Cx) {
        for (work, done) in self.cpus[cx.cpu().index()].work.take() {
            work(self, cx);
            done.complete();
        }
    }
}
