//! The workloads on real threads: what each variant shows, and that every page comes back.

mod cpuset01;
mod mbind_churn;
mod offline_free;
mod oom_storm;
mod page_alloc;
mod run;
mod zonelist_rebuild;
