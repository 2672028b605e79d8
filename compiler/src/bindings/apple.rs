//! Packages for Swift: a module map, and for Apple's systems an XCFramework.

use super::File;
use bytes::Bytes;
use sinter_ir::target::TargetDesc;

/// What Xcode calls a platform, and the part of the library's identifier.
fn platform(target: &TargetDesc) -> Option<&'static str> {
    match target.triple.rsplit_once("-apple-")?.1 {
        "ios" => Some("ios"),
        "darwin" => Some("macos"),
        _ => None,
    }
}

/// Lets `import NAME` find the header.
pub fn module_map(n: &str) -> String {
    format!("module {n} {{\n    header \"{n}.h\"\n    link \"{n}\"\n    export *\n}}\n")
}

/// The XCFramework of an archive, by path below the bundle; nothing for other systems.
pub fn xcframework(n: &str, target: &TargetDesc, archive: &Bytes, header: &Bytes) -> Vec<File> {
    let Some(system) = platform(target) else { return vec![] };
    let id = format!("{system}-arm64");
    let top = format!("{n}.xcframework");
    vec![
        (format!("{top}/Info.plist"), plist(n, system, &id).into()),
        (format!("{top}/{id}/lib{n}.a"), archive.clone()),
        (format!("{top}/{id}/Headers/{n}.h"), header.clone()),
        (format!("{top}/{id}/Headers/module.modulemap"), module_map(n).into()),
        ("Package.swift".into(), package(n).into()),
    ]
}

fn plist(n: &str, system: &str, id: &str) -> String {
    let text = |key: &str, value: &str| format!("\t\t\t<key>{key}</key>\n\t\t\t<string>{value}</string>\n");
    let library = [
        text("BinaryPath", &format!("lib{n}.a")),
        text("HeadersPath", "Headers"),
        text("LibraryIdentifier", id),
        text("LibraryPath", &format!("lib{n}.a")),
        "\t\t\t<key>SupportedArchitectures</key>\n\t\t\t<array>\n\t\t\t\t<string>arm64</string>\n\t\t\t</array>\n".into(),
        text("SupportedPlatform", system),
    ];
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n\
         <plist version=\"1.0\">\n<dict>\n\t<key>AvailableLibraries</key>\n\t<array>\n\t\t<dict>\n{}\t\t</dict>\n\t</array>\n\
         \t<key>CFBundlePackageType</key>\n\t<string>XFWK</string>\n\
         \t<key>XCFrameworkFormatVersion</key>\n\t<string>1.0</string>\n</dict>\n</plist>\n",
        library.concat()
    )
}

/// For the Swift package manager. The weights are the app's resource: they may be elsewhere, or come later.
fn package(n: &str) -> String {
    format!(
        "// swift-tools-version:5.5\nimport PackageDescription\n\nlet package = Package(\n    name: \"{n}\",\n    \
         products: [.library(name: \"{n}\", targets: [\"{n}\"])],\n    \
         targets: [.binaryTarget(name: \"{n}\", path: \"{n}.xcframework\")]\n)\n"
    )
}
