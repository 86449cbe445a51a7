//! The progress line: redrawn on a terminal, plain lines every some seconds elsewhere.
//!
//! **Why.** A log must not be full of carriage returns, and a terminal not of old lines.

use std::time::Duration;

use results::format;

use super::live::Live;
use crate::cli::args::When;
use crate::plan::{Length, Plan};
use crate::run::phases::{Show, Status};

/// Shows progress on stderr.
#[derive(Debug)]
pub struct Progress {
    live: Live,
    asked: bool,
}

impl Progress {
    /// As `--progress` and `--status-interval` say.
    pub fn new(progress: When, interval: Option<Duration>, quiet: bool) -> Self {
        Self { live: Live::new(progress, interval, quiet), asked: false }
    }

    /// The line above: what is run, once.
    pub fn begin(&mut self, plan: &Plan) {
        self.live.restart();
        if self.live.is_shown() {
            self.live.print(&heading(plan));
        }
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        self.live.end();
    }
}

impl Show for Progress {
    fn status(&mut self, status: &Status<'_>) {
        let due = self.live.is_due(Duration::ZERO);
        if !self.live.is_redrawn() && !due && !self.asked {
            return;
        }
        let text = line(status);
        if due || std::mem::take(&mut self.asked) {
            self.live.restart();
            self.asked = false;
            self.live.print(&text);
        }
        self.live.redraw(text);
    }

    fn wants_figures(&self) -> bool {
        // A snapshot is a copy of a histogram per thread: not for a line every ten seconds until
        // that line is near. SIGUSR1 shows what is there.
        self.live.is_redrawn() || self.live.is_due(Duration::from_secs(3))
    }

    fn ask_line(&mut self) {
        self.asked = true;
    }
}

/// What is run, in one line.
pub fn heading(plan: &Plan) -> String {
    let names: Vec<&str> = plan.variants.iter().map(|v| v.name.as_str()).collect();
    let plural = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
    format!(
        "{}  {}  {} on {}, {}  seed {:#x}",
        plan.workload.info().name,
        names.join(" "),
        plural(plan.threads as usize, "thread"),
        plural(plan.machine.cpus.len(), "CPU"),
        plural(plan.machine.nodes.len(), "node"),
        plan.seed
    )
}

/// The progress line.
pub fn line(status: &Status<'_>) -> String {
    let plan = status.plan;
    let mut parts = vec![time(status)];
    if plan.variants.len() > 1 {
        parts.push(plan.variants[status.turn.variant].name.clone());
    }
    if plan.turn_count() > 1 {
        parts.push(format!("round {}/{}", status.order + 1, plan.turn_count()));
    }
    if let Some((histogram, seconds)) = status.primary {
        let op = plan.workload.info().ops.first().copied().unwrap_or("op");
        let rate = histogram.count() as f64 / seconds.max(1e-3);
        parts.push(format!("{} {op}/s", format::count(rate)));
        parts.push(format!("p99 {}", format::ns(histogram.quantile(0.99) as f64)));
        parts.push(format!("max {}", format::ns(histogram.quantile(1.0) as f64)));
    }
    parts.push(format!("oom {}", status.kills));
    parts.push(format!("FOUND {}", status.found));
    format!(" {}", parts.join("  "))
}

fn time(status: &Status<'_>) -> String {
    let seconds = status.elapsed.as_secs_f64();
    if status.warms_up {
        return format!("{seconds:.1}s/{:.1}s warm-up", status.plan.warmup.as_secs_f64());
    }
    match status.plan.length {
        Length::Time(length) => format!("{seconds:.1}s/{:.1}s", length.as_secs_f64()),
        Length::Ops(ops) => format!("{seconds:.1}s of {} ops", format::count(ops as f64)),
        Length::Whole => format!("{seconds:.1}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use results::histogram::{Config, Histogram};

    use crate::plan::Turn;

    fn plan(args: &[&str]) -> Plan {
        let machine = "synthetic:numa:1(memory=256MiB) pu:2";
        let base = ["stress", "page-alloc", "--machine", machine, "--seed", "0x5f3a"];
        let cli = crate::cli::Cli::try_parse_from(base.iter().chain(args)).unwrap();
        Plan::new(workloads::find("page-alloc").unwrap(), &cli.run).unwrap()
    }

    fn status<'a>(plan: &'a Plan, primary: Option<&'a (Histogram, f64)>) -> Status<'a> {
        Status {
            plan,
            turn: Turn { variant: plan.variants.len() - 1, round: 0 },
            order: 1,
            warms_up: false,
            elapsed: Duration::from_millis(4600),
            primary,
            kills: 12,
            found: 1,
        }
    }

    #[test]
    fn the_line_says_where_it_is_and_what_it_found() {
        let mut histogram = Histogram::new(Config::default());
        histogram.record_n(250, 3_980_000);
        histogram.record_n(1_900_000, 20_000);
        let primary = (histogram, 4.0);
        let alone = plan(&["--threads", "64"]);
        assert_eq!(
            heading(&alone),
            "page-alloc  mainline  64 threads on 2 CPUs, 1 node  seed 0x5f3a"
        );
        assert_eq!(
            line(&status(&alone, Some(&primary))),
            " 4.6s/10.0s  1.00M alloc/s  p99 250ns  max 1.90ms  oom 12  FOUND 1"
        );
        let both = plan(&["--variant", "v4.11", "--variant", "v4.13", "--ops", "2M"]);
        assert_eq!(
            line(&status(&both, None)),
            " 4.6s of 2.00M ops  v4.13  round 2/20  oom 12  FOUND 1"
        );
        let warms_up = Status { warms_up: true, ..status(&alone, None) };
        assert_eq!(line(&warms_up), " 4.6s/1.0s warm-up  oom 12  FOUND 1");
    }
}
