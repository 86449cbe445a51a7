//! From a label to an instruction: the first rule that fits a kernel, and how sure that is.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use allocator_explore::explore::{Config, EventKind, Schedule};
use allocator_explore::policy::{Policy, Release};
use allocator_explore::race::Point;
use serde::Serialize;
use workloads_explore::worlds::{self, search};

use super::inlines::{Debug, Inlined};
use super::kernel::Kernel;
use super::rules::{NO_PLACE, Place, RULES, Rule};
use super::vmlinux::{Call, Function, Vmlinux};

/// How surely an address is the place meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sure {
    /// The only call of that function there, or a function's entry.
    Only,
    /// One of several calls or copies, by their order.
    Counted {
        /// Which, from 1.
        nth: usize,
        /// Of how many.
        of: usize,
    },
    /// The function itself is there more than once: clones, or namesakes.
    Clones(usize),
}

/// A label, found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its address; the first of several clones.
    pub address: u64,
    /// The symbol that holds it.
    pub function: String,
    /// Its offset there.
    pub offset: u64,
    /// By which place of a rule.
    pub place: Place,
    /// How sure.
    pub sure: Sure,
}

/// A kernel whose points are looked up.
#[derive(Debug)]
pub struct Finder<'a> {
    vmlinux: &'a Vmlinux,
    debug: Result<Debug<'a>, String>,
    inlined: RefCell<BTreeMap<u64, Vec<Inlined>>>,
}

impl<'a> Finder<'a> {
    /// Without DWARF, rules over inlined copies find nothing and say so.
    pub fn new(vmlinux: &'a Vmlinux) -> Self {
        Self { vmlinux, debug: Debug::open(vmlinux), inlined: RefCell::default() }
    }

    /// What was inlined into a function.
    ///
    /// # Errors
    /// There is no DWARF, or it can't be read.
    pub fn inlined(&self, function: &Function) -> Result<Vec<Inlined>, String> {
        if let Some(known) = self.inlined.borrow().get(&function.start) {
            return Ok(known.clone());
        }
        let found = self.debug.as_ref().map_err(Clone::clone)?.of(function)?;
        self.inlined.borrow_mut().insert(function.start, found.clone());
        Ok(found)
    }

    /// The place of a point.
    ///
    /// # Errors
    /// Why none of its rules fits.
    pub fn find(&self, point: Point) -> Result<Found, String> {
        if let Some((_, why)) = NO_PLACE.iter().find(|(p, _)| *p == point) {
            return Err((*why).to_owned());
        }
        let mut reasons: Vec<String> = Vec::new();
        for rule in RULES.iter().filter(|r| r.point == point) {
            match self.apply(rule) {
                Ok(found) => return Ok(found),
                Err(why) if reasons.contains(&why) => {}
                Err(why) => reasons.push(why),
            }
        }
        Err(if reasons.is_empty() { "no rule yet".to_owned() } else { reasons.join("; ") })
    }

    /// One rule; functions that don't exist, or don't have the place, give way to the next.
    ///
    /// # Errors
    /// Why it doesn't fit.
    pub fn apply(&self, rule: &Rule) -> Result<Found, String> {
        let mut why = None;
        for name in rule.within {
            let clones = self.vmlinux.functions(name);
            // What the compiler split off as unlikely is searched last.
            let cold = |f: &Function| f.name.contains(".cold");
            let (parts, whole): (Vec<_>, Vec<_>) = clones.into_iter().partition(cold);
            let mut found = Vec::new();
            for function in whole.iter().chain(&parts) {
                match self.within(function, rule.place) {
                    Ok((address, sure)) => found.push((function, address, sure)),
                    Err(e) => why = why.or(Some(e)),
                }
            }
            let Some((function, address, sure)) = found.first() else { continue };
            return Ok(Found {
                address: *address,
                function: function.name.clone(),
                offset: address - function.start,
                place: rule.place,
                sure: if found.len() > 1 { Sure::Clones(found.len()) } else { *sure },
            });
        }
        Err(why.unwrap_or_else(|| format!("no function {}", rule.within.join(" or "))))
    }

