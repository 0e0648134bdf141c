#!/usr/bin/env bash
# On a machine with an NVIDIA GPU: takes prebuilt libraries (or builds for that card, and says so), compares with stored
# numbers of simple-dftd3 and with the CPU, runs memcheck, the benchmarks, the tests of the CUDA kernels and the rest of the
# suite, what is worth most first, and writes all of it into one dated file, to be committed. docs/gpu.md has the half hour.
# No network is needed: what travels is gathered by scripts/checks/gpu_pack.sh.
# Usage: scripts/checks/gpu_check.sh [STEP...]; steps: packages library oracle memcheck speed mace rivals kernels racecheck
# suite (default: all, in that order).
# PACK: the folder of gpu_pack.sh (default: dist/gpu); without one, d3torch/lib is tried, then built.
# BUDGET: seconds for everything (default 570); a step that no longer fits is cut or left out, and the file says so.
# PYTHON: the interpreter (default: .venv/bin/python, else python3); OUT: a folder for the file (default: benchmarks/results).
# D3TORCH_EMULATED_CUDA: a library of emulate_cuda.sh in place of the card, for a rehearsal without one; the file is called
# EMULATED then and lies in build/rehearsal, and BUDGET is 3600.
# Exit status: 0 passed; 1 something failed; 75 nothing failed, but not everything ran.
set -uo pipefail
cd "$(dirname "$0")/../.."
say() { echo "gpu_check: $*" >&2; exit 1; }
python=${PYTHON:-.venv/bin/python}
[ -x "$python" ] || python=$(command -v python3) || say "expected python3, found none"
all="packages library oracle memcheck speed mace rivals kernels racecheck suite"
steps=${*:-$all}
for step in $steps; do
  [[ " $all " == *" $step "* ]] || say "expected some of $all, got $step"
done
emulated=${D3TORCH_EMULATED_CUDA:-}
[ -z "$emulated" ] || [ -f "$emulated" ] || say "expected D3TORCH_EMULATED_CUDA to be a library, got $emulated"
budget=${BUDGET:-$([ -n "$emulated" ] && echo 3600 || echo 570)}
[[ $budget =~ ^[0-9]+$ ]] || say "expected BUDGET in seconds, got $budget"
mapfile -t machine < <(timeout 120 "$python" -c '
import os, torch
if os.environ.get("D3TORCH_EMULATED_CUDA"):
    print("EMULATED")
    print("none")
    print("torch", torch.__version__, "CUDA", torch.version.cuda)
elif torch.cuda.is_available():
    print(torch.cuda.get_device_name())
    print("%d.%d" % torch.cuda.get_device_capability())
    print("torch", torch.__version__, "CUDA", torch.version.cuda)
')
[ "${#machine[@]}" -ge 3 ] || say "expected a GPU, torch sees none"
card=${machine[0]} missing=""
today=$(date +%F)
pack=${PACK:-dist/gpu}
folder=${OUT:-$([ -n "$emulated" ] && echo build/rehearsal || echo benchmarks/results)}
name=gpu_${today}_$([ -n "$emulated" ] && echo EMULATED || echo "$card" | tr 'A-Z ' 'a-z-')
report=$folder/$name.md
for ((n = 2; ; n++)); do # those of earlier runs of today stay
  [ -e "$report" ] || break
  report=$folder/${name}_$n.md
done
logs=$(mktemp -d)
commit=$(cat "$pack/commit" 2> /dev/null || git rev-parse --short HEAD 2> /dev/null || echo unknown)
[ -f "$pack/commit" ] || git diff --quiet HEAD 2> /dev/null || commit+=", changed" # a copy may keep an older .git
hardware="no GPU"
[ -n "$emulated" ] || hardware=$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm --format=csv 2>&1)
failed=() left_out=() doing="" pid="" finished="" outcome=""
: > "$logs/body"
: > "$logs/log"
mkdir -p "$folder"
site=$PWD/build/gpu_site
export PYTHONPATH=$PWD:$site${PYTHONPATH:+:$PYTHONPATH} MAX_JOBS=${MAX_JOBS:-$(nproc)} PYTHONUNBUFFERED=1

