"""Regenerate every file of ``d3torch/data`` from three published Python packages.

The packages are read as wheel files and never imported. Run one of

    python scripts/generate_data.py                  # downloads the three wheels with pip
    python scripts/generate_data.py --wheels FOLDER  # takes them from FOLDER

The versions and SHA-256 sums are pinned, so that two runs give identical bytes.
Needs Python 3.11 or later, numpy, and torch (one table is stored as a torch tensor).
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tomllib
import torch

DATA = Path(__file__).resolve().parent.parent / "d3torch" / "data"
UNIT = 1e-4  # hartree bohr^6: the tables are published with four decimals
RADON = 86  # the two generations agree up to here
BOHR = 0.5291772109044924  # angstrom, as of d3torch.units


class Wheel(NamedTuple):
    """A pinned package: what it is called, its licence, and the sum of its file."""

    package: str
    version: str
    licence: str
    sha256: str

    @property
    def filename(self) -> str:
        return f"{self.package.replace('-', '_')}-{self.version}-py3-none-any.whl"


TORCH_DFTD = Wheel(
    "torch-dftd",
    "0.5.3",
    "MIT",
    "ecea8bf79fa1b0d6fa26b8291caddebcf8c5706c3e266647cc50cd47b3052985",
)
TAD_DFTD3 = Wheel(
    "tad-dftd3",
    "0.7.0",
    "Apache-2.0",
    "44bb0ddec5fdce42f4c50f0f8270a52a996390a25db827ef2e370110bd1bde7e",
)
TAD_MCTC = Wheel(
    "tad-mctc",
    "0.11.3",
    "Apache-2.0",
    "7e8593a0efbb28ce8578bd0974d7d781f620b8b75b0bde232f18b1dfe00d2e79",
)
WHEELS = (TORCH_DFTD, TAD_DFTD3, TAD_MCTC)

# Names that the literature uses for functionals in the table, beyond the aliases of tad-dftd3.
ALIASES = {
    "b3lyp3": "b3lyp",
    "b97d3": "b97d",
    "b97d3bj": "b97d",
    "b3lypg": "b3lyp",
    "dm21": "b3lyp",
    "dm21m": "b3lyp",
    "dm21mc": "b3lyp",
    "dm21mu": "b3lyp",
    "hse": "hse06",
    "pbe1pbe": "pbe0",
    "pbepbe": "pbe",
    "slaterdiracexchange": "slaterdirac",
}
VARIANTS = {
    "bj": ("s6", "s8", "a1", "a2"),
    "bjm": ("s6", "s8", "a1", "a2"),
    "zero": ("s6", "s8", "rs6", "rs8"),
    "zerom": ("s6", "s8", "rs6", "rs8", "bet"),
}
NUMBERS = ("s6", "s8", "a1", "a2", "rs6", "rs8", "bet", "s9")
ALP = 14.0  # exponent of zero damping, the same for all
# Methods whose definition includes the three-body term; the DOI of the row is that of the method.
THREE_BODY = ("b973c", "pbeh3c")

JOSS = "10.21105/joss.07169"
UNKNOWN = "original publication not established; DOI of simple-dftd3, which distributes the values"
LIN = "10.1021/ct300715s"
# Zero damping that the table lacks, or has otherwise than the program simple-dftd3 and torch-dftd.
ZERO: dict[str, dict[str, Any]] = {
    "bop": {"rs6": 0.929, "s8": 1.975},
    "hcth120": {"rs6": 1.221, "s8": 1.206},
    "m06hf": {"rs6": 1.446, "s8": 0.0},
    "opbe": {"rs6": 0.837, "s8": 2.055, "doi": "10.1039/c0cp02984j"},
    "pbe38": {"rs6": 1.333, "s8": 0.998},
    "revpbe0": {"rs6": 0.949, "s8": 0.792},
    "wb97xd3": {"rs6": 1.281, "s8": 1.0, "rs8": 1.094, "doi": LIN},
}
# (DOI, note) of rows without a DOI in the source, and of those that need a note.
SOURCES = {
    ("rpbe", "bj"): (
        "10.1039/c7cp04913g",
        "reported to be in the supporting information; the dftd3 program had the values earlier",
    ),
    ("wb97x", "bj"): (
        "10.1021/acs.jctc.8b00842",
        "for omega-B97X-V with its nonlocal part left out, not for the omega-B97X of 2008",
    ),
    ("opbe", "zero"): (
        "10.1039/c0cp02984j",
        "the parameter file of simple-dftd3 has s8 2.033, that of BPBE; its program has 2.055",
    ),
    ("wb97x", "zero"): (LIN, "for omega-B97X-D3, not for the omega-B97X of 2008"),
}


def download(folder: Path) -> None:
    """Fetch the pinned wheels into ``folder``."""
    names = [f"{wheel.package}=={wheel.version}" for wheel in WHEELS]
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--only-binary", ":all:", "--dest", str(folder), *names], check=True)


def member(folder: Path, wheel: Wheel, name: str) -> bytes:
    """Bytes of the file ``name`` inside a wheel, once its sum is found to be the pinned one."""
    path = folder / wheel.filename
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != wheel.sha256:
        raise SystemExit(f"expected {path.name} with SHA-256 {wheel.sha256}, got {found}")
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def literal(source: bytes, name: str) -> Any:
    """Value that a Python source assigns to ``name``, without running the source."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Name) and t.id == name for t in targets) and node.value:
                return ast.literal_eval(node.value)
    raise SystemExit(f"expected an assignment to {name}, got a source without one")


