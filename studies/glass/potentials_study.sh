#!/usr/bin/env bash
# What D3 does to sodium silicate glasses at rest, by trained potentials: the runs behind
# docs/glass_results.md. Prints an estimate first; called again after a kill, it goes on.
# Usage: potentials_study.sh FOLDER [MODEL...]   in an environment with sevenn or chgnet.
# SEEDS='1 2 3' and COMPOSITIONS='NS33 SiO2' choose less; STARTS='-5 0 5' also shows how far the
# density remembers its start; PYTHON is the interpreter.
set -euo pipefail
folder=$1
shift
models=("$@")
[ $# -gt 0 ] || models=(chgnet:0.3.0 sevenn:7net-0)
read -ra seeds <<< "${SEEDS:-1 2 3}"
read -ra names <<< "${COMPOSITIONS:-all}"
read -ra starts <<< "${STARTS:-0}"

glass() {
    "${PYTHON:-python}" -m d3torch glass run "$folder" --model "$1" "${@:2}" --route static \
        --d3 none d3torch --d3-preset converged --composition "${names[@]}" --seed "${seeds[@]}" \
        --start "${starts[@]}" --atoms 102 --preset demo --force 0.03 --pressure 0.02 \
        --pressures 0,2.5,5 --strain 0 --displacement 0
}

for model in "${models[@]}"; do
    case $model in
        chgnet:*) ms=500 ;;
        sevenn:7net-l3i5) ms=4000 ;;
        *) ms=2000 ;;
    esac
    jobs=$(glass "$model" --list | wc -l)
    # 350 steps a job: 150 to rest, 100 under each pressure
    minutes=$((jobs * 350 * ms / 60000))
    echo "$model: $jobs jobs, about $minutes minutes on one core, at $ms ms a step"
done
[ -z "${ESTIMATE_ONLY:-}" ] || exit 0
for model in "${models[@]}"; do
    glass "$model"
done
