"""Devices, streams and capture, on the emulated devices: what the ops on CUDA ask of torch.

Run from test_cuda_emulation.py. Every other emulated test runs on ``cuda:1`` while ``cuda:0`` is
the current device, on a stream of its own, under the rules of a graph that is captured.
"""

from __future__ import annotations

from typing import Any

import lists
import pytest
import torch
from cuda_device import EMULATED, _emulated, assert_close, mapped, run_cpu
from systems import small_case
from test_cuda_lattice import STRUCTURES, lattice_arguments
from test_cuda_list import arguments as list_arguments
from test_cuda_list import tangents_of
from test_cuda_pairs import NAMES, in_order, pair_arguments

pytestmark = pytest.mark.skipif(not EMULATED, reason="runs emulated, from test_cuda_emulation.py")
HOW = (True, True, "best")


def _calls() -> dict[str, tuple[Any, ...]]:
    """Arguments of every op that has a kernel on CUDA."""
    case = in_order(small_case(n_atoms=12))
    calls = {
        name + suffix: pair_arguments(name, case, suffix)
        for name in NAMES
        for suffix in ("", "_backward", "_double_backward")
    }
    calls["dispersion_energy_by_centre"] = pair_arguments("dispersion_energy", case, "")
    given = lattice_arguments([STRUCTURES[3]], torch.float64, tail=True)
    along = [torch.ones_like(given[k]) for k in (0, 1, 5)]
    grads = (torch.ones(1, dtype=torch.float64), *along)
    calls |= {
        "dispersion": given,
        "dispersion_shares": given,
        "dispersion_backward": (*grads, *given),
    }
    calls |= {"dispersion_evaluate": (*given, *HOW), "dispersion_tangent": (*along, *given)}
    on = lists.case_of("slab")
    given = list_arguments(on)
    slopes = tangents_of(on)
    grads = (torch.ones(len(on.systems.cell), dtype=torch.float64), *slopes)
    calls |= {"dispersion_on_list": given, "dispersion_on_list_backward": (*grads, *given)}
    calls["dispersion_on_list_evaluate"] = (*given, *HOW)
    calls["dispersion_on_list_tangent"] = (*slopes, *given)
    return calls


CALLS = _calls()


@pytest.mark.parametrize("stream", [0, 5])
@pytest.mark.parametrize("device", [0, 1])
@pytest.mark.parametrize("name", CALLS)
def test_every_op_can_be_captured_on_either_device_and_any_stream(
    name: str, device: int, stream: int
) -> None:
    """It launches on the current stream, waits for nothing, and gives what the CPU gives."""
    torch.ops.emulation.set_stream(device, stream)
    op = getattr(torch.ops.d3torch, name).default
    found = _emulated(op, CALLS[name], device)
    expected = run_cpu(name, *CALLS[name])
    assert_close(found if isinstance(found, tuple) else (found,), expected, 100.0)


def test_a_call_of_every_op_is_here() -> None:
    ours = torch._C._dispatch_get_registrations_for_dispatch_key("CUDA")
    names = {name.split("::")[1] for name in ours if name.startswith("d3torch::")}
    refusing = {name for name in names if name.startswith("owned_")} | {"dispersion_pairwise"}
    assert names - set(CALLS) == refusing


@pytest.mark.parametrize("place", ["cpu", "cuda:0"])
def test_tensors_of_two_devices_are_refused(place: str) -> None:
    host = torch.ops.emulation
    given = list(mapped(CALLS["coordination_number"], lambda x: host.to_device(x, 1)))
    given[1] = CALLS["coordination_number"][1]
    if place == "cuda:0":
        given[1] = host.to_device(given[1], 0)
    message = rf"expected pairs on the device of the vectors, cuda:1, got {place}\."
    with pytest.raises(ValueError, match=message):
        torch.ops.d3torch.coordination_number(*given)


def test_what_waits_for_the_device_is_found() -> None:
    """By the watch over an op: the value of a tensor, a copy to the host and back."""
    host = torch.ops.emulation
    x = host.to_device(torch.ones(3), 0)
    before = host.waits()
    assert x.sum().item() == 3.0
    assert host.waits() == before + 1
    host.watch(True)
    try:
        for call in (
            x.sum().item,
            lambda: host.to_host(x),
            lambda: host.to_device(torch.ones(3), 0),
        ):
            with pytest.raises(RuntimeError, match="an op that does not wait for the device, got"):
                call()
        assert (x + x).device == x.device
    finally:
        host.watch(False)
