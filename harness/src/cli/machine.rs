//! `stress machine`: a machine as the model sees it, beside what its own kernel says.

use std::fmt::Write as _;

use allocator::machine::Machine;
use results::format::plural;
use serde::Serialize;

use super::args::{MachineCommand, TextOrJson};
use super::exit::{Exit, Stop, print};
use crate::machine::computed::{self, Computed, Difference, FallbackOrder, Zone};
use crate::machine::zoneinfo::ZoneEntry;
use crate::machine::{KernelSaid, Loaded, MachineInputError, capture, host, load_with_kernel};
use crate::show::say;

/// Version of the JSON document.
pub const SCHEMA: &str = "mm-stress-machine/1";

/// Prints the machine; captures the host first if asked to.
///
/// # Errors
/// If there is no such machine, the variant is unknown, or the capture can't be written.
pub fn run(args: &MachineCommand) -> Result<Exit, Stop> {
    let policy = super::policy(&args.variant)?;
    if let Some(dir) = &args.capture {
        let name =
            dir.file_name().map_or_else(|| "captured".to_owned(), |n| n.to_string_lossy().into());
        capture::Files::of_host()?.write(dir, &host::layout()?, &name)?;
        say(format_args!(
            "stress: this host is in {0}: model it anywhere with --machine {0}",
            dir.display()
        ));
    }
    let mut loaded = load_with_kernel(&args.machine.spec())?;
    let computed = computed::compute(&loaded.machine, &policy);
    if let Some(kernel) = &mut loaded.kernel {
        loaded.notes.0.extend(computed::find_hidden_boosts(kernel));
    }
    let differences = loaded.kernel.as_ref().map(|k| computed::differences(&computed, k));
    let view = View { loaded: &loaded, computed: &computed, differences, variant: &args.variant };
    match args.format {
        TextOrJson::Text => print(&view.text())?,
        TextOrJson::Json => {
            for note in &loaded.notes.0 {
                say(format_args!("stress: note: {note}"));
            }
            print(&view.json())?;
        }
    }
    if args.check {
        print(&check())?;
    }
    Ok(Exit::Ok)
}

impl From<MachineInputError> for Stop {
    fn from(error: MachineInputError) -> Self {
        match error {
            MachineInputError::Host(_) => Self::cannot_run(error.to_string()),
            MachineInputError::Input { .. }
            | MachineInputError::Machine { .. }
            | MachineInputError::Flag { .. } => Self::usage(error.to_string()),
        }
    }
}

struct View<'a> {
    loaded: &'a Loaded,
    computed: &'a Computed,
    differences: Option<Vec<Difference>>,
    variant: &'a str,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    name: &'a str,
    variant: &'a str,
    kernel: Option<&'a str>,
    nodes: Vec<NodeInDocument>,
    cpus: usize,
    block_pages: u32,
    settings: SettingsInDocument,
    min_free_kbytes: u64,
    zones: &'a [Zone],
    fallback_order: &'a [FallbackOrder],
    differences: Option<&'a [Difference]>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct NodeInDocument {
    id: u16,
    cpus: String,
    distances: Vec<u8>,
    managed: u64,
}

#[derive(Serialize)]
struct SettingsInDocument {
    watermark_scale_factor: u32,
    user_min_free_kbytes: Option<u64>,
    lowmem_reserve_ratio: [u32; 4],
    percpu_pagelist_high_fraction: u32,
    watermark_boost_factor: u32,
    thp: bool,
}