def tensor_literal(source: bytes, function: str) -> np.ndarray:
    """Numbers inside the ``torch.tensor([...])`` call of a function, without running it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            for call in ast.walk(node):
                if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "tensor":
                    return np.array(ast.literal_eval(call.args[0]), dtype=np.float64)
    raise SystemExit(f"expected a tensor in {function}, got a source without one")


def tables_2010(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """``cn_ref`` (95, 5) and ``c6_ref`` (95, 95, 5, 5) of Grimme et al. 2010, indexed by Z."""
    raw = member(folder, TORCH_DFTD, "torch_dftd/nn/params/dftd3_params.npz")
    table = np.load(io.BytesIO(raw))["c6ab"]  # last axis: C6, CN of row atom, CN of column atom
    c6, cn = table[..., 0], table[..., 1]
    present = c6 > 0.0
    # The CN of a reference is repeated for every partner; a missing one stays at -1.
    cn_ref = np.where(present, cn, -1.0).max(axis=(1, 3))
    if not np.all((cn == cn_ref[:, None, :, None]) | ~present):
        raise SystemExit("expected one coordination number per reference, got several")
    return cn_ref, np.where(present, c6, 0.0)


def tables_2024(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """``cn_ref`` (104, 7) and ``c6_ref`` (104, 104, 7, 7) of Wittmann et al. 2024."""
    cn_ref = tensor_literal(member(folder, TAD_DFTD3, "tad_dftd3/reference.py"), "_load_cn")
    raw = member(folder, TAD_DFTD3, "tad_dftd3/reference-c6.pt")
    return cn_ref, torch.load(io.BytesIO(raw), weights_only=True).numpy()


def packed(cn_ref: np.ndarray, c6_ref: np.ndarray) -> np.ndarray:
    """Lower triangle of C6 between all existing references, in units of 1e-4 hartree bohr^6.

    The references are numbered by Z, then by their order in ``cn_ref``. Refuses a table that
    this form cannot hold exactly.
    """
    present = cn_ref >= 0.0
    if np.any(present[:, 1:] & ~present[:, :-1]):
        raise SystemExit("expected references without gaps, got an element with a gap")
    z, a = np.nonzero(present)
    full = c6_ref[z[:, None], z[None, :], a[:, None], a[None, :]]
    units = np.rint(full / UNIT).astype(np.int32)
    if not (np.array_equal(units / 10000, full) and np.array_equal(full, full.T)):
        raise SystemExit("expected a symmetric table with four decimals, got another")
    if np.any(full <= 0.0) or np.count_nonzero(c6_ref) != full.size:
        raise SystemExit("expected a C6 for every pair of references, got a missing one")
    lower: np.ndarray = units[np.tril_indices(len(units))]
    return lower


def write_references(folder: Path) -> None:
    """Write ``reference_2010.npz`` and ``reference_2024.npz``, which agree for Z <= 86."""
    old_cn, old_c6 = tables_2010(folder)
    new_cn, new_c6 = tables_2024(folder)
    n, r = RADON + 1, old_cn.shape[1]
    same_c6 = np.array_equal(old_c6[:n, :n], new_c6[:n, :n, :r, :r])
    if not (np.array_equal(old_cn[:n], new_cn[:n, :r]) and same_c6):
        raise SystemExit("expected equal tables up to radon, got a difference")
    for year, cn, c6 in (("2010", old_cn, old_c6), ("2024", new_cn, new_c6)):
        np.savez_compressed(DATA / f"reference_{year}.npz", cn_ref=cn, c6_ref=packed(cn, c6))


def write_radii(folder: Path) -> None:
    """Write ``radii.npz``: pair radii, lower triangle by Z, as integers in units of 1e-4 angstrom.

    Refuses radii that this form cannot hold to the last digit of a float64.
    """
    raw = member(folder, TAD_MCTC, "tad_mctc/data/vdw-pairwise.pt")
    bohr = torch.load(io.BytesIO(raw), weights_only=True).numpy()[1:, 1:]
    units = np.rint(bohr * BOHR / 1e-4).astype(np.uint16)
    if not (np.allclose(units / 10000 / BOHR, bohr, rtol=1e-15, atol=0) and np.all(units > 0)):
        raise SystemExit("expected radii above 0 with four decimals in angstrom, got others")
    if not np.array_equal(units, units.T):
        raise SystemExit("expected a radius for each pair of elements, got two")
    np.savez_compressed(DATA / "radii.npz", radii=units[np.tril_indices(len(units))])


def write_table(name: str, header: Sequence[str], rows: Iterator[Sequence[object]]) -> None:
    """Write a CSV file with Unix line ends."""
    with open(DATA / name, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_elements(folder: Path) -> None:
    """Write ``elements.csv``: symbols, D3 covalent radii (angstrom), <r4>/<r2> (bohr^2)."""
    symbols = literal(member(folder, TAD_MCTC, "tad_mctc/data/pse.py"), "Z2S")
    rcov = literal(member(folder, TAD_MCTC, "tad_mctc/data/radii.py"), "_COV_2009")
    r4r2 = literal(member(folder, TAD_DFTD3, "tad_dftd3/data/r4r2.py"), "_r4_over_r2")
    rows = ((z, symbols[z], f"{rcov[z]:.2f}", f"{r4r2[z]:.4f}") for z in range(1, len(rcov)))
    write_table("elements.csv", ("Z", "symbol", "rcov_angstrom", "r4_over_r2"), rows)


def published(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters by functional and damping function, defaults not filled in; the defaults."""
    text = member(folder, TAD_DFTD3, "tad_dftd3/param/parameters.toml").decode()
    table = tomllib.loads(text)
    found = {name: entry["d3"] for name, entry in table["parameter"].items()}
    for name, row in ZERO.items():
        found[name] = {**found.get(name, {}), "zero": row}
    return found, table["default"]["parameter"]["d3"]


