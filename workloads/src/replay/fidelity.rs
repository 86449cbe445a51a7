//! The model beside the kernel, figure by figure.
//!
//! **What.** [`of`] makes the table of a finished replay. Each row says how well its figure is
//! defined: `E` exactly by the trace, `S` by start state that was recorded, `U` by start state that
//! nobody recorded, `P` changed by the act of tracing.
//!
//! **Why bands.** By request the model picks other pages than the kernel did, from lists whose order
//! nobody recorded; figures in sum must come out alike all the same. A row outside its band says what
//! could move it.
//!
//! **Differs.** Figures of the load itself (what was asked for) are the model's input: they are shown
//! so that nothing is taken for granted, and a request that fails or is left out shows in them.

use allocator::gfp::MigrateType;
use allocator::ids::{CpuId, NR_PAGE_ORDERS};
use allocator::run::kernel::Kernel;
use allocator::sync::atomic::Ordering;

use super::evidence::is_pcp_order;
use super::feed::{By, Shared};
use super::kernel_figures::{Batches, KernelFigures, batch_sums};
use super::snapshot::{PcpState, ZoneState};
use super::tally::Tally;
use crate::{Fidelity, FidelityRow};

/// Refills and drains per request, by issue.
const RATE_BAND: f64 = 0.10;
/// Counts at the end.
const COUNT_BAND: f64 = 0.05;
/// What the load is must come out exactly.
const EXACT: f64 = 0.0;

const HIDDEN_TUNING: &str = "hangs on alloc_factor and free_count at the start and on when the vmstat \
    worker runs, which no file has and the trace shows in part; a refill of twice the size or one that \
    falls behind the end moves it by as much";
const LOAD: &str = "of the load: fed, not decided by the model";

/// Gathers rows.
struct Table {
    rows: Vec<FidelityRow>,
}

impl Table {
    fn row(
        &mut self,
        figure: impl Into<String>,
        kernel: impl Into<Option<f64>>,
        model: impl Into<Option<f64>>,
        tolerance: Option<f64>,
        defined: &'static str,
        reason: Option<&str>,
    ) {
        self.rows.push(FidelityRow {
            figure: figure.into(),
            kernel: kernel.into().map(rounded),
            model: model.into().map(rounded),
            tolerance,
            defined,
            reason: reason.map(str::to_owned),
        });
    }
}

/// Six digits are more than any of them means.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(6 - value.abs().log10().ceil() as i32);
    if value.fract() == 0.0 { value } else { (value * scale).round() / scale }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn percent(part: u64, whole: u64) -> Option<f64> {
    ratio(part, whole).map(|r| r * 100.0)
}

/// The table of a replay that has ended; the model stands as it ended.
pub fn of(shared: &Shared, kernel: &Kernel, tally: &Tally, by: By, is_strict: bool) -> Fidelity {
    let recording = &shared.recording;
    let figures = &recording.digest.figures;
    let mut table = Table { rows: Vec::new() };
    load(&mut table, figures, tally, recording.pgalloc, &recording.gfps);
    match by {
        By::Request => by_request(&mut table, shared, kernel, figures, tally),
        By::Pfn => by_pfn(&mut table, figures, tally),
    }
    end_state(&mut table, shared, kernel, by);
    traced(&mut table, figures);
    if by == By::Request
        && let Some(reason) = other_policy(shared, kernel)
    {
        let decided = |row: &&mut FidelityRow| row.reason.as_deref() == Some(HIDDEN_TUNING);
        for row in table.rows.iter_mut().filter(decided) {
            row.reason = Some(reason.clone());
        }
    }
    let how = match (by, is_strict) {
        (By::Pfn, _) => "by pfn",
        (By::Request, true) => "by request, recorded order",
        (By::Request, false) => "by request, each CPU's order",
    };
    Fidelity { source: format!("{}, {how}", recording.name), rows: table.rows }
}

/// If the variant sizes its pcplists otherwise than the recorded kernel: how both do.
fn other_policy(shared: &Shared, kernel: &Kernel) -> Option<String> {
    let zones = &shared.recording.after.zones;
    let (zone, said) = zones
        .iter()
        .filter_map(|z| z.pcp.first().map(|pcp| (z, pcp)))
        .max_by_key(|(z, _)| z.managed_pages)?;
    let pcp = &kernel.zones[zone.id.index()].pcp[0];
    let (high, batch) = (pcp.high.load(Ordering::Relaxed), pcp.batch.load(Ordering::Relaxed));
    let model = match (kernel.pcp_rules.auto_tune, said.bounds.is_some()) {
        (true, true) | (false, false) => return None,
        (true, false) => format!("tunes its limit (now {high} pages)"),
        (false, true) => format!("keeps a fixed limit of {high} pages, {batch} at a time"),
    };
    let kernel = match said.bounds {
        Some((min, max)) => format!("tuned its own from {min} to {max}"),
        None => format!("kept {} pages, {} at a time", said.high, said.batch),
    };
    Some(format!(
        "in {} the variant {model} on each CPU, the recorded kernel {kernel}: what is not held there is \
         refilled, drained and free instead",
        zone.id.zone_idx()
    ))
}

