//! The axis `exit`: how exit_mmap and the OOM reaper share a dying address space
//! (docs/kernel/oom.md#e7, #e8).
//!
//! Real threads; where two must meet at a step, the one is held there by amplification for longer
//! than the other needs, in scaled time. The interleavings themselves are the explorer's.

use allocator::gfp::Gfp;
use allocator::ids::CpuId;
use allocator::machine::Machine;
use allocator::mm::address_space::Rss;
use allocator::mm::{Fault, Mm, SkipBy, VmFlags, Vpn, mmf};
use allocator::oom::reap_mm::MreleaseError;
use allocator::oom::reaper::MAX_OOM_REAP_RETRIES;
use allocator::oracle::FindingKind;
use allocator::policy::{Axis, ExitPolicy, Policy, Release};
use allocator::race::{Amplify, Point};
use allocator::run::clock::NS_PER_MS;
use allocator::run::kernel::{Kernel, KernelConfig};
use allocator::run::task::Cx;
use allocator::sync::atomic::Ordering;
use allocator::sync::{self, Arc};

const PAGES: u32 = 40;
/// Longer than the reaper's ten attempts take.
const HELD_NS: u64 = 3_000 * NS_PER_MS;

fn policy(exit: ExitPolicy) -> Policy {
    Policy { exit, ..Policy::mainline() }
}

/// A world in which threads are held at `point` for three seconds of model time.
fn world(exit: ExitPolicy, held_at: Option<Point>) -> Arc<Kernel> {
    let hold = |point| Amplify { point, per_million: 1_000_000, delay_ns: HELD_NS };
    let config = KernelConfig {
        kswapd: false,
        gather_pages: 8,
        time_scale: 20.0,
        amplify: held_at.map(hold).into_iter().collect(),
        ..KernelConfig::default()
    };
    Kernel::boot(Machine::uniform(1, 2, 4096), policy(exit), config).unwrap()
}

/// A process with its pages written: plain memory, and an mlocked area of `locked` pages.
struct Victim {
    cx: Cx,
    mm: Arc<Mm>,
    start: Vpn,
}

fn process(k: &Kernel, comm: &str, mm: Option<Arc<Mm>>) -> Cx {
    let process = k.new_process(comm, 0);
    let task = k.new_task(&process, CpuId(0), 0);
    task.alloc_lock.lock().mm = mm;
    Cx::new(task, 1)
}

fn victim(k: &Kernel, locked: u32) -> Victim {
    let mm = k.mm_alloc();
    let cx = process(k, "victim", Some(Arc::clone(&mm)));
    let start = k.mmap(&cx, &mm, PAGES, VmFlags::STACK, None).unwrap();
    for n in 0..PAGES {
        assert_eq!(k.access(&cx, &mm, start.plus(n), true), Fault::Mapped);
    }
    if locked > 0 {
        let start = k.mmap(&cx, &mm, locked, VmFlags::empty(), None).unwrap();
        k.mlock(&cx, &mm, start, locked).unwrap();
    }
    k.lru_add_drain_all(&cx);
    Victim { cx, mm, start }
}

/// What V6, V7 and V11 do.
fn kill(k: &Kernel, by: &Cx, victim: &Victim) {
    let task = &victim.cx.task;
    task.process.kill();
    task.process.set_oom_mm(&victim.mm);
    victim.mm.set(mmf::OOM_VICTIM);
    k.queue_oom_reaper(by, task, &victim.mm);
}

/// The reaper's thread until its queue is empty.
fn reap(k: &Kernel) {
    let cx = k.kernel_thread("oom_reaper", CpuId(1));
    k.stop_oom_reaper();
    while !k.oom.reaper.is_idle() {
        k.oom_reaper_main(&cx);
    }
}

fn assert_nothing_left(k: &Kernel, cx: &Cx) {
    k.lru_add_drain_all(cx);
    let census = k.census();
    assert_eq!((census.violations, census.allocated), (Vec::new(), 0));
}

