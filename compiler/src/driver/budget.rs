//! Whether a program fits the memory of its device, and what is in the way if it does not.

use crate::report::size;
use sinter_ir::Diag;
use sinter_ir::program::{BufferLife, Loc, Program, Step};
use sinter_ir::target::Memory;

/// Entries that are named of a list of the largest.
const NAMED: usize = 4;

/// Bytes of the arena, inputs, outputs and states of fixed size, one by one; and what all need with the largest capacity.
pub fn memory(p: &Program) -> ([u64; 4], u64) {
    let ports = |ports: &[sinter_ir::program::Port]| ports.iter().map(|p| p.max_bytes).sum::<u64>();
    let states = p.state_offsets().1;
    let fixed = states.as_const().map_or(0, |n| n.max(0) as u64);
    let parts = [p.arena_bytes, ports(&p.inputs), ports(&p.outputs), fixed];
    let most = p.symbols.range(&states).1.max(0) as u64;
    (parts, parts.iter().sum::<u64>() - fixed + most)
}

/// Bytes of RAM: all of those with states of fixed size.
pub fn ram(p: &Program) -> u64 {
    memory(p).0.iter().sum()
}

/// All limits that a program exceeds. RAM holds the arena, inputs, outputs and states of fixed size; flash the weights:
/// how many bytes C becomes, its compiler decides, and the linker checks.
pub fn check(p: &Program, target: &str, limit: &Memory) -> Vec<Diag> {
    let ([arena, given, made, states], _) = memory(p);
    let ram = ram(p);
    let mut out = vec![];
    if let Some(room) = limit.ram_bytes.filter(|room| ram > *room) {
        let what = format!(
            "the model needs {} of RAM, {target} has {}: arena {}, inputs {}, outputs {}, states {}; {}",
            size(ram),
            size(room),
            size(arena),
            size(given),
            size(made),
            size(states),
            crowd(&p.timeline)
        );
        let help =
            "bound its dims with --dim, quantise its activations (QDQ), or say with --max-ram what there is";
        out.push(Diag::limit(what).help(help));
    }
    let weights = p.weights_bytes();
    if let Some(room) = limit.flash_bytes.filter(|room| weights > *room) {
        let what = format!(
            "the weights take {}, {target} has {} of flash; the largest: {}",
            size(weights),
            size(room),
            largest(p)
        );
        let help = "quantise the model, or say with --max-flash what there is";
        out.push(Diag::limit(what).help(help));
    }
    out
}

/// The buffers that live at the fullest step.
fn crowd(timeline: &[BufferLife]) -> String {
    let at = |step: u32| timeline.iter().filter(move |b| (b.first..=b.last).contains(&step));
    let fullest = timeline.iter().map(|b| b.first).max_by_key(|s| at(*s).map(|b| b.bytes).sum::<u64>());
    let Some(step) = fullest else { return "nothing is in the arena".into() };
    let all = at(step).map(|b| (b.bytes, b.name.as_str())).collect();
    format!("at step {step} it holds {}", named(all))
}

/// The largest constants, by the steps that read them.
fn largest(p: &Program) -> String {
    fn walk<'a>(p: &Program, steps: &'a [Step], out: &mut Vec<(u64, u64, &'a str)>) {
        for s in steps {
            match s {
                Step::Call { args, label, .. } => {
                    for offset in args.iter().filter_map(|a| match a {
                        Loc::Weights(o) => Some(*o),
                        _ => None,
                    }) {
                        let constant = p.weights.binary_search_by_key(&offset, |(o, _)| *o).ok();
                        let bytes =
                            constant.and_then(|i| p.weights.get(i)).map_or(0, |(_, b)| b.len() as u64);
                        out.push((bytes, offset, label));
                    }
                }
                Step::If { then, els, .. } => [then, els].into_iter().for_each(|b| walk(p, b, out)),
                Step::Loop { body, .. } => walk(p, body, out),
                Step::Copy { .. } | Step::SetSym { .. } | Step::ReadSym { .. } | Step::Require { .. } => {}
            }
        }
    }
    let mut all = vec![];
    walk(p, &p.steps, &mut all);
    // A constant that several steps read counts once.
    all.sort_by_key(|(_, offset, _)| *offset);
    all.dedup_by_key(|(_, offset, _)| *offset);
    named(all.into_iter().map(|(bytes, _, label)| (bytes, label)).collect())
}

/// `a 2.0 KB, b 10 B and 3 more`, the largest first.
fn named(mut all: Vec<(u64, &str)>) -> String {
    all.sort_by(|a, b| b.cmp(a));
    let more = all.len().saturating_sub(NAMED);
    let first: Vec<String> = all.iter().take(NAMED).map(|(n, name)| format!("{name} {}", size(*n))).collect();
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", first.join(", "))
}
