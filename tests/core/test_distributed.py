"""A learnable damping under DistributedDataParallel: gradients are means over the processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

PROGRAM = """
import sys
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from d3torch import D3


class Energy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.d3 = D3(["Si", "O"], "pbe", cutoff=9.0, cn_cutoff=7.0, learnable=True)

    def forward(self, positions):
        return self.d3.lattice(self.d3.systems(positions, torch.arange(8) % 2))


def gradients(model, rank):
    grid = torch.cartesian_prod(*3 * [torch.arange(2.0, dtype=torch.float64)])
    energy = model((2.3 + 0.4 * rank) * grid)
    energy.square().sum().backward()
    return torch.stack([p.grad for p in model.parameters()])


def work(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    torch.save(gradients(DistributedDataParallel(Energy()), rank), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


mp.start_processes(work, (sys.argv[1],), nprocs=2, start_method="fork")
torch.save(torch.stack([gradients(Energy(), rank) for rank in range(2)]), f"{sys.argv[1]}/one.pt")
"""


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch without distributed")
def test_damping_gets_the_mean_gradient_of_two_processes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    out = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert out.returncode == 0, out.stderr
    one, first, second = (torch.load(tmp_path / f"{name}.pt") for name in ("one", "0", "1"))
    assert torch.equal(first, second)
    torch.testing.assert_close(first, one.mean(dim=0), rtol=1e-13, atol=0)
    assert float((one[0] - one[1]).abs().min()) > 0
