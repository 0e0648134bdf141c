"""Gate on the machine code of the CUDA kernels, and a table of what each loop over pairs costs.

Reads objects of any architecture with cuobjdump (of CUDA, or PyPI's nvidia-cuda-cuobjdump) and
holds every kernel against ``cuda_budget.json`` beside this file: local memory, atomic sums of
floating-point numbers, and for each loop over pairs the instructions for a register of 32 pairs,
arithmetic in double precision, wide loads and registers.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cuda_report import demangled

BUDGET = Path(__file__).with_name("cuda_budget.json")
LINE = re.compile(r"^\s*/\*([0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)\s*([^;]*);")
USAGE = re.compile(r"^arch = (sm_\w+)|Function (\S+):\n\s*REG:(\d+)", re.M)
LOCAL = re.compile(r"(STL|LDL)\b")
DOUBLE = re.compile(r"D(ADD|MUL|FMA|SETP|MNMX)\b|MUFU\.\w*64|[FI]2[FI]\S*\.F64")
# Atomic sums of floating-point numbers, and the loops of compare-and-swap that stand for them.
ATOMIC = re.compile(r"(RED|ATOM)[GS]?\b.*(\.F(16|32|64)|\.CAS\b|\.CAST\b)")
# Warps and blocks that a multiprocessor holds: CUDA C++ Programming Guide 13.0, "Compute
# Capabilities". Each has 65536 registers, given out in units of 256 for a warp.
HELD = {"sm_75": (32, 16), "sm_80": (64, 32), "sm_86": (48, 16), "sm_89": (48, 24)}
HELD |= {"sm_90": (64, 32), "sm_100": (64, 32), "sm_120": (48, 32)}


@dataclass
class Kernel:
    """The machine code of one kernel for one architecture."""

    arch: str
    name: str
    registers: int
    code: list[tuple[int, str, str]] = field(default_factory=list)  # address, opcode, operands

    def loops(self) -> list[list[tuple[int, str, str]]]:
        """The innermost loops: what lies between a branch backwards and its target."""
        spans = []
        for at, opcode, operands in self.code:
            target = re.search(r"0x([0-9a-f]+)\s*$", operands)
            if re.fullmatch(r"BRA(\.U)?(\.ANY)?", opcode) and target and int(target[1], 16) < at:
                spans.append((int(target[1], 16), at))
        inner = [
            a for a in spans if not any(b != a and a[0] <= b[0] and b[1] <= a[1] for b in spans)
        ]
        return [[line for line in self.code if a <= line[0] <= b] for a, b in inner]


def count(code: list[tuple[int, str, str]], pattern: re.Pattern[str] | str) -> int:
    """Instructions whose opcode begins as the pattern says."""
    return sum(bool(re.match(pattern, opcode)) for _, opcode, _ in code)


def parsed(sass: str, usage: str) -> list[Kernel]:
    """The kernels of a listing by ``cuobjdump -sass``, with registers of ``-res-usage``."""
    registers, kernels, arch = {}, [], ""
    for of_arch, name, used in USAGE.findall(usage):
        arch = of_arch or arch
        if name:
            registers[arch, name] = int(used)
    for line in sass.splitlines():
        if found := re.search(r"code for (sm_\w+)", line):
            arch = found[1]
        elif found := re.search(r"Function : (\S+)", line):
            used = registers.get((arch, found[1])) or registers.get(("", found[1]), 0)
            kernels.append(Kernel(arch, found[1], used))
        elif (found := LINE.match(line)) and kernels:
            kernels[-1].code.append((int(found[1], 16), found[2], found[3]))
    for kernel, name in zip(kernels, demangled([k.name for k in kernels]), strict=True):
        kernel.name = name
    return kernels


def blocks_at_once(arch: str, registers: int, threads: int) -> int:
    """Blocks that a multiprocessor holds at a time, as far as registers and warps limit them."""
    warps, blocks = HELD[arch]
    of_block = -(-threads // 32)
    by_registers = 65536 // (-(-registers * 32 // 256) * 256) // of_block if registers else blocks
    return min(blocks, warps // of_block, by_registers)


def allowed(entries: list[dict[str, Any]], arch: str, name: str) -> float:
    """Instructions that a kernel may have of what no kernel may have unless the budget names it."""
    of_kernel = [
        entry.get("most", math.inf)
        for entry in entries
        if re.search(entry["kernel"], name) and arch in entry.get("architectures", [arch])
    ]
    return max(of_kernel, default=0)


def always(kernel: Kernel, budget: dict[str, Any]) -> list[str]:
    """Where a kernel has local memory or atomic sums, and should not."""
    faults = []
    for what, pattern in (("local_memory", LOCAL), ("atomic_sums", ATOMIC)):
        most = allowed(budget[what], kernel.arch, kernel.name)
        if (n := count(kernel.code, pattern)) > most:
            faults.append(
                f"{n} instructions of {what.replace('_', ' ')}, expected {most or 'none'}"
            )
    return faults


def pair_loop(kernel: Kernel, marker: str) -> list[tuple[int, str, str]]:
    """The innermost loop most of which is an instruction that every pair needs."""
    return max(kernel.loops(), key=lambda loop: count(loop, marker) / len(loop), default=[])


def of_loop(kernel: Kernel, rule: dict[str, Any]) -> tuple[str, list[str]]:
    """A line of the table for a loop over pairs, and where it is beyond its budget."""
    loop = pair_loop(kernel, rule["marker"])
    registers_of_pairs = count(loop, rule["marker"]) / rule["markers"]
    if not registers_of_pairs:
        return "", [f"no loop with {rule['marker']}, expected that over pairs"]
    slots = len(loop) / registers_of_pairs
    double = count(loop, DOUBLE) / registers_of_pairs
    wide = count(loop, r"LDG\.E\.(128|64)") / registers_of_pairs
    most = rule["slots"].get(kernel.arch, rule["slots"]["others"])
    blocks = blocks_at_once(kernel.arch, kernel.registers, rule["threads"])
    warps = blocks * rule["threads"] // 32
    row = (
        f"{kernel.arch:7} {slots:6.1f} {most:4} {double:6.1f} {wide:5.1f} {kernel.registers:5}"
        f" {warps:3} of {HELD[kernel.arch][0]}  {rule['name']}"
    )
    faults = []
    if slots > most:
        faults.append(f"{slots:.1f} instructions for 32 pairs, expected at most {most}")
    if double > rule["double"]:
        faults.append(f"{double:.1f} in double precision for 32 pairs, expected {rule['double']}")
    if n := count(loop, LOCAL):
        faults.append(f"{n} instructions of local memory in the loop over pairs, expected none")
    if wide < rule["wide"]:
        faults.append(f"{wide:.1f} wide loads for 32 pairs, expected {rule['wide']}")
    if warps < rule["warps"]:
        faults.append(f"{warps} warps on a multiprocessor, expected {rule['warps']}")
    return row, faults


def check(kernels: list[Kernel], budget: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The table of the loops, and every fault as a sentence."""
    rows, faults = [], []
    for kernel in kernels:
        found = always(kernel, budget)
        for rule in budget["loops"]:
            if rule["kernel"] == kernel.name:
                row, of_rule = of_loop(kernel, rule)
                rows += [row] if row else []
                found += of_rule
        faults += [f"{kernel.arch} {kernel.name}: {fault}" for fault in found]
    for arch in sorted({kernel.arch for kernel in kernels}):
        names = {kernel.name for kernel in kernels if kernel.arch == arch}
        absent = [rule["kernel"] for rule in budget["loops"] if rule["kernel"] not in names]
        faults += [f"{arch}: no kernel {name}, expected it" for name in absent]
    return sorted(rows, key=lambda row: row[50:]), faults


