#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds for that card, runs the tests of the CUDA kernels, the sanitizers, the benchmarks
# and the rest of the suite, and writes all of it into one dated file under benchmarks/, to be committed. No network is needed;
# what is missing there travels as wheels: scripts/gpu_wheels.txt.
# Usage: scripts/gpu_check.sh [STEP...]; steps: build kernels sanitize speed mace suite (default: all, in that order, within
# 10 minutes). PYTHON names the interpreter (default: .venv/bin/python, else python3), OUT a folder for the file.
set -uo pipefail
cd "$(dirname "$0")/.."
say() { echo "gpu_check: $*" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3) || say "expected python3, found none"
"$python" -c 'import torch, sys; sys.exit(not torch.cuda.is_available())' || say "expected a GPU, torch sees none"
steps=${*:-build kernels sanitize speed mace suite}
for step in $steps; do
  case $step in build | kernels | sanitize | speed | mace | suite) ;; *) say "expected build, kernels, sanitize, speed, mace or suite, got $step" ;; esac
done
card=$("$python" -c 'import torch; print(torch.cuda.get_device_name())')
slug=$(echo "$card" | tr 'A-Z ' 'a-z-')
folder=${OUT:-benchmarks}
report=$folder/gpu_$(date +%F)_$slug.md
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
mkdir -p "$folder"
failed=0
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}

# Runs a command with a time limit; its last lines go into the report.
record() {
  local title=$1 limit=$2 lines=$3 start=$SECONDS status=0
  shift 3
  timeout "$limit" "$@" > "$logs/log" 2>&1 || status=$?
  local word=passed
  [ $status -eq 0 ] || { word="FAILED (exit $status)"; failed=1; }
  echo "== $title: $word in $((SECONDS - start)) s"
  { printf '\n## %s: %s, %s s\n\n```\n' "$title" "$word" $((SECONDS - start)); tail -n "$lines" "$logs/log"; printf '```\n'; } >> "$logs/report"
  [ $status -eq 0 ] || tail -n 15 "$logs/log"
}

build() {
  TORCH_CUDA_ARCH_LIST=$("$python" -c 'import torch; print("%d.%d" % torch.cuda.get_device_capability())')
  export TORCH_CUDA_ARCH_LIST
  D3TORCH_CUDA=1 "$python" setup.py build_ext --inplace
}

sanitize() {
  local tool=$1
  compute-sanitizer --tool "$tool" --error-exitcode 1 "$python" -m pytest -p no:cacheprovider tests/test_cuda_pairs.py \
    tests/test_cuda_lattice.py -k "${2}"
}

{
  echo "# d3torch on $card, $(date +%F)"
  echo
  nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv
  "$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda)'
  echo "commit $(git rev-parse --short HEAD 2> /dev/null || echo unknown)"
} > "$logs/report" 2>&1
short="(results_are_those_of_the_cpu and half and float64) or modes or batch_of_systems or far_smaller"
for step in $steps; do
  case $step in
    build) record "Build" 300 3 build ;;
    kernels) record "Tests of the CUDA kernels" 200 6 "$python" -m pytest -p no:cacheprovider tests/test_cuda_pairs.py tests/test_cuda_lattice.py tests/test_gpu.py ;;
    sanitize)
      record "compute-sanitizer memcheck" 90 8 sanitize memcheck "$short"
      record "compute-sanitizer racecheck" 90 8 sanitize racecheck "$short"
      ;;
    speed) record "Speed" 180 200 "$python" scripts/benchmark_gpu.py --out "$folder/gpu_$(date +%F)_${slug}_speed.md" ;;
    mace)
      for dtype in float32 float64; do
        record "MACE, $dtype" 90 20 "$python" scripts/benchmark_mace.py --device cuda --atoms 1500 --dtype $dtype --skip-torch-dftd
      done
      if "$python" -c 'import cuequivariance_torch' 2> /dev/null; then
        record "MACE with cuEquivariance" 90 20 "$python" scripts/benchmark_mace.py --device cuda --atoms 1500 --cueq --skip-torch-dftd
      fi
      ;;
    suite) record "The whole suite" 500 10 "$python" -m pytest -p no:cacheprovider ;;
  esac
  cp "$logs/report" "$report.tmp" && mv "$report.tmp" "$report"
done
echo "== written: $report"
exit $failed
