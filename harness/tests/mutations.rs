//! Every parser of what others may have made, on mutated inputs: no panic, a second of CPU time and
//! 256 MiB at most for each.
//!
//! The seeds are kept in `fuzz/corpus`; what fails is written to `fuzz/artifacts/PARSER` and belongs there
//! once it is mended. `STRESS_MUTATIONS=100000` (`scripts/test mutations`) tries more than the usual 2,000
//! inputs a parser. The same bodies are cargo-fuzz targets, for those who have nightly Rust.

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Counts what a thread holds, so that the peak of one input is known.
struct Counting;

thread_local! {
    static HELD: Cell<i64> = const { Cell::new(0) };
    static PEAK: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // At a thread's end there is nothing to count into any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

// SAFETY: all is System's; the counters are plain cells without destructors and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Old and new may be there together.
        count(size as i64);
        count(-(layout.size() as i64));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const MOST_BYTES: i64 = 256 << 20;
const MOST_CPU_NS: i64 = 1_000_000_000;

/// CPU time of this thread: the time of others, and of the host's, is not in it.
fn cpu_ns() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: room for the time that is written.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn fuzz_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(fuzz_dir().join("corpus").join(name))
        .unwrap_or_else(|e| panic!("fuzz/corpus/{name}: {e}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "255",
    "65536",
    "4294967295",
    "4294967296",
    "4611686018427387904",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "1e308",
    "1e-320",
    "0.1",
];
const PIECES: [&[u8]; 12] = [
    b"\n",
    b",",
    b"\"",
    b"{",
    b"]",
    b"\0",
    b"\x1b[2J",
    b"\\u001b]0;x\\u0007",
    b"\xff\xfe",
    b"null",
    b"../../x",
    b" ",
];

/// One to four changes: bits, numbers, pieces, cuts, copies, other seeds' parts.
fn mutated(seeds: &[Vec<u8>], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=4) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + rng.random_range(0..64)).min(bytes.len());
        match rng.random_range(0..9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let piece = PIECES[rng.random_range(0..PIECES.len())];
                drop(bytes.splice(at..at, piece.iter().copied()));
            }
            5 => {
                let copy = bytes[at..end].repeat(rng.random_range(1..40));
                drop(bytes.splice(at..at, copy));
            }
            6 => {
                let other = &seeds[rng.random_range(0..seeds.len())];
                let from = rng.random_range(0..=other.len());
                let part = other[from..(from + 200).min(other.len())].to_vec();
                drop(bytes.splice(at..end, part));
            }
            // A number somewhere behind, replaced by one at an edge.
            _ => {
                let is_digit = |b: &u8| b.is_ascii_digit();
                let Some(from) = bytes[at..].iter().position(is_digit).map(|n| at + n) else {
                    continue;
                };
                let len = bytes[from..].iter().take_while(|b| is_digit(b)).count();
                let number = NUMBERS[rng.random_range(0..NUMBERS.len())];
                drop(bytes.splice(from..from + len, number.bytes()));
            }
        }
    }
    bytes
}

/// Why an input fails.
fn fault(target: &bodies::Target, dir: &Path, bytes: &[u8], taken: &mut u64) -> Option<String> {
    let (held, from) = (HELD.get(), cpu_ns());
    PEAK.set(held);
    let ended = catch_unwind(AssertUnwindSafe(|| bodies::run(target, dir, bytes)));
    let (ns, peak) = (cpu_ns() - from, PEAK.get() - held);
    match ended {
        Err(_) => Some("a panic".to_owned()),
        Ok(_) if ns > MOST_CPU_NS => Some(format!("{} ms of CPU time", ns / 1_000_000)),
        Ok(_) if peak > MOST_BYTES => Some(format!("{} MiB", peak >> 20)),
        Ok(is_taken) => {
            *taken += u64::from(is_taken);
            None
        }
    }
}

fn drive(name: &str) {
    let target = bodies::TARGETS.iter().find(|target| target.0 == name).unwrap();
    let inputs: u64 =
        std::env::var("STRESS_MUTATIONS").map_or(2000, |n| n.parse().expect("STRESS_MUTATIONS"));
    let dir = tempfile::tempdir().unwrap();
    let seeds = corpus(name);
    let all = inputs + seeds.len() as u64;
    let mut taken = 0;
    for input in 0..all {
        // The seeds themselves first: what failed once stays tried.
        let bytes = match seeds.get(input as usize) {
            Some(seed) => seed.clone(),
            None => mutated(&seeds, &mut StdRng::seed_from_u64(input)),
        };
        if let Some(fault) = fault(target, dir.path(), &bytes, &mut taken) {
            let kept = fuzz_dir().join("artifacts").join(name);
            std::fs::create_dir_all(&kept).unwrap();
            let file = kept.join(format!("input-{input}"));
            std::fs::write(&file, &bytes).unwrap();
            panic!("{name}: input {input}: {fault}: {}", file.display());
        }
    }
    // Else nothing behind the parser was tried, or the parser takes anything.
    assert!(taken > all / 200 && taken < all, "{name}: {taken} of {all} inputs were taken");
}

#[test]
fn the_driver_sees_a_panic_a_glutton_and_an_idler() {
    fn faulty(path: &Path) -> bool {
        match std::fs::read(path).unwrap()[0] {
            0 => panic!("planted"),
            1 => drop(std::hint::black_box(vec![0_u8; MOST_BYTES as usize + 1])),
            2 => {
                let from = cpu_ns();
                while cpu_ns() - from <= MOST_CPU_NS {}
            }
            _ => {}
        }
        true
    }
    let target: bodies::Target = ("planted", "file", faulty);
    let dir = tempfile::tempdir().unwrap();
    let mut taken = 0;
    let mut told = |byte: u8| fault(&target, dir.path(), &[byte], &mut taken);
    assert_eq!(told(0).as_deref(), Some("a panic"));
    assert_eq!(told(1).as_deref(), Some("256 MiB"));
    assert!(told(2).is_some_and(|fault| fault.ends_with("ms of CPU time")));
    assert_eq!(told(3), None);
    assert_eq!(taken, 1);
}

/// A test for each parser, so that they run side by side.
macro_rules! parsers {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            drive(stringify!($name));
        })*

        #[test]
        fn none_is_left_out() {
            let driven = [$(stringify!($name)),*];
            assert_eq!(bodies::TARGETS.map(|target| target.0), driven);
        }
    };
}

parsers! { record histogram hlog recording zoneinfo machine topology matrix schedule judge }
