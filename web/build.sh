#!/usr/bin/env bash
# Usage: bash web/build.sh [MODEL] [OUT]
#
# Builds the page: the engine as wasm, the package around it, the page, and the model it fetches (MODEL, a
# .safetensors file; the built-in one if none is named). Everything goes to OUT, web/dist if none is named, and can be
# served from any folder of any server; `cargo run --release -- serve --web` serves it here.
set -euo pipefail
from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tests/helpers.sh

root=$PWD
model=$(cd "$from" && realpath -e "${1:-$root/examples/cli/model/lichen.safetensors}")
out=$(cd "$from" && realpath -m "${2:-$root/web/dist}")

rust_target wasm32-unknown-unknown
step cargo build --quiet --manifest-path web/bindgen/Cargo.toml --locked
step cargo build --quiet -p lichen-web --target wasm32-unknown-unknown --release --locked

# Made beside it and moved, so that a server never sees half of a build.
new=$out.new
rm -rf "$new"
mkdir -p "$new/lichen/wasm" "$new/model"
step "$target/debug/lichen-bindgen" "$target/wasm32-unknown-unknown/release/lichen_web.wasm" "$new/lichen/wasm"
cp web/package/{index.js,index.d.ts,turn.js,store.js,kept.js,lessons.js,worker.js,package.json,README.md} "$new/lichen/"
cp LICENSE-MIT LICENSE-APACHE "$new/lichen/"
bash .ci/third-party wasm32-unknown-unknown lichen-web >"$new/lichen/THIRD-PARTY.txt"
cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$new/lichen/THIRD-PARTY-RUST.html"
cp -r web/page/. "$new/"

hash_of() { sha256sum "$1" | cut -d ' ' -f 1; }
sha=$(hash_of "$model")
file=model/${sha:0:16}.safetensors
cp "$model" "$new/$file"
printf '{"file":"%s","bytes":%s,"sha256":"%s"}\n' "$file" "$(stat -c %s "$model")" "$sha" >"$new/model.json"

# What the page keeps for starts without a network, named by its contents. The model keeps itself.
printf 'export const BUILD = "%s";\n' "$(hash_of "$new/lichen/wasm/lichen_web_bg.wasm" | cut -c 1-16)" >"$new/lichen/wasm/build.js"
files=$(cd "$new" && find . -type f ! -path './model/*' ! -name sw.js ! -name 'LICENSE*' ! -name 'THIRD-PARTY*' ! -name '*.md' ! -name '*.d.ts' ! -name package.json | sed 's|^\./||' | LC_ALL=C sort)
version=$(cd "$new" && cat $files | sha256sum | cut -c 1-16)
{
  printf '// Made by web/build.sh.\nself.BUILD = { version: "%s", files: [\n' "$version"
  printf '"%s",\n' $files
  printf '] };\n'
} >"$new/files.js"

rm -rf "$out"
mv "$new" "$out"

size() { cat "$@" | wc -c; }
packed() { local all=0 one; for one in "$@"; do all=$((all + $(gzip -9 -c "$one" | wc -c))); done; echo "$all"; }
wasm=$out/lichen/wasm/lichen_web_bg.wasm
mapfile -t rest < <(cd "$out" && for one in $files; do [[ $one == *.wasm ]] || echo "$out/$one"; done)
echo
echo "page   $out, version $version"
echo "wasm   $(size "$wasm") bytes, $(packed "$wasm") with gzip"
echo "rest   $(size "${rest[@]}") bytes in ${#rest[@]} files, $(packed "${rest[@]}") with gzip"
echo "model  $(size "$out/$file") bytes"