def functional_rows(folder: Path) -> Iterator[Sequence[object]]:
    """One row per functional: its names, and the dampings that d3torch does not have."""
    text = member(folder, TAD_DFTD3, "tad_dftd3/param/aliases.toml").decode()
    aliases = {**tomllib.loads(text)["alias"], **ALIASES}
    for name, entry in sorted(published(folder)[0].items()):
        names = " ".join(sorted(a for a, target in aliases.items() if target == name))
        others = " ".join(sorted(set(entry) - set(VARIANTS)))
        yield (name, names, "defined" if name in THREE_BODY else "", others)


def damping_rows(folder: Path) -> Iterator[Sequence[object]]:
    """One row per functional and variant; parameters that the variant lacks are empty."""
    table, defaults = published(folder)
    for name, entry in sorted(table.items()):
        for variant in sorted(set(entry) & set(VARIANTS)):
            row = {"s8": 0.0, **defaults[variant], **entry[variant]}  # cf22d has no s8
            if row["alp"] != ALP:
                raise SystemExit(f"expected alp {ALP} for {name}, got {row['alp']}")
            names = (*VARIANTS[variant], "s9")
            numbers = [repr(float(row[key])) if key in names else "" for key in NUMBERS]
            source = SOURCES.get((name, variant))
            doi, note = source or ((row["doi"], "") if "doi" in row else (JOSS, UNKNOWN))
            yield (name, variant, *numbers, doi, note)


def write_functionals(folder: Path) -> None:
    """Write ``functionals.csv`` and ``damping.csv``, sorted by name."""
    names = ("name", "aliases", "three_body", "others")
    write_table("functionals.csv", names, functional_rows(folder))
    header = ("functional", "variant", *NUMBERS, "doi", "note")
    write_table("damping.csv", header, damping_rows(folder))


def write_readme() -> None:
    """Renew the table of packages in ``README.md``; the rest of it is written by hand."""
    path = DATA / "README.md"
    head, rule, rest = path.read_text(encoding="utf-8").partition("|---|---|---|---|\n")
    tail = rest[rest.index("\n\n") :]
    rows = [f"| {w.package} | {w.version} | {w.licence} | `{w.sha256}` |" for w in WHEELS]
    path.write_text(head + rule + "\n".join(rows) + tail, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description="Regenerate d3torch/data.")
    parser.add_argument("--wheels", type=Path, help="folder that holds the three wheels")
    wheels = parser.parse_args().wheels
    DATA.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = wheels or Path(scratch)
        if wheels is None:
            download(folder)
        write_references(folder)
        write_radii(folder)
        write_elements(folder)
        write_functionals(folder)
        write_readme()


if __name__ == "__main__":
    main()
