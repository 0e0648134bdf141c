#!/usr/bin/env bash
# Builds a LAMMPS source tree with what d3torch's ML-IAP objects and tests need: KOKKOS (OpenMP),
# ML-IAP with Python, MPI, a shared library, and EXTRA-PAIR for the comparison with dispersion/d3.
# Usage: scripts/build_lammps.sh SOURCE_DIR [--prefix DIR]
#   SOURCE_DIR  an unpacked LAMMPS of 22 July 2025 or later, lib/kokkos included (releases bring it)
#   --prefix    where to build and install, outside this repository; default ~/.cache/d3torch/lammps
# Needs cmake, an MPI with its headers, and the .venv of scripts/setup.sh, whose Python LAMMPS will
# run. Half an hour on two cores; run it again after an interruption and it goes on. Then:
#   LMP=PREFIX/bin/lmp bash scripts/test.sh tests/integrations/test_lammps_real.py
set -euo pipefail
repository=$(cd "$(dirname "$0")/.." && pwd)
usage() { sed -n '4,6p' "$0" | sed 's/^# //' >&2; exit 2; }
say() { echo "build_lammps: $*" >&2; exit 1; }

source_dir="" prefix="$HOME/.cache/d3torch/lammps"
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || usage; prefix=$2; shift 2 ;;
    -*) usage ;;
    *) [ -z "$source_dir" ] || usage; source_dir=$1; shift ;;
  esac
done
[ -n "$source_dir" ] || usage
[ -f "$source_dir/cmake/CMakeLists.txt" ] \
  || say "expected a LAMMPS source tree, got $source_dir without cmake/CMakeLists.txt"
[ -f "$source_dir/lib/kokkos/CMakeLists.txt" ] \
  || say "expected Kokkos in $source_dir/lib/kokkos, as in LAMMPS's release tarballs"
grep -q forward_exchange "$source_dir/src/KOKKOS/mliap_unified_couple_kokkos.pyx" 2>/dev/null \
  || say "expected LAMMPS of 22 July 2025 or later, got one whose ML-IAP has no forward_exchange"
bin=$repository/.venv/bin python=$repository/.venv/bin/python
[ -x "$python" ] || say "expected $python: run scripts/setup.sh first"
for tool in cmake mpicxx mpiexec; do
  command -v "$tool" > /dev/null || say "expected $tool on the path (cmake, OpenMPI or MPICH)"
done
mkdir -p "$prefix"
prefix=$(cd "$prefix" && pwd)
case $prefix/ in "$repository"/*) say "expected a prefix outside the repository, got $prefix" ;; esac

echo "== Cython and ninja for the build"
"$python" -m pip --disable-pip-version-check --quiet install cython ninja numpy
echo "== configuring $(sed -n 's/.*LAMMPS_VERSION "\(.*\)"/LAMMPS \1/p' "$source_dir/src/version.h")"
options=(-DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" -DCMAKE_INSTALL_LIBDIR=lib
  -DCMAKE_CXX_STANDARD=20 -DBUILD_SHARED_LIBS=ON -DBUILD_MPI=ON -DBUILD_OMP=ON
  -DPKG_KOKKOS=ON -DKokkos_ENABLE_SERIAL=ON -DKokkos_ENABLE_OPENMP=ON
  -DPKG_PYTHON=ON -DPKG_ML-IAP=ON -DPKG_ML-SNAP=ON -DMLIAP_ENABLE_PYTHON=ON
  -DPython_EXECUTABLE="$python" -DPython_FIND_VIRTUALENV=ONLY
  -DCMAKE_MAKE_PROGRAM="$bin/ninja" -DCythonize_EXECUTABLE="$bin/cythonize" -DPKG_EXTRA-PAIR=ON -DPKG_PLUGIN=ON
  -DCMAKE_INSTALL_RPATH="$prefix/lib" -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON
  -DWITH_JPEG=OFF -DWITH_PNG=OFF -DWITH_FFMPEG=OFF)
cmake -S "$source_dir/cmake" -B "$prefix/build" -G Ninja "${options[@]}" > "$prefix/configure.log" \
  || { tail -n 20 "$prefix/configure.log" >&2; say "configuration failed, $prefix/configure.log"; }
echo "== building and installing in $prefix"
cmake --build "$prefix/build" --target install --parallel "${MAX_JOBS:-$(nproc)}"
rm -rf "$prefix/python"
cp -r "$source_dir/python" "$prefix/python"  # the package `lammps`, which ML-IAP imports
ln -sf "$(command -v mpiexec)" "$prefix/bin/mpiexec"
echo "== LAMMPS is $prefix/bin/lmp; in its environment: PYTHONPATH=$prefix/python, $bin on the PATH"
