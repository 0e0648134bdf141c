#!/usr/bin/env bash
# Sets up .venv, builds d3torch, then lint, types and tests. Idempotent. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh test,mace,torchsim,lint
echo "== lint"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
git ls-files '*.h' '*.cpp' '*.cu' '*.cuh' | xargs .venv/bin/clang-format --dry-run -Werror
echo "== types"
.venv/bin/mypy
if command -v nvcc > /dev/null; then
  echo "== CUDA kernels compile (nothing runs on a GPU here)"
  bash scripts/checks/compile_cuda.sh
fi
echo "== tests"
.venv/bin/python -m pytest "$@"
