//! A function body under construction: instructions over typed locals, tidied when it is finished.

use wasm_encoder::{Function, Ieee32, Ieee64, Instruction, ValType};

/// Instructions without borrowed parts.
pub type Inst = Instruction<'static>;

/// Locals that one byte names.
const NEAR: usize = 128;

/// A value that can be pushed any number of times.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs)]
pub enum Val {
    Local(u32),
    I32(i32),
    I64(i64),
    F32(f32),
    F64(f64),
}

/// A function body.
pub struct Body {
    params: usize,
    types: Vec<ValType>,
    code: Vec<Inst>,
}

impl Body {
    /// An empty body with parameters.
    pub fn new(params: &[ValType]) -> Self {
        Self { params: params.len(), types: params.to_vec(), code: vec![] }
    }
    /// A new local.
    pub fn local(&mut self, t: ValType) -> u32 {
        self.types.push(t);
        self.types.len() as u32 - 1
    }
    /// Adds an instruction.
    pub fn op(&mut self, i: Inst) {
        self.code.push(i);
    }
    /// Adds instructions.
    pub fn ops(&mut self, all: impl IntoIterator<Item = Inst>) {
        self.code.extend(all);
    }
    /// Pushes a local.
    pub fn get(&mut self, local: u32) {
        self.op(Instruction::LocalGet(local));
    }
    /// Pops into a local.
    pub fn set(&mut self, local: u32) {
        self.op(Instruction::LocalSet(local));
    }
    /// Pops into a new local.
    pub fn keep(&mut self, t: ValType) -> u32 {
        let l = self.local(t);
        self.set(l);
        l
    }
    /// Pushes an `i32`.
    pub fn i32(&mut self, v: i32) {
        self.op(Instruction::I32Const(v));
    }
    /// Pushes an `i64`.
    pub fn i64(&mut self, v: i64) {
        self.op(Instruction::I64Const(v));
    }
    /// Pushes a value.
    pub fn push(&mut self, v: Val) {
        self.op(match v {
            Val::Local(l) => Instruction::LocalGet(l),
            Val::I32(c) => Instruction::I32Const(c),
            Val::I64(c) => Instruction::I64Const(c),
            Val::F32(c) => Instruction::F32Const(Ieee32::new(c.to_bits())),
            Val::F64(c) => Instruction::F64Const(Ieee64::new(c.to_bits())),
        });
    }
    /// The finished function: values that are used where they arise never see a local, and the locals used most get
    /// the short numbers.
    pub fn finish(mut self) -> Function {
        let mut reads = vec![0usize; self.types.len()];
        for i in &self.code {
            if let Instruction::LocalGet(l) = i {
                reads[*l as usize] += 1;
            }
        }
        let mut code: Vec<Inst> = Vec::with_capacity(self.code.len() + 1);
        let mut rest = std::mem::take(&mut self.code).into_iter().peekable();
        while let Some(i) = rest.next() {
            let Instruction::LocalSet(l) = i else {
                code.push(i);
                continue;
            };
            let n = &mut reads[l as usize];
            if matches!(rest.peek(), Some(Instruction::LocalGet(next)) if *next == l) {
                rest.next();
                *n -= 1;
                // Read nowhere else: the value stays on the stack.
                if *n > 0 {
                    code.push(Instruction::LocalTee(l));
                }
            } else {
                code.push(i);
            }
        }
        for i in &mut code {
            match *i {
                Instruction::LocalSet(l) if reads[l as usize] == 0 => *i = Instruction::Drop,
                Instruction::LocalTee(l) if reads[l as usize] == 0 => *i = Instruction::Nop,
                _ => {}
            }
        }
        code.retain(|i| !matches!(i, Instruction::Nop));
        // Locals begin as zeros: one that nothing writes is a shorter zero vector than the constant.
        let zero = self.local(ValType::V128);
        for i in code.iter_mut().filter(|i| matches!(i, Instruction::V128Const(0))) {
            *i = Instruction::LocalGet(zero);
        }
        code.push(Instruction::End);
        number(code, &self.types, self.params)
    }
}

/// Gives locals their final numbers and encodes.
fn number(mut code: Vec<Inst>, types: &[ValType], params: usize) -> Function {
    let mut uses = vec![0usize; types.len()];
    let local = |i: &Inst| match i {
        Instruction::LocalGet(l) | Instruction::LocalSet(l) | Instruction::LocalTee(l) => Some(*l as usize),
        _ => None,
    };
    code.iter().filter_map(local).for_each(|l| uses[l] += 1);
    let mut order: Vec<usize> = (params..types.len()).filter(|&l| uses[l] > 0).collect();
    order.sort_by_key(|&l| (std::cmp::Reverse(uses[l]), l));
    // Runs of one type are declared together.
    let near = order.len().min(NEAR.saturating_sub(params));
    let kind = |l: &usize| (types[*l] == ValType::V128, format!("{:?}", types[*l]), *l);
    let (hot, cold) = order.split_at_mut(near);
    hot.sort_by_key(kind);
    cold.sort_by_key(kind);
    let mut numbers: Vec<u32> = (0..types.len() as u32).collect();
    for (n, &l) in order.iter().enumerate() {
        numbers[l] = (params + n) as u32;
    }
    for i in &mut code {
        if let Instruction::LocalGet(l) | Instruction::LocalSet(l) | Instruction::LocalTee(l) = i {
            *l = numbers[*l as usize];
        }
    }
    let mut f = Function::new_with_locals_types(order.iter().map(|&l| types[l]));
    for i in &code {
        f.instruction(i);
    }
    f
}