/// The steps that the exiting task passed, by their names.
fn steps(cx: &Cx) -> Vec<&'static str> {
    let wanted = [
        Point::QReap,
        Point::QMunlock,
        Point::QUnmapDone,
        Point::QSkip,
        Point::QLocked,
        Point::QUnlock,
        Point::QPgtables,
        Point::QFinish,
    ];
    let events = cx.task.events.events();
    let of_exit = events.iter().skip_while(|e| e.point != Point::QExitMm).map(|e| e.point);
    of_exit.filter(|p| wanted.contains(p)).map(Point::name).collect()
}

#[test]
fn each_variant_takes_its_steps_in_its_order() {
    for &exit in ExitPolicy::ALL {
        let k = world(exit, None);
        let v = victim(&k, 3);
        kill(&k, &v.cx, &v);
        k.do_exit(&v.cx);
        let expected: &[&str] = match exit {
            ExitPolicy::MmUsers => {
                &["Q2_munlock", "Q3_unmap_done", "Q6_free_pgtables", "Q7_finish", "Q4_skip"]
            }
            ExitPolicy::LockAfterUnmap => &[
                "Q2_munlock",
                "Q3_unmap_done",
                "Q4_write_locked",
                "Q6_free_pgtables",
                "Q7_finish",
                "Q5_write_unlock",
            ],
            ExitPolicy::LockBeforeUnmap => &[
                "Q4_write_locked",
                "Q2_munlock",
                "Q3_unmap_done",
                "Q6_free_pgtables",
                "Q7_finish",
                "Q5_write_unlock",
            ],
            ExitPolicy::LockCycle => &[
                "Q2_munlock",
                "Q3_unmap_done",
                "Q4_skip",
                "Q4_write_locked",
                "Q5_write_unlock",
                "Q6_free_pgtables",
                "Q7_finish",
            ],
            ExitPolicy::ReapInExit => &[
                "Q2_reap_in_exit",
                "Q4_skip",
                "Q4_write_locked",
                "Q5_write_unlock",
                "Q2_munlock",
                "Q3_unmap_done",
                "Q6_free_pgtables",
                "Q7_finish",
            ],
            ExitPolicy::WriteLocked => &[
                "Q2_reap_in_exit",
                "Q4_skip",
                "Q4_write_locked",
                "Q2_munlock",
                "Q3_unmap_done",
                "Q6_free_pgtables",
                "Q7_finish",
                "Q5_write_unlock",
            ],
            ExitPolicy::SharedRead => &[
                "Q3_unmap_done",
                "Q4_skip",
                "Q4_write_locked",
                "Q6_free_pgtables",
                "Q7_finish",
                "Q5_write_unlock",
            ],
        };
        assert_eq!(steps(&v.cx), expected, "{}", exit.info().word);
        reap(&k);
        assert_nothing_left(&k, &v.cx);
    }
}

#[test]
fn who_is_no_victim_is_hidden_only_where_every_exit_hides() {
    for &exit in ExitPolicy::ALL {
        let k = world(exit, None);
        let v = victim(&k, 0);
        k.do_exit(&v.cx);
        let hides =
            matches!(exit, ExitPolicy::MmUsers | ExitPolicy::LockCycle | ExitPolicy::SharedRead);
        assert_eq!(v.mm.is_oom_skipped(), hides, "{}", exit.info().word);
        assert_nothing_left(&k, &v.cx);
    }
}

