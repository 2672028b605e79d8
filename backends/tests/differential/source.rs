//! Kernels as C, compiled by this machine's compiler and loaded into this process.

use sinter_backends::c;
use sinter_ir::program::Program;
use sinter_ir::target::TargetDesc;
use sinter_runtime::{Aligned, Bundle, Functions, Image};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

unsafe extern "C" {
    fn dlopen(file: *const c_char, flags: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
}

type Init = unsafe extern "C" fn(*mut c_void, *const c_void, *mut c_void) -> i32;
type Run = unsafe extern "C" fn(*mut c_void, *const *const c_void, *const *mut c_void, *mut i64) -> i32;

const RTLD_NOW: c_int = 2;

/// Whether there is a C compiler.
pub fn has_compiler() -> bool {
    Command::new("cc").arg("--version").output().is_ok()
}

/// A scratch folder that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("sinter-c-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Emits, compiles without a warning but for the registers that random kernels never read, loads. The library stays for the rest of the process.
pub fn load(program: &Program, target: &TargetDesc, threads: usize) -> Bundle {
    let e = c::emit(program, target).expect("emits");
    let dir = Scratch::new();
    let path = |suffix: &str| dir.0.join(format!("{}.{suffix}", program.name));
    std::fs::write(path("c"), &e.source).unwrap();
    std::fs::write(path("h"), &e.header).unwrap();
    let out = Command::new("cc")
        .args([
            "-std=c11",
            "-O1",
            "-ffp-contract=off",
            "-shared",
            "-fPIC",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
        ])
        .args(["-Wno-maybe-uninitialized", "-Wno-unused-function", "-Wno-unused-but-set-variable", "-o"])
        .args([path("so"), path("c")])
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let file = CString::new(path("so").to_str().unwrap()).unwrap();
    // SAFETY: the library was just made; loading it runs nothing.
    let library = unsafe { dlopen(file.as_ptr(), RTLD_NOW) };
    assert!(!library.is_null(), "dlopen");
    let symbol = |suffix: &str| {
        let name = CString::new(format!("{}_{suffix}", program.name)).unwrap();
        let name: &CStr = &name;
        // SAFETY: the library is loaded and stays.
        let at = unsafe { dlsym(library, name.as_ptr()) };
        assert!(!at.is_null(), "{name:?}");
        at
    };
    // SAFETY: the generated header declares these functions with these types.
    let functions = unsafe {
        Functions {
            abi_version: std::mem::transmute::<*mut c_void, unsafe extern "C" fn() -> u32>(symbol(
                "abi_version",
            )),
            sizes: std::mem::transmute::<*mut c_void, unsafe extern "C" fn(*mut u64)>(symbol("sizes")),
            init: std::mem::transmute::<*mut c_void, Init>(symbol("init")),
            run: std::mem::transmute::<*mut c_void, Run>(symbol("run")),
            state_bytes: None,
        }
    };
    let weights = Image::Heap(Aligned::copy_of(&e.weights).expect("memory"));
    // SAFETY: they are the functions of one bundle.
    unsafe { Bundle::linked(functions, weights, threads) }.expect("starts")
}
