"""Which neurons go on which core, greedily, with the lower bound beside it.

Every population, and every buffer and neuron of a product that runs on neurocores, is cut into boxes that fit a core;
boxes are put on cores first fit, the largest first. Nothing is enumerated synapse by synapse.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ndeploy.check_graded import updates_of
from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.place.assign import Piece, cut_all, first_fit
from ndeploy.place.links import Box, neurons
from ndeploy.place.split import UNLIMITED, Capacity, capacity_of
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.units import Unit, Units, units_of
from ndeploy.realise import realise
from ndeploy.target import Target, unknown_limits


@dataclass(frozen=True)
class Slice:
    """Neurons of one unit on one core. unit: a population, or "<product>/neurons" and the like; grid: its shape as
    placed; box: (start, stop) on each axis of it; owner: the population or product."""

    unit: str
    owner: str
    grid: tuple[int, ...]
    box: Box
    core: int
    size: int

    def neurons(self) -> IntArray:
        """Flat indices (C order) of the unit's neurons in this slice."""
        return neurons(self.box, self.grid)


@dataclass(frozen=True)
class CoreUse:
    """What a core holds."""

    core: int
    neurons: int
    memory_bytes: int
    in_axons: int
    out_axons: int
    neuron_configurations: int
    threshold_configurations: int
    state_bytes: int


@dataclass(frozen=True)
class Operation:
    """Something that no neurocore does: kind "embedded" (the chip's processor) or "host".

    operations: arithmetic operations a sample, 0 where there are none to count; multiply_accumulates: those of them
    that are a product's.
    """

    name: str
    kind: str
    reason: str
    multiply_accumulates: int = 0
    operations: int = 0


@dataclass(frozen=True)
class Placed:
    """A program on cores. cores, cores_lower_bound and chips are 0 for a target that has no cores (lava).

    bound_by: the resource that sets the lower bound; axons: by population and product, out-axons of all its neurons
    (for inputs those of the host, for embedded populations those of the processor), that is messages if each neuron
    spiked once; state_memory_bytes: of all neurons; unknown: limits that nobody published.
    """

    target: str
    slices: tuple[Slice, ...]
    use: tuple[CoreUse, ...]
    cores: int
    cores_lower_bound: int
    bound_by: str
    chips: int
    weight_memory_bytes: int
    embedded_ops: tuple[Operation, ...] = ()
    host_ops: tuple[Operation, ...] = ()
    axons: Mapping[str, int] = field(default_factory=dict)
    sizes: Mapping[str, int] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    state_memory_bytes: int = 0

    @property
    def gap(self) -> int:
        """Cores above the lower bound."""
        return self.cores - self.cores_lower_bound

    def summary(self) -> dict[str, Any]:
        """JSON-like data without the slices."""
        return {
            "target": self.target,
            "cores": self.cores,
            "cores_lower_bound": self.cores_lower_bound,
            "bound_by": self.bound_by,
            "chips": self.chips,
            "weight_memory_bytes": self.weight_memory_bytes,
            "state_memory_bytes": self.state_memory_bytes,
            "embedded_ops": [_plain(operation) for operation in self.embedded_ops],
            "host_ops": [_plain(operation) for operation in self.host_ops],
            "unknown_limits": list(self.unknown),
            "notes": list(self.notes),
        }


def _plain(operation: Operation) -> dict[str, Any]:
    return {
        "name": operation.name,
        "kind": operation.kind,
        "reason": operation.reason,
        "multiply_accumulates": operation.multiply_accumulates,
        "operations": operation.operations,
    }


def embedded_operations(program: Program) -> tuple[Operation, ...]:
    """Populations whose neurons the embedded processor mixes, and products that it computes."""
    populations = tuple(
        Operation(
            p.name,
            "embedded",
            f"{p.neuron.kind} of {p.size} sums, {updates_of(program, p)} times a sample: no neurocore mixes neurons",
            operations=p.neuron.operations(p.size) * updates_of(program, p),
        )
        for p in program.populations
        if p.neuron.embedded
    )
    products = tuple(
        Operation(
            product.name,
            "embedded",
            f"'{product.subscripts}' of '{product.left}' and '{product.right}' was compiled for the embedded processor",
            realise(product).multiplies * program.steps,
            realise(product).multiplies * program.steps,
        )
        for product in program.products
        if product.realisation == "embedded"
    )
    return populations + products


def host_operations(program: Program) -> tuple[Operation, ...]:
    """What the host does for every sample: encode inputs, read outputs, decode."""
    encode = [
        Operation(port.population, "host", f"rounds samples to messages (scale {port.scale:g}) and injects them")
        for port in program.inputs
    ]
    read = [
        Operation(
            port.population,
            "host",
            f"reads {'messages' if port.variable == 'message' else port.variable} each model step"
            + ("" if port.decode == "none" else f"; argmax of their {port.decode}"),
        )
        for port in program.outputs
    ]
    return (*encode, *read)


def lower_bound(units: Units, capacity: Capacity) -> tuple[int, str]:
    """Cores that no placement can go below, and the resource that says so.

    Per resource the least any placement takes in all, divided by what a core holds: neurons; synaptic memory as packed,
    with no axon's synapses parted; one in-axon for each source neuron of each link; distinct configurations.
    """
    totals = {
        "neurons": (sum(unit.size for unit in units.units), capacity.neurons),
        "synaptic memory": (sum(link.least_bits() for unit in units.units for link in unit.links), capacity.memory),
        "in-axons": (
            sum(link.axons(link.whole) for unit in units.units for link in unit.links),
            capacity.in_axons,
        ),
        "neuron configurations": (
            len({c for unit in units.units for c in unit.configurations}),
            capacity.configurations,
        ),
        "threshold configurations": (
            len({c for unit in units.units for c in unit.thresholds}),
            capacity.thresholds,
        ),
        "state memory": (sum(unit.size * unit.words * WORD_BYTES for unit in units.units), capacity.state),
    }
    bounds = {name: -(-total // limit) for name, (total, limit) in totals.items()}
    by = max(bounds, key=lambda name: bounds[name])
    return bounds[by], by


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


def place(program: Program, target: Target) -> Placed:
    """Place a program. Deterministic: the same program and target give the same placement.

    Raises RefusedError ND402 where a single neuron is too much for a core, ND412 where no system has enough chips.
    """
    units = units_of(program, target)
    state = sum(unit.size * unit.words * WORD_BYTES for unit in units.units)
    if not target.placed:
        bits = sum(link.weight_bits() for unit in units.units for link in unit.links)
        note = f"{target.name} has no cores: nothing was placed, cores and chips are 0"
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
            notes=(note,),
            state_memory_bytes=state,
        )
    capacity = capacity_of(target.core)
    bound, by = lower_bound(units, capacity)
    _chips(bound, target)  # refused before the work of cutting what cannot fit anywhere
    pieces, hosted = cut_all(units, capacity)
    cores = first_fit(pieces, capacity)
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
        bound,
        by,
        _chips(len(held), target),
        -(-sum(piece.need.memory for piece in pieces) // 8),
        embedded_operations(program),
        host_operations(program),
        axons=axons,
        sizes=sizes,
        unknown=unknown_limits(target),
        notes=("bytes of synaptic memory are an estimate: the chip's own format is not published",) if estimate else (),
        state_memory_bytes=state,
    )


__all__ = ["CoreUse", "Operation", "Placed", "Slice", "place"]
