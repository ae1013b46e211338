"""What a network computes for a sample, apart from any chip: as an ANN, layer by layer, and as it was run on messages.

An ANN evaluates the whole network once a sample where the input is one image and nothing loops (`passes` = 1);
otherwise it evaluates it at every model step, as a recurrent network or one that reads a sequence has to. Synapses that
nobody trained (pools, joins, skips) are additions in an ANN and no multiply-accumulations. Populations on the embedded
processor (softmax, layer norm) are outside: both sides need them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input, Neuron
from ndeploy.realise import index_sizes
from ndeploy.synapses import Conv

POTENTIAL_BITS = 24
"""Width of every state variable (docs/program.md)."""


@dataclass(frozen=True)
class Layer:
    """A projection or product. kind: "dense", "conv", "sparse" or "product".

    inputs, outputs: neurons; weights: numbers stored; taps: output channels times kernel of a convolution; macs, adds:
    an ANN's operations in one pass; passes: of an ANN, a sample; messages: non-zero messages that came in, visits:
    synapses they met (of a product: pairs of non-zero factors), a sample; spikes: whether the messages are -1, 0, 1;
    payload: bits of a message; first: whether the host sends them.
    """

    name: str
    target: str
    kind: str
    inputs: int
    outputs: int
    weights: int
    weight_bits: int
    taps: int
    macs: int
    adds: int
    passes: int
    messages: float
    visits: float
    spikes: bool
    payload: int
    first: bool


@dataclass(frozen=True)
class Node:
    """A population on cores. updates: a sample, each neuron; sent: non-zero messages a sample; leak: whether an update
    multiplies the state; bias: constants stored that an update adds, 0 for none; state: whether it keeps one; passes:
    as of a layer; relayed: it only passes on single messages, so that an ANN has no such layer; payload: bits of a
    message; spikes: whether messages are -1, 0 or 1."""

    name: str
    size: int
    updates: int
    sent: float
    leak: bool
    bias: int
    state: bool
    passes: int
    relayed: bool
    payload: int
    spikes: bool


@dataclass(frozen=True)
class Workload:
    """once: whether an ANN needs one pass a sample; steps: model steps; spiking: whether anything but inputs sends
    spikes; outside: products and populations that no rule here prices."""

    layers: tuple[Layer, ...]
    nodes: tuple[Node, ...]
    once: bool
    steps: int
    spiking: bool
    outside: tuple[str, ...]


def workload(program: Program, activity: Activity, static: bool | None = None) -> Workload:
    """The work of `program` on the samples of `activity`, a sample.

    static: whether a sample is one image shown at every model step; None: it is taken to be where every input neuron
    sent equally often at every step.
    """
    held = _static(program, activity) if static is None else static
    once = held and not loops(program)
    populations = {p.name: p for p in program.populations}
    layers = [_projection(program, j, populations, activity, once) for j in program.projections]
    layers += [_product(program, x, populations, activity, once) for x in program.products]
    into: dict[str, list[Layer]] = {}
    for layer in layers:
        into.setdefault(layer.target, []).append(layer)
    nodes = [
        _node(program, p, activity, once, all(x.macs + x.adds == 0 for x in into.get(p.name, [])))
        for p in program.populations
        if not isinstance(p.neuron, Input) and not p.neuron.embedded
    ]
    outside = [x.name for x in program.products if x.realisation == "embedded"]
    outside += [p.name for p in program.populations if p.neuron.embedded]
    spiking = any(sends_spikes(p.neuron) for p in program.populations if not isinstance(p.neuron, Input))
    return Workload(tuple(layers), tuple(nodes), once, program.steps, spiking, tuple(outside))


def sends_spikes(neuron: Neuron) -> bool:
    """Whether every message is -1, 0 or 1, so that a visit adds and does not multiply."""
    return neuron.kind == "ternary-lif" or (neuron.message.bits == 1 and not neuron.message.signed)


def loops(program: Program) -> bool:
    """Whether what a population sends can come back to it."""
    after: dict[str, set[str]] = {p.name: set() for p in program.populations}
    waits = dict.fromkeys(after, 0)
    edges = [(j.source, j.target) for j in program.projections]
    edges += [(side, x.target) for x in program.products for side in (x.left, x.right)]
    for source, target in edges:
        if target not in after[source]:
            after[source].add(target)
            waits[target] += 1
    ready = [name for name, n in waits.items() if not n]
    done = 0
    while ready:
        done += 1
        for target in after[ready.pop()]:
            waits[target] -= 1
            if not waits[target]:
                ready.append(target)
    return done < len(after)


def _static(program: Program, activity: Activity) -> bool:
    inputs = [p for p in program.populations if isinstance(p.neuron, Input)]
    sent = [activity.messages[p.name][: _made(program, p)] for p in inputs]
    return all(np.array_equal(rows, np.broadcast_to(rows[:1], rows.shape)) for rows in sent)


def _made(program: Program, population: Population) -> int:
    return program.steps if population.updates is None else min(population.updates, program.steps)


def _projection(
    program: Program, projection: Projection, populations: Mapping[str, Population], activity: Activity, once: bool
) -> Layer:
    synapses, source = projection.synapses, populations[projection.source]
    stored = synapses.count()
    sent = activity.messages[source.name].sum(axis=0)
    alone = projection.unit and _alone(program, projection)
    shape = synapses.weight.shape
    return Layer(
        projection.name,
        projection.target,
        synapses.kind,
        synapses.n_in,
        synapses.n_out,
        0 if projection.unit else int(synapses.weight.size),
        projection.weight_bits,
        shape[0] * shape[2] * shape[3] if isinstance(synapses, Conv) else 0,
        0 if projection.unit else stored,
        (stored - synapses.n_out if alone else stored) if projection.unit else 0,
        1 if once else _made(program, source),
        float(sent.sum()) / activity.samples,
        float(sent @ synapses.fan_out()) / activity.samples,
        sends_spikes(source.neuron),
        source.neuron.message.bits,
        isinstance(source.neuron, Input),
    )


def _alone(program: Program, projection: Projection) -> bool:
    """Whether nothing else ends on the target's port: a sum of k terms takes k - 1 additions."""
    into = [j for j in program.projections if (j.target, j.port) == (projection.target, projection.port)]
    return len(into) == 1 and not any(
        (x.target, x.port) == (projection.target, projection.port) for x in program.products
    )


