//! What stands around a rebuild of zonelists: stopping everybody, interrupts, the console.

use allocator::gfp::Gfp;
use allocator::ids::{CpuId, NodeId, ZoneIdx};
use allocator::machine::{Machine, Zone};
use allocator::oracle::FindingKind;
use allocator::page_alloc::Nodemask;
use allocator::policy::{Policy, ZonelistPolicy};
use allocator::race::{Amplify, Point};
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use allocator::sync::{self, Arc};

const BLOCK: u64 = 1024;

/// Two nodes of one CPU; node 1 has a Movable block in front of Normal.
fn boot(zonelist: ZonelistPolicy, config: KernelConfig) -> (Arc<Kernel>, Cx) {
    let mut machine = Machine::uniform(2, 1, 4096);
    machine.block_pages = BLOCK as u32;
    let end = machine.max_pfn();
    machine.nodes[1].zones.push(Zone::whole(ZoneIdx::Movable, end, BLOCK));
    let config = KernelConfig { kswapd: false, hotplug: true, ..config };
    let policy = Policy { zonelist, ..Policy::mainline() };
    let kernel = Kernel::boot(machine, policy, config).unwrap();
    let cx = kernel.kernel_thread("test", CpuId(1));
    (kernel, cx)
}

#[test]
fn an_interrupt_waits_until_interrupts_are_on() {
    let (kernel, cx) = boot(ZonelistPolicy::Unprotected, KernelConfig::default());
    kernel.irq_point(&cx);
    assert_eq!(cx.stats.irqs.get(), 0, "none is due");
    kernel.raise_irq(CpuId(0));
    kernel.irq_point(&cx);
    assert_eq!(cx.stats.irqs.get(), 0, "it is another CPU's");
    kernel.raise_irq(CpuId(1));
    {
        let _off = kernel.irqs_off(&cx);
        let _nested = kernel.irqs_off(&cx);
        kernel.irq_point(&cx);
        assert_eq!(cx.stats.irqs.get(), 0);
    }
    kernel.irq_point(&cx);
    assert_eq!((cx.stats.irqs.get(), cx.irqs_are_off()), (1, false));
    assert_eq!(kernel.census().allocated, 0, "the handler gave its page back");
}

#[test]
fn code_with_interrupts_off_keeps_those_of_its_cpu_away_from_other_tasks() {
    let (kernel, cx) = boot(ZonelistPolicy::Unprotected, KernelConfig::default());
    let other = kernel.kernel_thread("other", CpuId(1));
    kernel.raise_irq(CpuId(1));
    let off = kernel.irqs_off(&cx);
    kernel.irq_point(&other);
    assert_eq!(other.stats.irqs.get(), 0);
    drop(off);
    kernel.irq_point(&other);
    assert_eq!(other.stats.irqs.get(), 1);
}

/// Allocates and frees until told to end.
fn spin(
    kernel: &Arc<Kernel>,
    ops: &Arc<AtomicU64>,
    over: &Arc<AtomicBool>,
) -> sync::JoinHandle<()> {
    let (kernel, ops, over) = (Arc::clone(kernel), Arc::clone(ops), Arc::clone(over));
    sync::spawn("spin", move || {
        let cx = kernel.kernel_thread("spin", CpuId(0));
        while !over.load(Ordering::Relaxed) {
            let page = kernel.alloc_pages(&cx, Gfp::KERNEL, 0, NodeId(0), Nodemask::None);
            if let Some(pfn) = page {
                kernel.free_pages(&cx, pfn, 0);
            }
            ops.fetch_add(1, Ordering::Relaxed);
        }
    })
}

