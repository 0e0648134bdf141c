"""The command ``d3torch labels``: D3 subtracted from the labels of a training set, or added.

A model trained on what is left, and fused with the same D3 afterwards, predicts the original
labels. All frames are treated or no file appears: half a training set would be worse than none.
"""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..extras import import_extra
from ..reference import covered
from ..settings import Settings
from .console import complain, one_line, progress
from .extxyz import TextFrame
from .frames import Output
from .options import add_settings, difference
from .reading import add_reading, check_reading, frame_problem, label_frames
from .records import PREFIX, chosen_settings, record_of_frame, setting_keys_of, tags_of

Floats = NDArray[np.float64]

SIGNS = {"subtract": -1.0, "add": 1.0}

ISOLATED = "IsolatedAtom"
"""The ``config_type`` by which MACE knows the reference energies of elements."""

LABEL = re.compile(r"energy|force|stress|virial", re.IGNORECASE)
KINDS = {
    kind: re.compile(rf"(?:(?:REF|DFT|QM|dft_total|free|total)_)?{kind}", re.IGNORECASE)
    for kind in ("energy", "forces")
}
"""What a label of a kind may be called besides the names that are given."""


STRESSED = 10.0
"""Largest stress that is taken for eV/A^3; it is 16 Mbar, and 10 kB are not rare in a cell."""

KILOBAR = 6.2415e-4
"""eV/A^3."""


class Keys(NamedTuple):
    """Names of the labels, as in the arguments of ``mace_run_train``; several of a kind if need be.

    A program may write the energy twice, as ``energy`` and as ``free_energy``.
    """

    energy: tuple[str, ...] = ("REF_energy",)
    forces: tuple[str, ...] = ("REF_forces",)
    stress: tuple[str, ...] = ("REF_stress",)
    virials: tuple[str, ...] = ("REF_virials",)

    def kinds(self) -> list[tuple[str, str]]:
        """The kind and the name of each label."""
        return [(kind, key) for kind, keys in self._asdict().items() for key in keys]

    def check(self) -> None:
        """Refuse a name that is given twice, for one kind or two: it would be treated twice.

        Raises:
            ValueError: naming it.
        """
        names = [key for _, key in self.kinds()]
        twice = next((key for key in names if names.count(key) > 1), None)
        if twice is not None:
            raise ValueError(f"expected each label once, got {twice} twice")


