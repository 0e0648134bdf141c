"""The C++ program of ``cpp_host``, and processes that print numbers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch
from torch import Tensor

import d3torch

TESTS = Path(__file__).parent
LIBRARY = d3torch.library_path()
TORCH = Path(torch.__file__).parent


@pytest.fixture(scope="session")
def host(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The C++ program, compiled against the libtorch of the wheel."""
    program = tmp_path_factory.mktemp("cpp_host") / "host"
    libraries = TORCH / "lib"
    command = [
        *("g++", "-std=c++20", "-O0", str(TESTS / "cpp_host" / "main.cpp"), "-o", str(program)),
        *("-isystem", str(TORCH / "include")),
        *("-isystem", str(TORCH / "include" / "torch" / "csrc" / "api" / "include")),
        *(f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}", f"-L{libraries}"),
        *("-Wl,--no-as-needed", "-ltorch", "-ltorch_cpu", "-lc10", "-ldl"),
        f"-Wl,-rpath,{libraries}",
    ]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    return str(program)


def numbers(command: list[str], threads: int = 1) -> Tensor:
    """What a fresh process prints, a number a line."""
    environment = {"OMP_NUM_THREADS": str(threads), "PATH": "/usr/bin:/bin"}
    out = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert out.returncode == 0, out.stderr
    return torch.tensor([float(line) for line in out.stdout.split()], dtype=torch.float64)
