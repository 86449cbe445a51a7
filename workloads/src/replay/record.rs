//! Records of a trace: one line of text each.
//!
//! **What.** `DT CPUCTX PID EV ARGS...`: nanoseconds since the previous line, CPU and context letter,
//! thread, event letter and its arguments. [`Record::parse`] reads one line, [`read`] a whole trace.
//!
//! **Why strict.** What is read wrong replays something else. Whatever is no record is refused with
//! its line and the reason; nothing is guessed.
//!
//! **Source.** The kmem tracepoints mm_page_alloc (A), mm_page_free (F), mm_page_free_batched (B),
//! mm_page_pcpu_drain (D), mm_page_alloc_zone_locked (Z), mm_page_alloc_extfrag (X), and trace
//! markers (M). `scripts/record-trace` writes them so, and adds U where sched_switch shows that a CPU
//! ran a task of which the kernel records nothing.

use std::io::{self, BufRead};

use allocator::ids::MAX_PAGE_ORDER;

/// What is wrong with a trace, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct TraceError {
    /// Line, from 1.
    pub line: u64,
    /// What.
    pub what: String,
}

/// The context in which an event fired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A task's.
    Task,
    /// A softirq, on the stack of the task that it interrupted.
    Softirq,
    /// A hardirq.
    Hardirq,
    /// An NMI.
    Nmi,
}

/// Where a snapshot of the kernel's state begins and ends in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// `SNAPn begin`: the proc files are read from here on.
    Begin(u8),
    /// `SNAPn kpageflags`: they have been read, kpageflags is from here on.
    Kpageflags(u8),
    /// `SNAPn end`: all is read.
    End(u8),
    /// Somebody else's text.
    Other,
}

/// What happened. Frame numbers are as recorded; they may lie outside the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A: a block was allocated; no frame if that failed.
    Alloc {
        /// Its first frame.
        pfn: Option<u64>,
        /// Its order.
        order: u8,
        /// Type wanted, in the kernel's numbers.
        migratetype: u8,
        /// gfp flags, in 6.18's numbers.
        gfp: u32,
    },
    /// F: a block is freed; fires before it enters any list.
    Free {
        /// Its first frame.
        pfn: u64,
        /// Its order.
        order: u8,
    },
    /// B: a page of a batch, whose F came before, enters a pcplist.
    FreeBatched {
        /// The page.
        pfn: u64,
    },
    /// D: a block goes from a pcplist to the free lists.
    Drain {
        /// Its first frame.
        pfn: u64,
        /// Its order.
        order: u8,
        /// Type of the free list.
        migratetype: u8,
    },
    /// Z: a block leaves the free lists.
    Take {
        /// Its first frame.
        pfn: u64,
        /// Its order.
        order: u8,
        /// Type wanted.
        migratetype: u8,
        /// Is it of an order and type that pcplists hold?
        for_pcp: bool,
    },
    /// X: a block of another type is claimed or stolen.
    Fallback {
        /// Its first frame.
        pfn: u64,
        /// Order of the block.
        order: u8,
        /// Type wanted.
        wanted: u8,
        /// Type that it had.
        from: u8,
        /// Did its pageblock change its type?
        claimed: bool,
    },
    /// U: until now this CPU ran a task, or several, whose own events the kernel does not record.
    Untraced {
        /// The first of them.
        task: u32,
        /// Nanoseconds since it began to run.
        ns: u64,
    },
    /// M: text.
    Marker(Marker),
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Nanoseconds since the line before.
    pub delta_ns: u64,
    /// CPU.
    pub cpu: u16,
    /// Context.
    pub context: Context,
    /// Thread.
    pub pid: u32,
    /// What happened.
    pub event: Event,
}

/// The fields of a line, one after the other.
struct Fields<'a> {
    rest: Option<&'a str>,
}

