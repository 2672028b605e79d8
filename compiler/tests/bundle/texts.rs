//! Strings through a C program.

use super::{common, has, run, scratch, sinter};
use common::model::{encode, node, port, text};
use sinter::frontend::onnx::proto::GraphProto;
use std::process::Command;

const PROGRAM: &str = r#"
#include "upper.h"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) {
    void *weights = aligned_alloc(64, (UPPER_WEIGHTS_BYTES + 63) / 64 * 64);
    void *arena = aligned_alloc(64, (UPPER_ARENA_BYTES + 63) / 64 * 64);
    FILE *f = fopen(argv[1], "rb");
    if (!f || fread(weights, 1, UPPER_WEIGHTS_BYTES, f) != UPPER_WEIGHTS_BYTES) return 2;
    upper_ctx ctx = {0};
    if (upper_init(&ctx, weights, arena)) return 3;
    upper_text in[3] = {{"one", 3}, {0, 0}, {"zw\xc3\xb6lf!!", 6}}, out[3];
    const void *inputs[] = {in};
    void *outputs[] = {out};
    int64_t dims[UPPER_DIMS] = {3};
    int code = upper_run(&ctx, inputs, outputs, dims);
    if (code) return 4;
    for (int i = 0; i < dims[1]; i++) printf("[%.*s]", (int)out[i].size, out[i].data);
    return 0;
}
"#;

#[test]
fn c_program_with_strings() {
    if !has("cc") {
        return;
    }
    let dir = scratch("texts");
    let graph = GraphProto {
        node: vec![text(node("StringNormalizer", &["x"], "y"), "case_change_action", "UPPER")],
        input: vec![port("x", 8, Some(&[3]))],
        output: vec![port("y", 8, None)],
        ..Default::default()
    };
    let file = dir.join("upper.onnx");
    std::fs::write(&file, encode(graph, 20)).unwrap();
    run(sinter().arg("compile").arg(&file).args(["--target", "native", "-o"]).arg(dir.join("out")));
    let bundle = std::fs::read_dir(dir.join("out")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(dir.join("main.c"), PROGRAM).unwrap();
    let program = dir.join("main");
    run(Command::new("cc")
        .args(["-std=c11", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(dir.join("main.c"))
        .arg("-I")
        .arg(&bundle)
        .arg(bundle.join("libupper.a")));
    assert_eq!(run(Command::new(program).arg(bundle.join("upper.weights"))), "[ONE][][ZWÖLF]");
    // The same by the command line, from and to files.
    std::fs::write(dir.join("x.json"), r#"["one", "", "zwölf"]"#).unwrap();
    let printed = run(sinter().arg("run").arg(&bundle).arg(dir.join("x.json")));
    assert!(printed.contains(r#"y: str[3] "ONE" "" "ZWÖLF""#), "{printed}");
    run(sinter().arg("run").arg(&bundle).arg(dir.join("x.json")).arg("-o").arg(dir.join("saved")));
    let saved = dir.join("saved/output_0.npy");
    let printed = run(sinter().arg("run").arg(&bundle).arg(saved).arg("--json"));
    assert!(printed.contains(r#"["ONE","","ZWÖLF"]"#), "{printed}");
}
