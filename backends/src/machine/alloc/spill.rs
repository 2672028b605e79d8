//! Rewrites code so that some registers live in the stack frame, or are computed again where they are wanted.

use super::live::Interval;
use crate::machine::Forms;
use crate::machine::access::Access;
use crate::machine::mir::{Base, Class, Func, Item, Mem, Op, Opnd, VReg};
use std::collections::{BTreeMap, BTreeSet};

/// For how many items a temporary is kept that holds a spilled integer, and how many of them at a time: code that works
/// on one value for a while loads it once.
const HELD_FOR: u32 = 3;
const HELD: usize = 2;

/// Where a spilled register's value comes from.
#[derive(Clone)]
enum Home<C> {
    /// A slot of the frame.
    Slot(Base),
    /// The only instruction that ever makes it, out of nothing but constants.
    Again(Op<C>),
}

/// Whether an instruction can be repeated anywhere: it writes one register from constants and leaves the flags alone.
fn repeatable<C: Forms>(op: &Op<C>, v: VReg) -> bool {
    let plain = op.opnds.iter().all(|o| match o {
        Opnd::Def(r, _) => *r == v,
        Opnd::Mem(m) | Opnd::Bcast(m) => matches!(m.base, Base::Pool(_)) && m.index.is_none(),
        Opnd::Imm(_) => true,
        _ => false,
    });
    plain && op.mask.is_none() && op.implicit.is_empty() && C::is_constant(op)
}

/// The only instruction that writes each of the registers, where it can be repeated.
pub fn recipes<C: Forms>(f: &Func<C>, spilled: &BTreeSet<VReg>) -> BTreeMap<VReg, Op<C>> {
    let mut found: BTreeMap<VReg, Option<Op<C>>> = BTreeMap::new();
    for item in &f.items {
        item.regs(&mut |v, a| {
            if a.writes() && spilled.contains(&v) {
                let op = match item {
                    Item::Op(op) if repeatable(op, v) => Some(op.clone()),
                    _ => None,
                };
                // A register named by several operands of one instruction is still written once.
                let once = found.get(&v).is_none_or(|before| *before == op);
                found.insert(v, if once { op } else { None });
            }
        });
    }
    found.into_iter().filter_map(|(v, op)| Some((v, op?))).collect()
}

/// Widest view of every register.
fn widths<C: Forms>(f: &Func<C>) -> Vec<u8> {
    let mut out = vec![16u8; f.classes.len()];
    let mut see = |v: VReg, bytes: u8| out[v.0 as usize] = out[v.0 as usize].max(bytes);
    for item in &f.items {
        match item {
            Item::Op(op) => op.opnds.iter().for_each(|o| {
                if let Opnd::Def(v, b) | Opnd::Use(v, b) | Opnd::UseDef(v, b) = o {
                    see(*v, *b);
                }
            }),
            Item::Move { dst, src, bytes } => {
                see(*dst, *bytes);
                see(*src, *bytes);
            }
            _ => {}
        }
    }
    out
}

struct Rewriter<'a, C: Forms> {
    f: &'a mut Func<C>,
    homes: BTreeMap<VReg, Home<C>>,
    widths: Vec<u8>,
    features: C::Features,
    out: Vec<Item<C>>,
    /// Spilled registers whose value a temporary holds as well, and since how many items nothing has asked for it.
    held: Vec<(VReg, VReg, u32)>,
    /// Stores to the frame that nothing can have read yet.
    unread: BTreeMap<VReg, usize>,
    /// Items of `out` that turned out to be of no use.
    dead: BTreeSet<usize>,
    /// Registers of single instructions: there is nothing left to spill in them.
    temps: &'a mut BTreeSet<VReg>,
}

