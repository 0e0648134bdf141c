"""Structures of many jobs in one call of a potential, for a GPU that one small glass leaves idle.

Each job runs in a thread with a calculator of its own (:class:`Asking`), as it would alone; the
calculators ask one :class:`Batch`, which waits until every thread has asked and answers all of
them from one call of the potential. Energies are those of the potential alone, to its rounding.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes

from .potentials import named_calculator

Results = dict[str, Any]
Potential = Callable[[Sequence[Atoms]], list[Results]]
"""Energy, eV, forces, eV/A, and stress, eV/A^3, ASE's sign, of structures."""

MOST_ATOMS = 1000
"""In one call, beyond a single structure; SevenNet-0 takes some 10 MB of memory for an atom."""


class TimeIsUp(Exception):
    """Ends a job at its last checkpoint."""


class _SevenNet:
    """SevenNet on many structures."""

    def __init__(self, name: str) -> None:
        self.alone = named_calculator("sevenn", name, "cpu")
        self.alone.model.set_is_batch_data(True)
        self.alone.model.requires_grad_(False)

    def to(self, device: str) -> None:
        self.device = device
        self.alone.model.to(device)

    def __call__(self, many: Sequence[Atoms]) -> list[Results]:
        graph = importlib.import_module("sevenn.atom_graph_data").AtomGraphData.from_numpy_dict
        edges = importlib.import_module("sevenn.train.dataload").unlabeled_atoms_to_graph
        joined = importlib.import_module("torch_geometric.data").Batch.from_data_list
        graphs = []
        for atoms in many:
            found = edges(atoms, self.alone.cutoff)
            del found["data_info"]
            graphs.append(graph(found))
        out = self.alone.model(joined(graphs).to(self.device))
        energy = out["inferred_total_energy"].detach().cpu().numpy().ravel()
        forces = out["inferred_force"].detach().cpu().numpy()
        stress = -out["inferred_stress"].detach().cpu().numpy()[:, [0, 1, 2, 4, 5, 3]]
        results, at = [], 0
        for k, atoms in enumerate(many):
            own = forces[at : at + len(atoms)]
            results.append({"energy": float(energy[k]), "forces": own, "stress": stress[k]})
            at += len(atoms)
        return results


class _CHGNet:
    """CHGNet on many structures."""

    def __init__(self, name: str) -> None:
        self.alone = named_calculator("chgnet", name, "cpu")
        self.alone.model.requires_grad_(False)

    def to(self, device: str) -> None:
        self.device = device
        self.alone.model.to(device)

    def __call__(self, many: Sequence[Atoms]) -> list[Results]:
        adaptor = importlib.import_module("pymatgen.io.ase").AseAtomsAdaptor
        model = self.alone.model
        graphs = [
            model.graph_converter(adaptor.get_structure(atoms)).to(self.device) for atoms in many
        ]
        found = model.predict_graph(graphs, task="efs", batch_size=len(graphs))
        told = found if isinstance(found, list) else [found]
        return [
            {
                "energy": float(each["e"]) * len(atoms),
                "forces": each["f"],
                "stress": (each["s"] * units.GPa).ravel()[[0, 4, 8, 5, 2, 1]],
            }
            for atoms, each in zip(many, told, strict=True)
        ]


FAMILIES: dict[str, Any] = {"sevenn": _SevenNet, "chgnet": _CHGNet}
"""Potentials that take many structures, by the name before the colon."""


def many_at_once(model: str) -> Any:
    """A potential for :class:`Batch`, on the CPU until it is told where to.

    Raises:
        ValueError: for a potential that is not of :data:`FAMILIES`.
    """
    family, _, name = model.partition(":")
    if family not in FAMILIES:
        raise ValueError(f"expected a model of {', '.join(FAMILIES)}, got {model!r}")
    return FAMILIES[family](name)


class _Question:
    """A structure, which dispersion it gets, and the answer or error in the end."""

    def __init__(self, atoms: Atoms, d3: str) -> None:
        self.atoms, self.d3 = atoms, d3
        self.answer: Results | None = None
        self.error: BaseException | None = None