list() { local IFS=';'; echo "${*//;/,}" | sed 's/;/; /g'; }
lacks() { [[ " $missing " == *" $1 "* ]]; }
look() {
  missing=$(timeout 60 "$python" -c '
from importlib.util import find_spec
wanted = "ninja pytest ase scipy dftd3 vesin matscipy tabulate tqdm mace torch_dftd nvalchemiops warp cuequivariance_torch"
print("MISSING", *[name for name in wanted.split() if not find_spec(name)])
' 2> /dev/null | sed -n 's/^MISSING *//p')
}

# The whole file so far, written aside and renamed: complete whenever this script ends, with what a running step has said.
publish() {
  local verdict="Passed."
  [ ${#left_out[@]} -eq 0 ] || verdict="Nothing failed, but not everything ran."
  [ ${#failed[@]} -eq 0 ] || verdict="FAILED: $(list "${failed[@]}")."
  [ -n "$finished" ] || verdict="FAILED: ended early${doing:+, during: $doing}. Before that: $verdict"
  {
    if [ -n "$emulated" ]; then
      printf '# EMULATED: d3torch without a GPU, %s\n\nA rehearsal on the CPU: nothing here is a result of a GPU. MACE ran the CPU kernels.\n' "$today"
    else
      echo "# d3torch on $card, $today"
    fi
    printf '\n**%s**\n\n' "$verdict"
    echo "- ${machine[2]}; commit $commit"
    echo "- $(nproc) cores, $SECONDS of $budget s"
    echo "- not run: $(list "${left_out[@]:-nothing left out}")"
    echo "- not installed: ${missing:-nothing missing}"
    printf '\n```\n%s\n```\n' "$hardware"
    cat "$logs/body"
    [ -z "$doing" ] || { printf '\n## %s: running\n\n```\n' "$doing"; tail -n 60 "$logs/log"; printf '```\n'; }
  } > "$report.tmp" && mv "$report.tmp" "$report"
}
finish() {
  local status=$?
  [ -z "$pid" ] || kill -KILL -- "-$pid" 2> /dev/null
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

# Runs a command (no function) in a group of its own; $2 is its limit. The file keeps what it says while it says it.
attend() {
  local cut=$1 status=0
  shift
  timeout --signal=INT --kill-after=10 "$cut" env --default-signal=INT "$@" > "$logs/log" 2>&1 &
  pid=$!
  while kill -0 "$pid" 2> /dev/null; do
    sleep 2 &
    wait -n
    publish
  done
  wait "$pid" || status=$?
  kill -KILL -- "-$pid" 2> /dev/null # what a step that was killed has left behind
  pid=""
  return $status
}

# Attends to a command within its limit and what is left of the budget; its last lines go into the file.
record() {
  local title=$1 limit=$2 lines=$3 start=$SECONDS left=$((budget - SECONDS)) status=0 word=passed cut
  shift 3
  outcome=skipped
  [ "$left" -ge 5 ] || { skip "$title" time; return; }
  [ -z "$emulated" ] || limit=$((limit * 10))
  cut=$((left < limit ? left : limit)) doing=$title
  attend "$cut" "$@" || status=$?
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
  outcome=$word
  echo "== $title: $word in $((SECONDS - start)) s"
  { printf '\n## %s: %s, %s s\n\n```\n' "$title" "$word" $((SECONDS - start)); tail -n "$lines" "$logs/log"; printf '```\n'; } >> "$logs/body"
  [[ $word != FAILED* ]] || tail -n 15 "$logs/log"
  doing=""
  publish
}

tests=("$python" -m pytest -p no:cacheprovider -r fE)
kernels=(tests/engine/test_cuda_{pairs,list,list_refusals,lattice}.py)
short="(results_are_those_of_the_cpu and half and float64) or modes or tail_in or batch_of_systems or far_smaller"
# a module of benchmarks on the card; in a rehearsal on the emulated one, in tiny sizes; MACE, whose D3 reaches too far for
# that, on the CPU's own kernels
benchmark=("$python" -m)
tiny=() of_mace=(--device cuda --atoms 1500) device=cuda seconds_of_cases=90
if [ -n "$emulated" ]; then
  benchmark=("$python" tests/helpers/emulated_card.py -m)
  tiny=(--rehearse) of_mace=(--device cpu --atoms 192 --steps 1 --warmup 1) device="emulated --most-atoms 50" seconds_of_cases=900
fi

packages() {
  local wheels=("$pack"/wheels/*.whl)
  if [ -e "${wheels[0]}" ]; then
    record "Packages" 60 3 "$python" -m pip --disable-pip-version-check install -q --no-index --no-deps --no-compile \
      --no-cache-dir --upgrade --target "$site" "${wheels[@]}"
  else
    skip "Packages" "no wheels in $pack"
  fi
}

# Prebuilt libraries, of the wheel that was carried or in d3torch/lib; where they do not serve, a build for this card.
library() {
  local wheels=("$pack"/d3torch-*.whl)
  [ -e "${wheels[0]}" ] || wheels=()
  record "Prebuilt libraries" 60 3 "$python" scripts/checks/gpu_library.py "${wheels[@]}"
  [[ $outcome == FAILED* ]] || return
  failed=("${failed[@]:0:${#failed[@]}-1}")
  [ -z "$emulated" ] || { failed+=("Prebuilt libraries"); finished=yes; exit 1; }
  echo "== BUILDING for ${machine[1]}: no prebuilt library serves, which costs two minutes"
  # on many cores as long as what waits for each other: 15 s of headers, 5 s of ops; 9 s of nvcc (lattice_sweeps.cu)
  record "Build, since no prebuilt library serves" 170 5 \
    env TORCH_CUDA_ARCH_LIST="${machine[1]}" D3TORCH_CUDA=1 "$python" setup.py build_ext --inplace
  [[ $outcome == passed ]] || { finished=yes; exit 1; }
}

sanitize() {
  if [ -n "$emulated" ]; then
    skip "compute-sanitizer $1" "emulated"
    record "Tests that compute-sanitizer $1 would run" 90 8 "${tests[@]}" "${kernels[@]}" -k "$short"
  elif command -v compute-sanitizer > /dev/null; then
    record "compute-sanitizer $1" 90 8 compute-sanitizer --tool "$1" --error-exitcode 1 "${tests[@]}" "${kernels[@]}" -k "$short"
  else
    skip "compute-sanitizer $1" "no compute-sanitizer"
  fi
}

mace() {
  local title=$1
  shift
  lacks mace && { skip "$title" "no mace"; return; }
  record "$title" 60 30 "$python" -m benchmarks.suites.mace "${of_mace[@]}" --skip-torch-dftd "$@"
}

look
for step in $steps; do
  case $step in
    packages)
      packages
      look
      ;;
    library) library ;;
    oracle) record "Against simple-dftd3 and the CPU" 60 30 "$python" scripts/checks/stored_oracle.py --device $device ;;
    memcheck) sanitize memcheck ;;
    speed) record "Speed" 120 60 "${benchmark[@]}" benchmarks.suites.gpu --headline --seconds $seconds_of_cases "${tiny[@]}" ;;
    mace)
      mace "MACE, float32" --dtype float32 --skip-nvalchemi
      mace "MACE, float64" --dtype float64 --skip-nvalchemi
      if lacks cuequivariance_torch; then
        skip "MACE with cuEquivariance" "no cuequivariance_torch"
      else
        mace "MACE with cuEquivariance" --cueq --skip-nvalchemi
      fi
      ;;
    rivals)
      lacks warp && echo "== nvalchemi left out of the comparison: no warp"
      record "Speed beside rivals" 120 200 "${benchmark[@]}" benchmarks.suites.gpu --seconds $seconds_of_cases "${tiny[@]}"
      lacks warp || mace "MACE beside nvalchemi" --dtype float32
      ;;
    kernels)
      record "Tests of the CUDA kernels" 150 8 "${tests[@]}" "${kernels[@]}" tests/engine/test_gpu.py \
        tests/engine/test_cuda_three_body.py tests/integrations/test_on_gpu.py
      ;;
    racecheck) sanitize racecheck ;;
    suite)
      # the rest knows no GPU: it shows that a build with CUDA serves the CPU too; nothing is emulated where there is a GPU
      rest=$(ls tests/*/test_*.py | grep -v -e test_cuda_pairs -e test_cuda_list -e test_cuda_lattice -e test_cuda_emulation -e test_gpu.py)
      seconds=$((budget - SECONDS - 10))
      record "The rest of the suite" 600 160 env -u D3TORCH_EMULATED_CUDA \
        "$python" scripts/checks/gpu_suite.py --seconds $((seconds > 0 ? seconds : 0)) $rest
      ;;
  esac
done
finished=yes
[ ${#failed[@]} -eq 0 ] || exit 1
[ ${#left_out[@]} -eq 0 ] || exit 75
