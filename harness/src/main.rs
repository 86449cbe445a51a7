//! The binary `stress`.
fn main() {}
