//! Kills before this one, in the same log.
//!
//! **Why.** A report that shows much free memory right after another victim proves nothing against the
//! kernel's look: the memory came free between the look and the report.

use std::collections::VecDeque;

use report::Report;

/// Seconds within which an earlier victim's memory may be what a report shows.
const RECENT_S: f64 = 10.0;
/// Kills that are remembered.
const MOST: usize = 32;

/// An earlier kill.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    /// Seconds of the log.
    pub(super) time: Option<f64>,
    /// Who.
    pub(super) pid: u32,
    /// Its name.
    pub(super) name: String,
    /// Its memory, kB.
    pub(super) rss_kb: Option<u64>,
    /// Did the reaper say it is done, before this report?
    pub(super) reaped: bool,
    host: Option<String>,
    /// Zone, free, min without boost, present: kB.
    zones: Vec<(String, u64, u64, u64)>,
}

#[derive(Debug, Default)]
pub(super) struct History {
    kills: VecDeque<Earlier>,
}

fn zones(report: &Report) -> Vec<(String, u64, u64, u64)> {
    let zone = |z: &report::Zone| {
        let min = z.get("min")?.saturating_sub(z.get("boost").unwrap_or(0));
        Some((z.title(), z.get("free")?, min, z.get("present")?))
    };
    report.zones.iter().filter_map(zone).collect()
}

impl History {
    pub(super) fn add(&mut self, report: &Report) {
        let Some(victim) = &report.victim else { return };
        if self.kills.len() == MOST {
            self.kills.pop_front();
        }
        self.kills.push_back(Earlier {
            time: victim.time.or(report.time),
            pid: victim.pid,
            name: victim.name.clone(),
            rss_kb: victim.rss_kb(),
            reaped: false,
            host: report.host.clone(),
            zones: zones(report),
        });
    }

    pub(super) fn reaped(&mut self, pid: u32) {
        if let Some(kill) = self.kills.iter_mut().rev().find(|k| k.pid == pid) {
            kill.reaped = true;
        }
    }

    /// A kill whose memory may be what this report shows as free: recent, on the same machine, of at
    /// least the size by which free memory rose since.
    pub(super) fn late(&self, report: &Report) -> Option<(&Earlier, Option<f64>)> {
        let now = zones(report);
        self.kills.iter().rev().find_map(|kill| {
            let apart = match (kill.time, report.time) {
                (Some(then), Some(now)) => {
                    let apart = now - then;
                    if !(0.0..=RECENT_S).contains(&apart) {
                        return None;
                    }
                    Some(apart)
                }
                _ => None,
            };
            if kill.host != report.host {
                return None;
            }
            let (mut rise, mut common) = (0_i128, false);
            for (zone, free, min, present) in &now {
                let then = kill.zones.iter().find(|z| z.0 == *zone);
                if let Some((_, free_then, min_then, present_then)) = then {
                    if present != present_then || min != min_then {
                        return None;
                    }
                    common = true;
                    rise += i128::from(*free) - i128::from(*free_then);
                }
            }
            // Without time stamps only the same zones say that it is the same machine.
            if !common && (apart.is_none() || !kill.zones.is_empty()) {
                return None;
            }
            let size = i128::from(kill.rss_kb?);
            // A tenth for what else came free: page tables, page cache of the victim.
            (rise > 0 && rise <= size + size / 10 + 65_536 || !common).then_some((kill, apart))
        })
    }
}
