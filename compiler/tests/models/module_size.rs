//! How much code the WebAssembly modules of models hold, as `compile` makes them.

use super::common::{self, data, open_dims};
use sinter::driver::{self, Request};
use sinter::frontend::onnx::ImportOptions;

/// Most bytes of code.
const MOST: u64 = 100_000;

#[test]
fn code_for_browsers_is_small() {
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let mut failures = vec![];
    for case in common::cases(&shared.join("models")) {
        let (inputs, _) = data(&case).unwrap().remove(0);
        let request = Request {
            model: case.model.clone(),
            import: ImportOptions { dims: open_dims(&case, &inputs).unwrap(), ..ImportOptions::default() },
            targets: vec!["browser-wasm".into()],
            ..Request::default()
        };
        let mut out = driver::compile(&request, &|_| {}).unwrap();
        let bundle = out.bundles.remove(0);
        let code = bundle.manifest.code_bytes;
        println!("{}: {code} bytes", case.name);
        // Beside functions there are the texts of errors, the names of functions, and little else.
        let module = bundle.files[&format!("{}.wasm", bundle.manifest.name)].len() as u64;
        assert!(module >= code && module < code + code / 8 + 4096, "{}: {module} bytes", case.name);
        if code > MOST {
            failures.push(format!("{}: {code} bytes", case.name));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}
