//! The kept reports are read whole, figure by figure.

use report::{Constraint, Kind, Mask, Report, reports};

fn all(path: &str) -> Vec<Report> {
    let file = format!("{}/tests/data/{path}", env!("CARGO_MANIFEST_DIR"));
    reports(&std::fs::read_to_string(file).unwrap())
}

fn sample(name: &str) -> Report {
    let mut found = all(&format!("samples/{name}/report.txt"));
    assert_eq!(found.len(), 1, "{name}");
    found.remove(0)
}

#[test]
fn a_wrapped_4_9_report() {
    let r = sample("01-premature-cpuset-4.9");
    assert_eq!(
        (r.comm.as_str(), r.order, r.oom_score_adj, r.pid),
        ("task", Some(0), Some(0), Some(500))
    );
    let gfp = r.gfp.unwrap();
    assert_eq!(
        (gfp.bits, gfp.names.join("|")),
        (0x0242_80ca, "GFP_HIGHUSER_MOVABLE|__GFP_ZERO".into())
    );
    assert_eq!(r.request_nodemask, Some(Mask::Nodes(vec![1])));
    assert_eq!((r.cpuset.as_deref(), r.mems_allowed), (Some("jobs"), Some(vec![1])));
    assert_eq!(r.release.unwrap().text, "4.9.0");
    let zone = &r.zones[0];
    let marks = ["free", "min", "low", "high", "present", "managed", "free_cma"]
        .map(|k| zone.get(k).unwrap());
    assert_eq!(marks, [4_000_000, 20_000, 25_000, 30_000, 8_388_608, 8_200_000, 0]);
    assert_eq!((zone.title(), &zone.reserve), ("Node 1 Normal".to_owned(), &vec![0; 4]));
    let blocks = zone.blocks.as_ref().unwrap();
    assert_eq!(
        (blocks.page_kb, blocks.orders[10].clone(), blocks.total_kb),
        (4, (976, "M".to_owned()), Some(3_999_744))
    );
    assert_eq!(r.victim.unwrap().chosen, Some((500, "task".to_owned())));
}

#[test]
fn an_rsyslog_6_1_report() {
    let r = sample("02-justified-6.1");
    assert_eq!((r.time, r.host.as_deref()), (Some(200.000_001), Some("host")));
    assert_eq!(
        (r.totals["active_anon"], r.totals["free"], r.totals["active_file"]),
        (3_100_000, 24_975, 20)
    );
    assert_eq!((r.zones.len(), r.zones[1].get("boost")), (2, Some(8192)));
    assert_eq!(r.zones[0].reserve, [0, 10_100, 10_100, 10_100]);
    assert_eq!((r.constraint, r.summary_nodemask), (Some(Constraint::None), Some(Mask::Null)));
    assert_eq!((r.swap_free_kb, r.swap_total_kb), (Some(0), Some(4_000_000)));
    assert_eq!(r.victim.as_ref().unwrap().rss_kb(), Some(3_600_000));
}

#[test]
fn what_only_some_reports_have() {
    let r = sample("03-transient-3.10");
    assert_eq!((r.gfp.unwrap().names.len(), r.zones[1].all_unreclaimable), (0, Some(true)));
    assert_eq!(r.victim.unwrap().pid, 701);
    let r = sample("07-cma-only-32bit");
    assert_eq!(
        (r.zones[1].node, r.zones[1].name.as_str(), r.pages_cma),
        (None, "HighMem", Some(131_072))
    );
    let r = sample("09-kswapd-trigger-6.12");
    assert_eq!((r.page_kb(), r.summary_victim), (Some(16), Some((1300, "victim".to_owned()))));
    let r = sample("10-memcg");
    let memcg = r.memcg.unwrap();
    assert_eq!(
        (memcg.path.as_deref(), memcg.limit_kb, r.says_memcg),
        (Some("/box"), Some(81_920), true)
    );
    let r = sample("11-sysrq");
    assert_eq!((r.order, r.workqueue.as_deref()), (Some(-1), Some("events moom_callback")));
    let r = sample("12-node-gone-6.10");
    assert_eq!((r.fallback[2].clone(), r.hugepage_nodes), ((2, vec![0, 1]), vec![2]));
    let r = sample("13-broken-marks");
    assert_eq!(r.zones[1].get("managed"), Some(18_446_744_073_709_479_096));
    let r = sample("14-warn-alloc-dma");
    assert_eq!((r.kind, r.order, r.request_nodemask), (Kind::Failure, Some(6), Some(Mask::Null)));
    assert_eq!(all("samples/15-late-second-kill/report.txt").len(), 2);
}

#[test]
fn every_sample_has_its_request_and_its_release() {
    for entry in
        std::fs::read_dir(format!("{}/tests/data/samples", env!("CARGO_MANIFEST_DIR"))).unwrap()
    {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        for r in all(&format!("samples/{name}/report.txt")) {
            assert!(r.has_request && r.gfp.is_some() && r.order.is_some(), "{name}");
            assert_eq!(r.release.is_none(), name.starts_with("15"), "{name}");
        }
    }
}

#[test]
fn reports_of_a_real_kernel_are_read() {
    let tasks = |name: &str| {
        let r = all(&format!("guest/{name}.txt")).remove(0);
        (r.constraint, r.zones.len(), r.tasks.len(), r.victim.unwrap().pid)
    };
    let totals = all("guest/cpuset.txt").remove(0).totals;
    assert_eq!((totals["free"], totals["shmem"], totals["bounce"]), (308_105, 10_655, 0));
    assert_eq!(tasks("none"), (Some(Constraint::None), 5, 6, 182));
    assert_eq!(tasks("cpuset"), (Some(Constraint::Cpuset), 1, 6, 190));
    assert_eq!(tasks("memory-policy"), (Some(Constraint::MemoryPolicy), 1, 4, 181));
    assert_eq!(tasks("memcg"), (Some(Constraint::Memcg), 0, 1, 185));
}

#[test]
fn lines_of_others_in_between_change_nothing() {
    let path = format!(
        "{}/tests/data/samples/06-fragmentation-order3-4.7/report.txt",
        env!("CARGO_MANIFEST_DIR")
    );
    let text = std::fs::read_to_string(path).unwrap();
    let plain = reports(&text);
    let noisy: String =
        text.lines().map(|l| format!("{l}\n[  500.000001] usb 1-1: new device found\n")).collect();
    // The totals' own lines carry no time stamp and can't be told from what follows.
    let noisy = noisy.replace(
        "isolated_anon:0\n[  500.000001] usb 1-1: new device found\n",
        "isolated_anon:0\n",
    );
    let mut found = reports(&noisy);
    assert_eq!(found[0].zones.len(), 3);
    for (a, b) in found[0].zones.iter_mut().zip(&plain[0].zones) {
        a.line = b.line;
        assert_eq!(a, b);
    }
    assert_eq!(found[0].victim.as_ref().unwrap().pid, 1001);
}
