//! The machine that ran the model: what a reader needs to judge and to repeat a figure.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The host. Everything is what the kernel says; null where it says nothing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// Host name.
    pub name: String,
    /// Hash of the settings that must agree for two runs to be comparable (see `results::host`).
    pub fingerprint: String,
    /// Kernel release (`6.12.9`).
    pub kernel: String,
    /// Kernel's version line.
    pub kernel_version: Option<String>,
    /// Kernel's command line.
    pub kernel_command_line: Option<String>,
    /// CPU model name.
    pub cpu: String,
    /// Microcode revision.
    pub microcode: Option<String>,
    /// CPUs online.
    pub cpus: u32,
    /// Packages.
    pub sockets: Option<u32>,
    /// Physical cores.
    pub cores: Option<u32>,
    /// Whether more than one CPU of a core is online.
    pub smt: Option<bool>,
    /// Memory that the kernel manages.
    pub memory_bytes: u64,
    /// NUMA nodes.
    pub nodes: Vec<HostNode>,
    /// Frequency governor; several are joined by a comma.
    pub governor: Option<String>,
    /// Frequency driver.
    pub driver: Option<String>,
    /// Whether turbo may raise the frequency.
    pub turbo: Option<bool>,
    /// Energy-performance preference.
    pub epp: Option<String>,
    /// Transparent huge pages: the chosen word.
    pub thp: Option<String>,
    /// Automatic NUMA balancing.
    pub numa_balancing: Option<String>,
    /// Isolated CPUs in list syntax, empty if none.
    pub isolated_cpus: Option<String>,
    /// CPUs without tick, in list syntax, empty if none.
    pub nohz_full_cpus: Option<String>,
    /// The kernel's clock source.
    pub clocksource: Option<String>,
    /// Hypervisor; null on bare metal as far as one can see.
    pub hypervisor: Option<String>,
    /// Weaknesses of the CPU and what the kernel does about each.
    pub mitigations: Vec<Mitigation>,
    /// CPUs that this process may use, in list syntax.
    pub allowed_cpus: Option<String>,
    /// Nodes that this process may use, in list syntax.
    pub allowed_nodes: Option<String>,
    /// Load at the start.
    pub load: Load,
    /// Load at the end; null until the run is over.
    pub load_after: Option<Load>,
    /// Times that the host took the CPU from a task; null if not counted.
    pub involuntary_switches: Option<u64>,
    /// Times that the host moved a task to another CPU; null if not counted.
    pub migrations: Option<u64>,
}

/// A NUMA node of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HostNode {
    /// Kernel's node id.
    pub id: u32,
    /// Its CPUs in list syntax.
    pub cpus: String,
    /// Its memory.
    pub memory_bytes: Option<u64>,
    /// Free memory at the start.
    pub free_bytes: Option<u64>,
    /// Distances to all nodes.
    pub distances: Vec<u32>,
}

/// A weakness of the CPU and what the kernel does about it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mitigation {
    /// The kernel's name of the weakness.
    pub name: String,
    /// The kernel's line.
    pub state: String,
}

/// How busy the host was.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Load {
    /// Load average over one minute.
    pub avg1: Option<f64>,
    /// Pressure on CPUs, memory and IO.
    pub pressure: Vec<Pressure>,
}

/// One line of /proc/pressure.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// `cpu`, `memory` or `io`.
    pub resource: String,
    /// Share of the last 10 s in which some task waited, in percent.
    pub some_avg10: f64,
    /// Waiting time since boot, in microseconds; the difference of two is the run's own.
    pub some_total_us: u64,
}
