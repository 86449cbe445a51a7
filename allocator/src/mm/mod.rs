//! Address spaces (stub; being written).

/// An address space.
#[derive(Debug)]
pub struct Mm {
    /// Its number.
    pub id: u32,
}
