"""Atoms left out by element or by mask, which still count in the CN of others."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from systems import pair_list

from d3torch import D3, D3Calculator, Settings, ops
from d3torch.evaluate import evaluate
from d3torch.excluded import excluding
from d3torch.model import BACKENDS
from d3torch.module_settings import settings_of
from d3torch.structure import check_atoms
from d3torch.units import BOHR, HARTREE
from d3torch.variants import VARIANTS

REACH: dict[str, Any] = {"cutoff": 14.0, "cn_cutoff": 12.0}
THREE: dict[str, Any] = {"s9": 1.0, "atm_cutoff": 5.0}
backends = pytest.mark.parametrize("backend", BACKENDS)


def _structure(name: str) -> Atoms:
    atoms = {
        "molecule": molecule("CH3CH2OH"),
        "silicon carbide": bulk("SiC", "zincblende", a=4.36, cubic=True),
        "salt": bulk("NaCl", "rocksalt", a=5.64) * 2,
    }[name]
    atoms.rattle(0.05, seed=3)
    return atoms


def _module(exclude: tuple[str, ...] = (), **changes: Any) -> D3:
    keywords = {"xc": "pbe", "cutoff": 6.0, "cn_cutoff": 6.0, **changes}
    return D3(["Na", "Cl"], exclude=exclude, **keywords)


def _salt(model: D3, dtype: torch.dtype = torch.float64) -> tuple[ops.Systems, torch.Tensor]:
    """Two cells of salt in a batch, and the mask of all sodium."""
    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.05, seed=3)
    numbers = torch.tensor(np.tile(atoms.numbers, 2))
    x = torch.tensor(np.concatenate([atoms.positions, 1.01 * atoms.positions]), dtype=dtype)
    cell = torch.tensor(np.stack([atoms.cell.array, 1.01 * atoms.cell.array]), dtype=dtype)
    species = model.species(numbers)
    return model.systems(x, species, cell, offsets=torch.tensor([0, 8, 16])), numbers == 11


@pytest.mark.parametrize("s9", [0.0, 1.0])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ["molecule", "silicon carbide"])
def test_they_are_the_ghost_atoms_of_the_oracle(name: str, variant: str, s9: float) -> None:
    atoms, out = _structure(name), [0, 3]
    which = {"variant": variant, "s9": s9, "atm_cutoff": 9.0, **REACH}
    atoms.calc = D3Calculator("pbe", exclude_atoms=out, **which)
    reach = (*REACH.values(), 9.0)
    model = oracle.model(atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *reach)
    model.set_ghost_atoms(out)
    expected = model.get_dispersion(oracle.damping("pbe", variant, s9), grad=True)
    energy = float(expected["energy"]) * HARTREE
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    forces = -np.asarray(expected["gradient"]) * (HARTREE / BOHR)
    assert np.abs(forces[out]).max() > 1e-6  # through the CN of the others
    assert np.abs(atoms.get_forces() - forces).max() < 1e-10 * np.abs(forces).max()
    whole = D3Calculator("pbe", **which)
    whole.calculate(atoms)
    assert np.array_equal(atoms.calc.results["energies"][out], [0, 0])
    assert np.array_equal(atoms.calc.results["c6"][out], [0, 0])
    cn = whole.results["coordination_numbers"]
    assert atoms.calc.results["coordination_numbers"] == pytest.approx(cn, rel=1e-14)
    if atoms.pbc.all():
        virial = np.asarray(expected["virial"]) * HARTREE
        stress = atoms.get_stress(voigt=False) * atoms.get_volume()
        assert np.abs(stress - virial).max() < 1e-10 * np.abs(virial).max()


@backends
@pytest.mark.parametrize("which", [{}, {"variant": "zero", **THREE}, {"tail": True, "width": 1.0}])
def test_an_element_is_the_mask_of_its_atoms(which: dict[str, Any], backend: str) -> None:
    whole, part = (_module(x, backend=backend, **which) for x in ((), ("Na",)))
    systems, sodium = _salt(whole)
    energy = part.lattice(systems)
    assert torch.equal(whole.lattice(systems, exclude=sodium), energy)
    shares = whole.lattice_shares(systems, exclude=sodium)
    assert torch.equal(shares.energy, energy)
    assert torch.equal(part.lattice_shares(systems).energies, shares.energies)
    assert not shares.energies[sodium].any()
    assert shares.energies[~sodium].all()
    if backend == "kernel":
        one, other = part.evaluate(systems), whole.evaluate(systems, exclude=sodium)
        assert all(torch.equal(x, y) for x, y in zip(one, other, strict=True))
    assert not torch.equal(energy, whole.lattice(systems))
    nothing = torch.zeros_like(sodium)
    assert torch.equal(whole.lattice(systems, exclude=nothing), whole.lattice(systems))
    assert not whole.lattice(systems, exclude=~nothing).any()
    assert not _module(("Cl", "Na"), backend=backend, **which).lattice(systems).any()


@backends
def test_a_list_of_pairs_leaves_out_too(backend: str) -> None:
    whole, part = (_module(x, backend=backend) for x in ((), ("Na",)))
    atoms = _structure("salt")
    pairs, vectors = pair_list(atoms.positions, atoms.cell.array, True, 6.0)
    species = whole.species(torch.tensor(atoms.numbers))
    energies = part(vectors, pairs, species)
    assert torch.equal(whole(vectors, pairs, species, species == 0), energies)
    found = evaluate(part, atoms.positions, atoms.cell.array, True, atoms.numbers)
    assert found.energy.item() == pytest.approx(energies.sum().item(), rel=1e-13)
    assert not found.c6[species == 0].any()
    mask = atoms.numbers == 11
    other = evaluate(whole, atoms.positions, atoms.cell.array, True, atoms.numbers, mask)
    assert all(np.array_equal(x, y) for x, y in zip(found, other, strict=True))


@pytest.mark.parametrize("form", ["bj", "zero", "zerom"])
def test_derivatives_of_both_orders_with_triangles(form: str) -> None:
    model = _module(variant=form, **THREE, atm_width=1.0, width=1.0)
    systems, _ = _salt(model)
    x = systems.positions[:4].clone().requires_grad_()
    some = torch.tensor([True, False, False, True])
    assert all(n > 0 for n in (some.sum(), (~some).sum()))

    def energy(x: torch.Tensor) -> torch.Tensor:
        cell = 1.1 * systems.cell[0]
        return model.lattice(model.systems(x, systems.species[:4], cell), exclude=some)

    torch.autograd.gradcheck(energy, (x,))
    torch.autograd.gradgradcheck(energy, (x,))
    hessian = torch.autograd.functional.hessian(energy, x)
    assert torch.isfinite(hessian).all()


def test_in_float32_and_in_a_new_dtype() -> None:
    part = _module(("Na",), **THREE).to(torch.float32)
    assert not part.c6_ref[0].any()
    assert not part.c6_ref[:, 0].any()
    assert part.c6_ref[1, 1].any()
    systems, sodium = _salt(part, torch.float32)
    whole = _module(**THREE, dtype=torch.float32)
    energy = part.lattice(systems)
    assert torch.equal(whole.lattice(systems, exclude=sodium), energy)
    exact = _module(("Na",), **THREE)
    assert energy[0].item() == pytest.approx(exact.lattice(_salt(exact)[0])[0].item(), rel=1e-5)


def test_torchscript_export_and_compile() -> None:
    model = _module(**THREE)
    systems, sodium = _salt(model)
    expected = model.lattice(systems, exclude=sodium)
    scripted: Any = torch.jit.script(model)
    assert torch.equal(scripted.lattice(systems, exclude=sodium), expected)
    with pytest.raises(torch.jit.Error, match="expected exclude of shape"):
        scripted.lattice(systems, exclude=sodium[:3])

    class Whole(torch.nn.Module):
        def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return model.lattice(systems._replace(positions=x), exclude=mask)

    x = systems.positions
    compiled = torch.compile(Whole(), backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, sodium), expected)
    assert torch.equal(torch.export.export(Whole(), (x, sodium)).module()(x, sodium), expected)


def test_round_trips_of_a_module() -> None:
    """Through a pickle, TorchScript and a state; a state of other elements left out is refused."""
    part = _module(("Na",))
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(part), file)
    file.seek(0)
    again = [pickle.loads(pickle.dumps(part)), torch.jit.load(file)]
    for module in again:
        assert settings_of(module) == part.settings
        assert torch.equal(module.lattice(_salt(part)[0]), part.lattice(_salt(part)[0]))
    assert part.settings.exclude == ("Na",)
    _module(("Na",)).load_state_dict(part.state_dict())
    with pytest.raises(ValueError, match=r"expected a state with exclude \[\], got .*\['Na'\]"):
        _module().load_state_dict(part.state_dict())
    silent = {k: v for k, v in part.state_dict().items() if "extra" not in k}
    with pytest.raises(ValueError, match="expected a state with c6_ref of this module"):
        _module().load_state_dict(silent, strict=False)
    older = _module()
    del older.exclude
    assert pickle.loads(pickle.dumps(older)).settings == _module().settings


def test_settings_keep_symbols_by_atomic_number() -> None:
    settings = Settings(exclude=["Cl", "Na"])
    assert settings.exclude == ("Na", "Cl")
    assert settings.as_dict()["exclude"] == settings.record()["exclude"] == ["Na", "Cl"]
    assert Settings.from_dict(settings.as_dict()) == settings
    assert Settings(**settings.keywords()) == settings
    assert settings.replace(cutoff=9.0).exclude == ("Na", "Cl")
    assert settings.replace(exclude=()) == settings.replace(exclude=None) == Settings()
    assert "exclude" not in Settings().as_dict()


@pytest.mark.parametrize(
    ("exclude", "kind", "words"),
    [
        ("Na", TypeError, "expected exclude to be a list of symbols such as .'Na'., got 'Na'"),
        ([11], TypeError, "expected exclude to hold symbols such as 'Na', got 11"),
        (3, TypeError, "expected exclude to be a list of symbols"),
        (iter(["Na"]), TypeError, "expected exclude to be a list of symbols"),  # empty when reread
        (["Xx"], ValueError, "expected a chemical symbol such as 'Si', got 'Xx'"),
        (["Na", "Na"], ValueError, "expected each element once, got Na twice"),
    ],
)
def test_settings_refuse(exclude: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        Settings(exclude=exclude)


def test_an_element_that_is_not_there_is_refused() -> None:
    words = "expected exclude to name elements that are there, Na Cl, got K"
    with pytest.raises(ValueError, match=words):
        _module(("K",))
    with pytest.raises(ValueError, match=words):
        D3Calculator("pbe", exclude=["K"]).calculate(_structure("salt"))


def test_masks_are_refused() -> None:
    model = _module()
    systems, sodium = _salt(model)
    with pytest.raises(ValueError, match=r"expected exclude of shape \(n_atoms,\), \[16\], got"):
        model.lattice(systems, exclude=sodium[:3])
    with pytest.raises(TypeError, match="expected exclude of dtype bool, got torch"):
        model.evaluate(systems, exclude=sodium.long())
    no_mask: Any = ["Na"]
    with pytest.raises(TypeError, match="expected exclude to be a mask of atoms, a tensor, got"):
        model.lattice(systems, exclude=no_mask)
    with pytest.raises(ValueError, match="expected a mask of 9 atoms, got one of shape"):
        D3Calculator("pbe", exclude_atoms=[True]).calculate(_structure("molecule"))
    with pytest.raises(ValueError, match="expected indices of atoms from 0 to 8, got 9"):
        D3Calculator("pbe", exclude_atoms=[9]).calculate(_structure("molecule"))
    with pytest.raises(TypeError, match="expected exclude_atoms to be indices or a mask, got 'Na'"):
        D3Calculator("pbe", exclude_atoms="Na")
    with pytest.raises(TypeError, match=r"to be indices or a mask, got both in \[True, 2\]$"):
        D3Calculator("pbe", exclude_atoms=[True, 2])
    with pytest.raises(TypeError, match=r"expected atoms to be indices or a mask, got both in"):
        check_atoms((0, np.False_), 2)


def test_tables_that_are_doubled() -> None:
    model = _module(variant="zero")
    tables, species = excluding(
        model.tables(), torch.tensor([0, 1, 1]), torch.tensor([1, 0, 1]) > 0
    )
    assert species.tolist() == [2, 1, 3]
    assert tables.c6_ref.shape[:2] == (4, 4)
    assert not tables.c6_ref[2:].any()
    assert not tables.c6_ref[:, 2:].any()
    assert tables.radii is not None
    assert torch.equal(tables.radii[2:, :2], model.radii)


def test_the_calculator_takes_masks_and_changes() -> None:
    atoms = _structure("salt")
    sodium = atoms.numbers == 11
    by_element = D3Calculator("pbe", exclude=["Na"], **REACH)
    energy = by_element.get_potential_energy(atoms)
    by_mask = D3Calculator("pbe", exclude_atoms=sodium, **REACH)
    assert by_mask.get_potential_energy(atoms) == pytest.approx(energy, rel=1e-14)
    whole = D3Calculator("pbe", **REACH).get_potential_energy(atoms)
    assert by_mask.set(exclude_atoms=None) == {"exclude_atoms": None}
    assert by_mask.get_potential_energy(atoms) == whole
    assert by_element.set(exclude=()) != {}
    assert by_element.get_potential_energy(atoms) == whole
    assert by_element.set(exclude=["Na"]) != {}
    assert by_element.get_potential_energy(atoms) == energy
    by_mask.set(exclude_atoms=[0])
    assert by_mask.get_potential_energy(atoms) != whole


@pytest.mark.parametrize("exclude", [("Na",), ("Na", "Cl")])
def test_an_automatic_cutoff_keeps_its_tolerance(exclude: tuple[str, ...]) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    which: dict[str, Any] = {"exclude": exclude, "cn_cutoff": 10.0}
    calc = D3Calculator("pbe", cutoff="auto", tolerance=1e-3, **which)
    chosen = calc.get_potential_energy(atoms)
    far = D3Calculator("pbe", cutoff=40.0, tail=True, width=2.0, **which)
    assert 0.0 <= (chosen - far.get_potential_energy(atoms)) / len(atoms) < 1e-3
    assert (chosen == 0.0) == (len(exclude) == 2)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("species", [-1, 2, 3])
def test_species_out_of_range_are_refused_beside_a_mask(species: int, backend: str) -> None:
    """Doubled tables would have an element for them: -1 the last, 2 and 3 those that are out."""
    model = D3(["Na", "Cl"], xc="pbe", cutoff=9.0, cn_cutoff=8.0, backend=backend)
    x = torch.tensor([[0, 0, 0], [0, 0, 2.5], [0, 2.5, 0]], dtype=torch.float64)
    mask = torch.tensor([False, False, True])
    with pytest.raises(IndexError, match="expected species indices in"):
        model.lattice(model.systems(x, torch.tensor([0, 1, species])), exclude=mask)
