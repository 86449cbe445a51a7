//! Addresses and offsets that pauses and prints need, from symbols and BTF.

use super::kernel::Kernel;

/// Of one kernel.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// What an unknown system call runs: how the guest speaks to us.
    pub syscall: u64,
    /// `schedule_timeout_idle`: how a task is parked.
    pub wait: u64,
    /// `wake_up_process`.
    pub wake: u64,
    /// Padding that nothing runs through: where calls of ours come back.
    pub landing: u64,
    /// Per-CPU offsets: the current task, and the preemption count.
    pub current: u64,
    /// See `current`.
    pub preempt_count: u64,
    /// Members of pt_regs with the first three arguments of a system call.
    pub arguments: [u64; 3],
    /// Members of task_struct.
    pub pid: u64,
    /// Depth of RCU read sections; none where they only switch preemption off.
    pub rcu: Option<u64>,
    /// Members of alloc_context: zonelist, nodemask, preferred_zoneref, highest_zoneidx.
    pub context: [u64; 4],
    /// Size of a zoneref; its zone stands first.
    pub zoneref: u64,
    /// Members of zone: name, zone_pgdat.
    pub zone: [u64; 2],
    /// Member of pglist_data: node_id.
    pub node: u64,
    /// Of struct page: its size, and where its reference count is.
    pub page: [u64; 2],
    /// The address of the variable that holds the start of the array of pages.
    pub vmemmap: u64,
}

impl Layout {
    /// Of this kernel.
    ///
    /// # Errors
    /// What it lacks.
    pub fn of(kernel: &Kernel) -> Result<Self, String> {
        let symbol = |name: &str| {
            kernel.vmlinux.symbol(name).ok_or_else(|| format!("it has no symbol {name}"))
        };
        let member =
            |path: &str| kernel.btf.offset(path).ok_or_else(|| format!("its BTF has no {path}"));
        let size = |name: &str| {
            kernel.btf.size(name).ok_or_else(|| format!("its BTF has no struct {name}"))
        };
        let (current, preempt_count) = match symbol("pcpu_hot") {
            // 6.2 to 6.14.
            Ok(hot) => {
                (hot + member("pcpu_hot.current_task")?, hot + member("pcpu_hot.preempt_count")?)
            }
            Err(_) => (symbol("current_task")?, symbol("__preempt_count")?),
        };
        let landing = ["schedule_timeout_idle", "schedule_timeout_killable", "wake_up_process"]
            .iter()
            .flat_map(|name| kernel.vmlinux.functions(name))
            .map(|f| f.end)
            .find(|end| end % 16 != 0)
            .ok_or("no padding behind its functions")?;
        Ok(Self {
            syscall: symbol("__x64_sys_ni_syscall")?,
            wait: symbol("schedule_timeout_idle")?,
            wake: symbol("wake_up_process")?,
            landing,
            current,
            preempt_count,
            arguments: [member("pt_regs.di")?, member("pt_regs.si")?, member("pt_regs.dx")?],
            pid: member("task_struct.pid")?,
            rcu: member("task_struct.rcu_read_lock_nesting").ok(),
            context: [
                member("alloc_context.zonelist")?,
                member("alloc_context.nodemask")?,
                member("alloc_context.preferred_zoneref")?,
                member("alloc_context.highest_zoneidx")?,
            ],
            zoneref: size("zoneref")?,
            zone: [member("zone.name")?, member("zone.zone_pgdat")?],
            node: member("pglist_data.node_id")?,
            page: [size("page")?, member("page._refcount")?],
            vmemmap: symbol("vmemmap_base")?,
        })
    }
}
