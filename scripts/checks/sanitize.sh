#!/usr/bin/env bash
# Compiles the kernels without torch, and runs them under the address and undefined-behaviour sanitizers.
# Not under that for threads: libgomp is not built for it, so that every parallel region would be reported.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
# The loops over tiles and rows have no pointers to locals, and checking these takes a minute of
# compilation for each. The same loops are compiled for each instruction set: one of them is checked
# for undefined behaviour too, which takes minutes.
compile() {
  local less=()
  # What null pointers and sizes of objects show, the address sanitizer shows as well.
  [[ $1 != */simd/* ]] || less=(-fno-sanitize-address-use-after-scope -fno-sanitize=null,object-size)
  [[ $1 != */simd/*avx* ]] || less+=(-fno-sanitize=undefined,float-cast-overflow)
  g++ "${flags[@]}" "${less[@]}" -c "$1" -o "$build/$(basename "$1").o"
}
flags=(-std=c++17 -O1 -g1 -fopenmp -fno-math-errno -fno-omit-frame-pointer -Wno-psabi -Icsrc
  -fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all
  --param asan-instrumentation-with-call-threshold=0) # calls, which compile sooner than code in line
# The longest first, so that no core waits for them at the end.
mapfile -t sources < <(find csrc/engine -name '*baseline.cpp'; find csrc/engine/simd -name '*.cpp' ! -name '*baseline.cpp'
  echo tests/helpers/sanitize/main.cpp; find csrc/engine -name '*.cpp' ! -path '*/simd/*')
jobs=()
for file in "${sources[@]}"; do
  while (($(jobs -rp | wc -l) >= ${MAX_JOBS:-$(nproc)})); do wait -n; done
  compile "$file" &
  jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job"; done
mvec=()
[[ $(uname -m) != x86_64 ]] || mvec=(-lmvec)
g++ "${flags[@]}" "$build"/*.o -o "$build/kernels" "${mvec[@]}"
"$build/kernels"
