"""D3 in OpenMM, i-PI and metatomic: a few lines of the user's, shown in docs/hosts.md."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ase.build
import numpy as np
import pytest
from ase import Atoms

from d3torch import D3Calculator

RANGE = {"cutoff": 12.0, "cn_cutoff": 10.0, "width": 2.0}
KJ = 96.48533212331
"""kJ/mol in 1 eV."""


def _salt() -> Atoms:
    atoms = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_openmm_by_a_python_force() -> None:
    openmm = pytest.importorskip("openmm", reason="needs openmm >= 8.4: pip install openmm")
    if not hasattr(openmm, "PythonForce"):
        pytest.skip("needs openmm >= 8.4, which has PythonForce")
    unit, atoms = openmm.unit, _salt()
    expected, inner = _salt(), D3Calculator("pbe", **RANGE)
    expected.calc = D3Calculator("pbe", **RANGE)

    def dispersion(state: Any) -> Any:
        vectors = state.getPeriodicBoxVectors(asNumpy=True)
        atoms.cell[:] = vectors.value_in_unit(unit.angstrom)
        atoms.positions = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
        inner.calculate(atoms)
        return inner.results["energy"] * KJ, inner.results["forces"] * KJ * 10.0

    system = openmm.System()
    for mass in atoms.get_masses():
        system.addParticle(mass)
    system.setDefaultPeriodicBoxVectors(*(0.1 * atoms.cell.array))
    force = openmm.PythonForce(dispersion)
    force.setUsesPeriodicBoundaryConditions(True)
    system.addForce(force)
    steps = openmm.VerletIntegrator(0.001)
    context = openmm.Context(system, steps, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(0.1 * atoms.positions)
    found = context.getState(energy=True, forces=True)
    energy = found.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ
    assert energy == pytest.approx(expected.get_potential_energy(), abs=1e-10)
    forces = found.getForces(asNumpy=True)._value / KJ / 10.0
    np.testing.assert_allclose(forces, expected.get_forces(), rtol=0, atol=1e-10)


IPI = """<simulation verbosity='quiet'>
  <output prefix='run'>
    <properties stride='1' filename='out'> [step, potential{electronvolt}] </properties>
    <trajectory stride='1' filename='pos' cell_units='angstrom'> positions{angstrom} </trajectory>
  </output>
  <total_steps>3</total_steps>
  <ffsocket name='d3' mode='unix' pbc='false'> <address>NAME</address> </ffsocket>
  <system>
    <initialize nbeads='1'>
      <file mode='ase' units='angstrom'> start.xyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces> <force forcefield='d3'/> </forces>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 1 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""


def test_ipi_by_the_socket_client_of_ase(tmp_path: Path) -> None:
    pytest.importorskip("ipi", reason="needs ipi: pip install ipi")
    from ase.calculators.socketio import SocketClient

    server = shutil.which("i-pi", path=str(Path(sys.executable).parent))
    assert server is not None
    name, atoms = f"d3torch_{tmp_path.name}_{time.time_ns()}", _salt()
    atoms.write(tmp_path / "start.xyz", format="extxyz")
    (tmp_path / "input.xml").write_text(IPI.replace("NAME", name))
    atoms.calc = D3Calculator("pbe", **RANGE)
    with subprocess.Popen([sys.executable, server, "input.xml"], cwd=tmp_path) as run:
        socket = Path(f"/tmp/ipi_{name}")
        for _ in range(1200):
            if socket.exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        SocketClient(unixsocket=name).run(atoms, use_stress=True)
    assert run.returncode == 0
    energies = np.loadtxt(tmp_path / "run.out")[:, 1]
    assert len(energies) == 4
    start = _salt()
    start.calc = D3Calculator("pbe", **RANGE)
    assert energies[0] == pytest.approx(start.get_potential_energy(), rel=1e-6)
    assert np.ptp(energies) > 1e-5


def test_metatomic_export_under_its_calculator(tmp_path: Path) -> None:
    pytest.importorskip("metatomic.torch", reason="needs metatomic-torch and metatomic-ase")
    ase_side = pytest.importorskip("metatomic_ase", reason="needs metatomic-ase")
    from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput
    from metatomic_dispersion import Dispersion

    capabilities = ModelCapabilities(
        outputs={"energy": ModelOutput(quantity="energy", unit="eV", per_atom=False)},
        atomic_types=[11, 17],
        interaction_range=RANGE["cutoff"] + RANGE["cn_cutoff"],
        length_unit="angstrom",
        supported_devices=["cpu"],
        dtype="float64",
    )
    module = Dispersion(["Na", "Cl"], xc="pbe", **RANGE)
    model = AtomisticModel(module.eval(), ModelMetadata(), capabilities)
    model.save(str(tmp_path / "d3.pt"))
    atoms, expected = _salt(), _salt()
    expected.calc = D3Calculator("pbe", **RANGE)
    atoms.calc = ase_side.MetatomicCalculator(str(tmp_path / "d3.pt"))
    energy = expected.get_potential_energy()
    assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), rtol=0, atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(), expected.get_stress(), rtol=0, atol=1e-10)
