#!/usr/bin/env bash
# Installs a wheel as different people do, each time beside the torch of an environment that is there, and computes an energy:
# with uv, with pip --user, into a folder with spaces in its name, where site-packages cannot be written to.
# Usage: scripts/checks/ways_of_installing.sh WHEEL PYTHON   (the interpreter of an environment with torch, ase and pip)
set -euo pipefail
[ $# -eq 2 ] || { sed -n 2,4p "$0" >&2; exit 2; }
wheel=$(realpath "$1") python=$(realpath -s "$2")
work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
cd "$work"
chmod 755 .
torch=$("$python" -c 'import torch; print(torch.__path__[0])')
borrowed=${torch%/torch}
base=$("$python" -c 'import sys; print(sys.base_prefix)')/bin/python3
export PIP_DISABLE_PIP_VERSION_CHECK=1
# An environment that finds torch and ase where they are.
lend() { echo "$borrowed" > "$(echo "$1"/lib/python*/site-packages)/borrowed.pth"; }
compute='
import os, d3torch, ase.build
atoms = ase.build.molecule("C6H6")
atoms.calc = d3torch.D3Calculator(xc="pbe")
folder = os.path.dirname(d3torch.__file__)
assert folder.startswith(os.getcwd()), folder
print("%.9f eV, %s" % (atoms.get_potential_energy(), folder))
'
# The energy by what was installed here, whatever d3torch the environment has.
try() { local name=$1; shift; printf '%s: ' "$name"; PYTHONDONTWRITEBYTECODE=1 "$@" -c "$compute" 2> err || { tail -3 err; exit 1; }; }

"$base" -m venv tools
tools/bin/python -m pip --quiet install uv
tools/bin/uv --quiet venv --python "$base" with-uv
lend with-uv
tools/bin/uv --quiet pip install --python with-uv/bin/python --no-deps "$wheel"
try "uv pip install" with-uv/bin/python

PYTHONUSERBASE=$work/home "$base" -m pip --quiet install --user --no-deps --no-warn-script-location "$wheel"
lend home
PYTHONUSERBASE=$work/home try "pip install --user" "$base"

"$base" -m venv "a folder/with spaces"
lend "a folder/with spaces"
"a folder/with spaces/bin/python" -m pip --quiet install --no-deps --ignore-installed "$wheel"
try "a path with spaces" "a folder/with spaces/bin/python"

"$base" -m venv read-only
lend read-only
read-only/bin/python -m pip --quiet install --no-deps --ignore-installed "$wheel"
if [ "$(id -u)" -eq 0 ]; then # to whom everything can be written to, unless it is mounted so
  try "read-only site-packages" unshare --mount sh -c 'mount --bind read-only read-only \
    && mount -o remount,bind,ro read-only && ! touch read-only/x 2> /dev/null && exec read-only/bin/python "$@"' sh
else
  chmod -R a-w read-only
  try "read-only site-packages" read-only/bin/python
fi
