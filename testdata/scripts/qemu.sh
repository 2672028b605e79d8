#!/bin/sh
# A newer qemu than the system's, unpacked from Debian's backports: testdata/scripts/qemu.sh FOLDER. Nothing is installed.
# That of Debian 12 gives up on vfcvt.rtz.x.f.v wherever a block of RISC-V code begins with it.
set -eu
[ $# -eq 1 ] || { sed -n '2,3s/^# //p' "$0"; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
release=$(. /etc/os-release && echo "$VERSION_CODENAME")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
mkdir "$work/lists"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] http://deb.debian.org/debian $release-backports main" > "$work/sources.list"
cd "$work"
own="-o Dir::Etc::SourceList=$work/sources.list -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists=$work/lists"
# shellcheck disable=SC2086
apt-get $own -qq update
# shellcheck disable=SC2086
apt-get $own -qq download qemu-user
dpkg -x qemu-user_*.deb tree
cp tree/usr/bin/qemu-aarch64 tree/usr/bin/qemu-riscv64 "$out/"
