"""The inputs of docs/lammps_recipes.md, read by a real LAMMPS, and two of its own potentials."""

from __future__ import annotations

import re
from pathlib import Path

import ase.build
import lammps_runs as runs
import numpy as np
import pytest
from ase import Atoms
from ase.io.lammpsdata import write_lammps_data
from checkout import checkout

from d3torch import D3Calculator

pytestmark = pytest.mark.skipif(bool(runs.missing()), reason=runs.missing())

PAGE = checkout() / "docs" / "lammps_recipes.md"
ELEMENTS = ["O", "Na", "Si"]
HERE = ("d3torch", "dispersion/d3")
"""Styles that are read with the words of the page; the test has no files for others."""


STYLES = {*HERE, "mliap", "e3gnn", "e3gnn/parallel", "nequip", "deepmd", "grace", "grace/fs"}
STYLES |= {"snap", "tersoff", "reaxff"}


def _recipes() -> list[str]:
    return re.findall(r"^```lammps\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


def _styles(words: list[str]) -> list[tuple[str, list[str]]]:
    """Sub-styles of a ``pair_style hybrid/overlay`` line with their arguments."""
    found: list[tuple[str, list[str]]] = []
    for word in words[2:]:
        if word in STYLES:
            found.append((word, []))
        else:
            found[-1][1].append(word)
    return found


def _runnable(recipe: str) -> str:
    """The recipe with ``zero`` in the place of styles without files, and a step at its end."""
    lines, names = [], {}
    for line in recipe.splitlines():
        words = line.split()
        if words[:2] == ["pair_style", "hybrid/overlay"]:
            styles = _styles(words)
            kept = [f"{name} {' '.join(given)}" for name, given in styles if name in HERE]
            line = " ".join(["pair_style hybrid/overlay zero 6.0", *kept])
            names = {name: kept for name, _ in styles}
        elif words[:1] == ["pair_coeff"]:
            assert words[1:3] == ["*", "*"]
            assert words[-3:] == ELEMENTS
            assert words[3] in names
            line = line if words[3] in HERE else "pair_coeff * * zero"
        lines.append(line)
    return "\n".join(["clear", *lines, "run 0 post no", 'print "energy $(pe:%.12g)"', ""])


def _glass() -> Atoms:
    """Atoms of the three elements, far enough apart for any order of the types."""
    rng = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(*3 * [np.arange(3)]), axis=-1).reshape(-1, 3)
    positions = 2.4 * grid + rng.uniform(-0.2, 0.2, grid.shape)
    return Atoms(9 * ELEMENTS, positions, cell=3 * [7.2], pbc=True)


def test_every_recipe_is_read_and_gives_the_same_dispersion(tmp_path: Path) -> None:
    recipes = _recipes()
    assert len(recipes) > 8
    atoms = _glass()
    script = ""
    for k, recipe in enumerate(recipes):
        units, style = (re.search(rf"^{w} (\S+)", recipe, re.M) for w in ("units", "atom_style"))
        assert units is not None
        assert style is not None
        given = {"units": units[1], "atom_style": style[1], "masses": True}
        write_lammps_data(tmp_path / f"{k}.data", atoms, specorder=ELEMENTS, **given)
        script += _runnable(recipe).replace("glass.data", f"{k}.data")
    out = runs.lammps(script, tmp_path)
    found = [float(line.split()[1]) for line in out.stdout.splitlines() if line[:7] == "energy "]
    assert len(found) == len(recipes)
    atoms.calc = D3Calculator("pbe", cutoff=21.17, cn_cutoff=21.17, width=2.0)
    smooth = atoms.get_potential_energy()
    for recipe, energy in zip(recipes, found, strict=True):
        expected = smooth if "* * d3torch " in recipe else 0.0
        if "dispersion/d3" in recipe:
            assert energy == pytest.approx(smooth, rel=0.02)  # hard cutoff
        else:
            scale = 23.060547830619 if "units real" in recipe else 1.0
            assert energy == pytest.approx(scale * expected, rel=1e-7)


@pytest.mark.parametrize("name", ["snap", "tersoff"])
def test_a_published_potential_with_d3_is_the_sum_of_both(name: str, tmp_path: Path) -> None:
    import lammps

    folder = Path(lammps.__file__).parent / "share" / "lammps" / "potentials"
    files = {
        "snap": f"{folder}/Si_Zuo_JPCA2020.snapcoeff {folder}/Si_Zuo_JPCA2020.snapparam",
        "tersoff": f"{folder}/Si.tersoff",
    }[name]
    atoms = ase.build.bulk("Si", cubic=True)
    atoms.rattle(0.05, seed=1)
    alone = runs.evaluate(atoms, f"pair_style {name}\npair_coeff * * {files} Si\n", tmp_path)
    both = runs.evaluate(
        atoms,
        f"pair_style hybrid/overlay {name} d3torch bj pbe 21.17 21.17 width 2.0\n"
        f"pair_coeff * * {name} {files} Si\npair_coeff * * d3torch Si\n",
        tmp_path,
    )
    atoms.calc = D3Calculator("pbe", cutoff=21.17, cn_cutoff=21.17, width=2.0)
    d3 = atoms.get_potential_energy()
    assert d3 < -0.5
    assert both.energy - alone.energy == pytest.approx(d3, abs=1e-9)
    np.testing.assert_allclose(both.forces - alone.forces, atoms.get_forces(), rtol=0, atol=1e-9)
