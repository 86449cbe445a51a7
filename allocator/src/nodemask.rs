//! Sets of NUMA nodes (`nodemask_t`), as values and as live words that others rewrite.
//!
//! **What.** [`NodeMask`] is a value; [`AtomicNodeMask`] is a task's `mems_allowed` or a policy's
//! `nodes`: an array of words that is read and written one word at a time, never as a whole.
//!
//! **Why.** The cpuset races (docs/kernel/cpusets.md#c1, interleavings.md#j1-e) are possible
//! because such a mask changes under its readers, word by word. So no snapshot is taken where the
//! kernel takes none, and a live mask has two words or more even on a small machine; each access of
//! a word calls a hook, so that the caller can put a race point there.
//!
//! **Source.** include/linux/nodemask.h, lib/bitmap.c (fold, onto, remap),
//! docs/kernel/mempolicies.md#d2.
//!
//! **Differs.** Loops over a live mask end at the machine's highest node id, the kernel's at
//! MAX_NUMNODES as configured; nothing stands behind the highest id.

use std::fmt;

use crate::ids::{MAX_NUMNODES, NodeId};
use crate::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Words of a full mask.
pub const MASK_WORDS: usize = MAX_NUMNODES / 64;

/// A set of nodes, as a value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct NodeMask {
    words: [u64; MASK_WORDS],
}

/// Why a node list could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseNodeMaskError {
    /// Something that is no number stands where a node is expected.
    #[error("`{0}` is no node: write a list such as 0-1,4")]
    NotANode(String),
    /// A range that runs backwards.
    #[error("the range {0}-{1} runs backwards")]
    Backwards(u32, u32),
    /// Past the last node.
    #[error("node {0} is past the last node that can be modelled ({max})", max = MAX_NUMNODES - 1)]
    TooHigh(u32),
}

impl NodeMask {
    /// No node (`NODE_MASK_NONE`).
    pub const EMPTY: Self = Self { words: [0; MASK_WORDS] };

    /// No node.
    pub const fn empty() -> Self {
        Self::EMPTY
    }

    /// The set of these nodes.
    pub fn of(nodes: impl IntoIterator<Item = NodeId>) -> Self {
        let mut mask = Self::EMPTY;
        for node in nodes {
            mask.set(node);
        }
        mask
    }

    /// The set of one node.
    pub fn one(node: NodeId) -> Self {
        Self::of([node])
    }

    /// Adds a node.
    #[inline]
    pub fn set(&mut self, node: NodeId) {
        self.words[node.index() / 64] |= 1 << (node.index() % 64);
    }

    /// Removes a node.
    #[inline]
    pub fn clear(&mut self, node: NodeId) {
        self.words[node.index() / 64] &= !(1 << (node.index() % 64));
    }

    /// Is the node in the set?
    #[inline]
    pub fn test(&self, node: NodeId) -> bool {
        self.words[node.index() / 64] >> (node.index() % 64) & 1 != 0
    }

    /// The first 64 nodes, as timelines tell them.
    #[inline]
    pub fn low_word(&self) -> u64 {
        self.words[0]
    }

    /// No nodes?
    pub fn is_empty(&self) -> bool {
        self.words == [0; MASK_WORDS]
    }

    /// How many nodes (`nodes_weight`).
    pub fn weight(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    /// The lowest node (`first_node`).
    pub fn first(&self) -> Option<NodeId> {
        self.next_from(0)
    }

    /// The lowest node above `node` (`next_node`).
    pub fn next_after(&self, node: NodeId) -> Option<NodeId> {
        self.next_from(node.index() + 1)
    }

    /// The lowest node above `node`, or else the lowest of all (`next_node_in`).
    pub fn next_in(&self, node: NodeId) -> Option<NodeId> {
        self.next_after(node).or_else(|| self.first())
    }

    fn next_from(&self, bit: usize) -> Option<NodeId> {
        let mut word = bit / 64;
        if word >= MASK_WORDS {
            return None;
        }
        let mut bits = self.words[word] & (!0 << (bit % 64));
        loop {
            if bits != 0 {
                return Some(node_of(word, bits));
            }
            word += 1;
            if word == MASK_WORDS {
                return None;
            }
            bits = self.words[word];
        }
    }

    /// Its nodes from the lowest.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        let mut next = self.first();
        std::iter::from_fn(move || {
            let node = next?;
            next = self.next_after(node);
            Some(node)
        })
    }

