//! A vmlinux: symbols, bytes at addresses, and the calls that a function makes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction};
use memmap2::Mmap;
use object::{Architecture, Object, ObjectSection, ObjectSymbol, SymbolKind};

/// An ELF file of a kernel, mapped.
#[derive(Debug)]
pub struct Vmlinux {
    map: Mmap,
    /// Where it is.
    pub path: PathBuf,
    /// Name to (address, size), more than one where static functions share a name.
    symbols: BTreeMap<String, Vec<(u64, u64)>>,
    /// Address of a function to its names.
    names: BTreeMap<u64, Vec<String>>,
    /// Sections with addresses: from, to, offset in the file.
    loaded: Vec<(u64, u64, u64)>,
}

/// A function, or a part that the compiler split off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its symbol, suffixes such as `.constprop.0` included.
    pub name: String,
    /// Its first byte.
    pub start: u64,
    /// One past its last byte.
    pub end: u64,
}

/// A direct call, or a jump out of the function (a tail call).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Address of the instruction.
    pub at: u64,
    /// Of the next one.
    pub next: u64,
    /// Where it goes.
    pub target: u64,
    /// A jump: nothing comes back here.
    pub tail: bool,
}

impl Vmlinux {
    /// Maps a file and reads its symbols.
    ///
    /// # Errors
    /// It can't be read, or is no x86-64 ELF with symbols.
    pub fn open(path: &Path) -> Result<Self, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        // SAFETY: the map is only read. A file that another process shortens meanwhile ends this
        // process with SIGBUS; it can't be made to write anywhere.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| e.to_string())?;
        let elf = object::File::parse(&map[..]).map_err(|e| format!("no ELF file: {e}"))?;
        if elf.architecture() != Architecture::X86_64 {
            return Err(format!("is for {:?}: only x86-64 is known here", elf.architecture()));
        }
        let mut symbols: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        let mut names: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for symbol in elf.symbols().filter(ObjectSymbol::is_definition) {
            let Ok(name) = symbol.name() else { continue };
            if symbol.kind() == SymbolKind::Text {
                names.entry(symbol.address()).or_default().push(name.to_owned());
            }
            symbols.entry(name.to_owned()).or_default().push((symbol.address(), symbol.size()));
        }
        if symbols.is_empty() {
            return Err("has no symbols: want the vmlinux of the debug package".to_owned());
        }
        let with_address = |s: &object::Section<'_, '_>| Some((s.address(), s.file_range()?));
        let loaded = elf
            .sections()
            .filter_map(|s| with_address(&s))
            .filter(|(address, _)| *address != 0)
            .map(|(address, (offset, size))| (address, address + size, offset))
            .collect();
        Ok(Self { path: path.to_owned(), symbols, names, loaded, map })
    }

    fn elf(&self) -> Option<object::File<'_>> {
        object::File::parse(&self.map[..]).ok()
    }

    /// The contents of a section, uncompressed.
    pub fn section(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        self.elf()?.section_by_name(name)?.uncompressed_data().ok()
    }

    /// The address of a symbol; the first of several.
    pub fn symbol(&self, name: &str) -> Option<u64> {
        self.symbols.get(name)?.first().map(|(address, _)| *address)
    }

    /// Bytes at an address, as they stand in the file.
    pub fn bytes(&self, address: u64, len: u64) -> Option<&[u8]> {
        let within = |(from, to, _): &&(u64, u64, u64)| *from <= address && address < *to;
        let (from, to, offset) = self.loaded.iter().find(within)?;
        let len = len.min(to - address);
        let at = usize::try_from(offset + (address - from)).ok()?;
        self.map.get(at..at.checked_add(usize::try_from(len).ok()?)?)
    }

    /// The version out of the banner: `6.1.0-50-amd64`'s source version where it has one.
    pub fn version(&self) -> Option<String> {
        let banner = self.bytes(self.symbol("linux_banner")?, 400)?;
        let end = banner.iter().position(|b| *b == 0 || *b == b'\n').unwrap_or(banner.len());
        version(&String::from_utf8_lossy(&banner[..end]))
    }

    /// The functions with this name, and the clones and parts of it (`name.isra.0`, `name.cold`).
    pub fn functions(&self, name: &str) -> Vec<Function> {
        // '/' follows '.'.
        let range = self.symbols.range(name.to_owned()..format!("{name}/"));
        let own = range.filter(|(n, _)| *n == name || n[name.len()..].starts_with('.'));
        own.flat_map(|(name, all)| {
            all.iter().filter(|(_, size)| *size > 0).map(move |(start, size)| Function {
                name: name.clone(),
                start: *start,
                end: start + size,
            })
        })
        .collect()
    }

    /// Is there a function of this name, suffixes aside, at `address`?
    pub fn is_named(&self, address: u64, name: &str) -> bool {
        let named = |n: &String| n.split('.').next() == Some(name) && !n.contains(".cold");
        self.names.get(&address).is_some_and(|all| all.iter().any(named))
    }

    /// The name of the function at `address`.
    pub fn name_of(&self, address: u64) -> Option<&str> {
        self.names.get(&address)?.first().map(String::as_str)
    }

    /// The instructions of a function.
    pub fn instructions(&self, function: &Function) -> Vec<Instruction> {
        let Some(code) = self.bytes(function.start, function.end - function.start) else {
            return Vec::new();
        };
        Decoder::with_ip(64, code, function.start, DecoderOptions::NONE).into_iter().collect()
    }

    /// The calls of a function, in the order of their addresses.
    pub fn calls(&self, function: &Function) -> Vec<Call> {
        let inside = function.start..function.end;
        self.instructions(function)
            .iter()
            .filter_map(|i| {
                use FlowControl::{Call as Calls, ConditionalBranch, UnconditionalBranch};
                let flow = i.flow_control();
                let tail = matches!(flow, UnconditionalBranch | ConditionalBranch);
                if !tail && flow != Calls {
                    return None;
                }
                let target = i.near_branch_target();
                let leaves = target != 0 && !(tail && inside.contains(&target));
                leaves.then(|| Call { at: i.ip(), next: i.next_ip(), target, tail })
            })
            .collect()
    }
}

