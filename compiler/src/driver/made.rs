//! What code generation makes of programs: files of a bundle, and the sizes of functions.

use bytes::Bytes;
use sinter_backends as backends;
use sinter_ir::Diag;
use std::collections::BTreeMap;

/// Files by path below the bundle.
pub type Files = BTreeMap<String, Bytes>;

/// What holds and surrounds the code.
pub struct Made {
    /// All files but the weights.
    pub files: Files,
    /// The weights file; its header alone where the constants are in a file already.
    pub weights: Vec<u8>,
    /// Code bytes per function, of all levels.
    pub code: BTreeMap<String, u64>,
    /// Code bytes per function of each level.
    pub tables: Vec<BTreeMap<String, u64>>,
}

/// Emits the levels of a bundle; `sum`: the hash of constants that are in a file already. `lacking` is for tests.
pub fn generate(levels: &[backends::Level], sum: Option<u64>, lacking: &[String]) -> Result<Made, Diag> {
    let [backends::Level { program, target }, weaker @ ..] = levels else {
        return Err(Diag::bug("a bundle for no target"));
    };
    let name = &program.name;
    if backends::wasm::is(target) {
        let emitted = match sum {
            Some(sum) => backends::wasm::emit_apart(program, target, sum)?,
            None => backends::wasm::emit(program, target)?,
        };
        let mut files = texts(crate::web::files(program, &emitted.layout));
        files.insert(format!("{name}.wasm"), emitted.module.into());
        let tables = vec![emitted.code.clone()];
        return Ok(Made { files, weights: emitted.weights, code: emitted.code, tables });
    }
    if backends::c::is(target) {
        let emitted = match sum {
            Some(sum) => backends::c::emit_apart(program, target, sum)?,
            None => backends::c::emit(program, target)?,
        };
        let files = Files::from([
            (format!("{name}.c"), emitted.source.into()),
            (format!("{name}.h"), emitted.header.into()),
            (format!("{name}_weights.S"), emitted.weights_source.into()),
        ]);
        // How many bytes the source becomes, its compiler decides.
        return Ok(Made {
            files,
            weights: emitted.weights,
            code: BTreeMap::new(),
            tables: vec![BTreeMap::new()],
        });
    }
    let emitted = match (sum, weaker) {
        (Some(sum), []) => backends::emit_apart(program, target, sum)?,
        _ => backends::emit_levels(levels, lacking)?,
    };
    let tables = match weaker {
        [] => vec![emitted.code.clone()],
        _ => levels.iter().map(|l| emitted.code_of(l.target)).collect(),
    };
    let (archive, header) = (Bytes::from(emitted.archive), Bytes::from(emitted.header));
    let mut files: Files = crate::bindings::files(program, target, &archive, &header).into_iter().collect();
    files.insert(format!("lib{name}.a"), archive);
    files.insert(format!("{name}.h"), header);
    Ok(Made { files, weights: emitted.weights, code: emitted.code, tables })
}

fn texts(all: Vec<(String, String)>) -> Files {
    all.into_iter().map(|(path, text)| (path, text.into())).collect()
}
