//! A trace in memory: its records, packed, and where the snapshots lie in it.
//!
//! **What.** [`Trace::read`] streams the text and keeps 32 bytes a record.
//!
//! **Why whole.** Which pages lay on which pcplist at the start, and of which type a pageblock is, is
//! told by what happens to them later: a replay has to know the end before it begins.
//!
//! **Differs.** Frames outside the machine are left out and counted by event.

use std::io::BufRead;

use allocator::ids::CpuId;

use super::record::{self, Context, Event, Marker, Record, TraceError};

/// Which event, in a packed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A.
    Alloc,
    /// A that failed.
    AllocFailed,
    /// F.
    Free,
    /// B.
    FreeBatched,
    /// D.
    Drain,
    /// Z of an order and type that pcplists hold.
    TakeForPcp,
    /// Z of another.
    TakeDirect,
    /// X that changed the pageblock's type.
    Claim,
    /// X that took one block.
    Steal,
    /// U.
    Untraced,
    /// M.
    Marker,
}

impl Kind {
    /// The letter of the event.
    pub fn letter(self) -> char {
        match self {
            Self::Alloc | Self::AllocFailed => 'A',
            Self::Free => 'F',
            Self::FreeBatched => 'B',
            Self::Drain => 'D',
            Self::TakeForPcp | Self::TakeDirect => 'Z',
            Self::Claim | Self::Steal => 'X',
            Self::Untraced => 'U',
            Self::Marker => 'M',
        }
    }
}

/// A record, packed.
#[derive(Clone, Copy, Debug)]
pub struct Packed {
    /// Nanoseconds since the first record.
    pub at_ns: u64,
    /// First frame of the block.
    pub pfn: u32,
    /// Thread.
    pub pid: u32,
    /// Line of the text.
    pub line: u32,
    /// Model CPU.
    pub cpu: u16,
    /// Event.
    pub kind: Kind,
    /// Context.
    pub context: Context,
    /// Order of the block.
    pub order: u8,
    /// Type wanted, in the kernel's numbers.
    pub migratetype: u8,
    /// Index into [`Trace::gfps`] (A), or the type that a fallback block had (X).
    pub extra: u8,
}

/// Which frames and CPUs there are.
pub trait Extent {
    /// Are all frames of the block managed ones of the machine?
    fn holds(&self, pfn: u64, order: u8) -> bool;
    /// The model CPU with this number.
    fn cpu(&self, os_index: u16) -> Option<CpuId>;
}

/// Records of frames that the machine does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outside {
    /// Their number, by letter.
    pub by_letter: Vec<(char, u64)>,
    /// Line and frame of the first.
    pub first: Option<(u64, u64)>,
}

impl Outside {
    fn count(&mut self, letter: char, line: u64, pfn: u64) {
        self.first.get_or_insert((line, pfn));
        match self.by_letter.iter_mut().find(|(l, _)| *l == letter) {
            Some((_, n)) => *n += 1,
            None => self.by_letter.push((letter, 1)),
        }
    }

    /// How many.
    pub fn total(&self) -> u64 {
        self.by_letter.iter().map(|(_, n)| n).sum()
    }

    /// A line for the user, if there are any.
    pub fn note(&self) -> Option<String> {
        let (line, pfn) = self.first?;
        let parts: Vec<String> = self.by_letter.iter().map(|(l, n)| format!("{l} {n}")).collect();
        Some(format!(
            "{} records of frames outside the machine left out ({}), the first on line {line}: pfn {pfn:x}",
            self.total(),
            parts.join(", ")
        ))
    }
}

/// Tasks that the kernel recorded nothing of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Untraced {
    /// Times that a CPU ran such.
    pub times: u64,
    /// Nanoseconds of these together.
    pub ns: u64,
    /// Line and thread of the first.
    pub first: Option<(u64, u32)>,
}

impl Untraced {
    /// A line for the user, if there are any. `frees` and `takes`: what they did, as far as it shows.
    pub fn note(&self, frees: u64, takes: u64) -> Option<String> {
        let (line, task) = self.first?;
        Some(format!(
            "tasks that the kernel does not trace ran {} times, {:.1} ms in all, the first (thread {task}) \
             before line {line}: fed as it shows later: {frees} blocks that they freed, {takes} pages that \
             they took",
            self.times,
            self.ns as f64 / 1e6
        ))
    }
}

