//! gdb's remote serial protocol, as much of it as a pause needs: registers, memory, breakpoints,
//! and which virtual CPUs run.
//!
//! **Source.** The protocol as gdb's manual documents it, and what QEMU's stub makes of it: register
//! writes are taken only after the target description was read, and stop replies may come late.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Numbers of registers in the stub's order.
pub const REGISTERS: [&str; 18] = [
    "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "rip", "eflags",
];

/// How long an answer may take: a busy host emulates slowly.
const ANSWER: Duration = Duration::from_secs(60);

/// What went wrong between the stub and us.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The guest has ended, or the connection broke.
    #[error("the guest has ended")]
    Ended,
    /// The stub did not answer in time.
    #[error("the guest's stub did not answer '{0}' in {ANSWER:?}")]
    Silent(String),
    /// The stub said no.
    #[error("the guest's stub answered '{asked}' with '{answer}'")]
    Refused {
        /// What was asked.
        asked: String,
        /// What came back.
        answer: String,
    },
    /// The caller was asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// Anything else.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The registers of a virtual CPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// As [`REGISTERS`].
    pub general: [u64; 18],
    /// Base of gs: this CPU's per-CPU data while in the kernel.
    pub gs_base: u64,
}

impl Registers {
    /// By name; `e` names are the lower halves.
    pub fn get(&self, name: &str) -> Option<u64> {
        if name == "eflags" {
            return Some(self.general[17]);
        }
        let (wide, half) = match name.strip_prefix('e') {
            Some(rest) => (format!("r{rest}"), true),
            None => (name.to_owned(), false),
        };
        let at = REGISTERS.iter().position(|r| *r == wide)?;
        Some(if half { self.general[at] & 0xffff_ffff } else { self.general[at] })
    }

    /// The instruction pointer.
    pub fn rip(&self) -> u64 {
        self.general[16]
    }

    /// The stack pointer.
    pub fn rsp(&self) -> u64 {
        self.general[7]
    }

