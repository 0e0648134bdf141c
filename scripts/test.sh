#!/usr/bin/env bash
# Sets up .venv, builds d3torch, then lint, types, the site and tests. Idempotent. Arguments go to pytest.
# Without them, files of tests run side by side, one a core and four at most; then those tests one
# after the other that want the machine alone. The CUDA kernels compile beside all that takes one core.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh # torch, and the build on all cores
cuda=
if command -v nvcc > /dev/null; then
  rm -rf build/cuda
  MAX_JOBS=1 setsid bash scripts/checks/compile_cuda.sh build/cuda compile & # a group of processes, to be ended as one
  cuda=$!
  trap 'kill -- "-$cuda" 2> /dev/null || true' EXIT
fi
bash scripts/setup.sh test,mace,torchsim,lint,docs
echo "== lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs .venv/bin/clang-format --dry-run -Werror
echo "== types"
.venv/bin/mypy
echo "== documentation"
bash scripts/docs.sh
kernels() {
  [ -n "$cuda" ] || return 0
  echo "== CUDA kernels compile (nothing runs on a GPU here)"
  wait "$cuda" && bash scripts/checks/compile_cuda.sh build/cuda
}
if (($#)); then
  kernels
  echo "== tests"
  exec .venv/bin/python -m pytest "$@"
fi
echo "== tests"
workers=$(($(nproc) < 4 ? $(nproc) : 4))
failed=0
# Threads that wait do not take the cores of another worker.
OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -m "not alone" -n "$workers" --dist loadfile \
  --no-loadscope-reorder --durations 25 || failed=1
kernels || failed=1
echo "== tests that want the machine alone"
mapfile -t files < <(grep -rl --include='*.py' 'pytest\.mark\.alone' tests) # the others need not be imported for it
.venv/bin/python -m pytest -m alone --durations 12 "${files[@]}" || failed=1
exit "$failed"
