"""Small random spiking networks that a search for widths can work on in a second, and requests for them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from networks import HALF, lif

from ndeploy.budget import Budget, Search
from ndeploy.data import Data
from ndeploy.graph import reference
from ndeploy.ir import network as net
from ndeploy.passes.lower import lower
from ndeploy.passes.schedule import schedule
from ndeploy.plugins import methods, target
from ndeploy.quantizer import Quantised, Request

STEPS = 5
SLOW = net.Semantics(dt=1e-3, integrator="euler", reset="subtract", compare="gt")


def _network(nodes: dict[str, net.Node], edges: str, semantics: net.Semantics, decode: str = "sum") -> net.Network:
    pairs = tuple((a, b) for a, b in (edge.split(">") for edge in edges.split()))
    return net.Network("searched", nodes, pairs, semantics, steps=STEPS, decode=decode)


def dense(seed: int, inputs: int = 7, hidden: int = 9, classes: int = 3) -> net.Network:
    """Two layers, the first of which needs few bits."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, net.Node] = {
        "x": net.Input((inputs,)),
        "a": net.Linear(np.round(rng.normal(size=(hidden, inputs)) * 2) / 2),
        "h": lif((hidden,)),
        "b": net.Linear(rng.normal(size=(classes, hidden)), 0.1 * rng.normal(size=classes)),
        "o": lif((classes,), 0.7),
        "out": net.Output((classes,)),
    }
    return _network(nodes, "x>a a>h h>b b>o o>out", HALF)


def convolution(seed: int) -> net.Network:
    """A convolution in groups with strides and padding, a pool, a dense layer, a readout of sums."""
    rng = np.random.default_rng(seed)
    nodes: dict[str, net.Node] = {
        "x": net.Input((2, 6, 6)),
        "c": net.Conv(rng.normal(size=(4, 1, 3, 3)), rng.normal(size=4) * 0.2, (2, 2), (1, 1), (1, 1), 2),
        "h": lif((4, 3, 3), 0.8),
        "p": net.Pool("sum", (2, 2), (1, 1)),
        "f": net.Flatten((4, 2, 2)),
        "w": net.Linear(rng.normal(size=(3, 16)), rng.normal(size=3) * 0.3),
        "out": net.Output((3,)),
    }
    return _network(nodes, "x>c c>h h>p p>f f>w w>out", HALF)


def recurrent(seed: int) -> net.Network:
    """Currents and membranes that forget slowly, a loop, a skip, a leaky readout."""
    rng = np.random.default_rng(seed)
    full = np.ones(6)
    node = net.CubaLIF(4e-3 * full, 9e-3 * full, 2 * full, 0 * full, 0.5 * full, 0 * full, 2 * full)
    nodes: dict[str, net.Node] = {
        "x": net.Input((5,)),
        "a": net.Linear(rng.normal(size=(6, 5)), 0.05 * rng.normal(size=6)),
        "r": net.Linear(0.4 * rng.normal(size=(6, 6))),
        "h": node,
        "b": net.Linear(rng.normal(size=(3, 6))),
        "s": net.Linear(0.3 * rng.normal(size=(3, 5))),
        "o": net.LI(6e-3 * full[:3], full[:3], 0 * full[:3]),
        "out": net.Output((3,)),
    }
    return _network(nodes, "x>a a>h h>r r>h h>b b>o x>s s>o o>out", SLOW, "max")


NETWORKS = {"dense": dense, "convolution": convolution, "recurrent": recurrent}


def samples(network: net.Network, count: int = 24, seed: int = 0, labelled: bool = True) -> Data:
    """Binary sequences; labels are what the float network answers, but for one in eight."""
    rng = np.random.default_rng(seed)
    (shape,) = (node.shape for node in network.nodes.values() if isinstance(node, net.Input))
    x = (rng.random((count, STEPS, *shape)) < 0.4).astype(np.uint8)
    if not labelled:
        return Data(x)
    y = reference.run(network, x).predictions(network.decode)
    assert y is not None
    return Data(x, np.where(rng.random(count) < 0.125, rng.integers(0, 3, count), y))


def request(
    network: net.Network,
    data: Data | None,
    chip: str = "loihi2",
    bits: int = 8,
    search: Search | None = None,
    **budget: Any,
) -> Request:
    """What a searching method is asked."""
    lowered = lower(network, STEPS, graded=True)
    return Request(
        lowered,
        schedule(lowered),
        target(chip),
        bits,
        "searched",
        data,
        {"input_scale": 1.0, "input_bits": 1},
        budget=Budget(**budget),
        search=Search() if search is None else search,
        network=network,
    )


def searched(asked: Request) -> Quantised:
    """By the bit-budget method."""
    return methods()["bit-budget"].quantize(asked, lambda stage: None)


def uniform(asked: Request, bits: int) -> Quantised:
    """By the uniform method."""
    return methods()["uniform"].quantize(replace(asked, bits=bits), lambda stage: None)