/// `Linux version 6.1.0-50-amd64 (...) #1 SMP ... Debian 6.1.176-1 (...)`: Debian's release string
/// is the ABI's, the source's version stands behind it.
fn version(banner: &str) -> Option<String> {
    let words: Vec<&str> = banner.split_whitespace().collect();
    let at = words.iter().position(|w| *w == "version")?;
    let release = words.get(at + 1)?;
    let digits =
        |w: &str| w.split(|c: char| !c.is_ascii_digit() && c != '.').next().map(str::to_owned);
    let source = words.iter().position(|w| *w == "Debian").and_then(|i| words.get(i + 1));
    source
        .filter(|w| w.starts_with(|c: char| c.is_ascii_digit()))
        .map_or_else(|| digits(release), |w| digits(w))
}

/// A small ELF for tests: functions (name, code) one behind the other from [`small::TEXT`] on, data
/// symbols (name, bytes), and a .BTF.
#[cfg(test)]
pub(super) mod small {
    /// Where its .text begins.
    pub(crate) const TEXT: u64 = 0xffff_ffff_8100_0000;
    const DATA: u64 = 0xffff_ffff_8200_0000;

    /// Functions start at multiples of this.
    pub(crate) const STEP: u64 = 64;

    pub(crate) fn elf(
        functions: &[(&str, Vec<u8>)],
        data: &[(&str, Vec<u8>)],
        btf: &[u8],
    ) -> Vec<u8> {
        let (mut text, mut rodata, mut names, mut symbols) =
            (Vec::new(), Vec::new(), vec![0u8], vec![0u8; 24]);
        let mut symbol = |name: &str, kind: u8, section: u16, value: u64, size: usize| {
            symbols.extend((names.len() as u32).to_le_bytes());
            symbols.extend([kind, 0]);
            symbols.extend(section.to_le_bytes());
            symbols.extend(value.to_le_bytes());
            symbols.extend((size as u64).to_le_bytes());
            names.extend(name.bytes());
            names.push(0);
        };
        for (name, code) in functions {
            symbol(name, 0x12, 1, TEXT + text.len() as u64, code.len());
            text.extend(code);
            text.resize(text.len().next_multiple_of(STEP as usize), 0xcc);
        }
        for (name, bytes) in data {
            symbol(name, 0x11, 2, DATA + rodata.len() as u64, bytes.len());
            rodata.extend(bytes);
        }
        let section_names = b"\0.text\0.rodata\0.BTF\0.symtab\0.strtab\0.shstrtab\0";
        // name, type, flags, address, bytes, link, info, size of an entry
        type Section<'a> = (u32, u32, u64, u64, &'a [u8], u32, u32, u64);
        let sections: [Section<'_>; 6] = [
            (1, 1, 6, TEXT, &text, 0, 0, 0),
            (7, 1, 2, DATA, &rodata, 0, 0, 0),
            (15, 1, 0, 0, btf, 0, 0, 0),
            (20, 2, 0, 0, &symbols, 5, 1, 24),
            (28, 3, 0, 0, &names, 0, 0, 0),
            (36, 3, 0, 0, section_names, 0, 0, 0),
        ];
        let mut file = vec![0u8; 64];
        let mut headers = vec![0u8; 64];
        for (name, kind, flags, address, bytes, link, info, entry) in sections {
            headers.extend(name.to_le_bytes());
            headers.extend(kind.to_le_bytes());
            for value in [flags, address, file.len() as u64, bytes.len() as u64] {
                headers.extend(value.to_le_bytes());
            }
            headers.extend(link.to_le_bytes());
            headers.extend(info.to_le_bytes());
            headers.extend(1u64.to_le_bytes());
            headers.extend(entry.to_le_bytes());
            file.extend(bytes);
        }
        let at = file.len() as u64;
        file.extend(headers);
        file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0");
        file[20] = 1;
        file[40..48].copy_from_slice(&at.to_le_bytes());
        for (at, value) in [(52, 64u16), (54, 56), (58, 64), (60, 7), (62, 6)] {
            file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        file
    }

