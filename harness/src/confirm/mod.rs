//! Findings of the model, held against real kernels.
//!
//! **What.** A kernel is a folder with an image and its vmlinux ([`kernel`]). Labels of race points
//! are tied to instructions of it by rules ([`rules`], [`points`]) over its symbols and calls
//! ([`vmlinux`]) and the inline tree of its DWARF ([`inlines`]); structures are read by its BTF
//! ([`btf`], [`layout`]). An [`attempt`] boots it in a guest ([`machine`], [`guest`]) made by a
//! family's [`recipe`], brings tasks to the points of a schedule ([`session`], over [`remote`]),
//! prints what proves the place ([`show`]) and judges what the guest found ([`verdict`]).
//!
//! **Why rules and no lists of addresses.** They hold over releases and for kernels of one's own;
//! users have no source tree, and nothing of the kernel's text is quoted.
//!
//! **Only x86-64**: instructions are decoded, and calls are made by its ABI.

pub mod attempt;
pub mod btf;
pub mod guest;
pub mod inlines;
pub mod kernel;
pub mod layout;
pub mod machine;
pub mod points;
pub mod recipe;
pub mod remote;
pub mod rules;
pub mod session;
pub mod show;
pub mod verdict;
pub mod vmlinux;
