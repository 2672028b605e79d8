#!/bin/sh
# Everything that must hold, from a fresh machine: installs what the tests need, then runs them all.
# Missing optional tools are installed where possible; what stays missing is skipped loudly and counted.
set -eu
cd "$(dirname "$0")"
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing $2"; }
missing=""
need cc gcc
need c++ g++
need make make
need cmake cmake
need nm binutils
need xz xz-utils
need node nodejs
need chromium "chromium fonts-liberation"
need pkg-config pkg-config
need javac default-jdk-headless
need wine "wine64 wine"
need qemu-aarch64-static qemu-user-static
need aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
need riscv64-linux-gnu-gcc gcc-riscv64-linux-gnu
need pip3 "python3-pip python3-venv"
need arm-none-eabi-gcc "gcc-arm-none-eabi libnewlib-arm-none-eabi"
need qemu-system-arm qemu-system-arm
if [ -n "$missing" ] && command -v apt-get >/dev/null; then
    apt-get update -qq || true
    # One by one: what a machine does not offer must not keep the others away.
    for package in $missing; do apt-get install -y -qq "$package" || echo "SKIP: could not install $package"; done
fi
[ -x target/zig/bin/python ] || { python3 -m venv target/zig && target/zig/bin/pip install --quiet ziglang; } ||
    echo "SKIP: could not install zig"
# CMake looks for Java in fewer places than there are.
if [ -z "${JAVA_HOME:-}" ] && javac=$(readlink -f "$(command -v javac)"); then
    JAVA_HOME=${javac%/bin/javac}
    export JAVA_HOME
fi
# Debian 12 has a qemu that fails on RISC-V vectors.
case "$(qemu-riscv64-static --version 2>/dev/null)" in
    *" version "[1-7].*) [ -x target/qemu/qemu-riscv64 ] || testdata/scripts/qemu.sh target/qemu ||
        echo "SKIP: could not get a newer qemu" ;;
esac
for target in thumbv7em-none-eabihf wasm32-unknown-unknown aarch64-unknown-linux-musl riscv64gc-unknown-linux-gnu \
    aarch64-linux-android; do
    rustup target add "$target" >/dev/null 2>&1 || echo "SKIP: no rust target $target"
done
# Files, not crates: `cargo fmt` does not see modules that macros declare.
find compiler ir passes backends runtime fuzz -name '*.rs' -not -path '*/target/*' -exec rustfmt --check --edition 2024 {} +
cargo clippy --workspace --all-targets --locked -- -D warnings
cargo test --workspace --locked --no-fail-fast
cargo build --locked -p sinter-runtime-core --target thumbv7em-none-eabihf
cargo build --locked -p sinter-runtime-core --target wasm32-unknown-unknown
