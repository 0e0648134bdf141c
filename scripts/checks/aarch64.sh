#!/usr/bin/env bash
# Compiles the engine for aarch64 with CMake and a cross compiler, and runs it in an emulator: the shared corpus against the results
# of the build that is there, and the program of the sanitizers. Debian: g++-aarch64-linux-gnu, qemu-user; and CMake, ninja.
# PYTHON: the interpreter (default: .venv/bin/python).
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH=$(dirname "$python"):$PATH
export PYTHONPATH=$PWD
compiler=aarch64-linux-gnu-g++
# As for a wheel that is built with a newer glibc, so that this is tried too.
cmake -S . -B "$work/build" -G Ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 -DCMAKE_CXX_COMPILER=$compiler \
  -DD3TORCH_GLIBC_2_28=ON -DD3TORCH_OUTPUT="$work/lib" > "$work/log"
cmake --build "$work/build" --parallel "${MAX_JOBS:-$(nproc)}" >> "$work/log" || { tail -40 "$work/log"; exit 1; }
newer=$(aarch64-linux-gnu-nm --dynamic --undefined-only "$work/lib/libd3torch_kernels.so" | grep -E 'GLIBC_2\.(29|[3-9][0-9])' || true)
[ -z "$newer" ] || { echo "aarch64: expected no symbol newer than glibc 2.28, got $newer"; exit 1; }
for program in corpus_host sanitize; do
  $compiler -std=c++17 -O1 -Wno-psabi -fopenmp -Icsrc "tests/helpers/$program/main.cpp" -o "$work/$program" \
    "$work/lib/libd3torch_kernels.so" -Wl,-rpath,"$work/lib"
done
run() { qemu-aarch64 -L /usr/aarch64-linux-gnu "$@"; }
"$python" scripts/checks/corpus_file.py write "$work/corpus.bin"
run "$work/corpus_host" < "$work/corpus.bin" > "$work/results.bin"
"$python" scripts/checks/corpus_file.py compare "$work/results.bin" --tolerance 1e-13
run "$work/sanitize"
echo "aarch64: results as those of $(uname -m)"