    /// Nodes that are in both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    /// Nodes that are in one of them.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a | b)
    }

    /// Nodes of this one that are not in the other.
    #[must_use]
    pub fn andnot(&self, other: &Self) -> Self {
        self.zip(other, |a, b| a & !b)
    }

    fn zip(&self, other: &Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self { words: std::array::from_fn(|i| f(self.words[i], other.words[i])) }
    }

    /// Have they a node in common?
    pub fn intersects(&self, other: &Self) -> bool {
        self.words.iter().zip(&other.words).any(|(a, b)| a & b != 0)
    }

    /// Are all its nodes in the other?
    pub fn is_subset(&self, of: &Self) -> bool {
        self.andnot(of).is_empty()
    }

    /// The `n`-th node, counted from 0 and the lowest.
    pub fn nth(&self, n: usize) -> Option<NodeId> {
        self.iter().nth(n)
    }

    /// Each node moves from its position among `old` to the same position, modulo its weight, among
    /// `new`; nodes outside `old` stay (`nodes_remap`). With an empty `new` nothing moves.
    #[must_use]
    pub fn remap(&self, old: &Self, new: &Self) -> Self {
        let target: Vec<NodeId> = new.iter().collect();
        if target.is_empty() {
            return *self;
        }
        let mut out = self.andnot(old);
        for (position, node) in old.iter().enumerate() {
            if self.test(node) {
                out.set(target[position % target.len()]);
            }
        }
        out
    }

    /// Where one node goes by [`remap`](Self::remap) (`node_remap`).
    pub fn remap_node(node: NodeId, old: &Self, new: &Self) -> NodeId {
        Self::one(node).remap(old, new).first().unwrap_or(node)
    }

    /// Node k becomes the k-th node of `relative`; what has no place there falls away
    /// (`nodes_onto`).
    #[must_use]
    pub fn onto(&self, relative: &Self) -> Self {
        Self::of(relative.iter().enumerate().filter(|&(k, _)| self.bit(k)).map(|(_, node)| node))
    }

    /// Node b becomes b modulo `size` (`nodes_fold`); `size` 0 gives the empty set.
    #[must_use]
    pub fn fold(&self, size: usize) -> Self {
        if size == 0 {
            return Self::EMPTY;
        }
        Self::of(self.iter().map(|node| NodeId((node.index() % size) as u16)))
    }

    fn bit(&self, bit: usize) -> bool {
        bit < MAX_NUMNODES && self.test(NodeId(bit as u16))
    }

    /// Reads a kernel node list: `0-1,4`, blanks around, empty for no node.
    ///
    /// # Errors
    /// What can't be read, in words for the user.
    pub fn parse(text: &str) -> Result<Self, ParseNodeMaskError> {
        let mut mask = Self::EMPTY;
        if text.trim().is_empty() {
            return Ok(mask);
        }
        for item in text.split(',').map(str::trim) {
            let (from, to) = item.split_once('-').unwrap_or((item, item));
            let (from, to) = (parse_node(from, item)?, parse_node(to, item)?);
            if from > to {
                return Err(ParseNodeMaskError::Backwards(from, to));
            }
            if to as usize >= MAX_NUMNODES {
                return Err(ParseNodeMaskError::TooHigh(to));
            }
            for node in from..=to {
                mask.set(NodeId(node as u16));
            }
        }
        Ok(mask)
    }
}

fn parse_node(text: &str, item: &str) -> Result<u32, ParseNodeMaskError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(node) if digits => Ok(node),
        Ok(_) | Err(_) => Err(ParseNodeMaskError::NotANode(item.to_owned())),
    }
}

fn node_of(word: usize, bits: u64) -> NodeId {
    NodeId((word * 64 + bits.trailing_zeros() as usize) as u16)
}

impl std::str::FromStr for NodeMask {
    type Err = ParseNodeMaskError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl FromIterator<NodeId> for NodeMask {
    fn from_iter<I: IntoIterator<Item = NodeId>>(nodes: I) -> Self {
        Self::of(nodes)
    }
}

/// As the kernel's `%*pbl`: `0-1,4`; the empty set prints nothing.
impl fmt::Display for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut next = self.first();
        let mut comma = "";
        while let Some(from) = next {
            let mut to = from;
            while self.bit(to.index() + 1) {
                to.0 += 1;
            }
            if from == to {
                write!(f, "{comma}{from}")?;
            } else {
                write!(f, "{comma}{from}-{to}")?;
            }
            comma = ",";
            next = self.next_after(to);
        }
        Ok(())
    }
}

impl fmt::Debug for NodeMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{self}}}")
    }
}

/// Anything whose words can be read one by one: a value or a live mask.
pub trait MaskWords {
    /// Word `i`; 0 behind the last one.
    fn word(&self, i: usize) -> u64;
}

impl MaskWords for NodeMask {
    #[inline]
    fn word(&self, i: usize) -> u64 {
        self.words.get(i).copied().unwrap_or(0)
    }
}

