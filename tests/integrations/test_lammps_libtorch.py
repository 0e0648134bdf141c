"""MACE with D3 through the interface of MACE's libtorch route: in Python, TorchScript and C++."""

# No `from __future__ import annotations`: TorchScript cannot read strings.
import io
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")

import hosts
import mace_models as models
from ase import Atoms
from ase.neighborlist import neighbor_list

from d3torch.integrations.lammps.libtorch import LAMMPSMACED3, MaskedDispersion
from d3torch.integrations.mace import MACED3, torchscript

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]
one_thread = models.one_thread
REACH = {"cutoff": 6.0, "cn_cutoff": 5.0}
NAMES = ("total_energy_local", "node_energy", "forces", "virials")


def _data(fused: MACED3, atoms: Atoms) -> dict[str, Tensor]:
    batch = models.batch(fused, [atoms])
    return {k: v.detach() for k, v in batch.items() if torch.is_tensor(v) and k != "pbc"}


def _with_ghosts(atoms: Atoms, reach: float) -> tuple[Atoms, Tensor]:
    """The atoms, then all images in reach of one of them, as atoms; and who owns each."""
    _, j, shifts = neighbor_list("ijS", atoms, reach)
    images = sorted({(int(a), *map(int, s)) for a, s in zip(j, shifts, strict=True) if s.any()})
    owner = torch.tensor([*range(len(atoms)), *(image[0] for image in images)])
    moved = [atoms.positions[a] + [*s] @ atoms.cell.array for a, *s in images]
    return Atoms([atoms.symbols[int(a)] for a in owner], [*atoms.positions, *moved]), owner


@pytest.mark.parametrize("name", models.STRUCTURES)
def test_without_ghosts_it_is_the_fused_model(name: str) -> None:
    (atoms,) = models.some(name)
    fused = MACED3(models.build(), "pbe", **REACH)
    data = _data(fused, atoms)
    made = torchscript(LAMMPSMACED3(fused, pbc=[bool(p) for p in atoms.pbc]))
    found = made(dict(data), torch.ones(len(atoms), dtype=torch.float64), True)
    expected = fused(models.batch(fused, [atoms]), compute_virials=True)
    for here, there in zip(NAMES, ("energy", "node_energy", "forces", "virials"), strict=True):
        torch.testing.assert_close(found[here], expected[there].detach(), rtol=1e-12, atol=1e-12)


def test_ghosts_send_home_what_the_fused_model_gives() -> None:
    (atoms,) = models.some("crystal")
    fused = MACED3(models.build(), "pbe", **REACH)
    crowd, owner = _with_ghosts(atoms, REACH["cutoff"] + REACH["cn_cutoff"] + 0.1)
    n = len(atoms)
    mask = (torch.arange(len(crowd)) < n).double()
    found = torchscript(LAMMPSMACED3(fused))(_data(fused, crowd), mask, True)
    expected = fused(models.batch(fused, [atoms]), compute_virials=True)
    home = torch.zeros(n, 3, dtype=torch.float64).index_add(0, owner, found["forces"])
    torch.testing.assert_close(found["total_energy_local"], expected["energy"].detach())
    torch.testing.assert_close(found["node_energy"][:n], expected["node_energy"].detach())
    torch.testing.assert_close(home, expected["forces"].detach(), rtol=0, atol=1e-10)
    torch.testing.assert_close(found["virials"], expected["virials"].detach(), rtol=0, atol=1e-9)


def test_a_short_run_of_distances_finds_the_same_pairs() -> None:
    atoms = models.silicate()
    d3 = MACED3(models.build(), "pbe", **REACH).dispersion.d3
    positions = torch.tensor(atoms.positions)
    mask = (torch.arange(len(atoms)) % 2).double()
    whole = MaskedDispersion(d3, [True] * 3)
    parts = MaskedDispersion(d3, [True] * 3)
    parts.at_once = 3 * len(atoms) + 1
    pairs = whole.neighbours(positions, mask)
    assert pairs.shape[1] > 100
    assert torch.equal(pairs, parts.neighbours(positions, mask))


class Bound(nn.Module):
    """A model with its arguments: what the C++ program runs without any."""

    data: dict[str, Tensor]

    def __init__(
        self, model: torch.jit.ScriptModule, data: dict[str, Tensor], mask: Tensor
    ) -> None:
        super().__init__()
        self.model, self.data, self.mask = model, data, mask

    def forward(self) -> list[Tensor]:
        """What LAMMPS reads."""
        out = self.model(self.data.copy(), self.mask, True)
        found: list[Tensor] = []
        for name in ("total_energy_local", "node_energy", "forces", "virials"):
            value = out[name]
            assert value is not None
            found.append(value)
        return found


@pytest.mark.parametrize("ghosts", [False, True])
def test_in_a_cpp_program(ghosts: bool, host: str, tmp_path: Path) -> None:
    (atoms,) = models.some("crystal")
    fused = MACED3(models.build(), "pbe", **REACH)
    data = _data(fused, atoms)
    mask = torch.ones(len(atoms), dtype=torch.float64)
    if ghosts:
        mask[len(atoms) // 2 :] = 0.0
    made = torchscript(LAMMPSMACED3(fused))
    torch.jit.script(Bound(made, data, mask)).save(str(tmp_path / "bound.pt"))
    found = hosts.numbers([host, str(hosts.LIBRARY), str(tmp_path / "bound.pt")])
    out = LAMMPSMACED3(fused)(dict(data), mask, True)
    expected = torch.cat([out[name].detach().flatten() for name in NAMES])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_the_names_that_hosts_read_are_there() -> None:
    fused = MACED3(models.build(), "pbe", **REACH)
    made = torchscript(LAMMPSMACED3(fused))
    assert made.atomic_numbers.tolist() == list(models.NUMBERS)
    assert float(made.r_max) == models.SETTINGS["r_max"]
    assert int(made.num_interactions) == models.SETTINGS["num_interactions"]
    file = io.BytesIO()
    torch.jit.save(made, file)
    file.seek(0)
    model = torch.jit.load(file).model
    weight = model.node_embedding.linear.weight  # whose type is that of the host's numbers
    assert weight.dtype == next(fused.model.parameters()).dtype
    assert weight.data_ptr() == model.model.node_embedding.linear.weight.data_ptr()