    fn within(&self, function: &Function, place: Place) -> Result<(u64, Sure), String> {
        let call = |copy: Option<&str>, callee: &str, nth: usize| {
            let calls = self.calls(function, copy, callee)?;
            let of = calls.len();
            let sure = if of == 1 { Sure::Only } else { Sure::Counted { nth: nth + 1, of } };
            let missing = || format!("{} calls {callee} {of} times", function.name);
            Ok::<(Call, Sure), String>((*calls.get(nth).ok_or_else(missing)?, sure))
        };
        let behind = |(call, sure): (Call, Sure)| match call.tail {
            true => Err(format!("{} only jumps to it: nothing comes back", function.name)),
            false => Ok((call.next, sure)),
        };
        match place {
            Place::Entry => Ok((function.start, Sure::Only)),
            Place::Before(callee, nth) => call(None, callee, nth).map(|(c, s)| (c.at, s)),
            Place::After(callee, nth) => behind(call(None, callee, nth)?),
            Place::BeforeIn(copy, callee, nth) => {
                call(Some(copy), callee, nth).map(|(c, s)| (c.at, s))
            }
            Place::AfterIn(copy, callee, nth) => behind(call(Some(copy), callee, nth)?),
            Place::Inline(name, nth) => {
                let mut firsts: Vec<u64> = self
                    .inlined(function)?
                    .iter()
                    .filter(|i| i.name == name)
                    .filter_map(Inlined::first)
                    .filter(|at| (function.start..function.end).contains(at))
                    .collect();
                firsts.sort_unstable();
                firsts.dedup();
                let of = firsts.len();
                let sure = if of == 1 { Sure::Only } else { Sure::Counted { nth: nth + 1, of } };
                let missing = || format!("{of} copies of {name} in {}", function.name);
                Ok((*firsts.get(nth).ok_or_else(missing)?, sure))
            }
        }
    }

    /// Calls of `callee`: all, or those from copies of an inlined function (`""`: from none).
    fn calls(
        &self,
        function: &Function,
        copy: Option<&str>,
        callee: &str,
    ) -> Result<Vec<Call>, String> {
        let mut calls = self.vmlinux.calls(function);
        calls.retain(|c| self.vmlinux.is_named(c.target, callee));
        let Some(copy) = copy else { return Ok(calls) };
        let inlined = self.inlined(function)?;
        calls.retain(|call| {
            let mut holders = inlined.iter().filter(|i| i.holds(call.at));
            if copy.is_empty() { holders.next().is_none() } else { holders.any(|i| i.name == copy) }
        });
        Ok(calls)
    }

    /// What there is to name in rules: calls and inlined copies of a function, by address.
    ///
    /// # Errors
    /// There is no such function.
    pub fn told(&self, name: &str) -> Result<String, String> {
        let functions = self.vmlinux.functions(name);
        if functions.is_empty() {
            return Err(format!("{}: no function {name}", self.vmlinux.path.display()));
        }
        let mut text = String::new();
        for function in functions {
            let _ = writeln!(text, "{} {:#x}", function.name, function.start);
            let inlined = self.inlined(&function).unwrap_or_default();
            let mut lines: Vec<(u64, String)> = inlined
                .iter()
                .filter_map(|i| Some((i.first()?, format!("copy {}", i.name))))
                .collect();
            for call in self.vmlinux.calls(&function) {
                let inside: Vec<&str> =
                    inlined.iter().filter(|i| i.holds(call.at)).map(|i| i.name.as_str()).collect();
                let target = self.vmlinux.name_of(call.target).unwrap_or("?");
                let how = if call.tail { "jump" } else { "call" };
                let from = if inside.is_empty() {
                    String::new()
                } else {
                    format!(" in {}", inside.join(" > "))
                };
                lines.push((call.at, format!("{how} {target}{from}")));
            }
            lines.sort();
            for (at, line) in lines {
                let _ = writeln!(text, "  +{:#x} {line}", at.wrapping_sub(function.start));
            }
        }
        Ok(text)
    }
}

