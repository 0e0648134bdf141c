#!/usr/bin/env bash
# Compiles and links the CUDA kernels without a GPU, prints what each takes (registers, spills, local and shared memory), and
# fails if one spills or if the machine code is beyond scripts/checks/cuda_budget.json; checks the ops on CUDA tensors
# against torch's headers, of a CPU build too. Usage: scripts/checks/compile_cuda.sh [FOLDER to build in [compile]], where
# "compile" ends before anything is looked at; what is compiled then is not compiled again in the same folder.
# ARCHITECTURES: for which (default: 90); all that count: "75 80 86 89 90 100 120", half an hour and more.
set -euo pipefail
keep=${1:+$(realpath -m "$1")}
cd "$(dirname "$0")/../.."
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || { echo "compile_cuda: expected nvcc on the path, found none" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
cmake=$(dirname "$python")/cmake
[ -x "$cmake" ] || cmake=cmake
build=${keep:-$(mktemp -d)}
mkdir -p "$build"
[ -n "$keep" ] || trap 'rm -rf "$build"' EXIT
real=$(printf '%s-real ' ${ARCHITECTURES:-90} | sed 's/ $//')
run() { "$@" >> "$build/log" 2>&1 || { cat "$build/log" >&2; exit 1; }; }
run "$cmake" -S . -B "$build" -DD3TORCH_CUDA=ON -DCMAKE_CUDA_COMPILER="$nvcc" "-DCMAKE_CUDA_ARCHITECTURES=${real// /;}" \
  "-DCMAKE_CUDA_FLAGS=-Werror all-warnings -Xptxas -v"
run "$cmake" --build "$build" --target d3torch_cuda --parallel "${MAX_JOBS:-$(nproc)}"
[ "${2:-}" != compile ] || exit 0
"$python" scripts/checks/cuda_report.py "$build/log"
gate=("$python" scripts/checks/cuda_code.py)
[ -n "${ARCHITECTURES:-}" ] || gate+=(--only sm_90) # for the sake of time
find "$build" -path '*d3torch_cuda.dir*' -name '*.cu.o' -print0 | xargs -0 "${gate[@]}"
torch=$("$python" -c 'import torch; print(torch.__path__[0])')
cuda=$("$nvcc" --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
check=(g++ -std=c++20 -fsyntax-only -Icsrc -Wall -Wno-psabi -isystem "$torch/include"
  -isystem "$torch/include/torch/csrc/api/include")
"${check[@]}" csrc/ops/cuda_ops.cpp
echo "csrc/ops/cuda_ops.cpp: compiles against the headers of torch, without those of CUDA"
# What csrc/ops/cuda_stream.h relies on.
"${check[@]}" -isystem "$cuda/include" -DC10_CUDA_NO_CMAKE_CONFIGURE_FILE -x c++ - <<'END'
#include <c10/cuda/CUDAStream.h>
static_assert(sizeof(c10::cuda::CUDAStream) == sizeof(c10::Stream), "holds a c10::Stream alone");
static_assert(!__is_polymorphic(c10::cuda::CUDAStream) && !__is_polymorphic(c10::Stream));
cudaStream_t (c10::cuda::CUDAStream::*named)() const = &c10::cuda::CUDAStream::stream;
END
echo "c10::cuda::CUDAStream: an object that holds a c10::Stream alone"
