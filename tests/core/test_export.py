"""D3BJ outside eager Python: TorchScript, a C++ program without Python, torch.compile, export."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hosts
import numpy as np
import pytest
import torch
from systems import pair_list
from torch import Tensor, nn

from d3torch import D3, D3BJ
from d3torch.model import BACKENDS

backends = pytest.mark.parametrize("backend", BACKENDS)
dtypes = pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
Inputs = tuple[Tensor, Tensor, Tensor]


def _model(**settings: Any) -> D3BJ:
    return D3BJ(["Si", "O", "Na"], "pbe", cutoff=11.0, cn_cutoff=8.0, width=2.0, **settings)


def _inputs(n_atoms: int = 12, dtype: torch.dtype = torch.float64) -> Inputs:
    """Vectors, pairs and species of a crystal with that many atoms."""
    rng = np.random.default_rng(n_atoms)
    grid = np.stack(np.meshgrid(*3 * [np.arange(3)]), axis=-1).reshape(-1, 3)[:n_atoms]
    positions = 2.6 * grid + rng.uniform(-0.4, 0.4, grid.shape)
    cell = np.array([[7.8, 0.0, 0.0], [1.0, 7.8, 0.0], [0.0, -1.5, 7.8]])
    pairs, vectors = pair_list(positions, cell, True, 11.0)
    return vectors.to(dtype), pairs, torch.tensor(np.arange(n_atoms) % 3)


def _with_gradient(model: Callable[..., Tensor], inputs: Inputs) -> tuple[Tensor, Tensor]:
    vectors = inputs[0].clone().requires_grad_()
    energy = model(vectors, *inputs[1:])
    return energy.detach(), torch.autograd.grad(energy.sum(), vectors)[0]


def _assert_equal(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor], exactly: bool) -> None:
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype
        if exactly:
            assert torch.equal(x, y)
        else:
            tolerance = 1e-13 if x.dtype == torch.float64 else 1e-5
            torch.testing.assert_close(x, y, rtol=0, atol=tolerance * y.abs().max().item())


# ---- TorchScript ----


SAVED = Path(__file__).parents[1] / "data" / "scripted_0.1.0.pt"
"""Saved by version 0.1.0, before there was ``lattice_shares``; the model of :func:`_earlier`."""


def _earlier(tail: bool = True) -> D3BJ:
    return D3BJ(["Na", "Cl"], "pbe", cutoff=9.0, cn_cutoff=7.0, width=1.5, tail=tail)


def test_a_module_saved_by_an_earlier_version_gives_what_it_gave() -> None:
    """It calls the ops by their schemas, which never change.

    On pairs it left the tail out without a word, which is now refused.
    """
    vectors, pairs, species = _inputs()
    inputs = vectors, pairs, species % 2
    old, now = torch.jit.load(str(SAVED)), _earlier()
    expected = _with_gradient(_earlier(tail=False), inputs)
    _assert_equal(_with_gradient(old, inputs), expected, exactly=True)
    x = torch.tensor([[0.0, 0.0, 0.0], [2.9, 0.1, 0.2], [0.1, 2.8, -0.2]], dtype=torch.float64)
    systems = now.systems(x, torch.tensor([0, 1, 1]), 5.6 * torch.eye(3, dtype=torch.float64))
    assert torch.equal(old.lattice(systems), now.lattice(systems))
    assert all(map(torch.equal, old.evaluate(systems), now.evaluate(systems)))


@dtypes
@backends
@pytest.mark.parametrize("learnable", [False, True])
def test_scripted_saved_and_loaded_module_is_equal(
    learnable: bool, backend: str, dtype: torch.dtype
) -> None:
    model = _model(learnable=learnable, backend=backend, dtype=dtype)
    file = io.BytesIO()
    scripted = torch.jit.script(model)
    torch.jit.save(scripted, file)
    file.seek(0)
    loaded = torch.jit.load(file)
    expected = _with_gradient(model, _inputs(dtype=dtype))
    for module in (scripted, loaded):
        for _ in range(3):  # TorchScript optimises between its first calls
            found = _with_gradient(module, _inputs(dtype=dtype))
            _assert_equal(found, expected, exactly=backend == "kernel")
    assert [name for name, _ in loaded.named_parameters()] == (
        ["s6", "s8", "a1", "a2"] if learnable else []
    )


def test_scripted_module_has_the_other_methods() -> None:
    model, (vectors, pairs, species) = _model(), _inputs()
    scripted = torch.jit.script(model)
    cn = scripted.coordination_number(vectors, pairs, species)
    assert torch.equal(cn, model.coordination_number(vectors, pairs, species))
    energy = scripted.dispersion_energy(vectors, cn, pairs, species)
    assert torch.equal(energy, model(vectors, pairs, species))
    assert torch.equal(scripted.atomic_c6(cn, species), model.atomic_c6(cn, species))
    assert scripted.species(torch.tensor([8, 14])).tolist() == [1, 0]
    with pytest.raises(torch.jit.Error, match=r"among \[14, 8, 11\], got 6"):
        scripted.species(torch.tensor([6]))


def test_scripted_module_gives_second_derivatives() -> None:
    vectors, pairs, species = _inputs()
    found = []
    for model in (_model(), torch.jit.script(_model())):
        x = vectors.clone().requires_grad_()
        (first,) = torch.autograd.grad(model(x, pairs, species).sum(), x, create_graph=True)
        found.append(torch.autograd.grad((first**2).sum(), x)[0])
    assert torch.equal(*found)


class _Inputs(nn.Module):
    """Carries the inputs into another process."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        for name, value in zip(("vectors", "pairs", "species"), inputs, strict=True):
            self.register_buffer(name, value)

    def forward(self) -> None:
        return None