/// Points that tasks pass in the worlds of a release: each world's default order, and those in
/// which every other task goes first.
pub fn passed(release: Release) -> BTreeSet<Point> {
    let Ok(policy) = Policy::parse(release.word()) else { return BTreeSet::new() };
    let mut passed = BTreeSet::new();
    for world in worlds::all() {
        let subject = search::Subject::World(world);
        let config = Config::default();
        let mut schedules = vec![Schedule::default()];
        // A schedule that shows the family passes what the default order doesn't.
        let bounded = Config { stop_at_find: true, max_schedules: 2_000, workers: 1, ..config };
        let found =
            search::run(&subject, policy, &bounded, |_| std::ops::ControlFlow::Continue(()));
        schedules.extend(found.finds.into_iter().map(|f| f.schedule));
        for schedule in schedules {
            let replay = search::tell(&subject, policy, &config, &schedule, |_| {});
            for event in &replay.trace {
                if let EventKind::Point { label } | EventKind::Step { label, .. } = event.kind {
                    passed.extend(Point::from_number(label));
                }
            }
        }
    }
    passed
}

/// One line of the list.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// The point, as in schedules.
    pub point: &'static str,
    /// Where, `function+0x1d7`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// The address as linked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<u64>,
    /// By which rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How surely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sure: Option<Sure>,
    /// Why it was not found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Do tasks pass it in the worlds of the kernel's release?
    pub passed: bool,
    /// Is it a step of the model only?
    pub model_only: bool,
}

/// The list for a kernel.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    /// The kernel's version.
    pub version: String,
    /// The preset that stands for it.
    pub release: &'static str,
    /// All points.
    pub points: Vec<Row>,
}

/// Looks all points up.
pub fn list(kernel: &Kernel) -> List {
    let finder = Finder::new(&kernel.vmlinux);
    let passed = passed(kernel.release);
    let row = |point: &Point| {
        let found = finder.find(*point);
        let of = |f: &Found| format!("{}+{:#x}", f.function, f.offset);
        let found_ = found.as_ref().ok();
        Row {
            point: point.name(),
            at: found_.map(of),
            address: found_.map(|f| f.address),
            rule: found_.map(|f| rule_words(f.place)),
            sure: found_.map(|f| f.sure),
            why: found.as_ref().err().cloned(),
            passed: passed.contains(point),
            model_only: NO_PLACE.iter().any(|(p, _)| p == point),
        }
    };
    List {
        version: kernel.version.clone(),
        release: kernel.release.word(),
        points: Point::ALL.iter().map(row).collect(),
    }
}

fn rule_words(place: Place) -> String {
    match place {
        Place::Entry => "its first instruction".to_owned(),
        Place::Before(callee, _) => format!("before {callee}"),
        Place::After(callee, _) => format!("behind {callee}"),
        Place::BeforeIn("", callee, _) => format!("before its own {callee}"),
        Place::AfterIn("", callee, _) => format!("behind its own {callee}"),
        Place::BeforeIn(copy, callee, _) => format!("before {callee} of {copy}, inlined"),
        Place::AfterIn(copy, callee, _) => format!("behind {callee} of {copy}, inlined"),
        Place::Inline(name, _) => format!("{name}, inlined"),
    }
}

impl Sure {
    fn words(self) -> String {
        match self {
            Self::Only => "the only one".to_owned(),
            Self::Counted { nth, of } => format!("{nth} of {of}"),
            Self::Clones(n) => format!("{n} clones"),
        }
    }
}

impl List {
    /// Of the points that the release's worlds pass and that a kernel can have: found, and all.
    pub fn count(&self) -> (usize, usize) {
        let all = || self.points.iter().filter(|r| r.passed && !r.model_only);
        (all().filter(|r| r.at.is_some()).count(), all().count())
    }

