//! Recipes: how a family's world is made on a real machine, and what tells its outcome.
//!
//! **What.** One file a family, read here and by the guest's program ([`super::guest`]): the nodes
//! of the guest, conditions and prints at points, the control's order, the fact that tells the
//! outcome, and behind `guest` the steps of each task. The order of the tasks is no part of it: the
//! schedule brings that.

use allocator_explore::explore::{At, Schedule};
use allocator_explore::race::Point;

/// A recipe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipe {
    /// Memory of each node, as QEMU takes it.
    pub nodes: Vec<String>,
    /// Memory that comes by hotplug: node and size.
    pub dimm: Option<(u32, String)>,
    /// More words for the kernel's command line.
    pub append: Vec<String>,
    /// Points of the model that are one place in the kernel.
    pub same: Vec<(Point, Point)>,
    /// What has to hold for a hit to count.
    pub when: Vec<(Point, Condition)>,
    /// Points at which nothing tells the request: they count only behind the second point, where its
    /// conditions held.
    pub via: Vec<(Point, Point)>,
    /// What is printed at a point.
    pub show: Vec<(Point, Show)>,
    /// The order without the race.
    pub control: Vec<Part>,
    /// The fact and its value if the race shows.
    pub race: (String, i64),
    /// And if it does not.
    pub well: (String, i64),
    /// Numbers of the tasks, as in schedules, and their names.
    pub tasks: Vec<(usize, String)>,
    /// What the guest is told.
    pub guest: String,
}

/// `register & mask = value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// Its name.
    pub register: String,
    /// Bits that count.
    pub mask: u64,
    /// What they have to be.
    pub value: u64,
}

/// A print of the state that proves a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// The alloc_context that a register points to.
    Zonelist(String),
    /// The nodemask that a register points to.
    Nodemask(String),
    /// The page that a register points to.
    Page(String),
}

/// A part of an order: a task runs until it comes to a point, or until its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The task's number.
    pub task: usize,
    /// Where it is paused.
    pub until: Option<Point>,
}

const ALL: &[(&str, &str)] =
    &[("J4e", include_str!("recipes/J4e.recipe")), ("J4f", include_str!("recipes/J4f.recipe"))];

/// Families that have a recipe.
pub fn known() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(|(name, _)| *name)
}

/// The recipe of a family.
pub fn find(family: &str) -> Option<Recipe> {
    let (_, text) = ALL.iter().find(|(name, _)| *name == family)?;
    // A test reads them all.
    Recipe::parse(text).ok()
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// The first line that is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut recipe = Self::default();
        let (head, guest) = text.split_once("\nguest\n").ok_or("has no line 'guest'")?;
        guest.clone_into(&mut recipe.guest);
        for (line, number) in head.lines().zip(1..) {
            let words: Vec<&str> = line.split_whitespace().collect();
            recipe.line(&words).map_err(|e| format!("line {number}: {e}"))?;
        }
        for line in guest.lines() {
            if let ["task", name, number, "cpu", _] = line.split(' ').collect::<Vec<_>>()[..] {
                let number = number.parse().map_err(|_| format!("'{line}'"))?;
                recipe.tasks.push((number, name.to_owned()));
            }
        }
        if recipe.nodes.is_empty() || recipe.tasks.is_empty() || recipe.race.0.is_empty() {
            return Err("lacks nodes, tasks or what tells the race".to_owned());
        }
        Ok(recipe)
    }

    fn line(&mut self, words: &[&str]) -> Result<(), String> {
        let fact = |name: &str, value: &str| {
            let value = value.parse().map_err(|_| format!("'{value}' is no number"))?;
            Ok::<_, String>((name.to_owned(), value))
        };
        match words {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["nodes", sizes @ ..] => self.nodes = sizes.iter().map(|s| (*s).to_owned()).collect(),
            ["dimm", node, size] => {
                let node = node.parse().map_err(|_| format!("'{node}' is no node"))?;
                self.dimm = Some((node, (*size).to_owned()));
            }
            ["append", words @ ..] => self.append.extend(words.iter().map(|w| (*w).to_owned())),
            ["via", of, first] => self.via.push((point(of)?, point(first)?)),
            ["same", of, place] => self.same.push((point(of)?, point(place)?)),
            ["when", at, register, "&", mask, "=", value] => {
                let register = (*register).to_owned();
                let condition = Condition { register, mask: number(mask)?, value: number(value)? };
                self.when.push((point(at)?, condition));
            }
            ["show", at, what, register] => {
                let register = (*register).to_owned();
                let show = match *what {
                    "zonelist" => Show::Zonelist(register),
                    "nodemask" => Show::Nodemask(register),
                    "page" => Show::Page(register),
                    other => return Err(format!("nothing to show as '{other}'")),
                };
                self.show.push((point(at)?, show));
            }
            ["control", parts @ ..] => {
                self.control = parts.iter().map(|p| part(p)).collect::<Result<_, _>>()?;
            }
            ["race", name, value] => self.race = fact(name, value)?,
            ["well", name, value] => self.well = fact(name, value)?,
            _ => return Err(format!("'{}'", words.join(" "))),
        }
        Ok(())
    }

    /// Where a point of the model is looked for.
    pub fn place(&self, point: Point) -> Point {
        self.same.iter().find(|(of, _)| *of == point).map_or(point, |(_, place)| *place)
    }

    /// The order of a schedule, in this recipe's places.
    ///
    /// # Errors
    /// A task or a point that the recipe doesn't have.
    pub fn order(&self, schedule: &Schedule) -> Result<Vec<Part>, String> {
        let mut parts: Vec<Part> = Vec::new();
        let mut last = None;
        for choice in &schedule.choices {
            let until = match choice.at {
                At::Point => {
                    let point = Point::from_number(choice.label).ok_or("a point without a name")?;
                    Some(self.place(point))
                }
                At::Block => None,
            };
            parts.push(Part { task: choice.task, until });
            last = Some(choice.to);
        }
        let end = |task| Part { task, until: None };
        parts.extend(last.map(end));
        // Then, as in the model, the first that can.
        for (task, _) in &self.tasks {
            let ended = parts.iter().any(|p| p.task == *task && p.until.is_none());
            if !ended {
                parts.push(end(*task));
            }
        }
        let known = |part: &&Part| !self.tasks.iter().any(|(task, _)| *task == part.task);
        match parts.iter().find(known) {
            Some(part) => Err(format!("the recipe has no task {}", part.task)),
            None => Ok(parts),
        }
    }
}

