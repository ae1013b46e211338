"""Random populations of the kinds that networks which think in ticks need: affine, gate, silu, synchrony, register,
layer norm, softmax, and the starts of sigma and delta.

Scales are drawn such that messages neither vanish nor all saturate.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from random_builder import SPIKING, Builder, shape_of

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population
from ndeploy.neurons import KINDS, Affine, Delta, Gate, LayerNorm, Neuron, Register, Sigma, Silu, Softmax, Synchrony

Reach = Mapping[str, int]
"""Bound on the input of one update, by port."""

SATURATING = ("affine", "gate", "silu", "synchrony", "layer-norm", "softmax")
"""Kinds whose messages stay within their payload, whatever arrives."""
KIND_CHOICES = (*SATURATING, "register", "sigma", "delta")


def scaled(b: Builder, reach: int, target: int, shape: tuple[int, ...]) -> tuple[int | IntArray, int | IntArray]:
    """(multiplier, shift) that brings a part of `reach` to about `target`, by neuron or for all."""
    multiplier = b.parameter(1 << 15 if b.chance() else 0, (1 << 16) - 1, shape)
    shift = round(math.log2(max(1, reach) * 2.0**15 / max(1, target))) - b.integer(1, 5)
    if b.integer(0, 9) == 0:
        shift = b.integer(0, 40)
    low = min(40, max(0, shift))
    return multiplier, low if b.chance() else b.parameter(low, min(40, low + 2), shape)


def view_of(b: Builder, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A view of a population: its shape, all in a row, or two axes."""
    size = math.prod(shape)
    divisor = b.choice([d for d in range(1, size + 1) if size % d == 0])
    view: tuple[int, ...] = b.choice((shape, (size,), (divisor, size // divisor)))
    return view


def bias(b: Builder, reach: int, shape: tuple[int, ...]) -> int | IntArray:
    """Zero, or of the order of an eighth of what arrives."""
    top = min(max(4, reach // 8), 1 << 23)
    return b.parameter(-top, top, shape) if b.chance() else 0


def neuron(b: Builder, kind: str, shape: tuple[int, ...], reach: Reach) -> Neuron:
    """A neuron of that kind with random parameters for inputs of that reach."""
    bits = b.choice((2, 4, 8, 8, 12, 16))
    signed = b.integer(0, 3) > 0
    a, a_gate = reach.get("in", 0), reach.get("gate", 0)
    if kind == "affine":
        return Affine(bits, signed, *scaled(b, a, 1 << bits, shape), bias(b, a, shape))
    if kind == "gate":
        gate, value = scaled(b, a_gate, 1 << 14, shape), scaled(b, a, 1 << bits, shape)
        return Gate(bits, signed, bias(b, a, shape), bias(b, a_gate, shape), *gate, *value)
    if kind == "silu":
        return Silu(bits, signed, bias(b, a, shape), *scaled(b, a, 1 << 14, shape), *scaled(b, a, 1 << bits, shape))
    if kind == "synchrony":
        return synchrony(b, bits, shape, reach)
    if kind == "layer-norm":
        view = view_of(b, shape)
        aligned = bias(b, a, shape), *scaled(b, a, 1 << b.choice((6, 12, 20)), shape)
        gain = b.parameter(-(1 << 16) + 1, (1 << 16) - 1, shape)
        offset = b.parameter(-(1 << 24), 1 << 24, shape) if b.chance() else 0
        axis, epsilon = b.integer(0, len(view) - 1), b.choice((1, 7, 1 << 20))
        return LayerNorm(bits, view, axis, epsilon, *aligned, gain, offset, b.parameter(28 - bits, 31 - bits, shape))
    if kind == "softmax":
        return Softmax(b.choice((1, 4, 8, 12)), view_of(b, shape), *scaled(b, a, 1 << 14, shape))
    start = b.parameter(-100, 100, shape) if b.integer(0, 3) else 0
    if kind == "register":
        return Register(b.choice((8, 16, 24)), start)
    if kind == "sigma":
        return Sigma(b.choice((8, 16, 24)), start)
    spike_exp, state_exp = b.integer(0, 3), b.integer(0, 2)
    vth = b.parameter(0, 16 << (spike_exp + state_exp), shape)
    return Delta(vth, spike_exp, state_exp, b.chance(), b.choice((8, 24)), start)


def synchrony(b: Builder, bits: int, shape: tuple[int, ...], reach: Reach) -> Synchrony:
    """With a table of one row to more rows than there are steps."""
    exponent = b.integer(0, 3)
    product = min((reach["left"] * reach["right"] >> exponent) + 1, (1 << 23) - 1)
    start = b.parameter(-product, product, shape) if b.chance() else 0
    rows, size = b.integer(1, b.steps + 1), math.prod(shape)
    table = b.rng.integers(-(1 << 16) + 1 if b.chance() else 0, 1 << 16, size=(rows, size))
    factor = b.choice((0, 4096, b.parameter(0, 4096, shape)))
    return Synchrony(bits, factor, table, exponent, start, scaled(b, product, 1 << bits, shape)[1])


def magnitude(b: Builder, name: str, found: Neuron) -> int:
    """Bound on |message|."""
    if isinstance(found, Register):
        return b.incoming.get(f"{name}/in", 0) + 100
    if isinstance(found, Sigma):
        return b.incoming.get(f"{name}/in", 0) * b.steps + 100
    if isinstance(found, Delta):
        return b.reach(name, found) + 1600 * b.steps
    return max(found.message.high, -found.message.low)


def link(b: Builder, source: Population, target: Population, port: str, lag: int) -> None:
    """A projection of random dense or sparse synapses."""
    bits, sign = b.width(target.neuron.kind)
    b.connect(source, target, b.synapses(source, target.size, bits, sign), bits, sign, port, lag)


def reach_of(b: Builder, name: str, ports: tuple[str, ...]) -> Reach:
    """What may arrive at each port in one update."""
    return {port: b.incoming.get(f"{name}/{port}", 0) for port in ports}


def add_tick_neurons(b: Builder, index: int) -> None:
    """A population of one of these kinds, fed by projections; where its messages are bounded, perhaps a loop."""
    kind = b.choice(KIND_CHOICES)
    limit = 2**16 if kind in SATURATING else 2**10
    usable = [p for p in b.sources() if b.magnitude[p.name] <= limit]
    if not usable:
        return
    first = b.choice(usable)
    # `connect` asks for the target's kind only: the neuron itself is drawn for the sums that arrive
    draft_neuron: Neuron = Affine(8) if kind in SATURATING else Sigma()
    bits, sign = b.width(draft_neuron.kind)
    conv = b.conv(first, bits, sign) if len(first.shape) == 3 and b.chance() else None
    shape = conv.out_shape if conv is not None else shape_of(b)
    lag = b.choice((0, 0, 0, 1))
    least = 2 if first.neuron.embedded else 1
    offset = first.offset + b.integer(least, 3) if lag == 0 else b.integer(0, first.offset + 2)
    name = f"{kind}{index}"
    draft = Population(name, shape, draft_neuron, offset, updates=b.updates())
    ports = KINDS[kind].ports
    b.connect(first, draft, conv or b.synapses(first, draft.size, bits, sign), bits, sign, ports[0], lag)
    for port in ports[1:]:
        link(b, b.choice(usable), draft, port, 0)
    for _ in range(b.integer(0, 2)):
        link(b, b.choice(usable), draft, b.choice(ports), b.choice((0, 0, 1, 2)))
    target = replace(draft, neuron=neuron(b, kind, shape, reach_of(b, name, ports)))
    b.add(target, magnitude(b, name, target.neuron))
    if b.magnitude[name] > 2**16:
        return
    if kind in SATURATING and b.chance():
        link(b, target, target, b.choice(ports), b.integer(1, 2))
    bounded = [p for p in b.populations[:-1] if p.neuron.kind in SATURATING + SPIKING]
    if bounded and b.integer(0, 2) == 0:
        other = b.choice(bounded)
        link(b, target, other, b.choice(other.neuron.ports), b.choice((0, 1, 1, 2)))
