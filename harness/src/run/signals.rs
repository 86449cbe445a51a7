//! Ctrl-C and friends.
//!
//! **What.** The first SIGINT or SIGTERM ends the run at the next step, with a partial result; the
//! second ends the process at once. SIGUSR1 asks for a status line.
//!
//! **Why.** Slurm and `timeout` send SIGTERM; hours of measuring must not be lost to either.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

use crate::cli::exit::Exit;

/// What has arrived.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    interrupted: Arc<AtomicBool>,
    which: Arc<AtomicI32>,
    status: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn catch() -> std::io::Result<Self> {
        let signals = Self::default();
        for (signal, exit) in [(SIGINT, Exit::Interrupted), (SIGTERM, Exit::Terminated)] {
            // In this order: the flag is still false for the first signal, and true for the second.
            let code = i32::from(exit.code());
            let flag = Arc::clone(&signals.interrupted);
            signal_hook::flag::register_conditional_shutdown(signal, code, flag)?;
            let which = Arc::clone(&signals.which);
            // SAFETY: 1. an atomic store is async-signal-safe; 2. the action owns what it stores to;
            // 3. it can't panic.
            unsafe {
                signal_hook::low_level::register(signal, move || {
                    which.store(signal, Ordering::Relaxed);
                })?;
            }
            signal_hook::flag::register(signal, Arc::clone(&signals.interrupted))?;
        }
        signal_hook::flag::register(SIGUSR1, Arc::clone(&signals.status))?;
        Ok(signals)
    }

    /// The exit code of the signal that came, if one did.
    pub fn interrupted(&self) -> Option<Exit> {
        if !self.interrupted.load(Ordering::Relaxed) {
            return None;
        }
        let terminated = self.which.load(Ordering::Relaxed) == SIGTERM;
        Some(if terminated { Exit::Terminated } else { Exit::Interrupted })
    }

    /// Was a status line asked for since the last look?
    pub fn wants_status(&self) -> bool {
        self.status.swap(false, Ordering::Relaxed)
    }

    /// As if a signal had come.
    #[cfg(test)]
    pub(crate) fn pretend(&self, signal: i32) {
        self.which.store(signal, Ordering::Relaxed);
        self.interrupted.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_its_exit_code() {
        let signals = Signals::default();
        assert_eq!(signals.interrupted(), None);
        signals.pretend(SIGINT);
        assert_eq!(signals.interrupted(), Some(Exit::Interrupted));
        signals.pretend(SIGTERM);
        assert_eq!(signals.interrupted(), Some(Exit::Terminated));
    }
}
