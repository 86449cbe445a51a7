//! The table of tasks and the lines about the victim.

use std::collections::BTreeMap;

use crate::value::{TaskRow, Victim};
use crate::zones::number;

/// Words of `[ pid ]   uid  tgid total_vm ... name`; `None` if it is not that line.
pub fn header(text: &str) -> Option<Vec<String>> {
    let (pid, rest) = text.trim_start().strip_prefix('[')?.split_once(']')?;
    if pid.trim() != "pid" {
        return None;
    }
    let words: Vec<String> = rest.split_whitespace().map(str::to_owned).collect();
    words.last().is_some_and(|w| w == "name").then_some(words)
}

/// A row under that header.
pub fn row(text: &str, header: &[String]) -> Option<TaskRow> {
    let (pid, mut rest) = text.trim_start().strip_prefix('[')?.split_once(']')?;
    let pid = pid.trim().parse().ok()?;
    let mut columns = BTreeMap::new();
    for word in &header[..header.len().checked_sub(1)?] {
        rest = rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        columns.insert(word.clone(), rest[..end].parse().ok()?);
        rest = &rest[end..];
    }
    Some(TaskRow { pid, name: rest.trim().to_owned(), columns })
}

/// `Killed process 701 (hog) total-vm:...`, `Killed process 701, UID 0, (hog) total-vm:...`: what
/// follows `Killed process`.
pub fn victim(text: &str) -> Option<Victim> {
    let (pid, rest) = pid(text)?;
    let name = rest.split_once('(')?.1;
    // A name may hold parentheses: the figures begin behind the last one that is closed.
    let end = name
        .find(") total-vm")
        .or_else(|| name.find(") vsz"))
        .or_else(|| name.find("), UID"))
        .or_else(|| name.find(')'))
        .unwrap_or(name.len());
    let mut fields = BTreeMap::new();
    for word in name[end..].split([' ', ',']) {
        if let Some((key, value)) = word.rsplit_once(':')
            && let Some(value) = number(value)
        {
            fields.insert(key.trim_start_matches(')').to_owned(), value);
        }
    }
    Some(Victim { pid, name: name[..end].to_owned(), fields, ..Victim::default() })
}

/// `500 (task) score 3 or sacrifice child`: what follows `Kill process`.
pub fn chosen(text: &str) -> Option<(u32, String)> {
    let (pid, rest) = pid(text)?;
    let name = rest.split_once('(')?.1;
    let end = name.rfind(") score").or_else(|| name.find(')')).unwrap_or(name.len());
    Some((pid, name[..end].to_owned()))
}

fn pid(text: &str) -> Option<(u32, &str)> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    Some((text[..end].parse().ok()?, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_follow_their_header() {
        let head =
            header("[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name");
        let head = head.unwrap();
        let found =
            row("[  701]     0   701  4000000  3500000   7000        0          -5 my hog", &head);
        let found = found.unwrap();
        assert_eq!((found.pid, found.name.as_str()), (701, "my hog"));
        assert_eq!((found.columns["rss"], found.columns["oom_score_adj"]), (3_500_000, -5));
        assert_eq!(row("[  701]     0   701", &head), None);
    }

    #[test]
    fn victims_of_all_releases() {
        for line in [
            " 701 (hog) total-vm:16000kB, anon-rss:14000kB, file-rss:8kB",
            " 701, UID 0, (hog) total-vm:16000kB, anon-rss:14000kB, file-rss:8kB",
            " 701 (hog), UID 0, total-vm:16000kB, anon-rss:14000kB, file-rss:8kB, shmem-rss:0kB",
            " 701 (hog) vsz:16000kB, anon-rss:14000kB, file-rss:8kB",
            " 701 (hog) total-vm:1kB, anon-rss:14000kB, file-rss:8kB, shmem-rss:0kB, UID:0 pgtables:9kB",
        ] {
            let found = victim(line).unwrap();
            assert_eq!((found.pid, found.name.as_str()), (701, "hog"), "{line}");
            assert_eq!(found.rss_kb(), Some(14_008), "{line}");
        }
        assert_eq!(victim(" 7 ((sd-pam)) total-vm:1kB").unwrap().name, "(sd-pam)");
        assert_eq!(chosen(" 500 (task) score 3 or sacrifice child"), Some((500, "task".into())));
    }
}
