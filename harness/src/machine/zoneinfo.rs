//! /proc/zoneinfo, as it is printed from 4.9 on.
//!
//! **What.** For each node and zone: free pages, boost, watermarks, spanned, present, managed,
//! protection, each CPU's pcplist, first frame. The vmstat counters between them are skipped.
//!
//! **Why.** It is both the source of a machine's zones and the oracle for the model's formulas.
//!
//! **Source.** mm/vmstat.c, zoneinfo_show_print. Fields that a release does not have (`boost` before
//! 5.0, `promo`, `high_min` and `high_max` before 6.7) are `None`.

use std::str::FromStr;

use super::posted;

/// No figure reaches this (pages of 4 EiB); sums of what is below it don't overflow.
const MOST: u64 = 1 << 50;

/// All zones of a machine, in the order printed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zoneinfo {
    /// The zones, empty ones included.
    pub zones: Vec<ZoneEntry>,
    /// No zone has a `managed` line, as before 3.9: managed is present.
    pub managed_is_present: bool,
}

/// One zone, in pages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZoneEntry {
    /// Line of the text that it begins on, from 1.
    pub line: usize,
    /// Its node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `Movable`, `Device` (or `HighMem`).
    pub name: String,
    /// NR_FREE_PAGES.
    pub free: u64,
    /// watermark_boost.
    pub boost: Option<u64>,
    /// The min mark.
    pub min: u64,
    /// The low mark.
    pub low: u64,
    /// The high mark.
    pub high: u64,
    /// The promo mark.
    pub promo: Option<u64>,
    /// spanned_pages.
    pub spanned: u64,
    /// present_pages.
    pub present: u64,
    /// managed_pages.
    pub managed: u64,
    /// lowmem_reserve by the request's highest zone.
    pub protection: Vec<u64>,
    /// pcplists by CPU, ascending; none if the zone is not populated.
    pub pcp: Vec<PcpEntry>,
    /// First frame; not printed for zones that are not populated.
    pub start_pfn: Option<u64>,
}

/// One CPU's pcplist of a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PcpEntry {
    /// The CPU.
    pub cpu: u32,
    /// Pages on it.
    pub count: u64,
    /// Its limit.
    pub high: u64,
    /// Its batch.
    pub batch: u64,
    /// Least limit (6.7 on).
    pub high_min: Option<u64>,
    /// Largest limit (6.7 on).
    pub high_max: Option<u64>,
}

/// What is wrong, and on which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ZoneinfoError {
    /// Line, from 1.
    pub line: usize,
    /// What.
    pub what: String,
}

impl Zoneinfo {
    /// Does it print ZONE_DEVICE (then `protection` has five numbers)?
    pub fn has_zone_device(&self) -> bool {
        self.zones.iter().any(|z| z.name == "Device")
    }
}

impl FromStr for Zoneinfo {
    type Err = ZoneinfoError;

    fn from_str(text: &str) -> Result<Self, ZoneinfoError> {
        let mut zones: Vec<ZoneEntry> = Vec::new();
        let mut seen: Vec<Seen> = Vec::new();
        for (i, raw) in text.lines().enumerate() {
            let at = Line { number: i + 1, text: posted::unquoted(raw).trim() };
            at.check_managed()?;
        }
        for (i, raw) in text.lines().enumerate() {
            let at = Line { number: i + 1, text: posted::unquoted(raw).trim() };
            if at.text.starts_with("Node ") {
                zones.push(at.header()?);
                seen.push(Seen::default());
            } else if let (Some(zone), Some(seen)) = (zones.last_mut(), seen.last_mut()) {
                seen.note(at.text);
                at.field(zone)?;
            } else if !at.text.is_empty() {
                return Err(at.error("is not /proc/zoneinfo: it begins with 'Node 0, zone ...'"));
            }
        }
        if zones.is_empty() {
            return Err(ZoneinfoError { line: 1, what: "no zone in it".to_owned() });
        }
        let managed_is_present = !seen.iter().any(|s| s.managed);
        for (zone, seen) in zones.iter_mut().zip(&seen) {
            if let Some(lacks) = seen.lacks(zone, managed_is_present) {
                let what = format!(
                    "node {} zone {} is incomplete: it has free pages, but no '{lacks}'{}",
                    zone.node,
                    zone.name,
                    if seen.dots { " (it was shortened where '...' stands)" } else { "" }
                );
                return Err(ZoneinfoError { line: zone.line, what });
            }
            if managed_is_present {
                zone.managed = zone.present;
            }
            if zone.present > 0 && zone.start_pfn.is_none() {
                let what = format!("node {} zone {} has no start_pfn", zone.node, zone.name);
                return Err(ZoneinfoError { line: zone.line, what });
            }
        }
        Ok(Self { zones, managed_is_present })
    }
}