def _product(
    program: Program, product: Product, populations: Mapping[str, Population], activity: Activity, once: bool
) -> Layer:
    left, right = populations[product.left], populations[product.right]
    n = math.prod(index_sizes(product).values())
    live = activity.live.get(product.name)
    steps = max(_made(program, left), _made(program, right))
    sent = activity.messages[left.name].sum() + activity.messages[right.name].sum()
    return Layer(
        product.name,
        product.target,
        "product",
        left.size + right.size,
        populations[product.target].size,
        0,
        min(left.neuron.message.bits, right.neuron.message.bits),
        0,
        n,
        0,
        1 if once else steps,
        float(sent) / activity.samples,
        float(n * steps) if live is None else float(live.sum()) / activity.samples,
        sends_spikes(left.neuron) and sends_spikes(right.neuron),
        max(left.neuron.message.bits, right.neuron.message.bits),
        False,
    )


def _node(program: Program, population: Population, activity: Activity, once: bool, relayed: bool) -> Node:
    neuron, made = population.neuron, _made(program, population)
    return Node(
        population.name,
        population.size,
        made,
        float(activity.messages[population.name].sum()) / activity.samples,
        _decays(neuron),
        _constants(neuron),
        bool(neuron.state),
        1 if once else made,
        relayed,
        neuron.message.bits,
        sends_spikes(neuron),
    )


def _constants(neuron: Neuron) -> int:
    values = [np.asarray(getattr(neuron, name, 0)) for name in ("bias", "input_bias")]
    return sum(int(value.size) for value in values if np.any(value != 0))


def _decays(neuron: Neuron) -> bool:
    """Whether an update multiplies the state: a membrane that leaks or a current that outlives its step."""
    dv, du = getattr(neuron, "dv", None), getattr(neuron, "du", None)
    if dv is None or du is None:
        return hasattr(neuron, "factor")
    return bool(np.any(np.asarray(dv) != 0) or np.any(np.asarray(du) != 4095))
