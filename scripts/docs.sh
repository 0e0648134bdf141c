#!/usr/bin/env bash
# Builds the documentation site, build/docs/index.html, with warnings as errors; fetches nothing.
# Usage: scripts/docs.sh [linkcheck]    linkcheck looks at links to the outside instead
# In .venv, which needs the extra docs and the hosts whose docstrings are shown:
#   bash scripts/setup.sh docs,neighbors,mace,torchsim
# PYTHON names another Python; REPOSITORY=https://... where links to files of the repository lead.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-.venv/bin/python}
"$python" -c 'import furo, latex2mathml, myst_parser, sphinx_copybutton' 2>/dev/null || {
  echo "expected sphinx and furo to be installed: run bash scripts/setup.sh docs" >&2
  exit 1
}
builder=${1:-html}
output=build/docs
[ "$builder" = html ] || output=build/docs-$builder
exec env PYTHONWARNINGS=ignore "$python" -m sphinx -W --keep-going -n -q -b "$builder" docs "$output"