impl View<'_> {
    fn machine(&self) -> &Machine {
        &self.loaded.machine
    }

    fn nodes(&self) -> Vec<NodeInDocument> {
        let machine = self.machine();
        let cpus_of =
            |node| machine.cpus.iter().filter(move |c| c.node == node).map(|c| c.os_index);
        let node = |n: &allocator::machine::Node| NodeInDocument {
            id: n.id.0,
            cpus: cpus_of(n.id).collect::<crate::machine::lists::IdList>().to_string(),
            distances: n.distances.clone(),
            managed: n.zones.iter().map(|z| z.managed_pages).sum(),
        };
        machine.nodes.iter().map(node).collect()
    }

    fn json(&self) -> String {
        let machine = self.machine();
        let settings = &machine.settings;
        let document = Document {
            schema: SCHEMA,
            name: &machine.name,
            variant: self.variant,
            kernel: self.loaded.kernel.as_ref().and_then(|k| k.release.as_deref()),
            nodes: self.nodes(),
            cpus: machine.cpus.len(),
            block_pages: machine.block_pages,
            settings: SettingsInDocument {
                watermark_scale_factor: settings.watermark_scale_factor,
                user_min_free_kbytes: settings.user_min_free_kbytes,
                lowmem_reserve_ratio: settings.lowmem_reserve_ratio,
                percpu_pagelist_high_fraction: settings.percpu_pagelist_high_fraction,
                watermark_boost_factor: settings.watermark_boost_factor,
                thp: settings.thp,
            },
            min_free_kbytes: self.computed.min_free_kbytes,
            zones: &self.computed.zones,
            fallback_order: &self.computed.fallback_order,
            differences: self.differences.as_deref(),
            notes: &self.loaded.notes.0,
        };
        serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
    }

    fn text(&self) -> String {
        let mut text = self.head();
        text +=
            "\nnode zone             managed      min      low     high  pcp high     max batch\n";
        for zone in self.computed.zones.iter().filter(|z| z.managed > 0 || z.min > 0) {
            self.zone(&mut text, zone);
        }
        text.push('\n');
        for order in &self.computed.fallback_order {
            let nodes: Vec<String> = order.order.iter().map(u16::to_string).collect();
            let _ = writeln!(text, "fallback order of node {}: {}", order.node, nodes.join(" "));
        }
        self.verdict(&mut text);
        text
    }

    fn head(&self) -> String {
        let machine = self.machine();
        let s = &machine.settings;
        let mut text = format!(
            "machine  {}: {}, {}, {:.1} GiB managed, as {} computes it\n",
            machine.name,
            plural(machine.nodes.len(), "node"),
            plural(machine.cpus.len(), "CPU"),
            machine.managed_pages() as f64 / (1 << 18) as f64,
            self.variant,
        );
        for node in self.nodes() {
            let distances: Vec<String> = node.distances.iter().map(u8::to_string).collect();
            let cpus = if node.cpus.is_empty() { "none" } else { &node.cpus };
            let (id, distances) = (node.id, distances.join(" "));
            let _ = writeln!(
                text,
                "node {id:<3} CPUs {cpus}, {} MiB, distances {distances}",
                node.managed >> 8
            );
        }
        let by = if s.user_min_free_kbytes.is_some() { " (set by hand)" } else { "" };
        let _ = writeln!(
            text,
            "vm       min_free_kbytes {}{by}, watermark_scale_factor {}, thp {}",
            self.computed.min_free_kbytes,
            s.watermark_scale_factor,
            if s.thp { "on" } else { "never" },
        );
        for note in &self.loaded.notes.0 {
            let _ = writeln!(text, "note     {note}");
        }
        text
    }

    /// A zone's row, and its kernel's own under it.
    fn zone(&self, text: &mut String, zone: &Zone) {
        let max = |max: Option<u64>| max.map_or_else(|| "-".to_owned(), |m| m.to_string());
        let pcp = (zone.pcp.high, max(zone.pcp.high_max), zone.pcp.batch);
        let head = format!("{:>4} {:<8}", zone.node, zone.name);
        let marks = [zone.managed, zone.min, zone.low, zone.high];
        row(text, &head, "model", marks, zone.present > 0, pcp);
        if let Some(entry) = self.kernel_zone(zone) {
            let first = entry.pcp.first().copied().unwrap_or_default();
            let pcp = (first.high_min.unwrap_or(first.high), max(first.high_max), first.batch);
            let boost = entry.boost.unwrap_or(0);
            let [min, low, high] =
                [entry.min, entry.low, entry.high].map(|mark| mark.saturating_sub(boost));
            let marks = [entry.managed, min, low, high];
            row(text, "", "kernel", marks, !entry.pcp.is_empty(), pcp);
        }
        let protection: Vec<String> = zone.protection.iter().map(u64::to_string).collect();
        let _ = writeln!(text, "{:14}protection ({})", "", protection.join(", "));
    }

    fn kernel(&self) -> Option<&KernelSaid> {
        self.loaded.kernel.as_ref()
    }

    fn kernel_zone(&self, zone: &Zone) -> Option<&ZoneEntry> {
        let same = |e: &&ZoneEntry| e.node == u32::from(zone.node) && e.name == zone.name;
        self.kernel()?.zoneinfo.zones.iter().find(same)
    }

    fn verdict(&self, text: &mut String) {
        let Some(differences) = &self.differences else { return };
        let release =
            self.kernel().and_then(|k| k.release.clone()).unwrap_or_else(|| "?".to_owned());
        if differences.is_empty() {
            let _ = writeln!(text, "\nequal to its kernel ({release}) in every figure");
            return;
        }
        let _ = writeln!(text, "\ndiffers from its kernel ({release}) in:");
        for d in differences {
            let _ = writeln!(text, "  {}: model {}, kernel {}", d.what, d.model, d.kernel);
        }
        let own = computed::release_of_kernel(&release).map(|r| r.word());
        if let Some(own) = own.filter(|own| *own != self.variant) {
            let _ = writeln!(text, "  the nearest preset to that kernel is --variant {own}");
        }
    }
}

fn row(
    text: &mut String,
    head: &str,
    who: &str,
    [managed, min, low, high]: [u64; 4],
    populated: bool,
    (pcp_high, pcp_max, batch): (u64, String, u64),
) {
    let _ = write!(text, "{head:<13} {who:<6} {managed:>9} {min:>8} {low:>8} {high:>8}");
    if populated {
        let _ = write!(text, " {pcp_high:>9} {pcp_max:>7} {batch:>5}");
    }
    text.push('\n');
}

/// What makes figures of this host noisy, and how to mend it.
fn check() -> String {
    let notes = results::host::notes(&results::host::read(), None);
    if notes.is_empty() {
        return "\nnothing on this host is known to make measurements noisy\n".to_owned();
    }
    let mut text = String::from("\nmakes measurements on this host noisy:\n");
    for note in notes {
        let _ = writeln!(text, "  {}", note.text);
        let mend = note.mend.as_deref().unwrap_or("only another machine mends this");
        let _ = writeln!(text, "      {mend}");
    }
    text
}
