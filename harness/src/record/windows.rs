//! Race windows as threads saw them: the `windows` of the record.

use allocator::race::Amplify;
use allocator::race::window::{NR_WINDOWS, WINDOWS};
use indexmap::IndexMap;
use results::histogram::{Config, Histogram};
use results::schema::Window;

/// What one or more threads saw of each window.
#[derive(Clone, Debug, Default)]
pub struct WindowLog([Seen; NR_WINDOWS]);

#[derive(Clone, Debug, Default)]
struct Seen {
    opened: u64,
    entered: u64,
    /// Lengths; allocated at the first.
    lengths: Option<Box<Histogram>>,
}

impl WindowLog {
    /// One opened.
    pub fn opened(&mut self, window: usize) {
        self.0[window].opened += 1;
    }

    /// One closed again, `ns` later unless that is not known.
    pub fn closed(&mut self, window: usize, ns: Option<u64>, entered: bool) {
        let seen = &mut self.0[window];
        seen.entered += u64::from(entered);
        if let Some(ns) = ns {
            let new = || Box::new(Histogram::new(Config::default()));
            seen.lengths.get_or_insert_with(new).record(ns);
        }
    }

    /// Adds what others saw.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            mine.opened += theirs.opened;
            mine.entered += theirs.entered;
            match (&mut mine.lengths, &theirs.lengths) {
                (Some(mine), Some(theirs)) => mine.merge(theirs),
                (none @ None, Some(theirs)) => *none = Some(theirs.clone()),
                (Some(_) | None, None) => {}
            }
        }
    }

    /// Windows that were opened, by the name of the point that opens them.
    pub fn document(&self, amplify: &[Amplify]) -> IndexMap<String, Window> {
        let seen = WINDOWS.iter().zip(&self.0).filter(|(_, seen)| seen.opened > 0);
        seen.map(|(window, seen)| {
            let latency = seen.lengths.as_ref().and_then(|h| h.latency());
            let held = amplify.iter().find(|a| a.point == window.opens);
            let document = Window {
                passes: seen.opened,
                entered: seen.entered,
                p50_ns: latency.map(|l| l.p50),
                max_ns: latency.map(|l| l.max),
                amplified: held
                    .map(|a| format!("{}:{}ns", f64::from(a.per_million) / 1e6, a.delay_ns)),
            };
            (window.opens.name().to_owned(), document)
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator::race::Point;

    #[test]
    fn what_threads_saw_adds_up() {
        let mut a = WindowLog::default();
        a.opened(0);
        a.opened(0);
        a.closed(0, Some(1000), false);
        let mut b = WindowLog::default();
        b.opened(0);
        b.closed(0, Some(3000), true);
        b.opened(2);
        b.closed(2, None, true);
        a.merge(&b);
        let held = Amplify { point: Point::S1Cookies, per_million: 500_000, delay_ns: 100 };
        let all = a.document(&[held]);
        assert_eq!(all.len(), 2, "what was never opened is not told");
        let s1 = &all[Point::S1Cookies.name()];
        assert_eq!((s1.passes, s1.entered), (3, 1));
        assert!(s1.p50_ns.unwrap() >= 1000 && s1.max_ns.unwrap() >= 3000, "{s1:?}");
        assert_eq!(s1.amplified.as_deref(), Some("0.5:100ns"));
        let exit = &all[Point::QExitMm.name()];
        assert_eq!((exit.passes, exit.entered, exit.p50_ns), (1, 1, None));
    }
}
