//! The room of whoever runs: the kernel as a whole, its CPUs, its tasks, its time.
//!
//! **Rooms.** [`kernel`] boots and owns everything else; [`task`] is `current` with its context,
//! [`cpu`] a model CPU with its queue of work, [`irq`] interrupts on the stack of the task that is
//! there, [`clock`] model time, [`stop_machine`] the rebuild of old releases.
//!
//! **Locks.** task_lock and the thread lists of [`task`]; a CPU's section is its interrupts off.
//! **Callers.** Everybody holds a [`kernel::Kernel`] and a [`task::Cx`]; only workloads and the harness
//! boot one.

pub mod clock;
pub mod cpu;
pub mod irq;
pub mod kernel;
pub mod stop_machine;
pub mod task;
