"""What one unit of synaptic input is worth on every port of a graded population, and the exponents that follow.

The unit of a neuron's weights is the smallest that holds its largest weight in `bits`; weights of other projections
into the same port that are much smaller get a finer unit through an exponent of their own. The unit of the sum is
chosen, through all exponents together, so that no message the sources can send makes it leave 2^22: half of the state
stays for the bias, and overflow is impossible by interval arithmetic, not by calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.ir.lowered import (
    FloatArray,
    Gated,
    Graded,
    Held,
    Lowered,
    Normed,
    RealConv,
    RealPopulation,
    RealProduct,
    RealProjection,
    Softmaxed,
)
from ndeploy.passes.along import columns, largest_by_row, sum_by_row
from ndeploy.passes.codings import passes_on, top
from ndeploy.quantizer import Coding, InputCoding

REACH = 1 << 22
"""Largest magnitude of a sum, bias included."""
LOWEST_EXPONENT, LARGEST_EXPONENT = -8, 7
"""Exponents every target has (Loihi's range)."""
SUM_BITS = 24
BIAS_REACH = 64
"""How far beyond what its weights can add a row's bias may lie for the row to have a say in the exponents."""


@dataclass(frozen=True, eq=False)
class PortUnits:
    """unit: by port (population, or "population.port"); exponent: by projection and by product (of a product the right
    shift, >= 0); message: codings of populations whose messages are their sums (sums of weighted deltas)."""

    unit: Mapping[str, FloatArray]
    exponent: Mapping[str, int]
    message: Mapping[str, Coding]


def port_key(population: str, port: str) -> str:
    """How `Choices.unit` names a port."""
    return population if port == "in" else f"{population}.{port}"


def weighted_ports(population: RealPopulation) -> tuple[str, ...]:
    """Ports whose unit has to be chosen."""
    if isinstance(population.model, Gated):
        return ("in", "gate")
    return ("in",) if isinstance(population.model, Graded | Normed | Softmaxed) else ()


@dataclass(frozen=True, eq=False)
class _Incoming:
    """A projection seen from the port: need is the unit its largest weights ask for, reach what it can add, by row."""

    projection: RealProjection
    need: FloatArray
    reach: FloatArray


def port_units(
    lowered: Lowered, codings: Mapping[str, Coding], inputs: Mapping[str, InputCoding], bits: Mapping[str, int]
) -> PortUnits:
    """Units of all ports of populations that rescale their sums.

    bits: weight bits by projection. Raises RefusedError ND301 where a product and weights, or two products, end on one
    port, or where the units cannot be reached by the exponents there are.
    """
    unit: dict[str, FloatArray] = {}
    exponent: dict[str, int] = {}
    message: dict[str, Coding] = {}
    for population in lowered.populations:
        for port in weighted_ports(population):
            products = [q for q in lowered.products if q.target == population.name and port == "in"]
            into = [p for p in lowered.into(population.name) if p.port == port]
            key = port_key(population.name, port)
            if products:
                if len(products) > 1 or into:
                    raise RefusedError(
                        "ND301",
                        f"population '{population.name}' sums a product and something else on one port",
                        help="let the product have a neuron of its own",
                    )
                unit[key], exponent[products[0].name] = product_unit(lowered, products[0], codings, inputs)
                continue
            sums = [p for p in into if _is_weighted_sum(lowered, p.source)]
            direct = [p for p in into if p not in sums]
            behind = [x for p in sums for x in lowered.into(p.source)]
            bias = population.bias if port == "in" else population.biases.get(port)
            incoming = [_incoming(lowered, population, p, codings, inputs, bits) for p in (*direct, *behind)]
            chosen, shifts = _choose(population, incoming, bias)
            unit[key] = chosen
            exponent |= shifts | {p.name: 0 for p in sums}
            for p in sums:
                unit[p.source] = chosen
                message[p.source] = Coding(chosen, SUM_BITS)
    return PortUnits(unit, exponent, message)


def _is_weighted_sum(lowered: Lowered, name: str) -> bool:
    population = lowered.population(name)
    return isinstance(population.model, Held) and not passes_on(lowered, population)


def source_coding(
    lowered: Lowered, name: str, codings: Mapping[str, Coding], inputs: Mapping[str, InputCoding]
) -> tuple[FloatArray, int]:
    """Scale of a population's messages and a bound of their magnitude, a power of two; binary spikes are worth 1."""
    if name in inputs:
        coding = inputs[name]
        return np.asarray(coding.scale), 1 << (coding.bits - coding.signed)
    if name in codings:
        known = codings[name]
        return known.scale, 1 << (known.bits - known.signed)
    return np.asarray(1.0), 1


def _incoming(
    lowered: Lowered,
    population: RealPopulation,
    projection: RealProjection,
    codings: Mapping[str, Coding],
    inputs: Mapping[str, InputCoding],
    bits: Mapping[str, int],
) -> _Incoming:
    scale, largest = source_coding(lowered, projection.source, codings, inputs)
    source = lowered.population(projection.source)
    synapses = projection.synapses
    weight = np.abs(synapses.weight) * columns(synapses, scale, source.shape)
    need = largest_by_row(synapses, weight, population.shape) / top(bits[projection.name], True)
    return _Incoming(projection, need, sum_by_row(synapses, weight, population.shape) * largest)


def _choose(
    population: RealPopulation, incoming: list[_Incoming], bias: FloatArray | None
) -> tuple[FloatArray, dict[str, int]]:
    """The unit of the port's sum and the exponents of its projections."""
    if not incoming:
        return np.asarray(1.0), {}
    need = np.max([np.broadcast_to(x.need, population.shape) for x in incoming], axis=0)
    reach = np.sum([np.broadcast_to(x.reach, population.shape) for x in incoming], axis=0)
    weighed = reach
    if bias is not None:
        reach = reach + np.abs(bias)
    largest = float(need.max())
    if largest == 0.0:  # nothing but the bias: any unit that holds it
        return np.asarray((float(reach.max()) or 1.0) / REACH), {x.projection.name: 0 for x in incoming}
    # a row without weights, or with a bias far beyond them, gets a coarser unit: it must not decide all exponents
    deciding = (need > 0) & (reach <= weighed * BIAS_REACH)
    deciding = deciding if deciding.any() else need > 0
    room = math.ceil(math.log2(float((reach[deciding] / need[deciding]).max()) / REACH))
    shift = min(max(room, -LARGEST_EXPONENT), -LOWEST_EXPONENT)
    fine = np.maximum(need, reach / (REACH * 2.0**shift))
    fine = _by_weight(np.maximum(fine, largest * 1e-9), incoming)
    exponents = {}
    for x in incoming:
        own = np.broadcast_to(x.need, population.shape)
        live = own > 0
        finer = int(np.floor(np.log2(float((fine[live] / own[live]).min()) * (1 + 1e-12)))) if live.any() else 0
        exponents[x.projection.name] = -shift - max(0, min(finer, -LOWEST_EXPONENT - shift))
    return _per_channel(fine * 2.0**shift), exponents


def _by_weight(unit: FloatArray, incoming: list[_Incoming]) -> FloatArray:
    """The unit, raised until rows that share their weights share it: biases may differ within a convolution's channel
    (at the border of an image), its mantissas cannot."""
    for x in incoming:
        synapses = x.projection.synapses
        if isinstance(synapses, RealConv):
            rows = unit.reshape(synapses.weight.shape[0], -1)
            unit = np.broadcast_to(rows.max(axis=1, keepdims=True), rows.shape).reshape(unit.shape)
    return unit


def _per_channel(unit: FloatArray) -> FloatArray:
    """As small an array as holds it: one value, one a channel, or one a neuron."""
    if (unit == unit.flat[0]).all():
        return np.asarray(unit.flat[0])
    rows = unit.reshape(unit.shape[0], -1)
    if unit.ndim > 1 and (rows == rows[:, :1]).all():
        return rows[:, 0].reshape(-1, *(1,) * (unit.ndim - 1))
    return unit


def product_unit(
    lowered: Lowered, product: RealProduct, codings: Mapping[str, Coding], inputs: Mapping[str, InputCoding]
) -> tuple[FloatArray, int]:
    """Real value of one unit of what a product adds to its target, and the right shift that keeps the sum inside
    `REACH`. A binary operand's message is worth 1."""
    terms, views, tops = 1, [], []
    operands, out = product.subscripts.split("->")
    sizes: dict[str, int] = {}
    for name, letters, view in zip(
        (product.left, product.right), operands.split(","), (product.left_view, product.right_view), strict=True
    ):
        sizes |= dict(zip(letters, view, strict=True))
        scale, largest = source_coding(lowered, name, codings, inputs)
        views.append(np.broadcast_to(scale, lowered.population(name).shape).reshape(view))
        tops.append(largest)
    for letter, size in sizes.items():
        if letter not in out:
            terms *= size
    value = np.einsum(product.subscripts, *views) / terms * product.scale
    exponent = max(0, math.ceil(math.log2(terms * tops[0] * tops[1] / REACH)))
    return _per_channel((value * 2.0**exponent).reshape(lowered.population(product.target).shape)), exponent
