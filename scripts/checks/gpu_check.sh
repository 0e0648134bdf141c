#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: builds for that card, runs the tests of the CUDA kernels, compares with stored numbers of
# simple-dftd3 and with the CPU, runs the sanitizers, the benchmarks and the rest of the suite, and writes all of it into one
# dated file under benchmarks/results/, to be committed. No network is needed; what is missing there travels as wheels:
# scripts/checks/gpu_wheels.txt.
# Usage: scripts/checks/gpu_check.sh [STEP...]; steps: build kernels oracle sanitize speed mace suite (default: all, in that order).
# BUDGET: seconds for everything (default 570); a step that no longer fits is cut or left out, and the file says so.
# PYTHON: the interpreter (default: .venv/bin/python, else python3); OUT: a folder for the file (default: benchmarks/results).
# Exit status: 0 passed; 1 something failed; 75 nothing failed, but not everything ran.
set -uo pipefail
cd "$(dirname "$0")/../.."
say() { echo "gpu_check: $*" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3) || say "expected python3, found none"
all="build kernels oracle sanitize speed mace suite"
steps=${*:-$all}
for step in $steps; do
  [[ " $all " == *" $step "* ]] || say "expected some of $all, got $step"
done
budget=${BUDGET:-570}
[[ $budget =~ ^[0-9]+$ ]] || say "expected BUDGET in seconds, got $budget"
mapfile -t machine < <("$python" -c '
from importlib.util import find_spec
import torch
if torch.cuda.is_available():
    print(torch.cuda.get_device_name())
    print("%d.%d" % torch.cuda.get_device_capability())
    print("torch", torch.__version__, "CUDA", torch.version.cuda)
    wanted = "ninja pytest ase scipy dftd3 vesin matscipy tabulate tqdm mace torch_dftd nvalchemiops warp cuequivariance_torch"
    print(*[name for name in wanted.split() if not find_spec(name)])
')
[ "${#machine[@]}" -ge 3 ] || say "expected a GPU, torch sees none"
card=${machine[0]} missing=${machine[3]:-}
today=$(date +%F)
name=gpu_${today}_$(echo "$card" | tr 'A-Z ' 'a-z-')
folder=${OUT:-benchmarks/results}
report=$folder/$name.md
logs=$(mktemp -d)
commit=$(git rev-parse --short HEAD 2> /dev/null || echo unknown)
[ "$commit" = unknown ] || git diff --quiet HEAD || commit+=", changed"
failed=() left_out=() doing="" finished=""
: > "$logs/body"
mkdir -p "$folder"
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} MAX_JOBS=${MAX_JOBS:-$(nproc)}

lacks() { [[ " $missing " == *" $1 "* ]]; }
list() { local IFS=';'; echo "${*//;/,}" | sed 's/;/; /g'; }