def _saved(folder: Path, model: D3BJ, inputs: Inputs) -> tuple[str, str]:
    module, data = str(folder / "module.pt"), str(folder / "inputs.pt")
    torch.jit.script(model).save(module)
    torch.jit.script(_Inputs(inputs)).save(data)
    return module, data


def _expected(model: D3BJ, inputs: Inputs) -> Tensor:
    return torch.cat([t.flatten().double() for t in _with_gradient(model, inputs)])


FRESH_PROCESS = """
import sys
import torch
torch.ops.load_library(sys.argv[1])
model, data = torch.jit.load(sys.argv[2]), torch.jit.load(sys.argv[3])
vectors = data.vectors.requires_grad_()
energy = model(vectors, data.pairs, data.species)
(gradient,) = torch.autograd.grad(energy.sum(), vectors)
assert "d3torch" not in sys.modules
for number in torch.cat([energy, gradient.flatten()]).tolist():
    print(repr(number))
"""


@dtypes
def test_fresh_process_with_the_library_alone_gives_the_same_bits(
    dtype: torch.dtype, tmp_path: Path
) -> None:
    model, inputs = _model(dtype=dtype), _inputs(dtype=dtype)
    files = _saved(tmp_path, model, inputs)
    found = hosts.numbers([sys.executable, "-c", FRESH_PROCESS, str(hosts.LIBRARY), *files])
    assert torch.equal(found, _expected(model, inputs))


# ---- a C++ host ----


@dtypes
@backends
def test_cpp_host_gives_the_same_bits(
    backend: str, dtype: torch.dtype, host: str, tmp_path: Path
) -> None:
    model, inputs = _model(dtype=dtype, backend=backend), _inputs(dtype=dtype)
    files = _saved(tmp_path, model, inputs)
    found, expected = hosts.numbers([host, str(hosts.LIBRARY), *files]), _expected(model, inputs)
    if backend == "kernel":
        assert torch.equal(found, expected)
    else:
        tolerance = 1e-13 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def _linked(library: str) -> str:
    out = subprocess.run(["ldd", library], capture_output=True, text=True, check=True)
    return out.stdout


def test_cpp_host_links_no_python(host: str) -> None:
    libraries = _linked(host)
    assert "libtorch_cpu" in libraries
    assert not re.search("lib(torch_)?python", libraries)


