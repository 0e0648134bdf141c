#!/usr/bin/env bash
# Sets up .venv, builds d3torch, then lint, types, the site and tests. Idempotent. Arguments go to pytest.
# Without them, files of tests run side by side, one a core and four at most; then those tests one
# after the other that want the machine alone.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test,mace,torchsim,lint,docs
echo "== lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs .venv/bin/clang-format --dry-run -Werror
echo "== types"
.venv/bin/mypy
echo "== documentation"
bash scripts/docs.sh
if command -v nvcc > /dev/null; then
  echo "== CUDA kernels compile (nothing runs on a GPU here)"
  bash scripts/checks/compile_cuda.sh
fi
echo "== tests"
if (($#)); then exec .venv/bin/python -m pytest "$@"; fi
workers=$(($(nproc) < 4 ? $(nproc) : 4))
failed=0
# Threads that wait do not take the cores of another worker.
OMP_WAIT_POLICY=passive .venv/bin/python -m pytest -m "not alone" -n "$workers" --dist loadfile \
  --no-loadscope-reorder --durations 25 || failed=1
.venv/bin/python -m pytest -m alone --durations 12 || failed=1
exit "$failed"