#[test]
fn a_victim_that_is_stuck_is_reaped_and_hidden() {
    for &exit in ExitPolicy::ALL {
        let k = world(exit, None);
        let v = victim(&k, 6);
        let free = k.census().free;
        kill(&k, &v.cx, &v);
        reap(&k);
        let stats = &k.oom.reaper.stats;
        let locked_stay = exit != ExitPolicy::SharedRead;
        let left = if locked_stay { 6 } else { 0 };
        let word = exit.info().word;
        assert_eq!(v.mm.rss(Rss::Anon), left, "{word}");
        assert_eq!(v.mm.left_by_reaper.load(Ordering::Relaxed), left);
        assert_eq!(v.mm.skip_by(), SkipBy::ReaperWalked);
        assert_eq!(stats.reaped_pages.load(Ordering::Relaxed), u64::from(PAGES) + 6 - left);
        assert!(k.census().free + k.census().pcp >= free + u64::from(PAGES));
        assert!(v.mm.pgtables_bytes() > 0, "page tables stay");
        // A thread that is still running gets no fresh zeroes.
        assert_eq!(k.handle_mm_fault(&v.cx, &v.mm, v.start, true), Fault::BusError);
        k.do_exit(&v.cx);
        assert_nothing_left(&k, &v.cx);
    }
}

/// Runs the victim's exit, held at `point`, beside the reaper; `meanwhile` looks when both are
/// where they can get to.
fn exit_beside_reaper(
    exit: ExitPolicy,
    point: Point,
    locked: u32,
    meanwhile: impl FnOnce(&Kernel, &Mm),
) -> Arc<Kernel> {
    let k = world(exit, Some(point));
    let v = victim(&k, locked);
    let mm = Arc::clone(&v.mm);
    kill(&k, &v.cx, &v);
    let exiting = {
        let k = Arc::clone(&k);
        sync::spawn("exit", move || {
            k.do_exit(&v.cx);
            v.cx
        })
    };
    while mm.users() > 0 || !is_held(&mm, point) {
        sync::yield_now();
    }
    reap(&k);
    meanwhile(&k, &mm);
    let cx = exiting.join().unwrap();
    assert_nothing_left(&k, &cx);
    k
}

/// Has the exiting task reached the point (as far as others can tell)?
fn is_held(mm: &Mm, point: Point) -> bool {
    let locks = point == Point::QLocked;
    let hides = point == Point::QSkip;
    (!locks || mm.mmap_read_trylock().is_none()) && (!hides || mm.is_oom_skipped())
}

#[test]
fn j2a_only_the_reaper_that_needs_mm_users_hides_without_reaping() {
    for &exit in ExitPolicy::ALL {
        exit_beside_reaper(exit, Point::QSlow, 0, |_, mm| {
            let word = exit.info().word;
            if exit == ExitPolicy::MmUsers {
                assert_eq!(mm.skip_by(), SkipBy::ReaperNoUsers, "{word}");
                assert_eq!(mm.rss_pages(), u64::from(PAGES), "hidden and mapped: J2-a");
            } else {
                assert_eq!(mm.skip_by(), SkipBy::ReaperWalked, "{word}");
                assert_eq!(mm.rss_pages(), 0, "{word}: the reaper did the work");
            }
        });
    }
}

#[test]
fn j2b_a_lock_around_the_teardown_keeps_the_reaper_out_until_it_gives_up() {
    let k = exit_beside_reaper(ExitPolicy::LockBeforeUnmap, Point::QLocked, 0, |_, mm| {
        assert_eq!(mm.skip_by(), SkipBy::ReaperKeptOutByExit);
        assert_eq!(mm.rss_pages(), u64::from(PAGES), "hidden and mapped: J2-b");
        assert_eq!(mm.kept_out_by_exit.load(Ordering::Relaxed), MAX_OOM_REAP_RETRIES);
    });
    assert_eq!(k.oom.reaper.stats.unable.load(Ordering::Relaxed), 1);
}

#[test]
fn j2e_a_victim_that_reaps_itself_is_hidden_with_its_mlocked_pages() {
    for exit in [ExitPolicy::ReapInExit, ExitPolicy::WriteLocked] {
        exit_beside_reaper(exit, Point::QSkip, 25, |_, mm| {
            assert_eq!(mm.skip_by(), SkipBy::ExitBeforeUnmap);
            assert_eq!(mm.rss_pages(), 25, "hidden and mapped: J2-e");
        });
    }
    exit_beside_reaper(ExitPolicy::SharedRead, Point::QSkip, 25, |_, mm| {
        assert_eq!(mm.skip_by(), SkipBy::ExitAfterUnmap);
        assert_eq!(mm.rss_pages(), 0);
    });
}

