//! Java and Kotlin, on Android and elsewhere: a class, the C that it calls, and what builds that.

use super::doc;
use sinter_abi::WEIGHTS_HEADER_BYTES;
use sinter_ir::DType;
use sinter_ir::program::{Port, Program};

/// `NAME`, `CLASS` and comments stand for what depends on the model.
const CLASS: &str = include_str!("Model.java");
/// The same in C; `UP` is the name in capitals.
const SHIM: &str = include_str!("jni.c");

/// What a class with states has besides.
const STATES: &str = "
    /** What the model remembers of a sequence. */
    public static final class States {
        private final ByteBuffer block;
        private final long capacity;

        /** For the beginning of a sequence. */
        public States(long capacity) {
            long bytes = stateBytes(capacity);
            if (bytes == 0) throw new IllegalArgumentException(\"no states of capacity \" + capacity);
            block = buffer(bytes + 64);
            this.capacity = capacity;
        }

        /** Begins anew. */
        public void clear() {
            for (int i = 0; i < block.capacity(); i++) block.put(i, (byte) 0);
        }
    }

    private static native long stateBytes(long capacity);
";

/// What the C has besides.
const SHIM_STATES: &str = "
JNIEXPORT jlong JNICALL Java_sinter_CLASS_stateBytes(JNIEnv *env, jclass self, jlong capacity) {
    (void)env;
    (void)self;
    return (jlong)NAME_state_bytes(capacity);
}
";

/// `silero_vad` is `SileroVad`.
pub fn class(name: &str) -> String {
    let word = |w: &str| {
        let mut chars = w.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        first.into_iter().chain(chars).collect::<String>()
    };
    name.split('_').map(word).collect()
}

/// Files by path below the bundle; none for models of strings, whose elements are addresses.
pub fn files(p: &Program) -> Vec<(String, String)> {
    if p.inputs.iter().chain(&p.outputs).any(|q| q.dtype == DType::Str) {
        return vec![];
    }
    let n = &p.name;
    let class = class(n);
    let stateful = !p.states.is_empty();
    let list =
        |ports: &[Port], f: &dyn Fn(&Port) -> String| ports.iter().map(f).collect::<Vec<_>>().join(", ");
    let maxima = |ports: &[Port]| list(ports, &|q| format!("{}L", q.max_bytes));
    let kinds = [("Input", &p.inputs), ("Output", &p.outputs)];
    let ports = kinds.iter().flat_map(|(kind, all)| {
        // Nothing may end the comment.
        let text =
            |(i, q)| format!(" * <p>{kind} {i}: {}", doc(p, q).replace("*/", "* /").replace('\\', "/"));
        all.iter().enumerate().map(text).collect::<Vec<_>>()
    });
    let name = |text: &str| {
        text.replace("NAME", n)
            .replace("CLASS", &class)
            .replace("UP_", &format!("{}_", n.to_ascii_uppercase()))
    };
    let source = name(CLASS)
        .replace("/*PORTS*/", &ports.collect::<Vec<_>>().join("\n"))
        .replace("/*WEIGHTS*/", &(WEIGHTS_HEADER_BYTES as u64 + p.weights_bytes()).to_string())
        .replace("/*INPUT_MAXIMA*/", &maxima(&p.inputs))
        .replace("/*OUTPUT_MAXIMA*/", &maxima(&p.outputs))
        .replace("/*INPUT_RANKS*/", &list(&p.inputs, &|q| q.dims.len().to_string()))
        .replace("/*INPUT_BITS*/", &list(&p.inputs, &|q| q.dtype.bits().to_string()))
        .replace("/*OUTPUT_DIMS*/", &p.outputs.iter().map(|q| q.dims.len()).sum::<usize>().to_string())
        .replace("/*STATES*/", if stateful { "States states, " } else { "" })
        .replace("/*HAND_OVER*/", if stateful { ", states.block, states.capacity" } else { "" })
        .replace("/*HANDED*/", if stateful { ", ByteBuffer states, long capacity" } else { "" })
        .replace("/*MORE*/", if stateful { STATES } else { "" });
    let shim = name(SHIM)
        .replace("/*STATES*/", if stateful { ", jobject states, jlong capacity" } else { "" })
        .replace("/*HAND_OVER*/", match stateful {
            true => "    m->ctx.states = aligned((*env)->GetDirectBufferAddress(env, states));\n    m->ctx.capacity = capacity;\n",
            false => "",
        })
        .replace("/*MORE*/", &if stateful { name(SHIM_STATES) } else { String::new() });
    vec![
        (format!("java/sinter/{class}.java"), source),
        ("java/jni.c".into(), shim),
        ("java/CMakeLists.txt".into(), cmake(n)),
    ]
}

fn cmake(n: &str) -> String {
    format!(
        "# The library that the class loads: for Android this file goes to externalNativeBuild.cmake.path of a Gradle module.\n\
         cmake_minimum_required(VERSION 3.10)\nproject({n}_jni C)\n\
         find_package({n} REQUIRED CONFIG PATHS ${{CMAKE_CURRENT_LIST_DIR}}/../cmake NO_DEFAULT_PATH NO_CMAKE_FIND_ROOT_PATH)\n\
         add_library({n}_jni SHARED jni.c)\ntarget_link_libraries({n}_jni PRIVATE {n}::{n})\n\
         if(ANDROID)\n  # Pages may have 16 KB.\n  target_link_options({n}_jni PRIVATE -Wl,-z,max-page-size=16384)\n\
         else()\n  find_package(JNI REQUIRED)\n  target_include_directories({n}_jni PRIVATE ${{JNI_INCLUDE_DIRS}})\nendif()\n"
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn class_names() {
        assert_eq!(super::class("silero_vad_16k"), "SileroVad16k");
        assert_eq!(super::class("m__x"), "MX");
    }
}