/// Spills registers; the new ones that stand in for them go to `temps`.
pub fn rewrite<C: Forms>(
    f: &mut Func<C>,
    live: &[Interval],
    spilled: &BTreeSet<VReg>,
    features: C::Features,
    temps: &mut BTreeSet<VReg>,
) {
    let widths = widths(f);
    let mut homes: BTreeMap<VReg, Home<C>> =
        recipes(f, spilled).into_iter().map(|(v, op)| (v, Home::Again(op))).collect();
    let mut shared: Vec<(Base, u32, Interval)> = Vec::new();
    for &v in spilled {
        if homes.contains_key(&v) {
            continue;
        }
        let bytes = match f.class(v) {
            Class::Vec => u32::from(widths[v.0 as usize]),
            _ => 8,
        };
        let iv = &live[v.0 as usize];
        let free = shared.iter_mut().find(|(_, b, busy)| *b == bytes && !busy.overlaps(iv));
        let base = match free {
            Some((base, _, busy)) => {
                busy.merge(iv);
                *base
            }
            None => {
                let base = f.slot(bytes, bytes);
                shared.push((base, bytes, iv.clone()));
                base
            }
        };
        homes.insert(v, Home::Slot(base));
    }
    let items = std::mem::take(&mut f.items);
    let out = Vec::with_capacity(items.len() * 5 / 4);
    let (held, unread, dead) = (vec![], BTreeMap::new(), BTreeSet::new());
    let mut r = Rewriter { f, homes, widths, features, out, held, unread, dead, temps };
    items.into_iter().for_each(|i| r.item(i));
    let (out, dead) = (r.out, r.dead);
    f.items = out.into_iter().enumerate().filter(|(i, _)| !dead.contains(i)).map(|(_, item)| item).collect();
}

