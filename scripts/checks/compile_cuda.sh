#!/usr/bin/env bash
# Compiles every CUDA file for sm_80 and sm_90 without a GPU, prints what each kernel takes (registers, spills, local and
# shared memory), and fails if one spills; checks the torch glue against torch's headers, of a CPU build too.
# Usage: scripts/checks/compile_cuda.sh [FOLDER to keep the objects in].
set -euo pipefail
keep=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/../.."
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || { echo "compile_cuda: expected nvcc on the path, found none" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
build=${keep:-$(mktemp -d)}
mkdir -p "$build"
[ -n "$keep" ] || trap 'rm -rf "$build"' EXIT
mapfile -t flags < <("$python" -c 'import setup; print(*setup.NVCC_FLAGS, sep="\n")')
run() {
  for arch in 80 90; do
    "$nvcc" -std=c++17 -Icsrc -arch=sm_$arch "${flags[@]}" -Werror all-warnings -Xptxas -v \
      -c "$1" -o "$build/$(basename "$1").sm_$arch.o" 2> "$build/$(basename "$1").sm_$arch.log" \
      || { cat "$build/$(basename "$1").sm_$arch.log" >&2; return 1; }
  done
}
jobs=()
for file in csrc/engine/cuda/*/*.cu; do
  while (($(jobs -rp | wc -l) >= ${MAX_JOBS:-$(nproc)})); do wait -n; done
  run "$file" &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done
"$python" scripts/checks/cuda_report.py "$build"/*.log
torch=$("$python" -c 'import torch; print(torch.__path__[0])')
cuda=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
for file in csrc/ops/{pair,lattice}_cuda_ops.cpp; do
  g++ -std=c++17 -fsyntax-only -Icsrc -Wall -Wno-psabi -DC10_CUDA_NO_CMAKE_CONFIGURE_FILE \
    -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include" -isystem "$cuda/include" "$file"
  echo "$file: compiles against the headers of torch"
done
