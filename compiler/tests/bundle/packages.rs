//! Packages in a bundle, used as their users do: pkg-config, Java, Gradle's AAR, Xcode's XCFramework.

use crate::link::{Bundle, compile_for, defines, numbers, run_host, write_inputs};
use crate::{Model, common, has, run, scratch};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

const MODEL: &str = "silero-vad-16k-sequence";

fn made(target: &str, test: &str) -> Option<(Model, Bundle, PathBuf)> {
    let model = Model::find(MODEL)?;
    let dir = scratch(test);
    let b = compile_for(&model, &dir, target);
    Some((model, b, dir))
}

#[test]
fn pkg_config() {
    if !has("pkg-config") || !has("cc") {
        return;
    }
    let Some((model, b, dir)) = made("native", "pkg-config") else { return };
    let n = &b.manifest.name;
    let ask = |what: &[&str]| {
        let mut c = Command::new("pkg-config");
        run(c.args(what).arg(n).env("PKG_CONFIG_PATH", b.dir.join("pkgconfig"))).trim().to_owned()
    };
    let program = dir.join("host");
    run(Command::new("cc")
        .args(["-std=c11", "-O1", "-pthread"])
        .args(defines(&b).iter().map(|d| format!("-D{d}")))
        .arg(common::root().join("compiler/tests/bundle/host.c"))
        .args(ask(&["--cflags", "--libs"]).split_whitespace())
        .arg("-o")
        .arg(&program));
    let weights = ask(&["--variable=weights"]);
    assert!(Path::new(&weights).is_file(), "{weights}");
    run_host(Command::new(program), &model, &b, &dir);
}

/// Compiles the class with a program, builds the library that it loads, and runs it.
fn java(b: &Bundle, dir: &Path, main: &str, arguments: &[PathBuf]) -> String {
    std::fs::write(dir.join("Main.java"), main).unwrap();
    let sources = std::fs::read_dir(b.dir.join("java/sinter")).unwrap().map(|e| e.unwrap().path());
    run(Command::new("javac")
        .args(["-Xlint:all", "-Werror", "--release", "11", "-d"])
        .arg(dir.join("classes"))
        .arg(dir.join("Main.java"))
        .args(sources));
    let build = dir.join("build");
    run(Command::new("cmake")
        .arg("-S")
        .arg(b.dir.join("java"))
        .arg("-B")
        .arg(&build)
        .arg("-DCMAKE_C_FLAGS=-Wall -Wextra -Werror"));
    run(Command::new("cmake").arg("--build").arg(&build));
    run(Command::new("java")
        .arg("-Xcheck:jni")
        .arg(format!("-Djava.library.path={}", build.display()))
        .arg("-cp")
        .arg(dir.join("classes"))
        .arg("Main")
        .args(arguments))
}

fn has_java() -> bool {
    has("javac") && has("cmake") && has("make") && has("cc")
}

const MAIN: &str = r#"
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.*;
import sinter.CLASS;

