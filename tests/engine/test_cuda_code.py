"""The gate on the machine code of the CUDA kernels lets nothing heavier through."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from checkout import checkout

CHECKS = checkout() / "scripts" / "checks"
LOADS = ["LDG.E.128 R4, desc[UR4][R2.64]", "LDG.E.128 R8, desc[UR4][R2.64+0x10]"]
PAIR = [*LOADS, "MUFU.RCP R5, R5", "FFMA.FTZ R9, R5, R6, R9"]
RULE: dict[str, Any] = {
    "name": "pairs",
    "kernel": "sweep<float>",
    "marker": "MUFU\\.RCP",
    "markers": 1,
    "slots": {"sm_75": 7, "others": 5},
    "double": 0,
    "wide": 2,
    "threads": 256,
    "warps": 16,
}
BUDGET: dict[str, Any] = {"local_memory": [], "atomic_sums": [], "loops": [RULE]}


@pytest.fixture(scope="module")
def gate() -> ModuleType:
    sys.path.insert(0, str(CHECKS))
    try:
        return importlib.import_module("cuda_code")
    finally:
        sys.path.remove(str(CHECKS))


def listing(
    loop: list[str], before: list[str] | None = None, registers: int = 128, arch: str = "sm_90"
) -> tuple[str, str]:
    """What cuobjdump prints of a kernel that repeats some instructions, -sass and -res-usage."""
    name = "_Z5sweepIfEvv"
    before = before or ["MOV R1, c[0x0][0x28]"]
    code = [*before, *loop, f"@!P0 BRA {16 * len(before):#x}", "EXIT", "BRA 0xfff0"]
    lines = [
        f"        /*{16 * k:04x}*/   {code[k]} ;   /* 0x000fc80000000f00 */"
        for k in range(len(code))
    ]
    sass = "\n".join([f"\tcode for {arch}", f"\t\tFunction : {name}", *lines])
    return sass, f" Function {name}:\n  REG:{registers} STACK:0 SHARED:0 LOCAL:0 CONSTANT[0]:0"


def faults(
    gate: ModuleType, *args: Any, budget: dict[str, Any] = BUDGET, **kwargs: Any
) -> list[str]:
    found: list[str] = gate.check(gate.parsed(*listing(*args, **kwargs)), budget)[1]
    return found


def test_a_kernel_within_its_budget_passes(gate: ModuleType) -> None:
    assert faults(gate, PAIR) == []


@pytest.mark.parametrize(
    ("loop", "before", "said"),
    [
        ([*PAIR, "FADD R1, R1, R2"], [], "6.0 instructions for 32 pairs, expected at most 5"),
        ([*PAIR[:3], "DADD R8, R8, R4"], [], "1.0 in double precision for 32 pairs, expected 0"),
        ([*PAIR[:3], "F2F.F64.F32 R8, R4"], [], "1.0 in double precision for 32 pairs"),
        (["LDG.E R4, desc[UR4][R2.64]", *PAIR[1:]], [], "1.0 wide loads for 32 pairs, expected 2"),
        (PAIR, ["STL [R1], R4"], "1 instructions of local memory, expected none"),
        (PAIR, ["@P0 LDL.64 R4, [R1]"], "1 instructions of local memory, expected none"),
        (
            PAIR,
            ["RED.E.ADD.F32.FTZ.RN.STRONG.GPU desc[UR4][R2.64], R5"],
            "1 instructions of atomic",
        ),
        (PAIR, ["ATOMG.E.ADD.F64.RN.STRONG.GPU PT, R4, desc[UR4][R2.64], R6"], "of atomic sums"),
        (PAIR, ["ATOM.E.CAS.64.STRONG.GPU PT, R4, [R2], R6, R8"], "of atomic sums"),
        (["FFMA R1, R1, R1, R1"], [], "no loop with MUFU"),
    ],
)
def test_what_must_not_be_there_is_found(
    gate: ModuleType, loop: list[str], before: list[str], said: str
) -> None:
    found = faults(gate, loop, before)
    assert len(found) == 1
    assert said in found[0]


def test_atomics_on_integers_are_let_through(gate: ModuleType) -> None:
    assert faults(gate, PAIR, ["RED.E.OR.STRONG.GPU desc[UR4][R2.64], R5"]) == []


def test_registers_that_leave_too_few_warps_are_found(gate: ModuleType) -> None:
    assert gate.blocks_at_once("sm_90", 128, 256) == 2
    assert "8 warps on a multiprocessor, expected 16" in faults(gate, PAIR, registers=136)[0]


def test_an_architecture_may_have_a_budget_of_its_own(gate: ModuleType) -> None:
    heavier = [*PAIR, "FADD R1, R1, R2", "FADD R1, R1, R2"]
    assert faults(gate, heavier, arch="sm_75") == []
    assert len(faults(gate, heavier, arch="sm_80")) == 1


def test_a_kernel_that_is_not_there_is_missed(gate: ModuleType) -> None:
    other = {**BUDGET, "loops": [{**RULE, "kernel": "renamed<float>"}]}
    assert faults(gate, PAIR, budget=other) == ["sm_90: no kernel renamed<float>, expected it"]


def test_what_the_budget_allows_is_allowed(gate: ModuleType) -> None:
    entry = {"kernel": "^sweep<", "architectures": ["sm_90"], "most": 1, "why": "for this test"}
    spilling = {**BUDGET, "local_memory": [entry]}
    store = "STL [R1], R4"
    assert faults(gate, PAIR, [store], budget=spilling) == []
    assert "2 instructions" in faults(gate, PAIR, [store, store], budget=spilling)[0]
    assert len(faults(gate, PAIR, [store], budget=spilling, arch="sm_80")) == 1
    assert len(faults(gate, PAIR, [store], budget={**BUDGET, "atomic_sums": [entry]})) == 1
    inside = [*PAIR[:3], store]
    assert "in the loop over pairs" in faults(gate, inside, budget=spilling)[0]


BAD = """
template <class T> __global__ void sweep(const T* from, T* to, int n) {
  double sum = 0;
  T last[64];
  for (int i = threadIdx.x; i < n; i += 32) {
    const T x = from[i];
    sum += x;
    last[int(x) & 63] = T(1) / x;
  }
  atomicAdd(to, T(sum) + last[n & 63]);
}
template __global__ void sweep(const float*, float*, int);
"""


def test_a_bad_kernel_of_the_compiler_is_found(gate: ModuleType, tmp_path: Path) -> None:
    wheel = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin" / "cuobjdump"
    if not shutil.which("nvcc") or not (shutil.which("cuobjdump") or wheel.is_file()):
        pytest.skip("needs nvcc and cuobjdump")
    (tmp_path / "bad.cu").write_text(BAD)
    command = ["nvcc", "-arch=sm_90", "-cubin", "-prec-div=false", "-o", "bad.cubin", "bad.cu"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    said = "\n".join(gate.check(gate.listed(str(tmp_path / "bad.cubin")), BUDGET)[1])
    for part in ("of local memory", "of atomic sums", "in double precision", "wide loads"):
        assert part in said
