//! What the tasks did last: a ring of events for each, merged into one story at a finding.
//!
//! **What.** Events are race points with up to three numbers and a time stamp.
//!
//! **Why.** The trace has to exist when the finding is made, so it is always on; a ring per task
//! has one writer and costs five Relaxed stores on slow paths.
//!
//! **Differs.** A reader may catch a slot while it is overwritten; it then sees that the slot's
//! number does not fit and leaves it out.

use crate::race::Point;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Events kept for each task.
pub const RING_EVENTS: usize = 128;

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, in ticks of [`crate::sync::stamp`].
    pub stamp: u64,
    /// The event's number in its task.
    pub number: u64,
    /// Where.
    pub point: Point,
    /// The numbers that the point's story names.
    pub args: [u64; 3],
}

impl Event {
    /// The event in words.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let mut rest = self.point.story();
        while let Some(open) = rest.find('{') {
            text.push_str(&rest[..open]);
            let field = &rest[open + 1..open + 3];
            let arg = self.args[usize::from(field.as_bytes()[0] - b'0')];
            text.push_str(&render(field.as_bytes()[1], arg));
            rest = &rest[open + 4..];
        }
        text.push_str(rest);
        text
    }
}

fn render(kind: u8, arg: u64) -> String {
    match kind {
        b'n' => node_list(arg),
        b'x' => format!("{arg:#x}"),
        b'z' if arg == NO_ZONE => "no zone".to_owned(),
        b'z' => {
            let zone = crate::ids::ZoneId(u16::try_from(arg).unwrap_or(u16::MAX));
            format!("node {} {}", zone.node(), zone.zone_idx())
        }
        b'c' => constraint_name(arg).to_owned(),
        b'b' => if arg == 0 { "no" } else { "yes" }.to_owned(),
        _ => arg.to_string(),
    }
}

fn constraint_name(arg: u64) -> &'static str {
    use crate::oom::constraint::Constraint;
    [Constraint::None, Constraint::Cpuset, Constraint::MemoryPolicy]
        .into_iter()
        .find(|c| *c as u64 == arg)
        .map_or("unknown", Constraint::name)
}

/// The argument that stands for "no zone" in `{z}` fields.
pub const NO_ZONE: u64 = u64::MAX;

/// The first 64 nodes as the kernel prints a node list.
fn node_list(word: u64) -> String {
    let mut parts = Vec::new();
    let mut n = 0;
    while n < 64 {
        if word >> n & 1 == 1 {
            let start = n;
            while n < 63 && word >> (n + 1) & 1 == 1 {
                n += 1;
            }
            parts.push(if start == n { start.to_string() } else { format!("{start}-{n}") });
        }
        n += 1;
    }
    format!("{{{}}}", parts.join(","))
}

#[derive(Debug, Default)]
struct Slot {
    /// Number of the event + 1; 0: empty. Written first (as 0) and last, so that a torn slot is
    /// noticed in practice; a story that loses an event in a rare race is still a story.
    number: AtomicU64,
    stamp: AtomicU64,
    point: AtomicU64,
    args: [AtomicU64; 3],
}

/// The last events of one task. One writer: the task itself.
#[derive(Debug)]
pub struct EventRing {
    next: AtomicU64,
    slots: Box<[Slot]>,
}

impl Default for EventRing {
    fn default() -> Self {
        Self { next: AtomicU64::new(0), slots: (0..RING_EVENTS).map(|_| Slot::default()).collect() }
    }
}

impl EventRing {
    /// Adds an event. Only the ring's task calls this.
    #[inline]
    pub fn push(&self, stamp: u64, point: Point, args: [u64; 3]) {
        let number = self.next.load(Ordering::Relaxed);
        let slot = &self.slots[number as usize % RING_EVENTS];
        slot.number.store(0, Ordering::Relaxed);
        slot.stamp.store(stamp, Ordering::Relaxed);
        slot.point.store(point as u64, Ordering::Relaxed);
        for (to, from) in slot.args.iter().zip(args) {
            to.store(from, Ordering::Relaxed);
        }
        // Release: pairs with the Acquire in events; a slot that shows its number shows the rest.
        slot.number.store(number + 1, Ordering::Release);
        self.next.store(number + 1, Ordering::Relaxed);
    }

    /// Events pushed so far.
    pub fn len(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Has nothing been pushed yet?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The events that are still there, oldest first.
    pub fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = self
            .slots
            .iter()
            .filter_map(|slot| {
                // Acquire: pairs with the Release in push.
                let number = slot.number.load(Ordering::Acquire).checked_sub(1)?;
                let point = Point::from_number(slot.point.load(Ordering::Relaxed) as u16)?;
                let args = [0, 1, 2].map(|i| slot.args[i].load(Ordering::Relaxed));
                let stamp = slot.stamp.load(Ordering::Relaxed);
                let still = slot.number.load(Ordering::Relaxed) == number + 1;
                still.then_some(Event { stamp, number, point, args })
            })
            .collect();
        events.sort_unstable_by_key(|e| e.number);
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_told_in_words() {
        let event =
            Event { stamp: 0, number: 0, point: Point::T3aMemsWritten, args: [0b1, 0b110, 17] };
        assert_eq!(event.describe(), "mems {0} -> {1-2} (task 17)");
    }

    #[test]
    fn every_story_can_be_told() {
        for &point in Point::ALL {
            let event = Event { stamp: 0, number: 0, point, args: [1, 2, 3] };
            assert!(!event.describe().contains(|c| c == '}' && !point.story().contains('n')));
        }
    }

    #[test]
    fn a_full_ring_keeps_the_last_events() {
        let ring = EventRing::default();
        for n in 0..RING_EVENTS as u64 + 10 {
            ring.push(n, Point::S7Retry, [n, 0, 0]);
        }
        let events = ring.events();
        assert_eq!(events.len(), RING_EVENTS);
        assert_eq!(events[0].number, 10);
        assert_eq!(events.last().unwrap().args[0], RING_EVENTS as u64 + 9);
    }
}