class Labels:
    """D3 taken out of the labels of frames, or put back.

    Energies in eV, forces in eV/A, ``stress`` in ASE's sign in eV/A^3, ``virials`` as in MACE,
    -stress * volume in eV; the last two as 6 numbers in Voigt order or as 9.

    Args:
        action: ``"subtract"`` or ``"add"``.
        calculator: a :class:`d3torch.D3Calculator` in float64.
        keys: names of the labels.
        required: those that must occur in a frame at least.
    """

    def __init__(
        self, action: str, calculator: Any, keys: Keys, required: Sequence[str] = ()
    ) -> None:
        self.action, self.calculator, self.keys = action, calculator, keys
        self.missing = set(required)
        self.counts = dict.fromkeys((*Keys._fields, "frames", "isolated"), 0)
        self.others: set[str] = set()
        self.unlike: dict[str, tuple[int, str]] = {}
        self.settings: Settings = calculator.settings.fixed("labels")
        self.tags = tags_of(self.settings)
        self.unmet = set(self.settings.exclude)

    def treat(self, frame: TextFrame) -> None:
        """Change one frame.

        Raises:
            ValueError: for a frame that was treated already, or, to add, was not or otherwise; for
                labels of another shape, and structures that D3 does not take.
            TypeError: see :class:`d3torch.D3Calculator`.
        """
        present = [(kind, key) for kind, key in self.keys.kinds() if key in frame.names()]
        isolated = frame.get("config_type") == ISOLATED and int(frame.count) == 1
        state = "isolated_atom" if isolated else "subtracted"
        treated = " ".join(key for _, key in present) or "none"
        tags = {"d3_labels": state, "d3_treated": treated}
        self._check_history(frame, tags)
        if present and not isolated:
            self._change(frame, present)
        if self.action == "subtract":
            frame.tag({**tags, **self.tags})
        else:
            told = record_of_frame(frame)
            frame.untag([*tags, *(PREFIX + name for name in told)])
        self._count(frame, present, isolated)

    def _check_history(self, frame: TextFrame, tags: dict[str, str]) -> None:
        """Refuse what was subtracted twice, or would be added to what it was not taken from."""
        was = frame.get("d3_labels")
        if self.action == "subtract" and was is not None:
            raise ValueError(f"expected labels with their dispersion, got d3_labels={was}")
        ours = setting_keys_of(frame) if self.action == "subtract" else []
        if ours:
            raise ValueError(
                f"expected no keys that begin with {PREFIX}, in which the settings are told, got "
                f"{', '.join(ours)}"
            )
        if self.action == "add" and was is None:
            raise ValueError("expected labels that d3torch subtracted from, got no d3_labels")
        if self.action == "add":
            told = Settings.from_dict(record_of_frame(frame))
            pairs = [(key, frame.get(key), value) for key, value in tags.items()]
            differing = difference(told, self.settings)
            if differing is not None:
                pairs.insert(0, (PREFIX + differing[0], *differing[1:]))
            for key, value, own in pairs:
                if value != own:
                    raise ValueError(f"expected {key}={value} as subtracted, got {own}")

    def _change(self, frame: TextFrame, present: list[tuple[str, str]]) -> None:
        """Add sign * D3 to the labels that are there."""
        atoms = frame.atoms()
        problem = frame_problem(frame, atoms)
        if problem is not None:
            raise ValueError(problem)
        if len(atoms) == 0:
            raise ValueError("expected a structure with atoms, got none")
        self.unmet -= set(atoms.symbols)
        self.calculator.calculate(atoms)
        found = self.calculator.results
        volume, sign = atoms.cell.volume, SIGNS[self.action]
        for name, key in present:
            if name == "forces":
                _change_forces(frame, key, sign * found["forces"])
            elif name == "energy":
                _change_energy(frame, key, sign * found["energy"])
            else:
                scale = 1.0 if name == "stress" else -volume
                _check_unit(frame, key, abs(scale))
                stress = found.get("stress")
                _change_stress(frame, key, None if stress is None else sign * scale * stress)

    def _count(self, frame: TextFrame, present: list[tuple[str, str]], isolated: bool) -> None:
        """Keep what the summary says."""
        self.counts["frames"] += 1
        for name in ["isolated"] if isolated else [kind for kind, _ in present]:
            self.counts[name] += 1
        self.missing -= {key for _, key in present}
        ours = {"config_type", *(key for _, key in self.keys.kinds())}
        others = {
            name
            for name in {*frame.names()} - ours
            if LABEL.search(name) and not name.startswith(("config_", "d3_"))
        }
        self.others |= others
        for kind in {*KINDS} - {kind for kind, _ in present} if not isolated else ():
            for name in sorted(name for name in others if KINDS[kind].fullmatch(name)):
                self.unlike.setdefault(kind, (self.counts["frames"] - 1, name))

    def check_all(self) -> None:
        """Refuse a file that had nothing to treat, or not what was asked for.

        Raises:
            ValueError: if there were no frames, no labels in any, or not all that are required.
        """
        if self.counts["frames"] == 0:
            raise ValueError("expected frames, got none")
        wanted = [key for _, key in self.keys.kinds()]
        if any(self.counts[name] for name in Keys._fields):
            wanted = sorted(self.missing)
            for kind, (number, name) in self.unlike.items():
                if self.counts[kind]:
                    raise ValueError(
                        f"expected {kind} under one name in all frames, got {name} in frame "
                        f"{number}: name both with --{kind}-key"
                    )
        elif self.counts["isolated"] == self.counts["frames"]:
            wanted = sorted(self.missing)
        if wanted:
            found = ", ".join(sorted(self.others)) or "none like it"
            raise ValueError(f"expected labels named {', '.join(wanted)}, got {found}")
        if self.unmet:
            raise ValueError(
                f"expected atoms of {', '.join(sorted(self.unmet))} to exclude, got none"
            )

    def summary(self) -> str:
        """What was done, in one or two lines."""
        done = "subtracted from" if self.action == "subtract" else "added to"
        parts = [f"{self.counts[name]} {name}" for name in Keys._fields]
        text = f"{self.settings.xc or 'explicit'} {self.settings.label} {done} {', '.join(parts)}"
        text += f" of {self.counts['frames']} frames, {self.counts['isolated']} isolated atoms kept"
        return text + (f"\nleft as they are: {', '.join(sorted(self.others))}" * bool(self.others))


def _change_energy(frame: TextFrame, key: str, change: float) -> None:
    values = frame.values(key)
    if values is None or values.shape != (1,) or not np.isfinite(values).all():
        raise ValueError(f"expected a number for {key}, got {frame.get(key)!r}")
    frame.change_values(key, np.array([change]))


