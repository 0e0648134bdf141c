"""An untrained DeePMD model of O, Na and Si, to see it run: make_deepmd_model.py FILE."""

import sys

from deepmd.dpmodel.model.model import get_model
from deepmd.dpmodel.utils.serialization import save_dp_model

config = {
    "type_map": ["O", "Na", "Si"],
    "descriptor": {
        "type": "se_e2_a",
        "rcut": 6.0,
        "rcut_smth": 0.5,
        "sel": [60, 40, 40],
        "neuron": [25, 50, 100],
        "axis_neuron": 16,
        "seed": 1,
    },
    "fitting_net": {"neuron": [240, 240, 240], "seed": 1},
}
model = get_model(config).serialize()
save_dp_model(sys.argv[1], {"model": model, "backend": "dpmodel", "model_def_script": config})
