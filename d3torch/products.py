"""Products of matrices that torch's autocast leaves alone.

Autocast rounds the operands of ``@``, ``matmul``, ``bmm``, ``einsum`` and their like to 8 or 11
bits, which in lengths is some hundredths of an angstrom. Multiplication by element is not touched,
so d3torch multiplies matrices here and nowhere else.
"""

# No `from __future__ import annotations`: TorchScript cannot read strings.
import torch
from torch import Tensor


def product(a: Tensor, b: Tensor) -> Tensor:
    """Product of matrices of few inner columns, (..., m, k) times (..., k, n), by element.

    Differentiable to any order; takes one temporary of the result's size for each of the k terms.
    """
    total = a[..., :, 0:1] * b[..., 0:1, :]
    for k in range(1, a.shape[-1]):
        total = total + a[..., :, k : k + 1] * b[..., k : k + 1, :]
    return total


def outer_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum over the rows of two lists of vectors, sum_p a_pi b_pj, (n, 3) and (n, 3) to (3, 3)."""
    return torch.stack([(a[:, i : i + 1] * b).sum(dim=0) for i in range(a.shape[1])])


def bilinear(left: Tensor, matrices: Tensor, right: Tensor) -> Tensor:
    """Bilinear forms sum_ab left_a M_ab right_b, (..., a), (..., a, b) and (..., b) to (...)."""
    return (left[..., :, None] * matrices * right[..., None, :]).sum(dim=(-2, -1))