def tool() -> str:
    """The path of cuobjdump."""
    wheel = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin" / "cuobjdump"
    found = shutil.which("cuobjdump") or (str(wheel) if wheel.is_file() else None)
    if found is None:
        raise SystemExit(
            "cuda_code: expected cuobjdump on the path, or nvidia-cuda-cuobjdump and "
            "nvidia-cuda-nvdisasm installed by pip, found none"
        )
    return found


def listed(path: str, arch: str | None = None) -> list[Kernel]:
    """The kernels of an object, for one architecture or all."""

    def run(option: str) -> str:
        command = [tool(), option, *(["-arch", arch] if arch else []), path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return parsed(run("-sass"), run("-res-usage"))


def main() -> int:
    """Print the table and the faults; 1 if there is one."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", metavar="ARCH", help="one architecture of the objects, as sm_90")
    parser.add_argument("objects", nargs="+")
    args = parser.parse_args()
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda path: listed(path, args.only), args.objects)
        kernels = [kernel for of_object in found for kernel in of_object]
    if not kernels:
        raise SystemExit("cuda_code: expected kernels in the objects, found none")
    rows, faults = check(kernels, json.loads(BUDGET.read_text(encoding="utf-8")))
    print("arch     slots most double  wide  regs  warps     loop over pairs")
    print("\n".join(rows))
    for fault in faults:
        print(f"cuda_code: {fault}", file=sys.stderr)
    print(f"{len(kernels)} kernels, {len(faults)} faults in their machine code")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
