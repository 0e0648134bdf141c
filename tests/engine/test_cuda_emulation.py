"""The CUDA kernels and their torch glue, emulated on the CPU: no GPU, and no CUDA, is needed.

The emulated kernels take the CUDA key of the dispatcher, so the tests of ``test_cuda_*.py`` run in
a process of their own, on tensors of an emulated device. Three builds: a fast one for all tests;
one that looks at every load and store, for some of them; and a program of kernels with one fault
each, which the stand-in of CUDA must find.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from checkout import checkout

ROOT = checkout()
NAMES = ("pairs", "list", "list_refusals", "lattice", "three_body", "device")
SUITES = [f"test_cuda_{name}.py" for name in NAMES]
pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
    pytest.mark.skipif(
        torch.version.cuda is not None, reason="needs a torch without CUDA, whose place it takes"
    ),
]


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What builds share: what is not a kernel is compiled once."""
    return tmp_path_factory.mktemp("objects")


def _build(objects: Path, folder: Path, *how: str) -> Path:
    out = folder / "emulated.so"
    command = ["bash", str(ROOT / "scripts" / "checks" / "emulate_cuda.sh"), str(out), *how]
    kept = {"D3TORCH_EMULATION_BUILD": str(objects), "PYTHON": sys.executable}
    environment = {**os.environ, **kept}
    made = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert made.returncode == 0, made.stdout + made.stderr
    return out


@pytest.fixture(scope="module")
def emulation(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(objects, tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def checked(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(objects, tmp_path_factory.mktemp("checked"), "checked")


@pytest.fixture(scope="module")
def broken(objects: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build(objects, tmp_path_factory.mktemp("broken"), "broken")


def _run(library: Path, seed: int, *arguments: str) -> int:
    """Runs tests on an emulated library, in orders of a seed. The number that passed."""
    environment = {
        **os.environ,
        "D3TORCH_EMULATED_CUDA": str(library),
        "D3TORCH_EMULATION_SEED": str(seed),
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    out = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert out.returncode == 0, out.stdout + out.stderr
    passed = re.search(r"(\d+) passed", out.stdout)
    assert passed is not None
    return int(passed[1])


@pytest.mark.parametrize("suite", SUITES)
def test_cuda_kernels_are_those_of_the_cpu(suite: str, emulation: Path) -> None:
    assert _run(emulation, len(suite), f"tests/engine/{suite}") > 50


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_results_repeat_in_other_orders(seed: int, emulation: Path) -> None:
    """Orders of blocks, warps and lanes."""
    files = [f"tests/engine/{suite}" for suite in SUITES if suite != "test_cuda_device.py"]
    assert _run(emulation, seed, *files, "-k", "repeat or order") > 20


# ---- every load and store ----

SHORT: dict[str, str] = {
    "test_cuda_pairs.py": "are_those_of_the_cpu or empty or nan or zero",
    "test_cuda_list.py": "float64 and (results_are or modes or batch or long or no_pairs or order)",
    "test_cuda_list_refusals.py": "float64",
    "test_cuda_lattice.py": (
        "test_modes or smaller or every_kind or no_atoms or backward_scales"
        " or test_tail_in or with_tail or several_clusters or (test_tangents and 2) or nan"
        " or (every_shape and 21) or whole_clusters"
    ),
    "test_cuda_device.py": "captured and 5",
    "test_cuda_three_body.py": "batches or several or (second and float64) or left_out",
}


@pytest.mark.parametrize("suite", SUITES)
def test_every_load_and_store_is_in_order(suite: str, checked: Path) -> None:
    """Nothing outside of allocations, nothing that nobody wrote, no two threads at one word."""
    assert _run(checked, 5, f"tests/engine/{suite}", "-k", SHORT[suite]) > 10


# ---- what the stand-in finds ----

SOURCE = ROOT / "tests" / "helpers" / "cuda_emulation" / "broken.cu"
FINDINGS = {
    "read of what nobody wrote": "expected no read of what nobody wrote, got byte",
    "read of shared memory that nobody wrote": "what nobody wrote, got byte 0 of the shared memory",
    "read behind the end": "4 bytes read, with byte 0 behind the end of the 256 bytes",
    "write before the start": "4 bytes written, with byte -4 before allocation",
    "addition behind the end": "4 bytes added to, with byte 0 behind the end",
    "write behind shared memory": "4 bytes written, with byte 256 of the shared memory",
    "read of freed memory": "of the 256 bytes of freed allocation",
    "read of host memory": "expected memory of the device, got 4 bytes of the host read",
    "read of another device": "expected memory of device 0, got that of another device",
    "no barrier": "of the shared memory",
    "no barrier of lanes": "read after it was written by another lane of the warp",
    "write after a read": "written after it was read by another",
    "two lanes at one word": "written after it was written by another",
    "two blocks at one word": "by another block",
    "addition that is not atomic": "by another block",
    "read of a sum that goes on": "after it was added to by another",
    "half a block at a barrier": "expected all threads of a block at __syncthreads",
    "two barriers at once": "expected all threads of a block at one __syncthreads",
    "half a warp in a shuffle": "__shfl_xor_sync, got",
    "mask without the lane itself": "its mask 00000001",
    "shuffle from outside of the mask": "of its mask 0000ffff",
    "vote and shuffle at once": "expected lanes to meet in one place",
    "barrier and shuffle at once": "expected all threads",
    "host reads the device": "expected the host to leave device memory alone",
    "host writes the device": "expected the host to leave device memory alone",
    "device synchronisation": "nothing that waits for the device, got cudaDeviceSynchronize",
    "stream synchronisation": "nothing that waits for the device, got cudaStreamSynchronize",
    "fill that waits": "nothing that waits for the device, got cudaMemset",
    "memory that torch does not know": "expected memory from torch's allocator, got",
    "another stream": "expected a launch on the current stream of torch, got another one",
    "wide load at an odd place": "misaligned address",
    "overflow of int": "signed integer overflow",
    "array of its own left": "out of bounds for type 'int [4]'",
    "fill behind the end": "got byte 0 behind the end of the 256 bytes",
}


def _names() -> list[str]:
    return re.findall(r'^    {"([^"]+)",', SOURCE.read_text(), re.MULTILINE)


def test_every_fault_has_its_finding() -> None:
    assert {name for name in _names() if not name.startswith("right")} == set(FINDINGS)


@pytest.mark.parametrize("name", _names())
def test_a_broken_kernel_is_found(name: str, broken: Path) -> None:
    out = subprocess.run([str(broken), name], capture_output=True, text=True, check=False)
    if name.startswith("right"):
        assert (out.returncode, out.stderr) == (0, "")
    else:
        assert out.returncode != 0
        assert FINDINGS[name] in "".join(out.stderr.splitlines()[:2])
