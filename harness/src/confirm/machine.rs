//! The guest: one QEMU without files of its own, that can't outlive us.
//!
//! **Why so.** A run may be cut off at any moment. The stub and the console are socket pairs, the RAM
//! disk is memory with no name, and the kernel of the host ends QEMU when our thread ends, however it
//! ends: nothing is left to clean up.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::recipe::Recipe;
use crate::cli::exit::Stop;

/// The emulator.
pub const QEMU: &str = "qemu-system-x86_64";

/// A guest that runs.
#[derive(Debug)]
pub struct Machine {
    child: Child,
    console: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// Arguments of QEMU for a recipe; the numbers are inherited file descriptors.
pub fn arguments(
    recipe: &Recipe,
    image: &Path,
    stub: RawFd,
    console: RawFd,
    disk: RawFd,
) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| args.extend(words.iter().map(|w| (*w).to_owned()));
    add(&["-accel", "tcg,thread=multi", "-cpu", "qemu64,+pdpe1gb"]);
    add(&["-M", "pc,max-ram-below-4g=512M", "-display", "none", "-monitor", "none"]);
    add(&["-no-reboot", "-net", "none", "-smp", "2,sockets=2"]);
    let megabytes = |s: &String| s.trim_end_matches('M').parse::<u64>().unwrap_or(0);
    let total: u64 = recipe.nodes.iter().map(megabytes).sum();
    add(&["-m", &format!("{total}M,slots=4,maxmem=8G")]);
    for (node, size) in recipe.nodes.iter().enumerate() {
        add(&["-object", &format!("memory-backend-ram,id=m{node},size={size}")]);
        let cpu = if node < 2 { format!(",cpus={node}") } else { String::new() };
        add(&["-numa", &format!("node,nodeid={node},memdev=m{node}{cpu}")]);
    }
    if let Some((node, size)) = &recipe.dimm {
        for without in recipe.nodes.len()..=*node as usize {
            add(&["-numa", &format!("node,nodeid={without}")]);
        }
        add(&["-object", &format!("memory-backend-ram,id=d0,size={size}")]);
        add(&["-device", &format!("pc-dimm,id=dimm0,memdev=d0,node={node}")]);
    }
    add(&["-kernel", &image.display().to_string(), "-initrd", &format!("/proc/self/fd/{disk}")]);
    let append = recipe.append.join(" ");
    // A busy host delivers the timer late, which the kernel's check of it would take for broken.
    let line = "console=ttyS0 quiet panic=-1 nokaslr nosoftlockup no_timer_check rdinit=/init";
    add(&["-append", format!("{line} {append}").trim_end()]);
    add(&["-chardev", &format!("socket,id=c,fd={console}"), "-serial", "chardev:c"]);
    // It stands still until the stub says go: a running guest would swallow the first packet.
    add(&["-chardev", &format!("socket,id=g,fd={stub}"), "-gdb", "chardev:g", "-S"]);
    args
}

/// QEMU, if it is installed.
///
/// # Errors
/// It isn't (exit 3).
pub fn installed() -> Result<PathBuf, Stop> {
    let dirs = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&dirs).map(|dir| dir.join(QEMU)).find(|p| p.is_file());
    found.ok_or_else(|| {
        Stop::cannot_run(format!("{QEMU} is not installed (Debian: qemu-system-x86)"))
    })
}

impl Machine {
    /// Boots; gives the connection to its stub.
    ///
    /// # Errors
    /// QEMU can't be started (exit 3).
    pub fn boot(recipe: &Recipe, image: &Path, disk: &[u8]) -> Result<(Self, UnixStream), Stop> {
        let cannot = |e: std::io::Error| Stop::cannot_run(format!("{QEMU}: {e}"));
        let qemu = installed()?;
        let (stub, its_stub) = UnixStream::pair().map_err(cannot)?;
        let (mut console, its_console) = UnixStream::pair().map_err(cannot)?;
        let ram_disk = nameless(disk).map_err(cannot)?;
        let inherited = [its_stub.as_raw_fd(), its_console.as_raw_fd(), ram_disk.as_raw_fd()];
        let mut command = Command::new(qemu);
        command
            .args(arguments(recipe, image, inherited[0], inherited[1], inherited[2]))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // A Ctrl-C of the terminal is ours: we end the guest.
            .process_group(0);
        // SAFETY: between fork and exec only fcntl, prctl and getppid are called, which are
        // async-signal-safe; the descriptors are open for as long as `command` is.
        unsafe {
            command.pre_exec(move || {
                for fd in inherited {
                    if libc::fcntl(fd, libc::F_SETFD, 0) < 0 {
                        return Err(std::io::Error::last_os_error());
                    }
                }
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let mut child = command.spawn().map_err(cannot)?;
        drop((its_stub, its_console));
        let text = Arc::new(Mutex::new(String::new()));
        let (kept, mut errors) = (Arc::clone(&text), child.stderr.take());
        let reader = std::thread::spawn(move || {
            let mut part = [0; 4096];
            while let Ok(n @ 1..) = console.read(&mut part) {
                let more = String::from_utf8_lossy(&part[..n]).replace('\r', "");
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                // A guest that prints without end fills no memory.
                if kept.len() < 4 << 20 {
                    kept.push_str(&more);
                }
            }
            let mut more = String::new();
            if let Some(errors) = &mut errors
                && errors.take(1 << 16).read_to_string(&mut more).is_ok()
            {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push_str(&more);
            }
        });
        Ok((Self { child, console: text, reader: Some(reader) }, stub))
    }

    /// What the guest printed so far.
    pub fn console(&self) -> String {
        self.console.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the guest; gives what it and QEMU had printed.
    pub fn end(mut self) -> String {
        self.kill();
        self.console()
    }

    fn kill(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file in memory without a name.
fn nameless(bytes: &[u8]) -> std::io::Result<File> {
    // SAFETY: the name is a string that ends with 0; the call touches nothing else.
    let fd = unsafe { libc::memfd_create(c"initrd".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(std::io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new, open and nobody else's.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_makes_nodes_and_a_dimm() {
        let recipe = super::super::recipe::find("J4f").unwrap();
        let args = arguments(&recipe, Path::new("/k/vmlinuz"), 5, 6, 7).join(" ");
        for words in [
            "-m 1280M,slots=4,maxmem=8G",
            "-numa node,nodeid=1,memdev=m1,cpus=1",
            "-device pc-dimm,id=dimm0,memdev=d0,node=1",
            "-kernel /k/vmlinuz -initrd /proc/self/fd/7",
            "-chardev socket,id=g,fd=5 -gdb chardev:g",
            "nokaslr",
        ] {
            assert!(args.contains(words), "{words}: {args}");
        }
    }

    #[test]
    fn a_file_in_memory_has_its_bytes() {
        let file = nameless(b"disk").unwrap();
        let again = std::fs::read(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
        assert_eq!(again, b"disk");
    }
}
