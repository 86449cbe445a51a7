//! Invented records for tests: shaped like real ones, noise included, the same for the same seed.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::histogram::{Config, OpHistograms, OpName, OpNames};
use crate::schema::{
    Class, Clock, Figure, Finding, Host, HostNode, Load, Machine, MachineNode, MachineZone, Phases,
    Round, Run, Tool, VERSION, Variant, Window,
};

/// What to invent.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) variant: &'static str,
    pub(crate) seed: u64,
    pub(crate) rounds: u32,
    /// Factor on every latency, and the inverse on every rate.
    pub(crate) slowdown: f64,
    /// Relative noise of a round that both variants of one session don't share.
    pub(crate) noise: f64,
    pub(crate) premature_rounds: u32,
    pub(crate) side: Side,
}

/// Place of a variant's rounds in the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]

pub(crate) enum Side {
    Alone,
    A,
    B,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            variant: "v4.11",
            seed: 7,
            rounds: 10,
            slowdown: 1.0,
            noise: 0.03,
            premature_rounds: 0,
            side: Side::Alone,
        }
    }
}

pub(crate) fn names() -> OpNames {
    [("fault", "page fault"), ("mems_update", "cpuset.mems write")]
        .map(|(name, label)| OpName { name, label })
        .into_iter()
        .collect()
}

impl Sample {
    pub(crate) fn run(&self) -> Run {
        let mut rng = StdRng::seed_from_u64(self.seed ^ (self.side as u64) << 32);
        let mut run = Run {
            schema: VERSION,
            run_id: format!("20261121T052607-{:08x}-{}", self.seed, self.variant),
            session: format!("20261121T052607-{:08x}", self.seed),
            tool: Tool {
                name: "stress".into(),
                version: "0.3.0".into(),
                git: Some("0123abc".into()),
                compiler: Some("rustc 1.95.0".into()),
                profile: Some("release".into()),
            },
            command_line: vec![
                "stress".into(),
                "--workload".into(),
                "cpuset01".into(),
                "--threads".into(),
                "64".into(),
            ],
            started: "2026-11-21T05:26:07Z".into(),
            host: host(),
            machine: machine(),
            workload: "cpuset01".into(),
            options: [("policy".to_owned(), "both".to_owned())].into_iter().collect(),
            variant: Variant {
                name: self.variant.into(),
                release: self.variant.split(',').next().unwrap().into(),
                axes: [("cpuset".to_owned(), "cookie-recheck".to_owned())].into_iter().collect(),
            },
            threads: 64,
            seed: self.seed,
            phases: Phases { warmup_s: 1.0, measured_s: 2.0 * f64::from(self.rounds) },
            clock: Clock {
                source: "tsc".into(),
                step_ns: Some(1.0),
                read_ns: Some(11.7),
                record_ns: Some(27.5),
                time_scale: 1.0,
            },
            planned_rounds: self.rounds,
            notes: vec!["turbo is on".into()],
            ..Run::default()
        };
        let mut all = OpHistograms::new(names(), Config::default());
        for index in 0..self.rounds {
            let round = self.round(index, &mut rng, &mut all);
            run.slow_path.entries += round.slow_path.entries;
            run.slow_path.retries += round.slow_path.retries;
            run.oom.kills += round.oom.kills;
            run.oom.episodes += round.oom.episodes;
            run.oom.premature.definite += round.oom.premature.definite;
            run.rounds.push(round);
        }
        run.ops = all.to_ops(run.phases.measured_s, Some(run.phases.measured_s * 2.0), true);
        self.add_findings(&mut run);
        run.vmstat =
            [("oom_kill".to_owned(), run.oom.kills as i64), ("allocstall_normal".to_owned(), 34)]
                .into_iter()
                .collect();
        run.reserves.lowest_free_pages = Some(7061);
        run.reserves.lowest_share_of_min = Some(0.63);
        run.figures.insert(
            "rebind_vmas".into(),
            Figure { value: Some(12.5), unit: "vmas".into(), better: Some("lower".into()) },
        );
        run.windows.insert(
            "T3a".into(),
            Window {
                passes: 48_200,
                entered: 12,
                p50_ns: Some(1900),
                max_ns: Some(88_000),
                amplified: None,
            },
        );
        run.invariants.checked = 66_060_288;
        run
    }

