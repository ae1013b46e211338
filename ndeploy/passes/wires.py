"""Populations that take messages as they are: registers, traces, synchronisations, over unit synapses.

What they hold has the scale of what they are sent, so each is fed by one population: `graded_form` sees to that.
"""

from __future__ import annotations

import numpy as np

from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir import network as net
from ndeploy.ir.lowered import RealProjection, RealSparse
from ndeploy.passes.walk import Build, identity


def wire(build: Build, name: str, node: net.Register | net.Trace | net.Synchronisation) -> None:
    """The unit projections into the population of `node`. Raises RefusedError ND202 where nothing arrives there."""
    source = _carrier(build, name)
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


def _carrier(build: Build, name: str) -> str:
    """The one population whose messages arrive unchanged, seen through reshapes."""
    sources = build.network.sources(name)
    while len(sources) == 1 and sources[0] not in build.carriers:
        sources = build.network.sources(sources[0])
    if len(sources) != 1:
        raise RefusedError("ND202", f"node '{name}' has no input", help="connect it, or remove it from the graph")
    return sources[0]
