//! A report for posting: names, pids, users, paths and hosts replaced, the answer unchanged.
//!
//! **What.** Every message of a report is written out whole, one a line, with the names in it replaced
//! by `task1`, `set1`, `/group1`, and times counted from the first; lines of others are left out, and
//! so are hosts, hardware names and addresses.
//!
//! **Differs.** Names of kernel threads stay: that kswapd asked decides.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::lines::{self, Assembler, Message, begins, has_request};
use crate::{tasks, zones};

/// The text's reports, with nothing in them that tells whose they are.
pub fn anonymized(text: &str) -> String {
    let text = lines::ordered(text);
    let mut assembler = Assembler::default();
    assembler.learn(&text);
    let mut names = Names::default();
    let mut out = String::new();
    for line in text.lines() {
        for message in assembler.push(line) {
            names.message(&message, &mut out);
        }
    }
    if let Some(message) = assembler.end() {
        names.message(&message, &mut out);
    }
    out
}

#[derive(Debug, Default)]
struct Names {
    tasks: BTreeMap<String, String>,
    sets: BTreeMap<String, String>,
    groups: BTreeMap<String, String>,
    pids: BTreeMap<String, String>,
    header: Vec<String>,
    start: Option<f64>,
    in_report: bool,
}

/// The replacement of a name, or a new one.
fn replaced(
    known: &mut BTreeMap<String, String>,
    name: &str,
    new: impl Fn(usize) -> String,
) -> String {
    let next = known.len() + 1;
    known.entry(name.to_owned()).or_insert_with(|| new(next)).clone()
}

impl Names {
    fn task(&mut self, name: &str) -> String {
        let kernel = ["kswapd", "kworker", "swapper", "khugepaged", "kcompactd", "kthreadd"];
        if kernel.iter().any(|k| name.starts_with(k)) {
            return name.to_owned();
        }
        replaced(&mut self.tasks, name, |n| format!("task{n}"))
    }

    fn set(&mut self, name: &str) -> String {
        if name == "/" {
            "/".to_owned()
        } else {
            replaced(&mut self.sets, name, |n| format!("set{n}"))
        }
    }

    fn group(&mut self, path: &str) -> String {
        if path == "/" {
            "/".to_owned()
        } else {
            replaced(&mut self.groups, path, |n| format!("/group{n}"))
        }
    }

    fn pid(&mut self, pid: &str) -> String {
        replaced(&mut self.pids, pid.trim(), |n| (1000 + n).to_string())
    }

    fn message(&mut self, message: &Message, out: &mut String) {
        let text = message.text.trim();
        if has_request(text) {
            self.in_report = true;
        }
        if !self.in_report {
            return;
        }
        let Some(line) = self.line(text) else { return };
        if let Some(time) = message.time {
            let start = *self.start.get_or_insert(time);
            let _ = write!(out, "[{:>12.6}] ", time - start + 1.0);
        }
        out.push_str(&line);
        out.push('\n');
    }

    /// The line without what tells; `None` for what is no part of a report.
    fn line(&mut self, text: &str) -> Option<String> {
        if has_request(text) {
            return self.request(text);
        }
        if let Some(header) = tasks::header(text) {
            self.header = header;
            return Some(text.to_owned());
        }
        if text.starts_with('[') {
            return self.row(text);
        }
        if let Some(rest) = text.strip_prefix("oom-kill:") {
            return Some(format!("oom-kill:{}", self.summary(rest)));
        }
        if text.contains("rocess ") && (text.contains("ill") || text.contains("reaped")) {
            return Some(self.kill(text));
        }
        if (text.starts_with("CPU:") || text.starts_with("Pid:")) && text.contains("omm: ") {
            return Some(self.cpu(text));
        }
        if let Some((comm, rest)) = text.split_once(" cpuset=") {
            return Some(format!("{} cpuset={}", self.task(comm), self.cpuset(rest)));
        }
        if let Some(path) = text.strip_prefix("Memory cgroup stats for ") {
            let (path, rest) = path.split_once(':').unwrap_or((path, ""));
            return Some(format!("Memory cgroup stats for {}:{rest}", self.group(path)));
        }
        if text.starts_with("Task in ") {
            let words = text
                .split(' ')
                .map(|w| if w.starts_with('/') { self.group(w) } else { w.to_owned() });
            return Some(words.collect::<Vec<_>>().join(" "));
        }
        if text.contains("+0x") && !text.starts_with("RIP") {
            let function = text.split_whitespace().find(|w| w.contains("+0x"))?;
            return Some(format!(" {}", function.trim_start_matches(']')));
        }
        let tells = ["Hardware name", "RIP", "Code:", "RSP:", "Modules linked", "Linux version"];
        let is_part =
            begins(text) || zones::line(text).is_some() || crate::grammar::is_totals(text);
        (is_part && !tells.iter().any(|t| text.starts_with(t))).then(|| text.to_owned())
    }

    fn request(&mut self, text: &str) -> Option<String> {
        for mark in [" invoked oom-killer:", ": page allocation"] {
            if let Some(at) = text.find(mark) {
                let (comm, rest) = text.split_at(at);
                let rest = match rest.split_once("cpuset=") {
                    Some((head, tail)) => format!("{head}cpuset={}", self.cpuset(tail)),
                    None => rest.to_owned(),
                };
                return Some(self.task(comm.trim()) + &rest);
            }
        }
        None
    }

    /// `jobs mems_allowed=1` or `jobs,mems_allowed=1...`
    fn cpuset(&mut self, text: &str) -> String {
        let end =
            text.find(" mems_allowed").or_else(|| text.find(",mems_allowed")).unwrap_or(text.len());
        self.set(&text[..end]) + &text[end..]
    }

