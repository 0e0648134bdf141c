"""Every host takes settings, their keywords or a ready module: one meaning, one refusal."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import Calculator
from mliap_ranks import World

from d3torch import D3, D3Calculator, Settings, with_dispersion
from d3torch.evaluate import evaluate
from d3torch.integrations.lammps import D3MLIAP

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")

REACH: dict[str, Any] = {"cutoff": 9.0, "cn_cutoff": 8.0}
ASKED = Settings(xc="b3lyp", **REACH)
NUMBERS = [1, 6, 8, 11, 14]
"""Elements of the models of ``mace_models``, in their order."""


def _ethanol() -> Atoms:
    atoms = ase.build.molecule("CH3CH2OH")
    atoms.rattle(0.05, seed=3)
    return atoms


def _mace(*given: Any, **keywords: Any) -> Any:
    pytest.importorskip("mace", reason="needs mace-torch: pip install mace-torch")
    import mace_models

    from d3torch.integrations.mace import MACED3

    return MACED3(mace_models.build(), *given, **keywords)


def _by_mace(host: Any) -> float:
    import mace_models

    return float(host(mace_models.batch(host, [_ethanol()]))["dispersion_energy"])


def _mliap(*given: Any, **keywords: Any) -> Any:
    return D3MLIAP(NUMBERS, *given, **keywords)


def _by_mliap(host: D3MLIAP) -> float:
    atoms = _ethanol()
    elems = np.array([NUMBERS.index(z) for z in atoms.numbers])
    return World(atoms, elems, 9.0, 1).run(lambda: host).energy


def _torchsim(*given: Any, **keywords: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("torch_sim", reason="needs torch-sim: pip install torch-sim-atomistic")
        from d3torch.integrations.torchsim import D3Model
    return D3Model(*given, **keywords)


def _by_torchsim(host: Any) -> float:
    import torch_sim

    state = torch_sim.io.atoms_to_state([_ethanol()], torch.device("cpu"), host.dtype)
    return float(host(state)["energy"])


def _ase(settings: Any = None, **keywords: Any) -> Any:
    return D3Calculator(settings=settings, **keywords)


def _by_ase(host: D3Calculator) -> float:
    return host.get_potential_energy(_ethanol())


class Host(NamedTuple):
    """How a host is made of settings, and the D3 energy of ethanol by it."""

    make: Callable[..., Any]
    energy: Callable[[Any], float]


HOSTS = {
    "ase": Host(_ase, _by_ase),
    "mace": Host(_mace, _by_mace),
    "ml-iap": Host(_mliap, _by_mliap),
    "torch-sim": Host(_torchsim, _by_torchsim),
}


@pytest.fixture(params=HOSTS)
def host(request: pytest.FixtureRequest) -> Host:
    return HOSTS[request.param]


def _learned() -> D3:
    model = ASKED.module(NUMBERS, learnable=True)
    with torch.no_grad():
        model.s8 += 0.25
        model.a2 *= 1.1
    return model


def _energy(model: D3) -> float:
    atoms = _ethanol()
    return evaluate(model, atoms.positions, None, False, atoms.numbers).energy.item()


def test_settings_keywords_and_a_module_give_one_result(host: Host) -> None:
    expected = _energy(ASKED.module(NUMBERS))
    for given in ((ASKED,), (ASKED.module(NUMBERS),)):
        made = host.make(*given)
        assert made.settings == ASKED
        assert host.energy(made) == pytest.approx(expected, rel=1e-12)
    by_name = host.make(xc="b3lyp", **REACH)
    assert host.energy(by_name) == pytest.approx(expected, rel=1e-12)


def test_every_host_computes_other_variants(host: Host) -> None:
    asked = ASKED.replace(variant="zerom")
    expected = _energy(asked.module(NUMBERS))
    assert abs(expected / _energy(ASKED.module(NUMBERS)) - 1.0) > 0.01
    for made in (host.make(asked.module(NUMBERS)), host.make(**asked.keywords())):
        assert made.settings == asked
        assert host.energy(made) == pytest.approx(expected, rel=1e-12)


def test_every_host_leaves_out_elements(host: Host) -> None:
    asked = ASKED.replace(exclude=["H"])
    expected = _energy(asked.module(NUMBERS))
    assert abs(expected / _energy(ASKED.module(NUMBERS)) - 1.0) > 0.1
    for made in (host.make(asked.module(NUMBERS)), host.make(**asked.keywords())):
        assert made.settings == asked
        assert host.energy(made) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["ase", "mace", "torch-sim"])
def test_hosts_of_whole_structures_compute_the_three_body_term(name: str) -> None:
    asked = ASKED.replace(s9=1.0, atm_cutoff=8.0)
    expected = _energy(asked.module(NUMBERS))
    assert expected > _energy(ASKED.module(NUMBERS)) + 1e-5
    assert HOSTS[name].energy(HOSTS[name].make(asked)) == pytest.approx(expected, rel=1e-12)


def test_ml_iap_refuses_the_three_body_term() -> None:
    asked = ASKED.replace(s9=1.0)
    for given in (asked, asked.module(NUMBERS)):
        with pytest.raises(ValueError, match=r"^expected s9=0 for ML-IAP, got the three-body term"):
            D3MLIAP(NUMBERS, given)


def test_what_a_module_has_learned_is_kept(host: Host) -> None:
    model = _learned()
    expected = _energy(model)
    assert abs(expected / _energy(ASKED.module(NUMBERS)) - 1.0) > 0.05
    made = host.make(model)
    assert host.energy(made) == pytest.approx(expected, rel=1e-12)
    assert made.settings == model.settings
    assert made.settings.xc is None


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_module_says_its_dtype(dtype: torch.dtype) -> None:
    for name in ("ase", "ml-iap", "torch-sim"):
        host = HOSTS[name]
        found = host.energy(host.make(ASKED.module(NUMBERS, dtype=dtype)))
        same = host.energy(host.make(ASKED, dtype=dtype))
        assert found == same
        assert (abs(found / _energy(ASKED.module(NUMBERS)) - 1.0) < 1e-9) == (dtype.itemsize == 8)


ONE = "expected Settings, a D3 or keywords, got "


def test_two_of_them_are_refused(host: Host) -> None:
    for settings, kind in ((ASKED, "Settings"), (ASKED.module(NUMBERS), "a D3")):
        for name, value in (("cutoff", 9.0), ("xc", "pbe"), ("tail", False)):
            with pytest.raises(TypeError) as caught:
                host.make(settings, **{name: value})
            assert str(caught.value) == f"{ONE}{kind} and {name}"


@pytest.mark.parametrize("given", [7, ["pbe"], torch.nn.Linear(1, 1), {"xc": "pbe"}])
def test_something_else_is_refused(host: Host, given: Any) -> None:
    with pytest.raises(TypeError) as caught:
        host.make(given)
    assert str(caught.value) == f"{ONE}{type(given).__name__}"


def test_other_units_are_refused(host: Host) -> None:
    with pytest.raises(ValueError, match=r"^expected a D3 with units='eV/A', got 'hartree/bohr'"):
        host.make(ASKED.module(NUMBERS, units="hartree/bohr"))


@pytest.mark.parametrize(
    ("name", "keywords"),
    [
        ("ase", {"dtype": "float64"}),
        ("ase", {"device": "cpu"}),
        ("ase", {"backend": "kernel"}),
        ("mace", {"learnable": True}),
        ("ml-iap", {"dtype": torch.float64}),
        ("torch-sim", {"dtype": torch.float64}),
        ("torch-sim", {"device": "cpu"}),
    ],
)
def test_what_a_module_says_itself_is_not_said_again(name: str, keywords: dict[str, Any]) -> None:
    with pytest.raises(TypeError) as caught:
        HOSTS[name].make(ASKED.module(NUMBERS), **keywords)
    assert str(caught.value) == f"{ONE}a D3 and {next(iter(keywords))}"


# ---- what single hosts ask of a module ----


@pytest.mark.parametrize(("name", "words"), [("mace", "a MACE model"), ("ml-iap", "ML-IAP")])
def test_columns_of_a_host_are_the_elements_of_its_module(name: str, words: str) -> None:
    for numbers, got in ((NUMBERS[::-1], "Si Na O C H"), ([*NUMBERS, 79], "H C O Na Si Au")):
        with pytest.raises(ValueError) as caught:  # noqa: PT011
            HOSTS[name].make(ASKED.module(numbers))
        expected = f"expected a D3 of H C O Na Si, in this order, for {words}, got {got}"
        assert str(caught.value) == expected


TAILED = Settings(xc="b3lyp", cutoff=3.0, cn_cutoff=8.0, tail=True)


@pytest.mark.parametrize("name", ["ase", "mace", "torch-sim"])
def test_a_tail_is_computed(name: str) -> None:
    """All pairs of a molecule that is larger than the cutoff."""
    expected = _energy(Settings(xc="b3lyp", cutoff=50.0, cn_cutoff=8.0).module(NUMBERS))
    for given in (TAILED, TAILED.module(NUMBERS)):
        host = HOSTS[name].make(given)
        assert HOSTS[name].energy(host) == pytest.approx(expected, rel=1e-12)


def test_a_tail_is_refused_where_only_forces_of_pairs_are_told() -> None:
    for given in (TAILED, TAILED.module(NUMBERS)):
        with pytest.raises(ValueError, match=r"^expected no tail for ML-IAP, which .*, got tail"):
            _mliap(given)


def test_the_three_body_term_is_refused_where_pairs_are_given() -> None:
    from d3torch.integrations.lammps.libtorch import LAMMPSMACED3
    from d3torch.integrations.lammps.mace import MACED3MLIAP

    fused = _mace(ASKED.replace(s9=1.0, atm_cutoff=6.0))
    fused.dispersion.d3.s9.zero_()  # its range has triangles all the same
    for route in (LAMMPSMACED3, MACED3MLIAP):
        with pytest.raises(ValueError, match=r"^expected s9=0 for .*, got the three-body term"):
            route(fused)


def test_a_module_whose_damping_was_computed_is_copied() -> None:
    """By a network, say; a deepcopy of torch refuses it."""
    from d3torch.integrations.lammps.libtorch import LAMMPSMACED3
    from d3torch.integrations.lammps.mace import MACED3MLIAP

    module = ASKED.module(NUMBERS)
    module.s8 = module.s8 * torch.ones((), dtype=torch.float64, requires_grad=True)
    fused = _mace(module)
    expected = _energy(ASKED.module(NUMBERS))
    made = D3Calculator(settings=module)
    assert made.get_potential_energy(_ethanol()) == pytest.approx(expected, rel=1e-12)
    for route in (LAMMPSMACED3, MACED3MLIAP):
        route(fused)
    assert module.s8.requires_grad


def test_a_file_for_lammps_leaves_the_model_to_train_on() -> None:
    from d3torch.integrations.lammps.libtorch import LAMMPSMACED3
    from d3torch.integrations.lammps.mace import MACED3MLIAP

    fused = _mace(ASKED)
    before = [p.requires_grad for p in fused.parameters()]
    for route in (LAMMPSMACED3, MACED3MLIAP):
        route(fused)
        assert [p.requires_grad for p in fused.parameters()] == before
        assert not getattr(fused.model, "lammps_mliap", False)
    assert any(before)


def test_a_tail_of_a_fused_model_is_refused_by_the_routes_through_lammps() -> None:
    fused = _mace(TAILED)
    from d3torch.integrations.lammps.libtorch import LAMMPSMACED3
    from d3torch.integrations.lammps.mace import MACED3MLIAP

    for route in (LAMMPSMACED3, MACED3MLIAP):
        with pytest.raises(ValueError, match=r"^expected no tail for .*, which .*, got tail=True$"):
            route(fused)


@pytest.mark.parametrize("name", ["mace", "ml-iap", "torch-sim"])
def test_hosts_of_the_kernel_refuse_the_eager_backend_and_auto(name: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a D3 with backend='kernel', got 'eager'$"):
        HOSTS[name].make(ASKED.module(NUMBERS, backend="eager"))
    with pytest.raises(ValueError, match=r"^expected a cutoff in A for .*, got 'auto', which is"):
        HOSTS[name].make(Settings(cutoff="auto"))


def test_mace_asks_for_its_dtype_and_trains_the_module_itself() -> None:
    words = r"^expected a D3 of torch.float64 on cpu, as is a MACE model, got torch.float32 on cpu"
    with pytest.raises(ValueError, match=words):
        _mace(ASKED.module(NUMBERS, dtype=torch.float32))
    model = _learned()
    assert _mace(model).dispersion.d3 is model
    with pytest.raises(TypeError, match="expected learnable to be True or False, got 0"):
        _mace(ASKED, learnable=0)


def test_torchsim_knows_all_elements_unless_told() -> None:
    assert _torchsim().d3.elements == [*range(1, 104)]
    assert _torchsim(reference="2010").d3.elements == [*range(1, 95)]
    assert _torchsim(ASKED, ["H", "O"]).d3.elements == [1, 8]
    assert _torchsim(ASKED.module(NUMBERS), NUMBERS).d3.elements == NUMBERS
    with pytest.raises(ValueError, match=r"^expected a D3 of H O, in this order, for torch-sim"):
        _torchsim(ASKED.module(NUMBERS), ["H", "O"])


class Nothing(Calculator):
    """Zeros, shares of atoms in the stress too."""

    implemented_properties = ("energy", "stress", "stresses")

    def calculate(self, atoms: Any = None, properties: Any = (), system_changes: Any = ()) -> None:
        """Forget the atoms and answer."""
        zeros = np.zeros((len(atoms), 6))
        self.results = {"energy": 0.0, "stress": zeros[0], "stresses": zeros}


def test_the_calculator_takes_a_module_as_it_is_now() -> None:
    """Energy, stresses and Hessian are of one D3, whatever becomes of the module."""
    atoms, model = ase.build.bulk("Cu", cubic=True), D3(["Cu"], "pbe", learnable=True, **REACH)
    calculator = with_dispersion(Nothing(), settings=model)
    before = calculator.get_property("stress", atoms)
    with torch.no_grad():
        model.s8 *= 3.0
    model.float()
    for x in (atoms, atoms.repeat(1)):
        calculator.reset()
        assert calculator.get_property("stress", x) == pytest.approx(before, rel=1e-12)
        shares = calculator.get_property("stresses", x)
        assert shares.sum(axis=0) == pytest.approx(before, abs=1e-12)


def test_the_calculator_keeps_a_module_until_something_is_set() -> None:
    model = _learned()
    calculator = D3Calculator(settings=model)
    calculator.get_potential_energy(_ethanol())
    kept = calculator.model([1])
    assert calculator.set(tail=False) == {}
    assert calculator.model([1]) is kept
    assert torch.equal(kept.damping(), model.damping())
    again = D3Calculator(**calculator.todict())
    assert again.get_potential_energy(_ethanol()) == pytest.approx(_energy(model), rel=1e-12)
    calculator.set(cutoff=7.0)
    assert calculator.settings == model.settings.replace(cutoff=7.0)
    found = calculator.get_potential_energy(_ethanol())
    assert found == pytest.approx(_energy(calculator.settings.module(NUMBERS)), rel=1e-12)
    gold = ase.build.bulk("Au")
    with pytest.raises(ValueError, match=r"expected atomic numbers among .*, got 79"):
        D3Calculator(settings=model).get_potential_energy(gold)


def test_the_calculator_takes_an_eager_module_in_float32() -> None:
    model = ASKED.module(NUMBERS, dtype=torch.float32, backend="eager")
    calculator = D3Calculator(settings=model)
    told = {name: calculator.parameters[name] for name in ("dtype", "device", "backend")}
    assert told == {"dtype": "float32", "device": "cpu", "backend": "eager"}
    assert calculator.get_potential_energy(_ethanol()) == _energy(model)
