#!/usr/bin/env bash
# Environments for potentials whose packages do not go together: MACE wants e3nn 0.4.4, SevenNet 0.5
# or later, DeePMD-kit has a LAMMPS of its own.
# Usage: environments.sh FOLDER [sevenn] [mace] [deepmd]   (default: all three)
# FOLDER/sevenn has SevenNet, CHGNet, d3torch and d3torch-glass; FOLDER/mace MACE and the same;
# FOLDER/deepmd DeePMD-kit, for distil/. Run the same command of `d3torch glass` in one after the
# other, on one study.
# TORCH is what pip takes first (default: torch), PYTHON the interpreter. Called again, it makes what
# is missing.
set -euo pipefail
folder=${1:?expected a folder: environments.sh FOLDER [sevenn] [mace] [deepmd]}
shift
root=$(cd "$(dirname "$0")/../.." && pwd)
names=("$@")
[ $# -gt 0 ] || names=(sevenn mace deepmd)
for name in "${names[@]}"; do
    case $name in
        sevenn | mace | deepmd) ;;
        *)
            echo "expected sevenn, mace or deepmd, got $name" >&2
            exit 2
            ;;
    esac
done
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

with_d3torch() { # with_d3torch NAME EXTRA_OF_D3TORCH EXTRAS_OF_GLASS
    "$folder/$1/bin/pip" install "${TORCH:-torch}" 'setuptools>=77' cmake ninja numpy
    "$folder/$1/bin/pip" install --no-build-isolation "$root[$2]" "$root/studies/glass$3"
}

for name in "${names[@]}"; do
    [ ! -e "$folder/$name/complete" ] || continue
    echo "$folder/$name"
    "${PYTHON:-python3}" -m venv "$folder/$name"
    case $name in
        sevenn) with_d3torch sevenn cli '[sevennet,chgnet]' ;;
        mace) with_d3torch mace mace '' ;;
        deepmd) "$folder/deepmd/bin/pip" install 'deepmd-kit[cpu,lmp]' dpdata ase ;;
    esac
    touch "$folder/$name/complete"
done
