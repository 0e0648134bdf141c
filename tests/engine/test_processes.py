"""What operating systems do to long work: signals in the middle of it, forks after it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write

pytestmark = pytest.mark.alone  # it measures time

PREPARE = """
import os, signal, sys, threading, time
import torch
from d3torch import D3BJ, ops

threads = int(sys.argv[1])
torch.set_num_threads(threads)
generator = torch.Generator().manual_seed(1)
grid = torch.stack(torch.meshgrid(*3 * [torch.arange(6.0)], indexing="ij"), -1).reshape(-1, 3)
x = 3.0 * grid.double() + 0.1 * torch.rand(216, 3, generator=generator, dtype=torch.float64)
species, cell = torch.zeros(216, dtype=torch.long), 18.0 * torch.eye(3, dtype=torch.float64)
short, long = (D3BJ(["Na"], "pbe", cutoff=c, cn_cutoff=20.0) for c in (20.0, 500.0))

def evaluate(model, of=slice(None)):
    return model.evaluate(model.systems(x[of], species[of], cell))
"""


def _python(code: str, *arguments: str, prepare: str = PREPARE) -> subprocess.CompletedProcess[str]:
    """What a program printed, that must end by itself; Ctrl-C reaches it as from a terminal.

    What a shell starts in the background ignores Ctrl-C, and so does all that it starts.
    """
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    command = [sys.executable, "-c", heard + prepare + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


LONG = """
def gradient():
    y = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(long.lattice(long.systems(y, species, cell)).sum(), y)

def molecules():
    n = 400_000
    many = short.systems(
        x[:8].repeat(n, 1), species[:1].expand(8 * n), None, None, torch.arange(n + 1) * 8
    )
    while True:
        short.evaluate(many)

before = evaluate(short).energy
for work in (lambda: evaluate(long), gradient, molecules):
    sent = []
    def send():
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    timer = threading.Timer(0.7, send)
    timer.start()
    try:
        work()
        print("not interrupted")
    except KeyboardInterrupt:
        late = time.monotonic() - sent[0]
        print("interrupted" if late < 1.0 else f"interrupted after {late} s")
print(torch.equal(before, evaluate(short).energy))
"""


@pytest.mark.parametrize("threads", ["1", "2"])
def test_ctrl_c_ends_long_work_within_a_second(threads: str) -> None:
    """With KeyboardInterrupt itself, not an error of ours; and what follows is right."""
    out = _python(LONG, threads)
    assert out.stdout.split("\n") == [*3 * ["interrupted"], "True", ""], out.stderr


PAIRS = """
n = 6_000_000
vectors = 2.0 + torch.rand(n, 3, generator=generator, dtype=torch.float64)
pairs = torch.randint(0, 1000, (2, n), generator=generator)
species, cn = torch.zeros(1000, dtype=torch.long), torch.ones(1000, dtype=torch.float64)
t = short.tables()[1:4]
arguments = (vectors, cn, short.damping(), cn, vectors, cn, short.damping(), pairs, species, *t)
op, arguments = torch.ops.d3torch.dispersion_energy_double_backward, (*arguments, 9.0, 1.0)
"""

ON_LIST = """
n = 2_000_000
i = torch.randint(0, 1000, (n,), generator=generator)
j = (i + torch.randint(1, 1000, (n,), generator=generator)) % 1000
pairs = torch.stack([torch.cat([i, j]), torch.cat([j, i])])
batch = short.systems(
    10.0 * torch.rand(1000, 3, generator=generator, dtype=torch.float64), species.new_zeros(1000)
)
ones = [torch.ones_like(t) for t in (*batch[:2], short.damping()[None])]
arguments = (*ones, *batch, short.damping()[None], *short.tables()[:4], *short.reach()[:4])
arguments = (*arguments, pairs, torch.zeros(2 * n, 3, dtype=torch.int32), False)
op = torch.ops.d3torch.dispersion_on_list_tangent
"""

TIMED = """
def seconds():
    start = time.monotonic()
    try:
        op(*arguments)
    except KeyboardInterrupt:
        pass
    return time.monotonic() - start

undisturbed = min(seconds() for _ in range(2))
threading.Timer(0.1 * undisturbed, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
print(seconds() < 0.7 * undisturbed)
"""


@pytest.mark.parametrize("prepare", [PAIRS, ON_LIST], ids=["vectors", "list"])
def test_ctrl_c_ends_an_op_on_pairs_in_its_middle(prepare: str) -> None:
    """In less time than the op takes: the interpreter alone would wait for its end."""
    out = _python(prepare + TIMED, "1")
    assert out.stdout == "True\n", out.stderr


HANDLED = """
seen = []
signal.signal(signal.SIGALRM, lambda *_: seen.append(len(seen)))
undisturbed = evaluate(long, slice(0, 32)).gradient
same = True
signal.setitimer(signal.ITIMER_REAL, 0.005, 0.005)
while same and len(seen) < 5:  # however fast the machine is
    same = torch.equal(undisturbed, evaluate(long, slice(0, 32)).gradient)
signal.setitimer(signal.ITIMER_REAL, 0.0)
print(len(seen) > 0, same)

class Stop(Exception):
    pass

def stop(number, frame):
    raise Stop("by a handler")

signal.signal(signal.SIGUSR1, stop)
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGUSR1)).start()
try:
    evaluate(long)
except Stop as error:
    print(error)
"""


def test_handlers_run_and_alone_decide_whether_work_ends() -> None:
    """One that returns changes not a bit; what one raises comes out as it is."""
    out = _python(HANDLED, "2")
    assert out.stdout == "True True\nby a handler\n", out.stderr


COMMAND = """
import os, signal, sys, threading
import ase.io, tabulate, tqdm
import d3torch.integrations.ase
from d3torch.cli import main

threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
sys.exit(main(sys.argv[1:]))
"""


def test_ctrl_c_ends_the_command(tmp_path: Path) -> None:
    grid = [[3.0 * i, 3.0 * j, 3.0 * k] for i in range(6) for j in range(6) for k in range(6)]
    file = tmp_path / "sodium.extxyz"
    write(file, Atoms("Na216", grid, cell=[18.0] * 3, pbc=True))
    out = _python(COMMAND, "energy", str(file), "--cutoff", "500", prepare="")
    assert (out.returncode, out.stdout) == (130, ""), out.stderr


FORK = """
import multiprocessing

model = D3BJ(["Na"], "pbe", cutoff=20.0, cn_cutoff=20.0)
pairs = torch.stack([torch.zeros_like(species[1:]), torch.arange(1, 216)]).repeat(1, 100)
# before the fork: loops of torch 2.6 itself wait for ever in a forked worker
vectors = [(x[1:] - x[:1] + 0.01 * k).repeat(100, 1) for k in range(4)]

def energy(k):
    listed = model(vectors[k], pairs, species).sum()
    return evaluate(model).energy.item(), listed.item(), torch.get_num_threads()

expected = [energy(k) for k in range(4)]
with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map(energy, range(4)) == expected)
print([energy(k) for k in range(4)] == expected)
"""


def test_forked_workers_do_not_wait_for_ever() -> None:
    """Of a process that has used its threads before, and uses them again after; to the last bit.

    With as many threads, or with one where the OpenMP is that of torch 2.6.
    """
    out = _python(FORK, "2")
    assert out.stdout == "True\nTrue\n", out.stderr
