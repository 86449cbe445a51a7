//! What the oracle found, and where findings are kept until the harness takes them.

use crate::race::timeline::Event;
use crate::run::clock::Ktime;
use crate::run::task::Task;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Kinds of findings and of counted events (ARCHITECTURE.md#the-oracle).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FindingKind {
    /// A kill although a zone could have served the request at every look.
    PrematureOom,
    /// A kill although a zone passed its min mark at the decision only (a finding with --strict).
    TransientOom,
    /// As `PrematureOom` by the exact counter only: counted.
    Drift,
    /// A request failed although a zone could have served it at every look.
    PrematureFailure,
    /// A second victim while the first one's memory was hidden.
    ExtraVictim,
    /// The reaper could not get at the first victim, by design: counted.
    Unreapable,
    /// The reaper passes over such pages in its release: counted.
    LeftByReaper,
    /// The first victim's memory was free already: counted.
    LateKill,
    /// A walk over what was freed.
    UseAfterFree,
    /// A frame in no place or in two, or a counter that differs from its recount.
    Conservation,
    /// An allocation went deeper into the reserve than its flags allow.
    Reserve,
    /// A page of an isolated pageblock was handed out.
    IsolatedHandedOut,
    /// The same page failed test_pages_isolated twice while it was on a pcplist.
    StrayPage,
    /// -EBUSY because of a page on a pcplist.
    SpuriousEbusy,
    /// A cycle of waits, a spin without end, a retry loop without progress.
    Lockup,
    /// A lock that sleeps taken with interrupts off (PREEMPT_RT).
    InvalidContext,
    /// "Out of memory and no killable processes": ends the round.
    Panic,
    /// A request without direct reclaim failed during a rebuild (`lockless`): counted.
    SpuriousFailure,
    /// A page on a node that its policy excludes.
    MisplacedPage,
    /// A page of an isolated pageblock handed out that was in transit when it was isolated (J5-f,
    /// in every release): counted.
    InTransit,
    /// An unmovable page from ZONE_MOVABLE, by a zoneref that a rebuild moved (J4-e, in every
    /// release): counted.
    UnmovableInMovable,
    /// A page on a node that its policy excludes, by a zoneref that a rebuild moved (J4-f, in every
    /// release): counted.
    MisplacedByRebuild,
    /// A request with all rights failed: the reserve is used up (J3-b): counted.
    ReserveEmpty,
    /// A victim's request failed at a level that its flags without the victim's right would have
    /// allowed (J3-d): counted.
    VictimDenied,
    /// A victim's request got a page outside its cpuset (J3-e): counted.
    CpusetEscape,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [Self; 25] = [
        Self::PrematureOom,
        Self::TransientOom,
        Self::Drift,
        Self::PrematureFailure,
        Self::ExtraVictim,
        Self::Unreapable,
        Self::LeftByReaper,
        Self::LateKill,
        Self::UseAfterFree,
        Self::Conservation,
        Self::Reserve,
        Self::IsolatedHandedOut,
        Self::StrayPage,
        Self::SpuriousEbusy,
        Self::Lockup,
        Self::InvalidContext,
        Self::Panic,
        Self::SpuriousFailure,
        Self::MisplacedPage,
        Self::InTransit,
        Self::UnmovableInMovable,
        Self::MisplacedByRebuild,
        Self::ReserveEmpty,
        Self::VictimDenied,
        Self::CpusetEscape,
    ];

    /// The word in results.
    pub fn word(self) -> &'static str {
        match self {
            Self::PrematureOom => "premature-oom",
            Self::TransientOom => "transient-oom",
            Self::Drift => "drift",
            Self::PrematureFailure => "premature-failure",
            Self::ExtraVictim => "extra-victim",
            Self::Unreapable => "unreapable",
            Self::LeftByReaper => "left-by-reaper",
            Self::LateKill => "late-kill",
            Self::UseAfterFree => "use-after-free",
            Self::Conservation => "conservation",
            Self::Reserve => "reserve",
            Self::IsolatedHandedOut => "isolated-handed-out",
            Self::StrayPage => "stray-page",
            Self::SpuriousEbusy => "spurious-ebusy",
            Self::Lockup => "lockup",
            Self::InvalidContext => "invalid-context",
            Self::Panic => "panic",
            Self::SpuriousFailure => "spurious-failure",
            Self::MisplacedPage => "misplaced-page",
            Self::InTransit => "in-transit",
            Self::UnmovableInMovable => "unmovable-in-movable",
            Self::MisplacedByRebuild => "misplaced-by-rebuild",
            Self::ReserveEmpty => "reserve-empty",
            Self::VictimDenied => "victim-denied",
            Self::CpusetEscape => "cpuset-escape",
        }
    }

    /// Does one of these make the run a failure (exit 1)? The others are counted.
    pub fn is_finding(self, strict: bool) -> bool {
        match self {
            Self::PrematureOom
            | Self::PrematureFailure
            | Self::ExtraVictim
            | Self::UseAfterFree
            | Self::Conservation
            | Self::Reserve
            | Self::IsolatedHandedOut
            | Self::StrayPage
            | Self::SpuriousEbusy
            | Self::Lockup
            | Self::InvalidContext
            | Self::Panic
            | Self::MisplacedPage => true,
            Self::TransientOom => strict,
            Self::Drift
            | Self::Unreapable
            | Self::LeftByReaper
            | Self::LateKill
            | Self::SpuriousFailure
            | Self::InTransit
            | Self::UnmovableInMovable
            | Self::MisplacedByRebuild
            | Self::ReserveEmpty
            | Self::VictimDenied
            | Self::CpusetEscape => false,
        }
    }
}

