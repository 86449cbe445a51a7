//! Structure offsets and sizes, read from the type information that a kernel carries (.BTF).
//!
//! **Why BTF and not DWARF.** It is small, it is in every distribution's kernel, and a path such as
//! `task_struct.mems_allowed` is all that is asked of it.
//!
//! **Source.** The format as documented in Documentation/bpf/btf.rst.

use std::collections::HashMap;

/// The kernel's types.
#[derive(Debug)]
pub struct Btf {
    types: Vec<Type>,
    structs: HashMap<String, usize>,
}

#[derive(Debug)]
struct Type {
    kind: u32,
    /// Size in bytes, or the type referred to.
    value: u32,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    name: String,
    kind: u32,
    bits: u32,
}

const STRUCT: u32 = 4;
const UNION: u32 = 5;
/// typedef, volatile, const, restrict, type tag.
const NAMES_ANOTHER: [u32; 5] = [8, 9, 10, 11, 18];

impl Btf {
    /// Reads the section.
    ///
    /// # Errors
    /// What is damaged.
    pub fn parse(data: &[u8]) -> Result<Self, String> {
        let cut = || "its .BTF is cut short or damaged".to_owned();
        let word = |bytes: &[u8], at: usize| -> Option<u32> {
            Some(u32::from_le_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
        };
        if data.get(..2) != Some(&[0x9f, 0xeb]) {
            return Err("its .BTF has no magic number (big-endian?)".to_owned());
        }
        let head = |at: usize| word(data, at).map(|v| v as usize).ok_or_else(cut);
        let (len, types_at, types_len) = (head(4)?, head(8)?, head(12)?);
        let (strings_at, strings_len) = (head(16)?, head(20)?);
        let part = |at: usize, size: usize| {
            let from = len.checked_add(at)?;
            data.get(from..from.checked_add(size)?)
        };
        let types = part(types_at, types_len).ok_or_else(cut)?;
        let strings = part(strings_at, strings_len).ok_or_else(cut)?;
        let string = |at: u32| -> Option<String> {
            let rest = strings.get(at as usize..)?;
            let end = rest.iter().position(|b| *b == 0)?;
            Some(String::from_utf8_lossy(&rest[..end]).into_owned())
        };
        // Type 0 is void.
        let mut own = Self {
            types: vec![Type { kind: 0, value: 0, members: Vec::new() }],
            structs: HashMap::new(),
        };
        let mut at = 0;
        while at < types.len() {
            let next = |n: usize| word(types, at + 4 * n).ok_or_else(cut);
            let (name, info, value) = (next(0)?, next(1)?, next(2)?);
            let (kind, count) = (info >> 24 & 31, (info & 0xffff) as usize);
            at += 12;
            let mut members = Vec::new();
            let trailer = match kind {
                STRUCT | UNION => {
                    for index in 0..count {
                        let field = |n: usize| word(types, at + 12 * index + 4 * n).ok_or_else(cut);
                        let bits = field(2)?;
                        // With bitfields the upper byte is their width.
                        let bits = if info >> 31 == 1 { bits & 0xff_ffff } else { bits };
                        let name = string(field(0)?).ok_or_else(cut)?;
                        members.push(Member { name, kind: field(1)?, bits });
                    }
                    12 * count
                }
                // int, variable, tag of a declaration
                1 | 14 | 17 => 4,
                // array
                3 => 12,
                // enum, parameters of a function
                6 | 13 => 8 * count,
                // section, 64-bit enum
                15 | 19 => 12 * count,
                _ => 0,
            };
            at += trailer;
            if kind == STRUCT && !members.is_empty() {
                let name = string(name).ok_or_else(cut)?;
                own.structs.entry(name).or_insert(own.types.len());
            }
            own.types.push(Type { kind, value, members });
        }
        Ok(own)
    }

    /// The type without typedefs and qualifiers.
    fn bare(&self, mut kind: u32) -> Option<&Type> {
        // A chain longer than this is a loop.
        for _ in 0..32 {
            let found = self.types.get(kind as usize)?;
            if !NAMES_ANOTHER.contains(&found.kind) {
                return Some(found);
            }
            kind = found.value;
        }
        None
    }

    /// Offset in bits and type of a member, inside unnamed members too.
    fn member(&self, of: &Type, name: &str, depth: u32) -> Option<(u32, u32)> {
        of.members.iter().find_map(|m| {
            if m.name == name {
                return Some((m.bits, m.kind));
            }
            let unnamed = self.bare(m.kind).filter(|_| m.name.is_empty() && depth < 16)?;
            self.member(unnamed, name, depth + 1).map(|(bits, kind)| (m.bits + bits, kind))
        })
    }

    /// The offset in bytes of `structure.member.member`; None if this kernel has no such member.
    pub fn offset(&self, path: &str) -> Option<u64> {
        let mut names = path.split('.');
        let mut of = self.types.get(*self.structs.get(names.next()?)?)?;
        let mut bits = 0;
        for name in names {
            let (at, kind) = self.member(of, name, 0)?;
            bits += at;
            of = self.bare(kind)?;
        }
        Some(u64::from(bits / 8))
    }

    /// The size of a structure in bytes.
    pub fn size(&self, name: &str) -> Option<u64> {
        Some(u64::from(self.types.get(*self.structs.get(name)?)?.value))
    }
}

/// A small .BTF for tests: `struct name { members }`, each member of type `int` at its byte.
#[cfg(test)]
pub(super) fn small(name: &str, members: &[(&str, u32)], size: u32) -> Vec<u8> {
    let (mut types, mut strings) = (Vec::new(), vec![0u8]);
    let add = |text: &str, strings: &mut Vec<u8>| {
        let at = strings.len() as u32;
        strings.extend(text.bytes());
        strings.push(0);
        at
    };
    let put = |types: &mut Vec<u8>, words: &[u32]| {
        types.extend(words.iter().flat_map(|w| w.to_le_bytes()));
    };
    let int = add("int", &mut strings);
    put(&mut types, &[int, 1 << 24, 4, 32]);
    // An unnamed union at byte 8 with a member `inside` at its byte 0.
    let inside = add("inside", &mut strings);
    put(&mut types, &[0, UNION << 24 | 1, 4, inside, 1, 0]);
    let own = add(name, &mut strings);
    put(&mut types, &[own, STRUCT << 24 | (members.len() as u32 + 1), size]);
    for (member, at) in members {
        let member = add(member, &mut strings);
        put(&mut types, &[member, 1, at * 8]);
    }
    put(&mut types, &[0, 2, 64]);
    let typedef = add("alias", &mut strings);
    put(&mut types, &[typedef, 8 << 24, 3]);
    let outer = add("outer", &mut strings);
    let field = add("field", &mut strings);
    put(&mut types, &[outer, STRUCT << 24 | 1, 64, field, 4, 128]);
    let (t, s) = (types.len() as u32, strings.len() as u32);
    let mut data = vec![0x9f, 0xeb, 1, 0];
    put(&mut data, &[24, 0, t, t, s]);
    data.extend(types);
    data.extend(strings);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_through_unnamed_members_and_typedefs() {
        let btf = Btf::parse(&small("zone", &[("name", 0), ("node", 4)], 12)).unwrap();
        assert_eq!(btf.offset("zone.node"), Some(4));
        assert_eq!(btf.offset("zone.inside"), Some(8));
        assert_eq!(btf.offset("outer.field.node"), Some(20));
        assert_eq!((btf.size("zone"), btf.size("outer")), (Some(12), Some(64)));
        assert_eq!(btf.offset("zone.none"), None);
        assert_eq!(btf.offset("none.name"), None);
    }

    #[test]
    fn damage_is_an_error_and_no_panic() {
        let whole = small("zone", &[("name", 0)], 12);
        for len in 0..whole.len() {
            assert!(Btf::parse(&whole[..len]).is_err(), "cut at {len}");
        }
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 0xff;
            // Whatever it gives, it comes back.
            if let Ok(btf) = Btf::parse(&damaged) {
                let _ = (btf.offset("zone.name"), btf.offset("outer.field.inside"));
            }
        }
    }
}
