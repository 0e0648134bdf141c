"""The ops: D3 on a neighbour list that the host already has, and on positions and cells.

All are dispatcher ops, ``torch.ops.d3torch.*``, with C++ autograd of first and second order; they
work in eager mode, TorchScript, ``torch.compile`` and ``torch.export``. A pair list is directed:
``pairs[0]`` are the centres i, ``pairs[1]`` the neighbours j, ``vectors`` are
r_ij = x_j - x_i + S @ cell, in any order. Energies are per centre, so a list that lacks the pairs
of some atoms (ghosts) gives exactly the share of the others. To pad a list, repeat any pair with a
vector beyond the cutoffs, such as (1e6, 0, 0): a vector of length 0 is no pair, and refused.

Float32 has seven digits from the origin on: move structures there before they become float32, as
:class:`d3torch.evaluate.Evaluator` does; an op cannot bring back what is lost.

On a GPU the ops never wait for it, so what is refused for its values on the CPU (an index out of
range, a vector of length 0, NaN positions, two atoms on one spot, a singular cell, a list that
lacks reverse pairs) comes out as NaN there.

On the CPU, in the main thread of Python, Ctrl-C ends a call within a second, and handlers of other
signals run; a C++ host may register a kernel of ``d3torch::check_signals`` that throws. Transforms
of ``torch.func`` but ``vmap``, and forward mode, are refused: ``torch.autograd.functional`` has all
but ``hvp``, and ``d3torch.eager`` takes them all, ``vmap`` of ``grad`` on lists alone.
"""

from typing import Final, NamedTuple  # without `from __future__ import annotations`: see model.py

import torch
from torch import Tensor

from . import _library

_library.load()

RATIONAL: Final = 0
ZERO: Final = 1
MODIFIED_ZERO: Final = 2
"""The damping functions (``form``), of which :func:`dispersion_energy` has the equations."""


class Tables(NamedTuple):
    """Per-species data in the units of the vectors and energies, none of it differentiable.

    Attributes:
        rcov: covalent radii, 4/3 included, (n_species,), length.
        r4r2: Q = sqrt(0.5 <r^4>/<r^2> sqrt(Z)), (n_species,), length.
        cn_ref: reference coordination numbers, (n_species, n_refs), padded with -1.
        c6_ref: reference C6, (n_species, n_species, n_refs, n_refs), energy length^6.
        radii: pair radii r0 of zero damping and of the three-body term, (n_species, n_species),
            length; None where neither is used.
    """

    rcov: Tensor
    r4r2: Tensor
    cn_ref: Tensor
    c6_ref: Tensor
    radii: Tensor | None = None


class Systems(NamedTuple):
    """A batch of structures, their atoms one after the other.

    Attributes:
        positions: (n_atoms, 3), length.
        cell: rows are lattice vectors, (n_systems, 3, 3), length; rows without pbc do not matter.
        pbc: (n_systems, 3), bool.
        species: index into the tables of every atom, (n_atoms,), int64.
        offsets: first atom of every system, then n_atoms, (n_systems + 1,), int64.
    """

    positions: Tensor
    cell: Tensor
    pbc: Tensor
    species: Tensor
    offsets: Tensor


class PairList(NamedTuple):
    """A neighbour list of a batch, in any order.

    Attributes:
        indices: centres i and neighbours j over the whole batch, (2, n_pairs), int64 or int32.
        shifts: cells S by which j is displaced, r_ij = x_j - x_i + S @ cell, (n_pairs, 3), int64,
            int32, or whole numbers in the dtype of the positions; 0 along axes without pbc.
        half: whether the list has each pair once, either way round; else it has both.
    """

    indices: Tensor
    shifts: Tensor
    half: bool = False