public class Main {
    static ByteBuffer map(String path) throws Exception {
        try (FileChannel f = FileChannel.open(Path.of(path))) {
            return f.map(FileChannel.MapMode.READ_ONLY, 0, f.size());
        }
    }
    static void refused(Runnable what, String says) {
        try {
            what.run();
        } catch (IllegalArgumentException e) {
            if (e.getMessage().contains(says)) return;
            throw e;
        }
        throw new AssertionError("taken: " + says);
    }
    public static void main(String[] args) throws Exception {
        int inputs = CLASS.INPUT_MAX_BYTES.length;
        ByteBuffer weights = map(args[0]);
        refused(() -> new CLASS(weights.duplicate().position(64)), "weights");
        refused(() -> new CLASS(ByteBuffer.allocate(8)), "direct");
        // Not aligned: copied.
        ByteBuffer odd = ByteBuffer.allocateDirect(weights.capacity() + 1).position(1).slice().put(weights);
        for (ByteBuffer from : new ByteBuffer[] {weights.rewind(), odd.rewind()}) try (CLASS model = new CLASS(from)) {
            ByteBuffer[] in = new ByteBuffer[inputs], out = new ByteBuffer[CLASS.OUTPUT_MAX_BYTES.length];
            for (int i = 0; i < in.length; i++) in[i] = map(args[2 + i]);
            for (int i = 0; i < out.length; i++) out[i] = CLASS.buffer(CLASS.OUTPUT_MAX_BYTES[i]);
            long[] dims = new long[args.length - 2 - inputs];
            for (int i = 0; i < dims.length; i++) dims[i] = Long.parseLong(args[2 + inputs + i]);
            refused(() -> model.run(in, out, new long[] {1}), "dims");
            long[] more = dims.clone();
            more[0] *= 1000;
            refused(() -> model.run(in, out, more), "direct buffer of");
            ByteBuffer short1 = out[0];
            out[0] = CLASS.buffer(1);
            refused(() -> model.run(in, out, dims), "output 0");
            out[0] = short1;
            long[] shape = model.run(in, out, dims);
            for (int i = 0; i < out.length; i++) {
                byte[] bytes = new byte[out[i].capacity()];
                out[i].get(bytes);
                Files.write(Path.of(args[1] + "." + i), bytes);
            }
            for (long d : shape) System.out.print(d + " ");
            System.out.println();
        }
    }
}
"#;

#[test]
fn java_class() {
    if !has_java() {
        return;
    }
    let Some((model, b, dir)) = made("native", "java") else { return };
    let weights = b.dir.join(format!("{}.weights", b.manifest.name));
    let prefix = dir.join("output");
    let dims = model.inputs.iter().flat_map(|t| t.shape().iter().map(|d| PathBuf::from(d.to_string())));
    let arguments: Vec<PathBuf> =
        [weights, prefix.clone()].into_iter().chain(write_inputs(&model, &dir)).chain(dims).collect();
    let out = java(&b, &dir, &MAIN.replace("CLASS", "MSileroVad16kSequence"), &arguments);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "weights in place and copied: {out}");
    crate::link::compare(&model, &b.manifest, &prefix, &numbers(lines[0]));
    assert_eq!(lines[0], lines[1]);
}

const TELL: &str = r#"
import java.nio.ByteBuffer;
import java.nio.file.*;
import sinter.Story;

public class Main {
    public static void main(String[] args) throws Exception {
        byte[] file = Files.readAllBytes(Path.of(args[0]));
        Story model = new Story(Story.buffer(file.length).put(file).rewind());
        Story.States states = new Story.States(64);
        ByteBuffer token = Story.buffer(4), position = Story.buffer(8), logits = Story.buffer(Story.OUTPUT_MAX_BYTES[0]);
        for (int round = 0; round < 2; round++, states.clear()) {
            int next = 1;
            for (int at = 0; at < 8; at++) {
                token.putInt(0, next);
                position.putLong(0, at);
                model.run(states, new ByteBuffer[] {token, position}, new ByteBuffer[] {logits}, 1, 1);
                next = 0;
                for (int i = 0; i < 512; i++) if (logits.getFloat(4 * i) > logits.getFloat(4 * next)) next = i;
                System.out.print(next + " ");
            }
            System.out.println();
        }
        model.close();
        try {
            new Story.States(100000);
        } catch (IllegalArgumentException e) {
            System.out.println(e.getMessage());
        }
    }
}
"#;

#[test]
fn java_class_with_states() {
    if !has_java() {
        return;
    }
    let Some(shared) = common::shared() else { return common::skip("real models not found") };
    let dir = scratch("java-states");
    run(crate::sinter()
        .arg("compile")
        .arg(shared.join("models/stories260k-hf"))
        .args(["--name", "story", "-o"])
        .arg(&dir));
    let dir = dir.join("native");
    let manifest = serde_json::from_slice(&std::fs::read(dir.join("manifest.json")).unwrap()).unwrap();
    let b = Bundle { dir: dir.clone(), manifest };
    let out = java(&b, &dir, TELL, &[dir.join("story.weights")]);
    // "Once upon a time, there was a"
    let said = "403 407 261 378 432 383 286 261 ";
    assert_eq!(out.lines().collect::<Vec<_>>(), [said, said, "no states of capacity 100000"]);
}

