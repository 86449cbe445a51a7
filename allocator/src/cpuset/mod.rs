//! cpusets: which nodes a group of tasks may allocate from.
//!
//! **What.** The tree, its masks and flags, creation, removal and membership
//! (docs/kernel/cpusets.md#c1, C.3, C.4). Read on in [`allowed`] (what a request asks, C.2 and
//! C.5), [`write`](mod@write) (cpuset.mems, W1 to W6), [`tasks`] (T1 to T4: how tasks and VMAs
//! follow), [`hotplug`].
//!
//! **Why in steps.** A write reaches one thread after the other and each address space when its
//! mmap_lock can be had; in between, configured mems, effective mems, a task's mems, its policy and
//! its VMAs' policies disagree. Changes 1 and its successors are about requests in that gap.
//!
//! **Source.** kernel/cgroup/cpuset.c, include/linux/cpuset.h.
//!
//! **Differs.** Memory only: CPUs of a cpuset are not modelled. A cpuset's task list holds threads
//! in the order in which they came; the kernel's is grouped by css_set.

pub mod allowed;
pub mod hotplug;
pub mod tasks;
pub mod write;

use crate::nodemask::{AtomicNodeMask, NodeMask};
use crate::run::kernel::Kernel;
use crate::run::task::Task;
use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::lock::named;
use crate::sync::{Arc, Lock, Mutex, Weak};

pub use crate::policy::cpuset::AllowedLists;
pub use tasks::Migration;

/// A flag file of a cpuset (v1 only).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CpusetFlag {
    /// cpuset.mem_exclusive: siblings have other nodes; is a hardwall.
    MemExclusive,
    /// cpuset.mem_hardwall: kernel allocations of tasks below stay within.
    MemHardwall,
    /// cpuset.memory_migrate: pages follow a change of mems.
    MemoryMigrate,
}

impl CpusetFlag {
    fn bit(self) -> u32 {
        match self {
            Self::MemExclusive => 1,
            Self::MemHardwall => 2,
            Self::MemoryMigrate => 4,
        }
    }
}

/// Why a cpuset operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpusetError {
    /// The root's mems follow the nodes with memory.
    #[error("{0}: the root cpuset's mems can't be written")]
    Root(String),
    /// Nodes that the root does not have.
    #[error("{name}: nodes {nodes} are not in the root cpuset")]
    NotInRoot {
        /// The cpuset.
        name: String,
        /// The nodes that are too many.
        nodes: Box<NodeMask>,
    },
    /// v1: nodes that the parent does not have, or exclusive below a parent that is not.
    #[error("{0}: not within its parent")]
    NotInParent(String),
    /// v1: a child has nodes that would be taken away.
    #[error("{0}: a child uses nodes that would go")]
    ChildUses(String),
    /// An exclusive cpuset would share nodes with a sibling.
    #[error("{0}: shares nodes with a sibling, and one of them is exclusive")]
    Exclusive(String),
    /// A cpuset with tasks needs nodes, and one without nodes takes no tasks (v1).
    #[error("{0}: tasks need nodes")]
    NoNodes(String),
    /// Another cpuset has the name.
    #[error("{0}: exists")]
    Exists(String),
    /// The parent was removed.
    #[error("{0}: was removed")]
    Removed(String),
    /// It has tasks or children.
    #[error("{0}: has tasks or children")]
    Busy(String),
    /// No memory for a copy (`swap` only): some tasks have the new nodes, some the old ones.
    #[error("out of memory: only a part of the cpuset's tasks was updated")]
    NoMemory,
}

impl CpusetError {
    /// The error number's name.
    pub fn errno(&self) -> &'static str {
        match self {
            Self::Root(_) | Self::NotInParent(_) => "EACCES",
            Self::NotInRoot { .. } | Self::Exclusive(_) => "EINVAL",
            Self::ChildUses(_) | Self::Busy(_) => "EBUSY",
            Self::NoNodes(_) => "ENOSPC",
            Self::Exists(_) => "EEXIST",
            Self::Removed(_) => "ENODEV",
            Self::NoMemory => "ENOMEM",
        }
    }
}

/// A cpuset.
///
/// The masks are written under cpuset_mutex and callback_lock, read under one of them.
#[derive(Debug)]
pub struct Cpuset {
    /// Its path, `/` for the root.
    pub name: String,
    parent: Option<Weak<Cpuset>>,
    flags: AtomicU32,
    /// cpuset.mems as configured.
    mems_allowed: AtomicNodeMask,
    /// cpuset.effective_mems.
    effective_mems: AtomicNodeMask,
    /// What its tasks had after the last update; from where migration starts. Under cpuset_mutex.
    old_mems_allowed: AtomicNodeMask,
    children: Mutex<Vec<Arc<Cpuset>>>,
    members: Mutex<Members>,
    online: AtomicBool,
}

