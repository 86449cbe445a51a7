//! libhwloc at arm's length: descriptions of others are parsed in a child process.
//!
//! **Why.** libhwloc is C that trusts its XML: a damaged file can crash it, a clever one can do more, and
//! a synthetic string of a million CPUs keeps it busy for minutes. The child has limits of CPU time and
//! memory and can only answer with numbers, which are checked like any other input.
//!
//! **Differs.** The child is forked, not executed, so that a test or a library's user needs no binary.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use super::lists::IdList;
use super::topology::{Layout, LayoutNode};

/// CPU time of the child in seconds; XML of 4,096 CPUs takes 0.1.
const SECONDS: libc::rlim_t = 1;
/// Memory that it may take beyond what it was forked with.
const BYTES: u64 = 128 << 20;
/// Its answer; a layout of 65,535 CPUs and 1,024 nodes takes half.
const ANSWER: u64 = 16 << 20;

type Told = (Vec<(u32, String, u64)>, Option<Vec<Vec<u64>>>);

/// Runs `parse` in a child and takes its layout over.
///
/// # Errors
/// What `parse` says, or how the child ended.
pub(super) fn layout(parse: impl FnOnce() -> Result<Layout, String>) -> Result<Layout, String> {
    let failed = |what: &'static str| move |e: io::Error| format!("{what}: {e}");
    let mut ends = [0; 2];
    // SAFETY: room for the two descriptors that pipe2 writes.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(failed("pipe")(io::Error::last_os_error()));
    }
    // SAFETY: pipe2 made them, and nobody else has them.
    let [from, to] = ends.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
    // libhwloc has a lock of its own. Once the host's topology is read (once a process, and never put
    // away) no thread of this process takes it again, so the child finds it free.
    let _ = super::host::topology();
    let limit = memory_in_use() + BYTES;
    // SAFETY: the child touches no lock but libhwloc's, which is free, and malloc's, which the C library
    // makes usable after a fork; it leaves by _exit without running anybody's destructors.
    match unsafe { libc::fork() } {
        -1 => Err(failed("fork")(io::Error::last_os_error())),
        0 => {
            drop(from);
            confine(limit);
            let parse = std::panic::AssertUnwindSafe(parse);
            let answer = std::panic::catch_unwind(parse).unwrap_or_else(|_| Err("panic".into()));
            let text = serde_json::to_vec(&answer.map(told)).unwrap_or_default();
            let is_written = File::from(to).write_all(&text).is_ok();
            // SAFETY: ends this process at once.
            unsafe { libc::_exit(i32::from(!is_written)) }
        }
        child => {
            drop(to);
            let mut text = Vec::new();
            let read = File::from(from).take(ANSWER).read_to_end(&mut text);
            let how = wait(child);
            read.map_err(failed("pipe"))?;
            if let Some(how) = how {
                return Err(how);
            }
            let answer: Result<Told, String> = serde_json::from_slice(&text)
                .map_err(|e| format!("libhwloc's reading of it is damaged: {e}"))?;
            answer.and_then(taken)
        }
    }
}

/// Address space of this process in bytes.
fn memory_in_use() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(1 << 18);
    pages * 4096
}

/// In the child: no more time, memory or stderr than the parse needs.
fn confine(memory: u64) {
    let set = |which, most: u64| {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls read or write one rlimit that outlives them.
        unsafe {
            libc::getrlimit(which, &raw mut limit);
            limit.rlim_cur = limit.rlim_max.min(most);
            libc::setrlimit(which, &raw const limit);
        }
    };
    set(libc::RLIMIT_CPU, SECONDS);
    set(libc::RLIMIT_AS, memory);
    set(libc::RLIMIT_CORE, 0);
    // What libhwloc thinks of the file and what a panic has to say is told by the parent, in a line.
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        // SAFETY: two descriptors of this process.
        unsafe { libc::dup2(null.as_raw_fd(), libc::STDERR_FILENO) };
    }
}

/// How the child ended, if not well.
fn wait(child: libc::pid_t) -> Option<String> {
    let mut status = 0;
    loop {
        // SAFETY: writes the status of our own child, whom nobody else waits for.
        let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
        if waited == child {
            break;
        }
        if io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return Some("libhwloc's process was lost".to_owned());
        }
    }
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        return None;
    }
    Some(match libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)) {
        Some(libc::SIGXCPU | libc::SIGKILL) => {
            format!("libhwloc needs more than {SECONDS} s of CPU time for it")
        }
        Some(signal) => format!("libhwloc crashed on it (signal {signal})"),
        None => "libhwloc's process could not give its answer".to_owned(),
    })
}

fn told(layout: Layout) -> Told {
    let node = |n: LayoutNode| (n.id, n.cpus.to_string(), n.memory_bytes);
    (layout.nodes.into_iter().map(node).collect(), layout.distances)
}

fn taken((nodes, distances): Told) -> Result<Layout, String> {
    let node = |(id, cpus, memory_bytes): (u32, String, u64)| {
        let cpus: IdList = cpus.parse().map_err(|e| format!("node {id}: {e}"))?;
        Ok(LayoutNode { id, cpus, memory_bytes })
    };
    let nodes: Vec<LayoutNode> = nodes.into_iter().map(node).collect::<Result<_, String>>()?;
    let is_square = |rows: &Vec<Vec<u64>>| {
        rows.len() == nodes.len() && rows.iter().all(|row| row.len() == nodes.len())
    };
    if distances.as_ref().is_some_and(|rows| !is_square(rows)) {
        return Err("its distances are not those of its nodes".to_owned());
    }
    Ok(Layout { nodes, distances })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Layout {
        let node = |id: u32, cpus: &str| LayoutNode {
            id,
            cpus: cpus.parse().unwrap(),
            memory_bytes: 1 << 34,
        };
        Layout {
            nodes: vec![node(0, "0-3"), node(5, "")],
            distances: Some(vec![vec![10, 20], vec![20, 10]]),
        }
    }

    #[test]
    fn a_layout_comes_over_whole_and_an_error_as_it_is() {
        assert_eq!(layout(|| Ok(sample())), Ok(sample()));
        assert_eq!(layout(|| Err("no".to_owned())), Err("no".to_owned()));
        let crooked = Layout { distances: Some(vec![vec![10]]), ..sample() };
        assert!(layout(|| Ok(crooked)).unwrap_err().contains("distances"));
    }

    #[test]
    fn a_crash_an_endless_loop_and_a_glutton_are_told() {
        // SAFETY: ends the child only.
        let crash = layout(|| unsafe { libc::abort() }).unwrap_err();
        assert!(crash.contains("crashed on it (signal 6)"), "{crash}");
        let busy = layout(|| {
            loop {
                std::hint::spin_loop();
            }
        });
        assert!(busy.unwrap_err().contains("more than 1 s of CPU time"));
        let mut greedy = Vec::<u8>::new();
        let room = layout(move || match greedy.try_reserve_exact(2 * BYTES as usize) {
            Ok(()) => Ok(Layout::default()),
            Err(_) => Err("no room".to_owned()),
        });
        assert_eq!(room, Err("no room".to_owned()));
    }
}
