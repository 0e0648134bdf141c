#!/usr/bin/env bash
# Installs a wheel into fresh environments, one for each pair of Python and torch, and runs the quick suite there (tests/core
# and tests/engine, from a copy: nothing of the checkout is imported). Prints a line for each, for the table in docs/install.md.
# Usage: scripts/test_wheel.sh WHEEL PYTHON=TORCH...    e.g. dist/d3torch-*.whl python3.11=2.13.0 python3.13=2.15.0
# TORCH: a version or a wheel. KEEP: folder of the environments, which are made once (default: build/wheel/environments).
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n 2,5p "$0" >&2; exit 2; }
[ -f "$1" ] || { echo "test_wheel: expected a wheel, got $1" >&2; exit 2; }
wheel=$(realpath "$1")
shift
keep=${KEEP:-build/wheel/environments}
mkdir -p "$keep"
suite=$(mktemp -d)
trap 'rm -rf "$suite"' EXIT
cp -r tests pyproject.toml "$suite"
failed=0
say='
import os, sys, time
start = time.perf_counter()
import torch
between = time.perf_counter()
import d3torch
end = time.perf_counter()
import ase.io
from d3torch.examples import glass_path
atoms = ase.io.read(glass_path())
atoms.calc = d3torch.D3Calculator(xc="pbe")
print("Python %d.%d.%d, torch" % sys.version_info[:3], torch.__version__, "CUDA" if torch.version.cuda else "CPU", end=": ")
print("glass %.6f eV, import %.2f s beside %.2f s of torch" % (atoms.get_potential_energy(), end - between, between - start))
'
for pair in "$@"; do
  python=${pair%%=*} torch=${pair#*=}
  here=$keep/$(basename "$python")-$(basename "$torch")
  if ! "$here/bin/python" -c 'import torch' 2> /dev/null; then # not there, or only half
    "$python" -m venv "$here"
    [[ $torch == *.whl ]] || torch=torch==$torch
    PIP_CONSTRAINT=/dev/null "$here/bin/python" -m pip --disable-pip-version-check --quiet install "$torch"
  fi
  "$here/bin/python" -m pip --disable-pip-version-check --quiet install --force-reinstall --no-deps "$wheel"
  PIP_CONSTRAINT=/dev/null "$here/bin/python" -m pip --disable-pip-version-check --quiet install "d3torch[test] @ file://$wheel"
  interpreter=$(realpath -s "$here")/bin/python
  (cd "$suite" && "$interpreter" -c "$say") || failed=1
  (cd "$suite" && "$interpreter" -m pytest -q -p no:cacheprovider -o pythonpath=tests/helpers -o addopts= tests/core tests/engine \
    | tail -n "${LINES_SHOWN:-15}") || failed=1
done
exit $failed