    /// `call` from one function (at an offset in it) to another, both by their number.
    pub(crate) fn call(from: u64, offset: u64, to: u64) -> Vec<u8> {
        relative(0xe8, from, offset, to)
    }

    /// The same as a jump.
    pub(crate) fn jump(from: u64, offset: u64, to: u64) -> Vec<u8> {
        relative(0xe9, from, offset, to)
    }

    fn relative(opcode: u8, from: u64, offset: u64, to: u64) -> Vec<u8> {
        let distance = (to * STEP) as i64 - (from * STEP + offset + 5) as i64;
        [vec![opcode], (distance as i32).to_le_bytes().to_vec()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::small::{STEP, TEXT, call, elf, jump};
    use super::*;

    fn opened(bytes: &[u8]) -> Result<Vmlinux, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vmlinux");
        std::fs::write(&path, bytes).unwrap();
        Vmlinux::open(&path)
    }

    fn two_functions() -> Vec<u8> {
        // nop; call callee; jz over one nop (stays inside); call callee; jmp callee
        let outer =
            [vec![0x90], call(0, 1, 1), vec![0x74, 0x01, 0x90], call(0, 9, 1), jump(0, 14, 1)];
        let banner = b"Linux version 6.1.0-50-amd64 (x@y) #1 SMP Debian 6.1.176-1 (2026-07-02)\0";
        elf(
            &[("outer.constprop.0", outer.concat()), ("callee", vec![0xc3])],
            &[("linux_banner", banner.to_vec())],
            &[],
        )
    }

    #[test]
    fn calls_and_tail_calls_are_found_by_disassembly() {
        let vmlinux = opened(&two_functions()).unwrap();
        let [outer] = &vmlinux.functions("outer")[..] else { panic!("one function") };
        assert_eq!((outer.start, outer.end), (TEXT, TEXT + 19));
        let calls = vmlinux.calls(outer);
        let told: Vec<_> = calls.iter().map(|c| (c.at - TEXT, c.next - TEXT, c.tail)).collect();
        assert_eq!(told, [(1, 6, false), (9, 14, false), (14, 19, true)]);
        assert!(calls.iter().all(|c| c.target == TEXT + STEP));
        assert!(vmlinux.is_named(TEXT + STEP, "callee") && vmlinux.is_named(TEXT, "outer"));
        assert!(vmlinux.functions("oute").is_empty() && vmlinux.functions("callee").len() == 1);
        assert_eq!(vmlinux.version().as_deref(), Some("6.1.176"));
    }

    #[test]
    fn what_is_no_kernel_is_refused() {
        assert!(opened(b"no ELF at all").unwrap_err().contains("no ELF file"));
        let mut arm = two_functions();
        arm[18] = 0xb7;
        assert!(opened(&arm).unwrap_err().contains("only x86-64"));
        assert!(opened(&elf(&[], &[], &[])).unwrap_err().contains("no symbols"));
        let whole = two_functions();
        for len in (0..whole.len()).step_by(7) {
            // Cut anywhere: an error or fewer symbols, no panic.
            if let Ok(cut) = opened(&whole[..len]) {
                for function in cut.functions("outer") {
                    let _ = cut.calls(&function);
                }
            }
        }
    }

    #[test]
    fn versions_are_the_sources() {
        assert_eq!(version("Linux version 5.10.3 (a@b) #1").as_deref(), Some("5.10.3"));
        assert_eq!(version("Linux version 6.19.0-rc1+ (a@b)").as_deref(), Some("6.19.0"));
        assert_eq!(version("no kernel"), None);
    }
}