impl<C: Forms> Rewriter<'_, C> {
    /// A register of one instruction in place of a spilled one.
    fn temp(&mut self, v: VReg) -> VReg {
        let t = self.f.vreg(self.f.class(v));
        self.temps.insert(t);
        t
    }
    /// Bytes of a register that are kept.
    fn view(&self, v: VReg) -> u8 {
        if self.f.class(v) == Class::Vec { self.widths[v.0 as usize] } else { 8 }
    }
    /// Brings a spilled value to a register.
    fn fetch(&mut self, v: VReg, to: VReg) {
        match self.homes[&v].clone() {
            Home::Slot(base) => {
                self.unread.remove(&v);
                let bytes = self.view(v);
                let code = C::reload(self.f.class(v), bytes, self.features);
                let opnds = vec![Opnd::Def(to, bytes), Opnd::Mem(base.into())];
                self.out.push(Item::Op(Op::plain(code, opnds)));
            }
            Home::Again(mut op) => {
                op.regs_mut(&mut |r, _| *r = to);
                self.out.push(Item::Op(op));
            }
        }
    }
    /// Takes a new value to its slot.
    fn keep(&mut self, v: VReg, from: VReg) {
        if let Home::Slot(base) = self.homes[&v] {
            if let Some(before) = self.unread.insert(v, self.out.len()) {
                self.dead.insert(before);
            }
            let bytes = self.view(v);
            let op = C::spill(self.f.class(v), bytes, self.features, base.into(), Opnd::Use(from, bytes));
            self.out.push(Item::Op(op));
        }
    }
    /// Forgets what another way to here would not know, or what has not been asked for.
    fn pass(&mut self, item: &Item<C>) {
        match item {
            Item::Bind(_) | Item::Jump(_) | Item::Ret(_) => {
                self.held.clear();
                self.unread.clear();
            }
            Item::Branch(..) => self.unread.clear(),
            _ => {}
        }
        self.held.retain_mut(|h| {
            h.2 += 1;
            h.2 <= HELD_FOR
        });
    }
    /// The temporary that holds a spilled register.
    fn holder(&self, v: VReg) -> Option<VReg> {
        self.held.iter().find(|h| h.0 == v).map(|h| h.1)
    }
    /// Notes that a temporary holds a spilled register.
    fn hold(&mut self, v: VReg, t: VReg) {
        self.held.retain(|h| h.0 != v);
        if self.f.class(v) == Class::Gpr {
            self.held.push((v, t, 0));
            if self.held.len() > HELD {
                self.held.remove(0);
            }
        }
    }
    /// Rewrites one item.
    fn item(&mut self, mut item: Item<C>) {
        self.pass(&item);
        if let Item::Move { dst, src, .. } = item {
            let (to, from) = (self.homes.contains_key(&dst), self.homes.contains_key(&src));
            match (to, from) {
                (false, true) if self.holder(src).is_none() => return self.fetch(src, dst),
                (true, false) => {
                    self.held.retain(|h| h.0 != dst);
                    return self.keep(dst, src);
                }
                (true, true) => {
                    let t = self.temp(src);
                    match self.holder(src) {
                        Some(h) => self.out.push(Item::Move { dst: t, src: h, bytes: self.view(src) }),
                        None => self.fetch(src, t),
                    }
                    self.hold(dst, t);
                    return self.keep(dst, t);
                }
                _ => {}
            }
        }
        if let Item::Op(op) = &mut item {
            if let Some(Opnd::Def(v, _)) = op.opnds.first()
                && matches!(self.homes.get(v), Some(Home::Again(_)))
                && repeatable(op, *v)
            {
                // Made again at every use.
                return;
            }
            self.fold(op);
        }
        let mut touched: BTreeMap<VReg, (bool, bool)> = BTreeMap::new();
        item.regs(&mut |v, a: Access| {
            if self.homes.contains_key(&v) {
                let t = touched.entry(v).or_default();
                t.0 |= a.reads();
                t.1 |= a.writes();
            }
        });
        let mut temps: BTreeMap<VReg, VReg> = BTreeMap::new();
        for (v, (reads, _)) in &touched {
            let t = match self.holder(*v) {
                Some(t) => t,
                None => {
                    let t = self.temp(*v);
                    if *reads {
                        self.fetch(*v, t);
                    }
                    t
                }
            };
            temps.insert(*v, t);
            self.hold(*v, t);
        }
        item.regs_mut(&mut |v, _| {
            if let Some(t) = temps.get(v) {
                *v = *t;
            }
        });
        self.out.push(item);
        for (v, (_, writes)) in &touched {
            if *writes {
                self.keep(*v, temps[v]);
            }
        }
    }
    /// Where `bytes` of the constant that an instruction makes lie in memory.
    fn constant(&mut self, op: Op<C>, bytes: u8) -> Option<Mem> {
        let [Opnd::Def(_, have), Opnd::Mem(m)] = op.opnds[..] else { return None };
        match (op.code.repeats(), m.base) {
            _ if have < bytes => None,
            (Some(size), Base::Pool(at)) => {
                let at = at as usize;
                let element = self.f.pool.get(at..at + size)?.to_vec();
                let all: Vec<u8> = element.into_iter().cycle().take(bytes.into()).collect();
                Some(self.f.pool(&all, bytes.into()).into())
            }
            _ => op.code.is_reload().then_some(m),
        }
    }
    /// Turns one read of a spilled register into a memory operand where the instruction takes one.
    fn fold(&mut self, op: &mut Op<C>) {
        for n in 0..op.opnds.len() {
            let Opnd::Use(v, bytes) = op.opnds[n] else { continue };
            if self.holder(v).is_some() {
                continue;
            }
            let count = op.opnds.iter().filter(|o| matches!(o, Opnd::Use(x, _) if *x == v)).count();
            if count != 1 || op.mask.is_some() || !C::takes_memory(op, n) {
                continue;
            }
            let mem: Option<Mem> = match self.homes.get(&v).cloned() {
                Some(Home::Slot(base)) => Some(base.into()),
                Some(Home::Again(op)) => self.constant(op, bytes),
                None => None,
            };
            if let Some(m) = mem {
                op.opnds[n] = Opnd::Mem(m);
                self.unread.remove(&v);
                return;
            }
        }
    }
}
