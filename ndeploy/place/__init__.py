"""Which neurons go on which core, greedily, with the lower bound beside it.

Every population, and every buffer and neuron of a product that runs on neurocores, is cut into boxes that fit a core;
boxes are put on cores first fit, the largest first. Nothing is enumerated synapse by synapse.
"""

from __future__ import annotations

from collections.abc import Mapping

from ndeploy.errors import RefusedError, UsageError
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.place.assign import Piece, cut_all
from ndeploy.place.bounds import lower_bound
from ndeploy.place.layers import halved
from ndeploy.place.operations import embedded_operations, host_operations
from ndeploy.place.packing import Packed, pack
from ndeploy.place.placed import CoreUse, Operation, Placed, Slice
from ndeploy.place.split import UNLIMITED, capacity_of
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.units import Unit, Units, units_of
from ndeploy.target import Target, unknown_limits

OBJECTIVES = ("cores", "traffic", "latency", "layers")
"""cores: the fewest; traffic: few packets between cores, by measured rates; latency: balanced time; layers: no core is
shared by two layers, each is halved until its parts fit."""
METHODS = ("auto", "greedy", "cp-sat")
"""auto: CP-SAT after greedy where the problem is small, ortools is there and greedy is above the lower bound."""


def _use(core: int, pieces: list[Piece]) -> CoreUse:
    return CoreUse(
        core,
        sum(piece.need.neurons for piece in pieces),
        -(-sum(piece.need.memory for piece in pieces) // 8),
        sum(piece.need.in_axons for piece in pieces),
        sum(piece.out_axons for piece in pieces),
        len({c for piece in pieces for c in piece.need.configurations}),
        len({c for piece in pieces for c in piece.need.thresholds}),
        sum(piece.need.state for piece in pieces),
    )


def _chips(cores: int, target: Target) -> int:
    per_chip = target.cores_per_chip.value or cores or 1
    chips = -(-cores // per_chip)
    largest = max((s for s in target.systems), key=lambda s: s.chips.value or UNLIMITED, default=None)
    if largest is not None and largest.chips.value is not None and chips > largest.chips.value:
        raise RefusedError(
            "ND412",
            f"the program takes {cores} cores, that is {chips} chips of {target.name}; "
            f"the largest system, {largest.name}, has {largest.chips.value}",
            help="use a smaller network, fewer bits, or --attention streamed or embedded",
        )
    return chips


def _sums(units: Units, pieces: tuple[Piece, ...], hosted: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """Out-axons and neurons by population and product."""
    axons = {units.owner[name]: n for name, n in hosted.items()}
    sizes = {units.owner[name]: n for name, n in units.hosted.items()}
    for piece in pieces:
        owner = units.owner[piece.unit]
        if f"{owner}/embedded" in units.hosted:  # its neurons only gather sums: the processor sends
            continue
        axons[owner] = axons.get(owner, 0) + piece.out_axons
        sizes[owner] = sizes.get(owner, 0) + piece.need.neurons
    return axons, sizes


def _unplaced(program: Program, target: Target, units: Units, objective: str) -> Placed:
    bits = sum(link.weight_bits() for unit in units.units for link in unit.links)
    return Placed(
        target.name,
        (),
        (),
        0,
        0,
        "",
        0,
        -(-bits // 8),
        embedded_operations(program),
        host_operations(program),
        notes=(f"{target.name} has no cores: nothing was placed, cores and chips are 0",),
        state_memory_bytes=_state(units),
        objective=objective,
    )


def _state(units: Units) -> int:
    return sum(unit.size * unit.words * WORD_BYTES for unit in units.units)


def place(
    program: Program, target: Target, objective: str = "cores", rates: Activity | None = None, method: str = "auto"
) -> Placed:
    """Place a program. Deterministic: the same arguments give the same placement.

    objective, method: one of `OBJECTIVES` and `METHODS`. rates: what a run sent, for objectives that weigh messages;
    without it every neuron is taken to send equally often.
    Raises UsageError ND413 for an unknown objective or method, RefusedError ND402 where a single neuron is too much for
    a core, ND412 where no system has enough chips.
    """
    for given, known, what in ((objective, OBJECTIVES, "objective"), (method, METHODS, "method")):
        if given not in known:
            raise UsageError("ND413", f"{what} '{given}' of a placement", help=f"known: {', '.join(known)}")
    units = units_of(program, target)
    if not target.placed:
        return _unplaced(program, target, units, objective)
    capacity = capacity_of(target.core)
    bound, by = lower_bound(units, capacity)
    _chips(bound, target)  # refused before the work of cutting what cannot fit anywhere
    if objective == "layers":
        pieces, hosted = cut_all(units, capacity, halved)
        packed = Packed(pieces, tuple(range(len(pieces))), hosted)
    else:
        pieces, hosted = cut_all(units, capacity)
        packed = pack(units, capacity, pieces, hosted, bound)
    alone = sum(piece.need.memory for piece in pieces)
    return _placed(program, target, units, packed, alone, (bound, by), objective)


def _placed(
    program: Program,
    target: Target,
    units: Units,
    packed: Packed,
    alone: int,
    bound: tuple[int, str],
    objective: str,
) -> Placed:
    """alone: bits of synaptic memory of the units each cut on its own."""
    pieces, cores, hosted = packed.pieces, packed.cores, packed.hosted
    grids: dict[str, Unit] = {unit.name: unit for unit in units.units}
    slices = tuple(
        Slice(piece.unit, units.owner[piece.unit], grids[piece.unit].grid, piece.box, core, piece.need.neurons)
        for piece, core in zip(pieces, cores, strict=True)
    )
    held: dict[int, list[Piece]] = {}
    for piece, core in zip(pieces, cores, strict=True):
        held.setdefault(core, []).append(piece)
    axons, sizes = _sums(units, pieces, hosted)
    estimate = target.packing.status == "unverified"
    return Placed(
        target.name,
        slices,
        tuple(_use(core, held[core]) for core in sorted(held)),
        len(held),
        *bound,
        _chips(len(held), target),
        -(-alone // 8),
        embedded_operations(program),
        host_operations(program),
        axons=axons,
        sizes=sizes,
        unknown=unknown_limits(target),
        notes=("bytes of synaptic memory are an estimate: the chip's own format is not published",) if estimate else (),
        state_memory_bytes=_state(units),
        objective=objective,
    )


__all__ = [
    "METHODS",
    "OBJECTIVES",
    "CoreUse",
    "Operation",
    "Placed",
    "Slice",
    "embedded_operations",
    "host_operations",
    "lower_bound",
    "place",
]