impl MaskWords for AtomicNodeMask {
    #[inline]
    fn word(&self, i: usize) -> u64 {
        // Relaxed: the kernel reads live masks by plain loads.
        self.words.get(i).map_or(0, |w| w.load(Relaxed))
    }
}

/// A live set of nodes that is read and rewritten word by word.
///
/// Every access is Relaxed: the kernel's are plain loads and stores, and readers that need more
/// look at a sequence count beside it (`mems_allowed_seq`). Hooks are called before the word with
/// the index given is accessed.
#[derive(Debug)]
pub struct AtomicNodeMask {
    words: Box<[AtomicU64]>,
}

impl AtomicNodeMask {
    /// An empty mask for a machine whose highest node id is `nr_node_ids - 1`.
    pub fn new(nr_node_ids: usize) -> Self {
        let words = nr_node_ids.div_ceil(64).clamp(2, MASK_WORDS);
        Self { words: (0..words).map(|_| AtomicU64::new(0)).collect() }
    }

    /// A live mask that holds `nodes`; none of them may lie behind `nr_node_ids`.
    pub fn holding(nr_node_ids: usize, nodes: &NodeMask) -> Self {
        let mask = Self::new(nr_node_ids);
        mask.store(nodes);
        mask
    }

    /// How many words it has, two at least.
    pub fn nr_words(&self) -> usize {
        self.words.len()
    }

    /// Reads word by word; the result may be a mix of old and new.
    pub fn load(&self) -> NodeMask {
        self.load_with(|_| {})
    }

    /// [`load`](Self::load) with a hook before each word.
    pub fn load_with(&self, mut hook: impl FnMut(usize)) -> NodeMask {
        let mut mask = NodeMask::EMPTY;
        for (i, word) in self.words.iter().enumerate() {
            hook(i);
            mask.words[i] = word.load(Relaxed);
        }
        mask
    }

    /// Is the node in it now? One word is read.
    #[inline]
    pub fn test(&self, node: NodeId) -> bool {
        self.word(node.index() / 64) >> (node.index() % 64) & 1 != 0
    }

    /// Writes word by word.
    pub fn set(&self, node: NodeId) {
        self.words[node.index() / 64].fetch_or(1 << (node.index() % 64), Relaxed);
    }

    /// Takes a node out.
    pub fn clear(&self, node: NodeId) {
        self.words[node.index() / 64].fetch_and(!(1 << (node.index() % 64)), Relaxed);
    }

    /// Stores all words.
    pub fn store(&self, nodes: &NodeMask) {
        self.store_with(nodes, |_| {});
    }

    /// [`store`](Self::store) with a hook before each word.
    pub fn store_with(&self, nodes: &NodeMask, mut hook: impl FnMut(usize)) {
        debug_assert!(nodes.words[self.words.len()..].iter().all(|w| *w == 0), "node id too high");
        for (i, word) in self.words.iter().enumerate() {
            hook(i);
            word.store(nodes.words[i], Relaxed);
        }
    }

    /// Adds nodes word by word; each word is read and written back, not atomically (`nodes_or`):
    /// writers exclude each other by a lock.
    pub fn or_with(&self, nodes: &NodeMask, mut hook: impl FnMut(usize)) {
        for (i, word) in self.words.iter().enumerate() {
            hook(i);
            word.store(word.load(Relaxed) | nodes.words[i], Relaxed);
        }
    }

    /// Have they a node in common? Word by word, up to the first that meets (`nodes_intersects`).
    pub fn intersects_with(&self, other: &impl MaskWords, mut hook: impl FnMut(usize)) -> bool {
        self.words.iter().enumerate().any(|(i, word)| {
            hook(i);
            word.load(Relaxed) & other.word(i) != 0
        })
    }

    /// [`intersects_with`](Self::intersects_with) without a hook.
    pub fn intersects(&self, other: &impl MaskWords) -> bool {
        self.intersects_with(other, |_| {})
    }

    /// The lowest node, word by word.
    pub fn first(&self) -> Option<NodeId> {
        self.next_from(0)
    }

    /// The lowest node above `node`, word by word.
    pub fn next(&self, node: NodeId) -> Option<NodeId> {
        self.next_from(node.index() + 1)
    }

    fn next_from(&self, bit: usize) -> Option<NodeId> {
        let mut mask = !0 << (bit % 64);
        for word in bit / 64..self.words.len() {
            let bits = self.word(word) & mask;
            if bits != 0 {
                return Some(node_of(word, bits));
            }
            mask = !0;
        }
        None
    }

    /// How many nodes, word by word.
    pub fn weight(&self) -> usize {
        self.words.iter().map(|w| w.load(Relaxed).count_ones() as usize).sum()
    }
}

#[cfg(test)]
#[path = "nodemask_tests.rs"]
mod tests;