impl<'a> Fields<'a> {
    fn next(&mut self, name: &str) -> Result<&'a str, String> {
        let rest = self.rest.ok_or_else(|| format!("it ends before {name}"))?;
        let (field, rest) = match rest.split_once(' ') {
            Some((field, rest)) => (field, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        if field.is_empty() { Err(format!("{name} is empty")) } else { Ok(field) }
    }

    fn number(&mut self, name: &str, most: u64) -> Result<u64, String> {
        decimal(self.next(name)?, name, most)
    }

    fn small(&mut self, name: &str, most: u8) -> Result<u8, String> {
        self.number(name, u64::from(most)).map(|n| n as u8)
    }

    fn hex(&mut self, name: &str, most: u64) -> Result<u64, String> {
        let field = self.next(name)?;
        match u64::from_str_radix(field, 16) {
            Ok(n) if n <= most && !field.starts_with('+') => Ok(n),
            _ => Err(format!("'{field}' is no {name} in hexadecimal")),
        }
    }

    /// The first frame of a block and its order.
    fn block(&mut self) -> Result<(u64, u8), String> {
        let pfn = self.hex("frame number", u64::MAX >> 12)?;
        Ok((pfn, self.order_of(pfn)?))
    }

    fn order_of(&mut self, pfn: u64) -> Result<u8, String> {
        let order = self.small("order", MAX_PAGE_ORDER)?;
        if pfn & ((1 << order) - 1) != 0 {
            return Err(format!("{pfn:x} is no first frame of a block of order {order}"));
        }
        Ok(order)
    }

    fn end(&self) -> Result<(), String> {
        match self.rest {
            None => Ok(()),
            Some(rest) => Err(format!("'{rest}' stands behind the last field")),
        }
    }
}

fn decimal(field: &str, name: &str, most: u64) -> Result<u64, String> {
    match field.parse() {
        Ok(n) if n <= most && !field.starts_with('+') => Ok(n),
        Ok(n) => Err(format!("{name} {n} is more than {most}")),
        Err(_) => Err(format!("'{field}' is no {name}")),
    }
}

/// Largest migratetype that any configuration has.
const MAX_MIGRATETYPE: u8 = 5;

impl Record {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Self, String> {
        let mut fields = Fields { rest: Some(line) };
        let delta_ns = fields.number("time", u64::MAX >> 8)?;
        let field = fields.next("CPU and context")?;
        let no_context = || format!("'{field}' is no CPU with a context letter (t, s, h or n)");
        let letter = field.chars().next_back().ok_or_else(no_context)?;
        let context = match letter {
            't' => Context::Task,
            's' => Context::Softirq,
            'h' => Context::Hardirq,
            'n' => Context::Nmi,
            _ => return Err(no_context()),
        };
        let digits = field.strip_suffix(letter).unwrap_or_default();
        let cpu = decimal(digits, "CPU", u64::from(u16::MAX))? as u16;
        let pid = fields.number("thread id", u64::from(u32::MAX))? as u32;
        let event = match fields.next("event")? {
            "A" => Self::alloc(&mut fields)?,
            "F" => {
                let (pfn, order) = fields.block()?;
                Event::Free { pfn, order }
            }
            "B" => Event::FreeBatched { pfn: fields.hex("frame number", u64::MAX >> 12)? },
            "D" => {
                let (pfn, order) = fields.block()?;
                let migratetype = fields.small("migratetype", MAX_MIGRATETYPE)?;
                Event::Drain { pfn, order, migratetype }
            }
            "Z" => {
                let (pfn, order) = fields.block()?;
                let migratetype = fields.small("migratetype", MAX_MIGRATETYPE)?;
                let for_pcp = fields.small("percpu_refill", 1)? == 1;
                Event::Take { pfn, order, migratetype, for_pcp }
            }
            "X" => Self::fallback(&mut fields)?,
            "U" => {
                let task = fields.number("thread id", u64::from(u32::MAX))? as u32;
                Event::Untraced { task, ns: fields.number("time", u64::MAX >> 8)? }
            }
            "M" => Event::Marker(marker(fields.rest.take().unwrap_or_default())),
            other => return Err(format!("'{other}' is no event (A, F, B, D, Z, X, U or M)")),
        };
        fields.end()?;
        Ok(Self { delta_ns, cpu, context, pid, event })
    }

    fn alloc(fields: &mut Fields<'_>) -> Result<Event, String> {
        let failed = fields.rest.is_some_and(|rest| rest.starts_with("- "));
        let (pfn, order) = if failed {
            fields.next("frame number")?;
            (None, fields.order_of(0)?)
        } else {
            let (pfn, order) = fields.block()?;
            (Some(pfn), order)
        };
        let migratetype = fields.small("migratetype", MAX_MIGRATETYPE)?;
        let gfp = fields.hex("gfp", u64::from(u32::MAX))? as u32;
        Ok(Event::Alloc { pfn, order, migratetype, gfp })
    }

