//! Apps that talk: the examples in C, with the model's code loaded and linked, and in Rust.

use crate::{common, scratch, toy};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn run(c: &mut Command, input: &str) -> String {
    let c = c.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = c.spawn().unwrap_or_else(|e| panic!("{c:?}: {e}"));
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let out = child.wait_with_output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    assert!(out.status.success(), "{c:?}: {}{}", text(&out.stdout), text(&out.stderr));
    text(&out.stdout)
}

/// Builds a part of this workspace; gives the folder with the results.
fn cargo(arguments: &[&str]) -> PathBuf {
    run(
        Command::new(env!("CARGO")).current_dir(common::root()).arg("build").args(arguments).arg("--locked"),
        "",
    );
    let program = Path::new(env!("CARGO_BIN_EXE_sinter"));
    program.parent().unwrap().to_path_buf()
}

fn has_c() -> bool {
    let found = Command::new("cc").arg("--version").output().is_ok_and(|o| o.status.success());
    if !found {
        common::skip("cc is not installed");
    }
    found
}

/// Two messages and what is answered, by hand.
fn conversation() -> (String, String) {
    let say = |turns: &[(char, &str)]| {
        let mut t = toy::chat(turns);
        t.extend([28, 0, 26]);
        toy::text(&toy::answer(&t, 64).0)
    };
    let first = say(&[('u', "good day")]);
    let second = say(&[('u', "good day"), ('a', &first), ('u', "well")]);
    ("good day\nwell\n".into(), format!("{first}\n{second}\n"))
}

#[test]
fn c_example() {
    if !has_c() {
        return;
    }
    let dir = scratch("c");
    let bundle = toy::bundle(&dir, 0);
    let built = cargo(&["-p", "sinter-llm-c"]);
    let source = common::root().join("runtime/llm/examples/chat.c");
    let include = common::root().join("runtime/llm/include");
    let (input, want) = conversation();
    for linked in [false, true] {
        let program = dir.join(format!("chat{linked}"));
        let mut c = Command::new("cc");
        c.args(["-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-I"]).arg(&include).arg(&source);
        if linked {
            c.args(["-DLINKED=\"toy.h\"", "-DNAME=toy", "-I"]).arg(&bundle).arg(bundle.join("libtoy.a"));
        }
        c.arg(built.join("libsinter_llm_c.a")).args(["-lpthread", "-ldl", "-lm", "-o"]).arg(&program);
        run(&mut c, "");
        assert_eq!(run(Command::new(&program).arg(&bundle), &input), want, "linked: {linked}");
        let said = toy::text(&toy::answer(&toy::tokens("once upon"), 64).0);
        assert_eq!(run(Command::new(&program).arg(&bundle).arg("once upon"), ""), said + "\n");
        let missing = Command::new(&program).arg(dir.join("nothing")).output().unwrap();
        assert!(
            !missing.status.success() && String::from_utf8_lossy(&missing.stderr).contains("cannot read")
        );
    }
}

#[test]
fn rust_example() {
    let dir = scratch("rust");
    let bundle = toy::bundle(&dir, 0);
    let built = cargo(&["-p", "sinter-llm", "--example", "chat"]);
    let (input, want) = conversation();
    assert_eq!(run(Command::new(built.join("examples/chat")).arg(&bundle), &input), want);
}
