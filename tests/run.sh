#!/usr/bin/env bash
# Usage: bash tests/run.sh [rust] [gpu] [browser] [cross]      no part named: all of them, in this order
#
#   rust     format, lints, every test without a GPU, benchmarks once each, documentation, the libraries without the
#            feature `gpu`
#   gpu      every kernel and every GPU test on Mesa's and SwiftShader's software adapters
#   browser  the browser app as people meet it, in headless Chromium, every kernel on its CPU and GPU among it, with the
#            built-in model or the one that LICHEN_MODEL names; SCREENSHOTS=FOLDER keeps pictures of the page
#   cross    Windows and macOS checked; under emulation the libraries' tests for 64-bit Arm, and the CPU's fast forms
#            on older x86-64 processors
#
# What a part needs is installed where that is possible (packages with apt-get as root, Rust targets with rustup,
# the rest below target/tools). A part that lacks something is reported as skipped; REQUIRE_GPU=1 makes that a
# failure for `gpu`, REQUIRE_BROWSER=1 for `browser`. `VK_DRIVER_FILES` chooses other Vulkan drivers for `gpu`.
# The last line says how many parts passed and failed; the exit status is 1 if one failed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly SKIPPED=77
readonly PLAYWRIGHT=1.65.1
readonly AXE=4.13.0
# Debug information of tests doubles what is written and read; backtraces keep their function names.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0
source tests/helpers.sh
mkdir -p "$tools/runtime"
chmod 700 "$tools/runtime"

# A part that cannot run: skipped, unless it is required ($1: 1 or 0).
missing() {
  echo "missing: $2"
  if [[ $1 == 1 ]]; then exit 1; else exit "$SKIPPED"; fi
}

rust_component() {
  cargo "$1" --version >/dev/null 2>&1 || rustup component add "$2" || missing 1 "$2"
}

find_browser() {
  local name
  for name in ${CHROMIUM:-} chromium chromium-browser google-chrome; do
    command -v "$name" && return
  done
  return 1
}

find_swiftshader() {
  local file
  for file in /usr/lib/chromium/libvk_swiftshader.so /usr/lib/chromium-browser/libvk_swiftshader.so \
    /opt/google/chrome/libvk_swiftshader.so; do
    if [[ -e $file ]]; then echo "$file" && return; fi
  done
  return 1
}

find_lavapipe() { compgen -G '/usr/share/vulkan/icd.d/lvp_icd*.json' | head -n 1; }

part_rust() {
  rust_component fmt rustfmt
  rust_component clippy clippy
  step cargo fmt --all --check
  step cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
  step cargo clippy --quiet -p lichen-shaders -p lichen-host -p lichen --no-default-features --all-targets --locked -- -D warnings
  # A driver that is not there: this part must pass on a machine without any GPU, and says so.
  export VK_DRIVER_FILES=/nonexistent VK_ICD_FILENAMES=/nonexistent REQUIRE_GPU=0
  step cargo test --quiet --workspace --locked
  # Benchmarks run each of theirs once.
  step cargo test --quiet -p lichen-host --no-default-features --bench kernels --locked
  RUSTDOCFLAGS='-D warnings' step cargo doc --quiet --workspace --no-deps --locked
  if cargo deny --version >/dev/null 2>&1; then
    step cargo deny --offline check bans licenses sources
  else
    echo "cargo-deny is not installed: licences and bans were not checked"
  fi
}

part_gpu() {
  local required=${REQUIRE_GPU:-0} lavapipe swiftshader drivers expected=()
  if [[ -z ${VK_DRIVER_FILES:-} ]]; then
    if ! find_lavapipe >/dev/null || ! ldconfig -p | grep -q libvulkan.so.1; then
      packages libvulkan1 mesa-vulkan-drivers || true
    fi
    find_swiftshader >/dev/null || packages chromium || true
    lavapipe=$(find_lavapipe) || missing "$required" "Mesa's Vulkan driver"
    swiftshader=$(find_swiftshader) || missing "$required" "SwiftShader's Vulkan driver"
    printf '{"file_format_version":"1.0.0","ICD":{"library_path":"%s","api_version":"1.1.0"}}\n' \
      "$swiftshader" >"$tools/swiftshader.json"
    drivers=$lavapipe:$tools/swiftshader.json
    # The older variable is for loaders that do not know the newer one.
    export VK_DRIVER_FILES=$drivers VK_ICD_FILENAMES=$drivers
    expected=(llvmpipe SwiftShader)
  fi
  export XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-$tools/runtime} WGPU_BACKEND=vulkan REQUIRE_GPU=$required
  say "cargo test --workspace --test parity"
  cargo test --workspace --locked --test parity 2>&1 | tee "$tools/parity.log"
  local adapter
  for adapter in "${expected[@]}"; do
    grep -q "\[Vulkan/$adapter" "$tools/parity.log" || missing "$required" "no trial ran on $adapter"
  done
  grep -q '^skipped: no adapter' "$tools/parity.log" && missing "$required" "a Vulkan adapter"
  # The other tests that open an adapter when there is one.
  step cargo test --quiet --workspace --locked --lib -- gpu
  say "cargo test --workspace --test journeys"
  cargo test --workspace --locked --test journeys -- --nocapture --test-threads 1
}