#[test]
fn j2h_a_writer_that_holds_or_waits_keeps_the_reaper_out() {
    for &exit in ExitPolicy::ALL {
        for waits in [false, true] {
            let k = world(exit, None);
            let v = victim(&k, 0);
            kill(&k, &v.cx, &v);
            let fault = waits.then(|| v.mm.mmap_read_lock());
            let writer = {
                let mm = Arc::clone(&v.mm);
                let k = Arc::clone(&k);
                sync::spawn("writer", move || {
                    let _tree = mm.mmap_write_lock();
                    while !mm.is_oom_skipped() && !k.clock.is_aborted() {
                        sync::yield_now();
                    }
                })
            };
            while v.mm.nr_writers() == 0 || v.mm.mmap_read_trylock().is_some() {
                sync::yield_now();
            }
            reap(&k);
            assert_eq!(v.mm.skip_by(), SkipBy::ReaperKeptOutByWriter, "{}", exit.info().word);
            assert_eq!(v.mm.kept_out_by_writer.load(Ordering::Relaxed), MAX_OOM_REAP_RETRIES);
            drop(fault);
            writer.join().unwrap();
            k.do_exit(&v.cx);
            assert_nothing_left(&k, &v.cx);
        }
    }
}

#[test]
fn mainlines_victims_have_two_seconds_before_the_reaper_comes() {
    let k = world(ExitPolicy::SharedRead, None);
    let v = victim(&k, 0);
    let before = k.clock.now().0;
    kill(&k, &v.cx, &v);
    kill(&k, &v.cx, &v);
    assert_eq!(k.oom.reaper.stats.queued.load(Ordering::Relaxed), 1, "once per mm");
    reap(&k);
    assert!(k.clock.now().0 - before >= 2_000 * NS_PER_MS);
    assert_eq!(v.mm.rss_pages(), 0);
    // Who is gone in time is not looked at.
    let in_time = victim(&k, 0);
    kill(&k, &in_time.cx, &in_time);
    k.do_exit(&in_time.cx);
    reap(&k);
    assert_eq!(k.oom.reaper.stats.dropped.load(Ordering::Relaxed), 1);
    k.do_exit(&v.cx);
    assert_nothing_left(&k, &v.cx);
}

#[test]
fn the_last_victim_in_is_the_first_one_out() {
    let k = world(ExitPolicy::LockCycle, None);
    let victims = [victim(&k, 0), victim(&k, 0), victim(&k, 0)];
    for v in &victims {
        kill(&k, &v.cx, v);
    }
    let cx = k.kernel_thread("oom_reaper", CpuId(1));
    k.run_oom_reaper(&cx);
    let at = victims.each_ref().map(|v| v.mm.skipped_at());
    assert!(at[2] < at[1] && at[1] < at[0], "{at:?}");
    for v in &victims {
        k.do_exit(&v.cx);
    }
    assert_nothing_left(&k, &cx);
}

#[test]
fn process_mrelease_comes_in_the_form_of_its_release() {
    for &exit in ExitPolicy::ALL {
        let k = world(exit, None);
        let v = victim(&k, 0);
        let other = process(&k, "mrelease", None);
        let process = Arc::clone(&v.cx.task.process);
        let released = k.process_mrelease(&other, &process);
        let exists = matches!(
            exit,
            ExitPolicy::ReapInExit | ExitPolicy::WriteLocked | ExitPolicy::SharedRead
        );
        if !exists {
            assert_eq!(released, Err(MreleaseError::Missing));
            continue;
        }
        assert_eq!(released, Err(MreleaseError::NotDying));
        process.kill();
        assert_eq!(k.process_mrelease(&other, &process), Ok(u64::from(PAGES)));
        assert_eq!((v.mm.rss_pages(), v.mm.users()), (0, 1));
        assert!(v.mm.has(mmf::UNSTABLE) && !v.mm.is_oom_skipped());
        k.do_exit(&v.cx);
        assert_eq!(k.process_mrelease(&other, &process), Err(MreleaseError::Gone));
        assert_nothing_left(&k, &v.cx);
    }
}

