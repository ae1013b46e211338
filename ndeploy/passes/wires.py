"""Populations that take messages as they are: registers, traces, synchronisations, over unit synapses.

What they hold has the scale of what they are sent, so each is fed by one population. Where the network sums or weighs
before one of them, a population `<name>.in` holds the result first.
"""

from __future__ import annotations

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.ir import network as net
from ndeploy.ir.lowered import Graded, RealPopulation, RealProjection, RealSparse
from ndeploy.passes.models import is_ones
from ndeploy.passes.walk import Biases, Build, Path, identity, walk


def wire(build: Build, name: str, node: net.Register | net.Trace | net.Synchronisation) -> None:
    """The unit projections into the population of `node`, and `<name>.in` where its input is a sum or weighed."""
    source = _carrier(build, name)
    if source is None:
        source = _relay(build, name)
    size = build.size(source)
    if isinstance(node, net.Register):
        # y(k) = x(k - 1): the message of the step before
        _unit(build, f"{source}->{name}", source, name, identity(size), lag=1)
    elif isinstance(node, net.Synchronisation):
        for port, index in (("left", node.left), ("right", node.right)):
            chosen = np.asarray(index, dtype=np.int64).reshape(-1)
            order = np.arange(chosen.size, dtype=np.int64)
            _unit(build, f"{name}.{port}", source, name, _ones(order, chosen, size, chosen.size), port=port)
    else:
        neurons, length = node.start.shape
        column = np.arange(neurons * length, dtype=np.int64).reshape(neurons, length)
        newest, total = column[:, -1], neurons * length
        _unit(build, f"{source}->{name}", source, name, _ones(newest, np.arange(size, dtype=np.int64), size, total))
        if length > 1:
            older, newer = column[:, :-1].reshape(-1), column[:, 1:].reshape(-1)
            _unit(build, f"{name}.shift", name, name, _ones(older, newer, total, total), lag=1)


def _ones(target: IntArray, source: IntArray, inputs: int, outputs: int) -> RealSparse:
    return RealSparse(np.ones(target.size), target, source, inputs, outputs)


def _unit(
    build: Build, base: str, source: str, target: str, synapses: RealSparse, lag: int = 0, port: str = "in"
) -> None:
    name = build.free_name(base, source)
    build.projections.append(RealProjection(name, source, target, synapses, lag, unit=True, port=port))


def _carrier(build: Build, name: str) -> str | None:
    """The one population whose messages arrive unchanged, seen through reshapes; None where there is none."""
    sources = build.network.sources(name)
    while len(sources) == 1:
        (source,) = sources
        if source in build.carriers:
            return source
        node = build.network.nodes[source]
        if not (isinstance(node, net.Flatten) or is_ones(node)):
            return None
        sources = build.network.sources(source)
    return None


def _relay(build: Build, name: str) -> str:
    """A population that holds what arrives at `name`."""
    relay = f"{name}.in"
    while relay in build.shapes:
        relay += "'"
    build.shapes[relay] = shape = build.shapes[build.network.sources(name)[0]]
    bias: Biases = {}
    for source in build.network.sources(name):
        walk(build, relay, source, Path(), bias)
    total = np.sum(bias["in"], axis=0).reshape(shape) if bias else None
    build.populations.append(RealPopulation(relay, shape, Graded(), total))
    build.added.append((relay, f"'{name}' takes the messages of one population as they are"))
    return relay
