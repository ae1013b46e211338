"""What widths cost: synaptic memory by projection and width as the target packs it, and operations in bits.

Memory is what `ndeploy.place` says, taken apart. A chip holds one copy of a shared weight for every core that uses it,
so what a projection takes depends on how its population is cut into boxes, and that, where synaptic memory is what
fills the core, on the widths of everything that ends there. Options are therefore those of all trained weights having
the same width. Their sum is exact for every uniform width, and for every other assignment in which each population is
cut as its projections' widths would each have it cut alone: for all random assignments on the networks measured (30
each of mnist-conv, braille, spikformer and three CTMs on loihi2, mnist-conv on loihi1). It is not where several trained
projections of different widths meet in a population that fills its cores with synapses, or where out-axons make a
source be cut again: `packed_memory` is exact for every assignment.

Bit operations follow Shen et al., "Is Conventional SNN Really Efficient?" (arXiv 2311.10802), with time steps T, weight
bits b_w, spike bits b_s, n synapses and firing rates f (non-zero messages a neuron and model step):

    BB     = T b_w b_s                            the bit budget of one synapse
    S-ACE  = sum over synapses of BB              bit operations of a sample, every message sent
    NS-ACE = sum over synapses of f BB            the same for the messages that a run has sent

taken here projection by projection, each with its own widths: S-ACE = sum of n s b_w b_s with s the messages its source
sends a sample (its updates: T, or 1 for what is computed once), NS-ACE = sum of (synaptic operations) b_w b_s with the
mean synaptic operations a sample that were counted, which is n f T. A product has no weights: each of its scalar
products counts with the bits of both operands, b_left b_right, at every model step (S-ACE) or where both are not zero
(NS-ACE; the embedded processor multiplies zeros too).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.ir.result import Counts
from ndeploy.neurons import Input
from ndeploy.pack import field_width
from ndeploy.place.assign import cut_all
from ndeploy.place.links import Box, Link
from ndeploy.place.split import Capacity, capacity_of, split
from ndeploy.place.units import Unit, Units, units_of
from ndeploy.realise import realise
from ndeploy.target import Target

LEAST_BITS, MOST_BITS = 2, 16


@dataclass(frozen=True)
class Memory:
    """Synaptic memory in bits. options: by trained projection and weight width; fixed: of constant synapses (pools,
    joins, skips) and of the neurons of products. Every placement of a uniform width takes fixed plus the options."""

    options: Mapping[str, Mapping[int, int]]
    fixed: int

    def bytes(self, weights: Mapping[str, int]) -> int:
        """Bytes of an assignment: bits by trained projection."""
        return -(-(self.fixed + sum(self.options[name][bits] for name, bits in weights.items())) // 8)


def widths(target: Target) -> tuple[int, ...]:
    """Weight widths that the target stores, from 2 to 16 bits."""
    limit = target.widths.weight.value
    return tuple(range(LEAST_BITS, min(MOST_BITS, limit if limit is not None else MOST_BITS) + 1))


def memory(program: Program, target: Target) -> Memory:
    """What every trained projection takes at every width the target stores, and at its own width in the program.

    A width at which a neuron of the population would not fit a core is left out. Constant synapses that share cores
    with trained ones take a little more where wider weights cut a population into more boxes: that is charged to the
    population's largest trained projection. Raises RefusedError ND402 where no width fits.
    """
    units = units_of(program, target)
    trained = {p.name: p.weight_bits for p in program.projections if not p.unit}
    size = {p.name: p.synapses.weight.size for p in program.projections}
    asked = sorted({*widths(target), *trained.values()})
    options: dict[str, dict[int, int]] = {name: {} for name in trained}
    fixed: int | None = None
    constant: dict[str, int] = {}
    refused: RefusedError | None = None
    for bits in asked:
        try:
            boxes, left_out = _boxes(units, trained, bits, target)
        except RefusedError as error:
            refused = error
            continue
        for unit in _at(units, dict.fromkeys(trained, bits), target).units:
            of_link = [_bits(link, boxes[unit.name], target) for link in unit.links]
            own = {link.name for link in unit.links} & trained.keys()
            rest = sum(n for link, n in zip(unit.links, of_link, strict=True) if link.name not in own)
            more = rest - constant.setdefault(unit.name, rest)
            if unit.name in left_out:
                continue
            for link, n in zip(unit.links, of_link, strict=True):
                if link.name in own:
                    options[link.name][bits] = n
            if own:
                options[max(sorted(own), key=lambda name: size[name])][bits] += more
        fixed = sum(constant.values()) if fixed is None else fixed
    if refused is not None and (fixed is None or not all(options.values())):
        raise refused
    allowed = set(widths(target))
    kept = {
        name: {bits: n for bits, n in found.items() if bits in allowed or bits == trained[name]}
        for name, found in options.items()
    }
    return Memory(kept, fixed or 0)


def memory_options(program: Program, target: Target) -> Mapping[str, Mapping[int, int]]:
    """Bits of synaptic memory by trained projection and weight width; as `memory`."""
    return memory(program, target).options


def fixed_memory(program: Program, target: Target) -> int:
    """Bits of synaptic memory that no width changes; as `memory`."""
    return memory(program, target).fixed


def packed_memory(program: Program, target: Target, weights: Mapping[str, int] | None = None) -> int:
    """Bytes of synaptic memory that `place` gives the program, with other widths for the projections named.

    Neurons are cut as the program's are: on targets that share thresholds between neurons (loihi1), a program made with
    other widths may have others. Raises RefusedError ND402 where a neuron does not fit a core.
    """
    chosen = {p.name: p.weight_bits for p in program.projections if not p.unit} | dict(weights or {})
    units = _at(units_of(program, target), chosen, target)
    if not target.placed:
        return -(-sum(link.weight_bits() for unit in units.units for link in unit.links) // 8)
    pieces, _ = cut_all(units, capacity_of(target.core))
    return -(-sum(piece.need.memory for piece in pieces) // 8)


def _at(units: Units, weights: Mapping[str, int], target: Target) -> Units:
    """The units with other weight widths."""

    def link_at(link: Link) -> Link:
        if link.name not in weights:
            return link
        width = field_width(weights[link.name], target.packing.weight_widths)
        return replace(link, format=replace(link.format, weight=width))

    return replace(
        units, units=tuple(replace(unit, links=tuple(link_at(link) for link in unit.links)) for unit in units.units)
    )


def _boxes(
    units: Units, trained: Mapping[str, int], bits: int, target: Target
) -> tuple[dict[str, tuple[Box, ...]], set[str]]:
    """How units are cut with all trained weights `bits` wide, and the units that do not fit at that width (which are
    cut as at the widest that does)."""
    at = _at(units, dict.fromkeys(trained, bits), target)
    if not target.placed:
        return {unit.name: (_whole(unit),) for unit in at.units}, set()
    capacity = capacity_of(target.core)
    left_out: set[str] = set()
    try:
        pieces, _ = cut_all(at, capacity)
    except RefusedError:
        narrower = [_at(units, dict.fromkeys(trained, b), target) for b in range(bits - 1, LEAST_BITS - 1, -1)]
        fitting = []
        for i, unit in enumerate(at.units):
            if not _fits(unit, capacity):
                left_out.add(unit.name)
                unit = next((n.units[i] for n in narrower if _fits(n.units[i], capacity)), unit)
            fitting.append(unit)
        pieces, _ = cut_all(replace(at, units=tuple(fitting)), capacity)
    boxes: dict[str, list[Box]] = {unit.name: [] for unit in at.units}
    for piece in pieces:
        boxes[piece.unit].append(piece.box)
    return {name: tuple(found) for name, found in boxes.items()}, left_out


def _whole(unit: Unit) -> Box:
    return tuple((0, size) for size in unit.grid)


def _fits(unit: Unit, capacity: Capacity) -> bool:
    try:
        split(unit, capacity)
    except RefusedError:
        return False
    return True


def _bits(link: Link, boxes: tuple[Box, ...], target: Target) -> int:
    if not target.placed:
        return link.weight_bits()
    total = 0
    for box in boxes:
        n, times = link.axon_sizes(box)
        total += int((link.format.axon_bits(n) * times).sum())
    return total


# -- bit operations ----------------------------------------------------------------------------------------------------


def mean_payload(program: Program) -> float:
    """Mean bits of graded messages over the neurons that send them, host inputs aside; 1 where all spikes are binary.

    This is what a budget of spike bits bounds.
    """
    return _mean_bits([p for p in program.populations if _sends(p) and p.neuron.message.bits > 1])


def bit_costs(program: Program, counts: Counts | None) -> dict[str, float]:
    """What a sample costs in bits, by the equations above.

    "bb": steps x mean_weight_bits x mean_spike_bits; "s_ace", "ns_ace": bit operations a sample, constant synapses
    included with their stored width, ns_ace only with the counts of a run (mean over its samples); "mean_weight_bits":
    over trained weights, shared ones once; "mean_spike_bits": over all neurons that send anything, host inputs aside,
    binary ones with 1 bit; "steps".
    """
    trained = [p for p in program.projections if not p.unit]
    parameters = sum(p.synapses.weight.size for p in trained)
    weight_bits = sum(p.synapses.weight.size * p.weight_bits for p in trained) / parameters if parameters else 0.0
    spike_bits = _mean_bits([p for p in program.populations if _sends(p)])
    found = {
        "bb": program.steps * weight_bits * spike_bits,
        "s_ace": float(fixed_operations(program) + sum(n * p.weight_bits for p, n in _operations_a_bit(program))),
        "mean_weight_bits": weight_bits,
        "mean_spike_bits": spike_bits,
        "steps": float(program.steps),
    }
    if counts is not None:
        found["ns_ace"] = _sparse_operations(program, counts)
    return found


def operations_options(program: Program, target: Target) -> Mapping[str, Mapping[int, int]]:
    """S-ACE, bit operations a sample, by trained projection and weight width (as `memory_options`)."""
    return {
        p.name: {bits: n * bits for bits in sorted({*widths(target), p.weight_bits})}
        for p, n in _operations_a_bit(program)
    }


def fixed_operations(program: Program) -> int:
    """S-ACE of what no weight width changes: constant synapses and products."""
    constant = sum(
        p.synapses.count() * _sent(program, p.source) * p.weight_bits * _payload(program, p.source)
        for p in program.projections
        if p.unit
    )
    return constant + sum(
        realise(product).multiplies * program.steps * _both(program, product) for product in program.products
    )


def _operations_a_bit(program: Program) -> list[tuple[Projection, int]]:
    """Trained projections, each with synapses x messages a sample x bits of a message."""
    return [
        (p, p.synapses.count() * _sent(program, p.source) * _payload(program, p.source))
        for p in program.projections
        if not p.unit
    ]


def _sparse_operations(program: Program, counts: Counts) -> float:
    total = 0.0
    for p in program.projections:
        total += _mean(counts.synaptic_ops, p.name) * p.weight_bits * _payload(program, p.source)
    for product in program.products:
        total += _live(product, counts) * _both(program, product)
    return total


def _live(product: Product, counts: Counts) -> float:
    """Scalar products a sample of two non-zero factors, as ndeploy/realise.py counts them among the spikes; of an
    embedded product all of them."""
    if product.realisation == "embedded":
        return _mean(counts.embedded_ops, product.name)
    sent = _mean(counts.spikes, product.name)
    if product.realisation == "streamed":  # its buffers send every operand's messages on
        sent -= _mean(counts.spikes, product.left) + _mean(counts.spikes, product.right)
    return sent


def _mean(counts: Mapping[str, IntArray], name: str) -> float:
    return float(np.mean(counts[name]))


def _sends(population: Population) -> bool:
    return not isinstance(population.neuron, Input) and population.neuron.message.bits > 0


def _mean_bits(populations: list[Population]) -> float:
    neurons = sum(p.size for p in populations)
    return sum(p.size * p.neuron.message.bits for p in populations) / neurons if neurons else 1.0


def _payload(program: Program, name: str) -> int:
    return program.population(name).neuron.message.bits


def _both(program: Program, product: Product) -> int:
    return _payload(program, product.left) * _payload(program, product.right)


def _sent(program: Program, name: str) -> int:
    """Messages that each neuron of a population sends a sample, if all are."""
    updates = program.population(name).updates
    return program.steps if updates is None else min(updates, program.steps)
