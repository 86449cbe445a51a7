//! HdrHistogram's interval log (.hlog): a histogram for each operation and interval.
//!
//! Source: the log format of HdrHistogram's `HistogramLogWriter`, version 1.3: a legend, times in
//! seconds since BaseTime, the interval's maximum in milliseconds, a tag for each operation.
//! Differs: written line by line as intervals end, so that a kill costs the last interval only.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Error, Result};
use crate::format::plain;
use crate::histogram::{Histogram, OpHistograms};
use crate::input;

/// Writes a log as the run goes on.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// Begins a log; `about` says which run it is (tool, git, seed, command line), one comment
    /// line each.
    ///
    /// # Errors
    /// The sink's.
    pub fn new(mut out: W, started: SystemTime, about: &[String]) -> io::Result<Self> {
        for line in about {
            writeln!(out, "#{}", plain(line))?;
        }
        let seconds = started.duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64());
        writeln!(out, "#[Histogram log format version 1.3]")?;
        writeln!(out, "#[BaseTime: {seconds:.3} (seconds since epoch)]")?;
        writeln!(
            out,
            "#[StartTime: {seconds:.3} (seconds since epoch), {}]",
            crate::time::rfc3339(started)
        )?;
        writeln!(
            out,
            "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\""
        )?;
        Ok(Self { out })
    }

    /// Adds an interval: `start_s` seconds after the log's start, `length_s` long. Operations
    /// without samples have no line.
    ///
    /// # Errors
    /// The sink's.
    pub fn interval(&mut self, start_s: f64, length_s: f64, ops: &OpHistograms) -> io::Result<()> {
        for (i, op) in ops.names().iter().enumerate() {
            if let Some(histogram) = ops.get(i) {
                let max_ms = histogram.latency().map_or(0.0, |l| l.max as f64 / 1e6);
                let name = op.name;
                writeln!(
                    self.out,
                    "Tag={name},{start_s:.3},{length_s:.3},{max_ms:.3},{}",
                    histogram.encode()
                )?;
            }
        }
        self.out.flush()
    }

    /// The sink.
    pub fn into_inner(self) -> W {
        self.out
    }
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq)]
pub struct Interval {
    /// Operation; empty without tag.
    pub tag: String,
    /// Seconds since the log's base time.
    pub start_s: f64,
    /// Length in seconds.
    pub length_s: f64,
    /// Samples of the interval.
    pub samples: u64,
    /// Their 99th percentile in ns.
    pub p99_ns: u64,
}

/// The longest line that is read: a full histogram of five digits takes half of it.
const MOST_LINE: u64 = 8 << 20;
/// Buckets that the lines of a log may open: these, and so many for each byte of their text. An
/// interval with one sample has 40 for each.
const BUCKETS: u64 = 1 << 24;
const BUCKETS_PER_BYTE: u64 = 100;

/// Reads a log line by line. A last line that was cut off is left out and said so by `true`.
///
/// # Errors
/// The file can't be read, or a line is no interval: named by its number.
pub fn read(path: &Path) -> Result<(Vec<Interval>, bool)> {
    let file = input::open(path).map_err(Error::io(path, "read"))?;
    parse(&mut io::BufReader::with_capacity(1 << 16, file), path)
}

/// As [`read`], from text.
///
/// # Errors
/// As [`read`].
pub fn parse(from: &mut dyn BufRead, path: &Path) -> Result<(Vec<Interval>, bool)> {
    let mut intervals = Vec::new();
    let (mut bytes, mut buckets) = (0, 0);
    let mut text = Vec::new();
    for number in 1_u64.. {
        let what = || format!("{}: line {number}", path.display());
        input::line(from, MOST_LINE, &mut text)
            .map_err(|e| Error::Input(format!("{}: {e}", what())))?;
        bytes += text.len() as u64;
        let is_whole = text.pop_if(|last| *last == b'\n').is_some();
        if !is_whole && text.is_empty() {
            break;
        }
        let line = text.strip_suffix(b"\r").unwrap_or(&text);
        if matches!(line.first(), None | Some(b'#' | b'"')) {
            continue;
        }
        match interval(line, &what(), &mut buckets) {
            Ok(interval) => intervals.push(interval),
            Err(_) if !is_whole => return Ok((intervals, true)),
            Err(error) => return Err(error),
        }
        if buckets > BUCKETS + BUCKETS_PER_BYTE * bytes {
            return Err(Error::Input(format!(
                "{}: its histograms are wider than any log's",
                what()
            )));
        }
    }
    Ok((intervals, false))
}

