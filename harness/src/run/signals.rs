//! Ctrl-C and friends.
//!
//! **What.** The first SIGINT, SIGTERM, SIGHUP or SIGQUIT ends the run at the next step, with a partial
//! result; the second ends the process at once. SIGUSR1 asks for a status line. A file that grows past
//! the limit (SIGXFSZ) is an error of that write, not the end.
//!
//! **Why.** Slurm and `timeout` send SIGTERM, a lost connection SIGHUP; hours of measuring must not be
//! lost to either. Under `nohup`, which has SIGHUP ignored, it stays so.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

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
        for signal in [SIGINT, SIGTERM, SIGHUP, SIGQUIT] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            // In this order: the flag is still false for the first signal, and true for the second.
            let code = 128 + signal;
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
        // Caught, so that the write fails with EFBIG instead; nobody looks at the flag.
        signal_hook::flag::register(libc::SIGXFSZ, Arc::default())?;
        Ok(signals)
    }

    /// The exit code of the signal that came, if one did.
    pub fn interrupted(&self) -> Option<Exit> {
        if !self.interrupted.load(Ordering::Relaxed) {
            return None;
        }
        Exit::of_signal(self.which.load(Ordering::Relaxed)).or(Some(Exit::Interrupted))
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

/// Was the process started with the signal ignored?
fn is_ignored(signal: i32) -> bool {
    let mut now = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: 1. with no new action sigaction only writes the present one to `now`, which is valid and
    // large enough; 2. all bits 0 are a sigaction, so it is initialised if the call fails, too.
    let now = unsafe {
        libc::sigaction(signal, std::ptr::null(), now.as_mut_ptr());
        now.assume_init()
    };
    now.sa_sigaction == libc::SIG_IGN
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
        signals.pretend(SIGHUP);
        assert_eq!(signals.interrupted().map(Exit::code), Some(129));
        signals.pretend(SIGQUIT);
        assert_eq!(signals.interrupted().map(Exit::code), Some(131));
    }
}