# The whole file so far, written aside and renamed: complete whenever this script ends.
publish() {
  local verdict="Passed."
  [ ${#left_out[@]} -eq 0 ] || verdict="Nothing failed, but not everything ran."
  [ ${#failed[@]} -eq 0 ] || verdict="FAILED: $(list "${failed[@]}")."
  [ -n "$finished" ] || verdict="FAILED: ended early${doing:+, during: $doing}. $verdict"
  {
    echo "# d3torch on $card, $today"
    printf '\n**%s**\n\n' "$verdict"
    echo "- ${machine[2]}; commit $commit"
    echo "- $(nproc) cores, $SECONDS of $budget s"
    echo "- not run: $(list "${left_out[@]:-nothing left out}")"
    echo "- not installed: ${missing:-nothing missing}"
    printf '\n```\n%s\n```\n' "$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv 2>&1)"
    cat "$logs/body"
  } > "$report.tmp" && mv "$report.tmp" "$report"
}
finish() {
  local status=$?
  publish
  rm -rf "$logs"
  echo "== written: $report"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

# A step that is not run, and why.
skip() {
  left_out+=("$1 ($2)")
  echo "== $1: not run ($2)"
  printf '\n## %s: not run (%s)\n' "$1" "$2" >> "$logs/body"
}

# Runs a command (no function) within its limit and what is left of the budget; its last lines go into the file.
record() {
  local title=$1 limit=$2 lines=$3 start=$SECONDS left=$((budget - SECONDS)) status=0 word=passed cut
  shift 3
  [ "$left" -ge 5 ] || { skip "$title" time; return; }
  cut=$((left < limit ? left : limit)) doing=$title
  publish
  timeout --signal=INT --kill-after=10 "$cut" env --default-signal=INT "$@" > "$logs/log" 2>&1 || status=$?
  if [ $status -eq 75 ] || { [ $status -ge 124 ] && [ $cut -lt "$limit" ] && [ $((SECONDS - start)) -ge $cut ]; }; then
    word="not finished (time)"
    left_out+=("$title ($word)")
  elif [ $status -ne 0 ]; then
    word="FAILED (exit $status)"
    [ $((SECONDS - start)) -lt "$cut" ] || word="FAILED (not done in $limit s)"
    failed+=("$title") lines=$((lines > 60 ? lines : 60))
  elif [[ " $* " == *" pytest "* ]] && ! grep -q '[1-9][0-9]* passed' "$logs/log"; then
    word="FAILED (no test ran)"
    failed+=("$title")
  fi
  echo "== $title: $word in $((SECONDS - start)) s"
  { printf '\n## %s: %s, %s s\n\n```\n' "$title" "$word" $((SECONDS - start)); tail -n "$lines" "$logs/log"; printf '```\n'; } >> "$logs/body"
  [[ $word != FAILED* ]] || tail -n 15 "$logs/log"
  doing=""
  publish
}

tests=("$python" -m pytest -p no:cacheprovider)
kernels=(tests/engine/test_cuda_{pairs,list,list_refusals,lattice}.py)
short="(results_are_those_of_the_cpu and half and float64) or modes or tail_in or batch_of_systems or far_smaller"

sanitize() {
  command -v compute-sanitizer > /dev/null || { skip "compute-sanitizer $1" "no compute-sanitizer"; return; }
  record "compute-sanitizer $1" 70 8 compute-sanitizer --tool "$1" --error-exitcode 1 "${tests[@]}" "${kernels[@]}" -k "$short"
}

mace() {
  local title=$1
  shift
  lacks mace && { skip "$title" "no mace"; return; }
  record "$title" 60 30 "$python" -m benchmarks.suites.mace --device cuda --atoms 1500 --skip-torch-dftd "$@"
}

for step in $steps; do
  case $step in
    build)
      # on many cores as long as what waits for each other: 15 s of headers, 5 s of ops; 9 s of nvcc (lattice_sweeps.cu)
      record "Build" 150 5 env TORCH_CUDA_ARCH_LIST="${machine[1]}" D3TORCH_CUDA=1 "$python" setup.py build_ext --inplace
      [ ${#failed[@]} -eq 0 ] || { finished=yes; exit 1; }
      ;;
    kernels) record "Tests of the CUDA kernels" 150 8 "${tests[@]}" "${kernels[@]}" tests/engine/test_gpu.py ;;
    oracle) record "Against simple-dftd3 and the CPU" 60 30 "$python" scripts/checks/stored_oracle.py --device cuda ;;
    sanitize)
      sanitize memcheck
      sanitize racecheck
      ;;
    speed)
      lacks warp && echo "== nvalchemi left out of the comparison: no warp"
      record "Speed" 150 200 "$python" -m benchmarks.suites.gpu --out "$folder/${name}_speed.md" --seconds 120
      ;;
    mace)
      mace "MACE, float32" --dtype float32
      mace "MACE, float64" --dtype float64
      if lacks cuequivariance_torch; then skip "MACE with cuEquivariance" "no cuequivariance_torch"; else mace "MACE with cuEquivariance" --cueq; fi
      ;;
    suite)
      # the rest knows no GPU: it shows that a build with CUDA serves the CPU too; nothing is emulated where there is a GPU
      rest=$(ls tests/*/test_*.py | grep -v -e test_cuda_pairs -e test_cuda_list -e test_cuda_lattice -e test_cuda_emulation -e test_gpu.py)
      seconds=$((budget - SECONDS - 10))
      record "The rest of the suite" 600 80 "$python" scripts/checks/gpu_suite.py --seconds $((seconds > 0 ? seconds : 0)) $rest
      ;;
  esac
done
finished=yes
[ ${#failed[@]} -eq 0 ] || exit 1
[ ${#left_out[@]} -eq 0 ] || exit 75
