//! A package for Gradle: an AAR that holds the archive and its header for native code (prefab).

use super::File;
use super::zip;
use bytes::Bytes;
use serde_json::json;
use sinter_ir::target::TargetDesc;

/// What Android calls an instruction set.
fn abi(target: &TargetDesc) -> Option<&'static str> {
    let (isa, system) = target.triple.split_once('-')?;
    match isa {
        _ if !system.ends_with("-android") => None,
        "aarch64" => Some("arm64-v8a"),
        "x86_64" => Some("x86_64"),
        "riscv64gc" => Some("riscv64"),
        _ => None,
    }
}

/// The AAR, by path below the bundle; nothing for other systems.
pub fn aar(n: &str, target: &TargetDesc, archive: &Bytes, header: &Bytes) -> Vec<File> {
    let Some(abi) = abi(target) else { return vec![] };
    let module = format!("prefab/modules/{n}");
    let library = format!("{module}/libs/android.{abi}");
    let text = |v: serde_json::Value| Bytes::from(v.to_string() + "\n");
    let manifest = format!(
        "<manifest xmlns:android=\"http://schemas.android.com/apk/res/android\" package=\"sinter.{n}\">\n    \
         <uses-sdk android:minSdkVersion=\"21\"/>\n</manifest>\n"
    );
    let about = json!({"schema_version": 2, "name": n, "version": "0.1.0", "dependencies": []});
    let links = json!({"export_libraries": [], "library_name": format!("lib{n}")});
    // Neither libc nor a C++ library is needed.
    let built = json!({"abi": abi, "api": 21, "ndk": 27, "stl": "none", "static": true});
    let files: Vec<File> = vec![
        ("AndroidManifest.xml".into(), manifest.into()),
        ("prefab/prefab.json".into(), text(about)),
        (format!("{module}/module.json"), text(links)),
        (format!("{module}/include/{n}.h"), header.clone()),
        (format!("{library}/abi.json"), text(built)),
        (format!("{library}/lib{n}.a"), archive.clone()),
    ];
    vec![(format!("{n}.aar"), zip::store(&files).into())]
}