    fn from_hex(hex: &str) -> Option<Self> {
        let bytes = unhex(hex)?;
        let word = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let mut general = [0; 18];
        for (index, value) in general.iter_mut().take(17).enumerate() {
            *value = word(8 * index)?;
        }
        general[17] = u64::from(u32::from_le_bytes(bytes.get(136..140)?.try_into().ok()?));
        // Six segment selectors and the base of fs stand between.
        Some(Self { general, gs_base: word(172)? })
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let pair = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(pair).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A connection to a stub.
#[derive(Debug)]
pub struct Remote {
    stream: UnixStream,
    buffer: Vec<u8>,
    breakpoints: BTreeMap<u64, u32>,
    thread: String,
}

impl Remote {
    /// Greets the stub; the guest stands still from then on.
    ///
    /// # Errors
    /// It doesn't answer as a stub does.
    pub fn connect(stream: UnixStream) -> Result<Self, Broken> {
        let mut remote = Self {
            stream,
            buffer: Vec::new(),
            breakpoints: BTreeMap::new(),
            thread: "01".to_owned(),
        };
        remote.ask("qSupported:swbreak+;hwbreak+;qXfer:features:read+")?;
        remote.ask("qXfer:features:read:target.xml:0,ffb")?;
        Ok(remote)
    }

    fn send(&mut self, packet: &str) -> Result<(), Broken> {
        let sum = packet.bytes().fold(0u8, u8::wrapping_add);
        let framed = format!("${packet}#{sum:02x}");
        self.stream.write_all(framed.as_bytes()).map_err(ended)
    }

    /// The next packet; None when `wait` is over.
    fn receive(&mut self, wait: Duration) -> Result<Option<String>, Broken> {
        let until = Instant::now() + wait;
        loop {
            let skip = self.buffer.iter().take_while(|b| matches!(b, b'+' | b'-')).count();
            self.buffer.drain(..skip);
            if self.buffer.first() == Some(&b'$') {
                let end = self.buffer.iter().position(|b| *b == b'#');
                if let Some(end) = end.filter(|end| self.buffer.len() >= end + 3) {
                    let packet = String::from_utf8_lossy(&self.buffer[1..end]).into_owned();
                    self.buffer.drain(..end + 3);
                    // If it has gone meanwhile, whatever is asked next says so.
                    let _ = self.stream.write_all(b"+");
                    return Ok(Some(packet));
                }
            } else if !self.buffer.is_empty() {
                // Noise before a packet.
                self.buffer.remove(0);
                continue;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
            let mut part = [0; 8192];
            match self.stream.read(&mut part) {
                Ok(0) => return Err(Broken::Ended),
                Ok(n) => self.buffer.extend(&part[..n]),
                Err(e) if is_late(&e) => {}
                Err(e) => return Err(ended(e)),
            }
        }
    }

    /// Asks and gives the answer, stop replies that come late left out.
    fn ask(&mut self, packet: &str) -> Result<String, Broken> {
        self.send(packet)?;
        loop {
            let answer = self.receive(ANSWER)?.ok_or_else(|| Broken::Silent(packet.to_owned()))?;
            if !(answer.starts_with("T02") || answer.starts_with("T05")) {
                return Ok(answer);
            }
        }
    }

    fn must(&mut self, packet: &str) -> Result<(), Broken> {
        match self.ask(packet)? {
            ok if ok == "OK" => Ok(()),
            answer => Err(Broken::Refused { asked: packet.to_owned(), answer }),
        }
    }

    /// Sets a breakpoint, or counts one more user of it.
    ///
    /// # Errors
    /// The stub refuses.
    pub fn break_at(&mut self, address: u64) -> Result<(), Broken> {
        let users = self.breakpoints.entry(address).or_default();
        *users += 1;
        if *users == 1 { self.must(&format!("Z1,{address:x},1")) } else { Ok(()) }
    }

    /// Takes one user of a breakpoint away.
    ///
    /// # Errors
    /// The stub refuses.
    pub fn unbreak(&mut self, address: u64) -> Result<(), Broken> {
        match self.breakpoints.get_mut(&address) {
            Some(1) => {
                self.breakpoints.remove(&address);
                self.must(&format!("z1,{address:x},1"))
            }
            Some(users) => {
                *users -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Is there a breakpoint of ours?
    pub fn breaks_at(&self, address: u64) -> bool {
        self.breakpoints.contains_key(&address)
    }

    /// The virtual CPU that reads and writes mean.
    pub fn thread(&self) -> &str {
        &self.thread
    }

    /// Registers of the current virtual CPU.
    ///
    /// # Errors
    /// The stub gives none.
    pub fn registers(&mut self) -> Result<Registers, Broken> {
        let answer = self.ask("g")?;
        Registers::from_hex(&answer)
            .ok_or_else(|| Broken::Refused { asked: "g".to_owned(), answer })
    }

    /// Writes general registers and flags; the base of gs is the CPU's and stays.
    ///
    /// # Errors
    /// The stub refuses.
    pub fn set_registers(&mut self, registers: &Registers) -> Result<(), Broken> {
        for (index, value) in registers.general.iter().enumerate() {
            let bytes = value.to_le_bytes();
            let value = hex(if index == 17 { &bytes[..4] } else { &bytes });
            self.must(&format!("P{index:x}={value}"))?;
        }
        Ok(())
    }

    /// Memory, through the page tables of the current virtual CPU.
    ///
    /// # Errors
    /// Nothing is mapped there.
    pub fn read(&mut self, address: u64, len: u64) -> Result<Vec<u8>, Broken> {
        let asked = format!("m{address:x},{len:x}");
        let answer = self.ask(&asked)?;
        let bytes = unhex(&answer).filter(|b| b.len() as u64 == len);
        bytes.ok_or(Broken::Refused { asked, answer })
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub fn u64(&mut self, address: u64) -> Result<u64, Broken> {
        let bytes = self.read(address, 8)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub fn u32(&mut self, address: u64) -> Result<u64, Broken> {
        let bytes = self.read(address, 4)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    /// A string that ends with 0, at most `most` bytes.
    ///
    /// # Errors
    /// As [`Remote::read`].
    pub fn text(&mut self, address: u64, most: u64) -> Result<String, Broken> {
        let bytes = self.read(address, most)?;
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }

    /// Writes memory.
    ///
    /// # Errors
    /// Nothing is mapped there.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), Broken> {
        self.must(&format!("M{address:x},{:x}:{}", bytes.len(), hex(bytes)))
    }

    /// Lets all virtual CPUs run, or all but one.
    ///
    /// # Errors
    /// The connection broke.
    pub fn go(&mut self, frozen: Option<&str>, cpus: u32) -> Result<(), Broken> {
        let Some(frozen) = frozen else { return self.send("vCont;c") };
        let others: Vec<String> = (1..=cpus)
            .map(|n| format!("{n:02x}"))
            .filter(|t| t != frozen)
            .map(|t| format!("c:{t}"))
            .collect();
        self.send(&format!("vCont;{}", others.join(";")))
    }

    /// Waits until a virtual CPU stops and makes it the current one; false when `wait` is over.
    ///
    /// # Errors
    /// The guest has ended.
    pub fn stopped(&mut self, wait: Duration) -> Result<bool, Broken> {
        let Some(packet) = self.receive(wait)? else { return Ok(false) };
        if packet.starts_with(['W', 'X']) {
            return Err(Broken::Ended);
        }
        let thread = packet.split_once("thread:").and_then(|(_, t)| t.split(';').next());
        let thread = thread.unwrap_or("01").to_owned();
        self.must(&format!("Hg{thread}"))?;
        self.thread = thread;
        Ok(true)
    }

    /// Executes one instruction of the current virtual CPU alone, its breakpoint lifted.
    ///
    /// # Errors
    /// The stub refuses, or the step does not end.
    pub fn step(&mut self, rip: u64) -> Result<(), Broken> {
        let lifted = self.breaks_at(rip);
        if lifted {
            self.must(&format!("z1,{rip:x},1"))?;
        }
        let thread = self.thread.clone();
        self.send(&format!("vCont;s:{thread}"))?;
        if !self.stopped(ANSWER)? {
            return Err(Broken::Silent("vCont;s".to_owned()));
        }
        if lifted { self.must(&format!("Z1,{rip:x},1")) } else { Ok(()) }
    }
}

fn is_late(error: &io::Error) -> bool {
    // A signal: whoever waits looks at it.
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), WouldBlock | TimedOut | Interrupted)
}

fn ended(error: io::Error) -> Broken {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    if matches!(error.kind(), BrokenPipe | ConnectionReset) {
        return Broken::Ended;
    }
    Broken::Io(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread::{self, JoinHandle};

    /// A stub that gives these answers (several packets with `|` between) and keeps what it was
    /// asked; the answer "" ends it.
    fn stub(answers: Vec<String>) -> (UnixStream, JoinHandle<Vec<String>>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let thread = thread::spawn(move || {
            let (mut asked, mut buffer) = (Vec::new(), Vec::new());
            for answer in answers {
                let packet = loop {
                    let text = String::from_utf8_lossy(&buffer).into_owned();
                    if let Some((head, rest)) = text.split_once('#').filter(|(_, r)| r.len() >= 2) {
                        let packet = head.trim_start_matches(['+', '$']).to_owned();
                        buffer = rest.as_bytes()[2..].to_vec();
                        break packet;
                    }
                    let mut part = [0; 512];
                    match theirs.read(&mut part).unwrap_or(0) {
                        0 => return asked,
                        n => buffer.extend(&part[..n]),
                    }
                };
                asked.push(packet);
                if answer.is_empty() {
                    return asked;
                }
                for part in answer.split('|') {
                    let sum = part.bytes().fold(0u8, u8::wrapping_add);
                    theirs.write_all(format!("+${part}#{sum:02x}").as_bytes()).unwrap();
                }
            }
            asked
        });
        (ours, thread)
    }

    fn greeted(more: &[&str]) -> (Remote, JoinHandle<Vec<String>>) {
        let answers = ["PacketSize=1000", "l<target/>"].iter().chain(more);
        let (stream, thread) = stub(answers.map(|a| (*a).to_owned()).collect());
        (Remote::connect(stream).unwrap(), thread)
    }

    #[test]
    fn registers_and_memory_are_little_endian() {
        let mut bytes = vec![0u8; 608];
        for index in 0..17u8 {
            bytes[8 * usize::from(index)] = index + 1;
        }
        bytes[136..140].copy_from_slice(&[0x46, 2, 0, 0]);
        bytes[172..180].copy_from_slice(&0xffff_8880_0000_0000u64.to_le_bytes());
        let (mut remote, stub) =
            greeted(&[&hex(&bytes), "0102030405060708", "E14", "OK", "T05thread:02;"]);
        let registers = remote.registers().unwrap();
        assert_eq!((registers.get("rax"), registers.get("rip")), (Some(1), Some(17)));
        assert_eq!((registers.rsp(), registers.gs_base), (8, 0xffff_8880_0000_0000));
        assert_eq!((registers.get("edi"), registers.get("eflags")), (Some(6), Some(0x246)));
        assert_eq!(registers.get("xmm0"), None);
        assert_eq!(remote.u64(0x1000).unwrap(), 0x0807_0605_0403_0201);
        assert!(matches!(remote.read(0, 8), Err(Broken::Refused { .. })));
        remote.write(0x2000, &[1, 0xff]).unwrap();
        drop(remote);
        let asked = stub.join().unwrap();
        assert_eq!(asked[2..], ["g", "m1000,8", "m0,8", "M2000,2:01ff"]);
    }

    #[test]
    fn a_breakpoint_is_set_once_and_lifted_for_a_step() {
        let (mut remote, stub) = greeted(&["OK", "OK", "T05thread:02;", "OK", "OK", "OK"]);
        remote.break_at(0x10).unwrap();
        remote.break_at(0x10).unwrap();
        remote.step(0x10).unwrap();
        assert_eq!(remote.thread(), "02");
        remote.unbreak(0x10).unwrap();
        assert!(remote.breaks_at(0x10));
        remote.unbreak(0x10).unwrap();
        assert!(!remote.breaks_at(0x10));
        drop(remote);
        let asked = stub.join().unwrap();
        assert_eq!(asked[2..], ["Z1,10,1", "z1,10,1", "vCont;s:01", "Hg02", "Z1,10,1", "z1,10,1"]);
    }

    #[test]
    fn a_late_stop_is_no_answer_and_an_end_is_an_end() {
        let answers = ["T02thread:01;|PacketSize=1000", "l<target/>"];
        let (stream, thread) = stub(answers.map(str::to_owned).to_vec());
        drop(Remote::connect(stream).unwrap());
        assert_eq!(thread.join().unwrap().len(), 2);
        let (mut remote, stub) = greeted(&[""]);
        assert!(matches!(remote.registers(), Err(Broken::Ended)));
        stub.join().unwrap();
        let (mut remote, stub) = greeted(&["W00"]);
        remote.go(Some("01"), 2).unwrap();
        assert!(matches!(remote.stopped(ANSWER), Err(Broken::Ended)));
        assert_eq!(stub.join().unwrap()[2], "vCont;c:02");
    }
}