class Evaluation(NamedTuple):
    """Everything that one evaluation of a batch gives, without a graph.

    Attributes:
        energy: (n_systems,).
        energies: share of each atom, (n_atoms,).
        cn: coordination numbers, (n_atoms,).
        c6: C6 of each atom with its like, (n_atoms,), energy length^6.
        gradient: dE/dx, minus the forces, (n_atoms, 3).
        virial: dE/dstrain = sum of r (x) dE/dr over the pairs, (n_systems, 3, 3).
        by_cell: dE/dcell at fixed positions, (n_systems, 3, 3); 0 along axes without pbc.
        by_damping: dE/d(damping), of its shape; 0 unless asked for.
    """

    energy: Tensor
    energies: Tensor
    cn: Tensor
    c6: Tensor
    gradient: Tensor
    virial: Tensor
    by_cell: Tensor
    by_damping: Tensor


class Shares(NamedTuple):
    """Energies of a batch, and what each atom has of them.

    Attributes:
        energy: (n_systems,).
        energies: share of each atom, (n_atoms,); without a graph.
    """

    energy: Tensor
    energies: Tensor


class ByCentre(NamedTuple):
    """Energies of the centres of a pair list, and what moves each of them, without a graph.

    Attributes:
        energies: E_i, (n_atoms,).
        by_cn: the partial derivative of E_i in CN_i, those of the neighbours held, (n_atoms,). In
            a full list that is half of what the whole energy changes by.
        by_vectors: dE_i/dr_ij at fixed CN, (n_pairs, 3).
    """

    energies: Tensor
    by_cn: Tensor
    by_vectors: Tensor


class OwnedForces(NamedTuple):
    """Energies of the atoms that a process owns, and forces of their pairs, without a graph.

    Attributes:
        energies: E_i, (n_atoms,).
        forces: f_ij, which acts on i, and its opposite on j, (n_pairs, 3).
    """

    energies: Tensor
    forces: Tensor


class Range(NamedTuple):
    """How far the dispersion reaches.

    Attributes:
        cutoff: two-body cutoff, length.
        cn_cutoff: cutoff of the coordination number, length.
        width: switching width, length; 0 cuts off hard.
        tail: add the energy of a homogeneous continuation beyond the cutoff, along the periodic
            directions; a molecule has all its pairs instead, whatever the cutoff. The virial is
            the derivative of this energy: at a hard cutoff it knows nothing of pairs that cross
            it, and is corrected by half only; take a width where stress matters, such as the 2 A
            that :class:`d3torch.D3` takes by itself.
        atm_cutoff: cutoff of all three distances of the three-body term, length; 0 leaves it out.
        atm_width: switching width of the three-body term, length; 0 cuts off hard.
    """

    cutoff: float
    cn_cutoff: float
    width: float = 0.0
    tail: bool = False
    atm_cutoff: float = 0.0
    atm_width: float = 0.0


def coordination_number(
    vectors: Tensor, pairs: Tensor, species: Tensor, rcov: Tensor, cutoff: float
) -> Tensor:
    r"""D3 coordination numbers of the centres of a pair list.

    .. math:: CN_i = \sum_j \left[1 + e^{-16 (R_{ij}/r_{ij} - 1)}\right]^{-1}, \quad
        R_{ij} = rcov_i + rcov_j, \quad r_{ij} \le cutoff

    Args:
        vectors: (n_pairs, 3), length; differentiable twice.
        pairs: (2, n_pairs), int64.
        species: index into the tables of every atom, (n_atoms,), int64.
        rcov: covalent radii with the 4/3, (n_species,), length.
        cutoff: length.

    Returns:
        (n_atoms,), of the dtype of ``vectors``.

    Raises:
        ValueError, TypeError, IndexError: shape or device or a vector of length 0, dtype, index;
            one sentence each.

    Source: Grimme et al., J. Chem. Phys. 132, 154104 (2010), doi:10.1063/1.3382344.
    """
    cn: Tensor = torch.ops.d3torch.coordination_number(vectors, pairs, species, rcov, cutoff)
    return cn


