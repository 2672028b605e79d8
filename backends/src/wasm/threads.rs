//! Kernels on several threads: instances of one module in as many workers, around one shared memory.
//!
//! The host starts workers, each with an instance of its own, and has them call `work`, which does not return before the
//! host says stop. `run` writes what is to be done to a block of memory and counts `GENERATION` up; everyone, the caller
//! too, takes pieces of the Parallel loop until there are none left. The caller never sleeps: browsers forbid that to
//! their main thread, and pieces are short. Everything that kernels compute with is in locals, so that nothing else of an
//! instance matters.

use super::body::Body;
use super::module::kernel_function;
use super::scalar::memory;
use sinter_ir::program::Program;
use wasm_encoder::{BlockType, Function, Instruction as I, MemArg, ValType};

/// Counts jobs: what workers wait for.
const GENERATION: u32 = 0;
/// The kernel.
const KERNEL: u32 = 4;
/// The first iteration that nobody has taken, and how many there are.
const NEXT: u32 = 8;
const TRIPS: u32 = 16;
/// Iterations that are taken at a time.
const PIECE: u32 = 24;
/// Workers that have not finished.
const PENDING: u32 = 32;
/// An error of any piece.
const STATUS: u32 = 36;
/// Workers that there are; written by the host.
const WORKERS: u32 = 40;
/// Not 0: workers are to leave; written by the host.
const STOP: u32 = 44;
/// Addresses of the kernel's buffers.
const ARGS: u32 = 64;
/// Pieces for everyone, so that who is late leaves some to others.
const PIECES: i64 = 4;

/// Bytes of the block.
pub fn bytes(p: &Program) -> u64 {
    let most = p.kernels.iter().map(|k| k.bufs.len()).max().unwrap_or(0) as u64;
    u64::from(ARGS) + 4 * most
}

fn word(at: u32, offset: u32) -> MemArg {
    // Atomic accesses say how they are aligned.
    MemArg { align: 2, ..memory(u64::from(at + offset)) }
}

fn long(at: u32, offset: u32) -> MemArg {
    MemArg { align: 3, ..word(at, offset) }
}

/// `task() -> ()`: takes pieces of the job until there are none.
pub fn task(p: &Program, pool: u32) -> Function {
    let mut f = Body::new(&[]);
    let parallel: Vec<(usize, &sinter_ir::tile::Kernel)> =
        p.kernels.iter().enumerate().filter(|(_, k)| k.parallel.is_some()).collect();
    let (lo, hi, n, piece) =
        (f.local(ValType::I64), f.local(ValType::I64), f.local(ValType::I64), f.local(ValType::I64));
    let status = f.local(ValType::I32);
    f.ops([I::I32Const(0), I::I64Load(long(pool, TRIPS)), I::LocalSet(n)]);
    f.ops([I::I32Const(0), I::I64Load(long(pool, PIECE)), I::LocalSet(piece)]);
    f.ops([I::Block(BlockType::Empty), I::Loop(BlockType::Empty)]);
    f.ops([I::I32Const(0), I::LocalGet(piece), I::I64AtomicRmwAdd(long(pool, NEXT)), I::LocalSet(lo)]);
    f.ops([I::LocalGet(lo), I::LocalGet(n), I::I64GeS, I::BrIf(1)]);
    f.ops([I::LocalGet(lo), I::LocalGet(piece), I::I64Add, I::LocalSet(hi)]);
    f.ops([I::LocalGet(hi), I::LocalGet(n), I::LocalGet(hi), I::LocalGet(n), I::I64LtS, I::Select]);
    f.set(hi);
    f.ops([I::I32Const(0), I::LocalSet(status)]);
    // One arm for every kernel with a Parallel loop: the first whose number it is.
    for (i, k) in parallel {
        f.ops([I::I32Const(0), I::I32Load(word(pool, KERNEL)), I::I32Const(i as i32), I::I32Eq]);
        f.op(I::If(BlockType::Empty));
        for b in 0..k.bufs.len() as u32 {
            f.ops([I::I32Const(0), I::I32Load(word(pool, ARGS + 4 * b))]);
        }
        f.ops([I::LocalGet(lo), I::LocalGet(hi), I::Call(kernel_function(i as u32)), I::LocalSet(status)]);
        f.op(I::End);
    }
    f.ops([I::LocalGet(status), I::If(BlockType::Empty)]);
    f.ops([I::I32Const(0), I::LocalGet(status), I::I32AtomicStore(word(pool, STATUS)), I::End]);
    f.ops([I::Br(0), I::End, I::End]);
    f.finish()
}