/// The threads of a cpuset, in the order in which they came.
#[derive(Debug, Default)]
struct Members {
    next: u64,
    /// Number and thread, by number.
    threads: Vec<(u64, Weak<Task>)>,
}

impl Cpuset {
    fn new(
        name: String,
        parent: Option<&Arc<Cpuset>>,
        mems: &NodeMask,
        effective: &NodeMask,
        nr_node_ids: usize,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            parent: parent.map(Arc::downgrade),
            flags: AtomicU32::new(0),
            mems_allowed: AtomicNodeMask::holding(nr_node_ids, mems),
            effective_mems: AtomicNodeMask::holding(nr_node_ids, effective),
            old_mems_allowed: AtomicNodeMask::holding(nr_node_ids, effective),
            children: Mutex::new(Vec::new()),
            members: Mutex::new(Members::default()),
            online: AtomicBool::new(true),
        })
    }

    /// The parent; None for the root.
    pub fn parent(&self) -> Option<Arc<Self>> {
        self.parent.as_ref().and_then(Weak::upgrade)
    }

    /// Is it the root?
    pub fn is_root(&self) -> bool {
        self.parent.is_none()
    }

    /// cpuset.mems as configured.
    pub fn mems_allowed(&self) -> NodeMask {
        self.mems_allowed.load()
    }

    /// cpuset.effective_mems.
    pub fn effective_mems(&self) -> NodeMask {
        self.effective_mems.load()
    }

    /// Is the flag set?
    pub fn has(&self, flag: CpusetFlag) -> bool {
        self.flags.load(Ordering::Relaxed) & flag.bit() != 0
    }

    /// Is it exclusive or hardwalled?
    fn is_wall(&self) -> bool {
        self.has(CpusetFlag::MemExclusive) || self.has(CpusetFlag::MemHardwall)
    }

    /// Its children, in order of creation.
    pub fn children(&self) -> Vec<Arc<Self>> {
        self.children.lock().clone()
    }

    /// Its threads that still exist.
    pub fn threads(&self) -> Vec<Arc<Task>> {
        self.members.lock().threads.iter().filter_map(|(_, t)| t.upgrade()).collect()
    }

    fn has_threads(&self) -> bool {
        self.members.lock().threads.iter().any(|(_, t)| t.strong_count() > 0)
    }

    /// The first thread that came after the one numbered `after` (a step of css_task_iter: threads
    /// that come during a walk are met at its end).
    fn next_thread(&self, after: Option<u64>) -> Option<(u64, Arc<Task>)> {
        let members = self.members.lock();
        let from = after.map_or(0, |n| members.threads.partition_point(|(m, _)| *m <= n));
        members.threads[from..].iter().find_map(|(n, t)| t.upgrade().map(|t| (*n, t)))
    }

    fn add_thread(&self, task: &Arc<Task>) {
        let mut members = self.members.lock();
        let number = members.next;
        members.next += 1;
        members.threads.push((number, Arc::downgrade(task)));
    }

    fn remove_thread(&self, task: &Arc<Task>) {
        let mut members = self.members.lock();
        members.threads.retain(|(_, t)| t.strong_count() > 0 && t.as_ptr() != Arc::as_ptr(task));
    }
}

/// The two static keys, alone on their cache line: every allocation reads them.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Keys {
    /// cpusets_pre_enable_key: S1's begin is real before C2's retry is.
    pre_enabled: AtomicBool,
    /// cpusets_enabled_key.
    enabled: AtomicBool,
    /// cpusets_insane_config_key: some cpuset was given nodes with Movable memory only.
    insane: AtomicBool,
}

/// All cpusets.
#[derive(Debug)]
pub struct CpusetTree {
    /// The root.
    pub top: Arc<Cpuset>,
    keys: Keys,
    /// How many besides the root. Under cpuset_mutex.
    count: AtomicUsize,
    /// The unified hierarchy's rules (v2)?
    v2: AtomicBool,
    nr_node_ids: usize,
    /// cpuset_mutex.
    mutex: Lock<named::Cpuset, ()>,
    /// callback_lock: guards masks for readers that can't take the mutex.
    callback_lock: Lock<named::Callback, ()>,
    /// cpuset_being_rebound: the address of the cpuset that T1 to T4 walk, 0 for none.
    being_rebound: AtomicUsize,
    /// cpuset_migrate_mm_wq.
    migrations: Mutex<Vec<Migration>>,
    /// Copies of policies and allowed nodes that still succeed (`swap` only).
    pub(crate) copies_left: AtomicU64,
    /// The lists that were made last: all tasks of a cpuset get the same (`swap` only).
    pub(crate) last_lists: Mutex<Option<Arc<AllowedLists>>>,
}

