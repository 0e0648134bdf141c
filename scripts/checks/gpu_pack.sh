#!/usr/bin/env bash
# Gathers what gpu_check.sh takes to a machine with a GPU and no network into one folder: a wheel of these sources with CUDA
# kernels, the packages of gpu_wheels.txt, and the name of the commit. Lists sizes; refuses more than that machine takes.
# Usage: scripts/checks/gpu_pack.sh [FOLDER] (default: dist/gpu; what is there and still right is kept).
# TORCH: of that machine (default: 2.11.0). TORCH_CUDA_ARCH_LIST: its card (default: 9.0). PYTHON_VERSION: its Python (default:
# 3.12). MOST: MiB of folder and checkout together (default: 64). WHEEL: a wheel to take in place of building one.
set -euo pipefail
case ${1:-} in -*) sed -n 2,7p "$0" >&2; exit 2 ;; esac
cd "$(dirname "$0")/../.."
say() { echo "gpu_pack: $*" >&2; exit 1; }
folder=${1:-dist/gpu} torch=${TORCH:-2.11.0} most=${MOST:-64} version=${PYTHON_VERSION:-3.12}
python=${PYTHON:-python3}
mkdir -p "$folder/wheels"
sources=$("$python" -c 'import runpy; print(runpy.run_path("packaging/sources.py")["digest"](__import__("pathlib").Path()))')
stamp() { unzip -p "$1" d3torch/lib/sources.txt 2> /dev/null || true; }

kept=$(ls "$folder"/d3torch-*.whl 2> /dev/null | head -1 || true)
if [ -n "${WHEEL:-}" ]; then
  [ "$(stamp "$WHEEL")" = "$sources" ] || say "expected a wheel of these sources, got $WHEEL"
  rm -f "$folder"/d3torch-*.whl
  cp "$WHEEL" "$folder"
elif [ -n "$kept" ] && [ "$(stamp "$kept")" = "$sources" ]; then
  echo "== kept: $kept"
else
  rm -f "$folder"/d3torch-*.whl
  TARGET=$folder TORCH_CUDA_ARCH_LIST=${TORCH_CUDA_ARCH_LIST:-9.0} D3TORCH_CUDA=1 bash scripts/build_wheel.sh "$torch"
fi
commit=$(git rev-parse --short HEAD)
git diff --quiet HEAD || commit+=", changed"
echo "$commit" > "$folder/commit"

echo "== packages for Python $version"
platforms=()
for name in manylinux_2_{39,35,34,31,28,27,24,17}_x86_64 manylinux2014_x86_64 manylinux1_x86_64; do
  platforms+=(--platform "$name")
done
# those without a wheel on PyPI are built here: of Python alone
grep -v -e '^#' -e '^python-hostlist' scripts/checks/gpu_wheels.txt > "$folder/wanted.txt"
quiet=(--disable-pip-version-check --quiet)
"$python" -m pip "${quiet[@]}" download --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
  "${platforms[@]}" -r "$folder/wanted.txt" -d "$folder/wheels"
ls "$folder"/wheels/python_hostlist-*.whl > /dev/null 2>&1 \
  || "$python" -m pip "${quiet[@]}" wheel --no-deps python-hostlist -w "$folder/wheels"
rm "$folder/wanted.txt"

twice=$(ls "$folder/wheels" | sed 's/-.*//' | sort | uniq -d)
[ -z "$twice" ] || say "expected one wheel of each package in $folder/wheels, got two of $twice"
(cd "$folder" && find . -type f -printf '%s %P\n' | sort -rn | awk '{ printf "%9.2f MiB  %s\n", $1 / 1048576, $2 }')
checkout=$(git ls-files -z --cached --others --exclude-standard | xargs -0 du -cb --no-dereference | tail -1 | cut -f1)
carried=$(find "$folder" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }')
mib=$(awk -v n=$((checkout + carried)) 'BEGIN { printf "%.1f", n / 1048576 }')
echo "== $mib MiB of at most $most, the checkout among them: $folder"
[ $((checkout + carried)) -le $((most * 1048576)) ] || say "expected at most $most MiB, got $mib"
