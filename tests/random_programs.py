"""Hypothesis strategies for small random valid Programs over the whole IR, with messages to run them on.

`cases()` draws (program, messages), messages by input population as int64 (samples, steps, *shape). The structure
(populations, edges, kinds, delays) is drawn by hypothesis, so that it shrinks; numbers inside arrays come from a
generator whose seed is drawn, so that drawing stays fast. With `lava_native=True` only what lava-nc 0.10.0's own
processes compute is drawn: a model step a chip step, LIF with reset to zero and shift 6, scalar decays and thresholds,
no products, no bias that would act before a population's first update on neurons that cannot be reset. With
`graded=True` also what networks that think in ticks need (tests/random_tick_neurons.py): the graded kinds, several
ports, start values, embedded populations, populations that stop updating, and so products that latch.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from random_builder import GRADED, LIMITS, SPIKING, Builder, delay_for, lag_of, shape_of
from random_tick_neurons import SATURATING, add_tick_neurons, link, reach_of
from random_tick_neurons import neuron as tick_neuron

from ndeploy.fixed import IntArray
from ndeploy.ir.program import InputPort, OutputPort, Population, Product, Program
from ndeploy.neurons import KINDS, Affine, Input

__all__ = ["Case", "cases", "delay_for", "lag_of", "messages_for", "programs"]

Case = tuple[Program, dict[str, IntArray]]


def _add_input(b: Builder) -> None:
    signed = b.chance()
    bits = b.choice((1, 1, 3, 8)) if not signed else b.choice((2, 4, 8))
    neuron = Input(bits, signed)
    offset = b.choice((0, 0, 0, 1, 2))
    population = Population(f"in{len(b.populations)}", shape_of(b), neuron, offset, updates=b.updates())
    b.add(population, max(neuron.message.high, -neuron.message.low))


def _add_projected(b: Builder, index: int) -> None:
    """A population with one to three incoming projections from what exists (and a loop to itself or back)."""
    kind = b.choice(SPIKING + GRADED) if b.chance() else b.choice(SPIKING)
    usable = b.sources()
    if b.native and kind == "compare":
        usable = [p for p in usable if not p.neuron.message.signed and p.neuron.kind != "relay"]
    if kind in GRADED:
        usable = [p for p in usable if b.magnitude[p.name] <= (2**8 if kind == "product" else 2**10)]
    if not usable:
        kind, usable = "cuba-lif", b.sources()
    first = b.choice(usable)
    bits, sign = b.width(kind)
    conv = b.conv(first, bits, sign) if len(first.shape) == 3 and b.chance() else None
    shape = conv.out_shape if conv is not None else shape_of(b)
    lag = b.choice((0, 0, 0, 1))
    least = 2 if first.neuron.embedded else 1
    offset = first.offset + b.integer(least, 3) if lag == 0 else b.integer(0, first.offset + 2)
    neuron = b.neuron(kind, shape, offset)
    target = Population(f"{kind}{index}", shape, neuron, offset, updates=b.updates())
    b.connect(first, target, conv or b.synapses(first, target.size, bits, sign), bits, sign, neuron.ports[0], lag)
    for port in neuron.ports[1:]:
        other = b.choice(usable)
        bits, sign = b.width(kind)
        b.connect(other, target, b.synapses(other, target.size, bits, sign), bits, sign, port, 0)
    for _ in range(b.integer(0, 2)):
        other = b.choice(usable)
        bits, sign = b.width(kind)
        port = b.choice(neuron.ports)
        b.connect(other, target, b.synapses(other, target.size, bits, sign), bits, sign, port, b.choice((0, 0, 1, 2)))
    magnitude = b.reach(target.name, neuron)
    b.add(target, magnitude)
    if magnitude > LIMITS[b.native]:
        return
    if kind in SPIKING and neuron.message.bits and not (b.native and kind == "compare") and b.chance():
        bits, sign = b.width(kind)
        b.connect(target, target, b.synapses(target, target.size, bits, sign), bits, sign, "in", b.integer(1, 2))
    back = [p for p in b.populations[:-1] if p.neuron.kind in SPIKING and not (b.native and p.neuron.kind == "compare")]
    if back and neuron.message.bits and magnitude <= 2**10 and b.integer(0, 3) == 0:
        other = b.choice(back)
        bits, sign = b.width(other.neuron.kind)
        b.connect(target, other, b.synapses(target, other.size, bits, sign), bits, sign, "in", b.choice((0, 1, 1, 2)))


def _contraction(b: Builder, left: int, right: int) -> tuple[str, tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Subscripts, both views and the result's shape for operands of these sizes."""
    common = b.choice([d for d in range(1, min(left, right) + 1) if left % d == 0 and right % d == 0])
    i, k = left // common, right // common
    options = [
        ("ij,jk->ik", (i, common), (common, k), (i, k)),
        ("ij,kj->ik", (i, common), (k, common), (i, k)),
        ("ji,jk->ik", (common, i), (common, k), (i, k)),
        ("hi,hk->hik", (common, i), (common, k), (common, i, k)),
    ]
    if left == right:
        options += [("i,i->i", (left,), (left,), (left,)), ("i,i->", (left,), (left,), (1,))]
        inner = left // common
        options += [("hi,hi->h", (common, inner), (common, inner), (common,))]
    return b.choice(options)