/// `work(generation)`: what a worker calls, with the count of jobs when it was started.
pub fn work(pool: u32, task: u32) -> Function {
    let mut f = Body::new(&[ValType::I32]);
    let (seen, now) = (0, f.local(ValType::I32));
    f.op(I::Loop(BlockType::Empty));
    f.ops([
        I::I32Const(0),
        I::LocalGet(seen),
        I::I64Const(-1),
        I::MemoryAtomicWait32(word(pool, GENERATION)),
    ]);
    f.op(I::Drop);
    f.ops([I::I32Const(0), I::I32AtomicLoad(word(pool, GENERATION)), I::LocalSet(now)]);
    f.ops([I::LocalGet(now), I::LocalGet(seen), I::I32Eq, I::BrIf(0)]);
    f.ops([I::LocalGet(now), I::LocalSet(seen)]);
    f.ops([I::I32Const(0), I::I32AtomicLoad(word(pool, STOP)), I::I32Eqz, I::If(BlockType::Empty)]);
    f.op(I::Call(task));
    f.ops([
        I::I32Const(0),
        I::I32Const(1),
        I::I32AtomicRmwSub(word(pool, PENDING)),
        I::Drop,
        I::Br(1),
        I::End,
    ]);
    f.op(I::End);
    f.finish()
}

/// In `run`: the kernel's buffers are in locals, the number of iterations in one; leaves the error code on the stack.
pub fn call(f: &mut Body, pool: u32, task: u32, kernel: u32, args: &[u32], trips: u32) {
    let result = f.local(ValType::I32);
    let alone = f.local(ValType::I32);
    // Alone where there is nobody else, or one piece only.
    f.ops([I::I32Const(0), I::I32AtomicLoad(word(pool, WORKERS)), I::LocalSet(alone)]);
    f.ops([I::LocalGet(alone), I::I32Eqz, I::LocalGet(trips), I::I64Const(2), I::I64LtS, I::I32Or]);
    f.op(I::If(BlockType::Empty));
    args.iter().for_each(|a| f.get(*a));
    f.ops([I::I64Const(0), I::LocalGet(trips), I::Call(kernel_function(kernel)), I::LocalSet(result)]);
    f.op(I::Else);
    for (i, a) in (0u32..).zip(args) {
        f.ops([I::I32Const(0), I::LocalGet(*a), I::I32Store(word(pool, ARGS + 4 * i))]);
    }
    f.ops([I::I32Const(0), I::I32Const(kernel.cast_signed()), I::I32Store(word(pool, KERNEL))]);
    f.ops([I::I32Const(0), I::LocalGet(trips), I::I64Store(long(pool, TRIPS))]);
    f.ops([I::I32Const(0), I::LocalGet(trips), I::LocalGet(alone), I::I64ExtendI32U]);
    f.ops([I::I64Const(1), I::I64Add, I::I64Const(PIECES), I::I64Mul, I::I64DivS]);
    f.ops([I::I64Const(1), I::I64Add, I::I64Store(long(pool, PIECE))]);
    f.ops([I::I32Const(0), I::I64Const(0), I::I64AtomicStore(long(pool, NEXT))]);
    f.ops([I::I32Const(0), I::I32Const(0), I::I32AtomicStore(word(pool, STATUS))]);
    f.ops([I::I32Const(0), I::LocalGet(alone), I::I32AtomicStore(word(pool, PENDING))]);
    f.ops([I::I32Const(0), I::I32Const(1), I::I32AtomicRmwAdd(word(pool, GENERATION)), I::Drop]);
    f.ops([I::I32Const(0), I::I32Const(-1), I::MemoryAtomicNotify(word(pool, GENERATION)), I::Drop]);
    f.op(I::Call(task));
    f.ops([
        I::Loop(BlockType::Empty),
        I::I32Const(0),
        I::I32AtomicLoad(word(pool, PENDING)),
        I::BrIf(0),
        I::End,
    ]);
    f.ops([I::I32Const(0), I::I32AtomicLoad(word(pool, STATUS)), I::LocalSet(result), I::End]);
    f.get(result);
}