/// What was asked for.
fn load(
    table: &mut Table,
    figures: &KernelFigures,
    tally: &Tally,
    pgalloc: Option<u64>,
    gfps: &[u32],
) {
    let (allocs, frees) = (figures.nr_allocs(), figures.nr_frees());
    let done: u64 = tally.allocs.iter().sum();
    table.row("allocations (A)", allocs as f64, done as f64, Some(EXACT), "E", None);
    table.row("frees (F)", frees as f64, tally.frees as f64, Some(0.001), "E", None);
    for order in 0..NR_PAGE_ORDERS {
        let (kernel, model) = (figures.allocs[order], tally.allocs[order]);
        if kernel + model > 0 {
            let name = format!("A of order {order}, % of A");
            table.row(name, percent(kernel, allocs), percent(model, done), Some(0.001), "E", None);
        }
    }
    for (index, name) in ["Unmovable", "Movable", "Reclaimable"].into_iter().enumerate() {
        let share = percent(figures.allocs_of_type[index], allocs);
        table.row(format!("A of type {name}, % of A"), share, None, None, "E", Some(LOAD));
    }
    let kinds = gfps.iter().zip(&figures.allocs_of_gfp).filter(|(_, n)| **n > 0).count();
    table.row("distinct gfp values", kinds as f64, None, None, "E", Some(LOAD));
    let softirq = percent(figures.in_softirq, figures.records);
    table.row("records in softirqs, %", softirq, None, None, "E", Some(LOAD));
    let known = percent(figures.matched, frees);
    table.row("frees whose A is in the trace, %", known, None, None, "E", Some(LOAD));
    let crossed = percent(figures.crossed, figures.matched);
    table.row("of these on another CPU, %", crossed, None, None, "E", Some(LOAD));
    for (name, share) in [("p10", 0.1), ("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let lived = &figures.lifetimes_ns;
        let at = ((lived.len() as f64 * share) as usize).min(lived.len().saturating_sub(1));
        let ms = lived.get(at).map(|ns| *ns as f64 / 1e6);
        table.row(format!("lifetime {name}, ms"), ms, None, None, "E", Some(LOAD));
    }
    let untraced = pgalloc.map(|all| all as f64 - figures.pages_since_snapshot as f64);
    let reason = "kernel: vmstat's pgalloc less the pages of A; model: what the bulk allocator, or a \
        task that is not traced, must have taken. Pages that lay on a pcplist from the start and are never freed can't be seen";
    let seen = figures.bulk_allocs as f64;
    table.row("pages allocated without an A", untraced, seen, None, "U", Some(reason));
}

fn by_request(
    table: &mut Table,
    shared: &Shared,
    kernel: &Kernel,
    figures: &KernelFigures,
    tally: &Tally,
) {
    let (kernel_refills, kernel_pages) = batch_sums(&figures.refills);
    let (model_refills, model_pages) = batch_sums(&tally.refills);
    let hidden = Some(HIDDEN_TUNING);
    table.row(
        "order-0 pages refilled per order-0 A",
        ratio(figures.taken_0, figures.allocs[0]),
        ratio(model_pages, tally.allocs[0]),
        Some(RATE_BAND),
        "S+U",
        hidden,
    );
    let drained: u64 = (0..kernel.cpus.len())
        .map(|cpu| shared.drained_blocks(kernel, CpuId(cpu as u16)))
        .sum::<u64>()
        .saturating_sub(tally.drained_before);
    table.row(
        "blocks drained per F",
        ratio(figures.drained, figures.nr_frees()),
        ratio(drained, tally.frees),
        Some(RATE_BAND),
        "S+U",
        hidden,
    );
    let counts = (kernel_refills as f64, model_refills as f64);
    table.row("order-0 refills", counts.0, counts.1, None, "S+U", hidden);
    let means = (ratio(kernel_pages, kernel_refills), ratio(model_pages, model_refills));
    table.row("order-0 refill, mean size", means.0, means.1, None, "S+U", hidden);
    batch_sizes(table, &figures.refills, &tally.refills);
    let (kernel_drains, kernel_pages) = batch_sums(&figures.drains);
    let (model_drains, model_pages) = batch_sums(&tally.drains);
    table.row("drains", kernel_drains as f64, model_drains as f64, None, "S+U", hidden);
    let means = (ratio(kernel_pages, kernel_drains), ratio(model_pages, model_drains));
    table.row("drain, mean size", means.0, means.1, None, "S+U", hidden);
    let largest = |b: &Batches| b.keys().last().map(|n| f64::from(*n));
    let (k, m) = (largest(&figures.drains), largest(&tally.drains));
    table.row("drain, largest", k, m, None, "S+U", hidden);
    let (k, m) = (figures.taken_direct as f64, tally.direct as f64);
    table.row("taken past the pcplists (orders 4 to 8, 10)", k, m, Some(EXACT), "E", None);
    let pcp_allocs: u64 =
        (0..).zip(figures.allocs).filter(|(order, _)| is_pcp_order(*order)).map(|(_, n)| n).sum();
    let own = figures.served_by_pcp + figures.served_unknown;
    let reason = "the model has no other way for the orders that its pcplists hold";
    let served = percent(own, pcp_allocs);
    table.row("served by the CPU's own pcplist, %", served, None, None, "E", Some(reason));
    let (fallbacks, claims) = Shared::fallbacks(kernel);
    let fallbacks = fallbacks.saturating_sub(tally.fallbacks_before) as f64;
    let reason = "hangs on the type of each pageblock at the start, known in sum and where the trace \
        names it";
    table.row("fallbacks (X)", figures.fallbacks as f64, fallbacks, None, "U", Some(reason));
    table.row(
        "fallbacks that claimed",
        figures.claims as f64,
        claims as f64,
        None,
        "U",
        Some(reason),
    );
    let failed = (figures.failed as f64, tally.failed as f64);
    table.row("requests that failed", failed.0, failed.1, Some(EXACT), "E", None);
}

/// Sizes that auto-tuning makes, largest shift last, and whether they come in the same order.
fn batch_sizes(table: &mut Table, kernel: &Batches, model: &Batches) {
    let base = kernel.iter().max_by_key(|(_, n)| **n).map_or(63, |(size, _)| *size);
    let base = [63, 31, 15, 7, 1].into_iter().find(|b| base % b == 0 && *b > 1).unwrap_or(63);
    let sizes: Vec<u32> = (0..=5).map(|shift| base << shift).collect();
    let of = |batches: &Batches, size: u32| batches.get(&size).copied().unwrap_or(0);
    for &size in &sizes {
        let (k, m) = (of(kernel, size), of(model, size));
        let name = format!("order-0 refills of {size} pages");
        table.row(name, k as f64, m as f64, None, "S+U", Some(HIDDEN_TUNING));
    }
    let others = |batches: &Batches| -> u64 {
        batches.iter().filter(|(size, _)| !sizes.contains(size)).map(|(_, n)| n).sum()
    };
    let reason = "a full list takes what is left up to its limit, which is no doubled batch";
    let (k, m) = (others(kernel), others(model));
    table.row("order-0 refills of other sizes", k as f64, m as f64, None, "S+U", Some(reason));
    let alike = in_same_order(
        &sizes.iter().map(|s| of(kernel, *s)).collect::<Vec<_>>(),
        &sizes.iter().map(|s| of(model, *s)).collect::<Vec<_>>(),
    );
    let reason = "1: of any two sizes that differ by more than chance (two roots of their sum) in the \
        kernel, the commoner one is not rarer in the model";
    table.row(
        "commonest refill sizes in the same order",
        1.0,
        f64::from(u8::from(alike)),
        Some(EXACT),
        "S+U",
        Some(reason),
    );
}

/// Is, of any two sizes of which one is clearly commoner in the kernel, the other one not clearly
/// commoner in the model?
fn in_same_order(kernel: &[u64], model: &[u64]) -> bool {
    let clearly_more = |a: u64, b: u64| a as f64 - b as f64 > 2.0 * ((a + b) as f64).sqrt();
    let pairs = (0..kernel.len()).flat_map(|i| (0..kernel.len()).map(move |j| (i, j)));
    pairs.filter(|&(i, j)| clearly_more(kernel[i], kernel[j])).all(|(i, j)| model[i] >= model[j])
}

fn by_pfn(table: &mut Table, figures: &KernelFigures, tally: &Tally) {
    let takes = &tally.takes;
    let reason = takes.first_missed.map(|pfn| {
        format!(
            "{} lay on a pcplist, {} were allocated in the model, the first was pfn {pfn:x}: their \
             free went straight to the free lists and left no record",
            takes.on_pcp, takes.allocated
        )
    });
    table.row(
        "taken blocks (Z) free in the model, %",
        100.0,
        percent(takes.free, takes.all),
        Some(0.0002),
        "E",
        reason.as_deref(),
    );
    let reason = "a pageblock's type is known in sum and where the trace names it";
    let of_type = percent(takes.of_type, takes.free);
    table.row("of these on the list of that type, %", 100.0, of_type, None, "U", Some(reason));
    let (k, m) = (figures.drained as f64, tally.drained as f64);
    table.row("blocks drained (D)", k, m, Some(EXACT), "E", None);
    let reason = "which order the kernel split no record says: the model's block is the one that \
        holds the frames";
    for (orders, n) in takes.splits.iter().enumerate().filter(|(_, n)| **n > 0) {
        let share = percent(*n, takes.free);
        table.row(
            format!("blocks split by {orders} orders, %"),
            None,
            share,
            None,
            "S",
            Some(reason),
        );
    }
}

/// Free blocks and pcplists when the second snapshot began.
fn end_state(table: &mut Table, shared: &Shared, kernel: &Kernel, by: By) {
    let figures = &shared.recording.digest.figures;
    let straight = "differs by frees that went straight to the free lists and never show again, and \
        pages on their way";
    for zone in &shared.recording.after.zones {
        let name = zone.id.zone_idx();
        let model = &kernel.zones[zone.id.index()];
        let free = model.free_pages_exact() as f64;
        table.row(
            format!("{name}: free pages at the end"),
            zone.free_pages as f64,
            free,
            Some(COUNT_BAND),
            "S",
            Some(if by == By::Pfn { straight } else { HIDDEN_TUNING }),
        );
        for (cpu, pcp) in zone.pcp.iter().enumerate() {
            pcplist(table, zone, cpu, pcp, kernel, by);
        }
        let Some(blocks) = zone.blocks else { continue };
        if blocks.iter().sum::<u64>() == 0 || !is_used(shared, zone) {
            continue;
        }
        for (order, said) in blocks.into_iter().enumerate() {
            let reason = if by == By::Pfn {
                straight
            } else {
                "hangs on the order of blocks on the free lists at the start, which no file has"
            };
            let defined = if by == By::Pfn { "S" } else { "U" };
            table.row(
                format!("{name}: free blocks of order {order} at the end"),
                said as f64,
                f64::from(model.free_area[order].nr_free()),
                (by == By::Pfn).then_some(COUNT_BAND),
                defined,
                Some(reason),
            );
        }
    }
    if figures.straight_frees > 0 {
        let reason = "frees in interrupts that found the pcp section taken; fed as such";
        let n = figures.straight_frees as f64;
        table.row("frees straight to the free lists", n, None, None, "E", Some(reason));
    }
}

/// Does the trace name any frame of the zone?
fn is_used(shared: &Shared, zone: &ZoneState) -> bool {
    let span = zone.start_pfn..zone.end_pfn;
    shared.recording.digest.events.iter().any(|e| e.pfn > 0 && span.contains(&u64::from(e.pfn)))
}

fn pcplist(
    table: &mut Table,
    zone: &ZoneState,
    cpu: usize,
    said: &PcpState,
    kernel: &Kernel,
    by: By,
) {
    let model = &kernel.zones[zone.id.index()].pcp[cpu];
    let name = zone.id.zone_idx();
    if said.count == 0 && model.count() == 0 {
        return;
    }
    let reason = match by {
        By::Pfn => "differs by pages that the bulk allocator took without a record",
        By::Request => HIDDEN_TUNING,
    };
    table.row(
        format!("{name}: CPU {cpu}'s pcp count at the end"),
        f64::from(said.count),
        f64::from(model.count()),
        Some(COUNT_BAND),
        "S",
        Some(reason),
    );
    if by == By::Request && said.bounds.is_some() && kernel.pcp_rules.auto_tune {
        let high = f64::from(model.high.load(Ordering::Relaxed));
        let name = format!("{name}: CPU {cpu}'s pcp high at the end");
        table.row(name, f64::from(said.high), high, None, "S+U", Some(HIDDEN_TUNING));
    }
}

/// What tracing itself changes.
fn traced(table: &mut Table, figures: &KernelFigures) {
    let seconds = figures.window_ns as f64 / 1e9;
    let reason = "tracing slows the kernel down; the model's own rate is in its operations";
    for (name, n) in [
        ("records per second", figures.records),
        ("A per second", figures.nr_allocs()),
        ("F per second", figures.nr_frees()),
    ] {
        let rate = (seconds > 0.0).then(|| n as f64 / seconds);
        table.row(name, rate, None, None, "P", Some(reason));
    }
}

/// Types that have names in the table; others are counted in none of its rows.
const _: () = assert!(MigrateType::Reclaimable as usize == 2, "the rows by type name three");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_differ_by_chance_may_swap() {
        assert!(in_same_order(&[112, 120, 102], &[120, 112, 102]));
        assert!(in_same_order(&[63, 14, 5], &[50, 14, 5]));
        assert!(!in_same_order(&[120, 44, 20], &[20, 44, 120]));
    }

    #[test]
    fn figures_keep_six_digits() {
        assert_eq!(rounded(0.339_411_23), 0.339_411);
        assert_eq!(rounded(1_671_397.0), 1_671_397.0);
        assert_eq!(rounded(98.062_312_3), 98.062_3);
    }
}
