//! Which instructions of a function came from which inlined function: the inline tree of DWARF.
//!
//! **Why.** A step that the compiler inlined has no call to count. The tree names the inlined
//! function and its ranges, without line numbers or source text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gimli::{
    AttributeValue, DebugInfoOffset, DebuggingInformationEntry, Dwarf, DwarfSections, EndianSlice,
    LittleEndian, SectionId, Unit, UnitOffset, constants as dw,
};

use super::vmlinux::{Function, Vmlinux};

type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// The debug sections of a kernel.
pub struct Debug<'a> {
    sections: DwarfSections<Cow<'a, [u8]>>,
    /// Start of a range of code to its end and the unit that it is from.
    units: BTreeMap<u64, (u64, DebugInfoOffset)>,
}

impl std::fmt::Debug for Debug<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Debug").field("units", &self.units.len()).finish_non_exhaustive()
    }
}

/// A copy of an inlined function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inlined {
    /// The function's name.
    pub name: String,
    /// Where its code is, parts of it that were inlined in turn included.
    pub ranges: Vec<(u64, u64)>,
}

impl Inlined {
    /// Its lowest address.
    pub fn first(&self) -> Option<u64> {
        self.ranges.iter().map(|(from, _)| *from).min()
    }

    /// Is the instruction at `address` its own?
    pub fn holds(&self, address: u64) -> bool {
        self.ranges.iter().any(|(from, to)| (*from..*to).contains(&address))
    }
}

impl<'a> Debug<'a> {
    /// Reads which unit each range of code is from.
    ///
    /// # Errors
    /// There is no debug information, or it can't be read.
    pub fn open(vmlinux: &'a Vmlinux) -> Result<Self, String> {
        let load = |id: SectionId| -> Result<Cow<'a, [u8]>, gimli::Error> {
            Ok(vmlinux.section(id.name()).unwrap_or_default())
        };
        let sections = DwarfSections::load(load).map_err(|e| e.to_string())?;
        let mut debug = Self { sections, units: BTreeMap::new() };
        debug.units = debug.by_address().map_err(|e| format!("its DWARF: {e}"))?;
        if debug.units.is_empty() {
            return Err("no DWARF in it: inlined steps can't be found".to_owned());
        }
        Ok(debug)
    }

    fn dwarf(&self) -> Dwarf<Slice<'_>> {
        self.sections.borrow(|section| EndianSlice::new(section, LittleEndian))
    }

    fn by_address(&self) -> gimli::Result<BTreeMap<u64, (u64, DebugInfoOffset)>> {
        let dwarf = self.dwarf();
        let mut units = BTreeMap::new();
        let mut add = |from: u64, to: u64, unit| {
            if from != 0 && from < to {
                units.insert(from, (to, unit));
            }
        };
        let mut headers = dwarf.debug_aranges.headers();
        while let Some(header) = headers.next()? {
            let mut entries = header.entries();
            while let Some(entry) = entries.next()? {
                let range = entry.range();
                add(range.begin, range.end, header.debug_info_offset());
            }
        }
        if units.is_empty() {
            // Compilers that write no index: ask each unit.
            let mut headers = dwarf.units();
            while let Some(header) = headers.next()? {
                let Some(offset) = header.debug_info_offset() else { continue };
                let unit = dwarf.unit(header)?;
                let mut ranges = dwarf.unit_ranges(&unit)?;
                while let Some(range) = ranges.next()? {
                    units.insert(range.begin, (range.end, offset));
                }
            }
        }
        Ok(units)
    }

    /// What was inlined into a function, outer copies before inner ones, in the order of DWARF.
    ///
    /// # Errors
    /// The information can't be read; empty if there is none.
    pub fn of(&self, function: &Function) -> Result<Vec<Inlined>, String> {
        self.inlined(function).map_err(|e| format!("DWARF of {}: {e}", function.name))
    }

    fn inlined(&self, function: &Function) -> gimli::Result<Vec<Inlined>> {
        let mut found = Vec::new();
        let Some((_, (_, offset))) = self
            .units
            .range(..=function.start)
            .next_back()
            .filter(|(_, (to, _))| function.start < *to)
        else {
            return Ok(found);
        };
        let dwarf = self.dwarf();
        let unit = dwarf.unit(dwarf.debug_info.header_from_offset(*offset)?)?;
        let mut entries = unit.entries();
        // The depth of the function itself, while the walk is inside it.
        let mut inside: Option<isize> = None;
        while let Some(entry) = entries.next_dfs()? {
            if inside.is_some_and(|depth| entry.depth() <= depth) {
                inside = None;
            }
            let tag = entry.tag();
            if tag == dw::DW_TAG_subprogram && inside.is_none() {
                let own = ranges(&dwarf, &unit, entry)?;
                if own.iter().any(|(from, to)| (*from..*to).contains(&function.start)) {
                    inside = Some(entry.depth());
                }
            } else if tag == dw::DW_TAG_inlined_subroutine && inside.is_some() {
                let ranges = ranges(&dwarf, &unit, entry)?;
                if let Some(name) = origin(&dwarf, &unit, entry, 0)?.filter(|_| !ranges.is_empty())
                {
                    found.push(Inlined { name, ranges });
                }
            }
        }
        Ok(found)
    }
}

fn ranges<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    entry: &DebuggingInformationEntry<Slice<'a>>,
) -> gimli::Result<Vec<(u64, u64)>> {
    let mut found = Vec::new();
    let mut ranges = dwarf.die_ranges(unit, entry)?;
    while let Some(range) = ranges.next()? {
        if range.begin < range.end {
            found.push((range.begin, range.end));
        }
    }
    Ok(found)
}

/// The name of an entry, or of what it is a copy or a definition of.
fn origin<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    entry: &DebuggingInformationEntry<Slice<'a>>,
    depth: u32,
) -> gimli::Result<Option<String>> {
    if let Some(name) = entry.attr_value(dw::DW_AT_name) {
        return Ok(Some(dwarf.attr_string(unit, name)?.to_string_lossy().into_owned()));
    }
    let link = entry
        .attr_value(dw::DW_AT_abstract_origin)
        .or_else(|| entry.attr_value(dw::DW_AT_specification));
    match link {
        Some(AttributeValue::UnitRef(offset)) if depth < 8 => named(dwarf, unit, offset, depth),
        Some(AttributeValue::DebugInfoRef(offset)) if depth < 8 => {
            // Another unit: link-time optimisation.
            let mut headers = dwarf.units();
            while let Some(header) = headers.next()? {
                if let Some(inside) = offset.to_unit_offset(&header) {
                    return named(dwarf, &dwarf.unit(header)?, inside, depth);
                }
            }
            Ok(None)
        }
        _ => Ok(None),
    }
}

fn named<'a>(
    dwarf: &Dwarf<Slice<'a>>,
    unit: &Unit<Slice<'a>>,
    offset: UnitOffset,
    depth: u32,
) -> gimli::Result<Option<String>> {
    origin(dwarf, unit, &unit.entry(offset)?, depth + 1)
}