    /// As text.
    pub fn text(&self) -> String {
        let (found, of) = self.count();
        let mut text = format!(
            "{} (preset {}): {found} of the {of} labels that its worlds pass were found\n\n",
            self.version, self.release
        );
        let mark = |r: &Row| if r.passed { "*" } else { " " };
        for row in &self.points {
            let Some(at) = &row.at else { continue };
            let rule = row.rule.as_deref().unwrap_or_default();
            let sure = row.sure.map(Sure::words).unwrap_or_default();
            let _ = writeln!(text, "{}{:<24} {at:<44} {rule}, {sure}", mark(row), row.point);
        }
        text += "\nnot found:\n";
        for row in self.points.iter().filter(|r| r.at.is_none()) {
            let why = row.why.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{}{:<24} {why}", mark(row), row.point);
        }
        text += "\n* passed by tasks of the worlds under this preset. \"1 of 3\": counted by address, which the\n\
                 compiler may order otherwise than the source: look at the printed state before you trust it.\n";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::vmlinux::small::{STEP, TEXT, call, elf, jump};
    use super::*;

    #[test]
    fn every_point_has_a_rule_or_a_reason() {
        for point in Point::ALL {
            let rules = RULES.iter().filter(|r| r.point == *point).count();
            let reason = NO_PLACE.iter().any(|(p, _)| p == point);
            assert!((rules > 0) != reason, "{}: {rules} rules, reason: {reason}", point.name());
        }
    }

    #[test]
    fn rules_count_calls_in_a_small_elf() {
        // 0 alloc calls get twice; 1 alloc.cold jumps to it; 2 is get.
        let alloc = [call(0, 0, 2), vec![0x90], call(0, 6, 2)].concat();
        let functions =
            [("alloc", alloc), ("alloc.cold", jump(1, 0, 2)), ("get.isra.0", vec![0xc3])];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmlinux");
        std::fs::write(&path, elf(&functions, &[], &[])).unwrap();
        let vmlinux = Vmlinux::open(&path).unwrap();
        let finder = Finder::new(&vmlinux);
        let apply = |within, place| finder.apply(&Rule { point: Point::S5Try, within, place });
        let found = apply(&["none", "alloc"], Place::Before("get", 1)).unwrap();
        assert_eq!((found.address, found.offset), (TEXT + 6, 6));
        assert_eq!(
            (found.function.as_str(), found.sure),
            ("alloc", Sure::Counted { nth: 2, of: 2 })
        );
        let found = apply(&["alloc"], Place::After("get", 0)).unwrap();
        assert_eq!((found.offset, found.sure), (5, Sure::Counted { nth: 1, of: 2 }));
        let found = apply(&["alloc"], Place::Before("get", 0)).unwrap();
        assert_eq!(found.sure, Sure::Clones(2), "the cold part calls it, too");
        let found = apply(&["get"], Place::Entry).unwrap();
        assert_eq!((found.address, found.sure), (TEXT + 2 * STEP, Sure::Only));
        let refused = |within, place, words: &str| {
            let why = apply(within, place).unwrap_err();
            assert!(why.contains(words), "{why}");
        };
        refused(&["alloc"], Place::Before("get", 2), "alloc calls get 2 times");
        refused(&["none", "neither"], Place::Entry, "no function none or neither");
        refused(&["alloc.cold"], Place::After("get", 0), "only jumps to it");
        refused(&["alloc"], Place::Inline("get", 0), "no DWARF");
        refused(&["alloc"], Place::BeforeIn("", "get", 0), "no DWARF");
        assert!(finder.told("alloc").unwrap().contains("+0x6 call get.isra.0"));
        assert!(finder.told("other").unwrap_err().contains("no function other"));
    }

    #[test]
    fn the_worlds_of_a_release_pass_most_points() {
        let passed = passed(Release::NEWEST);
        for point in [Point::B3FastZone, Point::S1Cookies, Point::L7Test, Point::V5Victim] {
            assert!(passed.contains(&point), "{}", point.name());
        }
    }
}
