#!/usr/bin/env bash
# A second compiler reads the CUDA kernels: clang's front end takes every .cu file for the device and for the host, with
# warnings as errors. Nothing is run. Needs clang 16 or later (CXX; Debian: clang-19) and the headers that nvcc brings.
set -euo pipefail
cd "$(dirname "$0")/../.."
clang=${CXX:-clang++-19}
command -v "$clang" > /dev/null || { echo "clang_cuda: expected clang in CXX, got $clang" >&2; exit 1; }
cuda=$(nvcc --dryrun -x cu /dev/null 2>&1 | sed -n 's/^#\$ TOP=//p')
shim=$(mktemp -d)
trap 'rm -rf "$shim"' EXIT
# Headers that clang includes by itself; CUDA 13 has no textures by reference, and cuRAND is a package of its own.
touch "$shim/texture_fetch_functions.h" "$shim/curand_mtgp32_kernel.h"
flags=(-x cuda --cuda-path="$cuda" --cuda-gpu-arch="${ARCHITECTURE:-sm_80}" -nocudalib -std=c++17 -fsyntax-only -I"$shim" -Icsrc
  -Wall -Wextra -Werror -Wno-unknown-cuda-version -Wno-missing-field-initializers)
for file in csrc/engine/cuda/*/*.cu; do
  for side in device host; do "$clang" "${flags[@]}" "--cuda-$side-only" "$file"; done
  echo "$file: no warnings for the device, none for the host"
done