#[test]
fn nobody_allocates_while_the_machine_is_stopped() {
    let (kernel, cx) = boot(ZonelistPolicy::StopMachine, KernelConfig::default());
    let (ops, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let handle = spin(&kernel, &ops, &over);
    for _ in 0..5 {
        let before = ops.load(Ordering::Relaxed);
        while ops.load(Ordering::Relaxed) < before + 100 {
            sync::yield_now();
        }
        let stopped = kernel.stop_all_cpus(&cx);
        // It may have been past its last free, on its way to count it.
        sync::yield_now();
        let allocated = pages_allocated(&kernel);
        for _ in 0..200 {
            sync::yield_now();
        }
        assert_eq!(pages_allocated(&kernel), allocated);
        drop(stopped);
    }
    over.store(true, Ordering::Relaxed);
    handle.join().unwrap();
    assert_eq!(kernel.census().violations, Vec::<String>::new());
}

fn pages_allocated(kernel: &Kernel) -> u64 {
    let zones = kernel.populated_zones();
    zones.flat_map(|z| &z.pcp).map(|p| u64::from(p.sections.load(Ordering::Relaxed))).sum()
}

#[test]
fn the_log_keeps_its_last_lines() {
    let (kernel, cx) = boot(ZonelistPolicy::Unprotected, KernelConfig::default());
    for n in 0..1000 {
        kernel.printk(&cx, &format!("line {n}"));
    }
    let lines = kernel.dmesg();
    assert_eq!(lines.len(), 256);
    assert_eq!([&lines[0], &lines[255]], ["line 744", "line 999"]);
}

#[test]
fn a_printer_and_a_tty_writer_take_turns_on_the_port() {
    let config = KernelConfig { console_port: true, ..KernelConfig::default() };
    let (kernel, cx) = boot(ZonelistPolicy::SeqlockIrqsave, config);
    let handle = {
        let kernel = Arc::clone(&kernel);
        sync::spawn("tty", move || {
            let tty = kernel.kernel_thread("tty", CpuId(0));
            for _ in 0..200 {
                kernel.tty_write(&tty);
            }
        })
    };
    for n in 0..200 {
        kernel.printk(&cx, &format!("line {n}"));
    }
    handle.join().unwrap();
    assert!(!kernel.console.writer_waits_for_port());
    assert_eq!(kernel.census().allocated, 0);
}

/// On PREEMPT_RT interrupts stay on during a rebuild. When Movable comes in front of Normal there is a
/// moment in which a fresh walk finds nothing (entry 0 is above the request, entry 1 is still null).
#[test]
fn lockless_lets_an_atomic_request_fail_and_counts_it() {
    let config = KernelConfig {
        preempt_rt: true,
        irq_forces_slow_path: true,
        irq_this_node: true,
        // The rebuild stays at each entry for a moment, so that the device gets its turn there.
        amplify: vec![Amplify { point: Point::Z3Zone, per_million: 1_000_000, delay_ns: 20_000 }],
        ..KernelConfig::default()
    };
    let (kernel, cx) = boot(ZonelistPolicy::Lockless, config);
    let zone = kernel.zone_of(NodeId(1), ZoneIdx::Movable).id;
    let device_over = Arc::new(AtomicBool::new(false));
    let device = {
        let (kernel, over) = (Arc::clone(&kernel), Arc::clone(&device_over));
        sync::spawn("device", move || {
            while !over.load(Ordering::Relaxed) {
                kernel.raise_irq(CpuId(1));
                sync::yield_now();
            }
        })
    };
    let mut cycles = 0;
    while kernel.findings.nr(FindingKind::SpuriousFailure) == 0 && cycles < 20_000 {
        let block = kernel.blocks_of_zone(zone)[0];
        kernel.offline_pages(&cx, block).unwrap();
        kernel.online_pages(&cx, block).unwrap();
        cycles += 1;
    }
    device_over.store(true, Ordering::Relaxed);
    device.join().unwrap();
    let spurious = kernel.findings.nr(FindingKind::SpuriousFailure);
    assert!(spurious > 0, "no request met the moment in {cycles} cycles");
    assert!(cx.stats.atomic_failures.get() >= spurious);
    assert_eq!(kernel.findings.nr_findings(true), 0, "counted, and no finding");
}
