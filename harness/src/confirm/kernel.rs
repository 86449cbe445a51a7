//! The kernel asked about: one image and one vmlinux with symbols.

use std::path::{Path, PathBuf};

use allocator_explore::policy::Release;

use super::btf::Btf;
use super::vmlinux::Vmlinux;
use crate::cli::exit::Stop;

/// A kernel by its files.
#[derive(Debug)]
pub struct Kernel {
    /// Its vmlinux.
    pub vmlinux: Vmlinux,
    /// Its structures.
    pub btf: Btf,
    /// Its version as it prints it, `6.1.176`.
    pub version: String,
    /// The preset that stands for it: the newest release modelled that is no newer.
    pub release: Release,
}

impl Kernel {
    /// Reads the vmlinux of `--vmlinux`, or the only one below `dir`.
    ///
    /// # Errors
    /// No or several vmlinux (exit 2); one that can't be used: no x86-64 ELF, no symbols, no BTF
    /// (exit 3).
    pub fn open(dir: Option<&Path>, vmlinux: Option<&Path>) -> Result<Self, Stop> {
        let path = match (vmlinux, dir) {
            (Some(path), _) => path.to_owned(),
            (None, Some(dir)) => only(dir, "a vmlinux with symbols", |n| {
                n == "vmlinux" || n.starts_with("vmlinux-")
            })?,
            (None, None) => {
                return Err(Stop::usage(
                    "which kernel? --kernel DIR, or --vmlinux FILE, as in --kernel kernels/6.1",
                ));
            }
        };
        let at = |what: String| Stop::cannot_run(format!("{}: {what}", path.display()));
        let vmlinux = Vmlinux::open(&path).map_err(at)?;
        let btf = vmlinux.section(".BTF").ok_or_else(|| {
            at("no section .BTF: build it with CONFIG_DEBUG_INFO_BTF=y".to_owned())
        })?;
        let btf = Btf::parse(&btf).map_err(at)?;
        let version = vmlinux
            .version()
            .ok_or_else(|| at("no linux_banner with a version: is it a kernel?".to_owned()))?;
        let release = release_of(&version)
            .ok_or_else(|| at(format!("{version} is older than the oldest release modelled")))?;
        Ok(Self { vmlinux, btf, version, release })
    }

    /// The image to boot: `--image`, or the only one below `dir`.
    ///
    /// # Errors
    /// No or several images (exit 2).
    pub fn image(&self, dir: Option<&Path>, image: Option<&Path>) -> Result<PathBuf, Stop> {
        match (image, dir) {
            (Some(path), _) if path.is_file() => Ok(path.to_owned()),
            (Some(path), _) => {
                Err(Stop::usage(format!("--image {}: no such file", path.display())))
            }
            (None, Some(dir)) => only(dir, "a vmlinuz or bzImage", |n| {
                n == "bzImage" || n == "vmlinuz" || n.starts_with("vmlinuz-")
            }),
            (None, None) => Err(Stop::usage("--vmlinux without --image: nothing to boot")),
        }
    }
}

/// The only file below `dir` (three levels: a build tree has its image in arch/x86/boot, packages
/// theirs in boot and usr/lib/debug/boot) whose name fits.
fn only(dir: &Path, what: &str, fits: impl Fn(&str) -> bool) -> Result<PathBuf, Stop> {
    let mut found = Vec::new();
    if fits_at(dir, &fits, &mut found) {
        for below in ["arch/x86/boot", "boot", "usr/lib/debug/boot"] {
            fits_at(&dir.join(below), &fits, &mut found);
        }
    } else {
        return Err(Stop::usage(format!("--kernel {}: no such folder", dir.display())));
    }
    found.sort();
    match &found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Stop::usage(format!(
            "--kernel {}: no {} in it (looked in boot, usr/lib/debug/boot and arch/x86/boot, too)",
            dir.display(),
            what.trim_start_matches("a ")
        ))),
        [first, second, ..] => Err(Stop::usage(format!(
            "--kernel {}: {} and {}: want one kernel in a folder",
            dir.display(),
            first.display(),
            second.display()
        ))),
    }
}

fn fits_at(dir: &Path, fits: &impl Fn(&str) -> bool, found: &mut Vec<PathBuf>) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    for path in entries.filter_map(|e| Some(e.ok()?.path())) {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if fits(&name) && path.is_file() {
            found.push(path);
        }
    }
    true
}

/// The newest release modelled that is no newer than this version.
pub fn release_of(version: &str) -> Option<Release> {
    let number = |text: &str| -> Option<(u32, u32)> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    let own = number(version)?;
    Release::ALL.into_iter().rev().find(|r| number(r.version()).is_some_and(|n| n <= own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_stands_for_the_newest_release_before_it() {
        let check = |version: &str, word: Option<&str>| {
            assert_eq!(release_of(version).map(Release::word), word, "{version}");
        };
        for release in Release::ALL {
            check(release.version(), Some(release.word()));
            check(&format!("{}.17-amd64", release.version()), Some(release.word()));
        }
        check("6.2.0-rc1", Some("v6.1"));
        check("99.0", Some(Release::NEWEST.word()));
        check("4.4.302", None);
        check("six", None);
    }

    #[test]
    fn a_folder_names_one_vmlinux() {
        let dir = tempfile::tempdir().unwrap();
        let fits = |n: &str| n.starts_with("vmlinux-");
        let refused = |words: &str| {
            let stop = only(dir.path(), "a vmlinux", fits).unwrap_err();
            assert!(stop.message.contains(words), "{}", stop.message);
        };
        refused("no vmlinux in it");
        let debug = dir.path().join("usr/lib/debug/boot");
        std::fs::create_dir_all(&debug).unwrap();
        std::fs::write(debug.join("vmlinux-6.1"), "").unwrap();
        assert_eq!(only(dir.path(), "a vmlinux", fits).unwrap(), debug.join("vmlinux-6.1"));
        std::fs::write(dir.path().join("vmlinux-6.2"), "").unwrap();
        refused("want one kernel");
        let stop = only(&dir.path().join("none"), "a vmlinux", fits).unwrap_err();
        assert!(stop.message.contains("no such folder"), "{}", stop.message);
    }
}
