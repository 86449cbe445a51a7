//! What is searched: the smallest worlds of a workload's axes, families by name, or a workload's
//! own tasks.

use std::sync::Arc;

use allocator_explore::policy::{Family, Policy};
use workloads_explore::worlds::matrix::{self, Cell};
use workloads_explore::worlds::scene::SceneWorld;
use workloads_explore::worlds::search::Subject;
use workloads_explore::worlds::{self};
use workloads_explore::{OptionValue, Options};

use crate::cli::exit::Stop;
use crate::cli::{suggest, workload_args};

/// A policy by its spec, for the explorer's copy of the model.
///
/// # Errors
/// With the column and the nearest name; exit code 2.
pub fn policy(spec: &str) -> Result<Policy, Stop> {
    Policy::parse(spec).map_err(|e| Stop::usage(format!("'{spec}': {e}  (stress list variants)")))
}

/// The world of a family by name.
///
/// # Errors
/// No such family, or none that can be searched.
pub fn family(name: &str) -> Result<Subject, Stop> {
    let Some(family) = Family::from_name(name) else {
        let known = worlds::all().map(|w| w.family.name());
        return Err(Stop::usage(suggest::unknown("family", name, known, "stress list variants")));
    };
    let Some(world) = worlds::find(family) else {
        let known: Vec<&str> = worlds::all().map(|w| w.family.name()).collect();
        return Err(Stop::usage(format!(
            "{family} ({}) has no world to search; those that have: {}",
            family.what(),
            known.join(" ")
        )));
    };
    Ok(Subject::World(world))
}

/// The worlds of a workload: those of all families of its axes.
///
/// # Errors
/// No such workload, or one whose axes have no world.
pub fn workload(name: &str) -> Result<Vec<Subject>, Stop> {
    let info = find(name)?.info();
    let of_axes = |c: &&Cell| info.axes.contains(&c.axis.word());
    let mut found: Vec<&'static worlds::World> = Vec::new();
    for world in matrix::cells().iter().filter(of_axes).filter_map(|c| c.world) {
        if !found.iter().any(|known| known.family == world.family) {
            found.push(world);
        }
    }
    if found.is_empty() {
        return Err(Stop::usage(format!(
            "no family belongs to the axes of {name}: search its own tasks with --threads and --steps"
        )));
    }
    Ok(found.into_iter().map(Subject::World).collect())
}

fn find(name: &str) -> Result<&'static dyn workloads_explore::Workload, Stop> {
    workloads_explore::find(name).ok_or_else(|| {
        let known = workloads_explore::all().iter().map(|w| w.info().name);
        Stop::usage(suggest::unknown("workload", name, known, "stress list workloads"))
    })
}

/// A workload's own tasks: how many, how far, with which options (`name=value`).
#[derive(Clone, Debug)]
pub struct SceneSpec {
    /// The workload.
    pub workload: String,
    /// Tasks.
    pub threads: u32,
    /// Steps of each.
    pub steps: u32,
    /// Seed of the tasks' own choices.
    pub seed: u64,
    /// Options of the workload, as `name=value`, or `name` for a flag.
    pub options: Vec<String>,
}

/// A workload's own tasks as a subject.
///
/// # Errors
/// No such workload, options that it does not have, or what it can't do on a small machine.
pub fn scene(spec: &SceneSpec, policy: &Policy) -> Result<Subject, Stop> {
    let workload = find(&spec.workload)?;
    // Options are declared as data in both copies; values are read by the same rules as in a run.
    let real = workloads::find(&spec.workload)
        .ok_or_else(|| Stop::usage(format!("no workload {}", spec.workload)))?;
    let mut given: Vec<workload_args::Given> = Vec::new();
    for option in &spec.options {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option.as_str(), None),
        };
        let all = real.info().options;
        let known = all.iter().find(|o| o.name == name).ok_or_else(|| {
            let names = all.iter().map(|o| o.name);
            Stop::usage(suggest::unknown("--set", name, names, "stress list workloads"))
        })?;
        given.push((known.name, value));
    }
    let mut options = Options::default();
    for (name, value) in workload_args::options(real.info(), &given)?.iter() {
        options.set(
            name,
            match value {
                workloads::OptionValue::Text(text) => OptionValue::Text(text.clone()),
                workloads::OptionValue::Number(n) => OptionValue::Number(*n),
                workloads::OptionValue::Share(share) => OptionValue::Share(*share),
                workloads::OptionValue::Flag(on) => OptionValue::Flag(*on),
            },
        );
    }
    let SceneSpec { threads, steps, seed, .. } = *spec;
    let scene = SceneWorld { workload, options, threads, steps, seed };
    scene.check(policy).map_err(|e| Stop::usage(e.to_string()))?;
    Ok(Subject::Scene(Arc::new(scene)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_stands_for_the_families_of_its_axes() {
        let names: Vec<&str> = workload("cpuset01").unwrap().iter().map(|s| s.name()).collect();
        assert_eq!(names, ["J1a-vma", "J1a-task", "J1b"]);
        let stop = workload("page-alloc").unwrap_err();
        assert!(stop.message.contains("--steps"), "{}", stop.message);
    }

    #[test]
    fn mistakes_name_what_there_is() {
        let check = |stop: Stop, words: &str| assert!(stop.message.contains(words), "{stop:?}");
        check(family("J1a").unwrap_err(), "did you mean 'J1a-vma'?");
        check(family("J5d").unwrap_err(), "has no world to search");
        check(workload("cpuset1").unwrap_err(), "did you mean 'cpuset01'?");
        let spec = SceneSpec {
            workload: "cpuset01".to_owned(),
            threads: 2,
            steps: 1,
            seed: 0,
            options: vec!["polcy=vma".to_owned()],
        };
        check(scene(&spec, &Policy::mainline()).unwrap_err(), "did you mean 'policy'?");
        let one = SceneSpec { threads: 1, options: Vec::new(), ..spec };
        check(scene(&one, &Policy::mainline()).unwrap_err(), "--threads 2 or more");
    }
}