class Batch:
    """Answers what the threads of a process ask, all at once.

    Args:
        potential: of :func:`many_at_once`.
        dispersion: gives the calculator of a name of ``--d3``; it is not asked for ``none``.
        threads: that will ask; each calls :meth:`leave` in the end.
        until: wall clock, s, after which every question ends its job with :class:`TimeIsUp`.
    """

    def __init__(
        self, potential: Potential, dispersion: Callable[[str], Any], threads: int, until: float
    ) -> None:
        self.potential, self.dispersion, self.until = potential, dispersion, until
        self.asking = threads
        self.waiting: list[_Question] = []
        self.changed = threading.Condition()
        self.calls, self.structures, self.seconds = 0, 0, {"potential": 0.0, "d3": 0.0}

    def ask(self, atoms: Atoms, d3: str) -> Results:
        """Results of a structure, once all threads have asked.

        Raises:
            TimeIsUp: when it is time.
        """
        if time.time() > self.until:
            raise TimeIsUp
        question = _Question(atoms.copy(), d3)
        with self.changed:
            self.waiting.append(question)
            self.changed.notify_all()
            while question.answer is None and question.error is None:
                self.changed.wait()
        if question.answer is None:
            assert question.error is not None
            raise question.error
        return question.answer

    def leave(self) -> None:
        """Say that a thread will ask no more."""
        with self.changed:
            self.asking -= 1
            self.changed.notify_all()

    def serve(self) -> None:
        """Answer until all threads have left."""
        while True:
            with self.changed:
                while self.asking > len(self.waiting):
                    self.changed.wait()
                questions, self.waiting = self.waiting, []
            if not questions:
                return
            self._answer(questions)
            with self.changed:
                self.changed.notify_all()

    def _answer(self, questions: list[_Question]) -> None:
        began, many = time.perf_counter(), [q.atoms for q in questions]
        if len(many) > 1 and sum(map(len, many)) > MOST_ATOMS:
            self._answer_halves(questions)
            return
        try:
            found = self.potential(many)
            middle = time.perf_counter()
            for question, answer in zip(questions, found, strict=True):
                self._add_dispersion(question, answer)
                answer["free_energy"] = answer["energy"]
            self.calls, self.structures = self.calls + 1, self.structures + len(questions)
            self.seconds["potential"] += middle - began
            self.seconds["d3"] += time.perf_counter() - middle
        except Exception as error:
            if isinstance(error, torch.cuda.OutOfMemoryError):
                torch.cuda.empty_cache()
            if len(questions) > 1:
                self._answer_halves(questions)
            else:
                questions[0].error = error
            return
        for question, answer in zip(questions, found, strict=True):
            question.answer = answer

    def _answer_halves(self, questions: list[_Question]) -> None:
        half = len(questions) // 2
        self._answer(questions[:half])
        self._answer(questions[half:])

    def _add_dispersion(self, question: _Question, answer: Results) -> None:
        if question.d3 == "none":
            return
        question.atoms.calc = self.dispersion(question.d3)
        answer["energy"] = answer["energy"] + question.atoms.get_potential_energy()
        answer["forces"] = answer["forces"] + question.atoms.get_forces()
        answer["stress"] = answer["stress"] + question.atoms.get_stress()


class Asking(Calculator):
    """Calculator of one job, which asks a batch.

    Args:
        batch: of its process.
        d3: dispersion on top, as of ``--d3``.
    """

    implemented_properties: Any = ("energy", "free_energy", "forces", "stress")

    def __init__(self, batch: Batch, d3: str) -> None:
        super().__init__()
        self.batch, self.d3 = batch, d3

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Any = None,
        system_changes: Any = all_changes,
    ) -> None:
        """Ask for all properties."""
        assert atoms is not None
        super().calculate(atoms, properties, system_changes)
        self.results = self.batch.ask(atoms, self.d3)
