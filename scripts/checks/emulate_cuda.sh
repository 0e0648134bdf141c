#!/usr/bin/env bash
# Compiles the CUDA kernels and their ops against the stand-in of CUDA in
# tests/helpers/cuda_emulation: they run on the CPU, for tests without a GPU.
# Usage: scripts/checks/emulate_cuda.sh LIBRARY [plain|checked|clang|clang-checked] (a shared library to write), or
#        scripts/checks/emulate_cuda.sh PROGRAM broken (kernels with one fault each, broken.cu).
# "checked" looks at every load and store of the kernels, and is slower. "clang" takes the kernels
# as clang's front end for CUDA and its optimiser make them for a GPU (CXX: clang 19; ARCHITECTURE; needs
# nvcc's headers and library of functions), turned to this machine's code by host_ir.py. With
# D3TORCH_EMULATION_BUILD the objects are kept in that folder, and only what is older than its
# sources is compiled again; one build at a time, as they share what is not a kernel.
set -euo pipefail
library=$(realpath -m "$1")
how=${2:-plain}
cd "$(dirname "$0")/../.."
build=${D3TORCH_EMULATION_BUILD:-}
if [ -z "$build" ]; then
  build=$(mktemp -d)
  trap "rm -rf '$build'" EXIT
fi
build=$(realpath -m "$build")/$how
mkdir -p "$build"
here=tests/helpers/cuda_emulation
python=${PYTHON:-.venv/bin/python}
torch=$("$python" -c 'import torch; print(torch.__path__[0])')
abi=$("$python" -c 'import torch; print(int(torch.compiled_with_cxx11_abi()))')
flags=(-std=c++17 -fPIC -fno-math-errno -Wall -Wno-psabi -Wno-unknown-pragmas -U_FORTIFY_SOURCE -D_GLIBCXX_USE_CXX11_ABI="$abi"
  -MMD -I$here -Icsrc -isystem "$torch/include" -isystem "$torch/include/torch/csrc/api/include")
looked_at=$([[ $how = *checked || $how = broken ]] && echo true || echo false)
hooks=()
sanitizer=()
if [ "$how" = checked ] || [ "$how" = broken ]; then
  # undefined behaviour as well: overflow, shifts, bounds of arrays, alignment of wide loads
  hooks=(-g1 -fsanitize=thread,undefined -fno-sanitize=pointer-overflow,vptr -fno-sanitize-recover=undefined
    -Wno-tsan --param tsan-instrument-func-entry-exit=0)
  sanitizer=(-lubsan)
fi

stale() {  # whether an object is missing, or older than one of its sources
  [ ! -f "$1" ] || [ ! -f "${1%.o}.d" ] ||
    [ -n "$(find $(sed -e 's/^[^ ]*://' -e 's/\\$//' "${1%.o}.d") -newer "$1" -print -quit 2>&1)" ]
}

jobs=()
objects=()
compile() {  # FOLDER FILE FLAG...: one object
  local object="$1/$(basename "$2").o"
  objects+=("$object")
  stale "$object" || return 0
  while (($(jobs -rp | wc -l) >= ${MAX_JOBS:-$(nproc)})); do wait -n; done
  g++ "${flags[@]}" "${@:3}" -x c++ -c "$2" -o "$object" &
  jobs+=($!)
}
# The kernels of a file as clang compiles them for a GPU: one object, which takes the place of g++'s.
of_clang() {
  local ir="$build/$(basename "$1")"
  while (($(jobs -rp | wc -l) >= ${MAX_JOBS:-$(nproc)})); do wait -n; done
  "$clang" -x cuda --cuda-path="$cuda" --cuda-gpu-arch="${ARCHITECTURE:-sm_90}" -std=c++17 -I"$build/shim" -Icsrc \
    -Wno-unknown-cuda-version --cuda-device-only -O3 -S -emit-llvm "$1" -o "$ir.gpu.ll" &&
    "$python" scripts/checks/host_ir.py "$ir.gpu.ll" "${how#clang-}" > "$ir.ll" &&
    "$clang" -x ir "$ir.ll" -O1 "${as_it_is[@]}" -mfma -fPIC -Wno-override-module -c -o "$ir.clang.o" &
  jobs+=($!)
  objects+=("$ir.clang.o")
}
host=$(dirname "$build")/host # what is the same in every build
if [[ $how = clang* ]]; then
  clang=${CXX:-clang++-19}
  command -v "$clang" > /dev/null || { echo "emulate_cuda: expected clang in CXX, got $clang" >&2; exit 1; }
  cuda=$(nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
  mkdir -p "$build/shim" # headers that clang includes by itself, and CUDA 13 has no more
  touch "$build/shim/texture_fetch_functions.h" "$build/shim/curand_mtgp32_kernel.h"
  as_it_is=(-Xclang -disable-llvm-passes)
  [ "$how" = clang ] || as_it_is=(-fsanitize=thread -mllvm -tsan-instrument-func-entry-exit=0)
  flags+=(-DEMULATION_OF_CLANG)
  host=$build
  for file in csrc/engine/cuda/*/*.cu; do of_clang "$file"; done
fi
if [ "$how" = broken ]; then
  kernels=($here/{broken,limits}.cu)
  others=($here/{fibres,memory,report}.cpp)
else
  kernels=(csrc/engine/cuda/*/*.cu)
  others=(csrc/ops/cuda_ops.cpp)
  for file in $here/*.cpp; do [ "$file" = $here/checks.cpp ] || others+=("$file"); done
fi
mkdir -p "$host"
for file in "${kernels[@]}"; do compile "$build" "$file" -O1 "${hooks[@]}"; done
compile "$build" $here/checks.cpp -O1 -DEMULATION_HOOKS="$looked_at"
for file in "${others[@]}"; do compile "$host" "$file" -O1; done
for job in "${jobs[@]}"; do wait "$job"; done
if [ "$how" = broken ]; then
  g++ -rdynamic "${objects[@]}" "${sanitizer[@]}" -ldl -o "$library"
else
  # kernels of templates that two files have are there twice from clang
  g++ -shared -Wl,-soname,libc10_cuda.so,-z,muldefs "${objects[@]}" -L"$torch/lib" -ltorch -ltorch_cpu -lc10 "${sanitizer[@]}" -ldl -o "$library"
fi
