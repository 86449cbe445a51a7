//! Start-up: how long a machine takes to boot, and what a frame costs.

use std::time::Instant;

use allocator::machine::Machine;

use crate::model::boot;
use crate::{Figure, Measure};

/// All rows of this file.
pub(crate) fn measures() -> Vec<Measure> {
    [1, 64, 1024].map(start).into()
}

fn start(gib: u64) -> Measure {
    let name = format!("model  start-up, {gib} GiB");
    Measure::new(name.clone(), move || {
        let nodes = if gib == 1024 { 64 } else { 1 };
        let pages = (gib << 18) / nodes;
        let before = resident_bytes();
        let start = Instant::now();
        let kernel = boot(Machine::uniform(nodes as u16, 2, pages));
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let resident = resident_bytes().saturating_sub(before);
        drop(kernel);
        let per_frame = resident as f64 / (gib << 18) as f64;
        let mut figures = vec![Figure { name: name.clone(), unit: "ms", value: ms }];
        // A small machine's metadata may lie in memory that an earlier row has touched.
        if gib >= 64 {
            let name = format!("{name}: memory touched");
            figures.push(Figure { name, unit: "bytes/frame", value: per_frame });
        }
        figures
    })
}

/// Resident memory of this process, in bytes; 0 where the system does not say.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|w| w.parse::<u64>().ok());
    pages.unwrap_or(0) << 12
}
