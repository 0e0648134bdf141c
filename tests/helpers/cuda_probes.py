"""Short tests that go through every CUDA kernel, for the breaks of scripts/checks/break_cuda.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import test_cuda_lattice as lattice
import test_cuda_list as given
import test_cuda_list_refusals as refusals
import test_cuda_pairs as pairs
import test_cuda_three_body as three_body
import torch

DOUBLE, SINGLE = torch.float64, torch.float32
SUFFIXES = ("", "_backward", "_double_backward")


def _pairs() -> list[partial[Any]]:
    p = partial
    out = [
        p(pairs.test_results_are_those_of_the_cpu, suffix, name, kind, DOUBLE)
        for name in pairs.NAMES
        for kind in ("sorted", "shuffled", "half", "lopsided", "short")
        for suffix in SUFFIXES
    ]
    for kind in ("sorted", "half-shuffled"):
        out.append(p(pairs.test_slopes_of_the_centres_are_those_of_the_cpu, kind, DOUBLE))
        out.append(p(pairs.test_every_form_is_that_of_the_cpu, "_backward", kind, 1, SINGLE))
    for name in pairs.NAMES:
        out += [p(pairs.test_tangents_that_ignore_reverse_pairs, s, name) for s in SUFFIXES[1:]]
        out += [
            p(pairs.test_an_index_out_of_range_makes_everything_nan, row, value, name)
            for row in (0, 1)
            for value in (26, -1, 1 << 40)
        ]
        out += [
            p(pairs.test_an_unknown_species_makes_everything_nan, value, name)
            for value in (4, -1, 1 << 40)
        ]
        out.append(p(pairs.test_a_vector_of_length_zero_makes_its_atom_nan, name))
        out.append(p(pairs.test_sorted_lists_repeat_to_the_last_bit, "_backward", name, DOUBLE))
    return [*out, p(pairs.test_empty_list_and_no_atoms, 3, DOUBLE)]


def _given() -> list[partial[Any]]:
    p = partial
    out = [
        p(given.test_results_are_those_of_the_cpu, 1.6, shape, kind, DOUBLE)
        for kind in ("crystal", "slab")
        for shape in ("sorted", "unsorted", "half")
    ]
    out += [p(given.test_results_are_those_of_the_same_op_on_the_cpu, "tangent", "half", SINGLE)]
    out += [
        p(given.test_modes, "", g, learn, DOUBLE) for g, learn in ((False, False), (True, False))
    ]
    out += [p(given.test_a_batch_of_many_small_molecules, "half", DOUBLE)]
    out += [
        p(given.test_long_rows_of_few_atoms, shape, warps, DOUBLE)
        for shape, warps in (("unsorted", 4), ("sorted", 2))
    ]
    out += [p(given.test_a_list_is_put_in_order, shape, SINGLE) for shape in ("unsorted", "half")]
    out += [p(given.test_results_repeat_to_the_last_bit, "half", DOUBLE)]
    out += [p(given.test_pairs_beyond_the_cutoffs_need_no_reverse)]
    out += [p(given.test_no_pairs_no_atoms_and_no_systems, DOUBLE)]
    out += [p(given.test_backward_scales_the_gradients_of_every_system, DOUBLE)]
    bad = refusals.test_a_system_that_the_cpu_refuses_is_nan
    out += [p(bad, what, DOUBLE) for what in refusals.SPOILT]
    out += [
        p(refusals.test_indices_out_of_range_make_everything_nan, what, half, DOUBLE)
        for what in refusals.WRONG
        for half in (False, True)
    ]
    out += [p(refusals.test_a_half_list_that_has_pairs_both_ways_is_nan, DOUBLE)]
    two = refusals.test_a_pair_of_two_systems_makes_both_nan
    return [*out, *(p(two, both_ways, DOUBLE) for both_ways in (True, False))]


def _lattice() -> list[partial[Any]]:
    p = partial
    out = [p(lattice.test_random_clusters_and_crystals, key, DOUBLE) for key in (0, 3, 7)]
    out += [p(lattice.test_modes, False, False, DOUBLE), p(lattice.test_tangents, 2, DOUBLE)]
    out += [p(lattice.test_a_cell_far_smaller_than_the_cutoff, DOUBLE)]
    out += [p(lattice.test_clusters_of_many_atoms_in_a_skewed_cell, DOUBLE)]
    out += [p(lattice.test_a_batch_of_systems_of_every_kind, SINGLE)]
    shapes = ((0, 0, 11.0), (21, 30, 16.0), (90, 60, 21.0), (1000, 1100, 15.0))
    out += [p(lattice.test_blocks_of_every_shape, *shape) for shape in shapes]
    out += [p(lattice.test_tangents_of_blocks_that_share_their_neighbours)]
    out += [p(lattice.test_atoms_on_the_border_of_long_flat_and_skew_cells, DOUBLE)]
    out += [p(lattice.test_more_images_than_can_be_counted_are_nan)]
    out += [p(lattice.test_one_spot_in_two_whole_clusters_is_nan)]
    out += [p(lattice.test_no_atoms_and_no_systems)]
    out += [p(lattice.test_results_repeat_to_the_last_bit, SINGLE)]
    bad = lattice.test_a_system_that_the_cpu_refuses_is_nan
    out += [p(bad, what) for what in ("nan", "all nan", "far", "same spot", "singular")]
    wrong = lattice.test_indices_out_of_range_make_everything_nan
    return [*out, p(wrong, "species"), p(wrong, "offsets")]


def _scale() -> list[partial[Any]]:
    return [partial(lattice.test_backward_scales_the_gradients_of_every_system, DOUBLE)]


def _tail() -> list[partial[Any]]:
    return [
        partial(lattice.test_tail_in_every_mode, False, True, DOUBLE),
        partial(lattice.test_tail_of_several_clusters_of_a_species),
        partial(lattice.test_tail_of_slabs_chains_and_molecules, 1.5, DOUBLE),
    ]


def _three_body() -> list[partial[Any]]:
    p = partial
    kind = next(iter(three_body.PERIODIC))
    out = [p(three_body.test_clusters_and_crystals, key, DOUBLE) for key in (1, 4)]
    out += [p(three_body.test_batches_and_modes, kind, DOUBLE)]
    out += [p(three_body.test_second_derivatives, kind, SINGLE)]
    return [
        *out,
        p(three_body.test_several_clusters),
        p(three_body.test_results_repeat_to_the_last_bit),
    ]


def _name(probe: partial[Any]) -> str:
    return f"{probe.func.__module__}.{probe.func.__name__}{probe.args}"


PARTS = {
    "pairs/pair_": (_pairs,),
    "pairs/species_row": (_pairs, _given),
    "pairs/list_": (_given,),
    "lattice/lattice_three_body": (_three_body,),
    "lattice/lattice_tail": (_tail,),
    "lattice/lattice_scale": (_scale,),
    "lattice/lattice_sweeps": (_lattice,),
    "lattice/lattice_sums": (_lattice,),
    "lattice/lattice_bodies": (_lattice,),
    "lattice/lattice_meet": (_lattice, _three_body),
    "lattice/": (_lattice, _tail, _three_body),
}


def probes_of(file: str) -> list[tuple[str, Callable[[], Any]]]:
    """The tests that go through the kernels of a file of csrc/engine/cuda; all where it is none."""
    every = (_pairs, _given, _lattice, _tail)
    parts = next((p for name, p in PARTS.items() if name in file), every)
    return [(_name(probe), probe) for part in parts for probe in part()]
