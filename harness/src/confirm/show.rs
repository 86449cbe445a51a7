//! Prints of a task's state at a point: the proof that it is the right place.

use super::layout::Layout;
use super::recipe::Show;
use super::remote::{Broken, Registers, Remote};

/// What `show` says of the state behind these registers.
///
/// # Errors
/// The guest has ended; what can't be read is told as such.
pub fn show(
    remote: &mut Remote,
    layout: &Layout,
    registers: &Registers,
    show: &Show,
) -> Result<String, Broken> {
    let (Show::Zonelist(register) | Show::Nodemask(register) | Show::Page(register)) = show;
    let Some(at) = registers.get(register) else {
        return Ok(format!("no register {register}"));
    };
    let told = match show {
        Show::Zonelist(_) => zonelist(remote, layout, at),
        Show::Nodemask(_) => nodemask(remote, at).map(|mask| format!("nodemask {mask}")),
        Show::Page(_) => page(remote, layout, at),
    };
    match told {
        Err(Broken::Refused { asked, .. }) => Ok(format!("can't be read ({asked})")),
        other => other,
    }
}

fn nodemask(remote: &mut Remote, at: u64) -> Result<String, Broken> {
    if at == 0 {
        return Ok("NULL".to_owned());
    }
    let word = remote.u64(at)?;
    let nodes: Vec<String> =
        (0..64).filter(|n| word >> n & 1 == 1).map(|n| n.to_string()).collect();
    Ok(format!("{{{}}}", nodes.join(",")))
}

/// `alloc_context`: `nodemask {1}, preferred = entry 1, zonelist [Movable of 1, *Normal of 1, ...]`.
fn zonelist(remote: &mut Remote, layout: &Layout, at: u64) -> Result<String, Broken> {
    let [list, mask, preferred, highest] = layout.context;
    let (list, mask) = (remote.u64(at + list)?, remote.u64(at + mask)?);
    let (preferred, highest) = (remote.u64(at + preferred)?, remote.u32(at + highest)?);
    let mut entries = Vec::new();
    for index in 0..12 {
        let entry = list + index * layout.zoneref;
        let zone = remote.u64(entry)?;
        if zone == 0 {
            break;
        }
        let name = remote.u64(zone + layout.zone[0])?;
        let name = remote.text(name, 16)?;
        let node = remote.u64(zone + layout.zone[1])?;
        let node = remote.u32(node + layout.node)?;
        entries.push(format!("{}{name} of {node}", if entry == preferred { "*" } else { "" }));
    }
    let index = preferred.wrapping_sub(list) / layout.zoneref.max(1);
    if index >= entries.len() as u64 {
        entries.push("*end".to_owned());
    }
    let mask = nodemask(remote, mask)?;
    Ok(format!(
        "nodemask {mask}, highest zone {highest}, preferred = entry {index}, zonelist [{}]",
        entries.join(", ")
    ))
}

fn page(remote: &mut Remote, layout: &Layout, at: u64) -> Result<String, Broken> {
    if at == 0 {
        return Ok("no page".to_owned());
    }
    let base = remote.u64(layout.vmemmap)?;
    let pfn = at.wrapping_sub(base) / layout.page[0].max(1);
    let references = remote.u32(at + layout.page[1])?;
    Ok(format!("page {pfn:#x} of memory block {}, refcount {references}", pfn >> 15))
}
