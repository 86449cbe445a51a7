//! Findings of the model, held against real kernels.
//!
//! **What.** A kernel is a folder with an image and its vmlinux ([`kernel`]). Labels of race points
//! are tied to instructions of it by rules ([`rules`], [`points`]) over its symbols and calls
//! ([`vmlinux`]) and the inline tree of its DWARF ([`inlines`]); structures are read by its BTF
//! ([`btf`]).
//!
//! **Why rules and no lists of addresses.** They hold over releases and for kernels of one's own;
//! users have no source tree, and nothing of the kernel's text is quoted.
//!
//! **Only x86-64**: instructions are decoded.

pub mod btf;
pub mod inlines;
pub mod kernel;
pub mod points;
pub mod rules;
pub mod vmlinux;
