#!/usr/bin/env bash
# Compiles the CUDA kernels and their ops against the stand-in of the CUDA runtime in
# tests/helpers/cuda_emulation: they run on the CPU, for tests without a GPU.
# Usage: scripts/checks/emulate_cuda.sh LIBRARY (the shared library to write).
set -euo pipefail
library=$(realpath -m "$1")
cd "$(dirname "$0")/../.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
python=${PYTHON:-.venv/bin/python}
torch=$("$python" -c 'import torch; print(torch.__path__[0])')
abi=$("$python" -c 'import torch; print(int(torch.compiled_with_cxx11_abi()))')
flags=(-std=c++17 -O1 -fPIC -fno-math-errno -Wall -Wno-psabi -Wno-unknown-pragmas -U_FORTIFY_SOURCE -D_GLIBCXX_USE_CXX11_ABI="$abi"
  -Itests/helpers/cuda_emulation -Icsrc -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include")
jobs=()
for file in csrc/engine/cuda/*/*.cu csrc/ops/cuda_ops.cpp; do
  while (($(jobs -rp | wc -l) >= ${MAX_JOBS:-$(nproc)})); do wait -n; done
  g++ "${flags[@]}" -x c++ -c "$file" -o "$build/$(basename "$file").o" &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done
g++ -shared "$build"/*.o -L"$torch/lib" -ltorch -ltorch_cpu -lc10 -o "$library"
