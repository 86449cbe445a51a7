//! Every schedule with at most K preemptions.
//!
//! **What.** The tree of choices is a vector: the path to the execution that runs now. A run replays
//! the path and takes the default behind it, adding a node wherever it had a choice within the
//! budget; the next run drops exhausted nodes from the end and advances the last.
//!
//! **Splitting.** A worker without work is given the untried choices of the shallowest node of
//! another worker's path. What is enumerated does not depend on who does it.
//!
//! **Divergence.** A node keeps where it was: task, ordinal, label, number of choices. If the same
//! choices lead elsewhere, or a run ends before its path is used up, something outlives executions
//! (a static, an address, a wall clock), and the search is not complete.

use std::cell::RefCell;
use std::rc::Rc;

use super::tally::Tally;
use crate::sync::engine::{Decision, RunEnd, Strategy, WorkPool};
use crate::sync::{Arc, At};

/// Where a choice was made, to tell a run that diverges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    at: At,
    task: usize,
    ordinal: u32,
    label: u16,
    candidates: usize,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    place: Place,
    /// The candidate that is taken now.
    index: usize,
    /// Candidates before this one are for this worker.
    end: usize,
}

/// A part of the tree: a path whose last node has choices left.
pub(super) struct Part(Vec<Node>);

impl Part {
    /// The whole tree.
    pub(super) fn whole() -> Self {
        Self(Vec::new())
    }
}

/// The scheduler of one worker.
pub(super) struct Bounded {
    bound: u32,
    pool: Arc<WorkPool<Part>>,
    tally: Rc<RefCell<Tally>>,
    nodes: Vec<Node>,
    /// A part was taken and is not done.
    working: bool,
    /// Nodes that this run has to replay.
    prefix: usize,
    /// Choices made in this run.
    depth: usize,
    diverged: bool,
    bound_hit: bool,
}

impl Bounded {
    pub(super) fn new(bound: u32, pool: Arc<WorkPool<Part>>, tally: Rc<RefCell<Tally>>) -> Self {
        Self {
            bound,
            pool,
            tally,
            nodes: Vec::new(),
            working: false,
            prefix: 0,
            depth: 0,
            diverged: false,
            bound_hit: false,
        }
    }

    /// Goes to the next path of this part; false if there is none.
    fn advance(&mut self) -> bool {
        while let Some(last) = self.nodes.last_mut() {
            if last.index + 1 < last.end {
                last.index += 1;
                return true;
            }
            self.nodes.pop();
        }
        false
    }

    /// Gives the untried choices nearest to the root away.
    fn split(&mut self) {
        let Some(shallow) = self.nodes.iter().position(|node| node.index + 1 < node.end) else {
            return;
        };
        let mut part: Vec<Node> = self.nodes[..=shallow]
            .iter()
            .map(|node| Node { end: node.index + 1, ..*node })
            .collect();
        let end = self.nodes[shallow].end;
        if let Some(last) = part.last_mut() {
            last.index += 1;
            last.end = end;
        }
        self.nodes[shallow].end = self.nodes[shallow].index + 1;
        self.pool.put(Part(part));
    }
}

impl Strategy for Bounded {
    fn begin(&mut self) -> bool {
        if self.working && !self.advance() {
            self.working = false;
            self.pool.done();
        }
        if !self.working {
            let Some(Part(nodes)) = self.pool.take() else { return false };
            self.nodes = nodes;
            self.working = true;
        }
        self.prefix = self.nodes.len();
        self.depth = 0;
        self.diverged = false;
        true
    }

    fn choose(&mut self, decision: &Decision<'_>) -> usize {
        let candidates = decision.candidates;
        let left = self.bound - decision.used.min(self.bound);
        let affordable = candidates.iter().take_while(|one| one.cost <= left).count();
        self.bound_hit |= affordable < candidates.len();
        if affordable < 2 || self.diverged {
            return 0;
        }
        let Decision { at, task, ordinal, label, .. } = *decision;
        let place = Place { at, task, ordinal, label, candidates: affordable };
        let depth = self.depth;
        self.depth += 1;
        if let Some(node) = self.nodes.get(depth) {
            if node.place == place {
                return node.index;
            }
            // This run goes on by itself; the path up to here stays.
            self.diverged = true;
            self.nodes.truncate(depth);
            return 0;
        }
        self.nodes.push(Node { place, index: 0, end: affordable });
        0
    }

    fn end(&mut self, run: &RunEnd<'_>) {
        // A run that a limit cut may be shorter than its path only if it diverged, too: the limit
        // counts steps, and the same choices make the same steps.
        if self.depth < self.prefix && !self.diverged {
            self.diverged = true;
            self.nodes.truncate(self.depth);
        }
        let mut tally = self.tally.borrow_mut();
        tally.diverged += u64::from(self.diverged);
        tally.bound_hit |= self.bound_hit;
        drop(tally);
        debug_assert!(run.preemptions <= self.bound, "a schedule with too many preemptions");
        if self.pool.is_hungry() {
            self.split();
        }
    }
}