    fn round(&self, index: u32, rng: &mut StdRng, all: &mut OpHistograms) -> Round {
        let noise = 1.0 + self.noise * (rng.random::<f64>() * 2.0 - 1.0);
        let factor = self.slowdown * noise;
        let mut hists = OpHistograms::new(names(), Config::default());
        for _ in 0..2000 {
            let tail: f64 = rng.random::<f64>().max(1e-4);
            hists.record(0, (212.0 * factor / tail.powf(0.7)) as u64);
        }
        for _ in 0..200 {
            let tail: f64 = rng.random::<f64>().max(1e-3);
            hists.record(1, (19_000.0 * factor / tail.powf(0.4)) as u64);
        }
        hists.count_untimed(0, (7_800_000.0 / factor) as u64);
        all.merge(&hists);
        let order = match self.side {
            Side::Alone => index,
            // A B B A A B B A ...
            Side::A => index * 2 + index % 2,
            Side::B => index * 2 + 1 - index % 2,
        };
        let mut round = Round {
            order,
            start_s: f64::from(order) * 2.1,
            measured_s: 2.0,
            cpu_s: Some(4.0),
            complete: true,
            ops: hists.to_ops(2.0, Some(4.0), false),
            ..Round::default()
        };
        round.slow_path.entries = 120_000;
        round.slow_path.retries = 5_000;
        round.slow_path.per_1000_updates = Some(2489.6);
        round.oom.kills = 2;
        round.oom.episodes = 2;
        if index < self.premature_rounds {
            round.oom.premature.definite = 1;
            round.first_finding_s = Some(0.3 + f64::from(index) * 0.1);
        }
        round
    }

    fn add_findings(&self, run: &mut Run) {
        for index in 0..self.premature_rounds {
            let event =
                |step: u32, task: &str, label: &str, text: &str| crate::schema::TimelineEvent {
                    step,
                    time_ns: Some(u64::from(step) * 475),
                    task: task.into(),
                    cpu: Some(step % 2),
                    label: Some(label.into()),
                    text: text.into(),
                    reason: label == "T3a",
                };
            let finding = Finding {
                number: index + 1,
                kind: "premature-oom".into(),
                class: Some(Class::Definite),
                counts: true,
                title: "premature OOM (definite): node 0 could have served task17".into(),
                round: Some(index),
                time_s: 0.3,
                task: Some("task17".into()),
                report: "task17 invoked oom-killer: gfp_mask=0x14200ca(GFP_HIGHUSER_MOVABLE),\n  order=0, nodemask=1, cpuset=/A mems_allowed=0\nNode 0 Normal free:812344 min:11207 low:14008 high:16810    <== free".into(),
                evidence: [("nodemask".to_owned(), "1".to_owned())].into_iter().collect(),
                events: vec![
                    event(1, "task17", "D4", "nodemask = VMA bind{1}, which meets mems{1}"),
                    event(2, "task64", "T3a", "cpuset.mems: 1 -> 0   (seq 8)"),
                    event(3, "task17", "S1", "cookie: seq = 8"),
                    event(4, "task17", "X5", "CONSTRAINT_MEMORY_POLICY, kill"),
                ],
                why: Some("2 fell between 1 and 3, so the cookie could not see it.".into()),
                excluded_by: Some("cpuset=intersection-recheck (902b62810a57)".into()),
                replay: Some("stress explore --replay finding-1.schedule".into()),
                smaller: Some("2 tasks, 7 steps (from 64 tasks, 18,402 steps)".into()),
            };
            run.oom.findings.push(finding.brief());
            run.findings.push(finding);
        }
        run.exit = i32::from(self.premature_rounds > 0);
    }
}

pub(crate) fn host() -> Host {
    let mut host = Host {
        name: "lab07".into(),
        kernel: "6.12.9".into(),
        cpu: "Xeon 6430".into(),
        cpus: 64,
        sockets: Some(2),
        cores: Some(64),
        smt: Some(false),
        memory_bytes: 251 << 30,
        governor: Some("performance".into()),
        turbo: Some(true),
        thp: Some("madvise".into()),
        load: Load { avg1: Some(0.2), pressure: vec![] },
        nodes: (0..2)
            .map(|id| HostNode {
                id,
                cpus: format!("{}-{}", id * 32, id * 32 + 31),
                memory_bytes: Some(125 << 30),
                free_bytes: Some(100 << 30),
                distances: vec![10, 21],
            })
            .collect(),
        ..Host::default()
    };
    host.fingerprint = crate::host::fingerprint(&host);
    host
}

pub(crate) fn machine() -> Machine {
    Machine {
        source: "host".into(),
        cpus: 64,
        nodes: (0..2)
            .map(|id| MachineNode {
                id,
                cpus: format!("{}-{}", id * 32, id * 32 + 31),
                managed_pages: 33_030_144,
                distances: vec![10, 21],
            })
            .collect(),
        zones: (0..2)
            .map(|node| MachineZone {
                node,
                name: "Normal".into(),
                spanned: 33_554_432,
                present: 33_554_432,
                managed: 33_030_144,
                min: 11_207,
                low: 14_008,
                high: 16_810,
            })
            .collect(),
    }
}