/// A whole trace.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The records from `SNAP0 kpageflags` on, to the end.
    pub records: Vec<Packed>,
    /// Distinct gfp flags.
    pub gfps: Vec<u32>,
    /// Index of the first record behind `SNAP0 end`: the window begins.
    pub window: usize,
    /// Index of `SNAP1 begin`: window and replay end.
    pub end: usize,
    /// Lines read.
    pub lines: u64,
    /// What was left out.
    pub outside: Outside,
    /// What was never recorded.
    pub untraced: Untraced,
}

/// How often `progress` is called, in lines.
const PROGRESS_LINES: u64 = 1 << 16;

struct Reading<'a> {
    trace: Trace,
    extent: &'a dyn Extent,
    now_ns: u64,
    started: bool,
    window: Option<usize>,
    end: Option<usize>,
}

impl Trace {
    /// Reads a trace; `progress` is told now and then which line it is at.
    ///
    /// # Errors
    /// The first line that is no record, that names a CPU which the machine does not have, or at
    /// which the trace ends without its second snapshot.
    pub fn read(
        from: &mut dyn BufRead,
        extent: &dyn Extent,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, TraceError> {
        let mut reading = Reading {
            trace: Self::default(),
            extent,
            now_ns: 0,
            started: false,
            window: None,
            end: None,
        };
        let lines = record::read(from, |line, record| {
            if line % PROGRESS_LINES == 0 {
                progress(line);
            }
            reading.add(line, record)
        })?;
        let fail = |what: &str| TraceError { line: lines, what: what.to_owned() };
        if lines == 0 {
            return Err(fail("it is empty"));
        }
        if !reading.started {
            return Err(fail("it ends without the marker 'SNAP0 kpageflags': not a recording"));
        }
        let mut trace = reading.trace;
        trace.lines = lines;
        trace.window = reading
            .window
            .ok_or_else(|| fail("it is cut off: it ends without the marker 'SNAP0 end'"))?;
        trace.end = reading
            .end
            .ok_or_else(|| fail("it is cut off: it ends without the marker 'SNAP1 begin'"))?;
        Ok(trace)
    }

    /// Nanoseconds of the window.
    pub fn window_ns(&self) -> u64 {
        let at = |index: usize| self.records.get(index).map_or(0, |r| r.at_ns);
        let from = self.window.checked_sub(1).map_or(0, at);
        at(self.end).saturating_sub(from)
    }
}

impl Reading<'_> {
    fn add(&mut self, line: u64, record: &Record) -> Result<(), String> {
        self.now_ns = self.now_ns.saturating_add(record.delta_ns);
        let cpu = self
            .extent
            .cpu(record.cpu)
            .ok_or_else(|| format!("CPU {} is not in the recording's zoneinfo", record.cpu))?;
        if let Event::Marker(marker) = record.event {
            self.marker(marker)?;
        }
        if !self.started {
            return Ok(());
        }
        let (kind, pfn, order, migratetype, extra) = self.pack(record)?;
        if let Event::Untraced { task, ns } = record.event {
            let untraced = &mut self.trace.untraced;
            untraced.times += 1;
            untraced.ns = untraced.ns.saturating_add(ns);
            untraced.first.get_or_insert((line, task));
        }
        let is_page = !matches!(kind, Kind::Marker | Kind::AllocFailed | Kind::Untraced);
        if is_page && !self.extent.holds(pfn, order) {
            self.trace.outside.count(kind.letter(), line, pfn);
            return Ok(());
        }
        self.trace.records.push(Packed {
            at_ns: self.now_ns,
            pfn: pfn as u32,
            pid: record.pid,
            line: line as u32,
            cpu: cpu.0,
            kind,
            context: record.context,
            order,
            migratetype,
            extra,
        });
        Ok(())
    }

    fn pack(&mut self, record: &Record) -> Result<(Kind, u64, u8, u8, u8), String> {
        Ok(match record.event {
            Event::Alloc { pfn: None, order, migratetype, gfp } => {
                (Kind::AllocFailed, 0, order, migratetype, self.gfp(gfp)?)
            }
            Event::Alloc { pfn: Some(pfn), order, migratetype, gfp } => {
                (Kind::Alloc, pfn, order, migratetype, self.gfp(gfp)?)
            }
            Event::Free { pfn, order } => (Kind::Free, pfn, order, 0, 0),
            Event::FreeBatched { pfn } => (Kind::FreeBatched, pfn, 0, 0, 0),
            Event::Drain { pfn, order, migratetype } => (Kind::Drain, pfn, order, migratetype, 0),
            Event::Take { pfn, order, migratetype, for_pcp } => {
                let kind = if for_pcp { Kind::TakeForPcp } else { Kind::TakeDirect };
                (kind, pfn, order, migratetype, 0)
            }
            Event::Fallback { pfn, order, wanted, from, claimed } => {
                (if claimed { Kind::Claim } else { Kind::Steal }, pfn, order, wanted, from)
            }
            Event::Untraced { .. } => (Kind::Untraced, 0, 0, 0, 0),
            Event::Marker(_) => (Kind::Marker, 0, 0, 0, 0),
        })
    }

