//! cpuset01 on real threads: no premature OOM in mainline, and every page comes back.

use crate::run::{assert_every_page_is_back, run, steps};
use allocator::machine::Machine;
use allocator::policy::Policy;
use workloads::{OptionValue, Options};

#[test]
fn every_page_comes_back() {
    for binding in ["task", "vma", "none"] {
        let mut options = Options::default();
        options.set("policy", OptionValue::Text(binding.to_owned()));
        let machine = Machine::uniform(2, 1, 16384);
        let ran = run("cpuset01", machine, Policy::mainline(), &options, 5, steps(2000));
        assert_every_page_is_back(&ran, binding);
        assert_eq!(ran.kernel.findings.nr_findings(true), 0, "{binding}");
    }
}
