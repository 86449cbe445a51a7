//! A line that is redrawn on a terminal, and plain lines every some seconds elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::args::When;
use crate::show::say;

/// Plain lines come this often unless asked for otherwise.
const INTERVAL: Duration = Duration::from_secs(10);

/// Where progress goes.
#[derive(Debug)]
pub struct Live {
    bar: Option<ProgressBar>,
    interval: Option<Duration>,
    last: Instant,
}

impl Live {
    /// As `--progress` and `--status-interval` say.
    pub fn new(progress: When, interval: Option<Duration>, quiet: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let (live, plain) = match progress {
            When::Never => (false, None),
            When::Auto if quiet => (false, interval),
            When::Auto => (terminal, interval.or((!terminal).then_some(INTERVAL))),
            When::Always => (terminal, interval.or((!terminal).then_some(INTERVAL))),
        };
        let bar = live.then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(5));
            bar.set_style(
                ProgressStyle::with_template("{msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            );
            bar
        });
        Self { bar, interval: plain, last: Instant::now() }
    }

    /// Is anything shown at all?
    pub fn is_shown(&self) -> bool {
        self.bar.is_some() || self.interval.is_some()
    }

    /// Is the line redrawn?
    pub fn is_redrawn(&self) -> bool {
        self.bar.is_some()
    }

    /// The time between plain lines.
    pub fn interval(&self) -> Option<Duration> {
        self.interval
    }

    /// Counts the time to the next plain line from now.
    pub fn restart(&mut self) {
        self.last = Instant::now();
    }

    /// Is a plain line due, or will be within so long?
    pub fn is_due(&self, within: Duration) -> bool {
        self.interval.is_some_and(|i| self.last.elapsed() + within >= i)
    }

    /// Prints a line that stays.
    pub fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say(format_args!("{line}")),
        }
    }

    /// Redraws the line, if there is one.
    pub fn redraw(&self, line: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(line);
        }
    }

    /// Takes the line away.
    pub fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_by_themselves_only_where_nobody_redraws() {
        assert!(!Live::new(When::Never, Some(Duration::from_secs(1)), false).is_shown());
        assert!(!Live::new(When::Auto, None, true).is_shown());
        let asked = Live::new(When::Auto, Some(Duration::from_secs(1)), true);
        assert_eq!(asked.interval(), Some(Duration::from_secs(1)));
        assert!(asked.is_due(Duration::from_secs(2)) && !asked.is_due(Duration::ZERO));
    }
}