#[test]
fn the_reaper_goes_from_the_last_area_to_the_first_from_6_18_on() {
    for release in [Release::V6_12, Release::V6_19] {
        let config = KernelConfig { kswapd: false, time_scale: 20.0, ..KernelConfig::default() };
        let machine = Machine::uniform(1, 2, 4096);
        let k = Kernel::boot(machine, Policy::preset(release), config).unwrap();
        let v = victim(&k, 3);
        let other = process(&k, "mrelease", None);
        v.cx.task.process.kill();
        k.process_mrelease(&other, &v.cx.task.process).unwrap();
        let events = other.task.events.events();
        let walked: Vec<u64> =
            events.iter().filter(|e| e.point == Point::R3Vma).map(|e| e.args[0]).collect();
        let mut expected: Vec<u64> =
            v.mm.mmap_read_lock().iter().map(|vma| u64::from(vma.start().0)).collect();
        assert_eq!(expected.len(), 2);
        if release == Release::V6_19 {
            expected.reverse();
        }
        assert_eq!(walked, expected, "{release}");
        k.do_exit(&v.cx);
        assert_nothing_left(&k, &v.cx);
    }
}

#[test]
fn shared_memory_is_passed_over_by_every_reaper() {
    for &exit in ExitPolicy::ALL {
        let k = world(exit, None);
        let v = victim(&k, 0);
        let file = k.new_mapping(true);
        let mapped = Some((Arc::clone(&file), 0));
        let start = k.mmap(&v.cx, &v.mm, 5, VmFlags::SHARED, mapped).unwrap();
        for n in 0..5 {
            assert_eq!(k.access(&v.cx, &v.mm, start.plus(n), true), Fault::Mapped);
        }
        kill(&k, &v.cx, &v);
        reap(&k);
        assert_eq!((v.mm.rss(Rss::Anon), v.mm.rss(Rss::Shmem)), (0, 5));
        assert_eq!(v.mm.left_by_reaper.load(Ordering::Relaxed), 5);
        k.do_exit(&v.cx);
        k.truncate_mapping(&v.cx, &file);
        assert_nothing_left(&k, &v.cx);
    }
}

#[test]
fn a_tombstone_that_is_walked_is_reported() {
    let k = world(ExitPolicy::WriteLocked, None);
    let v = victim(&k, 0);
    // No OOM victim, so exit_mmap leaves SKIP clear; 5.17.0 leaves `mm->mmap` set as well.
    k.do_exit(&v.cx);
    assert!(!v.mm.is_oom_skipped());
    v.cx.task.process.kill();
    v.cx.task.process.set_oom_mm(&v.mm);
    k.queue_oom_reaper(&v.cx, &v.cx.task, &v.mm);
    reap(&k);
    assert_eq!(k.findings.nr(FindingKind::UseAfterFree), 1);
    assert_nothing_left(&k, &v.cx);
}

#[test]
fn threads_share_an_mm_until_the_last_one_exits() {
    let k = world(ExitPolicy::SharedRead, None);
    let v = victim(&k, 0);
    let second = k.new_task(&v.cx.task.process, CpuId(1), 0);
    v.mm.mmget();
    second.alloc_lock.lock().mm = Some(Arc::clone(&v.mm));
    let second = Cx::new(second, 2);
    k.do_exit(&second);
    assert_eq!((v.mm.users(), v.mm.rss_pages()), (1, u64::from(PAGES)));
    assert_eq!(v.cx.task.process.threads.lock().len(), 1, "only the leader stays as a zombie");
    k.do_exit(&v.cx);
    assert_eq!((v.mm.users(), v.mm.rss_pages()), (0, 0));
    k.release_process(&v.cx.task.process);
    assert!(k.alloc_pages_current(&v.cx, Gfp::KERNEL, 0).is_some());
}
