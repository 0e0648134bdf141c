#!/usr/bin/env bash
# From a trained potential to a faster DeePMD potential of silicate glasses, without dispersion.
# Usage: TEACHER=PYTHON STUDENT=PYTHON distil.sh FOLDER [MODEL]   (default: sevenn:7net-0)
# TEACHER is the Python of an environment with the potential and d3torch-glass, STUDENT that of
# one with deepmd-kit[cpu,lmp], dpdata and ASE. Called again after a kill, it goes on.
# PARTS processes label at once (default: 2); FIRST and STEPS are steps of training.
set -euo pipefail
folder=$1
model=${2:-sevenn:7net-0}
here=$(cd "$(dirname "$0")" && pwd)
parts=${PARTS:-2}
absolute() { echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; } # links stay links
TEACHER=$(absolute "$TEACHER")
STUDENT=$(absolute "$STUDENT")
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
export DP_INTRA_OP_PARALLELISM_THREADS=1 DP_INTER_OP_PARALLELISM_THREADS=1
export LMP=${LMP:-$(dirname "$STUDENT")/lmp}
mkdir -p "$folder"
cd "$folder"

label() { # label NAME: NAME.extxyz to NAME.labels.K.extxyz
    local running=()
    for k in $(seq "$parts"); do
        "$TEACHER" "$here/label.py" "$1.extxyz" "$1.labels.$k.extxyz" --model "$model" \
            --part "$k/$parts" &
        running+=($!)
    done
    for process in "${running[@]}"; do wait "$process"; done
}

train() { # train NAME STEPS LABELS...
    [ -e "$1/error.json" ] || "$STUDENT" "$here/train.py" "$1" "${@:3}" --steps "$2"
}

visit() { # visit MODEL STARTS NAME WORDS...: where the potential goes by itself
    [ -e "$3.extxyz" ] || "$TEACHER" "$here/explore.py" "$1/fast.pb" "$2" "$3.extxyz" "${@:4}"
    label "$3"
}

glasses=$here/../results/structures.extxyz.xz
[ -e melts.extxyz ] || "$TEACHER" "$here/structures.py" melts.extxyz --glasses "$glasses"
label melts
train first "${FIRST:-30000}" melts.labels.*.extxyz
visit first melts.extxyz visited
train second "${FIRST:-30000}" melts.labels.*.extxyz visited.labels.*.extxyz
visit second melts.extxyz again --seed 2
hot=({melts,visited,again}.labels.*.extxyz)
train third "${STEPS:-100000}" "${hot[@]}"
# glasses, which are few beside the melts, are half of the last training
visit third "$glasses" warmed --glasses --high 1200
[ -e near.extxyz ] || "$TEACHER" "$here/structures.py" near.extxyz --near "$glasses"
label near
train final "${STEPS:-100000}" "${hot[@]}" --half {warmed,near}.labels.*.extxyz --begin third
# DeePMD's compressed potential under its teacher's name, which jobs and reports then carry
cp final/fast.pb "final/$(basename "${model##*:}" .model).pb"