impl CpusetTree {
    /// The root alone, with all `nodes` that have memory; v1 rules.
    pub fn new(nr_node_ids: usize, nodes: &NodeMask) -> Self {
        Self {
            top: Cpuset::new("/".to_owned(), None, nodes, nodes, nr_node_ids),
            keys: Keys::default(),
            count: AtomicUsize::new(0),
            v2: AtomicBool::new(false),
            nr_node_ids,
            mutex: Lock::new(()),
            callback_lock: Lock::new(()),
            being_rebound: AtomicUsize::new(0),
            migrations: Mutex::new(Vec::new()),
            copies_left: AtomicU64::new(u64::MAX),
            last_lists: Mutex::new(None),
        }
    }

    /// Chooses the unified hierarchy's rules. Before any cpuset is made: there the root's
    /// configured mems are all possible nodes.
    pub fn use_v2(&self) {
        let _mutex = self.mutex.lock();
        assert_eq!(self.count.load(Ordering::Relaxed), 0, "cpusets exist already");
        self.v2.store(true, Ordering::Relaxed);
        let possible = (0..self.nr_node_ids).map(|n| crate::ids::NodeId(n as u16)).collect();
        self.top.mems_allowed.store(&possible);
    }

    /// Do the unified hierarchy's rules hold (`is_in_v2_mode`)?
    pub fn is_v2(&self) -> bool {
        self.v2.load(Ordering::Relaxed)
    }

    /// Does more than the root exist (`cpusets_enabled`)?
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.keys.enabled.load(Ordering::Relaxed)
    }

    #[inline]
    fn is_pre_enabled(&self) -> bool {
        self.keys.pre_enabled.load(Ordering::Relaxed)
    }

    /// Makes a cpuset: in v1 without nodes, in v2 with its parent's.
    ///
    /// # Errors
    /// The name is taken, or the parent was removed.
    pub fn create(&self, parent: &Arc<Cpuset>, name: &str) -> Result<Arc<Cpuset>, CpusetError> {
        let path =
            if parent.is_root() { format!("/{name}") } else { format!("{}/{name}", parent.name) };
        let _mutex = self.mutex.lock();
        if !parent.online.load(Ordering::Relaxed) {
            return Err(CpusetError::Removed(parent.name.clone()));
        }
        let mut children = parent.children.lock();
        if children.iter().any(|c| c.name == path) {
            return Err(CpusetError::Exists(path));
        }
        let effective = if self.is_v2() { parent.effective_mems() } else { NodeMask::EMPTY };
        let cs = Cpuset::new(path, Some(parent), &NodeMask::EMPTY, &effective, self.nr_node_ids);
        children.push(Arc::clone(&cs));
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            // Release: whoever sees the second key also sees the first, so that no cookie 0 of a
            // disabled begin is held against a real retry.
            self.keys.pre_enabled.store(true, Ordering::Relaxed);
            self.keys.enabled.store(true, Ordering::Release);
        }
        Ok(cs)
    }

    /// Removes a cpuset that has neither tasks nor children.
    ///
    /// # Errors
    /// It has some, or is the root.
    pub fn remove(&self, cs: &Arc<Cpuset>) -> Result<(), CpusetError> {
        let Some(parent) = cs.parent() else {
            return Err(CpusetError::Busy(cs.name.clone()));
        };
        let _mutex = self.mutex.lock();
        if !cs.online.load(Ordering::Relaxed) {
            return Err(CpusetError::Removed(cs.name.clone()));
        }
        if cs.has_threads() || !cs.children.lock().is_empty() {
            return Err(CpusetError::Busy(cs.name.clone()));
        }
        cs.online.store(false, Ordering::Relaxed);
        parent.children.lock().retain(|c| !Arc::ptr_eq(c, cs));
        if self.count.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.keys.enabled.store(false, Ordering::Release);
            self.keys.pre_enabled.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The cpuset with this path.
    pub fn find(&self, path: &str) -> Option<Arc<Cpuset>> {
        let _mutex = self.mutex.lock();
        let mut all = vec![Arc::clone(&self.top)];
        while let Some(cs) = all.pop() {
            if cs.name == path {
                return Some(cs);
            }
            all.extend(cs.children());
        }
        None
    }
}

impl Kernel {
    /// More than the root cpuset exists (`cpusets_enabled`).
    #[inline]
    pub fn cpusets_enabled(&self) -> bool {
        self.cpusets.is_enabled()
    }

    /// Puts a new thread on the list of its cpuset (`cpuset_fork`); it has its parent's masks
    /// already. [`Kernel::add_task`] calls this.
    pub fn cpuset_fork(&self, task: &Arc<Task>) {
        let cs = Arc::clone(&task.cpuset.lock());
        cs.add_thread(task);
    }

    /// Takes an exiting thread off the list of its cpuset.
    pub fn cpuset_exit(&self, task: &Arc<Task>) {
        let cs = Arc::clone(&task.cpuset.lock());
        cs.remove_thread(task);
    }
}
