"""Small training sets with labels that are no physics, and frames written by hand."""

from __future__ import annotations

import numpy as np
from ase.build import bulk, molecule
from ase.stress import full_3x3_to_voigt_6_stress

# What ASE would not write back as it stands: spacing, quotes, 17 digits, a key without a value.
BY_HAND = """3
Properties=id:I:1:species:S:1:pos:R:3:REF_forces:R:3:tag:S:1  comment='it is "water"' REF_energy = -2081.1160251093342 flag  config_energy_weight=2.50 free_energy=-1 pbc="F F F"
7   O  0.00000000   0.00000000   0.11926200     0.1   -2e-1  +0.300000   a
8   H  0.00000000   0.76323900  -0.47704700  1.2345678901234567 0 0      b
9\tH\t0.0\t-0.763239\t-0.477047\t0.0\t0.0\t-0.30\tc
"""  # noqa: E501

TWO = (
    "2\nProperties=species:S:1:pos:R:3:REF_forces:R:3 REF_energy=-1.0\n"
    "H 0 0 0 0 0 0\nH 0 0 1 0 0 0\n"
)


def labelled(atoms, rng, stress=None, **info):
    """A structure with labels that are no physics."""
    atoms.info.update(REF_energy=rng.normal() * 1e3, **info)
    atoms.arrays["REF_forces"] = rng.normal(size=(len(atoms), 3))
    if stress is not None:
        label = rng.normal(size=(3, 3))
        label += label.T
        atoms.info["REF_stress"] = {
            6: full_3x3_to_voigt_6_stress(label),
            9: label.ravel(),
            3: label,
        }[stress]
        atoms.info["REF_virials"] = -label.ravel() * atoms.cell.volume
    return atoms


def skewed(rng):
    """A crystal with a stress in every component."""
    atoms = bulk("NaCl", "rocksalt", a=5.6) * (2, 1, 1)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), True)
    atoms.positions += 0.1 * rng.normal(size=(len(atoms), 3))
    return atoms


def mixed_set():
    """Molecules, crystals with each form of stress, a slab, isolated atoms."""
    rng = np.random.default_rng(5)
    slab = skewed(rng)
    slab.pbc = (True, True, False)
    return [
        labelled(molecule("C2H6"), rng, origin="by hand"),
        *(labelled(skewed(rng), rng, stress=form) for form in (6, 9, 3)),
        labelled(slab, rng),
        labelled(molecule("H"), rng, config_type="IsolatedAtom"),
        labelled(bulk("Na", "sc", a=4.0), rng, config_type="IsolatedAtom"),
    ]
