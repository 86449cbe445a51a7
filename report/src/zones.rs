//! Lines of zones and nodes, lists of free blocks.

use std::collections::BTreeMap;

use crate::value::{Blocks, Zone};

/// Names of zones, in the order of their index.
pub const ZONES: [&str; 6] = ["DMA", "DMA32", "Normal", "HighMem", "Movable", "Device"];

/// All `key:value` of a line, kB or bare; and what `all_unreclaimable?` says.
pub fn fields(text: &str) -> (BTreeMap<String, u64>, Option<bool>) {
    let mut fields = BTreeMap::new();
    let mut unreclaimable = None;
    let mut has_kb = false;
    let mut words = text.split_whitespace().peekable();
    while let Some(word) = words.next() {
        if word == "all_unreclaimable?" {
            unreclaimable = words.next().map(|answer| answer.starts_with("yes"));
            continue;
        }
        let Some((key, value)) = word.rsplit_once(':') else { continue };
        let value =
            if value.is_empty() { words.peek().copied().unwrap_or_default() } else { value };
        // A bare number among kB is one that was cut.
        let is_bare = value.ends_with(|c: char| c.is_ascii_digit());
        let is_cut = is_bare && has_kb && key != "pages_scanned";
        has_kb |= value.ends_with("kB");
        if let Some(number) = number(value).filter(|_| !is_cut) {
            fields.entry(key.to_owned()).or_insert(number);
        }
    }
    (fields, unreclaimable)
}

/// A number with `kB` or `KB` behind it, or without. What is larger than 64 bits is the largest.
/// A figure that was cut (`12k`) is none.
pub fn number(text: &str) -> Option<u64> {
    let text = text.trim_end_matches([',', ';']);
    let digits = text.strip_suffix("kB").or_else(|| text.strip_suffix("KB")).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

/// What a line that begins with a node or a zone is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// `Node 1 active_anon:...`
    Node(u32, &'a str),
    /// `Node 1 Normal free:...`
    Zone(Option<u32>, &'a str, &'a str),
    /// `Node 1 Normal: 1*4kB ...`
    Blocks(Option<u32>, &'a str, &'a str),
    /// `Node 1 Normal per-cpu:`
    PerCpu(Option<u32>, &'a str),
    /// `Node 1 hugepages_total=...`
    Hugepages(u32),
}

/// Reads the head of such a line.
pub fn line(text: &str) -> Option<Line<'_>> {
    let text = text.trim_start();
    let (node, rest) = match text.strip_prefix("Node ") {
        Some(rest) => {
            let rest = rest.trim_start();
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            (Some(rest[..end].parse().ok()?), rest[end..].trim_start())
        }
        None => (None, text),
    };
    let end = rest.find([' ', ':']).unwrap_or(rest.len());
    let (name, after) = rest.split_at(end);
    if ZONES.contains(&name) {
        let after_blank = after.trim_start();
        if let Some(blocks) = after.strip_prefix(':') {
            return Some(Line::Blocks(node, name, blocks));
        }
        if after_blank.starts_with("free:") {
            return Some(Line::Zone(node, name, after_blank));
        }
        if after_blank.starts_with("per-cpu:") {
            return Some(Line::PerCpu(node, name));
        }
        return None;
    }
    let node = node?;
    if rest.starts_with("hugepages_total=") {
        return Some(Line::Hugepages(node));
    }
    after.starts_with(':').then_some(Line::Node(node, rest))
}

/// `2*4kB (U) 0*8kB ... = 11336kB`; `None` if not one block is in it.
pub fn blocks(text: &str) -> Option<Blocks> {
    let mut found = Blocks::default();
    let mut sum_follows = false;
    for word in text.split_whitespace() {
        if sum_follows {
            found.total_kb = word.ends_with("kB").then(|| number(word)).flatten();
            break;
        }
        if word == "=" {
            sum_follows = true;
        } else if let Some(letters) = word.strip_prefix('(') {
            if let Some(last) = found.orders.last_mut() {
                last.1 = letters.trim_end_matches(')').to_owned();
            }
        } else if let Some((count, size)) = word.split_once('*')
            && size.ends_with("kB")
            && let (Some(count), Some(size)) = (number(count), number(size))
        {
            if found.orders.is_empty() {
                // Pages have 4 to 256 KiB.
                if !size.is_power_of_two() || !(4..=256).contains(&size) {
                    return None;
                }
                found.page_kb = size;
            }
            // Sizes double; a hole means that something was cut.
            let expected = found.page_kb.checked_shl(found.orders.len() as u32);
            if expected != Some(size) || size == 0 {
                break;
            }
            found.orders.push((count, String::new()));
        } else {
            break;
        }
    }
    (!found.orders.is_empty()).then_some(found)
}

/// `lowmem_reserve[]: 0 0 4500 4500`, what follows the colon.
pub fn reserve(text: &str) -> Vec<u64> {
    text.split_whitespace().map_while(number).collect()
}

/// The zone that a line is about: the one of that name, if it is there.
pub fn find<'a>(zones: &'a mut [Zone], node: Option<u32>, name: &str) -> Option<&'a mut Zone> {
    zones.iter_mut().find(|z| z.node == node && z.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        assert_eq!(line("Node 1 Normal free:4kB"), Some(Line::Zone(Some(1), "Normal", "free:4kB")));
        assert_eq!(line("DMA: 1*4kB"), Some(Line::Blocks(None, "DMA", " 1*4kB")));
        assert_eq!(line("Node 0 DMA per-cpu:"), Some(Line::PerCpu(Some(0), "DMA")));
        assert_eq!(line("Node 2 hugepages_total=0"), Some(Line::Hugepages(2)));
        assert_eq!(line("Node 2 active_anon:4kB"), Some(Line::Node(2, "active_anon:4kB")));
        assert_eq!(line("Normal"), None);
        assert_eq!(line("Node x"), None);
    }

    #[test]
    fn fields_with_odd_forms() {
        let (found, unreclaimable) = fields(
            "free:3kB shmem_thp: 5kB isolated(anon):7kB reserved_highatomic:8192KB all_unreclaimable? yes",
        );
        let all: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(
            all,
            [("free", 3), ("isolated(anon)", 7), ("reserved_highatomic", 8192), ("shmem_thp", 5)]
        );
        assert_eq!(unreclaimable, Some(true));
        assert_eq!(number("99999999999999999999999kB"), Some(u64::MAX));
        assert_eq!(number("12k"), None);
        assert_eq!(fields("free:3kB min:12").0.len(), 1, "cut");
    }

    #[test]
    fn block_lists_keep_page_size_and_letters() {
        let found = blocks(" 2200*16kB (UM) 0*32kB 61*64kB (H) = 39104kB").unwrap();
        assert_eq!((found.page_kb, found.orders.len(), found.total_kb), (16, 3, Some(39_104)));
        assert_eq!(found.orders[2], (61, "H".to_owned()));
        assert_eq!(blocks("...").map(|b| b.orders.len()), None);
    }
}