def dispersion_energy(
    vectors: Tensor,
    cn: Tensor,
    damping: Tensor,
    pairs: Tensor,
    species: Tensor,
    tables: Tables,
    cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> Tensor:
    r"""D3 energies per centre of a pair list.

    .. math:: E_i = -\frac12 \sum_j C6_{ij} \left[s_6 t_6 + 3 s_8 Q_i Q_j t_8\right] sw(r),
        \quad r \le cutoff

    The damping function :math:`t_n` is that of ``form``, with its parameters in ``damping``:

    - ``RATIONAL``, s6 s8 a1 a2 (a2 a length):
      :math:`t_n = 1/(r^n + R_0^n)`, :math:`R_0 = a_1 \sqrt{3 Q_i Q_j} + a_2`;
    - ``ZERO``, s6 s8 rs6 rs8: :math:`t_n = r^{-n} / (1 + 6 x_n^{-(n + 8)})`,
      :math:`x_n = r/(rs_n r0_{ij})`;
    - ``MODIFIED_ZERO``, s6 s8 rs6 rs8 bet (bet an inverse length): the same with
      :math:`x_n = r/(rs_n r0_{ij}) + bet\, r0_{ij}`,

    with :math:`C6_{ij} = \sum_{ab} w_{ia} w_{jb} C6^{ref}_{ab}`,
    :math:`w_{ia} = softmax_a(-4 (CN_i - CN^{ref}_a)^2)`, and :math:`sw = x^3 (10 - 15x + 6x^2)`,
    :math:`x = (cutoff - r)/width` in the last ``width`` before the cutoff.

    Args:
        vectors: (n_pairs, 3), length; differentiable twice.
        cn: coordination numbers of all atoms, also neighbours, (n_atoms,); differentiable twice.
        damping: parameters of the form, (4,) or (5,); differentiable twice.
        pairs: (2, n_pairs), int64.
        species: (n_atoms,), int64.
        tables: per-species data.
        cutoff: length.
        width: switching width, length; 0 cuts off hard. It is that of simple-dftd3, 0 there too
            unless given.
        form: the damping function.

    Returns:
        (n_atoms,), energy.

    Raises:
        ValueError, TypeError, IndexError: shape or device or a vector of length 0, dtype, index;
            one sentence each.

    Source: Grimme, Ehrlich, Goerigk, J. Comput. Chem. 32, 1456 (2011), doi:10.1002/jcc.21759
    (rational); Grimme et al., J. Chem. Phys. 132, 154104 (2010), doi:10.1063/1.3382344 (zero);
    Smith et al., J. Phys. Chem. Lett. 7, 2197 (2016), doi:10.1021/acs.jpclett.6b00780 (modified).
    """
    energy: Tensor = torch.ops.d3torch.dispersion_energy(
        vectors,
        cn,
        damping,
        pairs,
        species,
        tables.r4r2,
        tables.cn_ref,
        tables.c6_ref,
        cutoff,
        width,
        tables.radii,
        form,
    )
    return energy


def energy_by_centre(
    vectors: Tensor,
    cn: Tensor,
    damping: Tensor,
    pairs: Tensor,
    species: Tensor,
    tables: Tables,
    cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> ByCentre:
    r"""Energies of :func:`dispersion_energy` with the derivatives that belong to the centres.

    .. math:: E_i, \quad \frac{\partial E_i}{\partial CN_i} = -\frac12 \sum_j
        \frac{\partial C6_{ij}}{\partial CN_i} g_{ij}, \quad
        \frac{\partial E_i}{\partial r_{ij}} = -\frac12 C6_{ij} \frac{dg_{ij}}{dr_{ij}}

    For hosts that split space among processes and apply the chain rule themselves: from the full
    list of its own atoms, a process gets the whole of dE/dCN of these, twice ``by_cn``, and has
    nothing to ask of the others but CN. In one sweep over the pairs.

    Args:
        vectors: (n_pairs, 3), length.
        cn: coordination numbers of all atoms, also neighbours, (n_atoms,).
        damping: parameters of the form, (4,) or (5,).
        pairs: (2, n_pairs), int64.
        species: (n_atoms,), int64.
        tables: per-species data.
        cutoff: length.
        width: switching width, length.
        form: the damping function.

    Returns:
        Energies, energy; slopes, energy and energy/length. None is differentiable.

    Raises:
        ValueError, TypeError, IndexError: as :func:`dispersion_energy`.

    Source: as :func:`dispersion_energy`.
    """
    given = (vectors, cn, damping, pairs, species, *tables[1:4], cutoff, width)
    rest = (tables.radii, form)
    return ByCentre(*torch.ops.d3torch.dispersion_energy_by_centre(*given, *rest))


def owned_coordination_number(
    vectors: Tensor, centre: Tensor, neighbour: Tensor, species: Tensor, rcov: Tensor, cutoff: float
) -> Tensor:
    """Coordination numbers of :func:`coordination_number` on a host's own arrays, as they lie.

    Args:
        vectors: (n_pairs, 3), length, float64 or float32.
        centre: i of every pair, never falling, (n_pairs,), int32 or int64.
        neighbour: j of every pair, (n_pairs,), of the dtype of ``centre``.
        species: of every atom, (n_atoms,), int64; the pairs of an atom of species -1 do not count.
        rcov: (n_species,), length. Its dtype is that of the arithmetic: float32 takes vectors of
            either, float64 those of float64.
        cutoff: length.

    Returns:
        (n_atoms,), of the dtype of ``rcov``; not differentiable.

    Raises:
        ValueError, TypeError, IndexError: shape or device or a vector of length 0 or pairs that
            are not in the order of their centres, dtype, index; one sentence each.
        NotImplementedError: on a GPU.

    Source: as :func:`coordination_number`.
    """
    given = (vectors, centre, neighbour, species, rcov, cutoff)
    cn: Tensor = torch.ops.d3torch.owned_coordination_number(*given)
    return cn


def owned_energy_forces(
    vectors: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    species: Tensor,
    cn: Tensor,
    damping: Tensor,
    tables: Tables,
    cutoff: float,
    cn_cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> OwnedForces:
    r"""Energies and pair forces of the atoms that a process owns, from the full list of these.

    .. math:: E_i = -\tfrac12 \sum_j C6_{ij} g_{ij}, \quad
        D_i = \frac{dE}{dCN_i} = -\sum_j \frac{\partial C6_{ij}}{\partial CN_i} g_{ij}, \quad
        f_{ij} = \left[-\tfrac12 C6_{ij} g'_{ij} + D_i c'_{ij}\right] \hat r_{ij}

    with the counting function c within ``cn_cutoff``. Forces are the sums of f_ij at i minus those
    at j over the pairs of all processes. One call in place of :func:`energy_by_centre` and the
    derivative of :func:`coordination_number`, on a host's own arrays: see
    :func:`owned_coordination_number`.

    Args:
        vectors: as of :func:`owned_coordination_number`.
        centre: as of :func:`owned_coordination_number`.
        neighbour: as of :func:`owned_coordination_number`.
        species: as of :func:`owned_coordination_number`.
        cn: of all atoms, those of other processes exchanged before, (n_atoms,).
        damping: parameters of the form, (4,) or (5,).
        tables: per-species data; as ``cn`` and ``damping`` in the dtype of the arithmetic.
        cutoff: length.
        cn_cutoff: length.
        width: switching width, length; 0 cuts off hard.
        form: the damping function.

    Returns:
        Energies in the dtype of ``cn``, forces in that of ``vectors``; not differentiable.

    Raises:
        ValueError, TypeError, IndexError, NotImplementedError: as
            :func:`owned_coordination_number`.

    Source: as :func:`dispersion_energy`.
    """
    pairs = (vectors, centre, neighbour, species)
    rest = (cn, damping, *tables[:4], cutoff, cn_cutoff, width, tables.radii, form)
    return OwnedForces(*torch.ops.d3torch.owned_energy_forces(*pairs, *rest))


def owned_energy_add_forces(
    atom_forces: Tensor,
    vectors: Tensor,
    centre: Tensor,
    neighbour: Tensor,
    species: Tensor,
    cn: Tensor,
    damping: Tensor,
    tables: Tables,
    cutoff: float,
    cn_cutoff: float,
    width: float = 0.0,
    form: int = 0,
) -> Tensor:
    """Energies of :func:`owned_energy_forces`, its forces added to those of the atoms.

    Args:
        atom_forces: of all atoms, (n_atoms, 3), float64, contiguous: f_ij is added to row i, and
            taken from row j.
        vectors: as of :func:`owned_energy_forces`.
        centre: as of :func:`owned_energy_forces`.
        neighbour: as of :func:`owned_energy_forces`.
        species: as of :func:`owned_energy_forces`.
        cn: as of :func:`owned_energy_forces`.
        damping: as of :func:`owned_energy_forces`.
        tables: as of :func:`owned_energy_forces`.
        cutoff: as of :func:`owned_energy_forces`.
        cn_cutoff: as of :func:`owned_energy_forces`.
        width: as of :func:`owned_energy_forces`.
        form: as of :func:`owned_energy_forces`.

    Returns:
        E_i, (n_atoms,), of the dtype of ``cn``; not differentiable.

    Raises:
        ValueError, TypeError, IndexError, NotImplementedError: as :func:`owned_energy_forces`.
            After an error, ``atom_forces`` are as before.

    Source: as :func:`dispersion_energy`.
    """
    pairs = (atom_forces, vectors, centre, neighbour, species)
    rest = (cn, damping, *tables[:4], cutoff, cn_cutoff, width, tables.radii, form)
    energies: Tensor = torch.ops.d3torch.owned_energy_add_forces(*pairs, *rest)
    return energies


def dispersion(
    systems: Systems, damping: Tensor, tables: Tables, reach: Range, form: int = 0
) -> Tensor:
    r"""D3 energies of a batch of structures, found and summed without storing a pair.

    The energy is the sum over atoms of :func:`dispersion_energy` on the list of all neighbours
    within the cutoff, own images included, from the :func:`coordination_number` within its own.
    With ``tail``, plus

    .. math:: E_{tail} = -\frac{1}{2M} \sum_{ij} C6_{ij} \int (1 - sw(r))
        \left[\frac{s_6}{r^6} + \frac{3 s_8 Q_i Q_j}{r^8}\right] dX

    over space, with the volume M of the cell, in a crystal; over the plane at the height of j above
    i, with the area, in a slab; along a line, with the length, in a wire, which counts as thin.
    A molecule has all its pairs up to 1e4 lengths in full, and no tail. At a hard cutoff the sum
    over pairs jumps where a pair crosses it, and the virial, which is the derivative, cannot know:
    a surface term would make it that of the converged energy, and no longer the derivative of this
    one, which dynamics and fits need. A width makes both the same.

    With an ``atm_cutoff``, plus the three-body term of Axilrod, Teller and Muto, summed over all
    triangles whose three sides are within it, images included,

    .. math:: E_{ijk} = s_9 \frac{\sqrt{C6_{ij} C6_{ik} C6_{jk}}}{p^3} \left[\frac{3 Q}{8 p^2}
        + 1\right] \frac{sw(r_{ij}) sw(r_{ik}) sw(r_{jk})}{1 + 6 (R_{ijk}/p)^{16/3}}, \quad
        p = r_{ij} r_{ik} r_{jk}, \quad
        R_{ijk} = \left(\tfrac{4}{3}\right)^3 r0_{ij} r0_{ik} r0_{jk}

    with :math:`Q = (A+C-B)(A-C+B)(B+C-A)` of the squared sides; every atom of a triangle has a
    third. :math:`s_9` is the last of the damping parameters, 1 in hartree: in an energy unit of
    which a hartree has h it is :math:`1/\sqrt h`, since the term goes as
    :math:`C6^{3/2}/r^9`.

    When gradients are wanted, this one sweep computes them too; backward only scales them, and
    double backward is one more sweep.

    Args:
        systems: structures; positions and cell are differentiable twice.
        damping: parameters of the form of every system, then s9 (1/sqrt(energy)) with an
            ``atm_cutoff``, (n_systems, n); differentiable twice.
        tables: per-species data; at most 7 references.
        reach: cutoffs.
        form: the damping function.

    Returns:
        (n_systems,), energy.

    Raises:
        ValueError, TypeError, IndexError: shape, device, dtype or index; NaN positions, two atoms
            on one spot, a singular cell, more work than ends in days; a sentence counts atoms from
            the first of their system.

    Source: as :func:`dispersion_energy`; three-body term: Grimme et al., J. Chem. Phys. 132, 154104
    (2010), doi:10.1063/1.3382344.
    """
    energy: Tensor = torch.ops.d3torch.dispersion(
        *systems, damping, *tables[:4], *reach[:4], tables.radii, form, *reach[4:]
    )
    return energy


def dispersion_shares(
    systems: Systems, damping: Tensor, tables: Tables, reach: Range, form: int = 0
) -> Shares:
    r"""Energies of :func:`dispersion` with the share of each atom, in the same sweep.

    .. math:: E = \sum_i E_i

    with the energies per centre of :func:`dispersion_energy`, a third of each triangle of the
    three-body term, and in a tail the terms of its atom i. For losses of energies and forces
    beside which a host shows energies of atoms: those are numbers, and a loss of them learns
    nothing.

    Args:
        systems: as of :func:`dispersion`; positions and cell are differentiable twice.
        damping: as of :func:`dispersion`; differentiable twice.
        tables: as of :func:`dispersion`.
        reach: as of :func:`dispersion`.
        form: as of :func:`dispersion`.

    Returns:
        Energies and shares, energy; only the former are differentiable.

    Raises:
        ValueError, TypeError, IndexError: as :func:`dispersion`.

    Source: as :func:`dispersion_energy`.
    """
    rest = (tables.radii, form, *reach[4:])
    return Shares(
        *torch.ops.d3torch.dispersion_shares(*systems, damping, *tables[:4], *reach[:4], *rest)
    )


def evaluate(
    systems: Systems,
    damping: Tensor,
    tables: Tables,
    reach: Range,
    gradients: bool = True,
    learn: bool = False,
    instruction_set: str = "best",
    form: int = 0,
) -> Evaluation:
    """All results of :func:`dispersion` at once, for inference: they carry no graph.

    Args:
        systems: as of :func:`dispersion`.
        damping: as of :func:`dispersion`.
        tables: as of :func:`dispersion`.
        reach: as of :func:`dispersion`.
        gradients: compute ``gradient``, ``virial`` and ``by_cell``, else leave them 0.
        learn: compute ``by_damping`` as well.
        instruction_set: ``"best"`` of this processor, or ``"avx512"``, ``"avx2"``, ``"baseline"``.
        form: as of :func:`dispersion`.

    Raises:
        ValueError, TypeError, IndexError: as :func:`dispersion`; an instruction set that this
            processor lacks, or any but ``"best"`` on a GPU.
    """
    given = (*systems, damping, *tables[:4], *reach[:4], gradients, learn, instruction_set)
    rest = (tables.radii, form, *reach[4:])
    return Evaluation(*torch.ops.d3torch.dispersion_evaluate(*given, *rest))


def on_list(
    systems: Systems,
    pairs: PairList,
    damping: Tensor,
    tables: Tables,
    reach: Range,
    form: int = 0,
) -> Shares:
    r"""D3 energies of a batch of structures on a neighbour list, with the share of each atom.

    .. math:: E = \sum_i E_i, \quad r_{ij} = x_j - x_i + S_{ij} \cdot cell

    with the energies per centre of :func:`dispersion_energy`, from the :func:`coordination_number`
    within its own cutoff of the same list. On a list of all pairs within the larger cutoff, the
    energy is that of :func:`dispersion`. Pairs beyond the cutoffs do not count, so that a list may
    have a skin; one that reaches less far cuts off there.

    When gradients are wanted, the same sweeps compute them; backward only scales them, and double
    backward is one more call on dual numbers. Nothing is kept for each pair but the list of the
    caller. A list that is sorted by centre and contiguous, as most are, is read where it is; any
    other, and a half one, is put in order for the time of a call.

    On a GPU nothing waits for the card. A list is put in order there, by counting, for which each
    call has 8 bytes of memory a directed pair at hand; results repeat to the last bit for lists of
    any kind. A system of which values are wrong is NaN, and with an index out of range, all are.

    Args:
        systems: structures; positions and cell are differentiable twice.
        pairs: the list; not differentiable.
        damping: parameters of the form of every system, (n_systems, n); differentiable twice.
        tables: per-species data; at most 7 references.
        reach: cutoffs; no tail and no three-body term, of which a list of pairs does not know.
        form: the damping function.

    Returns:
        Energies and shares, energy; only the former are differentiable.

    Raises:
        ValueError, TypeError, IndexError: shape, device, dtype or index; a pair of two systems, or
            of length 0; a shift that is no whole number, or along an axis without pbc; positions
            that are not finite; a singular cell; a list that lacks the reverse of a pair within the
            larger cutoff, or a half one that has all of them; a tail or an ``atm_cutoff``.

    Source: as :func:`dispersion_energy`.
    """
    given = (*systems, damping, *tables[:4], *reach[:4], *pairs)
    return Shares(*torch.ops.d3torch.dispersion_on_list(*given, tables.radii, form, *reach[4:]))


def evaluate_on_list(
    systems: Systems,
    pairs: PairList,
    damping: Tensor,
    tables: Tables,
    reach: Range,
    gradients: bool = True,
    learn: bool = False,
    instruction_set: str = "best",
    form: int = 0,
) -> Evaluation:
    """All results of :func:`on_list` at once, for inference: they carry no graph.

    Args:
        systems: as of :func:`on_list`.
        pairs: as of :func:`on_list`.
        damping: as of :func:`on_list`.
        tables: as of :func:`on_list`.
        reach: as of :func:`on_list`.
        gradients: compute ``gradient``, ``virial`` and ``by_cell``, else leave them 0.
        learn: compute ``by_damping`` as well.
        instruction_set: as of :func:`evaluate`.
        form: as of :func:`on_list`.

    Raises:
        ValueError, TypeError, IndexError: as :func:`on_list`, and of an instruction set as
            :func:`evaluate`.
    """
    given = (*systems, damping, *tables[:4], *reach[:4], *pairs, gradients, learn, instruction_set)
    rest = (tables.radii, form, *reach[4:])
    return Evaluation(*torch.ops.d3torch.dispersion_on_list_evaluate(*given, *rest))


def pairwise_energies(
    systems: Systems,
    damping: Tensor,
    tables: Tables,
    reach: Range,
    labels: Tensor,
    n_labels: int,
    form: int = 0,
) -> Tensor:
    r"""Energies of :func:`dispersion` by pair of labels: what groups of atoms have together.

    .. math:: E_{ab} = \sum_{i \in a} \sum_{j \in b} \tfrac{1}{2} e_{ij}, \quad
        \sum_{ab} E_{ab} = E

    with the energy :math:`e_{ij}` of atom i and all images of atom j. A triangle of the three-body
    term gives a third of its energy to each of its sides, as simple-dftd3 does; the tail is a sum
    over pairs of atoms too. What is between two groups, :math:`a \ne b`, is
    :math:`E_{ab} + E_{ba} = 2 E_{ab}`.

    On the CPU, in the time of one evaluation without gradients and, with many labels, that of
    writing (n_atoms, n_labels) numbers; repeatable to the last bit for any number of threads.

    Args:
        systems: as of :func:`dispersion`.
        damping: as of :func:`dispersion`.
        tables: as of :func:`dispersion`.
        reach: as of :func:`dispersion`.
        labels: of every atom, from 0 on, (n_atoms,), int64.
        n_labels: how many there are.
        form: as of :func:`dispersion`.

    Returns:
        (n_systems, n_labels, n_labels), energy, symmetric; not differentiable.

    Raises:
        ValueError, TypeError, IndexError: as :func:`dispersion`; a label out of range.
        NotImplementedError: on a GPU.

    Source: as :func:`dispersion`.
    """
    rest = (labels, n_labels, tables.radii, form, *reach[4:])
    energies: Tensor = torch.ops.d3torch.dispersion_pairwise(
        *systems, damping, *tables[:4], *reach[:4], *rest
    )
    return energies
