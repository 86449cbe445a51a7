//! `--hlog FILE`: HdrHistogram's interval log, one tag for each operation.
//!
//! **Why.** Drift inside a run (fragmentation, a warming host) is invisible in its totals.
//!
//! **Source.** The format of HdrHistogram's log tools: comment lines, then
//! `Tag=NAME,start,length,max,histogram` with base64 of V2, deflated.

use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::plan::Plan;
use crate::run::rounds::Session;

/// The log of a session.
///
/// # Errors
/// In words, if an interval can't be encoded.
pub fn text(plan: &Plan, session: &Session, started: SystemTime) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment(format!("stress {}", env!("CARGO_PKG_VERSION")).as_str())
        .with_start_time(started)
        .with_base_time(started)
        .with_max_value_divisor(1e6);
    let mut writer =
        builder.begin_log_with(&mut bytes, &mut serializer).map_err(|e| e.to_string())?;
    for round in &session.rounds {
        let variant = &plan.variants[round.turn.variant].name;
        for interval in &round.intervals {
            let start = Duration::from_secs_f64(round.start_s + interval.start_s);
            let length = Duration::from_secs_f64(interval.end_s - interval.start_s);
            for (op, name) in interval.ops.names().iter().enumerate() {
                let Some(histogram) = interval.ops.get(op) else { continue };
                // Commas and spaces end a tag.
                let tag = tag(plan, variant, name.name);
                let tag = Tag::new(&tag).ok_or("a tag with a comma")?;
                writer
                    .write_histogram(histogram.inner(), start, length, Some(tag))
                    .map_err(|e| format!("{e:?}"))?;
            }
        }
    }
    Ok(bytes)
}

fn tag(plan: &Plan, variant: &str, op: &str) -> String {
    if plan.variants.len() == 1 {
        op.to_owned()
    } else {
        format!("{}:{op}", variant.replace(|c: char| c == ',' || c.is_whitespace(), "+"))
    }
}
