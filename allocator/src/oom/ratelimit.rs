//! The rate limit of reports: 10 in 5 s (`DEFINE_RATELIMIT_STATE` with the default values).

use crate::run::clock::NS_PER_S;
use crate::sync::Mutex;

/// `struct ratelimit_state` with the default interval and burst.
#[derive(Debug, Default)]
pub struct RateLimit {
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began_ns: Option<u64>,
    printed: u32,
}

impl RateLimit {
    /// Nanoseconds of a window.
    const INTERVAL_NS: u64 = 5 * NS_PER_S;
    /// Reports in a window.
    const BURST: u32 = 10;

    /// May one more be printed at this time?
    pub fn allows(&self, now_ns: u64) -> bool {
        let mut window = self.window.lock();
        if window.began_ns.is_none_or(|began| now_ns >= began + Self::INTERVAL_NS) {
            *window = Window { began_ns: Some(now_ns), printed: 0 };
        }
        window.printed += 1;
        window.printed <= Self::BURST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_reports_pass_in_five_seconds() {
        let limit = RateLimit::default();
        assert_eq!((0..20).filter(|n| limit.allows(n * NS_PER_S / 10)).count(), 10);
        assert!(!limit.allows(4_999_999_999));
        assert!(limit.allows(5 * NS_PER_S));
    }
}
