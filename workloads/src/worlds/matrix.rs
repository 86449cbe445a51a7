//! Every family against every variant of its axis: what is expected, and of which policy.

use allocator::policy::{AxisName, Expect, Family, Policy, describe, presets};

use super::World;

/// One cell of the matrix.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// The family.
    pub family: Family,
    /// The axis whose variant states something about it.
    pub axis: AxisName,
    /// The variant's word.
    pub variant: &'static str,
    /// The policy that the cell is tried with: the oldest release that shipped the variant, else
    /// mainline with it.
    pub policy: Policy,
    /// What the variant states.
    pub expect: Expect,
    /// The world that can show it; None: not built.
    pub world: Option<&'static World>,
}

/// All cells, by family and age of the variant.
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for axis in describe() {
        for info in &axis.variants {
            let policy = policy_with(axis.axis, info.word);
            cells.extend(info.expect.iter().map(|(family, expect)| Cell {
                family: *family,
                axis: axis.axis,
                variant: info.word,
                policy,
                expect: *expect,
                world: super::find(*family),
            }));
        }
    }
    cells.sort_by_key(|c| c.family);
    cells
}

/// The policy in which a variant is tried.
pub fn policy_with(axis: AxisName, variant: &str) -> Policy {
    presets().find(|p| p.word(axis) == variant).unwrap_or_else(|| {
        let spec = format!("mainline,{axis}={variant}");
        Policy::parse(&spec).expect("a variant's own word parses")
    })
}