/// Which lines a zone had.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    spanned: bool,
    present: bool,
    managed: bool,
    dots: bool,
}

impl Seen {
    fn note(&mut self, text: &str) {
        let key = text.split_whitespace().next().unwrap_or_default();
        self.spanned |= key == "spanned";
        self.present |= key == "present";
        self.managed |= key == "managed";
        self.dots |= key.starts_with("...") || key == "[...]";
    }

    /// A line without which the zone's size is not known.
    fn lacks(self, zone: &ZoneEntry, no_managed: bool) -> Option<&'static str> {
        let lines = [
            (self.spanned, "spanned"),
            (self.present, "present"),
            (self.managed || no_managed, "managed"),
        ];
        let missing = lines.into_iter().find(|(seen, _)| !seen).map(|(_, name)| name);
        missing.filter(|_| zone.free > 0 || self.dots)
    }
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    text: &'a str,
}

impl Line<'_> {
    fn error(self, what: impl Into<String>) -> ZoneinfoError {
        ZoneinfoError { line: self.number, what: format!("'{}' {}", self.text, what.into()) }
    }

    /// A managed below zero is the kernel's own fault, and marks that can't be follow from it: that is
    /// said before any of them.
    fn check_managed(self) -> Result<(), ZoneinfoError> {
        let Some(value) = self.text.strip_prefix("managed ") else { return Ok(()) };
        match value.trim().parse::<u64>() {
            Ok(pages) if pages > i64::MAX as u64 => Err(self.error(format!(
                "is {} as a signed number: the kernel's own accounting is broken (a balloon or an offline that gave away \
                 pages twice), and the zone's marks follow from it",
                pages as i64
            ))),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn number(self, text: &str) -> Result<u64, ZoneinfoError> {
        match text.trim().parse() {
            Ok(number) if number < MOST => Ok(number),
            Ok(_) => Err(self.error("is more than any machine has")),
            Err(_) => Err(self.error("wants a number")),
        }
    }

    /// `Node 0, zone   Normal`
    fn header(self) -> Result<ZoneEntry, ZoneinfoError> {
        let form = "is not of the form 'Node N, zone NAME'";
        let rest = self.text.strip_prefix("Node ").unwrap_or_default();
        let (node, zone) = rest.split_once(',').ok_or_else(|| self.error(form))?;
        let node = node.trim().parse().map_err(|_| self.error(form))?;
        let name = zone.trim().strip_prefix("zone").ok_or_else(|| self.error(form))?.trim();
        if name.is_empty() {
            return Err(self.error(form));
        }
        Ok(ZoneEntry { line: self.number, node, name: name.to_owned(), ..ZoneEntry::default() })
    }

    fn field(self, zone: &mut ZoneEntry) -> Result<(), ZoneinfoError> {
        if let Some(list) = self.text.strip_prefix("protection:") {
            let list = list.trim().trim_start_matches('(').trim_end_matches(')');
            zone.protection = list.split(',').map(|n| self.number(n)).collect::<Result<_, _>>()?;
            return Ok(());
        }
        let Some((key, value)) = self.text.rsplit_once(char::is_whitespace) else {
            return Ok(());
        };
        let pcp = zone.pcp.last_mut();
        match key.trim() {
            "pages free" => zone.free = self.number(value)?,
            "boost" => zone.boost = Some(self.number(value)?),
            "min" => zone.min = self.number(value)?,
            "low" => zone.low = self.number(value)?,
            "high" => zone.high = self.number(value)?,
            "promo" => zone.promo = Some(self.number(value)?),
            "spanned" => zone.spanned = self.number(value)?,
            "present" => zone.present = self.number(value)?,
            "managed" => zone.managed = self.number(value)?,
            "start_pfn:" => zone.start_pfn = Some(self.number(value)?),
            "cpu:" => {
                let cpu = self.number(value)?.try_into().map_err(|_| self.error("no CPU"))?;
                zone.pcp.push(PcpEntry { cpu, ..PcpEntry::default() });
            }
            key => {
                if let Some(pcp) = pcp {
                    match key {
                        "count:" => pcp.count = self.number(value)?,
                        "high:" => pcp.high = self.number(value)?,
                        "batch:" => pcp.batch = self.number(value)?,
                        "high_min:" => pcp.high_min = Some(self.number(value)?),
                        "high_max:" => pcp.high_max = Some(self.number(value)?),
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
Node 0, zone    DMA32
  per-node stats
      nr_inactive_anon 1467
  pages free     772917
        boost    0
        min      12570
        low      15712
        high     18854
        promo    21996
        spanned  1044480
        present  782336
        managed  772917
        cma      0
        protection: (0, 0, 1024, 1024, 1024)
      nr_free_pages 772917
      nr_mlock     0
  pagesets
    cpu: 0
              count:    7
              high:     7856
              batch:    63
              high_min: 7856
              high_max: 48307
  vm stats threshold: 24
  node_unreclaimable:  0
  start_pfn:           4096
Node 2, zone   Device
  pages free     0
        protection: (0, 0, 0, 0, 0)
";

    #[test]
    fn every_field_lands_in_its_place() {
        let info: Zoneinfo = TEXT.parse().unwrap();
        assert!(info.has_zone_device());
        let z = &info.zones[0];
        assert_eq!((z.node, z.name.as_str(), z.free), (0, "DMA32", 772_917));
        assert_eq!((z.boost, z.promo), (Some(0), Some(21_996)));
        assert_eq!((z.min, z.low, z.high), (12_570, 15_712, 18_854));
        assert_eq!((z.spanned, z.present, z.managed), (1_044_480, 782_336, 772_917));
        assert_eq!(z.protection, [0, 0, 1024, 1024, 1024]);
        assert_eq!(z.start_pfn, Some(4096));
        let pcp = PcpEntry {
            cpu: 0,
            count: 7,
            high: 7856,
            batch: 63,
            high_min: Some(7856),
            high_max: Some(48_307),
        };
        assert_eq!(z.pcp, [pcp]);
        assert_eq!((info.zones[1].node, info.zones[1].line), (2, 27));
    }

    #[test]
    fn errors_name_the_line() {
        let check = |text: &str, message: &str| {
            assert_eq!(text.parse::<Zoneinfo>().unwrap_err().to_string(), message);
        };
        check("", "line 1: no zone in it");
        check("hello", "line 1: 'hello' is not /proc/zoneinfo: it begins with 'Node 0, zone ...'");
        check(
            "Node x, zone DMA",
            "line 1: 'Node x, zone DMA' is not of the form 'Node N, zone NAME'",
        );
        check("Node 0, zone DMA\n  min  -4", "line 2: 'min  -4' wants a number");
        check("\nNode 0, zone DMA\n present 4", "line 2: node 0 zone DMA has no start_pfn");
    }
}