    fn row(&mut self, text: &str) -> Option<String> {
        let row = tasks::row(text, &self.header)?;
        let pid = self.pid(&row.pid.to_string());
        let mut line = format!("[{pid:>7}]");
        for column in self.header.clone() {
            let value = row.columns.get(&column);
            match (column.as_str(), value) {
                ("tgid", Some(tgid)) => {
                    let tgid = self.pid(&tgid.to_string());
                    let _ = write!(line, " {tgid:>7}");
                }
                // Root counts less up to 4.16.
                ("uid", Some(uid)) => {
                    let _ = write!(line, " {:>5}", if *uid == 0 { 0 } else { 1000 });
                }
                (_, Some(value)) => {
                    let _ = write!(line, " {value:>8}");
                }
                (_, None) => {}
            }
        }
        let _ = write!(line, " {}", self.task(&row.name));
        Some(line)
    }

    fn summary(&mut self, text: &str) -> String {
        let (head, tail) = text.split_once(",cpuset=").unwrap_or((text, ""));
        let mut line = head.to_owned();
        let mut rest = tail;
        let at = rest.find(",mems_allowed=").unwrap_or(rest.len());
        if !tail.is_empty() {
            let _ = write!(line, ",cpuset={}", self.set(&rest[..at]));
        }
        rest = &rest[at..];
        for (key, until) in
            [("oom_memcg=", ",task_memcg="), ("task_memcg=", ",task="), ("task=", ",pid=")]
        {
            let Some(from) = rest.find(key).map(|at| at + key.len()) else { continue };
            let end = rest[from..].find(until).map_or(rest.len(), |end| from + end);
            let value = &rest[from..end];
            let new = if key == "task=" { self.task(value) } else { self.group(value) };
            line.push_str(&rest[..from]);
            line.push_str(&new);
            rest = &rest[end..];
        }
        if let Some(pid) = rest.strip_prefix(",pid=") {
            let pid = pid.split(',').next().unwrap_or_default();
            let _ = write!(line, ",pid={},uid=0", self.pid(pid));
        } else {
            line.push_str(rest);
        }
        line
    }

    /// `... process 701 (hog) ...` or `... process 701, UID 0, (hog) ...`
    fn kill(&mut self, text: &str) -> String {
        let Some(at) = text.find("rocess ").map(|at| at + "rocess ".len()) else {
            return text.to_owned();
        };
        let digits = text[at..].find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len() - at);
        let pid = &text[at..at + digits];
        let mut line = format!("{}{}", &text[..at], self.pid(pid));
        let rest = &text[at + digits..];
        let Some((before, name)) = rest.split_once('(') else {
            line.push_str(rest);
            return line;
        };
        let end = [") score", ") total-vm", ") vsz", "), UID", "), now", ")"]
            .iter()
            .find_map(|mark| name.find(mark))
            .unwrap_or(name.len());
        let before = if before.contains("UID") { ", UID 0, " } else { before };
        let after = name[end..].replace("UID:", "UID:0 ");
        let after = match after.split_once("UID:0 ") {
            Some((head, tail)) => {
                let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit()).trim_start();
                format!("{head}UID:0 {tail}")
            }
            None => after,
        };
        let _ = write!(line, "{before}({}{after}", self.task(&name[..end]));
        line
    }

    fn cpu(&mut self, text: &str) -> String {
        let mut line = String::new();
        let mut rest = text;
        for key in ["PID: ", "Pid: "] {
            if let Some(at) = rest.find(key).map(|at| at + key.len()) {
                let end =
                    rest[at..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |e| at + e);
                let pid = self.pid(&rest[at..end]);
                line.push_str(&rest[..at]);
                line.push_str(&pid);
                rest = &rest[end..];
                break;
            }
        }
        if let Some(at) = rest.find("omm: ").map(|at| at + "omm: ".len()) {
            let end = [" Not tainted", " Tainted"]
                .iter()
                .find_map(|mark| rest[at..].find(mark))
                .map_or(rest.len(), |e| at + e);
            let comm = self.task(&rest[at..end]);
            line.push_str(&rest[..at]);
            line.push_str(&comm);
            rest = &rest[end..];
        }
        line + rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_tells_whose_report_it_is() {
        let text = "Dec  1 11:15:48 secret-host kernel: [ 5.0] my_db invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.1] CPU: 1 PID: 4711 Comm: my_db Not tainted 6.1.0 #1\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.1] Hardware name: Secret Inc.\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.2] Tasks state (memory values in pages):\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.2] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.2] [   4711]  1234  4711    77145    25763   241664        0             0 my_db\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.3] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=vault,mems_allowed=0,global_oom,task_memcg=/vault/a,task=my_db,pid=4711,uid=1234\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.4] Out of memory: Killed process 4711 (my_db) total-vm:9kB, anon-rss:6kB, file-rss:0kB, shmem-rss:0kB, UID:1234 pgtables:9kB oom_score_adj:0\n\
                    Dec  1 11:15:48 secret-host kernel: [ 5.5] eth0: link to 10.1.2.3 is up\n";
        let found = anonymized(text);
        for word in ["secret", "Secret", "my_db", "4711", "vault", "1234", "10.1.2.3"] {
            assert!(!found.contains(word), "{word}: {found}");
        }
        let (mut before, mut after) =
            (crate::reports(text).remove(0), crate::reports(&found).remove(0));
        let victim = |r: &mut crate::Report| {
            let mut v = r.victim.take().unwrap();
            v.fields.remove("UID");
            (
                v.fields.clone(),
                r.tasks.remove(0).columns["rss"],
                r.gfp.take(),
                r.order,
                r.release.take(),
            )
        };
        assert_eq!(victim(&mut before), victim(&mut after));
    }
}