/// Runs a Python script that prints JSON.
fn python(script: &str, file: &Path) -> Value {
    serde_json::from_str(&run(Command::new("python3").arg("-c").arg(script).arg(file))).unwrap()
}

#[test]
fn aar_for_gradle() {
    if !has("python3") {
        return;
    }
    let Some((_, b, _)) = made("android-arm64-baseline", "aar") else { return };
    let n = &b.manifest.name;
    let script = "import zipfile, sys, json, hashlib\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\n\
                  text = lambda f: f.endswith(('.json', '.xml'))\n\
                  print(json.dumps({f: z.read(f).decode() if text(f) else hashlib.sha256(z.read(f)).hexdigest() for f in z.namelist()}))";
    let files = python(script, &b.dir.join(format!("{n}.aar")));
    let library = format!("prefab/modules/{n}/libs/android.arm64-v8a");
    let json = |file: String| serde_json::from_str::<Value>(files[file].as_str().unwrap()).unwrap();
    assert_eq!(json("prefab/prefab.json".into())["name"], **n);
    assert_eq!(json(format!("{library}/abi.json"))["abi"], "arm64-v8a");
    assert_eq!(json(format!("prefab/modules/{n}/module.json"))["library_name"], format!("lib{n}"));
    assert!(files["AndroidManifest.xml"].as_str().unwrap().contains("<manifest"));
    for (inside, beside) in [
        (format!("{library}/lib{n}.a"), format!("lib{n}.a")),
        (format!("prefab/modules/{n}/include/{n}.h"), format!("{n}.h")),
    ] {
        assert_eq!(files[inside], b.manifest.files[&beside], "{beside}");
    }
}

#[test]
fn xcframework() {
    if !has("python3") {
        return;
    }
    for (target, platform) in [("iphone-17", "ios"), ("apple-m4", "macos")] {
        let Some((_, b, dir)) = made(target, &format!("xcframework-{platform}")) else { return };
        let n = &b.manifest.name;
        let top = b.dir.join(format!("{n}.xcframework"));
        let script = "import plistlib, sys, json\nprint(json.dumps(plistlib.load(open(sys.argv[1], 'rb'))))";
        let info = python(script, &top.join("Info.plist"));
        assert_eq!(
            (&info["CFBundlePackageType"], &info["XCFrameworkFormatVersion"]),
            (&"XFWK".into(), &"1.0".into())
        );
        let [library] = info["AvailableLibraries"].as_array().unwrap().as_slice() else { panic!("{info}") };
        assert_eq!(
            (&library["SupportedPlatform"], &library["SupportedArchitectures"][0]),
            (&platform.into(), &"arm64".into())
        );
        let own = top.join(library["LibraryIdentifier"].as_str().unwrap());
        let bytes = |p: &Path| std::fs::read(p).unwrap();
        assert_eq!(
            bytes(&own.join(library["LibraryPath"].as_str().unwrap())),
            bytes(&b.dir.join(format!("lib{n}.a")))
        );
        let headers = own.join(library["HeadersPath"].as_str().unwrap());
        assert_eq!(bytes(&headers.join(format!("{n}.h"))), bytes(&b.dir.join(format!("{n}.h"))));
        // Clang reads the module map as Swift does.
        let source = dir.join("use.m");
        std::fs::write(&source, format!("@import {n};\nint use(void) {{ return {n}_init(0, 0, 0); }}\n"))
            .unwrap();
        let Some(mut zig) = crate::foreign::zig("aarch64-macos") else { return };
        run(zig
            .arg("-fmodules")
            .arg(format!("-fmodules-cache-path={}", dir.join("modules").display()))
            .arg("-I")
            .arg(&headers)
            .arg("-c")
            .arg(&source)
            .arg("-o")
            .arg(dir.join("use.o")));
    }
}
