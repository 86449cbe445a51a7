//! What is booted: an initial RAM disk of one static program and a recipe.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::cli::exit::Stop;

/// The guest's program, in C, since it has to be static and small.
pub const SOURCE: &str = include_str!("guest/init.c");

/// Compiles the guest's program.
///
/// # Errors
/// There is no C compiler with a static libc (exit 3).
pub fn compile() -> Result<Vec<u8>, Stop> {
    let cannot = |what: String| {
        Stop::cannot_run(format!(
            "the guest's program: {what}; it needs cc and a static libc (libc6-dev), or --guest FILE of \
             scripts/confirm-guest"
        ))
    };
    let dir = tempfile::tempdir().map_err(|e| cannot(e.to_string()))?;
    let (source, program) = (dir.path().join("init.c"), dir.path().join("init"));
    std::fs::write(&source, SOURCE).map_err(|e| cannot(e.to_string()))?;
    let output = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .args([&program, &source])
        .stdin(Stdio::null())
        .output()
        .map_err(|e| cannot(format!("cc: {e}")))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        let line = text.lines().find(|l| l.contains("error")).or_else(|| text.lines().last());
        return Err(cannot(format!("cc: {}", line.unwrap_or("failed"))));
    }
    std::fs::read(&program).map_err(|e| cannot(e.to_string()))
}

/// A program built before.
///
/// # Errors
/// It can't be read, or is none.
pub fn read(path: &Path) -> Result<Vec<u8>, Stop> {
    let usage =
        |what: &dyn std::fmt::Display| Stop::usage(format!("--guest {}: {what}", path.display()));
    let program = std::fs::read(path).map_err(|e| usage(&e))?;
    if !program.starts_with(b"\x7fELF") {
        return Err(usage(&"no program (scripts/confirm-guest builds one)"));
    }
    Ok(program)
}

/// The initial RAM disk: a cpio archive of the form that the kernel reads (newc).
pub fn archive(program: &[u8], recipe: &str) -> Vec<u8> {
    let mut archive = Vec::new();
    entry(&mut archive, 1, "init", 0o100_755, program);
    entry(&mut archive, 2, "recipe", 0o100_644, recipe.as_bytes());
    entry(&mut archive, 3, "dev", 0o040_755, &[]);
    entry(&mut archive, 0, "TRAILER!!!", 0, &[]);
    archive.resize(archive.len().next_multiple_of(512), 0);
    archive
}

fn entry(archive: &mut Vec<u8>, inode: u32, name: &str, mode: u32, data: &[u8]) {
    let (size, named) = (data.len() as u32, name.len() as u32 + 1);
    let fields = [inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, named, 0];
    let head: String = fields.iter().map(|f| format!("{f:08x}")).collect();
    archive.extend(format!("070701{head}{name}\0").bytes());
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(data);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_what_the_kernel_reads() {
        let archive = archive(b"program", "recipe\n");
        assert!(archive.starts_with(b"070701000000010000"));
        assert_eq!(archive.len() % 512, 0);
        // Entries follow each other at multiples of four: names and sizes lead from one to the next.
        let (mut at, mut names) = (0, Vec::new());
        while !names.last().is_some_and(|n: &String| n.starts_with("TRAILER")) {
            let field = |n: usize| {
                let text = std::str::from_utf8(&archive[at + 6 + 8 * n..at + 14 + 8 * n]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (size, named) = (field(6), field(11));
            let name = &archive[at + 110..at + 110 + named - 1];
            names.push(String::from_utf8(name.to_vec()).unwrap());
            let data = (at + 110 + named).next_multiple_of(4);
            if names.last().unwrap() == "init" {
                assert_eq!(&archive[data..data + size], b"program");
            }
            at = (data + size).next_multiple_of(4);
        }
        assert_eq!(names, ["init", "recipe", "dev", "TRAILER!!!"]);
    }
}
