"""Turns LLVM IR that clang made of a .cu file for a GPU into IR for this machine's CPU.

    clang++ -x cuda --cuda-device-only -S -emit-llvm ... -o kernels.ll
    python scripts/checks/host_ir.py kernels.ll [checked] > host.ll

What clang's front end and optimiser made of the kernels stays as it is. Intrinsics of NVVM become
calls of functions of the same name (``nvvm.cpp`` of the emulation); so do atomic operations and the
pieces of PTX in CUDA's library of functions. There is one address space. Kernels take pointers to
their structures; all other functions become the file's own. "checked" asks for hooks at every load
and store. Fails where it meets PTX that it does not know.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

LAYOUT = "e-m:e-p270:32:32-p271:32:32-p272:64:64-i64:64-i128:128-f80:128-n8:16:32:64-S128"
HEAD = f'target datalayout = "{LAYOUT}"\ntarget triple = "x86_64-pc-linux-gnu"'
PTX = {"bfind.shiftamt.u32": "nvvm_bfind_shiftamt", "setp.equ.f64": "nvvm_select_equal"}
DECLARED = """
declare i32 @nvvm_bfind_shiftamt(i32)
declare double @nvvm_select_equal(double, double, double, double)
declare i32 @nvvm_atomic_add_i32(ptr, i32)
declare i32 @nvvm_atomic_or_i32(ptr, i32)
declare i64 @nvvm_atomic_add_i64(ptr, i64)
declare double @nvvm_atomic_fadd_double(ptr, double)
"""
REPLACED = (
    (r"target datalayout = .*\ntarget triple = .*", HEAD),
    (r"\bdso_local ", ""),
    (r'"(target-cpu|target-features)"="[^"]*" ?', ""),
    (
        r"atomicrmw (\w+) ptr (\S+), (\w+) (\S+) seq_cst, align \d+",
        r"call \3 @nvvm_atomic_\1_\3(ptr \2, \3 \4)",
    ),
    (r"(?m)^(@.*?) = .*externally_initialized", r"\1 = internal"),
    (r"(?m)^\$\S+ = comdat.*\n", ""),
    (r" addrspace\(\d\)", ""),
    (r"addrspacecast \(ptr (@[\w.$]+) to ptr\)", r"\1"),
    (r"= addrspacecast ptr", "= bitcast ptr"),
)
HOOKS = (r'(?m)^(attributes #\d+ = {.*?) ("frame-pointer")', r"\1 sanitize_thread \2")


def kernels(text: str) -> set[str]:
    """Names of the functions that are kernels."""
    return set(re.findall(r'!{ptr @([\w.$]+), !"kernel", i32 1}', text))


def of_ptx(match: re.Match[str]) -> str:
    """The function in place of a piece of PTX."""
    for words, name in PTX.items():
        if words in match[0]:
            return f"@{name}("
    raise SystemExit(f"host_ir: expected PTX that is known, got {match[0]}")


def definition(line: str, names: set[str]) -> str:
    """The first line of a function."""
    name = re.search(r"@([\w.$]+)\(", line)
    assert name is not None
    line = re.sub(r"\b(linkonce_odr|weak_odr|internal) ", "", line)
    line = re.sub(r" comdat(\(\$[^)]*\))?", "", line)
    if name[1] in names:
        return re.sub(r'byval\(%(?:"[^"]*"|[\w.$]+)\) ?', "", line)
    return line.replace("define ", "define internal ", 1)


def translated(text: str, checked: bool) -> str:
    """IR for the CPU."""
    names = kernels(text)
    text = re.sub(r'asm "[^"]*", "[^"]*"\(', of_ptx, text)
    text = re.sub(r"@llvm\.nvvm\.([\w.]+)", lambda m: "@nvvm_" + m[1].replace(".", "_"), text)
    for pattern, new in (*REPLACED, HOOKS) if checked else REPLACED:
        text = re.sub(pattern, new, text)
    lines = text.splitlines()
    return "\n".join(definition(s, names) if s.startswith("define ") else s for s in lines)


if __name__ == "__main__":
    given = Path(sys.argv[1]).read_text()
    sys.stdout.write(translated(given, sys.argv[2:] == ["checked"]) + DECLARED)