    fn fallback(fields: &mut Fields<'_>) -> Result<Event, String> {
        let pfn = fields.hex("frame number", u64::MAX >> 12)?;
        fields.small("alloc_order", MAX_PAGE_ORDER)?;
        let order = fields.order_of(pfn)?;
        let wanted = fields.small("alloc_migratetype", MAX_MIGRATETYPE)?;
        let from = fields.small("fallback_migratetype", MAX_MIGRATETYPE)?;
        let claimed = fields.small("change_ownership", 1)? == 1;
        Ok(Event::Fallback { pfn, order, wanted, from, claimed })
    }
}

fn marker(text: &str) -> Marker {
    match text {
        "SNAP0 begin" => Marker::Begin(0),
        "SNAP0 kpageflags" => Marker::Kpageflags(0),
        "SNAP0 end" => Marker::End(0),
        "SNAP1 begin" => Marker::Begin(1),
        "SNAP1 kpageflags" => Marker::Kpageflags(1),
        "SNAP1 end" => Marker::End(1),
        _ => Marker::Other,
    }
}

/// Bytes that a line may have; a record has 60.
const MOST_LINE: u64 = 4096;

/// Reads a trace to its end. `each` gets every record with its line; lines that begin with `#` are
/// passed over.
///
/// # Errors
/// The first line that is no record, or that `each` refuses; a file that can't be read on.
pub fn read(
    from: &mut dyn BufRead,
    mut each: impl FnMut(u64, &Record) -> Result<(), String>,
) -> Result<u64, TraceError> {
    let mut text = Vec::with_capacity(128);
    let mut line = 0;
    loop {
        text.clear();
        line += 1;
        let fail = |what: String| TraceError { line, what };
        let read = io::Read::take(&mut *from, MOST_LINE)
            .read_until(b'\n', &mut text)
            .map_err(|e| fail(format!("it can't be read on: {e}")))?;
        if read as u64 == MOST_LINE {
            return Err(fail("it is longer than any record: not a trace".to_owned()));
        }
        if read == 0 {
            return Ok(line - 1);
        }
        if text.pop() != Some(b'\n') {
            return Err(fail("it is cut off: no end of line".to_owned()));
        }
        if text.first() == Some(&b'#') {
            continue;
        }
        let line_text =
            str::from_utf8(&text).map_err(|_| fail("it is no text: not a trace".to_owned()))?;
        let record = Record::parse(line_text).map_err(&fail)?;
        each(line, &record).map_err(&fail)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> String {
        Record::parse(line).unwrap_err()
    }

    #[test]
    fn a_line_without_end_is_refused_before_it_is_read_whole() {
        let mut endless = io::BufReader::new(io::repeat(b'7'));
        let error = read(&mut endless, |_, _| Ok(())).unwrap_err();
        assert!(error.line == 1 && error.what.contains("longer than any record"), "{error:?}");
    }

    #[test]
    fn every_kind_of_record_is_read() {
        let event = |line: &str| Record::parse(line).unwrap().event;
        let alloc = Record::parse("50316 1t 22345 A 144440 0 0 440dc0").unwrap();
        assert_eq!((alloc.delta_ns, alloc.cpu, alloc.pid), (50316, 1, 22345));
        assert_eq!(
            alloc.event,
            Event::Alloc { pfn: Some(0x14_4440), order: 0, migratetype: 0, gfp: 0x44_0dc0 }
        );
        let failed = Event::Alloc { pfn: None, order: 3, migratetype: 1, gfp: 0xa };
        assert_eq!(event("0 0s 0 A - 3 1 a"), failed);
        assert_eq!(event("0 0h 0 F 100 4"), Event::Free { pfn: 256, order: 4 });
        assert_eq!(event("0 0n 0 B ff"), Event::FreeBatched { pfn: 255 });
        let drain = Event::Drain { pfn: 255, order: 0, migratetype: 2 };
        assert_eq!(event("0 0t 0 D ff 0 2"), drain);
        let take = Event::Take { pfn: 16, order: 4, migratetype: 1, for_pcp: false };
        assert_eq!(event("0 0t 0 Z 10 4 1 0"), take);
        let fallback = Event::Fallback { pfn: 0x400, order: 10, wanted: 0, from: 1, claimed: true };
        assert_eq!(event("0 0t 0 X 400 0 10 0 1 1"), fallback);
        assert_eq!(event("0 0t 9 U 75 2000"), Event::Untraced { task: 75, ns: 2000 });
        assert_eq!(event("0 0t 7 M SNAP1 kpageflags"), Event::Marker(Marker::Kpageflags(1)));
        assert_eq!(event("0 0t 7 M lunch at noon"), Event::Marker(Marker::Other));
    }

    #[test]
    fn what_is_no_record_is_refused_with_the_reason() {
        for (line, reason) in [
            ("", "time is empty"),
            ("GET / HTTP/1.1", "'GET' is no time"),
            ("5", "it ends before CPU and context"),
            ("5 0x 1 F 1 0", "'0x' is no CPU with a context letter (t, s, h or n)"),
            ("5 t 1 F 1 0", "'' is no CPU"),
            ("5 0t 1 Q 1 0", "'Q' is no event (A, F, B, D, Z, X, U or M)"),
            ("5 0t 1 U 75", "it ends before time"),
            ("5 0t 1 F 1 11", "order 11 is more than 10"),
            ("5 0t 1 F 1 1", "1 is no first frame of a block of order 1"),
            ("5 0t 1 F xyz 0", "'xyz' is no frame number in hexadecimal"),
            ("5 0t 1 F 1 0 9", "'9' stands behind the last field"),
            ("5 0t 1 A 1 0 0", "it ends before gfp"),
            ("-5 0t 1 F 1 0", "'-5' is no time"),
            ("5 0t 1 Z 1 0 9 1", "migratetype 9 is more than 5"),
        ] {
            assert_eq!(refused(line), reason, "{line}");
        }
    }

    #[test]
    fn a_trace_that_is_cut_off_names_its_last_line() {
        let mut text = "# head\n0 0t 1 F 1 0\n0 0t 1 F 2".as_bytes();
        let mut lines = Vec::new();
        let error = read(&mut text, |line, _| {
            lines.push(line);
            Ok(())
        });
        assert_eq!(error.unwrap_err().to_string(), "line 3: it is cut off: no end of line");
        assert_eq!(lines, [2]);
        let error = read(&mut "0 0t 1 F 1 0\n".as_bytes(), |_, _| Err("no".to_owned()));
        assert_eq!(error.unwrap_err().to_string(), "line 1: no");
    }
}