/// One line of a finding's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimelineEvent {
    /// When, in ticks of [`crate::sync::stamp`].
    pub stamp: u64,
    /// Thread id.
    pub pid: u32,
    /// Command name.
    pub comm: String,
    /// CPU.
    pub cpu: u16,
    /// Step label.
    pub label: &'static str,
    /// Race point.
    pub point: &'static str,
    /// What happened.
    pub text: String,
    /// Is this step the reason of what follows?
    pub reason: bool,
}

impl TimelineEvent {
    /// An event of a task, in words.
    pub fn of(task: &Task, event: &Event) -> Self {
        Self {
            stamp: event.stamp,
            pid: task.pid,
            comm: task.process.comm.clone(),
            cpu: task.cpu.load(Ordering::Relaxed) as u16,
            label: event.point.label(),
            point: event.point.name(),
            text: event.describe(),
            reason: false,
        }
    }
}

/// Something that should not have happened, with its evidence.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// When, in model time.
    pub at: Ktime,
    /// Thread that it happened to.
    pub pid: u32,
    /// In one line.
    pub title: String,
    /// The report in the kernel's own form, and why it is wrong.
    pub report: Vec<String>,
    /// The last events of the threads involved, oldest first.
    pub timeline: Vec<TimelineEvent>,
    /// Does the verdict hang on scaled time?
    pub scaled: bool,
}

/// How many findings are kept whole; later ones are counted only.
pub const KEPT: usize = 16;

/// The findings so far.
#[derive(Debug)]
pub struct Findings {
    kept: Mutex<Vec<Finding>>,
    counts: [AtomicU64; FindingKind::ALL.len()],
}

impl Default for Findings {
    fn default() -> Self {
        Self { kept: Mutex::new(Vec::new()), counts: Default::default() }
    }
}

impl Findings {
    /// Counts an event; true if a whole [`Finding`] of it would still be kept.
    pub fn count(&self, kind: FindingKind) -> bool {
        self.counts[kind as usize].fetch_add(1, Ordering::Relaxed);
        let kept = self.kept.lock();
        // What is only counted leaves room for what is not.
        let room = if kind.is_finding(true) { KEPT } else { KEPT / 2 };
        kept.len() < room && kept.iter().filter(|f| f.kind == kind).count() < KEPT / 4
    }

    /// Keeps a finding that was counted.
    pub fn keep(&self, finding: Finding) {
        self.kept.lock().push(finding);
    }

    /// How many of a kind.
    pub fn nr(&self, kind: FindingKind) -> u64 {
        self.counts[kind as usize].load(Ordering::Relaxed)
    }

    /// Takes the kept findings.
    pub fn take(&self) -> Vec<Finding> {
        std::mem::take(&mut *self.kept.lock())
    }

    /// How many that make the run a failure.
    pub fn nr_findings(&self, strict: bool) -> u64 {
        FindingKind::ALL.iter().filter(|k| k.is_finding(strict)).map(|k| self.nr(*k)).sum()
    }
}
