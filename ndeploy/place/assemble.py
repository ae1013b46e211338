"""A `Placed` from pieces on cores: what every core holds, and why there are more cores than the bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ndeploy.errors import RefusedError
from ndeploy.ir.program import Program
from ndeploy.place.assign import Piece
from ndeploy.place.operations import embedded_operations, host_operations
from ndeploy.place.packing import Packed
from ndeploy.place.placed import CoreUse, Placed, Slice
from ndeploy.place.split import UNLIMITED, Capacity, capacity_of
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.units import Units
from ndeploy.target import System, Target, unknown_limits

FULL = 0.9
"""Share of a resource from which a core is called full of it."""


@dataclass(frozen=True)
class Found:
    """What the search says of a placement. alone: bits of synaptic memory with every unit cut on its own; bound, by:
    cores that no placement goes below and the resource that says so; objective, method: as of `Placed`."""

    alone: int
    bound: int
    by: str
    objective: str = "cores"
    method: str = "greedy"
    notes: tuple[str, ...] = ()


def state_bytes(units: Units) -> int:
    """Bytes of state of all neurons."""
    return sum(unit.size * unit.words * WORD_BYTES for unit in units.units)


def core_use(core: int, pieces: list[Piece]) -> CoreUse:
    """What the pieces take of their core."""
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


def shares(use: CoreUse, capacity: Capacity) -> dict[str, float]:
    """How full a core is of each resource that is limited, as a fraction."""
    amounts = {
        "neurons": (use.neurons, capacity.neurons),
        "synaptic memory": (8 * use.memory_bytes, capacity.memory),
        "in-axons": (use.in_axons, capacity.in_axons),
        "out-axons": (use.out_axons, capacity.out_axons),
        "neuron configurations": (use.neuron_configurations, capacity.configurations),
        "threshold configurations": (use.threshold_configurations, capacity.thresholds),
        "state memory": (use.state_bytes, capacity.state),
    }
    return {name: amount / limit for name, (amount, limit) in amounts.items() if 0 < limit < UNLIMITED}


def largest_system(target: Target) -> System | None:
    """The system with the most chips, None where the target names none."""
    return max(target.systems, key=lambda s: UNLIMITED if s.chips.value is None else s.chips.value, default=None)


def chips_of(cores: int, target: Target) -> int:
    """Chips that so many cores take.

    Raises RefusedError ND412 where no system has as many, with the cores that are too many.
    """
    per_chip = target.cores_per_chip.value or cores or 1
    chips = -(-cores // per_chip)
    largest = largest_system(target)
    if largest is not None and largest.chips.value is not None and chips > largest.chips.value:
        over = cores - largest.chips.value * per_chip
        raise RefusedError(
            "ND412",
            f"the program takes {cores} cores, that is {chips} chips of {target.name}; "
            f"the largest system, {largest.name}, has {largest.chips.value}: {over} cores too many",
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


def unplaced(program: Program, target: Target, units: Units, objective: str) -> Placed:
    """The placement on a target that has no cores."""
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
        state_memory_bytes=state_bytes(units),
        objective=objective,
    )


def slices_of(units: Units, packed: Packed) -> tuple[Slice, ...]:
    """The pieces as slices of their units."""
    grids = {unit.name: unit.grid for unit in units.units}
    return tuple(
        Slice(piece.unit, units.owner[piece.unit], grids[piece.unit], piece.box, core, piece.need.neurons)
        for piece, core in zip(packed.pieces, packed.cores, strict=True)
    )


def assemble(program: Program, target: Target, units: Units, packed: Packed, found: Found) -> Placed:
    """The placement as data. Raises RefusedError ND412 where no system has enough chips."""
    held: dict[int, list[Piece]] = {}
    for piece, core in zip(packed.pieces, packed.cores, strict=True):
        held.setdefault(core, []).append(piece)
    use = tuple(core_use(core, held[core]) for core in sorted(held))
    axons, sizes = _sums(units, packed.pieces, packed.hosted)
    notes = list(found.notes)
    per_chip = target.cores_per_chip.value
    # a placement that was read may leave cores free
    spread = len({core // per_chip for core in held}) if per_chip else 0
    if target.packing.status == "unverified":
        notes.append("bytes of synaptic memory are an estimate: the chip's own format is not published")
    return Placed(
        target.name,
        slices_of(units, packed),
        use,
        len(held),
        found.bound,
        found.by,
        max(chips_of(len(held), target), spread),
        -(-found.alone // 8),
        embedded_operations(program),
        host_operations(program),
        axons=axons,
        sizes=sizes,
        unknown=unknown_limits(target),
        notes=tuple(notes),
        state_memory_bytes=state_bytes(units),
        objective=found.objective,
        method=found.method,
        reason=reason(use, capacity_of(target.core), found),
    )


def reason(use: tuple[CoreUse, ...], capacity: Capacity, found: Found) -> str:
    """Why there are more cores than the bound, a sentence; "" where there are not."""
    gap = len(use) - found.bound
    if gap <= 0:
        return ""
    above = f"{gap} {'core' if gap == 1 else 'cores'} above the bound, which shares out {found.by} without loss"
    if found.objective == "layers":
        return f"{above}: no core is shared by two layers, and layers are cut in halves"
    if found.objective == "latency":
        return f"{above}: busy layers lie on more cores, so that none holds up the others"
    filled = [shares(each, capacity) for each in use]
    full = Counter(max(held, key=lambda name: held[name]) for held in filled if max(held.values(), default=0) >= FULL)
    by = ", ".join(f"{n} of {name}" for name, n in full.most_common()) or "none"
    mean = sum(held.get(found.by, 0.0) for held in filled) / len(filled)
    return (
        f"{above}: of {len(use)} cores {sum(full.values())} are at least {FULL:.0%} full ({by}), and cores are "
        f"{mean:.0%} full of {found.by} on average; boxes of neighbouring neurons leave the rest"
    )