def _add_product(b: Builder, index: int) -> None:
    """A product and the population it ends on."""
    usable = [p for p in b.sources() if b.magnitude[p.name] <= 2**10]
    if not usable:
        return
    left, right = b.choice(usable), b.choice(usable)
    subscripts, left_view, right_view, shape = _contraction(b, left.size, right.size)
    operands, result = subscripts.split("->")
    streams = [
        (letter, size)
        for letter, size in zip(operands.split(",")[0], left_view, strict=True)
        if letter in operands.split(",")[1] and letter not in result and size <= b.period
    ]
    realisation = b.choice(("parallel", "embedded", "streamed") if streams else ("parallel", "embedded"))
    stream, length = b.choice(streams) if realisation == "streamed" else ("", 0)
    delay = length + 2 if realisation == "streamed" else 2
    start = max(left.offset, right.offset)
    lag = b.choice((0, 0, 0, 1))
    offset = start + delay + b.integer(0, b.period - 1) if lag == 0 else b.integer(0, start)
    kind = b.choice(("cuba-lif", "compare", "cuba-li", "relay", *(SATURATING if b.graded else ())))
    ports, name = KINDS[kind].ports, f"{kind}{index}"
    port = b.choice(ports) if len(ports) > 1 else ports[0]
    b.incoming[f"{name}/{port}"] = b.magnitude[left.name] * b.magnitude[right.name] * left.size * right.size
    draft = Population(name, shape, Affine(8), offset, updates=b.updates())
    for other_port in ports:
        if other_port != port:
            link(b, b.choice(usable), draft, other_port, 0)
    if kind in SATURATING:
        neuron = tick_neuron(b, kind, shape, reach_of(b, name, ports))
    else:
        neuron = b.neuron(kind, shape, offset)
    target = replace(draft, neuron=neuron)
    delay = max(delay, delay_for(0, start, offset, b.period))
    exponent = b.integer(0, 2)
    b.products.append(
        Product(
            f"product{index}", left.name, right.name, target.name, left_view, right_view, subscripts, port,
            exponent=exponent, delay=delay, realisation=realisation, stream=stream,
        )
    )  # fmt: skip
    if b.chance():
        other = b.choice(usable)
        bits, sign = b.width(kind)
        synapses = b.synapses(other, target.size, bits, sign)
        b.connect(other, target, synapses, bits, sign, port, b.choice((0, 0, 1)))
    b.add(target, b.reach(target.name, neuron))


def _has_lag(b: Builder) -> bool:
    offset = {p.name: p.offset for p in b.populations}
    edges = [
        (offset[x.source], x.delay + (0 if x.delays is None else int(x.delays.max())), offset[x.target])
        for x in b.projections
    ]
    edges += [(max(offset[x.left], offset[x.right]), x.delay, offset[x.target]) for x in b.products]
    return any(lag_of(*edge, b.period) > 0 for edge in edges)


@st.composite
def programs(draw: st.DrawFn, lava_native: bool = False, graded: bool = False) -> Program:
    """A small valid Program. Not both flags."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    period = 1 if lava_native else draw(st.sampled_from((1, 1, 2, 4)))
    b = Builder(draw, rng, lava_native, period, draw(st.integers(1, 7)), graded=graded)
    for _ in range(b.integer(1, 2)):
        _add_input(b)
    for index in range(b.integer(1, 6 if graded else 4)):
        if graded and b.chance():
            add_tick_neurons(b, index)
        elif not lava_native and b.integer(0, 3) == 0:
            _add_product(b, index)
        else:
            _add_projected(b, index)
    inputs = tuple(InputPort(p.name) for p in b.populations if isinstance(p.neuron, Input))
    last = b.populations[-1]
    variable = b.choice((*last.neuron.state, *(("message",) if last.neuron.message.bits else ())))
    outputs = (OutputPort(last.name, variable, b.choice(("sum", "last", "max", "none"))),)
    mode = "fall-through" if _has_lag(b) or b.chance() else "pipelined"
    return Program(
        "random", tuple(b.populations), tuple(b.projections), inputs, outputs, b.steps, tuple(b.products), period, mode
    )


def messages_for(program: Program, samples: int, rng: np.random.Generator, density: float) -> dict[str, IntArray]:
    """Random messages of every input population: int64 (samples, steps, *shape), non-zero with that probability."""
    found: dict[str, IntArray] = {}
    for port in program.inputs:
        population = program.population(port.population)
        shape = (samples, program.steps, *population.shape)
        payload = population.neuron.message
        value = (
            rng.integers(payload.low, payload.high + 1, size=shape) if payload.bits > 1 else np.ones(shape, np.int64)
        )
        found[population.name] = np.where(rng.random(shape) < density, value, 0)
    return found


@st.composite
def cases(draw: st.DrawFn, lava_native: bool = False, max_samples: int = 3, graded: bool = False) -> Case:
    """A program with messages for 1 .. max_samples samples."""
    program = draw(programs(lava_native, graded))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    density = draw(st.sampled_from((0.1, 0.4, 0.9)))
    return program, messages_for(program, draw(st.integers(1, max_samples)), rng, density)
