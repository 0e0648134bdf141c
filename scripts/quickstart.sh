#!/usr/bin/env bash
# Sets up .venv, builds d3torch, and computes the dispersion of a 1500-atom sodium silicate glass,
# beside simple-dftd3. Idempotent.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh cli,oracle
echo "== D3(BJ) of the glass"
.venv/bin/python scripts/quickstart.py
