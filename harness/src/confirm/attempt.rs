//! One attempt: a schedule of the model, tried on a kernel in a guest.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use allocator_explore::explore::{Config, Schedule, Scheduler};
use allocator_explore::policy::{Expect, Policy};
use allocator_explore::race::Point;
use workloads_explore::worlds::matrix;

use super::guest;
use super::kernel::Kernel;
use super::layout::Layout;
use super::machine::Machine;
use super::points::Finder;
use super::recipe::{self, Recipe};
use super::remote::{Broken, Remote};
use super::session::{Failure, Plan, Session};
use super::verdict::{Verdict, judge};
use crate::cli::exit::{Exit, Stop};
use crate::explore::kept::{Kept, Searched};
use crate::explore::search;
use crate::explore::subject;

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The family.
    pub family: String,
    /// The recipe of its world.
    pub recipe: Recipe,
    /// The schedule.
    pub schedule: Schedule,
    /// Does the model show the finding under it?
    pub shows: bool,
}

/// A kept schedule, looked at by the model first.
///
/// # Errors
/// It can't be tried: a workload's tasks, a family without a recipe, choices that don't fit, or a
/// variant that excludes the race (exit 2).
pub fn of_schedule(kept: &Kept) -> Result<Wanted, Stop> {
    let Searched::Family(family) = &kept.searched else {
        return Err(Stop::usage(
            "it is a schedule of a workload's own tasks: only families' smallest worlds can be tried on a kernel",
        ));
    };
    let (recipe, policy) = (recipe_of(family)?, subject::policy(&kept.variant)?);
    excluded(family, &policy)?;
    let subject = subject::family(family)?;
    let config = Config {
        early_expiry: kept.early_expiry,
        scheduler: Scheduler::Bounded { preemptions: 0 },
        ..Config::default()
    };
    let told = search::retell(&subject, kept, policy, &config);
    if let Some((choice, why)) = told.replay.misfits.first() {
        return Err(Stop::usage(format!(
            "the choice of task {} at {} does not fit {}: {why}",
            choice.task,
            crate::explore::kept::point_name(choice.label),
            kept.variant
        )));
    }
    let shows = told.replay.findings.iter().any(|(kind, _)| subject.shows(kind));
    Ok(Wanted { family: family.clone(), recipe, schedule: kept.schedule.clone(), shows })
}

/// The first schedule that the explorer finds for a family under the kernel's own preset.
///
/// # Errors
/// No such family, none with a recipe, or the model shows nothing under this preset (exit 2).
pub fn of_family(family: &str, kernel: &Kernel) -> Result<Wanted, Stop> {
    let subject = subject::family(family)?;
    let (recipe, policy) = (recipe_of(family)?, subject::policy(kernel.release.word())?);
    excluded(family, &policy)?;
    let config = Config {
        scheduler: Scheduler::Bounded { preemptions: subject.bound() },
        stop_at_find: true,
        workers: 1,
        ..Config::default()
    };
    let go_on = |_: &_| std::ops::ControlFlow::Continue(());
    let report = workloads_explore::worlds::search::run(&subject, policy, &config, go_on);
    let find = report.finds.iter().find(|f| subject.shows(f.kind));
    let find = find.ok_or_else(|| {
        Stop::usage(format!("the model shows no {family} under {}: nothing to try", policy))
    })?;
    Ok(Wanted { family: family.to_owned(), recipe, schedule: find.schedule.clone(), shows: true })
}

fn recipe_of(family: &str) -> Result<Recipe, Stop> {
    recipe::find(family).ok_or_else(|| {
        let known: Vec<&str> = recipe::known().collect();
        Stop::usage(format!(
            "{family} has no recipe for a guest; those that have: {} (docs/confirm.md says why others have none)",
            known.join(" ")
        ))
    })
}

