//! Address spaces (stub; being written): what cpuset code needs of them.

use crate::kernel::Kernel;
use crate::mempolicy::Mempolicy;
use crate::nodemask::NodeMask;
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Arc, RwLock};
use crate::task::Cx;

/// An address space.
#[derive(Debug)]
pub struct Mm {
    /// Its number.
    pub id: u32,
    /// mm_users.
    pub users: AtomicU32,
    /// mmap_lock.
    pub mmap_lock: RwLock<VmaTree>,
}

/// The VMAs.
#[derive(Debug, Default)]
pub struct VmaTree {
    vmas: Vec<Vma>,
}

/// A VMA.
#[derive(Debug)]
pub struct Vma {
    /// Its policy, if it has one of its own.
    pub policy: Option<Arc<Mempolicy>>,
}

impl VmaTree {
    /// The VMAs by address.
    pub fn iter(&self) -> impl Iterator<Item = &Vma> {
        self.vmas.iter()
    }

    /// Adds a VMA behind all others.
    pub fn push(&mut self, vma: Vma) {
        self.vmas.push(vma);
    }
}

impl Mm {
    /// An address space with one user and no VMA.
    pub fn new(id: u32) -> Arc<Self> {
        Arc::new(Self { id, users: AtomicU32::new(1), mmap_lock: RwLock::new(VmaTree::default()) })
    }

    /// Is MMF_OOM_SKIP set?
    pub fn is_oom_skipped(&self) -> bool {
        false
    }

    /// One more user, unless there is none any more.
    pub fn mmget_not_zero(&self) -> bool {
        let more = |users| if users == 0 { None } else { Some(users + 1) };
        self.users.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }
}

impl Kernel {
    /// One user fewer.
    pub fn mmput(&self, _cx: &Cx, mm: Arc<Mm>) {
        mm.users.fetch_sub(1, Ordering::Relaxed);
    }

    /// Moves an address space's pages from some nodes to others.
    pub fn do_migrate_pages(&self, _cx: &Cx, _mm: &Mm, _from: &NodeMask, _to: &NodeMask) {}
}
