//! Tells the binary what it was built from, for the record: commit, compiler, profile.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // A commit or a change of any source, after which the binary is built anew in any case.
    if let Some(path) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        println!("cargo:rerun-if-changed={path}");
    }
    for source in ["src", "../allocator/src", "../workloads/src", "../results/src"] {
        println!("cargo:rerun-if-changed={source}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).map(|commit| {
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"]);
        let is_dirty = dirty.is_some_and(|files| !files.is_empty());
        if is_dirty { format!("{commit}-dirty") } else { commit }
    });
    println!("cargo:rustc-env=STRESS_GIT={}", commit.unwrap_or_default());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = output(Command::new(rustc).arg("--version")).unwrap_or_default();
    println!("cargo:rustc-env=STRESS_RUSTC={version}");
    // OUT_DIR is target/PROFILE/build/...: only there a profile of our own has its name.
    let out = std::env::var("OUT_DIR").unwrap_or_default();
    let parts: Vec<&str> = out.split('/').collect();
    let profile =
        parts.iter().rposition(|p| *p == "build").and_then(|at| parts.get(at.wrapping_sub(1)));
    println!("cargo:rustc-env=STRESS_PROFILE={}", profile.unwrap_or(&""));
}

fn git(args: &[&str]) -> Option<String> {
    output(Command::new("git").args(args))
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