/// A variant that is stated to exclude the race has nothing to be shown.
fn excluded(family: &str, policy: &Policy) -> Result<(), Stop> {
    let own = |c: &&matrix::Cell| c.family.name() == family && policy.word(c.axis) == c.variant;
    match matrix::cells().iter().find(own) {
        Some(cell) if cell.expect == Expect::Excluded => Err(Stop::usage(format!(
            "{}={} excludes {family}: there is nothing to be shown on a kernel (stress explore --family {family} \
             proves it)",
            cell.axis, cell.variant
        ))),
        _ => Ok(()),
    }
}

/// How an attempt is made.
#[derive(Debug)]
pub struct Effort {
    /// Rounds with the race; as many controls.
    pub rounds: usize,
    /// For the whole attempt.
    pub timeout: Duration,
    /// The guest's program, if it was built before.
    pub guest: Option<Vec<u8>>,
}

/// Boots a guest with this kernel and follows the schedule in it. `watch` hears what happens and says
/// whether to go on. Gives the verdict and what the guest printed.
///
/// # Errors
/// This machine can't (exit 3), or the attempt was interrupted.
pub fn attempt(
    wanted: &Wanted,
    kernel: &Kernel,
    image: &std::path::Path,
    effort: Effort,
    watch: &mut dyn FnMut(Option<&str>) -> bool,
) -> Result<(Verdict, String), Stop> {
    let start = Instant::now();
    let Effort { rounds, timeout, guest } = effort;
    let Wanted { family, recipe, schedule, .. } = wanted;
    let layout = Layout::of(kernel)
        .map_err(|e| Stop::cannot_run(format!("{}: {e}", kernel.vmlinux.path.display())))?;
    let order = recipe.order(schedule).map_err(Stop::usage)?;
    let plan = |control: bool| Plan {
        control,
        order: if control { recipe.control.clone() } else { order.clone() },
    };
    let plans: Vec<Plan> = (0..rounds).flat_map(|_| [plan(true), plan(false)]).collect();
    let finder = Finder::new(&kernel.vmlinux);
    let wants: Vec<Point> = plans.iter().flat_map(|p| &p.order).filter_map(|p| p.until).collect();
    let first = |point: &Point| recipe.via.iter().find(|(of, _)| of == point).map(|(_, f)| *f);
    let via: Vec<Point> = wants.iter().filter_map(first).collect();
    let mut points = BTreeMap::new();
    let mut missing = None;
    for point in wants.into_iter().chain(via) {
        match finder.find(point) {
            Ok(found) => {
                if points.insert(point, found.address).is_none() {
                    watch(Some(&format!(
                        "{} is {}+{:#x}",
                        point.name(),
                        found.function,
                        found.offset
                    )));
                }
            }
            Err(why) => missing = Some(format!("{} was not found: {why}", point.name())),
        }
    }
    if missing.is_some() {
        let none = judge(family, &kernel.version, recipe, &[], missing, start.elapsed());
        return Ok((none, String::new()));
    }
    let program = match guest {
        Some(program) => program,
        None => guest::compile()?,
    };
    let disk = guest::archive(&program, &recipe.guest);
    let (machine, stream) = Machine::boot(recipe, image, &disk)?;
    watch(Some("booting"));
    let mut made = Vec::new();
    let ended = match Remote::connect(stream) {
        Err(e) => Err(Failure::from(e)),
        Ok(remote) => {
            let mut session = Session::new(remote, &layout, recipe, &points, plans);
            let ended = session.run(start + timeout, watch);
            made = session.rounds().to_vec();
            ended
        }
    };
    let console = machine.end();
    let why = match ended {
        Ok(()) => None,
        Err(Failure::Interrupted) => {
            return Err(Stop {
                exit: Exit::Interrupted,
                message: "interrupted; the guest was ended".to_owned(),
            });
        }
        Err(Failure::NotReached(why)) => Some(why),
        Err(Failure::Broken(Broken::Ended)) => {
            let told = |l: &&str| !l.trim().is_empty() && !l.contains("warning: ");
            let last = console.lines().rev().find(told).unwrap_or("nothing");
            Some(format!("the guest has ended; the last line it printed: {last}"))
        }
        Err(Failure::Broken(e)) => Some(e.to_string()),
    };
    Ok((judge(family, &kernel.version, recipe, &made, why, start.elapsed()), console))
}
