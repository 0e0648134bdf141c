"""Table of what ptxas says of every kernel; fails where one spills or has a stack.

Usage: cuda_report.py LOG...
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

FACT = re.compile(
    r"Compiling entry function '(\S+)' for '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill"
    r" stores, (\d+) bytes spill loads.*?Used (\d+) registers([^\n]*)",
    re.S,
)
BUDGET = Path(__file__).with_name("cuda_budget.json")


def demangled(names: list[str]) -> list[str]:
    """Readable names, without arguments and namespace."""
    tool = shutil.which("c++filt")
    if tool is None:
        return names
    text = subprocess.run([tool], input="\n".join(names), capture_output=True, text=True).stdout
    short = [re.sub(r"^void |d3::", "", line).rsplit("(", 1) for line in text.splitlines()]
    return [re.sub(r"\(bool\)|\(int\)", "", parts[0].split(">(")[0]) for parts in short]


def main(paths: list[str]) -> int:
    """Print the table; the number of kernels that use local memory."""
    facts = [m for path in paths for m in FACT.findall(Path(path).read_text(encoding="utf-8"))]
    if not facts:
        print("cuda_report: expected kernels in the logs of ptxas, found none")
        return 1
    budget = json.loads(BUDGET.read_text(encoding="utf-8"))
    allowed = budget["local_memory"]
    names = demangled([fact[0] for fact in facts])
    print(f"{'arch':6} {'regs':>4} {'stack':>5} {'spill':>5} {'shared':>6}  kernel")
    local = 0
    for name, (_, arch, stack, stores, loads, registers, rest) in sorted(
        zip(names, facts, strict=True), key=lambda row: (row[1][1], row[0])
    ):
        spilled = int(stores) + int(loads)
        shared = re.search(r"(\d+) bytes smem", rest)
        size = shared[1] if shared else "0"
        print(f"{arch:6} {registers:>4} {stack:>5} {spilled:>5} {size:>6}  {name}")
        named = any(
            re.search(entry["kernel"], name) and arch in entry.get("architectures", [arch])
            for entry in allowed
        )
        local += bool(spilled or int(stack)) and not named
    print(f"{len(facts)} kernels, {local} with local memory that should have none")
    return local


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
