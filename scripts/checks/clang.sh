#!/usr/bin/env bash
# Builds the libraries with clang, compares results with those of the build that is there (GCC's), on the shared corpus and for
# every instruction set, and runs some tests of the engine. Needs clang and its OpenMP (Debian: clang libomp-dev), CMake, ninja.
# PYTHON: the interpreter (default: .venv/bin/python). CXX: the clang (default: clang++). KEEP: a folder for the build.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$(realpath -s "${PYTHON:-.venv/bin/python}") bin=$(dirname "$(realpath -s "${PYTHON:-.venv/bin/python}")")
work=${KEEP:-$(mktemp -d)}
[ -n "${KEEP:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree"
torch=$("$python" -c 'from importlib.util import find_spec; print(find_spec("torch").submodule_search_locations[0])')
abi=$("$python" -c 'import torch; print(int(torch.compiled_with_cxx11_abi()))')
PATH=$bin:$PATH
cmake -S . -B "$work/build" -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-clang++}" -DD3TORCH_TORCH="$torch" -DD3TORCH_CXX11_ABI="$abi" \
  -DD3TORCH_OUTPUT="$work/lib" > "$work/log"
cmake --build "$work/build" --parallel "${MAX_JOBS:-$(nproc)}" >> "$work/log" || { tail -40 "$work/log"; exit 1; }
rm -rf "$work/tree"
mkdir -p "$work/tree"
cp -r d3torch tests plugins pyproject.toml scripts "$work/tree"
rm -rf "$work/tree/d3torch/lib"
cp -r "$work/lib" "$work/tree/d3torch/lib"
PYTHONPATH=$PWD "$python" scripts/checks/compare_results.py write "$work/gcc.npz"
cd "$work/tree"
export PYTHONPATH=$PWD
"$python" -c 'import d3torch, os; assert os.path.samefile(d3torch.__path__[0], "d3torch")'
"$python" scripts/checks/compare_results.py compare "$work/gcc.npz" --tolerance 1e-13
"$python" -m pytest -q -p no:cacheprovider tests/engine/test_lattice.py tests/engine/test_processes.py tests/core/test_op_derivatives.py
echo "clang: results as those of GCC"
