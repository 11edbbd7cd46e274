# Sourced by tests/run.sh, web/build.sh and .ci/release from the repository's root: where things are built, and how what is missing is
# installed.
# shellcheck shell=bash

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
readonly target
readonly tools=$target/tools
readonly ARM_ROOT=/usr/aarch64-linux-gnu
export CARGO_TARGET_DIR=$target CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-auto}
mkdir -p "$tools"

say() { printf '\n== %s\n' "$*"; }
step() {
  say "$*"
  "$@"
}

# Installs Debian packages; says so when it cannot.
packages() {
  if ! command -v apt-get >/dev/null; then echo "cannot install $*: no apt-get here"; return 1; fi
  local as=()
  if [[ $EUID -ne 0 ]]; then
    if ! sudo -n true 2>/dev/null; then echo "cannot install $*: not root"; return 1; fi
    as=(sudo -n)
  fi
  say "apt-get install $*"
  # Only the first call fetches the package lists.
  if [[ ! -e $tools/apt-updated ]]; then "${as[@]}" apt-get -qq update && touch "$tools/apt-updated"; fi
  "${as[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null ||
    { echo "cannot install $*"; return 1; }
}

rust_target() {
  rustup target list --installed 2>/dev/null | grep -qx "$1" || rustup target add "$1" ||
    { echo "cannot install the Rust target $1"; return 1; }
}

# A compiler and an emulator for 64-bit Arm, known to cargo.
arm_tools() {
  command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64-static >/dev/null ||
    packages gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static || return 1
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L $ARM_ROOT"
}
