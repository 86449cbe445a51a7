//! The kernel's list syntax for CPUs, nodes and memory blocks: `0-3,8,16-31:2/4`.
//!
//! **Source.** bitmap_parselist: ranges, single numbers, and `from-to:used/group` (the first
//! `used` of every `group`).

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Numbers above this are a typing error rather than a CPU.
const MAX_ID: u32 = 1 << 20;

/// A set of ids, written as the kernel writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IdList(BTreeSet<u32>);

impl IdList {
    /// In ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = u32> + '_ {
        self.0.iter().copied()
    }

    /// Is this id in the list?
    pub fn contains(&self, id: u32) -> bool {
        self.0.contains(&id)
    }

    /// How many ids.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No id at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<u32> for IdList {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        Self(ids.into_iter().collect())
    }
}

impl FromStr for IdList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = |part: &str| format!("'{part}' is no part of a list such as 0-3,8");
        let number = |s: &str, part: &str| match s.trim().parse::<u32>() {
            Ok(n) if n < MAX_ID => Ok(n),
            _ => Err(bad(part)),
        };
        let mut ids = BTreeSet::new();
        for part in text.trim().split(',').filter(|p| !p.trim().is_empty()) {
            let (range, group) = match part.split_once(':') {
                Some((range, group)) => (range, Some(group)),
                None => (part, None),
            };
            let (from, to) = match range.split_once('-') {
                Some((from, to)) => (number(from, part)?, number(to, part)?),
                None => (number(range, part)?, number(range, part)?),
            };
            if from > to {
                return Err(format!("'{part}' runs backwards"));
            }
            let (used, size) = match group {
                None => (1, 1),
                Some(group) => {
                    let (used, size) = group.split_once('/').ok_or_else(|| bad(part))?;
                    (number(used, part)?, number(size, part)?)
                }
            };
            if size == 0 || used > size {
                return Err(bad(part));
            }
            ids.extend((from..=to).filter(|id| (id - from) % size < used));
        }
        Ok(Self(ids))
    }
}

impl fmt::Display for IdList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut ids = self.iter().peekable();
        let mut separator = "";
        while let Some(from) = ids.next() {
            let mut to = from;
            while let Some(next) = ids.next_if(|&id| id == to + 1) {
                to = next;
            }
            match to - from {
                0 => write!(f, "{separator}{from}")?,
                _ => write!(f, "{separator}{from}-{to}")?,
            }
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_as_the_kernel_writes_them() {
        for (text, printed) in [
            ("0-3,8", Ok("0-3,8")),
            ("8,0,1,2,3\n", Ok("0-3,8")),
            ("", Ok("")),
            ("0-31:2/4", Ok("0-1,4-5,8-9,12-13,16-17,20-21,24-25,28-29")),
            ("5", Ok("5")),
            ("3-1", Err("'3-1' runs backwards")),
            ("a", Err("'a' is no part of a list such as 0-3,8")),
            ("0-4294967295", Err("'0-4294967295' is no part of a list such as 0-3,8")),
            ("0-3:1/0", Err("'0-3:1/0' is no part of a list such as 0-3,8")),
        ] {
            let list = text.parse::<IdList>();
            let got = list.as_ref().map(ToString::to_string).map_err(String::as_str);
            assert_eq!(got, printed.map(str::to_owned), "{text}");
        }
    }
}