fn point(name: &str) -> Result<Point, String> {
    Point::from_name(name).ok_or_else(|| format!("no point '{name}'"))
}

fn number(text: &str) -> Result<u64, String> {
    let (digits, radix) = text.strip_prefix("0x").map_or((text, 10), |hex| (hex, 16));
    u64::from_str_radix(digits, radix).map_err(|_| format!("'{text}' is no number"))
}

/// `1`, or `1:B3_mask_word`.
fn part(text: &str) -> Result<Part, String> {
    let (task, until) = match text.split_once(':') {
        Some((task, until)) => (task, Some(point(until)?)),
        None => (text, None),
    };
    Ok(Part { task: task.parse().map_err(|_| format!("'{text}' is no task"))?, until })
}

#[cfg(test)]
mod tests {
    use super::*;
    use allocator_explore::explore::Choice;
    use allocator_explore::policy::Family;

    #[test]
    fn every_recipe_reads_and_names_a_family_with_a_world() {
        for (name, text) in ALL {
            let recipe = Recipe::parse(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            let family = Family::from_name(name).unwrap();
            assert!(workloads_explore::worlds::find(family).is_some(), "{name}");
            let known = |p: &Part| recipe.tasks.iter().any(|(task, _)| *task == p.task);
            assert!(!recipe.control.is_empty() && recipe.control.iter().all(known), "{name}");
            assert_eq!(recipe.race.0, recipe.well.0, "{name}: one fact tells both");
            assert_ne!(recipe.race.1, recipe.well.1, "{name}");
        }
    }

    #[test]
    fn an_order_is_the_schedules_and_then_the_first_that_can() {
        let recipe = find("J4f").unwrap();
        let choice = |task, point: Point, to| Choice {
            at: At::Point,
            task,
            ordinal: 3,
            label: point as u16,
            to,
        };
        let order = |choices| recipe.order(&Schedule { choices });
        let part = |task, until| Part { task, until };
        let walk = Some(Point::B3CpusetWord);
        assert_eq!(
            order(vec![choice(1, Point::B3CpusetWord, 2)]).unwrap(),
            [part(1, walk), part(2, None), part(1, None)]
        );
        assert_eq!(order(Vec::new()).unwrap(), [part(1, None), part(2, None)]);
        let twice = vec![choice(1, Point::B3CpusetWord, 2), choice(2, Point::L7Test, 1)];
        assert_eq!(
            order(twice).unwrap(),
            [part(1, walk), part(2, Some(Point::L7Test)), part(1, None), part(2, None)]
        );
        assert!(order(vec![choice(7, Point::L7Test, 1)]).unwrap_err().contains("no task 7"));
    }

    #[test]
    fn mistakes_in_a_recipe_are_named_with_their_line() {
        let check = |line: &str, words: &str| {
            let text = format!("nodes 1G\n{line}\nrace x 1\nguest\ntask A 1 cpu 0\n  turn\n");
            let error = Recipe::parse(&text).unwrap_err();
            assert!(error.contains("line 2") && error.contains(words), "{error}");
        };
        check("when S99 eax & 1 = 1", "no point 'S99'");
        check("when L7_test_isolated eax & one = 1", "'one' is no number");
        check("show L7_test_isolated lamp rax", "nothing to show as 'lamp'");
        check("control x", "'x' is no task");
        check("lamp on", "'lamp on'");
        assert!(Recipe::parse("nodes 1G").unwrap_err().contains("no line 'guest'"));
        assert!(Recipe::parse("nodes 1G\nguest\n").unwrap_err().contains("lacks"));
    }
}
