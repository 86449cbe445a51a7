//! Reads OOM and allocation-failure reports out of what people paste.
//!
//! **What.** Text of any kind that holds kernel messages (dmesg, syslog, a journal, a mail with quotes
//! and wrapped lines, JSON) goes in; [`Report`]s come out as plain values: the request, zones with marks
//! and free blocks, totals, tasks, the victim. In three steps: [`prefix`] takes off what others put
//! before a message, [`lines`] joins what was wrapped, [`grammar`] reads the messages.
//!
//! **Why.** A report is met in a hundred forms and in parts. What is not there is `None`, never a
//! guess, so that whoever judges it can name what is missing.
//!
//! **Source.** The forms that mm/show_mem.c, mm/page_alloc.c and mm/oom_kill.c print from 2.6.32 to
//! 6.19.
//!
//! **Differs.** Knows no model and no rule of the allocator: figures are as printed, in kB where the
//! kernel prints kB and in pages where it prints pages.

pub mod anonymous;
pub mod gfp;
pub mod grammar;
pub mod lines;
pub mod prefix;
pub mod tasks;
pub mod value;
pub mod zones;

pub use grammar::{Item, Reader};
pub use value::{
    Blocks, Constraint, Gfp, Kind, Mask, Memcg, NodeLine, Reaped, Report, TaskRow, Version, Victim,
    Zone,
};

/// All that a whole text holds, in its order (parts of a pstore the oldest first).
pub fn read(text: &str) -> Vec<Item> {
    let mut reader = Reader::default();
    let text = lines::ordered(text);
    reader.learn(&text);
    let mut items = Vec::new();
    for line in text.lines() {
        items.extend(reader.push(line));
    }
    items.extend(reader.end());
    items
}

/// The reports of a whole text alone.
pub fn reports(text: &str) -> Vec<Report> {
    let report = |item| match item {
        Item::Report(report) => Some(*report),
        Item::Reaped(_) => None,
    };
    read(text).into_iter().filter_map(report).collect()
}