def _change_forces(frame: TextFrame, key: str, changes: Floats) -> None:
    if frame.width(key) != 3:
        raise ValueError(f"expected 3 columns for {key}, got {frame.width(key) or 'none'}")
    frame.change_columns(key, changes)


def _check_unit(frame: TextFrame, key: str, scale: float) -> None:
    """Refuse a stress that no structure has: it is given in another unit."""
    values = frame.values(key)
    largest = 0.0 if values is None or scale == 0.0 else np.abs(values).max(initial=0.0) / scale
    if np.isfinite(largest) and largest > STRESSED:
        raise ValueError(
            f"expected a stress in eV/A^3 for {key}, got one of {largest:.4g}: probably in kB, "
            f"1 kB is {KILOBAR:g} eV/A^3"
        )


def _change_stress(frame: TextFrame, key: str, change: Floats | None) -> None:
    """Add a Voigt vector; a molecule's label may be there if it is zero."""
    values = frame.values(key)
    if values is None or len(values) not in (6, 9) or not np.isfinite(values).all():
        raise ValueError(f"expected 6 or 9 numbers for {key}, got {frame.get(key)!r}")
    if change is None:
        if values.any():
            raise ValueError(f"expected a periodic cell with a volume, or zeros for {key}")
        return
    frame.change_values(key, change if len(values) == 6 else change[[0, 5, 4, 5, 1, 3, 4, 3, 2]])


def add_labels(commands: Any) -> None:
    """Arguments of ``d3torch labels``."""
    add = commands.add_parser(
        "labels", help="subtract D3 from the labels of a training set", allow_abbrev=False
    )
    add.set_defaults(run=run_labels)
    add.add_argument("action", choices=tuple(SIGNS), help="add undoes subtract")
    add.add_argument("input", metavar="IN.xyz", help="extxyz (or .gz of it), or what ASE reads")
    add.add_argument("output", metavar="OUT.xyz")
    add_reading(add)
    add_settings(add)
    for name, (key,) in Keys()._asdict().items():
        text = f"one or several (default: {key})"
        add.add_argument(f"--{name}-key", nargs="+", action="extend", metavar="KEY", help=text)
    add.add_argument("--overwrite", action="store_true", help="replace an existing output file")


def run_labels(args: argparse.Namespace) -> int:
    """``d3torch labels``; the exit code."""
    for module in ("ase", "tqdm"):
        import_extra(module, "cli")
    given = {name: tuple(getattr(args, f"{name}_key") or ()) for name in Keys._fields}
    keys = Keys()._replace(**{name: each for name, each in given.items() if each})
    try:
        keys.check()
        check_reading(args)
        calculator_of = import_extra("d3torch.integrations.ase", "cli").D3Calculator
        settings = chosen_settings(args).fixed("labels")
        # an element that is left out need not be in every frame
        ready = settings.module(covered(settings.reference)) if settings.exclude else settings
        calculator = calculator_of(settings=ready)
        output = Output(args.output, args.overwrite)
    except (TypeError, ValueError, OSError) as error:
        complain(error)
        return 2
    labels = Labels(args.action, calculator, keys, [key for each in given.values() for key in each])
    try:
        with output:
            form = _treat_file(args, labels, output)
    except Exception as error:  # a reader of ASE may raise anything on a broken file
        complain(error, args.input)
        return 1
    print(f"{args.output}: {labels.summary()}")
    if form == "extxyz":  # other readers may make an energy of zero
        for kind, (number, name) in labels.unlike.items():
            words = f"{name} of frame {number} stays as it is: --{kind}-key {name} treats it"
            complain(f"warning: {words}", args.input)
    else:
        print(
            f"read as {form}, written as extxyz: 8 digits behind the point of what stands by atom"
        )
    return 0


def _treat_file(args: argparse.Namespace, labels: Labels, output: Output) -> str:
    """Treat the frames of a file one by one; errors name the frame.

    Returns:
        ASE's name of the format.
    """

    def warn(words: str) -> None:
        complain(f"warning: {words}", args.input)

    target = output.partial.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    with target, contextlib.ExitStack() as stack:
        form, frames = label_frames(args.input, args.format, args.elements, stack, warn)
        for number, frame in progress(frames, args.input):
            try:
                labels.treat(frame)
            except Exception as error:
                raise ValueError(f"frame {number}: {one_line(error)}") from error
            target.write(frame.text())
        labels.check_all()
    return form
