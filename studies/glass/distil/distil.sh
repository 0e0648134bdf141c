#!/usr/bin/env bash
# From a trained potential to a faster DeePMD potential of silicate glasses, without dispersion.
# Usage: TEACHER=PYTHON STUDENT=PYTHON distil.sh FOLDER [MODEL]   (default: sevenn:7net-0)
# TEACHER is the Python of an environment with the potential and d3torch-glass, STUDENT that of
# one with deepmd-kit[cpu,lmp], dpdata and ASE. Called again after a kill, it goes on.
# PARTS processes label and visit at once (default: 2), FIRST and STEPS are steps of training.
set -euo pipefail
folder=$1
model=${2:-sevenn:7net-0}
here=$(cd "$(dirname "$0")" && pwd)
parts=${PARTS:-2}
absolute() { # of a program; links stay links
    local found
    found=$(command -v "$1") || { echo "expected a program, got $1" >&2; exit 2; }
    echo "$(cd "$(dirname "$found")" && pwd)/$(basename "$found")"
}
TEACHER=$(absolute "$TEACHER")
STUDENT=$(absolute "$STUDENT")
[ ! -x "${LMP:-}" ] || LMP=$(absolute "$LMP") # unless it is a command of several words
[ ! -e "${model#*:}" ] || model=${model%%:*}:$(realpath "${model#*:}")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
export DP_INTRA_OP_PARALLELISM_THREADS=1 DP_INTER_OP_PARALLELISM_THREADS=1
export LMP=${LMP:-$(dirname "$STUDENT")/lmp}
export PYTHONPATH=$here/..${PYTHONPATH:+:$PYTHONPATH} # files.py of the study, for the student too
file=
[ ! -f "${model#*:}" ] || file=" $(sha256sum < "${model#*:}" | cut -c 1-16)"
begun="model $model$file, PARTS=$parts, FIRST=${FIRST:-20000}, STEPS=${STEPS:-80000}"
mkdir -p "$folder"
cd "$folder"
if [ ! -e settings ] && [ "$(cat parts 2> /dev/null || echo "$parts")" != "$parts" ]; then
    echo "expected PARTS=$(cat parts), with which $folder was begun, got $parts" >&2
    exit 2
fi
[ -e settings ] || echo "$begun" > settings
if [ "$(cat settings)" != "$begun" ]; then
    echo "expected $(cat settings), with which $folder was begun, got $begun" >&2
    exit 2
fi
running=()
trap 'kill "${running[@]}" 2> /dev/null || true' EXIT

side_by_side() { # side_by_side COMMAND...: each on a part of its own, %p is its number
    local k process
    running=()
    for k in $(seq "$parts"); do
        "${@//%p/$k}" --part "$k/$parts" &
        running+=($!)
    done
    for process in "${running[@]}"; do wait "$process"; done
    running=()
}

label() { # label NAME: NAME.extxyz to NAME.labels.K.extxyz
    side_by_side "$TEACHER" "$here/label.py" "$1.extxyz" "$1.labels.%p.extxyz" --model "$model"
}

train() { # train NAME STEPS LABELS...
    [ -e "$1/error.json" ] || "$STUDENT" "$here/train.py" "$1" "${@:3}" --steps "$2"
}

visit() { # visit MODEL STARTS NAME WORDS...: where the potential goes by itself
    if [ ! -e "$3.extxyz" ]; then
        side_by_side "$TEACHER" "$here/explore.py" "$1/fast.pb" "$2" "$3.part.%p.extxyz" "${@:4}"
        cat "$3".part.*.extxyz > "$3.partial"
        mv "$3.partial" "$3.extxyz"
    fi
    label "$3"
}

main() { # a function is read whole: a change of this file does not reach a run that is under way
    echo "some 2600 structures to label, 3 visits, $((2 * ${FIRST:-20000} + ${STEPS:-80000})) steps" \
        "of training: with sevenn:7net-0 and no other settings about an hour on two cores"
    local glasses=$here/../results/structures.extxyz.xz
    [ -e melts.extxyz ] || "$TEACHER" "$here/structures.py" melts.extxyz --glasses "$glasses"
    [ -e near.extxyz ] || "$TEACHER" "$here/structures.py" near.extxyz --near "$glasses"
    label melts
    label near
    train first "${FIRST:-20000}" {melts,near}.labels.*.extxyz
    visit first melts.extxyz visited
    train second "${FIRST:-20000}" {melts,visited,near}.labels.*.extxyz --begin first
    visit second melts.extxyz again --seed 2 --high 2500
    visit second "$glasses" warmed --seed 3 --high 1200 --source "own glass"
    # what a melt-quench passes through, which is few beside the rest, is half of the last training
    train final "${STEPS:-80000}" {melts,visited}.labels.*.extxyz \
        --half {again,warmed,near}.labels.*.extxyz --begin second
    # under its teacher's name, which jobs and reports then carry
    cp final/model.pb "final/$(basename "${model##*:}" .model).pb"
    exit
}

main