part_browser() {
  local required=${REQUIRE_BROWSER:-0} browser page=$target/web model=${LICHEN_MODEL:-examples/cli/model/lichen.safetensors}
  command -v npm >/dev/null || packages nodejs npm || missing "$required" "node and npm"
  find_browser >/dev/null || packages chromium || true
  browser=$(find_browser) || missing "$required" "Chromium"
  rust_target wasm32-unknown-unknown || missing "$required" "the target wasm32-unknown-unknown"
  if [[ ! -d $tools/node_modules/playwright-core || ! -d $tools/node_modules/axe-core ]]; then
    step npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$tools" "playwright-core@$PLAYWRIGHT" "axe-core@$AXE" ||
      missing "$required" "playwright-core and axe-core"
  fi

  step bash web/build.sh "$model" "$page"
  step cargo build --quiet -p lichen-cli --locked
  export TOOLS=$tools CHROMIUM=$browser
  step node tests/browser/app.mjs "$target/debug/lichen" "$page" "$model"
}

part_cross() {
  local name
  for name in x86_64-pc-windows-msvc aarch64-apple-darwin aarch64-unknown-linux-gnu; do
    rust_target "$name" || missing 0 "the target $name"
  done
  step cargo check --quiet --workspace --exclude lichen-tests --exclude lichen-web --target x86_64-pc-windows-msvc --locked
  step cargo check --quiet --workspace --exclude lichen-tests --exclude lichen-web --target aarch64-apple-darwin --locked

  arm_tools || missing 0 "a compiler and an emulator for 64-bit Arm"
  # Processors older than this one: AVX2 without AVX-512, and neither. An emulated thread takes one core for minutes, so
  # they run beside the tests for Arm.
  local i processor processors=() pids=()
  if [[ $(uname -m) == x86_64 ]]; then processors=(Haswell Nehalem); fi
  for processor in "${processors[@]}"; do
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64-static -cpu $processor" LICHEN_TEST_THREADS=1 \
      cargo test --quiet --lib -p lichen-host --no-default-features --locked -- fast >"$tools/$processor.log" 2>&1 &
    pids+=($!)
  done
  local status=0
  step cargo test --quiet --lib -p lichen-shaders -p lichen-host -p lichen --no-default-features \
    --target aarch64-unknown-linux-gnu --locked || status=1
  for i in "${!processors[@]}"; do
    say "${processors[i]}"
    wait "${pids[i]}" || status=1
    grep -v 'TCG doesn' "$tools/${processors[i]}.log" || true
  done
  return "$status"
}

# One part, in a shell of its own, so that `set -e` holds inside it.
if [[ ${1:-} == --part ]]; then
  "part_$2"
  exit
fi

parts=("$@")
if [[ ${#parts[@]} -eq 0 ]]; then parts=(rust gpu browser cross); fi
for part in "${parts[@]}"; do
  case $part in
    rust | gpu | browser | cross) ;;
    *)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "tests/run.sh" >&2
      exit 2
      ;;
  esac
done

results=()
passed=0
failed=0
for part in "${parts[@]}"; do
  started=$SECONDS
  status=0
  bash tests/run.sh --part "$part" || status=$?
  case $status in
    0) verdict=passed passed=$((passed + 1)) ;;
    "$SKIPPED") verdict=skipped ;;
    *) verdict=failed failed=$((failed + 1)) ;;
  esac
  results+=("$verdict: $part, $((SECONDS - started)) s")
done
say "summary"
printf '%s\n' "${results[@]}"
echo "$passed passed, $failed failed"
if [[ $failed -gt 0 ]]; then exit 1; fi