    fn gfp(&mut self, gfp: u32) -> Result<u8, String> {
        let gfps = &mut self.trace.gfps;
        let index = gfps.iter().position(|g| *g == gfp).unwrap_or_else(|| {
            gfps.push(gfp);
            gfps.len() - 1
        });
        u8::try_from(index)
            .map_err(|_| "more than 256 different gfp values: not a trace".to_owned())
    }

    fn marker(&mut self, marker: Marker) -> Result<(), String> {
        let next = self.trace.records.len();
        match marker {
            Marker::Kpageflags(0) if !self.started => self.started = true,
            Marker::End(0) if self.started && self.window.is_none() => {
                self.window = Some(next + 1);
            }
            Marker::Begin(1) if self.window.is_some() && self.end.is_none() => {
                self.end = Some(next);
            }
            Marker::Begin(0) if !self.started => {}
            Marker::Kpageflags(1) | Marker::End(1) if self.end.is_some() => {}
            Marker::Other => {}
            Marker::Begin(_) | Marker::Kpageflags(_) | Marker::End(_) => {
                return Err("a snapshot's markers stand twice or out of order".to_owned());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A machine of frames 0 to 0xffff and two CPUs.
    pub(in super::super) struct Small;

    impl Extent for Small {
        fn holds(&self, pfn: u64, order: u8) -> bool {
            pfn + (1 << order) <= 0x1_0000
        }

        fn cpu(&self, os_index: u16) -> Option<CpuId> {
            (os_index < 2).then_some(CpuId(os_index))
        }
    }

    pub(in super::super) const HEAD: &str =
        "0 0t 9 M SNAP0 begin\n1 0t 9 M SNAP0 kpageflags\n1 0t 9 M SNAP0 end\n";

    pub(in super::super) fn read(text: &str) -> Result<Trace, String> {
        Trace::read(&mut text.as_bytes(), &Small, &mut |_| {}).map_err(|e| e.to_string())
    }

    #[test]
    fn the_window_lies_between_the_snapshots() {
        let text = format!(
            "0 0t 1 F 1 0\n{HEAD}10 1s 2 A 5 0 1 8\n20 0t 1 F 5 0\n5 0t 9 M SNAP1 begin\n1 0t 1 F 6 0\n"
        );
        let trace = read(&text).unwrap();
        assert_eq!(trace.window_ns(), 35);
        let inside = &trace.records[trace.window..trace.end];
        assert_eq!(inside.iter().map(|r| r.kind).collect::<Vec<_>>(), [Kind::Alloc, Kind::Free]);
        assert_eq!((inside[0].cpu, inside[0].line, inside[0].at_ns), (1, 5, 12));
        assert_eq!((trace.gfps[0], trace.lines), (8, 8));
    }

    #[test]
    fn cut_off_edited_and_foreign_traces_are_refused_with_their_line() {
        for (text, reason) in [
            (String::new(), "line 0: it is empty"),
            (
                "0 0t 1 F 1 0\n".to_owned(),
                "line 1: it ends without the marker 'SNAP0 kpageflags': not a recording",
            ),
            (
                format!("{HEAD}0 0t 1 F 1 0\n"),
                "line 4: it is cut off: it ends without the marker 'SNAP1 begin'",
            ),
            (format!("{HEAD}0 7t 1 F 1 0\n"), "line 4: CPU 7 is not in the recording's zoneinfo"),
            (format!("{HEAD}{HEAD}"), "line 4: a snapshot's markers stand twice or out of order"),
            ("<html>\n".to_owned(), "line 1: '<html>' is no time"),
        ] {
            assert_eq!(read(&text).unwrap_err(), reason);
        }
    }

    #[test]
    fn frames_outside_the_machine_are_counted_and_named() {
        let text =
            format!("{HEAD}0 0t 1 F fffff 0\n0 0t 1 B fffff\n0 0t 1 F 1 0\n0 0t 9 M SNAP1 begin\n");
        let trace = read(&text).unwrap();
        assert_eq!(trace.outside.total(), 2);
        let note = trace.outside.note().unwrap();
        assert_eq!(
            note,
            "2 records of frames outside the machine left out (F 1, B 1), the first on line 4: pfn fffff"
        );
    }
}