fn interval(line: &[u8], what: &str, buckets: &mut u64) -> Result<Interval> {
    let bad =
        || Error::Input(format!("{what}: no interval; want Tag=NAME,start,length,max,histogram"));
    let line = str::from_utf8(line).map_err(|_| bad())?;
    let (tag, rest) = match line.strip_prefix("Tag=") {
        Some(tagged) => tagged.split_once(',').ok_or_else(bad)?,
        None => ("", line),
    };
    let mut fields = rest.splitn(4, ',');
    let mut number =
        || fields.next().and_then(|f| f.trim().parse::<f64>().ok()).filter(|n| n.is_finite());
    let (start_s, length_s) = (number().ok_or_else(bad)?, number().ok_or_else(bad)?);
    number().ok_or_else(bad)?;
    let histogram = Histogram::decode(fields.next().ok_or_else(bad)?.trim(), what)?;
    *buckets += histogram.buckets() as u64;
    Ok(Interval {
        tag: tag.to_owned(),
        start_s,
        length_s,
        samples: histogram.count(),
        p99_ns: histogram.quantile(0.99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Config;
    use crate::sample::names;

    fn log() -> String {
        let at = UNIX_EPOCH + std::time::Duration::from_millis(1_795_238_767_250);
        let mut writer = Writer::new(Vec::new(), at, &["stress 0.3.0\nseed 7".to_owned()]).unwrap();
        for interval in 0..3_u64 {
            let mut ops = OpHistograms::new(names(), Config::default());
            (1..=1000).for_each(|i| ops.record(0, i * (interval + 1) * 100));
            if interval == 1 {
                ops.record(1, 2_000_000);
            }
            writer.interval(interval as f64, 1.0, &ops).unwrap();
        }
        String::from_utf8(writer.into_inner()).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (intervals, cut) = parse(&mut log().as_bytes(), Path::new("run.hlog")).unwrap();
        assert!(!cut);
        let seen: Vec<(&str, f64, u64)> =
            intervals.iter().map(|i| (i.tag.as_str(), i.start_s, i.samples)).collect();
        assert_eq!(
            seen,
            [
                ("fault", 0.0, 1000),
                ("fault", 1.0, 1000),
                ("mems_update", 1.0, 1),
                ("fault", 2.0, 1000)
            ]
        );
    }

    #[test]
    fn hdrhistograms_own_reader_reads_it() {
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let text = log();
        let mut intervals = 0;
        let mut base = None;
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            match entry.unwrap() {
                LogEntry::Interval(i) => {
                    assert_eq!(i.duration().as_secs(), 1);
                    Histogram::decode(i.encoded_histogram(), "").unwrap();
                    intervals += 1;
                }
                LogEntry::BaseTime(t) => base = Some(t.as_millis()),
                LogEntry::StartTime(_) => {}
            }
        }
        assert_eq!((intervals, base), (4, Some(1_795_238_767_250)));
    }

    #[test]
    fn a_kill_costs_the_last_interval_only() {
        let text = log();
        let (intervals, cut) =
            parse(&mut &text.as_bytes()[..text.len() - 30], Path::new("run.hlog")).unwrap();
        assert_eq!((intervals.len(), cut), (3, true));
        let damaged = text.replacen("Tag=fault,1.000", "Tag=fault,one", 1);
        let message =
            parse(&mut damaged.as_bytes(), Path::new("run.hlog")).unwrap_err().to_string();
        assert!(message.starts_with("run.hlog: line 7: no interval"), "{message}");
    }
}