def test_library_links_no_python_and_asks_for_none_of_its_symbols() -> None:
    assert "libd3torch_kernels" in _linked(str(hosts.LIBRARY))
    assert not re.search("lib(torch_)?python", _linked(str(hosts.LIBRARY)))
    command = ["readelf", "--dyn-syms", "--wide", str(hosts.LIBRARY)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "TORCH_LIBRARY" in symbols or "c10" in symbols
    assert not re.search(r"\b_?Py[A-Z_]\w*", symbols)


# ---- tracing ----


@pytest.mark.filterwarnings("ignore:`torch.jit.trace` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("cell", [None, 7.0])
@pytest.mark.parametrize("pbc", [None, [True, True, False]])
def test_structures_can_be_traced(cell: float | None, pbc: list[bool] | None) -> None:
    """And the trace takes other numbers of atoms."""
    model = _model()
    box = None if cell is None else cell * torch.eye(3, dtype=torch.float64)
    periodic = None if pbc is None or box is None else torch.tensor(pbc)

    def energy(positions: Tensor, species: Tensor) -> Tensor:
        return model.lattice(model.systems(positions, species, box, periodic))

    def structure(n: int) -> tuple[Tensor, Tensor]:
        x = 2.6 * torch.cartesian_prod(*3 * [torch.arange(2.0, dtype=torch.float64)])[:n]
        return x, torch.arange(n) % 3

    traced = torch.jit.trace(energy, structure(6))
    for n in (6, 8, 3):
        assert torch.equal(traced(*structure(n)), energy(*structure(n)))
    x = structure(6)[0]
    torch.jit.trace(lambda x: model.systems(x, torch.arange(6) % 3, box, periodic), x)


# ---- torch.compile and torch.export ----


@backends
@dtypes
@pytest.mark.parametrize("dynamic", [None, True])
def test_compile_without_graph_breaks(
    dynamic: bool | None, dtype: torch.dtype, backend: str
) -> None:
    torch._dynamo.reset()
    model = _model(dtype=dtype, backend=backend)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=dynamic)
    for n_atoms in (12, 9):
        inputs = _inputs(n_atoms, dtype)
        found, expected = _with_gradient(compiled, inputs), _with_gradient(model, inputs)
        _assert_equal(found, expected, exactly=backend == "kernel")


def test_compiled_learnable_parameters_receive_gradients() -> None:
    torch._dynamo.reset()
    model = _model(learnable=True)
    gradients = []
    for module in (model, torch.compile(model, fullgraph=True, backend="aot_eager")):
        gradients.append(torch.autograd.grad(module(*_inputs()).sum(), list(model.parameters())))
    assert all(map(torch.equal, *gradients))


def test_compile_with_inductor() -> None:
    torch._dynamo.reset()
    model = _model()
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    _assert_equal(
        _with_gradient(compiled, _inputs()), _with_gradient(model, _inputs()), exactly=False
    )


@backends
@dtypes
def test_export_with_any_number_of_pairs_and_atoms(dtype: torch.dtype, backend: str) -> None:
    if backend == "eager" and torch.__version__.startswith("2.6."):
        pytest.skip("torch 2.6 cannot export the eager twin with any number of pairs")
    model = _model(dtype=dtype, backend=backend)
    n_pairs, n_atoms = torch.export.Dim("n_pairs"), torch.export.Dim("n_atoms")
    shapes = {"vectors": {0: n_pairs}, "pairs": {1: n_pairs}, "species": {0: n_atoms}}
    program = torch.export.export(model, _inputs(12, dtype), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    module = torch.export.load(file).module()
    for n in (12, 9, 20):
        inputs = _inputs(n, dtype)
        found, expected = _with_gradient(module, inputs), _with_gradient(model, inputs)
        _assert_equal(found, expected, exactly=backend == "kernel")
    if backend == "kernel":
        targets = {str(node.target) for node in program.graph.nodes}
        assert "d3torch.coordination_number.default" in targets
        assert "d3torch.dispersion_energy.default" in targets


class _OfNumbers(torch.nn.Module):
    """A model that is given atomic numbers."""

    def __init__(self, backend: str = "kernel") -> None:
        super().__init__()
        self.d3 = D3(["H", "O"], xc="pbe", cutoff=9.0, cn_cutoff=8.0, backend=backend)

    def forward(self, x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
        return self.d3.lattice(self.d3.systems(x, self.d3.species(numbers)))


def test_a_model_of_atomic_numbers_is_exported_and_compiled() -> None:
    """What is unknown is refused by the op, when values are there."""
    x = torch.tensor([[0, 0, 0], [0, 0, 1.0], [0, 1.0, 0]], dtype=torch.float64)
    numbers, model = torch.tensor([8, 1, 1]), _OfNumbers()
    expected = model(x, numbers)
    exported = torch.export.export(model, (x, numbers)).module()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for made in (exported, compiled, torch.jit.script(model)):
        torch.testing.assert_close(made(x, numbers), expected, rtol=1e-14, atol=0.0)
    with pytest.raises(IndexError, match="expected species indices in"):
        exported(x, torch.tensor([8, 1, 7]))
    compiled = torch.compile(_OfNumbers("eager"), backend="aot_eager")  # whose op refuses nothing
    torch.testing.assert_close(compiled(x, numbers), expected, rtol=1e-12, atol=0.0)
    with pytest.raises(ValueError, match="expected atomic numbers among"):
        compiled(x, torch.tensor([8, 1, 7]))
